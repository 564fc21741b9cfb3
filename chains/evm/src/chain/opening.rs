//! Where coverage begins: what everyone holds after that block, of very many accounts as well.

use std::collections::HashSet;
use std::num::NonZero;
use std::panic::resume_unwind;

use alloy::primitives::Address;
use assay_types::{AccountNo, Amount, Asset, BlockRef, Chain, NodeError, Reading, Watch};
use parking_lot::Mutex;

use super::EvmChain;
use crate::block::StateAt;
use crate::node::Node;
use crate::state::{self, Answer, Prove, Question};
use crate::wanted::addresses;

/// So many accounts are opened at a time, and up to so many each with a reading of its own, proven where that can be done.
const EACH_OPENED: usize = 20_000;

impl EvmChain {
    /// What everyone holds where coverage begins. Of very many accounts only what they hold is proven; those who hold nothing are told of by
    /// the assets in which that is so.
    pub(super) async fn open(
        &self,
        node: &Node,
        at: StateAt,
        watch: &Watch,
        keep: bool,
    ) -> Result<(Vec<Reading>, Vec<Asset>), NodeError> {
        let read = async |accounts: &[(AccountNo, Address)], prove: Prove<'_>| {
            let (tokens, slots) = (&self.tokens, &self.slots);
            match state::read(node, &Question { at, accounts, tokens, prove, keep, slots }).await? {
                Answer::Read(readings) => Ok(readings),
                Answer::NoState { why, .. } => Err(no_state_to_begin_with(node, at.block, &why)),
            }
        };
        if watch.len() <= EACH_OPENED {
            return Ok((read(&addresses(watch.by_number()), Prove::all()).await?, Vec::new()));
        }
        let holders = async |some: Vec<(AccountNo, Address)>| {
            let holds = read(&some, Prove::nothing()).await?.into_iter().filter(|it| it.balance != Ok(Amount::ZERO));
            let holds: HashSet<_> = holds.map(|reading| reading.pair()).collect();
            let holders: HashSet<_> = holds.iter().map(|(account, _)| *account).collect();
            let some: Vec<_> = some.into_iter().filter(|(account, _)| holders.contains(account)).collect();
            let mut proven = read(&some, Prove { whose: 0..0, these: &holds }).await?;
            proven.retain(|it| holds.contains(&it.pair()));
            Ok::<_, NodeError>(proven)
        };
        let (all, opened) = (Mutex::new(watch.by_number()), Mutex::new(Vec::new()));
        let next = || {
            let mut all = all.lock();
            Some(addresses(all.by_ref().take(EACH_OPENED))).filter(|some| !some.is_empty())
        };
        // On threads of their own: what there is to be read of a million accounts keeps every processor busy.
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
            let each = || {
                while let Some(some) = next() {
                    let proven = assay_http::wait(holders(some)).inspect_err(|_| while next().is_some() {})?;
                    opened.lock().extend(proven);
                }
                Ok(())
            };
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(each)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })?;
        let mut opened = opened.into_inner();
        opened.sort_by_key(|reading| reading.account);
        Ok((opened, self.assets().into_iter().collect()))
    }
}

fn no_state_to_begin_with(node: &Node, at: BlockRef, why: &str) -> NodeError {
    let subject = format!("the state of block {}, where coverage begins", at.height);
    let hint = "begin at a block whose state the node still has, or use an archive node";
    node.missing(&subject, None, format!("{why} ({hint})"))
}
