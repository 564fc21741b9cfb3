//! What a node's traces say: by which calls within a transaction native coins moved. Nothing commits to a trace: it explains, and
//! state decides.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use alloy::primitives::{Address, B256, U256};
use assay_types::Kind;
use serde::{Deserialize, Deserializer};

mod flat;

pub(crate) use flat::FlatTraces;

use crate::json::{self, FromJson, Json, Wrong};
use crate::movements::digest::{Frame, Tx};

/// How deep calls can be: 1,024 below the transaction's own (Yellow Paper, 9.4.1), and a self-destruct below the last.
const DEEPEST: usize = 1_025;

/// One transaction's trace in the answer of `debug_traceBlockByHash`: its calls, or an error within a successful answer.
#[derive(Debug)]
pub(crate) struct Trace {
    /// Which transaction; older nodes leave it out.
    pub(crate) tx_hash: Option<B256>,
    pub(crate) calls: Option<Calls>,
    pub(crate) error: Option<String>,
}

/// What a transaction called, and what that called, in the order of execution: the transaction's own call first, and without those that failed
/// within it, for they moved nothing, nor did those that they made.
#[derive(Debug)]
pub(crate) struct Calls {
    list: Vec<Call>,
    /// What the transaction gave to its own call.
    input: Option<Vec<u8>>,
    /// Each instruction, as no `callTracer` tells it: what it called is not known.
    by_steps: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Call {
    /// The place of the call that made it.
    within: usize,
    from: Address,
    to: Option<Address>,
    value: Option<U256>,
    /// Nothing where it moves no coins whatever it says: `DELEGATECALL`, `CALLCODE` and `STATICCALL`.
    kind: Option<Kind>,
    /// `DELEGATECALL` and `CALLCODE`: it runs in the account of who made it.
    lends_code: bool,
    failed: bool,
}

impl Calls {
    /// Do they begin with what this transaction begins with? What one sent that failed is not known.
    pub(crate) fn are_of(&self, tx: &Tx) -> bool {
        let has_input = || tx.input.as_ref().zip(self.input.as_ref()).is_none_or(|(sent, told)| sent == told);
        self.list.first().is_some_and(|call| {
            call.from == tx.sender
                && call.to.is_none_or(|to| to == tx.recipient)
                && (tx.value.is_zero() || call.value.is_none_or(|value| value == tx.value))
                && has_input()
        })
    }

    pub(crate) fn are_of_another_tracer(&self) -> bool {
        self.by_steps
    }

    /// Is it nobody's call of nobody?
    pub(crate) fn are_blank(&self) -> bool {
        matches!(&self.list[..], [call] if call.from.is_zero() && call.to.is_none_or(|to| to.is_zero()))
    }

    /// Did the transaction fail?
    pub(crate) fn failed(&self) -> bool {
        self.list.first().is_some_and(|call| call.failed)
    }

    /// The contracts that were created.
    pub(crate) fn created(&self) -> Vec<Address> {
        let created = self.done().filter(|(_, kind, ..)| *kind == Kind::Create);
        created.map(|(_, _, _, to, _)| to).collect()
    }

    /// What the calls within moved, in the order of execution. `burns`: whoever destroys himself is gone with what he has at the end of the
    /// transaction; since EIP-6780 only where he was created in it. And what is said again right after it was, with its place among those: a widely
    /// used tracer tells the transfer before once more where someone destroys himself to his own benefit, and stays; and he may as well have paid twice.
    /// The tip is paid before anyone is gone, and goes with its beneficiary.
    pub(crate) fn frames(&self, burns: bool, (beneficiary, tip): (Address, U256)) -> (Vec<Frame>, Vec<(usize, Frame)>) {
        let created: HashSet<Address> = self.created().into_iter().collect();
        let (accounts, mut moved, mut repeated) = (self.accounts(), Vec::new(), Vec::new());
        // Those who had destroyed themselves, in that order, and what came to them after it.
        let (mut gone, mut late) = (Vec::new(), HashMap::<Address, U256>::new());
        let mut last = None;
        for (place, kind, from, to, value) in self.done() {
            let is_gone = kind == Kind::SelfDestruct && (burns || created.contains(&from));
            let is_again = kind == Kind::SelfDestruct && !is_gone && last == Some((from, to, value));
            if kind == Kind::SelfDestruct && accounts[self.list[place].within] != from {
                continue;
            }
            if is_again {
                repeated.push((moved.len(), Frame { from, to, value, kind }));
                continue;
            }
            if !value.is_zero() && from != to {
                last = Some((from, to, value));
            }
            if place > 0 && !value.is_zero() && (from != to || is_gone) {
                moved.push(Frame { from, to, value, kind });
                if let Some(left) = late.get_mut(&from) {
                    *left = left.saturating_sub(value);
                }
                if let Some(left) = late.get_mut(&to).filter(|_| from != to) {
                    *left = left.saturating_add(value);
                }
            }
            if is_gone && let Entry::Vacant(vacant) = late.entry(from) {
                vacant.insert(U256::ZERO);
                gone.push(from);
            }
        }
        if let Some(left) = late.get_mut(&beneficiary) {
            *left = left.saturating_add(tip);
        }
        let burnt = gone.into_iter().map(|gone| (gone, late[&gone])).filter(|(_, left)| !left.is_zero());
        moved.extend(burnt.map(|(gone, value)| Frame { from: gone, to: gone, value, kind: Kind::SelfDestruct }));
        (moved, repeated)
    }

