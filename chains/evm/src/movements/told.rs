//! What traces tell of accounts, held against proofs. One without code pays by its own transactions alone, to which the block commits; and what calls
//! pay it, it has more of after the block. A trace that denies that is not believed of the account. What has code, if within the block alone, by an
//! authorization (EIP-7702) or as a contract that was created and is gone, can pay on what it gets: it must have what it had, and all that is told of
//! it in and out, or nothing is said of what was paid through it. That it got what it did not keep no proof says: what goes round, or through it, leaves
//! no trace in its state.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use alloy::consensus::crypto::secp256k1::recover_signer_unchecked;
use alloy::eips::eip7702::SignedAuthorization;
use alloy::primitives::{Address, U256};
use assay_types::{BlockRef, Direction, Effect, Fault, NodeError, Watch};

use crate::block::{StateAt, headers};
use crate::movements::digest::{Digest, Frame};
use crate::movements::fetch::Fetched;
use crate::node::Node;
use crate::state::proofs::each_proof;
use crate::verify::AccountProof;

/// At most so many payees beside a payment are proven for a block: whoever makes a contract pay can pay thousands of strangers along with it.
pub(crate) const MOST_BESIDE: usize = 64;
/// And of so many at all: nothing commits to a trace, which may name a million.
const MOST_ASKED: usize = 4_096;

/// Takes away what is not to be believed: of watched accounts what they are said to have paid, and of others what a transaction that cost a
/// watched account something is said to have paid them, for that may be what it owed. Says whether movements may be among that.
pub(crate) async fn hold_against_state(
    node: &Node,
    at: BlockRef,
    fetched: &mut Fetched,
    effects: &[Effect],
    watch: &Watch,
) -> Result<bool, NodeError> {
    let is_watched = |address: &Address| watch.number(&address[..]).is_some();
    let costly = costly(effects);
    let payees = payees(&fetched.digest, &costly, is_watched);
    let is_told = |tx: &u32| fetched.digest.transactions[*tx as usize].is_told;
    let (are_told, reached) = (costly.iter().all(is_told), payees.asked.clone());
    if reached.is_empty() || !fetched.state().is_provable() {
        for tx in &costly {
            let tx = &mut fetched.digest.transactions[*tx as usize];
            tx.unproven.extend(tx.frames.iter().map(|frame| frame.to).filter(|to| !is_watched(to)));
        }
        if !(costly.is_empty() || are_told && reached.is_empty()) {
            leave_open_whose(&mut fetched.digest, is_watched, |_| true);
        }
        return Ok(false);
    }
    let Judged { mut denied, mut doubtful, unsure, is_lie, unproven, is_whole } =
        judge(node, at, fetched, payees.asked, is_watched).await?;
    let may_pass = |payer: &Address| !(is_whole && are_told) || reached.contains(payer);
    leave_open_whose(&mut fetched.digest, is_watched, may_pass);
    // Those that are watched, of whom such a contract is said to have paid more than they have.
    let paid = costly.iter().flat_map(|tx| &fetched.digest.transactions[*tx as usize].frames);
    let paid = paid.filter(|frame| unsure.contains(&frame.from) && is_watched(&frame.to)).map(|frame| frame.to);
    let paid: BTreeSet<Address> = paid.collect();
    if !paid.is_empty() {
        denied.extend(judge(node, at, fetched, paid, |_| false).await?.denied);
    }
    denied.extend(is_lie);
    for address in &denied {
        let (subject, against) = (format!("the traces of block {}", at.height), format!("the proof of {address}"));
        headers::doubt(node, at, node.contradiction(&subject, &against, Fault::Forged, "they are not believed of it"))
            .await;
    }
    // Of those that are watched state decides.
    doubtful.retain(|address| !is_watched(address));
    let digest = &mut fetched.digest;
    for tx in costly {
        let tx = &mut digest.transactions[tx as usize];
        let frames = tx.frames.len();
        let is_open = |frame: &Frame| {
            [frame.from, frame.to].iter().any(|it| payees.unasked.contains(it))
                || unsure.contains(&frame.from)
                || unsure.contains(&frame.to)
        };
        tx.frames.retain(|frame| !is_open(frame));
        tx.is_told &= tx.frames.len() == frames && !unsure.contains(&tx.recipient);
        tx.unproven.extend(tx.frames.iter().map(|frame| frame.to).filter(|to| unproven.contains(to)));
    }
    for tx in &mut digest.transactions {
        let frames = tx.frames.len();
        tx.frames.retain(|frame| ![frame.from, frame.to].iter().any(|it| denied.contains(it) || doubtful.contains(it)));
        tx.is_told &= tx.frames.len() == frames || doubtful.is_empty();
    }
    Ok(!denied.is_empty() || !doubtful.is_empty())
}

