//! The rules for headers: proof of work, its target, and time.
//!
//! Not judged here: a header from the future (that needs a clock, and the node does it), the versions that soft forks
//! required, a signet block's signature, and the minimum work of the main chain.

use assay_types::{Ancestors, Header, Height};
use bitcoin::hashes::Hash as _;
use bitcoin::{CompactTarget, Target};

use crate::network::Network;
use crate::sha256d::RawHash;

/// A header's size, and that of [`Header::seal`].
pub(crate) const HEADER_BYTES: usize = 80;
/// How many blocks a target lasts, on every network that changes it.
const RETARGET_BLOCKS: u64 = 2016;
/// On test networks a block may be easy when it comes this long after its parent: twice the spacing.
const EASY_AFTER_S: u32 = 20 * 60;
/// Testnet4 (BIP 94): how far the first block of a period may lie before the last block of the one below.
const TIMEWARP_S: u32 = 600;
/// The time of a header must be above the median of so many below it.
const MEDIAN_BLOCKS: u64 = 11;

/// The 80 bytes.
#[derive(Clone, Copy)]
pub(crate) struct RawHeader<'a>(pub(crate) &'a [u8; HEADER_BYTES]);

impl RawHeader<'_> {
    pub(crate) fn parent(&self) -> RawHash {
        self.part(4)
    }

    pub(crate) fn merkle_root(&self) -> RawHash {
        self.part(36)
    }

    pub(crate) fn time(&self) -> u32 {
        u32::from_le_bytes(self.part(68))
    }

    pub(crate) fn bits(&self) -> u32 {
        u32::from_le_bytes(self.part(72))
    }

    fn part<const N: usize>(&self, from: usize) -> [u8; N] {
        std::array::from_fn(|at| self.0[from + at])
    }
}

/// The header's own work: `bits` must be a target that the network allows, and the hash not above it.
pub(crate) fn check_work(network: &Network, hash: RawHash, bits: u32) -> Result<(), String> {
    // Beyond 32 bytes a target overflows, and with the sign bit it is negative.
    let well_formed = bits >> 24 <= 32 && bits & 0x0080_0000 == 0;
    let target = Target::from_compact(CompactTarget::from_consensus(if well_formed { bits } else { 0 }));
    if target == Target::ZERO || target > network.params().max_attainable_target {
        return Err(format!("bits {bits:08x} are no target that {} allows", network.name));
    }
    if !target.is_met_by(bitcoin::BlockHash::from_byte_array(hash)) {
        return Err(format!("the hash is above the target that its bits {bits:08x} stand for"));
    }
    Ok(())
}

/// What keeps a header from being checked, or what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// It breaks a rule.
    Breaks {
        /// The rule.
        rule: &'static str,
        /// How.
        why: String,
    },
    /// The header at this height is needed and not there.
    Unknown(Height),
}

/// The rules that need the headers below.
pub(crate) fn check_header(network: &Network, header: &Header, below: &dyn Ancestors) -> Result<(), HeaderFault> {
    let own = seal(header)?;
    let Some(parent_height) = header.height.previous() else {
        let why = format!("block 0 of {} is {}", network.name, network.genesis);
        return if header.hash == network.genesis { Ok(()) } else { Err(breaks("the genesis block", why)) };
    };
    let parent = ancestor(below, parent_height)?;
    let expected = expected_bits(network, header.height, &own, &parent, below)?;
    if own.bits() != expected {
        let why = format!("bits are {:08x} and must be {expected:08x}", own.bits());
        return Err(breaks("the difficulty rule", why));
    }
    let median = median_time(parent_height, below)?;
    if own.time() <= median {
        let why = format!("its time {} is not above {median}, the median of those below it", own.time());
        return Err(breaks("the rule of time", why));
    }
    check_timewarp(network, header.height, own.time(), parent.time())
}

/// `GetNextWorkRequired` of Bitcoin Core's `pow.cpp`.
fn expected_bits(
    network: &Network,
    height: Height,
    own: &Stamp,
    parent: &Stamp,
    below: &dyn Ancestors,
) -> Result<u32, HeaderFault> {
    use bitcoin::Network::{Regtest, Testnet, Testnet4};
    if network.kind == Regtest {
        return Ok(parent.bits());
    }
    if height.0.is_multiple_of(RETARGET_BLOCKS) {
        return retargeted(network, height, parent, below);
    }
    if !matches!(network.kind, Testnet | Testnet4) {
        return Ok(parent.bits());
    }
    let easiest = network.params().max_attainable_target.to_compact_lossy().to_consensus();
    if own.time() > parent.time().saturating_add(EASY_AFTER_S) {
        return Ok(easiest);
    }
    // The last target that was not an exception.
    let mut at = height.0 - 1;
    let mut bits = parent.bits();
    while bits == easiest && !at.is_multiple_of(RETARGET_BLOCKS) {
        at -= 1;
        bits = ancestor(below, Height(at))?.bits();
    }
    Ok(bits)
}

