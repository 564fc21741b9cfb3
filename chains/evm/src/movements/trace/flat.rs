//! A block's calls in one list, each with its place among those of its transaction: what OpenEthereum's `trace_block` says, and Erigon's, Nethermind's,
//! Besu's, reth's and anvil's after it.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use alloy::primitives::B256;
use assay_types::{Fault, Height, Kind};
use serde::{Deserialize, Deserializer};

use super::{Call, Calls, DEEPEST, Trace};
use crate::json::{self, FromJson, Json, Wrong};

/// The answer of `trace_block`: it is asked for by height alone, and says of which block it is.
#[derive(Debug, Default)]
pub(crate) struct FlatTraces {
    /// In the order in which the transactions are told.
    pub(crate) traces: Vec<Trace>,
    /// Every block that is named.
    pub(crate) blocks: BTreeMap<B256, Height>,
    /// Why it is no list of calls.
    pub(crate) odd: Option<(Fault, &'static str)>,
}

/// One of its items.
struct Item {
    block: Option<(B256, Height)>,
    /// Nothing for what a block pays its miner.
    tx: Option<B256>,
    /// How to go down to it from the transaction's own call: each time by which of the calls made.
    path: Vec<u32>,
    call: Call,
    input: Option<Vec<u8>>,
}

impl FromJson for FlatTraces {
    fn from_json(json: &mut Json<'_>) -> Result<FlatTraces, Wrong> {
        let (mut flat, mut by_tx): (FlatTraces, Vec<(B256, Vec<Item>)>) = Default::default();
        let mut places: HashMap<B256, usize> = HashMap::new();
        json.items(|json| {
            let item = Item::from_json(json)?;
            flat.blocks.extend(item.block);
            let Some(tx) = item.tx else { return Ok(()) };
            let place = *places.entry(tx).or_insert(by_tx.len());
            if place == by_tx.len() {
                by_tx.push((tx, Vec::new()));
            } else if place + 1 < by_tx.len() {
                flat.odd = Some((Fault::Reordered, "calls of one transaction stand among those of others"));
            }
            by_tx[place].1.push(item);
            Ok(())
        })?;
        for (tx, items) in by_tx {
            match tree(tx, items) {
                Ok(trace) => flat.traces.push(trace),
                Err(odd) => flat.odd = Some(odd),
            }
        }
        Ok(flat)
    }
}

impl<'de> Deserialize<'de> for FlatTraces {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<FlatTraces, D::Error> {
        json::deserialize(json)
    }
}

/// One transaction's calls. Who made which is said by their paths alone: some nodes put a self-destruct before the calls that came before it.
fn tree(tx: B256, mut items: Vec<Item>) -> Result<Trace, (Fault, &'static str)> {
    items.sort_by(|one, other| one.path.cmp(&other.path));
    let mut calls = Calls { list: Vec::with_capacity(items.len()), input: None, by_steps: false };
    // The calls that lead to where we are: how deep each is, and its place, where it and those above did not fail.
    let mut above: Vec<(usize, Option<usize>)> = Vec::new();
    let mut last: Option<Vec<u32>> = None;
    for Item { path, call, input, .. } in items {
        match &last {
            None if path.is_empty() => calls.input = input,
            Some(last) if !path.is_empty() && *last != path => {
                let leads_here = |depth: usize| depth < path.len() && path[..depth] == last[..depth];
                while above.pop_if(|(depth, _)| !leads_here(*depth)).is_some() {}
            }
            Some(_) => return Err((Fault::Forged, "a call is told twice")),
            None => return Err((Fault::Omitted, "a transaction's own call is not told")),
        }
        let maker = above.last().map_or(Some(0), |(_, place)| *place);
        // The transaction's own call is kept though it failed; what others that failed made, and those themselves, moved nothing.
        let place = maker.filter(|_| path.is_empty() || !call.failed).map(|within| {
            calls.list.push(Call { within, ..call });
            calls.list.len() - 1
        });
        above.push((path.len(), place.filter(|_| !call.failed)));
        last = Some(path);
    }
    Ok(Trace { tx_hash: Some(tx), calls: Some(calls), error: None })
}

impl FromJson for Item {
    fn from_json(json: &mut Json<'_>) -> Result<Item, Wrong> {
        let (mut call, mut from, mut input) = (Call::default(), None, None);
        let (mut tx, mut path, mut created) = (None, None, None);
        let (mut block, mut height): (Option<B256>, Option<u64>) = (None, None);
        let (mut sort, mut way): (&[u8], &[u8]) = (b"", b"");
        json.fields(|name, json| {
            match name {
                b"action" if json.peek() == Some(b'{') => json.fields(|name, json| {
                    match name {
                        b"from" | b"address" => from = json::address(json.skip()?).or(from),
                        b"to" | b"refundAddress" => {
                            let address = |text| json::address(text).ok_or(Wrong::Field("to"));
                            call.to = json.something()?.map(address).transpose()?;
                        }
                        b"value" | b"balance" => {
                            let value = |text| json::u256(text).ok_or(Wrong::Field("value"));
                            call.value = json.something()?.map(value).transpose()?;
                        }
                        b"input" | b"init" => input = json.something()?,
                        b"callType" => way = json.skip()?,
                        _ => _ = json.skip()?,
                    }
                    Ok(())
                })?,
                b"result" if json.peek() == Some(b'{') => json.fields(|name, json| {
                    match name {
                        b"address" => created = json::address(json.skip()?),
                        _ => _ = json.skip()?,
                    }
                    Ok(())
                })?,
                b"error" => call.failed = json.something()?.is_some(),
                b"type" => sort = json.skip()?,
                b"transactionHash" => tx = Option::from_json(json)?,
                b"blockHash" => block = Option::from_json(json)?,
                b"blockNumber" => height = json.something()?.and_then(decimal),
                b"traceAddress" if json.peek() == Some(b'[') => {
                    let mut steps = Vec::new();
                    json.items(|json| {
                        if steps.len() == DEEPEST {
                            return Err(Wrong::Not("within the depth of calls"));
                        }
                        steps.push(decimal(json.skip()?).ok_or(Wrong::Field("traceAddress"))?);
                        Ok(())
                    })?;
                    path = Some(steps);
                }
                _ => _ = json.skip()?,
            }
            Ok(())
        })?;
        let block = block.zip(height.map(Height));
        let is_of_block = sort == b"\"reward\"";
        (call.kind, call.lends_code) = match (sort, way) {
            (b"\"call\"", b"\"call\"" | b"") => (Some(Kind::Internal), false),
            (b"\"call\"", b"\"callcode\"" | b"\"delegatecall\"") => (None, true),
            (b"\"call\"", _) | (b"\"reward\"", _) => (None, false),
            (b"\"create\"", _) => (Some(Kind::Create), false),
            (b"\"suicide\"" | b"\"selfdestruct\"", _) => (Some(Kind::SelfDestruct), false),
            _ => return Err(Wrong::Field("type")),
        };
        if call.kind == Some(Kind::Create) {
            call.to = created;
        }
        let path = match path {
            None if is_of_block => Vec::new(),
            path => path.ok_or(Wrong::Missing("traceAddress"))?,
        };
        if !is_of_block {
            (call.from, tx) = (from.ok_or(Wrong::Field("from"))?, Some(tx.ok_or(Wrong::Missing("transactionHash"))?));
        }
        let own = input.filter(|_| path.is_empty());
        let input = own.and_then(|text| {
            let mut bytes = Vec::new();
            json::extend(&mut bytes, text).map(|_| bytes)
        });
        Ok(Item { block, tx: tx.filter(|_| !is_of_block), path, call, input })
    }
}

fn decimal<T: FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::{Address, U256};
    use serde_json::{Value, json};