    /// The account in which each call runs.
    fn accounts(&self) -> Vec<Address> {
        let mut accounts: Vec<Address> = Vec::with_capacity(self.list.len());
        for call in &self.list {
            let lender = accounts.get(call.within).filter(|_| call.lends_code);
            accounts.push(lender.copied().or(call.to).unwrap_or(call.from));
        }
        accounts
    }

    /// Those that can move coins and did not fail, with their places.
    fn done(&self) -> impl Iterator<Item = (usize, Kind, Address, Address, U256)> {
        self.list.iter().enumerate().filter(|(_, call)| !call.failed).filter_map(|(place, call)| {
            let value = call.value.unwrap_or_default();
            call.kind.zip(call.to).map(|(kind, to)| (place, kind, call.from, to, value))
        })
    }
}

impl FromJson for Calls {
    fn from_json(json: &mut Json<'_>) -> Result<Calls, Wrong> {
        let mut calls = Calls { list: Vec::with_capacity(1), input: None, by_steps: false }; // most call nobody
        add(json, &mut calls, 0, 0)?;
        Ok(calls)
    }
}

/// Adds a call, and behind it those that it made.
fn add(json: &mut Json<'_>, calls: &mut Calls, within: usize, depth: usize) -> Result<(), Wrong> {
    if depth > DEEPEST {
        return Err(Wrong::Not("within the depth of calls"));
    }
    let place = calls.list.len();
    let (mut from, mut call) = (None, Call { within, ..Call::default() });
    calls.list.push(call);
    json.fields(|name, json| {
        match name {
            b"calls" if json.peek() == Some(b'[') => json.items(|json| add(json, calls, place, depth + 1))?,
            b"from" => from = json::address(json.skip()?),
            b"to" => {
                call.to = json.something()?.map(|text| json::address(text).ok_or(Wrong::Field("to"))).transpose()?
            }
            b"value" => {
                call.value = json.something()?.map(|text| json::u256(text).ok_or(Wrong::Field("value"))).transpose()?
            }
            b"structLogs" if depth == 0 => {
                calls.by_steps = true;
                json.skip()?;
            }
            b"input" if depth == 0 => {
                let mut input = Vec::new();
                calls.input = json.something()?.and_then(|text| json::extend(&mut input, text)).map(|_| input);
            }
            b"error" => call.failed = json.something()?.is_some(),
            b"type" => {
                let kind = json.skip()?;
                call.lends_code = matches!(kind, b"\"DELEGATECALL\"" | b"\"CALLCODE\"");
                call.kind = match kind {
                    b"\"CALL\"" => Some(Kind::Internal),
                    b"\"SELFDESTRUCT\"" => Some(Kind::SelfDestruct),
                    b"\"CREATE\"" | b"\"CREATE2\"" => Some(Kind::Create),
                    _ => None,
                }
            }
            _ => _ = json.skip()?,
        }
        Ok(())
    })?;
    let failed = call.failed;
    if calls.by_steps {
        return Ok(());
    }
    calls.list[place] = Call { from: from.ok_or(Wrong::Field("from"))?, ..call };
    if failed {
        calls.list.truncate(if place == 0 { 1 } else { place });
    }
    Ok(())
}

impl<'de> Deserialize<'de> for Calls {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Calls, D::Error> {
        json::deserialize(json)
    }
}

impl Trace {
    /// As [`Calls::are_of`].
    pub(crate) fn is_of(&self, tx: &Tx) -> bool {
        self.calls.as_ref().is_some_and(|calls| calls.are_of(tx))
    }

