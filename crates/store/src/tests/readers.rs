//! Readers in other processes, and who may open what.

use std::sync::atomic::{AtomicBool, Ordering};

use assay_types::{Asset, Height};

use super::{FIRST, account, dump, folder, grow, open, sats};
use crate::{Family, Mode, StoreError};

/// The block that a reader stands at, after making sure that all else is of that block too.
fn boundary(reader: &crate::Store) -> u64 {
    reader.audit().unwrap();
    let tip = reader.tip().unwrap().unwrap().height;
    assert_eq!(reader.balance(FIRST, Asset::Native, Height(u64::MAX)).unwrap(), sats(10 * (tip.0 + 1)));
    tip.0
}

#[test]
fn a_reader_sees_the_boundary_at_which_it_was_opened() {
    let folder = folder();
    let writer = open(folder.path(), Mode::Write).unwrap();
    writer.declare(&[[account(0)]]).unwrap();
    let mut earlier: Option<crate::Store> = None;
    for height in 0..12 {
        grow(&writer, height, height);
        if height % 4 == 3 {
            Family::ALL.iter().for_each(|family| writer.db.flush_cf(writer.family(*family).unwrap()).unwrap());
        }
        assert_eq!(earlier.map(|earlier| boundary(&earlier)), height.checked_sub(1), "a reader moved");
        let reader = open(folder.path(), Mode::Read).unwrap();
        assert_eq!(boundary(&reader), height);
        assert_eq!(dump(&reader), dump(&writer));
        earlier = Some(reader);
    }
}

#[test]
fn a_reader_hears_that_something_was_amended_and_so_does_the_next_writer() {
    let folder = folder();
    let amended = |mode| open(folder.path(), mode).unwrap().amended();
    let writer = open(folder.path(), Mode::Write).unwrap();
    writer.declare(&[[account(0)]]).unwrap();
    grow(&writer, 0, 3);
    let before = amended(Mode::Read);
    assert_eq!((writer.amended(), amended(Mode::Read)), (before, before));
    writer.note_amended().unwrap();
    assert_eq!((writer.amended(), amended(Mode::Read)), (before + 1, before + 1));
    drop(writer);
    assert_eq!([amended(Mode::Write), amended(Mode::Read)], [before + 2; 2]);
}

#[test]
fn readers_that_come_while_blocks_are_written_never_see_half_of_one() {
    let folder = folder();
    let writer = open(folder.path(), Mode::Write).unwrap();
    writer.declare(&[[account(0)]]).unwrap();
    grow(&writer, 0, 0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let now = boundary(&open(folder.path(), Mode::Read).unwrap());
                assert!(now >= last, "a later reader saw less");
                last = now;
            }
        });
        for height in (1..400).step_by(20) {
            grow(&writer, height, height + 19);
            // Tables are written and logs removed under the readers' eyes.
            Family::ALL.iter().for_each(|family| writer.db.flush_cf(writer.family(*family).unwrap()).unwrap());
        }
        done.store(true, Ordering::Relaxed);
        reads.join().unwrap();
    });
}

#[test]
fn only_the_right_program_opens_it_and_only_one_writes() {
    let folder = folder();
    let nowhere = folder.path().join("nowhere");
    assert!(matches!(open(&nowhere, Mode::Read), Err(StoreError::Absent(_))));
    assert!(!nowhere.exists(), "asking made a store");

    let writer = open(folder.path(), Mode::Write).unwrap();
    assert!(matches!(open(folder.path(), Mode::Write), Err(StoreError::Busy(_))));
    let other = "eip155:1".parse().unwrap();
    let refused = crate::Store::open(folder.path(), &other, Mode::Read).err();
    assert!(matches!(refused, Some(StoreError::OtherChain { .. })), "{refused:?}");
    drop(writer);
    let refused = crate::Store::open(folder.path(), &other, Mode::Write).err();
    assert!(matches!(refused, Some(StoreError::OtherChain { .. })), "{refused:?}");

    let writer = open(folder.path(), Mode::Write).unwrap();
    let meta = writer.family(Family::Meta).unwrap();
    writer.db.put_cf(meta, b"format", (crate::FORMAT + 1).to_be_bytes()).unwrap();
    drop(writer);
    for mode in [Mode::Read, Mode::Write] {
        let refused = open(folder.path(), mode).err();
        assert!(matches!(refused, Some(StoreError::Format { found, .. }) if found == crate::FORMAT + 1), "{refused:?}");
    }
}

#[test]
fn a_reader_leaves_no_files_behind() {
    let folder = folder();
    grow(&open(folder.path(), Mode::Write).unwrap(), 0, 3);
    let files = || -> std::collections::BTreeSet<_> {
        std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect()
    };
    let before = files();
    drop(open(folder.path(), Mode::Read).unwrap());
    assert_eq!(files(), before);
}

#[test]
fn a_table_that_is_missing_or_shorter_is_told_to_readers() {
    let folder = folder();
    let writer = open(folder.path(), Mode::Write).unwrap();
    writer.declare(&[[account(0)]]).unwrap();
    grow(&writer, 0, 3);
    writer.db.flush_cf(writer.family(Family::Movements).unwrap()).unwrap();
    drop(writer);
    let tables = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
    let tables: Vec<_> = tables.filter(|path| path.extension().is_some_and(|kind| kind == "sst")).collect();
    assert!(!tables.is_empty());
    for table in tables {
        let whole = std::fs::read(&table).unwrap();
        for rest in [None, Some(&whole[..whole.len() - 1])] {
            match rest {
                None => std::fs::remove_file(&table).unwrap(),
                Some(rest) => std::fs::write(&table, rest).unwrap(),
            }
            let refused = open(folder.path(), Mode::Read).err();
            assert!(matches!(refused, Some(StoreError::Damaged { .. } | StoreError::Database { .. })), "{refused:?}");
        }
        std::fs::write(&table, whole).unwrap();
        assert!(open(folder.path(), Mode::Read).is_ok());
    }
}

#[test]
fn many_openings_leave_few_tables() {
    let folder = folder();
    for round in 0..60 {
        let writer = open(folder.path(), Mode::Write).unwrap();
        writer.declare(&[[account(0)]]).unwrap();
        grow(&writer, 3 * round, 3 * round + 2);
    }
    let writer = open(folder.path(), Mode::Write).unwrap();
    let tables = writer.db.live_files().unwrap();
    let most = Family::ALL
        .iter()
        .map(|family| tables.iter().filter(|table| table.column_family_name == family.name()).count());
    assert!(most.clone().all(|tables| tables <= 20), "{:?}", most.collect::<Vec<_>>());
}

#[test]
fn a_store_that_was_killed_while_it_was_made_is_absent_and_can_be_made() {
    for made in 0..Family::ALL.len() {
        let folder = folder();
        let mut options = rocksdb::Options::default();
        options.create_if_missing(true);
        let mut db = rocksdb::DB::open(&options, folder.path()).unwrap();
        for family in &Family::ALL[..made] {
            db.create_cf(family.name(), &options).unwrap();
        }
        drop(db);
        assert!(matches!(open(folder.path(), Mode::Read), Err(StoreError::Absent(_))), "{made} families");
        drop(open(folder.path(), Mode::Write).unwrap());
        open(folder.path(), Mode::Read).unwrap();
    }
    // But one that has some other families is none of ours, or damaged.
    let folder = folder();
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    let mut db = rocksdb::DB::open(&options, folder.path()).unwrap();
    db.create_cf(Family::Undo.name(), &options).unwrap();
    drop(db);
    assert!(matches!(open(folder.path(), Mode::Read), Err(StoreError::Damaged { .. })));
}
