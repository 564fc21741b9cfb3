//! SHA-256 of SHA-256, of many messages at once: the one thing in a checked walk over a chain that cannot be saved.
//!
//! One SHA instruction waits for the one before it, so that a processor does two hashes side by side in little more than
//! the time of one. Where there are no such instructions, the crate `sha2` hashes them one by one.

use sha2::{Digest as _, Sha256};

/// A hash as SHA-256 gives it: the reverse of how it is written.
pub(crate) type RawHash = [u8; 32];

/// A message in pieces that follow each other.
pub(crate) type Pieces<'a> = [&'a [u8]; 3];

/// SHA-256 of the SHA-256.
pub(crate) fn double_sha256(bytes: &[u8]) -> RawHash {
    Sha256::digest(Sha256::digest(bytes)).into()
}

/// The double hash of each message, in order.
pub(crate) fn of_each(messages: &[Pieces<'_>]) -> Vec<RawHash> {
    #[cfg(target_arch = "x86_64")]
    if x86::is_there() {
        return x86::of_each(messages);
    }
    let one = |pieces: &Pieces<'_>| {
        let inner = pieces.iter().fold(Sha256::new(), Sha256::chain_update).finalize();
        Sha256::digest(inner).into()
    };
    messages.iter().map(one).collect()
}

/// A row of a Merkle tree becomes the row above it: the double hash of each two. The row has an even length.
pub(crate) fn of_pairs(row: &mut Vec<RawHash>) {
    #[cfg(target_arch = "x86_64")]
    if x86::is_there() {
        return x86::of_pairs(row);
    }
    for pair in 0..row.len() / 2 {
        row[pair] = double_sha256([row[2 * pair], row[2 * pair + 1]].as_flattened());
    }
    row.truncate(row.len() / 2);
}

