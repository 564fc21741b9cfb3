//! Goes over the bytes of blocks and transactions, once, and copies nothing. What a transaction consists of is said in BIP 144.

use std::fmt;
use std::ops::Range;

use crate::sha256d::RawHash;

/// Bytes, and how far they were gone over.
pub(crate) struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

/// Why bytes are not what was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// They end before.
    TooShort,
    /// A length is not written in its shortest form.
    LongForm,
    /// What announces witnesses is followed by something else than 1.
    UnknownFlag(u8),
    /// Witnesses are announced, and there is none.
    NoWitness,
    /// Whoever was told of the inputs and outputs wants no more of them.
    Stopped,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::TooShort => f.write_str("bytes are missing"),
            ReadError::LongForm => f.write_str("a length is not written in its shortest form"),
            ReadError::UnknownFlag(flag) => write!(f, "what announces witnesses is followed by {flag}, not by 1"),
            ReadError::NoWitness => f.write_str("witnesses are announced, and there is none"),
            ReadError::Stopped => f.write_str("something is against the rules"),
        }
    }
}

/// An input: what it spends.
pub(crate) struct TxIn<'b> {
    pub txid: &'b RawHash,
    pub vout: u32,
}

/// An output: how many satoshis it pays, and to which script.
pub(crate) struct TxOut<'b> {
    pub amount: u64,
    pub script: &'b [u8],
    /// Where the script stands.
    pub place: usize,
}

/// Is told of a transaction's inputs and outputs, in order.
pub(crate) trait Take {
    /// The `nth` input (from 0) of so many.
    fn input(&mut self, nth: usize, of: usize, input: &TxIn) -> Result<(), ReadError>;
    /// The `nth` output (from 0).
    fn output(&mut self, nth: usize, output: &TxOut) -> Result<(), ReadError>;
}

/// Where the parts of a transaction stand.
pub(crate) struct Parts {
    pub whole: Range<usize>,
    pub inputs: usize,
    pub outputs: Range<usize>,
    pub has_witness: bool,
}

impl Parts {
    /// What a transaction's id is the hash of.
    pub fn without_witness(&self, bytes: &[u8]) -> Vec<u8> {
        let Range { start, end } = self.whole;
        if !self.has_witness {
            return bytes[start..end].to_vec();
        }
        let version = &bytes[start..start + VERSION];
        let body = &bytes[start + VERSION + MARKER_AND_FLAG..self.outputs.end];
        [version, body, &bytes[end - LOCK_TIME..end]].concat()
    }
}

const VERSION: usize = 4;
const MARKER_AND_FLAG: usize = 2;
const LOCK_TIME: usize = 4;
/// An outpoint, and the first byte of the script's length.
const INPUT: usize = 37;
const SEQUENCE: usize = 4;
/// A value, and the first byte of the script's length.
const OUTPUT: usize = 9;
/// From here on a count has more than one byte.
const LONG: u8 = 0xfd;

impl<'b> Cursor<'b> {
    /// From a place on.
    pub fn at(bytes: &'b [u8], place: usize) -> Cursor<'b> {
        Cursor { bytes, at: place }
    }

    /// How far it is.
    pub fn place(&self) -> usize {
        self.at
    }

    /// A count or a length.
    #[inline(always)]
    pub fn count(&mut self) -> Result<usize, ReadError> {
        let first = *self.bytes.get(self.at).ok_or(ReadError::TooShort)?;
        self.at += 1;
        if first < LONG { Ok(usize::from(first)) } else { self.long_count(first) }
    }

    #[inline(never)]
    fn long_count(&mut self, first: u8) -> Result<usize, ReadError> {
        let (width, least) = match first {
            LONG => (2, u64::from(LONG)),
            0xfe => (4, 1 << 16),
            _ => (8, 1 << 32),
        };
        let from = self.at;
        self.skip(width)?;
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(&self.bytes[from..self.at]);
        let count = u64::from_le_bytes(bytes);
        if count < least {
            return Err(ReadError::LongForm);
        }
        usize::try_from(count).map_err(|_| ReadError::TooShort)
    }

    #[inline(always)]
    fn skip(&mut self, bytes: usize) -> Result<(), ReadError> {
        if bytes > self.bytes.len() - self.at {
            return Err(ReadError::TooShort);
        }
        self.at += bytes;
        Ok(())
    }

    /// So many bytes, the last of which begins a length; and that length.
    #[inline(always)]
    fn fixed<const N: usize>(&mut self) -> Result<(&'b [u8; N], usize), ReadError> {
        let fixed: &[u8; N] = self.bytes[self.at..].first_chunk().ok_or(ReadError::TooShort)?;
        self.at += N;
        let length = if fixed[N - 1] < LONG { usize::from(fixed[N - 1]) } else { self.long_count(fixed[N - 1])? };
        Ok((fixed, length))
    }

    /// An input.
    #[inline(always)]
    pub fn input(&mut self) -> Result<TxIn<'b>, ReadError> {
        let (fixed, script) = self.fixed::<INPUT>()?;
        self.skip(script)?;
        self.skip(SEQUENCE)?;
        let (txid, rest) = fixed.split_first_chunk().ok_or(ReadError::TooShort)?;
        let vout = rest.first_chunk().ok_or(ReadError::TooShort)?;
        Ok(TxIn { txid, vout: u32::from_le_bytes(*vout) })
    }

