//! A chain of its own: blocks of payments between a few accounts, shown to the store as far as they are watched.

use std::collections::BTreeMap;

use assay_types::{
    Asset, Between, Block, BlockHash, Body, Direction, Effect, Fingerprint, Header, Height, Input, Kind, Leg, Outpoint,
    Payment, Proof, Reading, Spend, Timestamp, TxId, Watch,
};

use super::{account, sats};

pub(super) const TOKEN: Asset = Asset::Token([7; 20]);
/// Accounts of this world; any of them may be declared.
pub(super) const ACCOUNTS: u8 = 6;

/// What a reading of state said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Proven(u64),
    Unproven(u64),
    Nothing,
}

/// One thing that happened in a block, whoever watches.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The output `vout` of transaction `tx`.
    Output { tx: u32, vout: u32, to: u8, amount: u64, coinbase: bool },
    /// An input of transaction `tx`.
    Input { tx: u32, index: u32, spends: (TxId, u32) },
    /// A token transfer's one side.
    Token { tx: u32, who: u8, credit: bool, amount: u64 },
}

#[derive(Debug, Clone)]
pub(super) struct Sealed {
    pub header: Header,
    pub txids: Vec<TxId>,
    pub events: Vec<Event>,
    pub readings: Vec<(u8, Said)>,
    pub opening: bool,
}

/// Blocks so far, and the transactions of the one that is being made.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pub blocks: Vec<Sealed>,
    pub events: Vec<Event>,
    pub readings: Vec<(u8, Said)>,
    txs: u32,
    sealed_ever: u64,
}

impl World {
    /// A transaction's place in this block.
    pub fn new_tx(&mut self) -> u32 {
        self.txs += 1;
        self.txs - 1
    }

    pub fn txid(&self, tx: u32) -> TxId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&self.sealed_ever.to_be_bytes());
        id[8..12].copy_from_slice(&tx.to_be_bytes());
        TxId(id)
    }

    /// A coinbase.
    pub fn pay_in(&mut self, to: u8, amount: u64) {
        let tx = self.new_tx();
        self.events.push(Event::Output { tx, vout: 0, to, amount, coinbase: true });
    }

    /// Outputs that no input has spent yet, those of this block included.
    pub fn unspent(&self) -> Vec<(TxId, u32, u8, u64)> {
        let mut open = BTreeMap::new();
        let made = self.txs_of_this_block();
        let blocks = self.blocks.iter().map(|block| (&block.txids, &block.events)).chain([(&made, &self.events)]);
        for (txids, events) in blocks {
            for event in events {
                match event {
                    Event::Output { tx, vout, to, amount, .. } => {
                        open.insert((txids[*tx as usize], *vout), (*to, *amount));
                    }
                    Event::Input { spends, .. } => drop(open.remove(spends)),
                    Event::Token { .. } => {}
                }
            }
        }
        open.into_iter().map(|((txid, vout), (to, amount))| (txid, vout, to, amount)).collect()
    }

    fn txs_of_this_block(&self) -> Vec<TxId> {
        (0..self.txs).map(|tx| self.txid(tx)).collect()
    }

    /// Ends the block and puts it on top. Block times may go back.
    pub fn seal(&mut self, jitter_s: i64) -> Sealed {
        let height = Height(self.blocks.len() as u64);
        let mut hash = [0xbb; 32];
        hash[..8].copy_from_slice(&self.sealed_ever.to_be_bytes());
        let parent = self.blocks.last().map_or(BlockHash([0; 32]), |block| block.header.hash);
        let time = Timestamp::from_unix_s(1_000_000 + 600 * self.blocks.len() as i64 - jitter_s);
        let header = Header { height, hash: BlockHash(hash), parent, time, seal: vec![1, 2, 3] };
        let txids = self.txs_of_this_block();
        let (events, readings) = (std::mem::take(&mut self.events), std::mem::take(&mut self.readings));
        let sealed = Sealed { header, txids, events, readings, opening: height.0 == 0 };
        (self.txs, self.sealed_ever) = (0, self.sealed_ever + 1);
        self.blocks.push(sealed.clone());
        sealed
    }
}

