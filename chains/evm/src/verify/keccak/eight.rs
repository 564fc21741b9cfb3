//! AVX-512 of x86-64, on eight messages side by side: eight times the work in the time of one.

use std::arch::x86_64::{
    __m512i, _mm512_loadu_si512, _mm512_maskz_mov_epi64, _mm512_rol_epi64, _mm512_set1_epi64, _mm512_setr_epi64,
    _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use alloy::primitives::B256;

const LANES: usize = 8;
/// Bytes that a message gives to each permutation, and as many words.
const RATE: usize = 136;
type Block = [u8; RATE];

/// The sponge's words, of every lane.
type State = [__m512i; 25];

/// What is mixed in after each round (FIPS 202, 3.2.5).
const ROUNDS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

pub(super) fn is_there() -> bool {
    is_x86_feature_detected!("avx512f")
}

pub(super) fn of_each(messages: &[&[u8]]) -> Vec<B256> {
    assert!(is_there());
    #[allow(unsafe_code)]
    // SAFETY: the processor has the instructions, as was just asserted.
    unsafe {
        each(messages)
    }
}

/// One of the messages that are being hashed.
#[derive(Clone, Copy)]
struct Lane<'m> {
    /// Whose hash it is.
    place: usize,
    /// What is left of it; nothing once its padding is in.
    rest: Option<&'m [u8]>,
}

#[target_feature(enable = "avx512f")]
fn each(messages: &[&[u8]]) -> Vec<B256> {
    let mut hashes = vec![B256::ZERO; messages.len()];
    let mut waiting = messages.iter().enumerate();
    let mut next = || waiting.next().map(|(place, message)| Lane { place, rest: Some(message) });
    let mut lanes: [Option<Lane<'_>>; LANES] = std::array::from_fn(|_| next());
    let mut state: State = [_mm512_setzero_si512(); 25];
    let mut ends = [[0; RATE]; LANES];
    while lanes.iter().any(Option::is_some) {
        let mut blocks: [&Block; LANES] = [&[0; RATE]; LANES];
        for ((lane, block), end) in lanes.iter_mut().zip(&mut blocks).zip(&mut ends) {
            if let Some(Lane { rest, .. }) = lane {
                (*block, *rest) = next_block(rest.unwrap_or_default(), end);
            }
        }
        absorb(&mut state, &blocks);
        permute(&mut state);
        let mut goes_on = 0xff;
        for (number, lane) in lanes.iter_mut().enumerate() {
            let Some(Lane { place, rest: None }) = *lane else { continue };
            let words = [state[0], state[1], state[2], state[3]].map(|word| stored(word)[number].to_le_bytes());
            hashes[place] = B256::from_slice(words.as_flattened());
            goes_on &= !(1 << number);
            *lane = next();
        }
        if goes_on != 0xff {
            for word in &mut state {
                *word = _mm512_maskz_mov_epi64(goes_on, *word);
            }
        }
    }
    hashes
}

/// The next part of a message, and what is left of it then: nothing after its padding, which is put where there is room for it.
fn next_block<'m: 'b, 'b>(message: &'m [u8], end: &'b mut Block) -> (&'b Block, Option<&'m [u8]>) {
    match message.split_first_chunk::<RATE>() {
        Some((block, rest)) => (block, Some(rest)),
        None => {
            end[..message.len()].copy_from_slice(message);
            end[message.len()..].fill(0);
            end[message.len()] = 1;
            end[RATE - 1] |= 0x80;
            (end, None)
        }
    }
}

/// Mixes the next part of each message in.
#[target_feature(enable = "avx512f")]
fn absorb(state: &mut State, blocks: &[&Block; LANES]) {
    for group in 0..2 {
        let rows = blocks.map(|block| loaded(block, group));
        for (word, mixed) in state[8 * group..].iter_mut().zip(turned_over(rows)) {
            *word = _mm512_xor_si512(*word, mixed);
        }
    }
    let [l0, l1, l2, l3, l4, l5, l6, l7] = blocks.map(|block| block.as_chunks().0[16]).map(i64::from_le_bytes);
    state[16] = _mm512_xor_si512(state[16], _mm512_setr_epi64(l0, l1, l2, l3, l4, l5, l6, l7));
}

/// Eight words of a block, the first eight or the next.
#[target_feature(enable = "avx512f")]
fn loaded(block: &Block, group: usize) -> __m512i {
    let words: &[u8; 64] = &block.as_chunks().0[group];
    #[allow(unsafe_code)]
    // SAFETY: they are 64 bytes, and need not be aligned.
    unsafe {
        _mm512_loadu_si512(words.as_ptr().cast())
    }
}

