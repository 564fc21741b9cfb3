//! What cannot be saved: the same questions asked, and the answers read. Beside it what any check of a block's own parts takes, by bare
//! calls of alloy: JSON made transactions and receipts, their roots rebuilt, and their senders recovered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alloy::consensus::proofs::{calculate_receipt_root, ordered_trie_root_with_encoder};
use alloy::consensus::transaction::SignerRecoverable as _;
use alloy::eips::eip2718::Encodable2718 as _;
use alloy::rpc::types::{Block, TransactionReceipt};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::wire::Line;

/// What is done with an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Nothing,
    Roots,
    RootsAndSenders,
}

/// How long these requests take over so many connections, and how many bytes come.
pub fn download(url: &str, requests: &[Vec<u8>], connections: usize, then: Then) -> (Duration, usize) {
    let begun = Instant::now();
    let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut line = Line::to(url);
                while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let answer = line.post(request);
                    bytes.fetch_add(answer.len(), Ordering::Relaxed);
                    if then != Then::Nothing {
                        check(request, answer, then);
                    }
                }
            });
        }
    });
    (begun.elapsed(), bytes.into_inner())
}

fn check(request: &[u8], answer: &[u8], then: Then) {
    #[derive(Deserialize)]
    struct Asked<'a> {
        method: &'a str,
    }
    #[derive(Deserialize)]
    struct Answer<T> {
        result: T,
    }
    fn read<T: DeserializeOwned>(answer: &[u8]) -> T {
        serde_json::from_slice::<Answer<T>>(answer).unwrap().result
    }
    match serde_json::from_slice(request) {
        Ok(Asked { method: "eth_getBlockByHash" }) => {
            let block: Block = read(answer);
            let transactions: Vec<_> = block.transactions.txns().map(|one| one.inner.inner()).collect();
            let root = ordered_trie_root_with_encoder(&transactions, |one, to| one.encode_2718(to));
            assert_eq!(root, block.header.transactions_root);
            for one in block.transactions.txns().filter(|_| then == Then::RootsAndSenders) {
                assert_eq!(one.inner.inner().recover_signer().unwrap(), one.inner.signer());
            }
        }
        Ok(Asked { method: "eth_getBlockReceipts" }) => {
            let receipts: Vec<TransactionReceipt> = read(answer);
            let receipts: Vec<_> = receipts.into_iter().map(|one| one.inner.into_primitives_receipt()).collect();
            std::hint::black_box(calculate_receipt_root(&receipts));
        }
        _ => {}
    }
}
