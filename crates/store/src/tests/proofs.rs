//! The last proof of each balance is kept, and none of a block that is not ours any more.

use assay_types::{AccountNo, Between, Height, Proof, Reading};

use super::world::{TOKEN, World};
use super::{account, folder, open, sats};
use crate::{KeptProof, Mode, Store, Undo};

struct Test {
    store: Store,
    world: World,
    _folder: tempfile::TempDir,
}

impl Test {
    fn new() -> Test {
        Test::with(2)
    }

    fn with(accounts: u8) -> Test {
        let folder = folder();
        let store = open(folder.path(), Mode::Write).unwrap();
        store.declare(&[(0..accounts).map(account).collect::<Vec<_>>()]).unwrap();
        Test { store, world: World::default(), _folder: folder }
    }

    /// A block after which these accounts are proven to hold nothing, by this proof; is it to be kept?
    fn block(&mut self, proven: &[(u32, u8)], keep: bool) -> Height {
        let (watch, sealed) = (self.store.watch().unwrap(), self.world.seal(0));
        let mut block = sealed.view(&watch);
        let height = block.header.height;
        block.sealed = keep.then(|| vec![0xb0, u8::try_from(height.0).unwrap()]);
        let reading = |(number, proof): &(u32, u8)| {
            let (account, proof) = (AccountNo(*number), Some(Proof([*proof].into())));
            Reading { account, asset: TOKEN, balance: Ok(sats(0)), proven: true, proof, between: Between::Told }
        };
        block.readings = proven.iter().map(reading).collect();
        self.store.apply(&block, &watch, Undo { depth: 9, tip: height }, false).unwrap();
        height
    }

    /// The heights and proofs of both accounts.
    fn kept(&self) -> [Option<(u64, u8)>; 2] {
        [0, 1].map(|number| {
            let KeptProof { at, sealed, proof } = self.store.kept_proof(AccountNo(number), TOKEN).unwrap()?;
            assert_eq!((&sealed[..], proof.len()), (&[0xb0, u8::try_from(at.0).unwrap()][..], 1));
            Some((at.0, proof[0]))
        })
    }
}

#[test]
fn a_later_proof_takes_the_place_of_the_one_before_and_goes_with_its_block() {
    let mut test = Test::new();
    test.block(&[(0, 10), (1, 11)], true);
    assert_eq!(test.kept(), [Some((0, 10)), Some((0, 11))]);
    test.block(&[(0, 20)], true);
    test.block(&[], true);
    assert_eq!(test.kept(), [Some((1, 20)), Some((0, 11))]);
    let mut all = Vec::new();
    let see = |pair, kept: KeptProof| {
        all.push((pair, kept.at.0));
        Ok::<_, crate::StoreError>(())
    };
    test.store.each_kept_proof(see).unwrap();
    assert_eq!(all, [((AccountNo(0), TOKEN), 1), ((AccountNo(1), TOKEN), 0)]);
    test.store.remove_tip().unwrap();
    assert_eq!(test.kept(), [Some((1, 20)), Some((0, 11))], "nothing was proven there");
    test.store.remove_tip().unwrap();
    assert_eq!(
        test.kept(),
        [None, Some((0, 11))],
        "the one before does not come back, and is not shown for another block"
    );
    test.store.remove_tip().unwrap();
    assert_eq!(test.kept(), [None, None]);
}

/// Everyone's proofs at every block would be megabytes each time.
#[test]
fn of_many_accounts_who_did_not_move_keeps_a_young_proof() {
    let mut test = Test::with(51);
    test.block(&[(0, 10), (1, 11)], true);
    test.world.events.push(super::world::Event::Token { tx: 0, who: 0, credit: true, amount: 5 });
    test.world.new_tx();
    test.block(&[], true);
    test.block(&[(0, 20), (1, 21)], true);
    assert_eq!(test.kept(), [Some((2, 20)), Some((0, 11))], "the first one moved since");
    for height in 3..64 {
        assert_eq!(test.block(&[(1, 31)], true), Height(height));
    }
    assert_eq!(test.kept(), [Some((2, 20)), Some((0, 11))]);
    test.block(&[(1, 41)], true);
    assert_eq!(test.kept(), [Some((2, 20)), Some((64, 41))]);
}

#[test]
fn in_the_middle_of_a_stretch_nothing_is_kept() {
    let mut test = Test::new();
    test.block(&[(0, 10)], true);
    test.block(&[(0, 20), (1, 21)], false);
    assert_eq!(test.kept(), [Some((0, 10)), None]);
    test.store.remove_tip().unwrap();
    assert_eq!(test.kept(), [Some((0, 10)), None]);
}

/// With undo and, as far as that goes, without it: what ends or begins a verified stretch was proven there.
#[test]
fn it_is_told_where_a_balance_was_proven_and_where_before() {
    let mut test = Test::new();
    let proven: [&[(u32, u8)]; 6] = [&[(0, 1), (1, 1)], &[(0, 1)], &[(0, 1)], &[], &[(1, 1)], &[]];
    for proven in proven {
        test.block(proven, true);
    }
    let pairs = [0, 1].map(|number| (AccountNo(number), TOKEN));
    let mut lookup = test.store.lookup().unwrap();
    for (height, proven) in (0..).map(Height).zip(proven) {
        let at = test.store.proven_at(height).unwrap().unwrap();
        assert_eq!(
            pairs.map(|pair| at.contains(&pair)),
            [0, 1].map(|number| proven.contains(&(number, 1))),
            "{height}"
        );
    }
    let ends = |lookup: &mut crate::Lookup<'_>, pair| {
        (0..6).map(Height).map(|at| lookup.ends_proven(pair, at).unwrap()).collect::<Vec<_>>()
    };
    // The first in three blocks in a row, of which the middle one shows no more; the second in the first and the fifth.
    assert_eq!(ends(&mut lookup, pairs[0]), [true, false, true, false, false, false]);
    assert_eq!(ends(&mut lookup, pairs[1]), [true, false, false, false, true, false]);
    let last = |lookup: &mut crate::Lookup<'_>, pair, at| lookup.last_proof(pair, Height(at)).unwrap();
    assert_eq!([2, 3, 5].map(|at| last(&mut lookup, pairs[0], at)), [None, Some(Height(2)), Some(Height(2))]);
    assert_eq!(
        [3, 5].map(|at| last(&mut lookup, pairs[1], at)),
        [None, Some(Height(4))],
        "around the fourth it is verified"
    );
    assert_eq!(test.store.proven_at(Height(9)).unwrap(), None);
}

#[test]
fn who_moved_since_does_not_rest_on_an_earlier_proof() {
    let mut test = Test::new();
    test.block(&[(0, 1)], true);
    test.world.events.push(super::world::Event::Token { tx: 0, who: 0, credit: true, amount: 5 });
    test.world.new_tx();
    test.block(&[], true);
    let mut lookup = test.store.lookup().unwrap();
    assert!(test.store.moved_between((AccountNo(0), TOKEN), Height(0), Height(1)).unwrap());
    assert_eq!(lookup.last_proof((AccountNo(0), TOKEN), Height(1)).unwrap(), None);
}