/// A contract that pays a watched account may pass on what watched accounts paid it in the same block; which transaction took those coins nothing
/// proves.
fn leave_open_whose(digest: &mut Digest, is_watched: impl Fn(&Address) -> bool, may_pass: impl Fn(&Address) -> bool) {
    for tx in &mut digest.transactions {
        let payers = tx.frames.iter().filter(|frame| !is_watched(&frame.from) && is_watched(&frame.to));
        tx.unproven.extend(payers.map(|frame| frame.from).filter(&may_pass));
    }
}

/// What the proofs say of whom traces tell something.
#[derive(Default)]
struct Judged {
    /// It is not so.
    denied: BTreeSet<Address>,
    /// It is not so, unless one was created by what is not told.
    doubtful: BTreeSet<Address>,
    /// Contracts that do not have after the block what they had before and all that is told of them.
    unsure: BTreeSet<Address>,
    /// Those of them that are said to have got more, or paid less, though everything is told.
    is_lie: BTreeSet<Address>,
    /// Others than those that are watched, of whom it is not proven that they got what calls are said to have paid them.
    unproven: BTreeSet<Address>,
    /// Is something proven of everyone who was asked about?
    is_whole: bool,
}

static NOTHING: Flow = Flow { got: U256::ZERO, spent: U256::ZERO, called: U256::ZERO, pays: false, is_paid: false };

async fn judge(
    node: &Node,
    at: BlockRef,
    fetched: &Fetched,
    asked: BTreeSet<Address>,
    is_watched: impl Fn(&Address) -> bool,
) -> Result<Judged, NodeError> {
    let digest = &fetched.digest;
    let asked: Vec<(Address, Address)> = asked.into_iter().map(|address| (address, address)).collect();
    let after = each_proof(node, fetched.state(), &asked, |address, proof| (address, proof)).await?;
    let (authorities, flows) = (authorities(digest), flows(digest));
    let flow = |address: &Address| flows.get(address).unwrap_or(&NOTHING);
    let is_whole = after.len() == asked.len();
    let after: BTreeMap<Address, AccountProof> =
        after.into_iter().filter(|(address, _)| !is_watched(address) || flow(address).pays).collect();
    let strangers = asked.iter().map(|(address, _)| *address).filter(|address| !is_watched(address));
    let mut judged = Judged { unproven: strangers.collect(), is_whole, ..Judged::default() };
    if after.is_empty() {
        return Ok(judged);
    }
    let before = before(node, at, fetched, after.keys()).await?;
    judged.is_whole &= before.len() == after.len();
    let created: HashSet<&Address> = digest.transactions.iter().flat_map(|tx| &tx.created).collect();
    let all_are_told = digest.transactions.iter().all(|tx| tx.is_told);
    // Before EIP-6780 a contract could end as if it had never been one.
    let header = &fetched.sealed.header;
    let may_vanish = node.family.burns(at.height, header.excess_blob_gas.is_some());
    let pays_itself = !header.difficulty.is_zero();
    for (address, after) in &after {
        let before = before.get(address);
        // Its nonce is never zero again, but where it destroyed itself within the block.
        let may_be_created = before.is_none_or(|before| before.nonce.is_zero());
        let may_have_code = after.has_code()
            || authorities.contains(address)
            || before.is_some_and(AccountProof::has_code)
            || may_be_created && created.contains(address);
        let flow = flow(address);
        let Some((told, held)) = before.map(|before| flow.held(before.balance, after.balance, may_have_code)) else {
            if is_watched(address) && !may_have_code {
                let is_sure = all_are_told && !may_vanish;
                if is_sure { &mut judged.denied } else { &mut judged.doubtful }.insert(*address);
            }
            continue;
        };
        if !(may_have_code && flow.pays && flow.is_paid) {
            judged.unproven.remove(address);
        }
        if may_have_code {
            // Before proof of stake blocks pay what nothing tells of.
            if told != held && !is_watched(address) && !(pays_itself && *address == digest.beneficiary) {
                judged.unsure.insert(*address);
                judged.is_lie.extend(Some(*address).filter(|_| told > held && all_are_told));
            }
        } else if is_watched(address) || held < told {
            let is_doubtful = may_be_created && !all_are_told;
            if is_doubtful { &mut judged.doubtful } else { &mut judged.denied }.insert(*address);
        }
    }
    Ok(judged)
}

/// The places of the transactions that cost a watched account something.
fn costly(effects: &[Effect]) -> BTreeSet<u32> {
    let debits = effects.iter().map(Effect::leg).filter(|leg| leg.direction == Direction::Debit);
    debits.filter_map(|leg| leg.tx).collect()
}

struct Payees {
    /// Of whom proofs are wanted: whom these transactions paid, and through whom.
    asked: BTreeSet<Address>,
    /// Those that are too many.
    unasked: BTreeSet<Address>,
}

