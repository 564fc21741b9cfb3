//! The naive model: everything is computed again from all blocks, in maps and signed integers. Slow, and not written as
//! the store is.

use std::collections::{BTreeMap, HashMap};

use assay_types::{Account, AccountNo, Asset, Direction, Height, Kind, Told, TxId, Wide};

use super::world::{Event, Said, Sealed, TOKEN};
use super::{account, sats};
use crate::cohorts::{read_total, read_total_key};
use crate::rows::Unspent;
use crate::standing::UNFOLLOWED;
use crate::{Coverage, Family, Movement, Store, Transaction};

/// What a store that follows these accounts must answer.
#[derive(Default)]
pub(super) struct Model {
    histories: HashMap<(u32, Asset), Vec<Movement>>,
    transactions: HashMap<TxId, Transaction>,
    unspent: BTreeMap<(TxId, u32), Unspent>,
    readings: HashMap<u32, BTreeMap<u64, Said>>,
    blocks: u64,
}

/// One side of a payment, in signed units: account, asset, amount, kind, transaction, index, place.
type Signed = (u32, Asset, i128, Kind, u32, u32, u32);

impl Model {
    pub fn of(blocks: &[Sealed], followed: &[Account]) -> Model {
        let numbers = followed.iter().cloned().zip(0..).collect::<HashMap<Account, u32>>();
        let mut model = Model { blocks: blocks.len() as u64, ..Model::default() };
        for block in blocks {
            model.walk(block, &numbers);
        }
        model
    }

    fn walk(&mut self, block: &Sealed, numbers: &HashMap<Account, u32>) {
        let number = |who: u8| numbers.get(&account(who)).copied();
        let mut sides: Vec<Signed> = Vec::new();
        for (event, place) in block.events.iter().zip(1..) {
            match *event {
                Event::Output { tx, vout, to, amount, coinbase } => {
                    let Some(to) = number(to) else { continue };
                    let kind = if coinbase { Kind::Coinbase } else { Kind::Transfer };
                    let (account, height) = (AccountNo(to), block.header.height);
                    let row = Unspent { account, amount: sats(amount), height, coinbase };
                    self.unspent.insert((block.txids[tx as usize], vout), row);
                    sides.push((to, Asset::Native, i128::from(amount), kind, tx, vout, place));
                }
                Event::Input { tx, index, spends } => {
                    let Some(spent) = self.unspent.remove(&spends) else { continue };
                    let amount = -signed(spent.amount);
                    sides.push((spent.account.0, Asset::Native, amount, Kind::Transfer, tx, index, place));
                }
                Event::Token { tx, who, credit, amount } => {
                    let Some(who) = number(who) else { continue };
                    let amount = if credit { i128::from(amount) } else { -i128::from(amount) };
                    sides.push((who, TOKEN, amount, Kind::Transfer, tx, place - 1, place));
                }
            }
        }
        let said: BTreeMap<u32, Said> =
            block.readings.iter().filter_map(|(who, said)| Some((number(*who)?, *said))).collect();
        let mut pairs: Vec<(u32, Asset)> = sides.iter().map(|side| (side.0, side.1)).collect();
        pairs.extend(said.keys().map(|who| (*who, TOKEN)));
        pairs.sort_unstable();
        pairs.dedup();
        for (who, asset) in pairs {
            let sides: Vec<Signed> = sides.iter().filter(|side| (side.0, side.1) == (who, asset)).copied().collect();
            let said = said.get(&who).copied().filter(|_| asset == TOKEN);
            self.move_one(block, who, asset, &sides, said, numbers);
        }
    }

