//! The SHA extensions of x86-64, on two messages side by side.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_set_epi32,
    _mm_set_epi64x, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32,
};

use super::{BLOCK, Block, FOLLOWING, K, K_AFTER_64, Message, RawHash, joined};

/// Words a, b, e, f and c, d, g, h, as the instructions want them.
type State = [__m128i; 2];

pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")
}

pub(super) fn of_each(messages: &[Message<'_>]) -> Vec<RawHash> {
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
struct Lane<'m> {
    /// Whose hash it is; nobody's when there is nothing to do any more.
    place: Option<usize>,
    state: State,
    /// The blocks that are left where the message stands.
    whole: &'m [Block],
    /// Its end with the padding, in the second block or in both, and which of them comes next.
    end: [Block; 2],
    end_next: usize,
}

impl<'m> Lane<'m> {
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn new() -> Lane<'m> {
        Lane { place: None, state: start(), whole: &[], end: [[0; BLOCK]; 2], end_next: 2 }
    }

    /// Begins with a message.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn begin(&mut self, place: usize, message: &Message<'m>) {
        let Message { bytes, length, following } = *message;
        let (whole, rest) = bytes[..length].as_chunks();
        let left = rest.len() + if following.is_some() { FOLLOWING } else { 0 };
        // A byte that ends the message and eight for its length.
        self.end_next = usize::from(left + 9 <= BLOCK);
        let from = self.end_next * BLOCK;
        self.end = [[0; BLOCK]; 2];
        self.end[self.end_next] = last_block(&bytes[length - rest.len()..], rest.len());
        let end = self.end.as_flattened_mut();
        if let Some(following) = following {
            end[from + rest.len()..][..FOLLOWING].copy_from_slice(&following);
        }
        end[from + left] = 0x80;
        let bits = (whole.len() * BLOCK + left) as u64 * 8;
        end[2 * BLOCK - 8..].copy_from_slice(&bits.to_be_bytes());
        (self.place, self.state, self.whole) = (Some(place), start(), whole);
    }

    /// The blocks that come next and stand side by side.
    fn following(&self) -> &[Block] {
        if self.whole.is_empty() { &self.end[self.end_next..] } else { self.whole }
    }

    fn advance(&mut self, state: State, count: usize) {
        self.state = state;
        match self.whole.split_at_checked(count) {
            Some((_, left)) if !self.whole.is_empty() => self.whole = left,
            _ => self.end_next += count,
        }
    }
}

#[target_feature(enable = "sha,sse4.1,ssse3")]
fn each(messages: &[Message<'_>]) -> Vec<RawHash> {
    let mut hashes = vec![[0; 32]; messages.len()];
    let mut waiting = messages.iter().enumerate();
    let (mut a, mut b) = (Lane::new(), Lane::new());
    loop {
        for lane in [&mut a, &mut b] {
            if lane.following().is_empty() {
                if let Some(place) = lane.place.take() {
                    hashes[place] = digest(lane.state);
                }
                if let Some((place, message)) = waiting.next() {
                    lane.begin(place, message);
                }
            }
        }
        // The last one is hashed beside itself.
        let (one, two) = match (a.following(), b.following()) {
            ([], []) => break,
            ([], two) => (two, two),
            (one, []) => (one, one),
            both => both,
        };
        let count = one.len().min(two.len());
        let states = run([a.state, b.state], &one[..count], &two[..count]);
        for (lane, state) in [(&mut a, states[0]), (&mut b, states[1])] {
            if !lane.following().is_empty() {
                lane.advance(state, count);
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

/// The place of each byte in a block.
const PLACES: Block = {
    let (mut places, mut place) = ([0; BLOCK], 0_u8);
    while (place as usize) < BLOCK {
        places[place as usize] = place;
        place += 1;
    }
    places
};

/// The first bytes of these, and zeros. A whole block is copied and what is too much struck out, where so much is there: a call for every
/// number of bytes takes longer than that.
#[target_feature(enable = "sha,sse4.1,ssse3")]
#[inline]
fn last_block(bytes: &[u8], length: usize) -> Block {
    match bytes.first_chunk::<BLOCK>() {
        Some(block) => {
            let (mut last, [length, ..]) = (*block, length.to_le_bytes());
            for (byte, place) in last.iter_mut().zip(PLACES) {
                *byte = if place < length { *byte } else { 0 };
            }
            last
        }
        None => {
            let mut last = [0; BLOCK];
            last[..length].copy_from_slice(&bytes[..length]);
            last
        }
    }
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
