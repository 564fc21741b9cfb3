//! Where the next page of a list begins, as opaque text.
//!
//! A cursor carries the first bytes of a hash over itself and the question that it continues, so that a mangled one, or
//! one of another question, is refused. It grants nothing: whoever presents it is judged like anyone else.

use assay_types::{BlockHash, BlockRef, Height};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::problem::Problem;

const CHECK_BYTES: usize = 8;

/// The next movement of a history, and the block as of which paging began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HistoryCursor {
    pub(crate) pinned: BlockRef,
    pub(crate) height: Height,
    pub(crate) place: u32,
}

impl HistoryCursor {
    pub(crate) fn write(&self, question: &str) -> String {
        let parts: [&[u8]; 4] = [
            &self.pinned.height.0.to_be_bytes(),
            &self.pinned.hash.0,
            &self.height.0.to_be_bytes(),
            &self.place.to_be_bytes(),
        ];
        seal(question, &parts.concat())
    }

    pub(crate) fn read(question: &str, text: &str) -> Result<HistoryCursor, Problem> {
        let bytes: [u8; 52] = open(question, text)?;
        let (pinned, hash, height, place) = (&bytes[..8], &bytes[8..40], &bytes[40..48], &bytes[48..]);
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| refused());
        Ok(HistoryCursor {
            pinned: BlockRef {
                height: Height(number(pinned)?),
                hash: BlockHash(hash.try_into().map_err(|_| refused())?),
            },
            height: Height(number(height)?),
            place: u32::from_be_bytes(place.try_into().map_err(|_| refused())?),
        })
    }
}

/// For lists that only grow and are read newest first: what is below this number comes next.
pub(crate) fn write_before(question: &str, before: u64) -> String {
    seal(question, &before.to_be_bytes())
}

/// The inverse of [`write_before`].
pub(crate) fn read_before(question: &str, text: &str) -> Result<u64, Problem> {
    open(question, text).map(u64::from_be_bytes)
}

fn seal(question: &str, payload: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([payload, &check(question, payload)].concat())
}

fn open<const N: usize>(question: &str, text: &str) -> Result<[u8; N], Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| refused())?;
    let at = bytes.len().checked_sub(CHECK_BYTES).ok_or_else(refused)?;
    let (payload, found) = bytes.split_at(at);
    if found != check(question, payload) {
        return Err(refused());
    }
    payload.try_into().map_err(|_| refused())
}

fn check(question: &str, payload: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Sha256::new().chain_update(question).chain_update([0]).chain_update(payload).finalize();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest[..CHECK_BYTES]);
    check
}

fn refused() -> Problem {
    Problem::bad("`cursor` is not one that was given for this list: take it unchanged from `next`, with the same query")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_a_tampered_or_foreign_one_does_not() {
        let pinned = BlockRef { height: Height(900_000), hash: BlockHash([7; 32]) };
        let cursor = HistoryCursor { pinned, height: Height(12), place: 3 };
        let text = cursor.write("acme");
        assert_eq!(HistoryCursor::read("acme", &text).unwrap(), cursor);
        assert!(HistoryCursor::read("other", &text).is_err());
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let tampered = String::from_utf8(bytes).unwrap();
            assert!(HistoryCursor::read("acme", &tampered).is_err(), "{at}");
            assert!(HistoryCursor::read("acme", &text[..at]).is_err(), "{at}");
        }
        let list = write_before("acme", 41);
        assert_eq!(read_before("acme", &list).unwrap(), 41);
        assert!(HistoryCursor::read("acme", &list).is_err() && read_before("acme", &text).is_err());
    }
}
