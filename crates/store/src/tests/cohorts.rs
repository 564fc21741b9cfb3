//! Who is in a cohort, and what it holds where that is out of the ordinary. The random stories say the rest.

use assay_types::{AccountNo, Amount, Height, Wide};

use super::world::{Said, TOKEN, World};
use super::{FIRST, account, folder, grow, open};
use crate::cohorts::total_key;
use crate::{Family, Mode, StoreError, Undo};

#[test]
fn an_account_belongs_to_those_with_whom_it_came_first() {
    let folder = folder();
    let store = open(folder.path(), Mode::Write).unwrap();
    let (one, other) = ([account(1), account(2), account(1)], [account(2), account(3), account(4), account(0)]);
    assert_eq!(store.declare(&[&one[..], &other[..]]).unwrap(), 5);
    assert_eq!(store.cohorts(0..9).unwrap(), [0..2, 2..5]);
    // One alone is none, nor is who is known already, in whatever company.
    assert_eq!(store.declare(&[&[account(0), account(5)][..], &one[..]]).unwrap(), 1);
    assert_eq!(store.declare(&[[account(6), account(5), account(7)]]).unwrap(), 2);
    assert_eq!(store.cohorts(0..9).unwrap(), [0..2, 2..5, 6..8]);
    let whole = [1..7, 5..8].map(|among| store.cohorts(among).unwrap());
    assert_eq!(whole.concat(), [2..5, 6..8]);
}

#[test]
fn a_total_may_be_more_than_an_amount() {
    let folder = folder();
    let store = open(folder.path(), Mode::Write).unwrap();
    store.declare(&[[account(0), account(1)]]).unwrap();
    let (mut world, watch) = (World::default(), store.watch().unwrap());
    for height in 0..2 {
        (0..2).for_each(|who| world.readings.push((who, Said::Proven(1))));
        let mut block = world.seal(0).view(&watch);
        for reading in block.readings.iter_mut().filter(|_| height == 0) {
            reading.balance = Ok(Amount::MAX);
        }
        store.apply(&block, &watch, Undo { depth: 9, tip: Height(height) }, false).unwrap();
    }
    let total = |height| store.total(FIRST, TOKEN, Height(height)).unwrap();
    assert_eq!((total(0), total(1)), (Wide::from(Amount::MAX.0) * Wide::from(2), Wide::from(2)));
    assert_eq!(store.audit().unwrap().totals, 2);
}

#[test]
fn a_total_that_is_not_what_the_accounts_hold_is_told() {
    let folder = folder();
    let store = open(folder.path(), Mode::Write).unwrap();
    store.declare(&[[account(0), account(1)]]).unwrap();
    grow(&store, 0, 9);
    assert_eq!(store.audit().unwrap().totals, 10);
    let pair = (AccountNo(0), assay_types::Asset::Native);
    let key = |height| total_key(Default::default(), pair, Height(height)).0;
    let holdings = store.family(Family::Holdings).unwrap();
    let told = |what: &str| {
        let told = store.audit();
        assert!(matches!(&told, Err(StoreError::Damaged { what: why, .. }) if why.contains(what)), "{told:?}");
    };
    let sound = store.get(Family::Holdings, &key(4)).unwrap().unwrap();
    store.db.delete_cf(holdings, key(4)).unwrap();
    told("not what its accounts' movements give");
    store.db.put_cf(holdings, key(4), store.get(Family::Holdings, &key(3)).unwrap().unwrap()).unwrap();
    told("the total is the one before it");
    store.db.put_cf(holdings, key(4), sound).unwrap();
    store.audit().unwrap();
}
