//! What any checked walk has to do.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use assay_testnodes::Bitcoind;
use bitcoin_slices::{Visit as _, Visitor, bsl};
use sha2::{Digest as _, Sha256};

/// Downloads every block over so many connections, and hashes it there.
pub fn rest(node: &Bitcoind, connections: usize, blocks: u32) -> Duration {
    let hashes: Vec<String> = (0..blocks)
        .map(|height| node.call("getblockhash", serde_json::json!([height])).unwrap().as_str().unwrap().to_owned())
        .collect();
    let address = node.rpc_url.trim_start_matches("http://").to_owned();
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..connections {
            scope.spawn(|| {
                let mut stream = BufReader::with_capacity(1 << 16, TcpStream::connect(&address).unwrap());
                let mut bytes = vec![];
                while let Some(hash) = hashes.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let request = format!("GET /rest/block/{hash}.bin HTTP/1.1\r\nHost: {address}\r\n\r\n");
                    stream.get_mut().write_all(request.as_bytes()).unwrap();
                    let mut length = None;
                    loop {
                        let mut line = String::new();
                        stream.read_line(&mut line).unwrap();
                        if line == "\r\n" {
                            break;
                        }
                        let (name, value) = line.split_once(':').unwrap_or_default();
                        if name.eq_ignore_ascii_case("content-length") {
                            length = Some(value.trim().parse().unwrap());
                        }
                    }
                    bytes.resize(length.unwrap(), 0);
                    stream.read_exact(&mut bytes).unwrap();
                    check(&bytes);
                }
            });
        }
    });
    begun.elapsed()
}

/// Reads every block file once; says how many bytes they have.
pub fn warm(folder: &Path) -> usize {
    paths(folder).iter().map(|path| std::fs::read(path).unwrap().len()).sum()
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("blk"));
    files.sort();
    files
}

/// Reads, parses and hashes every block.
pub fn files(folder: &Path, threads: usize, blocks: u32) -> Duration {
    let begun = Instant::now();
    let key: [u8; 8] = std::fs::read(folder.join("xor.dat")).unwrap().try_into().unwrap();
    let files: Vec<File> = paths(folder).iter().map(|path| File::open(path).unwrap()).collect();
    let mut places = vec![];
    for file in &files {
        let mut at = 0;
        let mut frame = [0; 8];
        while file.read_exact_at(&mut frame, at).is_ok() {
            xor(key, at, &mut frame);
            if frame[..4] != [0xfa, 0xbf, 0xb5, 0xda] {
                break;
            }
            let length = u32::from_le_bytes(frame[4..].try_into().unwrap());
            places.push((file, at + 8, length as usize));
            at += 8 + u64::from(length);
        }
    }
    assert_eq!(places.len(), blocks as usize);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut bytes = vec![];
                while let Some((file, at, length)) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                    bytes.resize(*length, 0);
                    file.read_exact_at(&mut bytes, *at).unwrap();
                    xor(key, *at, &mut bytes);
                    check(&bytes);
                }
            });
        }
    });
    begun.elapsed()
}

/// Every hash that the checks need.
pub fn check(bytes: &[u8]) {
    let mut txids = Txids(vec![]);
    bsl::Block::visit(bytes, &mut txids).unwrap();
    let mut row = txids.0;
    while row.len() > 1 {
        if row.len() % 2 == 1 {
            row.push(*row.last().unwrap());
        }
        for pair in 0..row.len() / 2 {
            row[pair] = sha256d([row[2 * pair], row[2 * pair + 1]].as_flattened());
        }
        row.truncate(row.len() / 2);
    }
    assert_eq!(row[0], bytes[36..68]);
    std::hint::black_box(sha256d(&bytes[..80]));
}

struct Txids(Vec<[u8; 32]>);

impl Visitor for Txids {
    fn visit_transaction(&mut self, tx: &bsl::Transaction) -> ControlFlow<()> {
        let (head, body, tail) = tx.txid_preimage();
        let inner = Sha256::new().chain_update(head).chain_update(body).chain_update(tail).finalize();
        self.0.push(Sha256::digest(inner).into());
        ControlFlow::Continue(())
    }
}

fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(bytes)).into()
}

fn xor(key: [u8; 8], at: u64, bytes: &mut [u8]) {
    let bits = 8 * u32::try_from(at % 8).unwrap();
    let turned = u64::from_le_bytes(key).rotate_right(bits).to_le_bytes();
    let word = u64::from_ne_bytes(turned);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for bytes in words {
        *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
    }
    rest.iter_mut().zip(turned).for_each(|(byte, key)| *byte ^= key);
}
