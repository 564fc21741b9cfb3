//! Basic block filters (BIP158): a set of the scripts that a block's outputs pay to and its inputs spend from, some 21 bits for each.
//! Nothing in a block commits to its filter, so that one which says nothing of a script proves nothing.

use assay_types::BlockHash;
use bitcoin::hashes::siphash24;

use crate::block::reversed;

/// P: so many low bits of each difference stand as they are.
const LOW_BITS: u32 = 19;
/// M: one in so many scripts that are not in the set seems to be.
const ONE_IN: u64 = 784_931;
/// An `OP_RETURN` at its beginning keeps a script out of filters.
const OP_RETURN: u8 = 0x6a;

/// Are payments to this script in filters? Those that are empty or cannot be spent are not.
pub(crate) fn has(script: &[u8]) -> bool {
    script.first().is_some_and(|first| *first != OP_RETURN)
}

/// Is one of these scripts in the filter of the block with this hash, or seems to be?
///
/// # Errors
/// Why these bytes are no filter, in words.
pub(crate) fn matches<'a>(
    filter: &[u8],
    block: BlockHash,
    scripts: impl Iterator<Item = &'a [u8]>,
) -> Result<bool, String> {
    let (count, coded) = compact_size(filter).ok_or("its count cannot be read")?;
    let mut coded = Bits { bytes: coded, at: 0 };
    // Each takes one bit at least beside its low ones: so no sum overflows.
    if count > (8 * coded.bytes.len() as u64) / u64::from(LOW_BITS + 1) {
        return Err(format!("{count} scripts are said to be in {} bytes", coded.bytes.len()));
    }
    let range = count * ONE_IN;
    let [low, high] = key(block);
    let place = |script| {
        let hash = siphash24::Hash::hash_to_u64_with_keys(low, high, script);
        u64::try_from((u128::from(hash) * u128::from(range)) >> 64).unwrap_or(u64::MAX)
    };
    let mut wanted: Vec<u64> = scripts.map(place).collect();
    wanted.sort_unstable();
    let (mut wanted, mut found, mut value) = (wanted.into_iter().peekable(), false, 0);
    for _ in 0..count {
        value += coded.next_difference().ok_or("it ends too early")?;
        if value >= range {
            return Err("a value is too large".into());
        }
        while wanted.next_if(|wanted| *wanted < value).is_some() {}
        found |= wanted.peek() == Some(&value);
    }
    if !coded.is_at_the_end() {
        return Err("something follows the last script".into());
    }
    Ok(found)
}

/// The hash's first 16 bytes, as they stand in blocks.
fn key(block: BlockHash) -> [u64; 2] {
    let hash = reversed(block.0);
    let ([low, high, ..], _) = hash.as_chunks::<8>() else { unreachable!("32 bytes") };
    [u64::from_le_bytes(*low), u64::from_le_bytes(*high)]
}

/// A length as Bitcoin writes it, and what follows.
pub(crate) fn compact_size(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let width = match first {
        0xfd => 2,
        0xfe => 4,
        0xff => 8,
        one => return Some((u64::from(*one), rest)),
    };
    let (length, rest) = rest.split_at_checked(width)?;
    let length = length.iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
    Some((length, rest))
}

/// Golomb-Rice coded differences, from the highest bit of each byte on.
struct Bits<'a> {
    bytes: &'a [u8],
    /// How many bits were read.
    at: usize,
}