/// The first target of a period, from how long the one below took.
fn retargeted(network: &Network, height: Height, parent: &Stamp, below: &dyn Ancestors) -> Result<u32, HeaderFault> {
    let first = ancestor(below, Height(height.0 - RETARGET_BLOCKS))?;
    // BIP 94: the last block of a period may be an easy exception, the first one never is.
    let old = if network.kind == bitcoin::Network::Testnet4 { first.bits() } else { parent.bits() };
    // It may even be negative; the rule brings it to at least a quarter of what is meant.
    let took_s = u64::from(parent.time().saturating_sub(first.time()));
    let new = CompactTarget::from_next_work_required(CompactTarget::from_consensus(old), took_s, network.params());
    Ok(new.to_consensus())
}

fn median_time(parent: Height, below: &dyn Ancestors) -> Result<u32, HeaderFault> {
    let lowest = (parent.0 + 1).saturating_sub(MEDIAN_BLOCKS);
    let times = (lowest..=parent.0).map(|height| Ok(ancestor(below, Height(height))?.time()));
    let mut times: Vec<u32> = times.collect::<Result<_, HeaderFault>>()?;
    times.sort_unstable();
    Ok(times[times.len() / 2])
}

fn check_timewarp(network: &Network, height: Height, own_time: u32, parent_time: u32) -> Result<(), HeaderFault> {
    let applies = network.kind == bitcoin::Network::Testnet4 && height.0.is_multiple_of(RETARGET_BLOCKS);
    if applies && own_time < parent_time.saturating_sub(TIMEWARP_S) {
        let why = format!("its time {own_time} is more than {TIMEWARP_S} s before its parent's, {parent_time}");
        return Err(breaks("the timewarp rule of BIP 94", why));
    }
    Ok(())
}

fn breaks(rule: &'static str, why: String) -> HeaderFault {
    HeaderFault::Breaks { rule, why }
}

/// Time and bits of a stored header.
#[derive(Clone, Copy)]
struct Stamp([u8; HEADER_BYTES]);

impl Stamp {
    fn time(&self) -> u32 {
        RawHeader(&self.0).time()
    }

    fn bits(&self) -> u32 {
        RawHeader(&self.0).bits()
    }
}

fn seal(header: &Header) -> Result<Stamp, HeaderFault> {
    let bytes = header.seal.as_slice().try_into();
    bytes.map(Stamp).map_err(|_| breaks("the form of a header", format!("it has {} bytes", header.seal.len())))
}