/// The SHA extensions of x86-64, on two messages side by side.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_set_epi32,
        _mm_set_epi64x, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
        _mm_shuffle_epi32,
    };

    use super::{Pieces, RawHash};

    const BLOCK: usize = 64;
    type Block = [u8; BLOCK];
    /// Words a, b, e, f and c, d, g, h, as the instructions want them.
    type State = [__m128i; 2];

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

    pub(super) fn is_there() -> bool {
        is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")
    }

    pub(super) fn of_each(messages: &[Pieces<'_>]) -> Vec<RawHash> {
        assert!(is_there());
        #[allow(unsafe_code)]
        // SAFETY: the processor has the instructions, as was just asserted.
        unsafe {
            each(messages)
        }
    }

    pub(super) fn of_pairs(row: &mut Vec<RawHash>) {
        assert!(is_there());
        #[allow(unsafe_code)]
        // SAFETY: the processor has the instructions, as was just asserted.
        unsafe {
            pairs(row);
        }
    }

    /// One of the two messages that are being hashed.
    struct Lane {
        /// Whose hash it is; nobody's when there is nothing to do any more.
        place: Option<usize>,
        state: State,
        /// The message, padded.
        padded: Vec<Block>,
        next: usize,
    }

    impl Lane {
        #[target_feature(enable = "sha,sse4.1,ssse3")]
        fn new() -> Lane {
            Lane { place: None, state: start(), padded: Vec::new(), next: 0 }
        }

        /// Begins with a message.
        #[target_feature(enable = "sha,sse4.1,ssse3")]
        fn begin(&mut self, place: usize, pieces: &Pieces<'_>) {
            let length: usize = pieces.iter().map(|piece| piece.len()).sum();
            // A byte that ends the message and eight for its length.
            self.padded.resize((length + 9).div_ceil(BLOCK), [0; BLOCK]);
            let bytes = self.padded.as_flattened_mut();
            let mut at = 0;
            for piece in pieces {
                bytes[at..at + piece.len()].copy_from_slice(piece);
                at += piece.len();
            }
            bytes[at..].fill(0);
            bytes[at] = 0x80;
            let end = bytes.len() - 8;
            bytes[end..].copy_from_slice(&(length as u64 * 8).to_be_bytes());
            (self.place, self.state, self.next) = (Some(place), start(), 0);
        }

        fn left(&self) -> usize {
            self.padded.len() - self.next
        }

        fn following(&self, count: usize) -> &[Block] {
            &self.padded[self.next..][..count]
        }
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn each(messages: &[Pieces<'_>]) -> Vec<RawHash> {
        let mut hashes = vec![[0; 32]; messages.len()];
        let mut waiting = messages.iter().enumerate();
        let (mut a, mut b) = (Lane::new(), Lane::new());
        loop {
            for lane in [&mut a, &mut b] {
                if lane.left() == 0 {
                    if let Some(place) = lane.place.take() {
                        hashes[place] = digest(lane.state);
                    }
                    if let Some((place, pieces)) = waiting.next() {
                        lane.begin(place, pieces);
                    }
                }
            }
            // The last one is hashed beside itself.
            let (one, two) = match (a.left(), b.left()) {
                (0, 0) => break,
                (0, _) => (&b, &b),
                (_, 0) => (&a, &a),
                _ => (&a, &b),
            };
            let count = one.left().min(two.left());
            let states = run([one.state, two.state], one.following(count), two.following(count));
            for (lane, state) in [(&mut a, states[0]), (&mut b, states[1])] {
                if lane.left() > 0 {
                    (lane.state, lane.next) = (state, lane.next + count);
                }
            }
        }
        let mut twos = hashes.chunks_exact_mut(2);
        for two in &mut twos {
            let blocks = [after_32(&two[0]), after_32(&two[1])];
            let states = compress([start(); 2], [&blocks[0], &blocks[1]]);
            two.copy_from_slice(&[digest(states[0]), digest(states[1])]);
        }
        for last in twos.into_remainder() {
            let block = after_32(last);
            *last = digest(compress([start(); 2], [&block, &block])[0]);
        }
        hashes
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn pairs(row: &mut Vec<RawHash>) {
        let above = row.len() / 2;
        let mut at = 0;
        while at < above {
            // The last one of an odd row is hashed beside itself.
            let other = (at + 1).min(above - 1);
            let blocks = [joined(&row[2 * at], &row[2 * at + 1]), joined(&row[2 * other], &row[2 * other + 1])];
            let states = compress([start(); 2], [&blocks[0], &blocks[1]]);
            let [one, two] = compress_after_64(states);
            let inner = [after_32(&digest(one)), after_32(&digest(two))];
            let states = compress([start(); 2], [&inner[0], &inner[1]]);
            [row[at], row[other]] = [digest(states[0]), digest(states[1])];
            at += 2;
        }
        row.truncate(above);
    }

    fn joined(left: &RawHash, right: &RawHash) -> Block {
        let mut block = [0; BLOCK];
        block[..32].copy_from_slice(left);
        block[32..].copy_from_slice(right);
        block
    }

    /// The one block of a message of 32 bytes.
    fn after_32(hash: &RawHash) -> Block {
        let mut block = padding(32, 32);
        block[..32].copy_from_slice(hash);
        block
    }

    /// A last block whose padding begins at a byte, of a message of so many bytes.
    const fn padding(from: usize, length: u8) -> Block {
        let mut block = [0; BLOCK];
        block[from] = 0x80;
        let bits = (length as u16 * 8).to_be_bytes();
        (block[62], block[63]) = (bits[0], bits[1]);
        block
    }

    /// FIPS 180-4, 5.3.3.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    #[inline]
    fn start() -> State {
        [
            _mm_set_epi64x(0x6a09_e667_bb67_ae85, 0x510e_527f_9b05_688c),
            _mm_set_epi64x(0x3c6e_f372_a54f_f53a, 0x1f83_d9ab_5be0_cd19),
        ]
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    #[inline]
    fn digest([abef, cdgh]: State) -> RawHash {
        let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let feba = _mm_shuffle_epi32(abef, 0x1b);
        let dchg = _mm_shuffle_epi32(cdgh, 0xb1);
        let dcba = _mm_shuffle_epi8(_mm_blend_epi16(feba, dchg, 0xf0), swap);
        let hgfe = _mm_shuffle_epi8(_mm_alignr_epi8(dchg, feba, 8), swap);
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&_mm_cvtsi128_si64(dcba).to_le_bytes());
        hash[8..16].copy_from_slice(&_mm_extract_epi64(dcba, 1).to_le_bytes());
        hash[16..24].copy_from_slice(&_mm_cvtsi128_si64(hgfe).to_le_bytes());
        hash[24..].copy_from_slice(&_mm_extract_epi64(hgfe, 1).to_le_bytes());
        hash
    }

    /// Sixteen words of a block.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    #[inline]
    fn words(block: &Block) -> [__m128i; 4] {
        let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
        let (bytes, _) = block.as_chunks::<8>();
        let two = |at: usize| (i64::from_le_bytes(bytes[at + 1]), i64::from_le_bytes(bytes[at]));
        let [(b, a), (d, c), (f, e), (h, g)] = [two(0), two(2), two(4), two(6)];
        [
            _mm_shuffle_epi8(_mm_set_epi64x(b, a), swap),
            _mm_shuffle_epi8(_mm_set_epi64x(d, c), swap),
            _mm_shuffle_epi8(_mm_set_epi64x(f, e), swap),
            _mm_shuffle_epi8(_mm_set_epi64x(h, g), swap),
        ]
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    #[inline]
    fn four(table: &[u32; 64], at: usize) -> __m128i {
        let word = |n: usize| i32::from_ne_bytes(table[4 * at + n].to_ne_bytes());
        _mm_set_epi32(word(3), word(2), word(1), word(0))
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn run(mut states: [State; 2], of_a: &[Block], of_b: &[Block]) -> [State; 2] {
        for (of_a, of_b) in of_a.iter().zip(of_b) {
            states = compress(states, [of_a, of_b]);
        }
        states
    }

    /// Four rounds of both.
    macro_rules! rounds {
        ($states:ident, $wk:expr) => {{
            let wk: [__m128i; 2] = $wk;
            let [[ab, cd], [ef, gh]] = $states;
            let (cd, gh) = (_mm_sha256rnds2_epu32(cd, ab, wk[0]), _mm_sha256rnds2_epu32(gh, ef, wk[1]));
            let (wk0, wk1) = (_mm_shuffle_epi32(wk[0], 0x0e), _mm_shuffle_epi32(wk[1], 0x0e));
            let (ab, ef) = (_mm_sha256rnds2_epu32(ab, cd, wk0), _mm_sha256rnds2_epu32(ef, gh, wk1));
            $states = [[ab, cd], [ef, gh]];
        }};
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    #[inline]
    fn compress(before: [State; 2], blocks: [&Block; 2]) -> [State; 2] {
        let mut states = before;
        let (mut a, mut b) = (words(blocks[0]), words(blocks[1]));
        macro_rules! group {
            ($($at:literal)*) => {$(
                let k = four(&K, $at);
                rounds!(states, [_mm_add_epi32(a[$at % 4], k), _mm_add_epi32(b[$at % 4], k)]);
                #[allow(unused_assignments)] // the last four words are the last
                if $at < 12 {
                    a[$at % 4] = further(a[$at % 4], a[($at + 1) % 4], a[($at + 2) % 4], a[($at + 3) % 4]);
                    b[$at % 4] = further(b[$at % 4], b[($at + 1) % 4], b[($at + 2) % 4], b[($at + 3) % 4]);
                }
            )*};
        }
        group!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        added(before, states)
    }

    /// Both after the padding of a message of 64 bytes.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    #[inline]
    fn compress_after_64(before: [State; 2]) -> [State; 2] {
        let mut states = before;
        macro_rules! group {
            ($($at:literal)*) => {$(
                let wk = four(&K_AFTER_64, $at);
                rounds!(states, [wk, wk]);
            )*};
        }
        group!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        added(before, states)
    }

    /// The four words of the schedule that come sixteen after the first of these.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    #[inline]
    fn further(w0: __m128i, w4: __m128i, w8: __m128i, w12: __m128i) -> __m128i {
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w4), _mm_alignr_epi8(w12, w8, 4));
        _mm_sha256msg2_epu32(sum, w12)
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    #[inline]
    fn added(before: [State; 2], states: [State; 2]) -> [State; 2] {
        let [[ab, cd], [ef, gh]] = before;
        let [[a, c], [e, g]] = states;
        [[_mm_add_epi32(ab, a), _mm_add_epi32(cd, c)], [_mm_add_epi32(ef, e), _mm_add_epi32(gh, g)]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_every_length_hash_as_the_library_hashes_them() {
        let bytes: Vec<u8> = (0..700_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        for count in [1, 2, 3, 700] {
            let pieces = |n: usize| [&bytes[..n / 3], &bytes[n / 3..n / 2], &bytes[n / 2..n]];
            let messages: Vec<Pieces> = (0..count).map(pieces).collect();
            let expected: Vec<RawHash> = messages.iter().map(|pieces| double_sha256(&pieces.concat())).collect();
            assert_eq!(of_each(&messages), expected);
        }
        assert!(of_each(&[]).is_empty());
    }

    #[test]
    fn pairs_hash_as_the_library_hashes_them() {
        for pairs in 0..9_u8 {
            let mut row: Vec<RawHash> = (0..2 * pairs).map(|n| double_sha256(&[n])).collect();
            let expected: Vec<RawHash> = row.chunks(2).map(|pair| double_sha256(&pair.concat())).collect();
            of_pairs(&mut row);
            assert_eq!(row, expected);
        }
    }
}
