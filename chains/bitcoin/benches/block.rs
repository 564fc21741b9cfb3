//! How fast a block of the main network is checked and matched, beside the floor and a peer, in one run.
//!
//! The floor is what cannot be saved: the same bytes parsed with bitcoin_slices, and every hash that the checks need made
//! by bare calls of SHA-256. The peer is rust-bitcoin: the block decoded, its merkle root computed, outputs looked up.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::collections::HashSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

use assay_bitcoin::read_block;
use assay_types::{Account, AccountNo, BlockHash, BlockRef, ChainId, Height, Watch};
use bitcoin::consensus::Decodable;
use bitcoin_slices::{Visit, Visitor, bsl};
use sha2::{Digest, Sha256};

/// Runs of each; the median counts.
const RUNS: usize = 41;

fn main() {
    let bytes = bitcoin_test_data::blocks::mainnet_702861();
    let block = bitcoin::Block::consensus_decode(&mut &bytes[..]).unwrap();
    let mut hash = [0; 32];
    hash.copy_from_slice(block.block_hash().as_ref());
    hash.reverse();
    let at = BlockRef { height: Height(702_861), hash: BlockHash(hash) };
    let id: ChainId = "bip122:000000000019d6689c085ae165831e93".parse().unwrap();
    println!("mainnet block 702861: {} bytes, {} transactions; one thread\n", bytes.len(), block.txdata.len());
    println!("{:44} {:>9} {:>8} {:>9}", "", "ms", "MB/s", "of floor");
    let floor = median(|| _ = black_box(floor(bytes)));
    row("floor: parsed, every txid and the merkle root", bytes, floor, floor);
    for scripts in [1_000, 1_000_000] {
        let watch = watch(scripts, &block);
        let ours = median(|| _ = black_box(read_block(&id, bytes.to_vec(), at, &watch).unwrap()));
        row(&format!("ours: checked, {scripts} scripts"), bytes, ours, floor);
    }
    let scripts: HashSet<Vec<u8>> = (0..1_000_000u32).map(script).collect();
    let peer = median(|| {
        let block = bitcoin::Block::consensus_decode(&mut &bytes[..]).unwrap();
        assert!(block.check_merkle_root());
        let outputs = block.txdata.iter().flat_map(|tx| &tx.output);
        black_box(outputs.filter(|output| scripts.contains(output.script_pubkey.as_bytes())).count());
    });
    row("peer: rust-bitcoin, 1000000 scripts", bytes, peer, floor);
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[RUNS / 2]
}

fn row(what: &str, bytes: &[u8], time: Duration, floor: Duration) {
    let nanoseconds = time.as_nanos();
    let speed = bytes.len() as u128 * 1000 / nanoseconds;
    let ratio = floor.as_nanos() * 100 / nanoseconds;
    println!(
        "{what:44} {:>5}.{:03} {speed:>8} {:>6}.{:02}",
        nanoseconds / 1_000_000,
        nanoseconds / 1000 % 1000,
        ratio / 100,
        ratio % 100
    );
}

/// A script hash's script: as long as real ones, and nobody's.
fn script(number: u32) -> Vec<u8> {
    let hash: [u8; 32] = Sha256::digest(number.to_be_bytes()).into();
    [&[0, 20], &hash[..20]].concat()
}

/// So many scripts, among them one output in fifty of the block.
fn watch(count: u32, block: &bitcoin::Block) -> Watch {
    let outputs = block.txdata.iter().flat_map(|tx| &tx.output).step_by(50);
    let paid = outputs.map(|output| output.script_pubkey.to_bytes());
    let mut numbers = 0..;
    let mut number = |script: Vec<u8>| (Account(script.into()), AccountNo(numbers.next().unwrap()));
    paid.chain((0..count).map(script)).map(&mut number).collect()
}

fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

fn floor(bytes: &[u8]) -> [u8; 32] {
    #[derive(Default)]
    struct Txids(Vec<[u8; 32]>);
    impl Visitor for Txids {
        fn visit_transaction(&mut self, tx: &bsl::Transaction) -> std::ops::ControlFlow<()> {
            // Without its witness: version, inputs and outputs, lock time.
            let (head, body, tail) = tx.txid_preimage();
            let inner = Sha256::new().chain_update(head).chain_update(body).chain_update(tail).finalize();
            self.0.push(Sha256::digest(inner).into());
            std::ops::ControlFlow::Continue(())
        }
    }
    let mut txids = Txids::default();
    bsl::Block::visit(bytes, &mut txids).unwrap();
    let mut row = txids.0;
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| sha256d(&[pair[0], *pair.last().unwrap()].concat())).collect();
    }
    row[0]
}
