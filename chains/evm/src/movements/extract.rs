//! A digested block becomes credits and debits of the watched accounts, in the order of execution. Pure.
//!
//! Places count what is in the block, not what is watched: for each transaction what a deposit minted, if it did, its fee, the value's two sides, each
//! log's two sides, the two sides of each call that the trace shows, and the beneficiary's tip; after all transactions the withdrawals.

use std::collections::HashSet;

use alloy::primitives::{Address, U256};
use assay_types::{AccountNo, Asset, Direction, Effect, Kind, Leg, Watch};

use crate::movements::digest::{Digest, Frame, Tx, token_transfer};

/// The block's credits and debits of watched accounts, by place.
pub(crate) fn effects(block: &Digest, watch: &Watch, tokens: &HashSet<Address>) -> Vec<Effect> {
    let mut found = Legs { watch, tokens, effects: Vec::new(), place: 0, is_committed: true };
    for (place, tx) in (0..).zip(&block.transactions) {
        found.transaction(place, tx, block.beneficiary);
    }
    found.is_committed = true;
    for (to, amount) in &block.withdrawals {
        found.native(None, *to, Direction::Credit, *amount, Kind::Withdrawal);
    }
    found.effects
}

struct Legs<'a> {
    watch: &'a Watch,
    tokens: &'a HashSet<Address>,
    effects: Vec<Effect>,
    place: u32,
    /// Does the block commit to what comes?
    is_committed: bool,
}

