//! Memory for the bytes of blocks, used again and again: a fresh megabyte for each block would come from the system page by
//! page.

use std::ops::{Deref, DerefMut};

use parking_lot::Mutex;

/// So many are kept for the next blocks.
const IDLE: usize = 8;
static IDLE_BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A block's bytes.
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// So many bytes, of no meaning.
    pub fn of(length: usize) -> Buffer {
        let idle = IDLE_BUFFERS.lock().pop();
        let mut bytes = idle.unwrap_or_default();
        bytes.resize(length, 0);
        Buffer(bytes)
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Buffer {
        Buffer(bytes)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut idle = IDLE_BUFFERS.lock();
        if idle.len() < IDLE {
            idle.push(std::mem::take(&mut self.0));
        }
    }
}
