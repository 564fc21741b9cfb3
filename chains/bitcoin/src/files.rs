//! A node's block files, read beside the node that writes them: `blk00000.dat` and so on.
//!
//! Blocks stand there in the order in which they came, with stale ones among them, behind 4 bytes of the network's magic and 4 of their
//! length. Files are allocated ahead, so that zeros follow the last block, and since Bitcoin Core 28 every byte that was written is XORed with the 8
//! bytes of `xor.dat`, by its place in the file. What is read here is a block's bytes only: they are checked like any other's,
//! and which chain is followed is what the node says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use assay_types::{BlockHash, BlockRef, Height};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::{Mutex, MutexGuard};
use tracing::debug;

use crate::block::{MAX_BLOCK_BYTES, reversed};
use crate::buffer::Buffer;
use crate::network::Network;
use crate::pow::{self, HEADER_BYTES, RawHeader};
use crate::sha256d::double_sha256;

/// Magic and length.
const FRAME_BYTES: u64 = 8;
/// How much of a block is read at once.
const PIECE_BYTES: usize = 256 << 10;
/// How much of a file is searched at once for where the next block begins.
const SEARCH_BYTES: usize = 1 << 20;
/// How many open files wait for the next reader.
const OPEN_FILES: usize = 16;

/// The block files in one folder, as far as they were looked through.
pub(crate) struct BlockFiles {
    folder: PathBuf,
    network: &'static Network,
    catalogue: Mutex<Catalogue>,
    open: Mutex<Vec<(u32, File)>>,
}

/// Which block stands where. Some 70 bytes for each.
#[derive(Default)]
struct Catalogue {
    key: Key,
    /// Up to where each file was looked through.
    files: BTreeMap<u32, u64>,
    blocks: Vec<Entry>,
    by_hash: HashMap<BlockHash, u32, RandomState>,
    /// The blocks of the chain that was asked for last, by height.
    chain: Vec<u32>,
}

/// A block in a file.
struct Entry {
    hash: BlockHash,
    parent: BlockHash,
    file: u32,
    /// Where it begins, behind its frame.
    at: u32,
    length: u32,
}

impl BlockFiles {
    pub(crate) fn new(folder: PathBuf, network: &'static Network) -> BlockFiles {
        BlockFiles { folder, network, catalogue: Mutex::default(), open: Mutex::default() }
    }

    /// Looks through the files for the chain that ends with this block; says what was found, or why they cannot be used.
    pub(crate) fn find(&self, tip: BlockRef) -> Result<String, String> {
        let mut catalogue = self.lock();
        if !catalogue.by_hash.contains_key(&tip.hash) {
            self.look_through(&mut catalogue)?;
        }
        let lowest = catalogue.follow(tip).ok_or_else(|| format!("block {} is not in them yet", tip.height))?;
        let (files, blocks) = (catalogue.files.len(), catalogue.blocks.len());
        let key = if catalogue.key.is_nothing() { "" } else { ", XORed" };
        let pruned = if lowest.0 == 0 { String::new() } else { format!("; none below block {lowest}") };
        Ok(format!("{blocks} blocks in {files} files{key}, in {}{pruned}", self.folder.display()))
    }

    /// The hashes from this height on, at most so many, of the chain that ends with this block; nothing where some of them
    /// were not found.
    pub(crate) fn hashes(&self, tip: BlockRef, from: Height, count: u64) -> Option<Vec<BlockHash>> {
        let mut catalogue = self.lock();
        if catalogue.follow(tip)? > from {
            return None;
        }
        let places = catalogue.chain.iter().skip(usize::try_from(from.0).ok()?).take(usize::try_from(count).ok()?);
        Some(places.map(|place| catalogue.blocks[*place as usize].hash).collect())
    }

    /// A block's bytes, as they stand there; `None` where it is not in what was looked through.
    ///
    /// # Errors
    /// When they cannot be read, in words.
    pub(crate) fn block(&self, hash: BlockHash) -> Result<Option<Buffer>, String> {
        let (key, file, at, length) = {
            let catalogue = self.lock();
            let Some(place) = catalogue.by_hash.get(&hash) else { return Ok(None) };
            let entry = &catalogue.blocks[*place as usize];
            (catalogue.key, entry.file, entry.at, entry.length)
        };
        let path = self.path(file);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let open = match self.idle(file) {
            Some(open) => open,
            None => File::open(&path).map_err(failed)?,
        };
        let mut bytes = Buffer::of(length as usize);
        let mut offset = u64::from(at);
        for piece in bytes.chunks_mut(PIECE_BYTES) {
            open.read_exact_at(piece, offset).map_err(failed)?;
            // While the processor still has them at hand.
            key.apply(offset, piece);
            offset += piece.len() as u64;
        }
        let mut idle = self.open.lock();
        if idle.len() == OPEN_FILES {
            idle.remove(0);
        }
        idle.push((file, open));
        drop(idle);
        Ok(Some(bytes))
    }

