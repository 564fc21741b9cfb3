//! The last row of one pair after another: where the next pair lies close behind, going on costs a tenth of finding the way anew.

use assay_types::Pair;

/// A row.
type Row<'a> = (&'a [u8], &'a [u8]);

/// Rows of a family whose keys begin with a pair, in order.
pub(crate) struct Near<'a> {
    rows: rocksdb::DBRawIterator<'a>,
    /// The pair that was asked for last.
    asked: Option<Pair>,
    /// Are all rows before the present one those of that pair, or of pairs before it?
    goes_on: bool,
    /// The row that was found last.
    key: Vec<u8>,
    value: Vec<u8>,
}

/// Beyond so many rows it is quicker to find the way anew.
const FEW: usize = 8;

impl<'a> Near<'a> {
    pub fn new(rows: rocksdb::DBRawIterator<'a>) -> Near<'a> {
        Near { rows, asked: None, goes_on: false, key: Vec::new(), value: Vec::new() }
    }

    /// The rows themselves, to be read by somebody else.
    pub fn rows(&mut self) -> &mut rocksdb::DBRawIterator<'a> {
        (self.asked, self.goes_on) = (None, false);
        &mut self.rows
    }

    /// The last row of a pair whose key is not above `end`. `prefix`: what the keys of the pair's rows begin with.
    pub fn last(&mut self, pair: Pair, prefix: &[u8], end: &[u8]) -> Result<Option<Row<'_>>, rocksdb::Error> {
        let before = self.asked.replace(pair);
        if before.is_some_and(|before| before < pair && pair.0.0 - before.0.0 <= 1) {
            if !self.goes_on {
                self.rows.seek(prefix);
                self.goes_on = true;
            }
            if let Some(is_there) = self.go_on(prefix, end) {
                self.rows.status()?;
                return Ok(is_there.then_some((&self.key, &self.value)));
            }
        }
        self.goes_on = false;
        self.rows.seek_for_prev(end);
        self.rows.status()?;
        Ok(self.rows.item().filter(|(key, _)| key.starts_with(prefix)))
    }

    /// Goes on to the pair's last row: is there one? Nothing when that is far.
    fn go_on(&mut self, prefix: &[u8], end: &[u8]) -> Option<bool> {
        let mut is_there = false;
        for _ in 0..FEW {
            match self.rows.item() {
                Some((key, _)) if key < prefix => {}
                Some((key, value)) if key.starts_with(prefix) && key <= end => {
                    is_there = true;
                    self.key.clear();
                    self.key.extend_from_slice(key);
                    self.value.clear();
                    self.value.extend_from_slice(value);
                }
                _ => return Some(is_there),
            }
            self.rows.next();
        }
        None
    }
}