    fn move_one(
        &mut self,
        block: &Sealed,
        who: u32,
        asset: Asset,
        sides: &[Signed],
        said: Option<Said>,
        numbers: &HashMap<Account, u32>,
    ) {
        let history = self.histories.entry((who, asset)).or_default();
        let before = history.last().map_or(0, |last| signed(last.balance));
        let lowest = |start: i128| {
            sides
                .iter()
                .scan(start, |sum, side| {
                    Some({
                        *sum += side.2;
                        *sum
                    })
                })
                .min()
        };
        let sum: i128 = sides.iter().map(|side| side.2).sum();
        let fits = |start: i128| start >= 0 && lowest(start).unwrap_or(0) >= 0;
        let truth = match said {
            Some(Said::Proven(amount) | Said::Unproven(amount)) => Some(i128::from(amount)),
            _ => None,
        };
        let is_first = said.is_some() && !self.readings.contains_key(&who);
        let odd = if block.opening || is_first { Kind::Opening } else { Kind::Unattributed };
        let residual = |amount: i128, place: u32| (who, asset, amount, odd, u32::MAX, 0, place);
        let all: Vec<Signed> = match truth {
            None if fits(before) => sides.to_vec(),
            None => Vec::new(),
            Some(truth) if (odd != Kind::Opening || sides.is_empty()) && fits(before) => {
                [sides, &[residual(truth - before - sum, u32::MAX)]].concat()
            }
            Some(truth) if fits(truth - sum) => [&[residual(truth - sum - before, 0)], sides].concat(),
            Some(truth) => vec![residual(truth - before, u32::MAX)],
        };
        let mut balance = before;
        for (_, _, amount, kind, tx, index, place) in all {
            if amount == 0 && kind == odd {
                continue;
            }
            balance += amount;
            let txid = block.txids.get(tx as usize).copied();
            history.push(Movement {
                height: block.header.height,
                place,
                direction: if amount < 0 || is_debit(block, place, kind) {
                    Direction::Debit
                } else {
                    Direction::Credit
                },
                amount: units(amount.abs()),
                balance: units(balance),
                kind,
                txid,
                index,
            });
            if let Some(txid) = txid {
                note(self.transactions.entry(txid).or_insert_with(|| empty(block)), block, tx, numbers);
                if history.last().is_some_and(|movement| movement.direction == Direction::Debit) {
                    let row = self.transactions.get_mut(&txid).unwrap();
                    row.debits.push((AccountNo(who), asset, units(amount.abs())));
                    row.debits.sort_by_key(|(account, asset, _)| (*account, *asset));
                    row.payments = block.payments(tx);
                }
            }
        }
        if let Some(said) = said {
            self.readings.entry(who).or_default().insert(block.header.height.0, said);
        }
    }

    /// Coverage of the token at a height, from the readings around it.
    fn coverage(&self, who: u32, at: u64) -> Coverage {
        let none = BTreeMap::new();
        let said = self.readings.get(&who).unwrap_or(&none);
        let Some((_, last)) = said.range(..=at).next_back() else {
            return Coverage::Unknown(UNFOLLOWED.into());
        };
        if *last == Said::Nothing {
            let silence = said.range(..=at).rev().take_while(|(_, said)| **said == Said::Nothing);
            let since = silence.last().map(|(height, _)| *height).unwrap();
            return Coverage::Unknown(format!("node away at {since}"));
        }
        let proven = |said: &Said| matches!(said, Said::Proven(_));
        let below = said.range(..=at).rev().find(|(_, said)| proven(said)).map(|(height, _)| *height);
        let above = said.range(at..).find(|(_, said)| proven(said)).map(|(height, _)| *height);
        let (Some(below), Some(above)) = (below, above) else {
            return if below == Some(at) { Coverage::Verified } else { Coverage::Unproven };
        };
        let silent = said.range(below..=above).any(|(_, said)| *said == Said::Nothing);
        let odd = self.histories.get(&(who, TOKEN)).into_iter().flatten().any(|movement| {
            movement.kind == Kind::Unattributed && movement.height.0 > below && movement.height.0 <= above
        });
        let known = below == at || above == at || !(silent || odd);
        if known { Coverage::Verified } else { Coverage::Unproven }
    }

    /// The token balance of the only account that is followed.
    pub fn token_balance(&self) -> i128 {
        self.histories.get(&(0, TOKEN)).and_then(|history| history.last()).map_or(0, |last| signed(last.balance))
    }

    /// Every answer of the store about those that are followed, at every height, is ours.
    pub fn speaks_as(&self, store: &Store, followed: usize) {
        assert_eq!(store.tip().unwrap().map(|tip| tip.height.0 + 1), (self.blocks > 0).then_some(self.blocks));
        for who in 0..u32::try_from(followed).unwrap() {
            for asset in [Asset::Native, TOKEN] {
                self.history_agrees(store, who, asset);
            }
            for height in 0..self.blocks {
                let theirs = store.coverage(AccountNo(who), TOKEN, Height(height)).unwrap();
                let theirs = match theirs {
                    Coverage::Unknown(why) if why.starts_with(UNFOLLOWED) => Coverage::Unknown(UNFOLLOWED.into()),
                    theirs => theirs,
                };
                assert_eq!(theirs, self.coverage(who, height), "coverage of account {who} at {height}");
            }
        }
        for ((first, asset, height), total) in self.totals(store) {
            assert_eq!(store.total(AccountNo(first), asset, Height(height)).unwrap(), total, "{first} at {height}");
        }
    }