impl Bits<'_> {
    fn next_difference(&mut self) -> Option<u64> {
        let mut high = 0;
        loop {
            let ones = self.peek().leading_ones();
            // Of what was looked at, the last bits may be none.
            if ones < 56 {
                high += u64::from(ones);
                self.at += ones as usize + 1;
                break;
            }
            (high, self.at) = (high + 56, self.at + 56);
        }
        let low = self.peek() >> (64 - LOW_BITS);
        self.at += LOW_BITS as usize;
        (self.at <= 8 * self.bytes.len()).then_some(high << LOW_BITS | low)
    }

    /// The next 57 bits at least, zeros beyond the end.
    fn peek(&self) -> u64 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = match rest.first_chunk::<8>() {
            Some(word) => u64::from_be_bytes(*word),
            None => {
                rest.iter().zip([56, 48, 40, 32, 24, 16, 8]).fold(0, |word, (byte, by)| word | u64::from(*byte) << by)
            }
        };
        word << (self.at % 8)
    }

    /// The last byte is filled with zeros.
    fn is_at_the_end(&self) -> bool {
        self.at.div_ceil(8) == self.bytes.len() && self.peek() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::bip158::GcsFilterWriter;

    const HASH: BlockHash = BlockHash([0x5a; 32]);

    /// As another implementation writes it.
    fn written(scripts: &[Vec<u8>]) -> Vec<u8> {
        let (mut bytes, [low, high]) = (Vec::new(), key(HASH));
        let mut writer = GcsFilterWriter::new(&mut bytes, low, high, ONE_IN, 19);
        scripts.iter().for_each(|script| writer.add_element(script));
        writer.finish().unwrap();
        bytes
    }

    fn reads(filter: &[u8], scripts: &[Vec<u8>]) -> Result<bool, String> {
        matches(filter, HASH, scripts.iter().map(Vec::as_slice))
    }

    /// The same numbers in every run.
    fn dice(state: &mut u64) -> u64 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *state >> 33
    }

    fn scripts(count: u64, length: u64, state: &mut u64) -> Vec<Vec<u8>> {
        let script = |nth: u64| {
            let length = 8 + dice(state) % length;
            nth.to_le_bytes().into_iter().chain((8..length).map(|_| dice(state).to_le_bytes()[0])).collect()
        };
        (0..count).map(script).collect()
    }

    /// Block 0 of testnet3, of the proposal's own test vectors.
    #[test]
    fn a_vector_of_the_proposal() {
        let hex = |text: &str| const_hex::decode(text).unwrap();
        let hash =
            hex("000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943").try_into().map(BlockHash).unwrap();
        let script = hex(
            "4104678afdb0fe5548271967f1a67130b7105cd6a828e03909a67962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c702b6bf11d5fac",
        );
        let said = |filter: &str, script: &[u8]| matches(&hex(filter), hash, [script].into_iter());
        assert_eq!(said("019dfca8", &script), Ok(true));
        assert_eq!(said("019dfca8", &script[1..]), Ok(false));
        assert_eq!(said("00", &script), Ok(false), "one that paid to nobody");
        assert!(said("", &script).is_err());
    }

    #[test]
    fn what_is_in_it_is_found_and_hardly_anything_else() {
        let mut state = 158;
        for count in [0, 1, 2, 3, 7, 50, 252, 253, 254, 2_000, 70_000] {
            let all = scripts(count, 60, &mut state);
            let strangers: Vec<_> =
                scripts(4, 60, &mut state).into_iter().map(|script| [script, vec![1; 60]].concat()).collect();
            let filter = written(&all);
            assert_eq!(reads(&filter, &[]), Ok(false));
            assert_eq!(reads(&filter, &strangers), Ok(false), "{count}: by good luck, always the same");
            for _ in 0..count.min(20) {
                let one = all[usize::try_from(dice(&mut state) % count).unwrap()].clone();
                assert_eq!(reads(&filter, &[vec![one.clone()], strangers.clone()].concat()), Ok(true));
                assert_eq!(reads(&filter, &[one]), Ok(true));
            }
            for end in (0..filter.len()).step_by(1 + filter.len() / 300) {
                assert!(reads(&filter[..end], &strangers).is_err(), "{count}: cut off at {end}");
            }
            assert!(reads(&[&filter[..], &[0]].concat(), &strangers).is_err());
        }
    }

    #[test]
    fn one_in_many_seems_to_be_in_it() {
        let mut state = 9;
        let (filter, others) = (written(&scripts(500, 30, &mut state)), scripts(400_000, 50, &mut state));
        let seem: usize = others.chunks(1_000).map(|some| usize::from(reads(&filter, some).unwrap())).sum();
        assert!(seem <= 5, "{seem} of 400,000");
    }

    #[test]
    fn no_bytes_panic() {
        let mut state = 1;
        for _ in 0..20_000 {
            let length = dice(&mut state) % 40;
            let mut bytes: Vec<u8> = (0..length).map(|_| dice(&mut state).to_le_bytes()[0]).collect();
            if dice(&mut state).is_multiple_of(3) {
                bytes.iter_mut().for_each(|byte| *byte |= 0xf0);
            }
            let _ = reads(&bytes, &[vec![1]]);
            let _ = reads(&[&[1][..], &bytes].concat(), &[vec![1]]);
            let _ = reads(&[&[0xff; 9][..], &bytes].concat(), &[vec![1]]);
        }
    }

    #[test]
    fn payments_to_some_scripts_are_in_no_filter() {
        assert!(has(&[0x51]) && !has(&[]) && !has(&[0x6a, 1, 2]));
    }
}
