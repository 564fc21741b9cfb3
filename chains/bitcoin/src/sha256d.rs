//! SHA-256 of SHA-256, of many messages at once: the one thing in a checked walk over a chain that cannot be saved.
//!
//! A SHA instruction waits for the one before it, so that a processor does two hashes side by side in little more than the time of
//! one. (Sixteen side by side with AVX-512 were no faster.) Where there are no such instructions, the crate `sha2` hashes one by one.

#[cfg(target_arch = "x86_64")]
mod two;

use sha2::{Digest as _, Sha256};

/// A hash as SHA-256 gives it: the reverse of how it is written.
pub(crate) type RawHash = [u8; 32];

/// A message to hash.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    /// What it begins with. More may follow than belongs to it: where that is so it is quicker to copy its end.
    pub bytes: &'a [u8],
    /// How many of those bytes belong to it.
    pub length: usize,
    /// What it ends with.
    pub following: Option<[u8; FOLLOWING]>,
}

pub(crate) const FOLLOWING: usize = 4;

/// SHA-256 of the SHA-256.
pub(crate) fn double_sha256(bytes: &[u8]) -> RawHash {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// The double hash of each message, in order.
pub(crate) fn of_each(messages: &[Message<'_>]) -> Vec<RawHash> {
    #[cfg(target_arch = "x86_64")]
    if two::is_there() {
        return two::of_each(messages);
    }
    let one = |message: &Message<'_>| {
        let inner = Sha256::new().chain_update(&message.bytes[..message.length]);
        Sha256::digest(inner.chain_update(message.following.as_ref().map_or(&[][..], |it| it)).finalize()).into()
    };
    messages.iter().map(one).collect()
}

/// A row of a Merkle tree becomes the row above it: the double hash of each two. The row has an even length.
pub(crate) fn of_pairs(row: &mut Vec<RawHash>) {
    #[cfg(target_arch = "x86_64")]
    if two::is_there() {
        return two::of_pairs(row);
    }
    for pair in 0..row.len() / 2 {
        row[pair] = double_sha256(&joined(&row[2 * pair], &row[2 * pair + 1]));
    }
    row.truncate(row.len() / 2);
}

const BLOCK: usize = 64;
type Block = [u8; BLOCK];

fn joined(left: &RawHash, right: &RawHash) -> Block {
    let mut block = [0; BLOCK];
    block[..32].copy_from_slice(left);
    block[32..].copy_from_slice(right);
    block
}

/// FIPS 180-4, 4.2.2.
#[rustfmt::skip]
const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];
/// [`K`] plus the message schedule of the block that pads a message of 64 bytes: always the same.
const K_AFTER_64: [u32; 64] = {
    let mut w = [0_u32; 64];
    (w[0], w[15]) = (0x8000_0000, 512);
    let mut t = 16;
    while t < 64 {
        let s0 = w[t - 15].rotate_right(7) ^ w[t - 15].rotate_right(18) ^ (w[t - 15] >> 3);
        let s1 = w[t - 2].rotate_right(17) ^ w[t - 2].rotate_right(19) ^ (w[t - 2] >> 10);
        w[t] = w[t - 16].wrapping_add(s0).wrapping_add(w[t - 7]).wrapping_add(s1);
        t += 1;
    }
    t = 0;
    while t < 64 {
        w[t] = w[t].wrapping_add(K[t]);
        t += 1;
    }
    w
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_every_length_hash_as_the_library_hashes_them() {
        let bytes: Vec<u8> = (0..40_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        // With nothing behind them, with little and with much; with an end that stands elsewhere and without.
        for more in [0, 1, 63, 64, 500] {
            let message = |length: usize| {
                let end = (length + more).min(bytes.len());
                let following =
                    (!length.is_multiple_of(3)).then(|| *bytes[length..].first_chunk().unwrap_or(&[9; FOLLOWING]));
                Message { bytes: &bytes[..end], length, following }
            };
            for count in [0, 1, 2, 3, 15, 16, 17, 33, 700] {
                let mut messages: Vec<Message> = (0..count).map(message).collect();
                messages.extend([40_000, 1_024, 5_000, 1].into_iter().filter(|_| count > 3).map(message));
                let whole =
                    |it: &Message| [&it.bytes[..it.length], it.following.as_ref().map_or(&[], |it| it)].concat();
                let expected: Vec<RawHash> = messages.iter().map(|it| double_sha256(&whole(it))).collect();
                assert!(of_each(&messages) == expected, "{count} messages");
            }
        }
    }

    #[test]
    fn pairs_hash_as_the_library_hashes_them() {
        for pairs in 0..70_u8 {
            let mut row: Vec<RawHash> = (0..2 * pairs).map(|n| double_sha256(&[n])).collect();
            let expected: Vec<RawHash> = row.chunks(2).map(|pair| double_sha256(&pair.concat())).collect();
            of_pairs(&mut row);
            assert_eq!(row, expected);
        }
    }
}
