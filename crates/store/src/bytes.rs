//! Bytes of keys and values: the small pieces that every row is made of. See `FORMAT.md`.

use assay_types::{AccountNo, Amount, Asset, Wide};

/// Appends pieces to a row.
#[derive(Default)]
pub(crate) struct Writer(pub Vec<u8>);

impl Writer {
    pub fn u8(mut self, value: u8) -> Writer {
        self.0.push(value);
        self
    }

    pub fn u32(mut self, value: u32) -> Writer {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Writer {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn i64(mut self, value: i64) -> Writer {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Writer {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Seven bits in each byte, the lowest first; all but the last have the highest bit set.
    pub fn count(mut self, mut value: u64) -> Writer {
        loop {
            let [seven, ..] = (value & 0x7f).to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.u8(seven);
            }
            self.0.push(seven | 0x80);
        }
    }

    /// A length in four bytes, then the bytes. What is stored is far below 4 GiB: a block's answer is bounded.
    pub fn sized(self, bytes: &[u8]) -> Writer {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.u32(length).raw(&bytes[..length as usize])
    }

    /// One byte for the length, then the number's significant bytes.
    pub fn amount(self, amount: Amount) -> Writer {
        if let Ok(units) = u64::try_from(amount.0) {
            // As nearly all are.
            let bytes = units.to_be_bytes();
            let significant = &bytes[units.leading_zeros() as usize / 8..];
            return self.u8(u8::try_from(significant.len()).unwrap_or(8)).raw(significant);
        }
        self.significant(&amount.to_be_bytes())
    }

    /// The same of a sum, which may have more bytes.
    pub fn sum(self, sum: Wide) -> Writer {
        match u64::try_from(sum) {
            Ok(units) => self.amount(Amount::from(units)),
            Err(_) => self.significant(&sum.to_be_bytes::<64>()),
        }
    }

    fn significant(self, bytes: &[u8]) -> Writer {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let significant = &bytes[zeros..];
        self.u8(u8::try_from(significant.len()).unwrap_or(u8::MAX)).raw(significant)
    }

    pub fn account(self, account: AccountNo) -> Writer {
        self.u32(account.0)
    }

    pub fn asset(self, asset: Asset) -> Writer {
        match asset {
            Asset::Native => self.u8(0),
            Asset::Token(contract) => self.u8(1).raw(&contract),
        }
    }
}

/// Takes pieces off a row; `None` when it is damaged.
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn raw(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.raw(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// In its shortest form only.
    pub fn count(&mut self) -> Option<u64> {
        let mut value = 0;
        for place in 0..10 {
            let byte = self.u8()?;
            let seven = u64::from(byte & 0x7f);
            value |= seven.checked_shl(7 * place).filter(|shifted| shifted >> (7 * place) == seven)?;
            if byte < 0x80 {
                return (byte > 0 || place == 0).then_some(value);
            }
        }
        None
    }

    pub fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.raw(length as usize)
    }

    /// A byte that is 0 or 1.
    pub fn flag(&mut self) -> Option<bool> {
        self.u8().filter(|byte| *byte < 2).map(|byte| byte == 1)
    }

    pub fn amount(&mut self) -> Option<Amount> {
        self.significant().map(Amount::from_be_bytes)
    }

    pub fn sum(&mut self) -> Option<Wide> {
        self.significant().map(Wide::from_be_bytes::<64>)
    }

    fn significant<const N: usize>(&mut self) -> Option<[u8; N]> {
        let length = usize::from(self.u8()?);
        let significant = self.raw(length).filter(|bytes| bytes.first() != Some(&0))?;
        let mut bytes = [0; N];
        bytes.get_mut(N.checked_sub(length)?..)?.copy_from_slice(significant);
        Some(bytes)
    }

    pub fn account(&mut self) -> Option<AccountNo> {
        self.u32().map(AccountNo)
    }

    pub fn asset(&mut self) -> Option<Asset> {
        match self.u8()? {
            0 => Some(Asset::Native),
            1 => Some(Asset::Token(self.array()?)),
            _ => None,
        }
    }

    /// `Some` when every byte was taken.
    pub fn end<T>(self, row: T) -> Option<T> {
        self.0.is_empty().then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_one_form() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX) + 1, u64::MAX - 1, u64::MAX] {
            let row = Writer::default().count(value).0;
            let mut reader = Reader(&row);
            assert_eq!((reader.count(), reader.0.len()), (Some(value), 0));
            assert_eq!(Reader(&row[..row.len() - 1]).count(), None);
        }
        let too_long = [&[0xff; 9][..], &[2]].concat();
        for bytes in [&[0x80, 0][..], &too_long, &[0xff; 11]] {
            assert_eq!(Reader(bytes).count(), None);
        }
    }
}
