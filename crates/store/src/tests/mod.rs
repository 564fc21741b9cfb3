//! Stories about the store: it agrees with a naive model, survives what happens to it, and keeps its bytes.

mod announced;
mod bytes;
mod cohorts;
mod correct;
mod crash;
mod damage;
mod model;
mod proofs;
mod random;
mod readers;
mod repeated;
mod world;

use std::collections::BTreeMap;
use std::path::Path;

use assay_types::{Account, AccountNo, Amount, ChainId, Height};

use crate::{Family, Mode, Store, StoreError};

/// Every row by family and key.
type Dump = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

fn chain() -> ChainId {
    "bip122:0f9188f13cb7b2c71f2a335e3a4fc328".parse().unwrap()
}

/// In memory where that can be had: these stories are about bytes, not about disks.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn open(path: &Path, mode: Mode) -> Result<Store, StoreError> {
    Store::open(path, &chain(), mode)
}

/// All rows but how often something was amended.
fn dump(store: &Store) -> Dump {
    let mut rows = Dump::new();
    store.each_row(|family, key, value| drop(rows.insert((family, key.to_vec()), value.to_vec()))).unwrap();
    rows.remove(&("meta", b"amended".to_vec()));
    rows
}

fn without(mut rows: Dump, family: Family) -> Dump {
    rows.retain(|(name, _), _| *name != family.name());
    rows
}

fn account(number: u8) -> Account {
    Account::new(&[0xa0, number])
}

fn sats(amount: u64) -> Amount {
    Amount::from(amount)
}

/// Applies blocks of a simple world: account 0 is paid 10 more at each block.
fn grow(store: &Store, from: u64, to: u64) {
    let mut chain = world::World::default();
    for height in 0..=to {
        chain.pay_in(0, 10);
        let block = chain.seal(0);
        if height >= from {
            let (watch, tip) = (store.watch().unwrap(), Height(height));
            store.apply(&block.view(&watch), &watch, crate::Undo { depth: 100, tip }, false).unwrap();
        }
    }
}

const FIRST: AccountNo = AccountNo(0);
