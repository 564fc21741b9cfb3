//! The last proof of each balance is kept, and none of a block that is not ours any more.

use assay_types::{AccountNo, Height, Proof, Reading};

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
        let folder = folder();
        let store = open(folder.path(), Mode::Write).unwrap();
        store.declare(&[[account(0), account(1)]]).unwrap();
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
            Reading { account, asset: TOKEN, balance: Ok(sats(0)), proven: true, proof }
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

#[test]
fn in_the_middle_of_a_stretch_nothing_is_kept() {
    let mut test = Test::new();
    test.block(&[(0, 10)], true);
    test.block(&[(0, 20), (1, 21)], false);
    assert_eq!(test.kept(), [Some((0, 10)), None]);
    test.store.remove_tip().unwrap();
    assert_eq!(test.kept(), [Some((0, 10)), None]);
}
