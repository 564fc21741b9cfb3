//! A block, asked for by its hash from one node (`fetch`, `headers`), read once (`json`), and turned into the bytes that its header commits to (`codec`).

pub(crate) mod codec;
pub(crate) mod fetch;
pub(crate) mod headers;
pub(crate) mod json;
