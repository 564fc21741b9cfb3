//! One row of each family, byte for byte: a change of the format shows here, and needs a new `FORMAT`.

use std::collections::BTreeSet;

use assay_types::{AccountNo, Asset, Between, Height, Reading, Remark};

use super::world::{Event, Said, TOKEN, World};
use super::{account, dump, folder, open, sats};
use crate::{Coverage, Family, Left, Mode, Undo, hex};

#[test]
fn the_bytes_are_those_of_the_format() {
    let folder = folder();
    let store = open(folder.path(), Mode::Write).unwrap();
    store.declare(&[[account(0), account(5)]]).unwrap();
    store.cover_by_walking(Height(0)).unwrap();
    store.follow_assets(&BTreeSet::from([Asset::Native, TOKEN])).unwrap();
    let watch = store.watch().unwrap();
    let mut world = World::default();
    world.pay_in(0, 300);
    world.readings.push((0, Said::Proven(0x0102)));
    let undo = |tip| Undo { depth: 9, tip: Height(tip) };
    let mut block = world.seal(0).view(&watch);
    block.blank = vec![TOKEN];
    block.remarks = vec![
        Remark::Code { asset: TOKEN, fingerprint: [0xc0; 32] },
        Remark::Frozen { account: AccountNo(0), asset: TOKEN, is_frozen: false }, // no row
        Remark::Frozen { account: AccountNo(1), asset: TOKEN, is_frozen: true },
    ];
    store.apply(&block, &watch, undo(0), false).unwrap();
    let (txid, vout, ..) = world.unspent()[0];
    let tx = world.new_tx();
    world.events.push(Event::Input { tx, index: 4, spends: (txid, vout) });
    world.events.push(Event::Output { tx, vout: 0, to: 0, amount: 200, coinbase: false });
    world.events.push(Event::Output { tx, vout: 1, to: 1, amount: 100, coinbase: false });
    world.readings.push((0, Said::Nothing));
    store.apply(&world.seal(0).view(&watch), &watch, undo(1), false).unwrap();
    let reading = |proven| Reading {
        account: AccountNo(0),
        asset: Asset::Native,
        balance: Ok(sats(0)),
        proven,
        proof: None,
        between: Between::Told,
    };
    let at = store.tip().unwrap().unwrap().at();
    store.announce(&[account(2)], at, &[reading(false)], true).unwrap();
    store.remove_tip().unwrap();
    let last = world.blocks[1].clone();
    store.apply(&last.view(&watch), &watch, undo(1), false).unwrap();
    store.announce(&[account(3)], at, &[reading(true)], true).unwrap();
    store.declare(&[[account(1)]]).unwrap();
    let round = store.round(Height(0)).unwrap().unwrap();
    store.cover_round(round, Height(0), &Coverage::Unproven).unwrap();
    store.publish_unproven(round, Height(0)).unwrap();
    store.disprove(round.from, Height(0), "hid").unwrap();
    store.declare(&[[account(4)]]).unwrap();
    store.round(Height(0)).unwrap();
    store.follow_assets(&BTreeSet::from([Asset::Native])).unwrap();
    store.set_final(Some(Height(1))).unwrap();
    let block = last.header.at();
    store.set_left(Some(Left { block, final_height: Some(Height(1)) })).unwrap();
    let rows = dump(&store);
    let shown: Vec<String> =
        rows.iter().map(|((family, key), value)| format!("{family} {} {}", hex(key), hex(value))).collect();
    let expected = include_str!("bytes.txt");
    assert_eq!(shown.join("\n"), expected.trim_end(), "\nthe bytes changed; all of them:\n{}\n", shown.join("\n"));
    let families = Family::ALL.iter().filter(|family| expected.contains(&format!("{} ", family.name())));
    assert_eq!(families.count(), Family::ALL.len());
}