    fn idle(&self, file: u32) -> Option<File> {
        let mut idle = self.open.lock();
        let place = idle.iter().rposition(|(number, _)| *number == file)?;
        Some(idle.remove(place).1)
    }

    fn lock(&self) -> MutexGuard<'_, Catalogue> {
        self.catalogue.lock()
    }

    fn path(&self, file: u32) -> PathBuf {
        self.folder.join(format!("blk{file:05}.dat"))
    }

    /// Enters what came since the last time.
    fn look_through(&self, catalogue: &mut Catalogue) -> Result<(), String> {
        let began = Instant::now();
        let (before, mut grown) = (catalogue.blocks.len(), 0);
        catalogue.key = Key::read(&self.folder)?;
        for (number, length) in self.present()? {
            let seen = catalogue.files.entry(number).or_default();
            let (from, path) = (*seen, self.path(number));
            let file = File::open(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let mut walk = Walk { file: &file, length, key: catalogue.key, network: self.network };
            let (found, to) = walk.blocks(from).map_err(|error| format!("{}: {error}", path.display()))?;
            *seen = to;
            grown += usize::from(to > from);
            for (at, length, header) in found {
                catalogue.enter(number, at, length, &header);
            }
        }
        let found = catalogue.blocks.len() - before;
        debug!(found, files = grown, ms = began.elapsed().as_millis(), "looked through the block files");
        Ok(())
    }

    /// The files that are there, with their lengths.
    fn present(&self) -> Result<BTreeMap<u32, u64>, String> {
        let failed = |error: std::io::Error| format!("{}: {error}", self.folder.display());
        let mut present = BTreeMap::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("blk")?.strip_suffix(".dat")?.parse().ok());
            if let Some(number) = number {
                present.insert(number, entry.metadata().map_err(failed)?.len());
            }
        }
        if present.is_empty() {
            return Err(format!("{}: there are no block files (blk00000.dat)", self.folder.display()));
        }
        Ok(present)
    }
}

impl Catalogue {
    fn enter(&mut self, file: u32, at: u32, length: u32, header: &[u8; HEADER_BYTES]) {
        let hash = BlockHash(reversed(double_sha256(header)));
        let parent = BlockHash(reversed(RawHeader(header).parent()));
        let place = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        // A node that was interrupted may have written a block twice: the later one is whole.
        self.by_hash.insert(hash, place);
        self.blocks.push(Entry { hash, parent, file, at, length });
    }

    /// Makes `chain` that of this block; says from which height on all of it is there. `None` if the block itself is not.
    fn follow(&mut self, tip: BlockRef) -> Option<Height> {
        let height = usize::try_from(tip.height.0).ok()?;
        let mut place = *self.by_hash.get(&tip.hash)?;
        self.chain.resize(height + 1, NONE);
        for at in (0..=height).rev() {
            if self.chain[at] == place {
                break;
            }
            self.chain[at] = place;
            let parent = self.blocks[place as usize].parent;
            match self.by_hash.get(&parent) {
                Some(below) => place = *below,
                None => {
                    self.chain[..at].fill(NONE);
                    break;
                }
            }
        }
        let missing = self.chain.iter().rposition(|place| *place == NONE);
        Some(Height(missing.map_or(0, |below| below as u64 + 1)))
    }
}

/// No block is known at a height.
const NONE: u32 = u32::MAX;

/// What written bytes are XORed with; zeros where they are not.
#[derive(Clone, Copy, Default)]
struct Key([u8; 8]);