struct Paid(Vec<Vec<Payment>>, Vec<Input>);

impl Body for Paid {
    fn each_payment(&self, tx: u32, take: &mut assay_types::TakePayment<'_>) {
        self.0[tx as usize].iter().for_each(|paid| take(paid.index, &paid.to.0, paid.asset, paid.amount));
    }

    fn inputs(&self, spends: &[Spend]) -> Vec<Input> {
        self.1.iter().filter(|input| spends.iter().any(|spend| spend.place == input.place)).copied().collect()
    }
}

impl Sealed {
    /// As a chain hands it over for these accounts.
    pub fn view(&self, watch: &Watch) -> Block {
        let number = |who: u8| watch.number(&account(who).0);
        let effect = |(event, place): (&Event, u32)| match *event {
            Event::Output { tx, vout, to, amount, coinbase } => {
                let kind = if coinbase { Kind::Coinbase } else { Kind::Transfer };
                let (asset, direction) = (Asset::Native, Direction::Credit);
                let (amount, tx, index) = (sats(amount), Some(tx), vout);
                number(to)
                    .map(|account| Effect::Output(Leg { account, asset, direction, amount, kind, tx, index, place }))
            }
            Event::Input { .. } => None,
            Event::Token { tx, who, credit, amount } => {
                let direction = if credit { Direction::Credit } else { Direction::Debit };
                let (asset, kind, index) = (TOKEN, Kind::Transfer, place);
                let (amount, tx) = (sats(amount), Some(tx));
                number(who)
                    .map(|account| Effect::Leg(Leg { account, asset, direction, amount, kind, tx, index, place }))
            }
        };
        let input = |(event, place): (&Event, u32)| match *event {
            Event::Input { tx, index, spends: (txid, vout) } => {
                Some(Input { spends: Outpoint { txid, vout }, tx, index, place })
            }
            _ => None,
        };
        let reading = |(who, said): &(u8, Said)| {
            let (balance, proven) = match *said {
                Said::Proven(amount) => (Ok(sats(amount)), true),
                Said::Unproven(amount) => (Ok(sats(amount)), false),
                Said::Nothing => (Err(format!("node away at {}", self.header.height)), false),
            };
            let shown = || Proof([&self.header.hash.0[..8], &[*who]].concat().into());
            let proof = proven.then(shown);
            number(*who).map(|account| Reading {
                account,
                asset: TOKEN,
                balance,
                proven,
                proof,
                between: Between::Told,
            })
        };
        let inputs: Vec<Input> = self.events.iter().zip(0..).filter_map(input).collect();
        let spend = |input: &Input| {
            let Input { spends, tx, place, .. } = input;
            Spend { fingerprint: Fingerprint::get().of(spends), tx: *tx, place: *place }
        };
        Block {
            header: self.header.clone(),
            txids: self.txids.clone(),
            effects: self.events.iter().zip(0..).filter_map(effect).collect(),
            spends: inputs.iter().map(spend).collect(),
            overwritten: None,
            readings: self.readings.iter().filter_map(reading).collect(),
            blank: Vec::new(),
            remarks: Vec::new(),
            sealed: Some(self.header.hash.0[..9].to_vec()),
            checked: true,
            opening: self.opening,
            body: Box::new(Paid((0..).take(self.txids.len()).map(|tx| self.payments(tx)).collect(), inputs)),
        }
    }

    /// What a transaction paid to anyone: its outputs, and for a token transfer something to a stranger.
    pub fn payments(&self, of: u32) -> Vec<Payment> {
        let paid = |event: &Event| match *event {
            Event::Output { tx, vout, to, amount, .. } if tx == of => {
                Some(Payment { index: Some(vout), to: account(to), asset: Asset::Native, amount: sats(amount) })
            }
            Event::Token { tx, amount, .. } if tx == of => {
                Some(Payment { index: None, to: account(0xff), asset: TOKEN, amount: sats(amount) })
            }
            _ => None,
        };
        self.events.iter().filter_map(paid).collect()
    }
}