    pub(crate) fn is_of_another_tracer(&self) -> bool {
        self.calls.as_ref().is_some_and(Calls::are_of_another_tracer)
    }
}

impl FromJson for Trace {
    const MOST: usize = 1 << 17;

    fn from_json(json: &mut Json<'_>) -> Result<Trace, Wrong> {
        let (mut tx_hash, mut calls, mut error) = (None, None, None);
        json.fields(|name, json| {
            match name {
                b"txHash" => tx_hash = Option::from_json(json)?,
                b"result" => calls = Option::from_json(json)?,
                b"error" => error = json.something()?.map(|text| String::from_utf8_lossy(text).into_owned()),
                b"structLogs" => {
                    calls = Some(Calls { list: Vec::new(), input: None, by_steps: true });
                    json.skip()?;
                }
                _ => _ = json.skip()?,
            }
            Ok(())
        })?;
        if calls.is_none() && error.is_none() {
            return Err(Wrong::Missing("result"));
        }
        Ok(Trace { tx_hash, calls, error })
    }
}

impl<'de> Deserialize<'de> for Trace {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Trace, D::Error> {
        json::deserialize(json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NO_TIP: (Address, U256) = (Address::ZERO, U256::ZERO);

    #[test]
    fn calls_that_failed_and_those_that_move_nothing_are_left_out() {
        let address = |byte: u8| Address::repeat_byte(byte);
        let call = |kind: &str, from: u8, to: u8, value: &str, calls: serde_json::Value| json!({ "type": kind, "from": address(from), "to": address(to), "value": value, "calls": calls });
        let mut failed = call("CALL", 2, 5, "0x9", json!([call("CALL", 5, 6, "0x8", json!([]))]));
        failed["error"] = json!("execution reverted");
        let inner = json!([
            call("CALL", 2, 3, "0x1", json!([call("SELFDESTRUCT", 3, 4, "0x2", json!([]))])),
            failed,
            call("DELEGATECALL", 2, 7, "0x3", json!([call("CREATE", 2, 8, "0x4", json!([]))])),
            call("CALL", 2, 2, "0x5", json!([])),
            json!({ "type": "STATICCALL", "from": address(2), "to": address(9) }),
        ]);
        let calls = |json: serde_json::Value| serde_json::from_value::<Calls>(json).unwrap();
        let read = |json: serde_json::Value| calls(json).frames(false, NO_TIP).0;
        let mut root = call("CALL", 1, 2, "0xff", inner);
        let frame =
            |from, to, value: u64, kind| Frame { from: address(from), to: address(to), value: U256::from(value), kind };
        let expected =
            [frame(2, 3, 1, Kind::Internal), frame(3, 4, 2, Kind::SelfDestruct), frame(2, 8, 4, Kind::Create)];
        assert_eq!(read(root.clone()), expected);
        let burnt = |kind: &str| {
            call(
                "CALL",
                1,
                2,
                "0x0",
                json!([call(kind, 2, 3, "0x0", json!([call("SELFDESTRUCT", 3, 3, "0x7", json!([]))]))]),
            )
        };
        assert_eq!(read(burnt("CREATE2")), [frame(3, 3, 7, Kind::SelfDestruct)]);
        assert!(read(burnt("CALL")).is_empty(), "it keeps it");
        let before = calls(burnt("CALL")).frames(true, NO_TIP).0;
        assert_eq!(before, [frame(3, 3, 7, Kind::SelfDestruct)]);
        // What comes to one that has destroyed itself goes with it.
        let gone = json!([
            call("CREATE2", 2, 3, "0x5", json!([call("SELFDESTRUCT", 3, 4, "0x5", json!([]))])),
            call("CALL", 2, 3, "0x6", json!([]))
        ]);
        let moved = [
            frame(2, 3, 5, Kind::Create),
            frame(3, 4, 5, Kind::SelfDestruct),
            frame(2, 3, 6, Kind::Internal),
            frame(3, 3, 6, Kind::SelfDestruct),
        ];
        let gone = calls(call("CALL", 1, 2, "0x0", gone));
        assert_eq!((gone.frames(false, NO_TIP).0, gone.created()), (moved.to_vec(), vec![address(3)]));
        root["error"] = json!("out of gas");
        assert!(read(root).is_empty());
    }

    /// As revm's tracer has it from Cancun on: of a contract that destroys itself to its own benefit, and stays, the transfer before is told again.
    #[test]
    fn a_transfer_that_is_told_again_as_a_self_destruct_stands_apart() {
        let call = |kind: &str, from: u8, to: u8, value: &str, calls: serde_json::Value| json!({ "type": kind, "from": Address::repeat_byte(from), "to": Address::repeat_byte(to), "value": value, "calls": calls });
        let none = || json!([]);
        let echo = |of: u8| json!([call("SELFDESTRUCT", of, 3, "0x7", none())]);
        let told = json!([
            call("CALL", 2, 3, "0x7", none()),
            call("CALL", 2, 4, "0x0", echo(2)), // of another's transfer
            call("CALL", 2, 5, "0x7", json!([call("CALL", 5, 3, "0x7", none()), call("CALL", 4, 5, "0x0", echo(5))])),
            call("DELEGATECALL", 2, 6, "0x0", json!([call("SELFDESTRUCT", 2, 4, "0x1", none())])),
        ]);
        let calls: Calls = serde_json::from_value(call("CALL", 1, 2, "0x0", told)).unwrap();
        let ends = |frame: &Frame| (frame.from[0], frame.to[0]);
        // The tip is burnt with whom it was paid to, and stays with anybody else.
        let tip = U256::from(7);
        let more = |to: Address| -> U256 {
            let sum = |tip| calls.frames(true, (to, tip)).0.iter().map(|frame| frame.value).sum::<U256>();
            sum(tip) - sum(U256::ZERO)
        };
        let gone = calls.frames(true, NO_TIP).0.iter().find(|it| it.kind == Kind::SelfDestruct).map(|it| it.from);
        assert_eq!((gone.map(more), more(Address::repeat_byte(0xee))), (Some(tip), U256::ZERO));
        let to = |burns: bool| calls.frames(burns, NO_TIP).0.iter().map(ends).collect::<Vec<_>>();
        assert_eq!(to(false), [(2, 3), (2, 5), (5, 3), (2, 4)]);
        let again = calls.frames(false, NO_TIP).1;
        let again: Vec<_> = again.iter().map(|(place, frame)| (*place, ends(frame))).collect();
        assert_eq!(again, [(3, (5, 3))]);
        assert_eq!(to(true), [(2, 3), (2, 5), (5, 3), (5, 3), (2, 4)], "before Cancun nothing is told so");
    }

    /// Nothing commits to a trace: one that names very many must not take the square of their number.
    #[test]
    fn very_many_contracts_that_come_and_go_are_read_at_once() {
        let contract = |number: u32| Address::from_word(U256::from(number + 1).into());
        let [maker, heir] = [0xaa, 0xbb].map(Address::repeat_byte);
        let moves =
            |kind, from, to| Call { from, to: Some(to), value: Some(U256::ONE), kind: Some(kind), ..Call::default() };
        let many = 300_000;
        let of_each = |number: u32| {
            let it = contract(number);
            [
                Call { lends_code: false, ..moves(Kind::Create, maker, it) },
                moves(Kind::SelfDestruct, it, heir),
                moves(Kind::Internal, maker, it),
            ]
        };
        let mut list = vec![moves(Kind::Internal, maker, maker)];
        for number in 0..many {
            let made = list.len();
            let [create, end, late] = of_each(number);
            list.extend([create, Call { within: made, ..end }, late]);
        }
        let (frames, repeated) = Calls { list, input: None, by_steps: false }.frames(false, NO_TIP);
        let burnt = frames.iter().filter(|frame| frame.from == frame.to).count();
        assert_eq!((frames.len(), burnt, repeated.len()), (4 * many as usize, many as usize, 0));
    }

    #[test]
    fn calls_are_read_as_deep_as_they_can_be_and_no_deeper() {
        let nested = |depth: usize| {
            let call = format!(r#"{{"from":"{0}","to":"{0}","calls":["#, Address::repeat_byte(1));
            format!("{}{}", call.repeat(depth), "]}".repeat(depth))
        };
        let read = move |depth: usize| {
            Calls::from_json(&mut Json::new(nested(depth).as_bytes())).map(|calls| calls.list.len())
        };
        // Threads that index have 2 MiB of stack.
        let small = std::thread::Builder::new().stack_size(1 << 20);
        small
            .spawn(move || {
                assert_eq!(read(DEEPEST + 1), Ok(DEEPEST + 1));
                assert_eq!(read(1_000_000), Err(Wrong::Not("within the depth of calls")));
            })
            .unwrap()
            .join()
            .unwrap();
    }
}
