//! JSON of large answers, read once from left to right, without a copy: a block's is a few hundred kilobytes, and most of it hexadecimal.
//!
//! What is not wanted is passed over and not looked at. Numbers and bytes are hexadecimal text, as the execution APIs' specification has them.

use alloy::primitives::{Address, B256, U256};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Why it cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// This field is not there.
    Missing(&'static str),
    /// What this field says is not what it can say.
    Field(&'static str),
    /// It is not this.
    Not(&'static str),
}

impl Wrong {
    pub(crate) fn into<E: Error>(self) -> E {
        match self {
            Wrong::Missing(field) => E::missing_field(field),
            Wrong::Field(field) => E::custom(format_args!("invalid field `{field}`")),
            Wrong::Not(what) => E::custom(format_args!("it is not {what}")),
        }
    }
}

/// What can be read from a place in a JSON document.
pub(crate) trait FromJson: Sized {
    /// No list has more of them.
    const MOST: usize = usize::MAX;

    fn from_json(json: &mut Json<'_>) -> Result<Self, Wrong>;
}

impl FromJson for B256 {
    fn from_json(json: &mut Json<'_>) -> Result<B256, Wrong> {
        hash(json.skip()?).ok_or(Wrong::Not("a hash"))
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(json: &mut Json<'_>) -> Result<Option<T>, Wrong> {
        if json.peek() == Some(b'n') {
            return json.skip().map(|_| None);
        }
        T::from_json(json).map(Some)
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(json: &mut Json<'_>) -> Result<Vec<T>, Wrong> {
        // A transaction or a receipt has about so many bytes. To make room for another time takes longer than to have some too much.
        let mut items = Vec::with_capacity(json.rest.len() / 640);
        json.items(|json| {
            if items.len() == T::MOST {
                return Err(Wrong::Not("that few"));
            }
            T::from_json(json).map(|item| items.push(item))
        })?;
        Ok(items)
    }
}

/// The same by way of serde, for what is read with other things.
pub(crate) fn deserialize<'de, T: FromJson, D: Deserializer<'de>>(json: D) -> Result<T, D::Error> {
    let text = Box::<RawValue>::deserialize(json)?;
    T::from_json(&mut Json::new(text.get().as_bytes())).map_err(Wrong::into)
}

/// A place in a JSON document.
pub(crate) struct Json<'a> {
    rest: &'a [u8],
}

const END: Wrong = Wrong::Not("at an end");

impl<'a> Json<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Json<'a> {
        Json { rest: text }
    }

    /// What comes next, behind space.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let [b' ' | b'\n' | b'\r' | b'\t', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    /// Is there nothing any more?
    pub(crate) fn is_over(&mut self) -> bool {
        self.peek().is_none()
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Wrong> {
        match self.peek() {
            Some(next) if next == byte => {
                self.rest = &self.rest[1..];
                Ok(())
            }
            None => Err(END),
            Some(_) => Err(Wrong::Not(what)),
        }
    }

    /// Calls `take` with each field's name, at its value.
    pub(crate) fn fields(
        &mut self,
        mut take: impl FnMut(&'a [u8], &mut Json<'a>) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        self.each((b'{', b'}'), |json| {
            let name = json.text()?;
            json.expect(b':', "a field")?;
            take(&name[1..name.len() - 1], json)
        })
    }

    /// Calls `take` at each item of a list.
    pub(crate) fn items(&mut self, take: impl FnMut(&mut Json<'a>) -> Result<(), Wrong>) -> Result<(), Wrong> {
        self.each((b'[', b']'), take)
    }

    fn each(
        &mut self,
        (open, close): (u8, u8),
        mut take: impl FnMut(&mut Json<'a>) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        self.expect(open, if open == b'{' { "an object" } else { "a list" })?;
        if self.peek() == Some(close) {
            return self.expect(close, "");
        }
        loop {
            take(self)?;
            match self.peek() {
                Some(b',') => self.rest = &self.rest[1..],
                _ => return self.expect(close, "JSON"),
            }
        }
    }

    /// A text as it is written, with its quotes.
    fn text(&mut self) -> Result<&'a [u8], Wrong> {
        if self.peek() != Some(b'"') {
            return Err(if self.rest.is_empty() { END } else { Wrong::Not("a text") });
        }
        let mut at = 1;
        loop {
            at += end_of_plain(&self.rest[at..]).ok_or(END)?;
            if self.rest[at] == b'"' {
                break;
            }
            at += 2; // what a backslash stands before is part of the text
            if at > self.rest.len() {
                return Err(END);
            }
        }
        let (text, rest) = self.rest.split_at(at + 1);
        self.rest = rest;
        Ok(text)
    }

    /// Passes over a value; gives it as it is written.
    pub(crate) fn skip(&mut self) -> Result<&'a [u8], Wrong> {
        match self.peek() {
            Some(b'"') => self.text(),
            Some(b'{' | b'[') => {
                let (whole, mut depth) = (self.rest, 0usize);
                loop {
                    match self.rest {
                        [b'"', ..] => _ = self.text()?,
                        [byte, rest @ ..] => {
                            self.rest = rest;
                            match byte {
                                b'{' | b'[' => depth += 1,
                                b'}' | b']' => depth -= 1,
                                _ => {}
                            }
                            if depth == 0 {
                                return Ok(&whole[..whole.len() - rest.len()]);
                            }
                        }
                        [] => return Err(END),
                    }
                }
            }
            Some(_) => {
                let is_over = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                let (word, rest) = self.rest.split_at(self.rest.iter().position(is_over).unwrap_or(self.rest.len()));
                self.rest = rest;
                if word.is_empty() { Err(Wrong::Not("JSON")) } else { Ok(word) }
            }
            None => Err(END),
        }
    }

    /// The same; nothing where it is `null`.
    pub(crate) fn something(&mut self) -> Result<Option<&'a [u8]>, Wrong> {
        self.skip().map(|text| (text != b"null").then_some(text))
    }
}

/// The place of the first quote or backslash. Most texts are no longer than a hash; looking through those here takes less than a call of memchr.
fn end_of_plain(text: &[u8]) -> Option<usize> {
    const SHORT: usize = 5;
    let chunks = text.as_chunks::<8>().0.as_chunks::<2>().0;
    let chunks = &chunks[..chunks.len().min(SHORT)];
    for (place, chunk) in chunks.iter().enumerate() {
        if let Some(at) = end_in(chunk) {
            return Some(place * 16 + at);
        }
    }
    let passed = chunks.len() * 16;
    memchr::memchr2(b'"', b'\\', &text[passed..]).map(|at| passed + at)
}

#[cfg(target_arch = "x86_64")]
fn end_in(chunk: &[[u8; 8]; 2]) -> Option<usize> {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8};
    #[target_feature(enable = "sse2")]
    fn found([low, high]: [i64; 2]) -> i32 {
        let bytes = _mm_set_epi64x(high, low);
        let [quotes, backslashes] = [b'"', b'\\'].map(|it| _mm_cmpeq_epi8(bytes, _mm_set1_epi8(it.cast_signed())));
        _mm_movemask_epi8(_mm_or_si128(quotes, backslashes))
    }
    #[allow(unsafe_code)]
    // SAFETY: every processor of this kind has these instructions.
    let found = unsafe { found(chunk.map(i64::from_le_bytes)) };
    (found != 0).then_some(found.trailing_zeros() as usize)
}

#[cfg(not(target_arch = "x86_64"))]
fn end_in(chunk: &[[u8; 8]; 2]) -> Option<usize> {
    memchr::memchr2(b'"', b'\\', chunk.as_flattened())
}

/// The digits of a hexadecimal text.
fn digits(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"\"0x")?.strip_suffix(b"\"")
}

/// The digits of a number, without zeros in front.
fn significant(text: &[u8]) -> Option<&[u8]> {
    let digits = digits(text)?;
    Some(&digits[digits.iter().take_while(|digit| **digit == b'0').count()..])
}

pub(crate) fn bytes<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    const_hex::decode_to_slice(digits(text)?, &mut bytes).ok()?;
    Some(bytes)
}

pub(crate) fn hash(text: &[u8]) -> Option<B256> {
    bytes(text).map(B256::new)
}

pub(crate) fn address(text: &[u8]) -> Option<Address> {
    bytes(text).map(Address::new)
}

/// Adds the bytes of a hexadecimal text; says how many.
pub(crate) fn extend(bytes: &mut Vec<u8>, text: &[u8]) -> Option<usize> {
    let digits = digits(text)?;
    let (from, count) = (bytes.len(), digits.len() / 2);
    bytes.resize(from + count, 0);
    const_hex::decode_to_slice(digits, &mut bytes[from..]).ok()?;
    Some(count)
}

/// A number's bytes without zeros in front, at the end of these; and how many. At most 32.
pub(crate) fn number(text: &[u8]) -> Option<([u8; 32], usize)> {
    let digits = significant(text)?;
    let (mut bytes, count) = ([0; 32], digits.len().div_ceil(2));
    let into = bytes.get_mut(32usize.checked_sub(count)?..)?;
    match digits {
        [first, rest @ ..] if digits.len() % 2 == 1 => {
            into[0] = value_of(*first)?;
            const_hex::decode_to_slice(rest, &mut into[1..]).ok()?;
        }
        digits => const_hex::decode_to_slice(digits, into).ok()?,
    }
    Some((bytes, count))
}

pub(crate) fn u256(text: &[u8]) -> Option<U256> {
    number(text).map(|(bytes, _)| U256::from_be_bytes(bytes))
}

pub(crate) fn u128(text: &[u8]) -> Option<u128> {
    let digits = significant(text)?;
    let is_short = digits.len() <= 32;
    is_short.then(|| digits.iter().try_fold(0, |sum, digit| Some(sum << 4 | u128::from(value_of(*digit)?))))?
}

pub(crate) fn u64(text: &[u8]) -> Option<u64> {
    u128(text)?.try_into().ok()
}

fn value_of(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_over_is_given_as_it_is_written() {
        for value in [
            "null",
            "-1.5e3",
            "true",
            r#""""#,
            r#""0x12""#,
            r#""seven b""#,
            r#""exactly sixteen!""#,
            r#""a \"quoted\" word, and \\""#,
            r#""longer than all that is looked at by words \\\" and so on""#,
            "[]",
            "{}",
            r#"[1, [2, {"a": "]}"}], "\\"]"#,
            r#"{ "a" : {"b":[ ] } , "c":"\"}" }"#,
        ] {
            for (before, after) in [("", ""), (" \n", " \t"), ("", ",1"), ("", "}")] {
                let text = format!("{before}{value}{after}");
                let mut json = Json::new(text.as_bytes());
                assert_eq!(
                    json.skip().map(|text| String::from_utf8_lossy(text).into_owned()),
                    Ok(value.into()),
                    "{text}"
                );
                assert_eq!(json.is_over(), after.trim().is_empty(), "{text}");
            }
            for cut in (1..value.len()).filter(|_| value.ends_with(['"', ']', '}'])) {
                assert_eq!(Json::new(&value.as_bytes()[..cut]).skip(), Err(END), "{value} cut at {cut}");
            }
        }
        assert_eq!(Json::new(b",").skip(), Err(Wrong::Not("JSON")));
    }

    #[test]
    fn the_end_of_a_text_is_found_wherever_it_is() {
        for length in 0..200 {
            let plain = vec![b'a'; length];
            assert_eq!(end_of_plain(&plain), None);
            for (at, end) in (0..length).flat_map(|at| [(at, b'"'), (at, b'\\')]) {
                let mut text = plain.clone();
                text[at..].fill(end ^ b'"' ^ b'\\');
                text[at] = end;
                assert_eq!(end_of_plain(&text), Some(at), "{at} of {length}");
            }
        }
    }

    #[test]
    fn fields_and_items_come_in_order() {
        let mut names = Vec::new();
        let mut json = Json::new(br#" { "a" : [ 1 , "two",[] ] ,"b":{}, "": null } "#);
        let read = json.fields(|name, json| {
            let mut items = 0;
            match name {
                b"a" => json.items(|json| json.skip().map(|_| items += 1))?,
                _ => _ = json.skip()?,
            }
            names.push((String::from_utf8_lossy(name).into_owned(), items));
            Ok(())
        });
        assert_eq!((read, json.is_over()), (Ok(()), true));
        assert_eq!(names, [("a".into(), 3), ("b".into(), 0), (String::new(), 0)]);
        for broken in
            ["{", "{\"a\"", "{\"a\" 1}", "{\"a\":1", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{1:2}", "[1]", "", "{\"a\":1]"]
        {
            let read = Json::new(broken.as_bytes()).fields(|_, json| json.skip().map(drop));
            assert!(read.is_err(), "{broken}");
        }
    }

    #[test]
    fn numbers_are_hexadecimal_and_fit() {
        let of = |text: &str| (u64(text.as_bytes()), u128(text.as_bytes()), u256(text.as_bytes()));
        for number in [0u64, 1, 15, 16, 255, 256, 0xabc_def0, u64::MAX] {
            let expected = (Some(number), Some(number.into()), Some(U256::from(number)));
            for text in [format!("\"{number:#x}\""), format!("\"0x{number:064x}\""), format!("\"0x{number:X}\"")] {
                assert_eq!(of(&text), expected, "{text}");
            }
        }
        assert_eq!(of("\"0x\""), (Some(0), Some(0), Some(U256::ZERO)));
        let above = format!("\"{:#x}\"", 1u128 << 64);
        assert_eq!(of(&above), (None, Some(1 << 64), Some(U256::from(1u128 << 64))));
        assert_eq!(of(&format!("\"{:#x}\"", U256::MAX)), (None, None, Some(U256::MAX)));
        for wrong in ["1", "\"1\"", "\"0xg\"", "\"0x1", "null", &format!("\"0x1{:064x}\"", 0)] {
            assert_eq!(of(wrong), (None, None, None), "{wrong}");
        }
        assert_eq!((hash(b"\"0x12\""), address(b"\"0x\"")), (None, None));
    }
}