    /// What the cohorts of those that are followed hold at each height.
    fn totals(&self, store: &Store) -> BTreeMap<(u32, Asset, u64), Wide> {
        let mut totals = BTreeMap::new();
        for cohort in store.cohorts(0..store.published().unwrap()).unwrap() {
            for (asset, height) in
                [Asset::Native, TOKEN].into_iter().flat_map(|asset| (0..self.blocks).map(move |at| (asset, at)))
            {
                let held = |who| {
                    let mut history = self.histories.get(&(who, asset)).into_iter().flatten();
                    history
                        .rfind(|movement| movement.height.0 <= height)
                        .map_or(Wide::ZERO, |last| Wide::from(last.balance.0))
                };
                totals.insert((cohort.start, asset, height), cohort.clone().map(held).sum());
            }
        }
        totals
    }

    /// So it is, and there is not a row more: where nobody is being filled in.
    pub fn agrees_with(&self, store: &Store, followed: usize) {
        self.speaks_as(store, followed);
        let (mut rows, mut unspent, mut totals) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        store
            .each_row(|family, key, value| {
                if family == Family::Transactions.name() {
                    rows.insert(TxId(key.try_into().unwrap()), Transaction::read(value).unwrap());
                } else if family == Family::Outpoints.name() {
                    let (txid, vout) = key.split_at(32);
                    let key = (TxId(txid.try_into().unwrap()), u32::from_be_bytes(vout.try_into().unwrap()));
                    unspent.insert(key, Unspent::read(value).unwrap());
                } else if family == Family::Holdings.name() {
                    let ((first, asset), height) = read_total_key(key).unwrap();
                    totals.insert((first.0, asset, height.0), read_total(value).unwrap());
                }
            })
            .unwrap();
        assert_eq!(rows, self.transactions.clone().into_iter().collect());
        assert_eq!(unspent, self.unspent);
        let mut changes = self.totals(store);
        let before = changes.clone();
        changes.retain(|(first, asset, height), total| {
            let before = height.checked_sub(1).and_then(|below| before.get(&(*first, *asset, below)));
            *total != before.copied().unwrap_or_default()
        });
        assert_eq!(totals, changes);
    }

    fn history_agrees(&self, store: &Store, who: u32, asset: Asset) {
        let none = Vec::new();
        let ours = self.histories.get(&(who, asset)).unwrap_or(&none);
        let theirs = store.movements(AccountNo(who), asset, Height(0), Height(self.blocks)).unwrap();
        assert_eq!(&theirs.map(Result::unwrap).collect::<Vec<_>>(), ours, "history of account {who}");
        let places = ours.iter().map(|movement| (movement.height, movement.place));
        for before in places.chain([(Height(0), 0), (Height(u64::MAX), 0)]) {
            let theirs = store.movements_before(AccountNo(who), asset, before).unwrap().map(Result::unwrap);
            let ours = ours.iter().rfold(Vec::new(), |mut all, one| {
                all.extend(Some(one.clone()).filter(|one| (one.height, one.place) < before));
                all
            });
            assert_eq!(theirs.collect::<Vec<_>>(), ours, "history of account {who} before {before:?}");
        }
        for height in 0..self.blocks {
            let balance = ours.iter().rfind(|movement| movement.height.0 <= height).map(|movement| movement.balance);
            let theirs = store.balance(AccountNo(who), asset, Height(height)).unwrap();
            assert_eq!(theirs, balance.unwrap_or_default(), "account {who} at {height}");
        }
    }
}

/// A debit of nothing is told by its event alone.
fn is_debit(block: &Sealed, place: u32, kind: Kind) -> bool {
    kind == Kind::Transfer
        && matches!(
            block.events.get(place as usize - 1),
            Some(Event::Input { .. } | Event::Token { credit: false, .. })
        )
}

fn empty(block: &Sealed) -> Transaction {
    Transaction { height: block.header.height, debits: Vec::new(), payments: Vec::new(), told: Told::All }
}

fn note(row: &mut Transaction, block: &Sealed, tx: u32, numbers: &HashMap<Account, u32>) {
    if row.debits.is_empty() {
        let mut payments = block.payments(tx);
        payments.retain(|payment| numbers.contains_key(&payment.to));
        row.payments = payments;
    }
}

fn signed(amount: assay_types::Amount) -> i128 {
    i128::try_from(amount.0).unwrap()
}

fn units(amount: i128) -> assay_types::Amount {
    sats(u64::try_from(amount).unwrap())
}