impl Legs<'_> {
    fn transaction(&mut self, number: u32, tx: &Tx, beneficiary: Address) {
        use Direction::{Credit, Debit};
        let value_kind = if tx.creates { Kind::Create } else { Kind::Transfer };
        self.is_committed = tx.is_committed;
        if !tx.mint.is_zero() {
            self.native(Some(number), tx.sender, Credit, tx.mint, Kind::Mint);
        }
        self.is_committed &= tx.is_fee_committed;
        self.native(Some(number), tx.sender, Debit, tx.fee, Kind::Fee);
        self.is_committed = tx.is_committed;
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
        self.is_committed = false;
        // Who is gone at the end takes the tip along.
        let is_last = |frame: &&Frame| frame.from == frame.to && frame.from == beneficiary;
        for frame in tx.frames.iter().filter(|frame| !is_last(frame)) {
            let burnt = frame.from == frame.to;
            self.native(Some(number), frame.from, Debit, frame.value, frame.kind);
            self.native(Some(number), frame.to, Credit, if burnt { U256::ZERO } else { frame.value }, frame.kind);
        }
        self.is_committed = tx.is_committed;
        self.native(Some(number), beneficiary, Credit, tx.tip, Kind::Reward);
        self.is_committed = false;
        for frame in tx.frames.iter().filter(is_last) {
            self.native(Some(number), frame.from, Debit, frame.value, frame.kind);
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
            let leg = Leg { account, asset, direction, amount: amount.into(), kind, tx, index, place };
            self.effects.push(if self.is_committed { Effect::Leg(leg) } else { Effect::Traced(leg) });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::movements::digest::Transfer;
    use alloy::primitives::{B256, Log};
    use alloy::sol_types::SolEvent;
    use assay_types::Amount;

    const A: Address = Address::repeat_byte(0xa);
    const B: Address = Address::repeat_byte(0xb);
    const TOKEN: Address = Address::repeat_byte(0x70);
    const MINER: Address = Address::repeat_byte(0xfe);

    fn tx(sender: Address, recipient: Address, value: u64) -> Tx {
        Tx {
            id: B256::ZERO,
            sender,
            recipient,
            creates: false,
            is_committed: true,
            is_fee_committed: true,
            is_foreign: false,
            input: None,
            succeeded: true,
            mint: U256::ZERO,
            value: U256::from(value),
            fee: U256::from(21),
            tip: U256::from(1),
            first_log: 0,
            logs: vec![],
            authorizations: vec![],
            frames: vec![],
            unproven: Default::default(),
            repeated: vec![],
            created: vec![],
            is_told: true,
            is_state_sync: false,
        }
    }

    fn transfer(from: Address, to: Address, value: u64) -> Log {
        let data = Transfer { from, to, value: U256::from(value) }.encode_log_data();
        Log { address: TOKEN, data }
    }

    fn frame(from: Address, to: Address, value: u64, kind: Kind) -> Frame {
        Frame { from, to, value: U256::from(value), kind }
    }

    /// Account number, direction, amount, kind, place.
    type Short = (u32, Direction, u64, Kind, u32);

    fn found(block: &Digest, watched: &[Address]) -> Vec<Short> {
        let watch: Watch = watched.iter().zip(0..).map(|(it, number)| (it, AccountNo(number))).collect();
        let amount = |amount: Amount| u64::try_from(amount.0).unwrap();
        let short = |leg: Leg| {
            (u32::from(watched[leg.account.0 as usize][0]), leg.direction, amount(leg.amount), leg.kind, leg.place)
        };
        effects(block, &watch, &HashSet::from([TOKEN])).iter().map(|effect| short(*effect.leg())).collect()
    }

    #[test]
    fn places_do_not_depend_on_who_is_watched() {
        use Direction::{Credit, Debit};
        let mut first = tx(A, B, 5);
        first.logs = vec![transfer(A, B, 9), transfer(Address::ZERO, A, 3), transfer(B, Address::ZERO, 2)];
        first.frames = vec![frame(TOKEN, B, 6, Kind::Internal), frame(B, B, 3, Kind::SelfDestruct)];
        let second = tx(B, B, 4);
        let withdrawals = vec![(A, U256::from(7))];
        let block = Digest { beneficiary: MINER, transactions: vec![first, second], withdrawals };
        let all = found(&block, &[A, B, MINER]);
        let (a, b, miner) = (0xa, 0xb, 0xfe);
        assert_eq!(
            all,
            [
                (a, Debit, 21, Kind::Fee, 0),
                (a, Debit, 5, Kind::Transfer, 1),
                (b, Credit, 5, Kind::Transfer, 2),
                (a, Debit, 9, Kind::Transfer, 3),
                (b, Credit, 9, Kind::Transfer, 4),
                (a, Credit, 3, Kind::Mint, 6),
                (b, Debit, 2, Kind::Burn, 7),
                (b, Credit, 6, Kind::Internal, 10),
                (b, Debit, 3, Kind::SelfDestruct, 11),
                (miner, Credit, 1, Kind::Reward, 13),
                (b, Debit, 21, Kind::Fee, 14),
                (b, Debit, 4, Kind::Transfer, 15),
                (b, Credit, 4, Kind::Transfer, 16),
                (miner, Credit, 1, Kind::Reward, 17),
                (a, Credit, 7, Kind::Withdrawal, 18),
            ]
        );
        for watched in [A, B, MINER] {
            let only: Vec<_> = all.iter().filter(|leg| leg.0 == u32::from(watched[0])).copied().collect();
            assert_eq!(found(&block, &[watched]), only);
        }
    }

    #[test]
    fn only_an_erc_20_transfer_of_a_registered_token_is_a_payment() {
        let good = transfer(A, B, 9);
        let topics = good.topics().to_vec();
        let four = Log::new_unchecked(TOKEN, [&topics[..], &topics[..1]].concat(), vec![].into());
        let long = Log::new_unchecked(TOKEN, topics.clone(), vec![0; 64].into());
        let dirty =
            Log::new_unchecked(TOKEN, vec![topics[0], B256::repeat_byte(0xa), topics[2]], good.data.data.clone());
        let other = Log { address: Address::repeat_byte(0x71), ..good.clone() };
        let mut payment = tx(MINER, MINER, 0);
        payment.logs = vec![four, long, dirty, other, good];
        let block = Digest { beneficiary: MINER, transactions: vec![payment], withdrawals: vec![] };
        assert_eq!(found(&block, &[B]), [(0xb, Direction::Credit, 9, Kind::Transfer, 3 + 8 + 1)]);
        let payments = block.transactions[0].payments(|token| *token == TOKEN);
        assert_eq!(payments.iter().map(|payment| payment.index).collect::<Vec<_>>(), [Some(4)]);
    }

    #[test]
    fn what_only_passes_through_is_two_movements() {
        use Direction::{Credit, Debit};
        let mut payment = tx(A, MINER, 0);
        payment.frames = vec![frame(MINER, B, 7, Kind::Internal), frame(B, A, 7, Kind::Create)];
        let block = Digest { beneficiary: MINER, transactions: vec![payment], withdrawals: vec![] };
        assert_eq!(found(&block, &[B]), [(0xb, Credit, 7, Kind::Internal, 4), (0xb, Debit, 7, Kind::Create, 5)]);
        let effects = effects(&block, &Watch::from_iter([(B, AccountNo(0))]), &HashSet::new());
        assert!(effects.iter().all(|effect| matches!(effect, Effect::Traced(_))), "nothing commits to it");
    }
}