#[target_feature(enable = "avx512f")]
fn stored(lanes: __m512i) -> [u64; LANES] {
    let mut words = [0; LANES];
    #[allow(unsafe_code)]
    // SAFETY: eight words of eight bytes are 64 bytes, and need not be aligned.
    unsafe {
        _mm512_storeu_si512(words.as_mut_ptr().cast(), lanes);
    }
    words
}

/// Eight words of each lane become each word of eight lanes.
#[target_feature(enable = "avx512f")]
fn turned_over(r: [__m512i; 8]) -> [__m512i; 8] {
    macro_rules! each_second {
        ($unpack:ident) => {{
            let pairs = [$unpack(r[0], r[1]), $unpack(r[2], r[3]), $unpack(r[4], r[5]), $unpack(r[6], r[7])];
            let [low, high] = [
                [_mm512_shuffle_i64x2::<0x88>(pairs[0], pairs[1]), _mm512_shuffle_i64x2::<0x88>(pairs[2], pairs[3])],
                [_mm512_shuffle_i64x2::<0xdd>(pairs[0], pairs[1]), _mm512_shuffle_i64x2::<0xdd>(pairs[2], pairs[3])],
            ];
            [
                _mm512_shuffle_i64x2::<0x88>(low[0], low[1]),
                _mm512_shuffle_i64x2::<0x88>(high[0], high[1]),
                _mm512_shuffle_i64x2::<0xdd>(low[0], low[1]),
                _mm512_shuffle_i64x2::<0xdd>(high[0], high[1]),
            ]
        }};
    }
    let ([w0, w2, w4, w6], [w1, w3, w5, w7]) =
        (each_second!(_mm512_unpacklo_epi64), each_second!(_mm512_unpackhi_epi64));
    [w0, w1, w2, w3, w4, w5, w6, w7]
}

/// Keccak-f\[1600\] of every lane (FIPS 202, 3.3).
#[target_feature(enable = "avx512f")]
fn permute(state: &mut State) {
    let mut a = *state;
    for constant in ROUNDS {
        // Each word by its number: where a loop is left, it takes twice as long.
        macro_rules! of_five {
            ($what:ident) => {
                [$what!(0), $what!(1), $what!(2), $what!(3), $what!(4)]
            };
        }
        macro_rules! column {
            ($x:literal) => {
                xor3(xor3(a[$x], a[$x + 5], a[$x + 10]), a[$x + 15], a[$x + 20])
            };
        }
        let c = of_five!(column);
        macro_rules! difference {
            ($x:literal) => {
                _mm512_xor_si512(c[($x + 4) % 5], _mm512_rol_epi64::<1>(c[($x + 1) % 5]))
            };
        }
        let d = of_five!(difference);
        macro_rules! turned {
            ($($word:literal by $bits:literal),*) => {
                [$(_mm512_rol_epi64::<$bits>(_mm512_xor_si512(a[$word], d[$word % 5]))),*]
            };
        }
        let rows = [
            turned![0 by 0, 6 by 44, 12 by 43, 18 by 21, 24 by 14],
            turned![3 by 28, 9 by 20, 10 by 3, 16 by 45, 22 by 61],
            turned![1 by 1, 7 by 6, 13 by 25, 19 by 8, 20 by 18],
            turned![4 by 27, 5 by 36, 11 by 10, 17 by 15, 23 by 56],
            turned![2 by 62, 8 by 55, 14 by 39, 15 by 41, 21 by 2],
        ];
        macro_rules! mixed {
            ($($row:literal)*) => {
                [$(
                    chi(rows[$row][0], rows[$row][1], rows[$row][2]),
                    chi(rows[$row][1], rows[$row][2], rows[$row][3]),
                    chi(rows[$row][2], rows[$row][3], rows[$row][4]),
                    chi(rows[$row][3], rows[$row][4], rows[$row][0]),
                    chi(rows[$row][4], rows[$row][0], rows[$row][1])
                ),*]
            };
        }
        a = mixed!(0 1 2 3 4);
        a[0] = _mm512_xor_si512(a[0], _mm512_set1_epi64(constant.cast_signed()));
    }
    *state = a;
}

/// a ^ b ^ c.
#[target_feature(enable = "avx512f")]
fn xor3(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(a, b, c)
}

/// a ^ (!b & c).
#[target_feature(enable = "avx512f")]
fn chi(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0xd2>(a, b, c)
}