impl Key {
    fn read(folder: &Path) -> Result<Key, String> {
        let path = folder.join("xor.dat");
        match fs::read(&path) {
            Ok(bytes) => match bytes.try_into() {
                Ok(key) => Ok(Key(key)),
                Err(_) => Err(format!("{}: a key of 8 bytes is expected", path.display())),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Key::default()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    fn apply(self, at: u64, bytes: &mut [u8]) {
        if self.is_nothing() {
            return;
        }
        let bits = 8 * u32::try_from(at % 8).unwrap_or(0);
        let turned = u64::from_le_bytes(self.0).rotate_right(bits).to_le_bytes();
        let word = u64::from_ne_bytes(turned);
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for bytes in words {
            *bytes = (u64::from_ne_bytes(*bytes) ^ word).to_ne_bytes();
        }
        rest.iter_mut().zip(turned).for_each(|(byte, key)| *byte ^= key);
    }

    fn is_nothing(self) -> bool {
        self.0 == [0; 8]
    }
}

/// Goes from block to block of one file.
struct Walk<'a> {
    file: &'a File,
    length: u64,
    key: Key,
    network: &'static Network,
}

type Found = (u32, u32, [u8; HEADER_BYTES]);

impl Walk<'_> {
    /// The blocks from this place on that are there whole, and where the next one will begin at the earliest.
    fn blocks(&mut self, from: u64) -> std::io::Result<(Vec<Found>, u64)> {
        let (mut found, mut at) = (vec![], from);
        let mut to = from;
        while let Some(start) = self.find(at)? {
            match self.block(start)? {
                Some(block) => {
                    at = start + FRAME_BYTES + u64::from(block.1);
                    to = at;
                    found.push(block);
                }
                None => at = start + 1,
            }
        }
        Ok((found, to))
    }

    /// Where the next magic stands.
    fn find(&self, from: u64) -> std::io::Result<Option<u64>> {
        let magic = bitcoin::Network::magic(self.network.kind).to_bytes();
        if self.bytes::<4>(from)? == Some(magic) {
            return Ok(Some(from));
        }
        let (mut at, mut chunk) = (from, vec![0; SEARCH_BYTES]);
        loop {
            let read = self.file.read_at(&mut chunk, at)?;
            if read < magic.len() {
                return Ok(None);
            }
            // Zeros were allocated and not written, so that they are not XORed either: nothing to be found in them.
            if chunk[..read].iter().any(|byte| *byte != 0) {
                self.key.apply(at, &mut chunk[..read]);
                if let Some(place) = chunk[..read].windows(magic.len()).position(|bytes| bytes == magic) {
                    return Ok(Some(at + place as u64));
                }
            }
            at += (read - magic.len() + 1) as u64;
        }
    }

    /// The block whose frame begins here, if it is one: its length is possible, it ends within the file, and its header has the work that it
    /// claims.
    fn block(&self, start: u64) -> std::io::Result<Option<Found>> {
        let at = start + FRAME_BYTES;
        let Some(read) = self.bytes::<{ 4 + HEADER_BYTES }>(start + 4)? else { return Ok(None) };
        let (Some(length), Some(header)) = (read.first_chunk(), read.last_chunk().copied()) else { return Ok(None) };
        let length = u32::from_le_bytes(*length);
        let is_possible = (HEADER_BYTES..=MAX_BLOCK_BYTES).contains(&(length as usize))
            && at + u64::from(length) <= self.length
            && pow::check_work(self.network, double_sha256(&header), RawHeader(&header).bits()).is_ok();
        Ok(u32::try_from(at).ok().filter(|_| is_possible).map(|at| (at, length, header)))
    }

    fn bytes<const N: usize>(&self, at: u64) -> std::io::Result<Option<[u8; N]>> {
        let mut bytes = [0; N];
        match self.file.read_exact_at(&mut bytes, at) {
            Ok(()) => {
                self.key.apply(at, &mut bytes);
                Ok(Some(bytes))
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_testnodes::generator::{Generated, Generator, Plan};
    use std::io::Write as _;

    const KEY: [u8; 8] = [0x1f, 0, 0xc3, 7, 0x99, 0xfe, 0x01, 0x80];

    fn regtest() -> &'static Network {
        Network::of(&"bip122:0f9188f13cb7b2c71f2a335e3a4fc328".parse().unwrap()).unwrap()
    }

    fn blocks(seed: u64) -> Vec<Generated> {
        let plan = Plan { seed, blocks: 6, inputs: 12, outputs: 12, ..Plan::default() };
        Generator::new(plan).collect()
    }

    fn genesis() -> Vec<u8> {
        bitcoin::consensus::serialize(&bitcoin::constants::genesis_block(bitcoin::Network::Regtest))
    }

    fn framed(block: &[u8]) -> Vec<u8> {
        let magic = bitcoin::Network::Regtest.magic().to_bytes();
        [&magic[..], &u32::try_from(block.len()).unwrap().to_le_bytes(), block].concat()
    }

    /// A folder of files with these bytes, XORed; behind them zeros that are not.
    fn folder(files: &[Vec<u8>], zeros: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("xor.dat"), KEY).unwrap();
        for (number, bytes) in files.iter().enumerate() {
            let mut bytes = bytes.clone();
            Key(KEY).apply(0, &mut bytes);
            bytes.resize(bytes.len() + zeros, 0);
            fs::write(folder.path().join(format!("blk{number:05}.dat")), bytes).unwrap();
        }
        folder
    }

    fn tip_of(chain: &[Generated]) -> BlockRef {
        let last = chain.last().unwrap();
        BlockRef { height: Height(last.height.into()), hash: BlockHash(last.hash) }
    }

    fn all_there(files: &BlockFiles, chain: &[Generated]) {
        let hashes = files.hashes(tip_of(chain), Height(1), u64::MAX).unwrap();
        assert!(hashes.iter().map(|hash| hash.0).eq(chain.iter().map(|block| block.hash)));
        for block in chain {
            assert_eq!(files.block(BlockHash(block.hash)).unwrap().unwrap()[..], block.bytes);
        }
    }

    #[test]
    fn blocks_are_found_out_of_order_between_gaps_and_stale_ones() {
        let (chain, other) = (blocks(1), blocks(2));
        let mut files = vec![vec![], vec![]];
        files[0].extend(framed(&genesis()));
        for (nth, block) in chain.iter().enumerate().rev() {
            // Stale ones, what looks like a block and is none, and nothing at all stand between.
            files[nth % 2].extend(framed(&block.bytes));
            match nth % 5 {
                0 => files[0].extend(framed(&other[nth].bytes)),
                1 => files[1].extend(framed(&[0xab; 300])),
                2 => files[0].extend([0x42; 1000]),
                3 => files[1].extend(&framed(&block.bytes)[..50]),
                _ => {}
            }
        }
        let folder = folder(&files, 70_000);
        let files = BlockFiles::new(folder.path().into(), regtest());
        let found = files.find(tip_of(&chain)).unwrap();
        assert!(found.contains("in 2 files, XORed") && !found.contains("none below"), "{found}");
        all_there(&files, &chain);
        // Another branch is another chain; here it lacks most blocks.
        let (at, hash) = (Height(other[100].height.into()), BlockHash(other[100].hash));
        assert!(files.find(BlockRef { height: at, hash }).unwrap().contains(&format!("none below block {at}")));
        assert_eq!(files.hashes(BlockRef { height: at, hash }, Height(1), 9), None);
        all_there(&files, &chain);
    }

    #[test]
    fn files_grow_and_a_block_that_is_half_there_is_not_there_yet() {
        let chain = blocks(3);
        let framed: Vec<Vec<u8>> = chain.iter().map(|block| framed(&block.bytes)).collect();
        let start = [framed_genesis(), framed[..50].concat()].concat();
        let folder = folder(std::slice::from_ref(&start), 0);
        let files = BlockFiles::new(folder.path().into(), regtest());
        files.find(tip_of(&chain[..50])).unwrap();
        all_there(&files, &chain[..50]);
        assert!(files.find(tip_of(&chain[..51])).unwrap_err().contains("is not in them yet"));
        let path = folder.path().join("blk00000.dat");
        let mut written = start.len() as u64;
        let mut append = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            Key(KEY).apply(written, &mut bytes);
            written += bytes.len() as u64;
            fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&bytes).unwrap();
        };
        for block in &framed[50..53] {
            for half in [&block[..block.len() / 2], &block[block.len() / 2..]] {
                assert!(files.find(tip_of(&chain[..chain.len()])).is_err());
                append(half);
            }
        }
        all_there(&files, &chain[..50]);
        files.find(tip_of(&chain[..53])).unwrap();
        all_there(&files, &chain[..53]);
        // What is gone is told, and what is left goes on being read.
        fs::File::options().write(true).open(&path).unwrap().set_len(1_000).unwrap();
        assert!(files.block(BlockHash(chain[52].hash)).is_err());
        assert_eq!(files.block(BlockHash(chain[0].hash)).unwrap().unwrap()[..], chain[0].bytes);
    }

    fn framed_genesis() -> Vec<u8> {
        framed(&genesis())
    }

    #[test]
    fn what_cannot_be_block_files_is_told() {
        let tip = tip_of(&blocks(1));
        let empty = tempfile::tempdir().unwrap();
        let files = BlockFiles::new(empty.path().into(), regtest());
        assert!(files.find(tip).unwrap_err().contains("there are no block files"));
        fs::write(empty.path().join("xor.dat"), [1, 2]).unwrap();
        assert!(files.find(tip).unwrap_err().contains("a key of 8 bytes is expected"));
        let nowhere = BlockFiles::new(empty.path().join("nowhere"), regtest());
        assert!(nowhere.find(tip).is_err());
    }
}