    fn address(byte: u8) -> Address {
        Address::repeat_byte(byte)
    }

    fn item(tx: u8, path: &[u32], sort: &str, mut action: Value) -> Value {
        if sort == "call" && action.get("callType").is_none() {
            action["callType"] = json!("call");
        }
        json!({
            "action": action, "result": null, "traceAddress": path, "type": sort, "subtraces": 0,
            "blockHash": B256::repeat_byte(0xb1), "blockNumber": 7, "transactionHash": B256::repeat_byte(tx), "transactionPosition": 0,
        })
    }

    fn call(from: u8, to: u8, value: u64) -> Value {
        json!({ "from": address(from), "to": address(to), "value": format!("{value:#x}"), "input": "0x0102", "gas": "0x0" })
    }

    fn read(items: &[Value]) -> Result<FlatTraces, Wrong> {
        FlatTraces::from_json(&mut Json::new(Value::from(items).to_string().as_bytes()))
    }

    #[test]
    fn each_transactions_calls_are_put_below_who_made_them_without_those_that_failed() {
        let mut failed = item(1, &[1], "call", call(2, 5, 9));
        failed["error"] = json!("Reverted");
        let mut created = item(1, &[2, 0], "create", json!({ "from": address(2), "value": "0x4", "init": "0x00" }));
        created["result"] = json!({ "address": address(8), "code": "0x", "gasUsed": "0x0" });
        let mut lent = item(1, &[2], "call", call(2, 7, 3));
        lent["action"]["callType"] = json!("delegatecall");
        let burnt = json!({ "address": address(3), "refundAddress": address(4), "balance": "0x2" });
        let mut whole = item(2, &[], "call", call(9, 2, 6));
        whole["error"] = json!("out of gas");
        let mut reward = item(0, &[], "reward", json!({ "author": address(1), "rewardType": "block", "value": "0x5" }));
        (reward["transactionHash"], reward["transactionPosition"]) = (Value::Null, Value::Null);
        // As Erigon had it.
        let mut bare = reward.clone();
        (bare["traceAddress"], bare["action"]) = (Value::Null, Value::Null);
        let items = [
            item(1, &[], "call", call(1, 2, 0xff)),
            item(1, &[0, 1], "suicide", burnt),
            item(1, &[0], "call", call(2, 3, 1)),
            item(1, &[0, 0], "call", call(3, 6, 7)),
            failed,
            item(1, &[1, 0], "call", call(5, 6, 8)),
            lent,
            created,
            whole,
            item(2, &[0], "call", call(2, 3, 6)),
            reward,
            bare,
        ];
        let flat = read(&items).unwrap();
        assert_eq!(flat.blocks, BTreeMap::from([(B256::repeat_byte(0xb1), Height(7))]));
        let [first, second] = &flat.traces[..] else { panic!("{flat:?}") };
        assert_eq!((first.tx_hash, second.tx_hash), (Some(B256::repeat_byte(1)), Some(B256::repeat_byte(2))));
        let (first, second) = (first.calls.as_ref().unwrap(), second.calls.as_ref().unwrap());
        let moved: Vec<_> = first.frames(false, (Address::ZERO, U256::ZERO)).0;
        let moved: Vec<_> = moved.iter().map(|it| (it.from[0], it.to[0], it.value.to::<u64>(), it.kind)).collect();
        let expected = [
            (2, 3, 1, Kind::Internal),
            (3, 6, 7, Kind::Internal),
            (3, 4, 2, Kind::SelfDestruct),
            (2, 8, 4, Kind::Create),
        ];
        assert_eq!(moved, expected);
        assert_eq!((first.failed(), first.input.as_deref()), (false, Some(&[1, 2][..])));
        assert!(second.failed() && second.list.len() == 1);
    }

