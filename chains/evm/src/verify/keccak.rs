//! Keccak-256 of many messages. A block's check is mostly this: its transactions, its receipts, and the nodes of their tries.

use alloy::primitives::{B256, keccak256};

#[cfg(target_arch = "x86_64")]
mod eight;

/// The hash of each of these, in order.
pub(crate) fn of_each(messages: &[&[u8]]) -> Vec<B256> {
    #[cfg(target_arch = "x86_64")]
    if messages.len() > 1 && eight::is_there() {
        return eight::of_each(messages);
    }
    messages.iter().map(keccak256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_hash_as_each_by_itself() {
        let bytes: Vec<u8> = (0..1_000u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        for count in [0, 1, 2, 7, 8, 9, 100, 600] {
            for longest in [1, 135, 136, 137, 272, 1_000] {
                let messages: Vec<&[u8]> = (0..count).map(|n| &bytes[..(n * 37 + count) % (longest + 1)]).collect();
                let expected: Vec<B256> = messages.iter().map(keccak256).collect();
                assert_eq!(of_each(&messages), expected, "{count} of up to {longest} bytes");
            }
        }
    }
}