fn ancestor(below: &dyn Ancestors, height: Height) -> Result<Stamp, HeaderFault> {
    seal(&below.header(height).ok_or(HeaderFault::Unknown(height))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::{BlockHash, Timestamp};
    use std::collections::HashMap;

    const SPACING_S: u32 = 600;

    #[derive(Default)]
    struct Below(HashMap<u64, Header>);

    impl Ancestors for Below {
        fn header(&self, height: Height) -> Option<Header> {
            self.0.get(&height.0).cloned()
        }
    }

    impl Below {
        fn add(&mut self, height: u64, time: u32, bits: u32) {
            self.0.insert(height, header(height, time, bits));
        }
    }

    fn header(height: u64, time: u32, bits: u32) -> Header {
        let mut seal = vec![0; HEADER_BYTES];
        seal[68..72].copy_from_slice(&time.to_le_bytes());
        seal[72..76].copy_from_slice(&bits.to_le_bytes());
        let time = Timestamp::from_unix_s(time.into());
        Header { height: Height(height), hash: BlockHash([0; 32]), parent: BlockHash([0; 32]), time, seal }
    }

    fn network(reference: &str) -> &'static Network {
        Network::of(&format!("bip122:{reference}").parse().unwrap()).unwrap()
    }

    fn main_network() -> &'static Network {
        network("000000000019d6689c085ae165831e93")
    }

    fn regtest() -> &'static Network {
        network("0f9188f13cb7b2c71f2a335e3a4fc328")
    }

    /// The rule that a header breaks.
    fn broken(network: &Network, header: &Header, below: &Below) -> Option<&'static str> {
        match check_header(network, header, below) {
            Ok(()) => None,
            Err(HeaderFault::Breaks { rule, .. }) => Some(rule),
            Err(fault) => panic!("{fault:?}"),
        }
    }

    #[test]
    fn targets_follow_the_history_of_the_main_network() {
        // Bitcoin Core's pow_tests.cpp: last height of a period, times of its first and last block, bits, bits that follow.
        let table = [
            (32_255, 1_261_130_161, 1_262_152_739, 0x1d00_ffff, 0x1d00_d86a),
            (2_015, 1_231_006_505, 1_233_061_996, 0x1d00_ffff, 0x1d00_ffff),
            (68_543, 1_279_008_237, 1_279_297_671, 0x1c05_a3f4, 0x1c01_68fd),
            (48_383, 1_263_163_443, 1_269_211_443, 0x1c38_7f6f, 0x1d00_e1fd),
        ];
        for (last, first_time, last_time, bits, next) in table {
            let mut below = Below::default();
            (last - 10..=last).for_each(|height| below.add(height, last_time, bits));
            below.add(last - 2015, first_time, bits);
            assert_eq!(broken(main_network(), &header(last + 1, last_time + 1, next), &below), None);
            let wrong = header(last + 1, last_time + 1, next - 1);
            assert_eq!(broken(main_network(), &wrong, &below), Some("the difficulty rule"));
            below.add(last + 1, last_time + 1, next);
            let late = last_time + 100 * EASY_AFTER_S;
            assert_eq!(broken(main_network(), &header(last + 2, late, next), &below), None);
            assert_eq!(
                broken(main_network(), &header(last + 2, late, 0x1d00_fffe), &below),
                Some("the difficulty rule")
            );
        }
    }

    #[test]
    fn test_networks_allow_easy_blocks_after_a_pause() {
        let (easy, hard) = (0x1d00_ffff, 0x1c01_68fd);
        for reference in ["000000000933ea01ad0ee984209779ba", "00000000da84f2bafbbc53dee25a72ae"] {
            let testnet = network(reference);
            let mut below = Below::default();
            (0..20).for_each(|n| below.add(4032 + n, 1_000_000 + SPACING_S * u32::try_from(n).unwrap(), hard));
            let parent_time = 1_000_000 + SPACING_S * 19;
            let late = parent_time + EASY_AFTER_S + 1;
            assert_eq!(broken(testnet, &header(4052, late, easy), &below), None);
            assert_eq!(broken(testnet, &header(4052, late, hard), &below), Some("the difficulty rule"));
            assert_eq!(broken(testnet, &header(4052, late - 1, hard), &below), None);
            assert_eq!(broken(testnet, &header(4052, late - 1, easy), &below), Some("the difficulty rule"));
            below.add(4052, late, easy);
            // After an exception the last real target counts again.
            assert_eq!(broken(testnet, &header(4053, late + SPACING_S, hard), &below), None);
        }
    }

    #[test]
    fn time_goes_on_at_least_in_the_median() {
        let mut below = Below::default();
        (0..11).for_each(|n| below.add(n, 1_000 + 10 * u32::try_from(n).unwrap(), 0x207f_ffff));
        assert_eq!(broken(regtest(), &header(11, 1_051, 0x207f_ffff), &below), None);
        assert_eq!(broken(regtest(), &header(11, 1_050, 0x207f_ffff), &below), Some("the rule of time"));
        assert_eq!(broken(regtest(), &header(11, 1_051, 0x207f_fffe), &below), Some("the difficulty rule"));
    }

    #[test]
    fn a_missing_ancestor_is_no_broken_rule() {
        let fault = check_header(regtest(), &header(7, 1, 0x207f_ffff), &Below::default());
        assert_eq!(fault, Err(HeaderFault::Unknown(Height(6))));
    }

    #[test]
    fn block_0_is_the_genesis_block() {
        let mut genesis = header(0, 1, 0x207f_ffff);
        assert_eq!(broken(regtest(), &genesis, &Below::default()), Some("the genesis block"));
        genesis.hash = regtest().genesis;
        assert_eq!(broken(regtest(), &genesis, &Below::default()), None);
    }

    #[test]
    fn targets_out_of_bounds_are_no_targets() {
        let lowest = [0; 32];
        assert_eq!(check_work(main_network(), lowest, 0x1d00_ffff), Ok(()));
        assert_eq!(check_work(regtest(), lowest, 0x207f_ffff), Ok(()));
        // Above the limit, negative, nothing, overflowing.
        for bits in [0x1d01_0000, 0x207f_ffff, 0x1c80_0001, 0, 0x0100_0000, 0x2100_ffff, 0xff00_0001, u32::MAX] {
            assert!(check_work(main_network(), lowest, bits).unwrap_err().contains("no target"), "{bits:08x}");
        }
        assert!(check_work(regtest(), [0xff; 32], 0x207f_ffff).unwrap_err().contains("above the target"));
    }
}