    /// An output.
    #[inline(always)]
    pub fn output(&mut self) -> Result<TxOut<'b>, ReadError> {
        let (fixed, length) = self.fixed::<OUTPUT>()?;
        let place = self.at;
        self.skip(length)?;
        let amount = fixed.first_chunk().ok_or(ReadError::TooShort)?;
        Ok(TxOut { amount: u64::from_le_bytes(*amount), script: &self.bytes[place..self.at], place })
    }

    /// A transaction.
    #[inline(always)]
    pub fn transaction(&mut self, take: &mut impl Take) -> Result<Parts, ReadError> {
        let start = self.at;
        self.skip(VERSION)?;
        let mut count = self.count()?;
        let has_witness = count == 0;
        if has_witness {
            let flag = *self.bytes.get(self.at).ok_or(ReadError::TooShort)?;
            if flag != 1 {
                return Err(ReadError::UnknownFlag(flag));
            }
            self.at += 1;
            count = self.count()?;
        }
        let inputs = self.at;
        for nth in 0..count {
            take.input(nth, count, &self.input()?)?;
        }
        let outputs = self.count()?;
        let from = self.at;
        for nth in 0..outputs {
            take.output(nth, &self.output()?)?;
        }
        let outputs = from..self.at;
        if has_witness {
            self.witnesses(count)?;
        }
        self.skip(LOCK_TIME)?;
        Ok(Parts { whole: start..self.at, inputs, outputs, has_witness })
    }

    /// One for each input: a list of items, of which not all may be empty.
    #[inline(always)]
    fn witnesses(&mut self, inputs: usize) -> Result<(), ReadError> {
        let mut is_any = false;
        for _ in 0..inputs {
            let items = self.count()?;
            is_any |= items > 0;
            for _ in 0..items {
                let length = self.count()?;
                self.skip(length)?;
            }
        }
        if is_any { Ok(()) } else { Err(ReadError::NoWitness) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::consensus::{deserialize, deserialize_partial, serialize};
    use bitcoin::hashes::Hash as _;
    use bitcoin_test_data::blocks::mainnet_702861;

    #[derive(Default)]
    struct Seen(Vec<(RawHash, u32)>, Vec<(u64, Vec<u8>)>);

    impl Take for Seen {
        fn input(&mut self, nth: usize, of: usize, input: &TxIn) -> Result<(), ReadError> {
            assert!(nth == self.0.len() && nth < of);
            self.0.push((*input.txid, input.vout));
            Ok(())
        }

        fn output(&mut self, nth: usize, output: &TxOut) -> Result<(), ReadError> {
            assert_eq!(nth, self.1.len());
            self.1.push((output.amount, output.script.to_vec()));
            Ok(())
        }
    }

    /// Read as the library reads it, with whatever else follows; or neither does.
    fn check(bytes: &[u8]) -> Result<(), ReadError> {
        let (mut cursor, mut seen) = (Cursor::at(bytes, 0), Seen::default());
        let ours = cursor.transaction(&mut seen);
        let theirs = deserialize_partial::<bitcoin::Transaction>(bytes);
        match (&ours, theirs) {
            (Ok(parts), Ok((tx, length))) => {
                assert_eq!((parts.whole.clone(), cursor.place()), (0..length, length));
                let spent =
                    tx.input.iter().map(|it| (it.previous_output.txid.to_byte_array(), it.previous_output.vout));
                assert_eq!(seen.0, spent.collect::<Vec<_>>());
                let paid = tx.output.iter().map(|it| (it.value.to_sat(), it.script_pubkey.to_bytes()));
                assert_eq!(seen.1, paid.collect::<Vec<_>>());
                let id = crate::sha256d::double_sha256(&parts.without_witness(bytes));
                assert_eq!(id, tx.compute_txid().to_byte_array());
            }
            (Err(_), Err(_)) => {}
            (ours, theirs) => panic!("{ours:?}, {theirs:?}", ours = ours.as_ref().map(|it| &it.whole)),
        }
        ours.map(|_| ())
    }

    #[test]
    fn real_transactions_and_damaged_ones_are_read_as_the_library_reads_them() {
        let block: bitcoin::Block = deserialize(mainnet_702861()).unwrap();
        let mut errors = vec![];
        for (nth, tx) in block.txdata.iter().enumerate() {
            let bytes = serialize(tx);
            check(&bytes).unwrap();
            check(&[&bytes[..], &[7; 9]].concat()).unwrap();
            assert_eq!(check(&bytes[..bytes.len() - 1 - nth % 4]), Err(ReadError::TooShort));
            for (place, value) in [(4, 0), (5, 2), (nth % bytes.len(), 0xfd), (nth * 7 % bytes.len(), 0), (6, 0xfe)] {
                let mut damaged = bytes.clone();
                damaged[place] = value;
                errors.extend(check(&damaged).err());
            }
        }
        for kind in [ReadError::TooShort, ReadError::LongForm, ReadError::UnknownFlag(2), ReadError::NoWitness] {
            assert!(errors.contains(&kind) || check_one(kind), "{kind}");
        }
    }

    /// Those that chance did not bring.
    fn check_one(kind: ReadError) -> bool {
        let mut tx = deserialize::<bitcoin::Block>(mainnet_702861()).unwrap().txdata.remove(0);
        tx.input.iter_mut().for_each(|input| input.witness.clear());
        let plain = serialize(&tx);
        let (head, tail) = (&plain[..4], &plain[plain.len() - 4..]);
        let marked = |flag: u8| [head, &[0, flag], &plain[4..plain.len() - 4], &[0], tail].concat();
        let long = [&plain[..4], &[0xfd, 1, 0], &plain[5..]].concat();
        [marked(1), marked(2), long].iter().any(|bytes| check(bytes) == Err(kind))
    }
}