fn payees(digest: &Digest, costly: &BTreeSet<u32>, is_watched: impl Fn(&Address) -> bool) -> Payees {
    let (mut asked, mut beside) = (BTreeSet::new(), BTreeSet::new());
    for tx in costly {
        let tx = &digest.transactions[*tx as usize];
        // What a watched account paid, or called, comes to these.
        let mut reached: HashSet<Address> = is_watched(&tx.sender).then_some(tx.recipient).into_iter().collect();
        // Who hides a call says of the called that it kept what it got.
        let may_pass_on = tx.is_told && tx.input.is_some() && !(tx.value.is_zero() && tx.frames.is_empty());
        asked.extend(reached.iter().filter(|called| may_pass_on && !is_watched(called)));
        for frame in &tx.frames {
            let comes_from_ours = is_watched(&frame.from) || reached.contains(&frame.from);
            if comes_from_ours {
                asked.insert(frame.from);
                reached.insert(frame.to);
            }
            if frame.to != frame.from && !is_watched(&frame.to) {
                if comes_from_ours { &mut asked } else { &mut beside }.insert(frame.to);
            }
        }
    }
    let mut beside: Vec<Address> = beside.difference(&asked).copied().collect();
    let mut unasked: BTreeSet<Address> = beside.split_off(beside.len().min(MOST_BESIDE)).into_iter().collect();
    asked.extend(beside);
    if let Some(first) = asked.iter().nth(MOST_ASKED).copied() {
        unasked.extend(asked.split_off(&first));
    }
    Payees { asked, unasked }
}

/// EIP-7702: whose accounts may have had code within the block, even where they have none after it.
fn authorities(digest: &Digest) -> BTreeSet<Address> {
    let all = digest.transactions.iter().flat_map(|tx| &tx.authorizations);
    let signer =
        |one: &SignedAuthorization| recover_signer_unchecked(&one.signature().ok()?, one.signature_hash()).ok();
    all.filter_map(signer).collect()
}

/// What these were before the block, as far as it can be proven.
pub(crate) async fn before(
    node: &Node,
    at: BlockRef,
    fetched: &Fetched,
    of: impl Iterator<Item = &Address>,
) -> Result<BTreeMap<Address, AccountProof>, NodeError> {
    let Some(below) = at.height.previous() else { return Ok(BTreeMap::new()) };
    let parent = headers::header_at(node, below).await?;
    if parent.hash != fetched.sealed.header.parent_hash {
        return Err(NodeError::Gone(at));
    }
    let of: Vec<(Address, Address)> = of.map(|address| (*address, *address)).collect();
    let proven = each_proof(node, StateAt::after(&parent), &of, |address, proof| (address, proof));
    Ok(proven.await?.into_iter().collect())
}

/// What is told of an account in a block, in wei.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// By transactions, calls, tips and withdrawals.
    got: U256,
    /// By its own transactions, with their fees.
    spent: U256,
    /// By calls of it.
    called: U256,
    /// Is it said to have made such a call, or to have got one?
    pays: bool,
    is_paid: bool,
}

impl Flow {
    /// What it had `before` and got; and what it has `after` and paid. One without code pays by no calls.
    pub(crate) fn held(&self, before: U256, after: U256, by_calls: bool) -> (U256, U256) {
        let called = if by_calls { self.called } else { U256::ZERO };
        (before.saturating_add(self.got), after.saturating_add(self.spent).saturating_add(called))
    }
}

/// What is told of everyone whom the block names.
pub(crate) fn flows(digest: &Digest) -> HashMap<Address, Flow> {
    fn add(sum: &mut U256, amount: U256) {
        *sum = sum.saturating_add(amount);
    }
    let mut flows: HashMap<Address, Flow> = HashMap::new();
    let mut of = |address: Address, note: &dyn Fn(&mut Flow)| note(flows.entry(address).or_default());
    for tx in &digest.transactions {
        of(tx.sender, &|flow| {
            add(&mut flow.spent, tx.fee.saturating_add(tx.value));
            add(&mut flow.got, tx.mint);
        });
        of(tx.recipient, &|flow| add(&mut flow.got, tx.value));
        of(digest.beneficiary, &|flow| add(&mut flow.got, tx.tip));
        for frame in &tx.frames {
            of(frame.from, &|flow| {
                flow.pays = true;
                add(&mut flow.called, frame.value);
            });
            of(frame.to, &|flow| {
                flow.is_paid = true;
                add(&mut flow.got, if frame.to == frame.from { U256::ZERO } else { frame.value });
            });
        }
    }
    digest.withdrawals.iter().for_each(|(to, amount)| of(*to, &|flow| add(&mut flow.got, *amount)));
    flows
}
