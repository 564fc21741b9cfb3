//! A digested block becomes legs of the watched accounts, in the order of execution. Pure.
//!
//! Places count what is in the block, not what is watched: for each transaction its fee, the value's two sides, each
//! log's two sides, what the trace shows of each account, and the beneficiary's tip; after all transactions the withdrawals.

use std::collections::HashSet;

use alloy::primitives::{Address, U256};
use assay_types::{AccountNo, Asset, Direction, Kind, Leg, Watch};

use crate::digest::{Change, Digest, Tx, token_transfer};

/// The block's credits and debits of watched accounts, by place.
pub(crate) fn legs(block: &Digest, watch: &Watch, tokens: &HashSet<Address>) -> Vec<Leg> {
    let mut found = Legs { watch, tokens, legs: Vec::new(), place: 0 };
    for (place, tx) in (0..).zip(&block.transactions) {
        found.transaction(place, tx, block.beneficiary);
    }
    for (to, amount) in &block.withdrawals {
        found.native(None, *to, Direction::Credit, *amount, Kind::Withdrawal);
    }
    found.legs
}

struct Legs<'a> {
    watch: &'a Watch,
    tokens: &'a HashSet<Address>,
    legs: Vec<Leg>,
    place: u32,
}

impl Legs<'_> {
    fn transaction(&mut self, number: u32, tx: &Tx, beneficiary: Address) {
        use Direction::{Credit, Debit};
        let value_kind = if tx.creates { Kind::Create } else { Kind::Transfer };
        self.native(Some(number), tx.sender, Debit, tx.fee, Kind::Fee);
        self.native(Some(number), tx.sender, Debit, tx.value, value_kind);
        self.native(Some(number), tx.recipient, Credit, tx.value, value_kind);
        for (index, log) in (tx.first_log..).zip(&tx.logs) {
            match self.tokens.contains(&log.address).then(|| token_transfer(log)).flatten() {
                Some(moved) => {
                    let kind = kind_of(moved.from, moved.to);
                    let asset = Asset::Token(moved.token.into());
                    // the zero address holds nothing that minting could take or burning could add to
                    let side = |address: Address| if address.is_zero() { None } else { self.number(address) };
                    let (from, to) = (side(moved.from), side(moved.to));
                    self.leg(Some(number), index, from, asset, Debit, moved.value, kind);
                    self.leg(Some(number), index, to, asset, Credit, moved.value, kind);
                }
                None => self.place += 2,
            }
        }
        for change in tx.changes.iter().flatten() {
            self.internal(number, tx, change, beneficiary);
        }
        self.native(Some(number), beneficiary, Credit, tx.tip, Kind::Reward);
    }

    fn internal(&mut self, number: u32, tx: &Tx, change: &Change, beneficiary: Address) {
        match tx.unexplained(change, beneficiary) {
            Some((credit, debit)) if debit.is_zero() => {
                self.native(Some(number), change.account, Direction::Credit, credit, Kind::Internal);
            }
            Some((_, debit)) => self.native(Some(number), change.account, Direction::Debit, debit, Kind::Internal),
            // no balance can be so large: the trace is of no use, and what it should have explained stays unattributed
            None => self.place += 1,
        }
    }

    fn native(&mut self, tx: Option<u32>, whose: Address, direction: Direction, amount: U256, kind: Kind) {
        self.leg(tx, 0, self.number(whose), Asset::Native, direction, amount, kind);
    }

    #[expect(clippy::too_many_arguments, reason = "a leg's fields, once")]
    fn leg(
        &mut self,
        tx: Option<u32>,
        index: u32,
        account: Option<AccountNo>,
        asset: Asset,
        direction: Direction,
        amount: U256,
        kind: Kind,
    ) {
        let place = self.place;
        self.place += 1;
        if let Some(account) = account.filter(|_| !amount.is_zero()) {
            self.legs.push(Leg { account, asset, direction, amount: amount.into(), kind, tx, index, place });
        }
    }

    fn number(&self, address: Address) -> Option<AccountNo> {
        self.watch.number(address.as_slice())
    }
}

fn kind_of(from: Address, to: Address) -> Kind {
    match (from.is_zero(), to.is_zero()) {
        (true, _) => Kind::Mint,
        (_, true) => Kind::Burn,
        _ => Kind::Transfer,
    }
}