    #[test]
    fn what_is_no_tree_is_not_read() {
        let own = || item(1, &[], "call", call(1, 2, 0));
        let odd = |items: &[Value]| read(items).unwrap().odd.map(|(fault, _)| fault);
        let inner = |tx: u8| item(tx, &[0], "call", call(2, 3, 1));
        assert_eq!(odd(&[inner(1)]), Some(Fault::Omitted), "no call of its own");
        assert_eq!(odd(&[own(), own()]), Some(Fault::Forged), "two of its own");
        assert_eq!(odd(&[own(), inner(1), inner(1)]), Some(Fault::Forged), "one twice");
        let mixed = [own(), item(2, &[], "call", call(1, 2, 0)), inner(1), inner(2)];
        assert_eq!(odd(&mixed), Some(Fault::Reordered));
        assert_eq!(odd(&[own(), inner(1)]), None);
        assert_eq!(read(&[item(1, &[], "moved", call(1, 2, 0))]).unwrap_err(), Wrong::Field("type"));
        let deep = [own(), item(1, &[0; DEEPEST + 1], "call", call(2, 3, 1))];
        assert_eq!(read(&deep).unwrap_err(), Wrong::Not("within the depth of calls"));
        let mut nobodys = own();
        nobodys["transactionHash"] = Value::Null;
        assert_eq!(read(&[nobodys]).unwrap_err(), Wrong::Missing("transactionHash"));
        // What goes down to a call that is not told, as that of a precompile, is its maker's.
        let below = [own(), item(1, &[3, 1], "call", call(2, 3, 1))];
        assert_eq!(read(&below).unwrap().traces[0].calls.as_ref().unwrap().list.len(), 2);
    }
}
