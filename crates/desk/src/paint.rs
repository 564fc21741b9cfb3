//! One exchange as it is shown: what is found of it now, and its gates. Exchanges are painted side by side.

use std::sync::Arc;

use assay_store::{Records, Row};
use assay_types::Timestamp;

use crate::alert::Observation;
use crate::case::Case;
use crate::gate::{Circumstances, Gate, GateSettings, Signal, gates};
use crate::handling::Maintenance;
use crate::keep::{self, Rewrite};
use crate::observed::observations;
use crate::{DeskError, ExchangeView, Trouble, World};

/// An exchange to be painted, with everything that is known of it.
pub(crate) struct Easel<'a> {
    pub(crate) case: &'a mut Case,
    /// What it tried to replace.
    pub(crate) rewrites: &'a [Rewrite],
    /// Its gates as they were.
    pub(crate) gates: Arc<Vec<Gate>>,
    pub(crate) trouble: Option<Trouble>,
    /// Everybody's.
    pub(crate) maintenance: &'a [Maintenance],
    /// May what is found once a day be found anew?
    pub(crate) turn: bool,
}

/// An exchange's view, when it was painted, and what of it is to be told.
pub(crate) struct Painted {
    pub(crate) at: Timestamp,
    pub(crate) view: Arc<ExchangeView>,
    pub(crate) observed: Vec<Observation>,
}

impl Easel<'_> {
    /// Paints it.
    pub(crate) fn paint(
        &mut self,
        records: &Records,
        world: &World,
        settings: GateSettings,
        now: Timestamp,
    ) -> Painted {
        let case = &mut *self.case;
        let id = case.exchange.clone();
        let name = world.exchange(&id).map_or_else(|| id.clone(), |exchange| exchange.name.clone());
        let findings = case.findings(records, world, self.rewrites, now, self.turn);
        let (verdict, statement, last_final) = (case.verdict(), case.latest.clone(), case.last_final.clone());
        let allowed_s = i64::try_from(world.policy.max_index_silence.seconds).unwrap_or(i64::MAX);
        let concerned =
            |name: &str| verdict.iter().any(|verdict| verdict.blocks.iter().any(|block| block.chain == name));
        let mut behind = world.sources.iter().filter(|source| concerned(&source.name));
        let behind = behind.find_map(|source| source.behind_now(now, allowed_s));
        let lost = case.lost_blocks();
        let circumstances = Circumstances { findings: &findings, behind: behind.as_deref(), lost: &lost };
        let gates = Arc::new(gates(verdict.as_deref(), circumstances, &self.gates, settings, now));
        let mine = |one: &&Maintenance| one.exchange == id && one.until > now;
        let mut maintenance: Vec<Maintenance> = self.maintenance.iter().filter(mine).cloned().collect();
        maintenance.sort_by_key(|one| one.from);
        let trouble = self.trouble.take();
        let (short_since, course) = (case.short_since.clone(), case.course());
        let view = ExchangeView {
            id,
            name,
            statement,
            verdict,
            short_since,
            course,
            last_final,
            trouble,
            findings,
            gates,
            maintenance,
        };
        let observed = observations(&view).collect();
        Painted { at: now, view: Arc::new(view), observed }
    }
}

/// The gates that say something else than before, and the rows by which that is kept. Both by asset.
pub(crate) fn turned(view: &ExchangeView, before: &[Gate]) -> Result<(Vec<Gate>, Vec<Row>), DeskError> {
    let place = |asset: &str| before.binary_search_by(|gate| gate.asset.as_str().cmp(asset)).ok();
    let purposes = |asset: &str| place(asset).map(|place| before[place].purposes);
    let same = |(gate, before): (&Gate, &Gate)| (&gate.asset, gate.purposes) == (&before.asset, before.purposes);
    if view.gates.len() == before.len() && view.gates.iter().zip(before).all(same) {
        return Ok(Default::default());
    }
    let turned = view.gates.iter().filter(|gate| purposes(&gate.asset) != Some(gate.purposes));
    let turned: Vec<Gate> = turned.cloned().collect();
    // What is allowed needs no row: after a restart it is judged anew.
    let kept = turned.iter().filter(|gate| gate.signal == Signal::Halt || purposes(&gate.asset).is_some());
    let rows = kept.map(|gate| keep::gate_row(&view.id, gate)).collect::<Result<_, _>>()?;
    Ok((turned, rows))
}
