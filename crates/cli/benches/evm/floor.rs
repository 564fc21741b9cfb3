//! What cannot be saved: the same questions asked, and the answers read and thrown away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::wire::Line;

/// How long these requests take over so many connections, and how many bytes come.
pub fn download(url: &str, requests: &[Vec<u8>], connections: usize) -> (Duration, usize) {
    let begun = Instant::now();
    let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut line = Line::to(url);
                while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    bytes.fetch_add(line.post(request).len(), Ordering::Relaxed);
                }
            });
        }
    });
    (begun.elapsed(), bytes.into_inner())
}
