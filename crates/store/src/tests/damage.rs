//! Bytes that are not what was written: an error that says so, never a panic and never another answer.

use std::path::Path;

use assay_types::{AccountNo, Asset, Between, Block, Header, Height, Proof, Reading, TxId};
use proptest::prelude::*;

use super::world::TOKEN;
use super::{Dump, FIRST, account, dump, folder, grow, open};
use crate::rows::{HeaderRow, Unspent};
use crate::{Coverage, Family, Mode, Movement, Store, StoreError, Transaction, Undo, changes, cohorts, proofs};

fn grown(path: &Path) -> Store {
    let store = open(path, Mode::Write).unwrap();
    store.declare(&[[account(0), account(1)]]).unwrap();
    grow(&store, 0, 9);
    store.cover_by_walking(Height(0)).unwrap();
    prove(&store);
    store
}

/// A block more, at which state was read.
fn prove(store: &Store) {
    let (tip, watch) = (store.tip().unwrap().unwrap(), store.watch().unwrap());
    let (height, mut block) =
        (tip.height.next(), Block::unread(Header { height: tip.height.next(), parent: tip.hash, ..tip }));
    (block.header.hash.0, block.sealed) = ([0x5e; 32], Some(vec![0x5e]));
    let (proof, balance) = (Some(Proof([1, 2, 3].into())), Ok(super::sats(0)));
    block.readings =
        vec![Reading { account: AccountNo(1), asset: TOKEN, balance, proven: true, proof, between: Between::Told }];
    store.apply(&block, &watch, Undo { depth: 100, tip: height }, false).unwrap();
}

/// Everything that can be asked, until the first error.
fn ask_everything(store: &Store) -> Result<(), StoreError> {
    let tip = store.tip()?.map_or(Height(0), |tip| tip.height);
    store.audit()?;
    store.kept_proof(AccountNo(1), TOKEN)?;
    store.coverage(AccountNo(1), TOKEN, Height(u64::MAX))?;
    store.watch()?;
    store.final_height()?;
    store.round(Height(0))?;
    store.coverage(FIRST, Asset::Native, tip)?;
    store.coverage(AccountNo(1), Asset::Native, tip)?;
    store.last_verified(FIRST, Asset::Native, tip)?;
    store.immature(FIRST, tip)?;
    let txids = store.movements(FIRST, Asset::Native, Height(0), tip)?.collect::<Result<Vec<_>, _>>()?;
    for TxId(txid) in txids.into_iter().filter_map(|movement| movement.txid) {
        store.transaction(TxId(txid))?;
    }
    store.remove_tip().map(drop)
}

#[test]
fn a_damaged_row_of_any_family_is_told() {
    for family in Family::ALL {
        let folder = folder();
        let store = grown(folder.path());
        let rows = dump(&store);
        let (key, value) = rows.iter().rfind(|((name, _), _)| *name == family.name()).unwrap();
        let handle = store.family(*family).unwrap();
        let bad: &[u8] = if *family == Family::Accounts { b"" } else { &value[..value.len() - 1] };
        let bad = if *family == Family::Coverage { b"\x09" } else { bad };
        let key = if *family == Family::Accounts { b"a\xa0\x00" } else { key.1.as_slice() };
        store.db.put_cf(handle, key, bad).unwrap();
        let told = match family {
            Family::Accounts => store.number(&account(0)).map(drop),
            Family::Headers => {
                store.db.put_cf(handle, key, &value[..70]).unwrap();
                ask_everything(&store)
            }
            _ => ask_everything(&store),
        };
        assert!(matches!(told, Err(StoreError::Damaged { .. })), "{}: {told:?}", family.name());
    }
}

#[test]
fn a_store_that_lost_its_format_is_not_taken_for_a_new_one() {
    let folder = folder();
    let store = grown(folder.path());
    store.db.delete_cf(store.family(Family::Meta).unwrap(), b"format").unwrap();
    drop(store);
    assert!(matches!(open(folder.path(), Mode::Write), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_flipped_bit_in_a_table_is_found() {
    let folder = folder();
    let store = grown(folder.path());
    Family::ALL.iter().for_each(|family| store.db.flush_cf(store.family(*family).unwrap()).unwrap());
    let rows = dump(&store);
    drop(store);
    let tables = files(folder.path(), "sst");
    assert!(tables.len() >= 7, "{tables:?}");
    let mut found = 0;
    for table in tables {
        for part in [8, 2] {
            // Each opening writes, and may merge tables.
            let copy = self::folder();
            for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
                std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
            let mut bad = std::fs::read(&table).unwrap();
            let at = bad.len() / part;
            bad[at] ^= 0x10;
            std::fs::write(copy.path().join(table.file_name().unwrap()), &bad).unwrap();
            found += usize::from(is_found(copy.path(), &rows));
        }
    }
    assert!(found > 0);
}

/// Either the damage lies where no answer comes from, or it is told.
fn is_found(path: &Path, rows: &Dump) -> bool {
    let mut seen = Dump::new();
    let read = open(path, Mode::Write).and_then(|store| {
        store.each_row(|family, key, value| drop(seen.insert((family, key.to_vec()), value.to_vec())))
    });
    seen.remove(&("meta", b"amended".to_vec())); // each opening counts
    match read {
        Ok(()) => assert!(seen == *rows, "another answer"),
        Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
    }
    seen != *rows
}

#[test]
fn a_torn_tail_loses_whole_blocks_and_a_hole_is_damage() {
    let folder = folder();
    let mut stages = Vec::new();
    {
        let store = open(folder.path(), Mode::Write).unwrap();
        stages.push(dump(&store));
        store.declare(&[[account(0)]]).unwrap();
        stages.push(dump(&store));
        for height in 0..10 {
            grow(&store, height, height);
            stages.push(dump(&store));
        }
    }
    let log = files(folder.path(), "log").into_iter().max_by_key(|log| std::fs::metadata(log).unwrap().len()).unwrap();
    let whole = std::fs::read(&log).unwrap();
    let copy = super::folder();
    let reopened = |log_bytes: &[u8]| {
        std::fs::remove_dir_all(copy.path()).unwrap();
        std::fs::create_dir(copy.path()).unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        std::fs::write(copy.path().join(log.file_name().unwrap()), log_bytes).unwrap();
        open(copy.path(), Mode::Write).map(|store| dump(&store))
    };
    for length in (whole.len() / 3..whole.len()).step_by(whole.len() / 12) {
        let rows = reopened(&whole[..length]).unwrap();
        assert!(stages.contains(&rows), "cut at {length}: not a block boundary");
    }
    let mut hole = whole.clone();
    hole[whole.len() / 2] ^= 1;
    let told = reopened(&hole).err();
    assert!(matches!(told, Some(StoreError::Damaged { .. })), "{told:?}");
}

fn files(path: &Path, kind: &str) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == kind)).collect()
}

proptest! {
    #[test]
    fn no_bytes_make_a_row_panic(key: Vec<u8>, value in proptest::collection::vec(0u8..40, 0..90)) {
        let _ = HeaderRow::read(Height(0), &value);
        let _ = Movement::read(&key, &value);
        let _ = Coverage::read(&value);
        let _ = Unspent::read(&value);
        let _ = proofs::read_value(&value);
        let _ = Transaction::read(&value);
        let _ = cohorts::read_total(&value);
        let _ = changes::read_undo_row(&value);
    }
}
