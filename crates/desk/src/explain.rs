//! What makes up a difference between ledger and chain, largest first: wallets, items in flight, what changed since the statement
//! before, and in which blocks. What remains unexplained is said too.

use std::collections::{BTreeMap, HashMap};

use assay_registry::Exchange;
use assay_store::Records;
use assay_types::{Account, AssetReport, ChainId, Header, Height, Statement, Timestamp};
use assay_verifier::{Balance, Balanced, Coins, Evidence, Line, Reconciliation, SignedCoins, Wide, reconcile};
use serde::{Deserialize, Serialize};

use crate::evidence::{balances, gather};
use crate::holdings::at;
use crate::question::Question;
use crate::{DeskError, Sums, World, case, keep};

/// One asset of one statement, explained. Signs are the chain's: what is negative is missing on chain.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The exchange's id.
    pub exchange: String,
    /// The asset's symbol.
    pub asset: String,
    /// Which statement.
    pub statement: Named,
    /// Its line, as `assay verify` gives it.
    pub line: Line,
    /// What is there, with what is deducted, waits in the mempool and is negative, less what is owed and the house's.
    pub difference: SignedCoins,
    /// Is that exact? Else some holdings are not known, and it is at worst so, or the statement does not say what is the house's.
    pub exact: bool,
    /// Since which statement something is wrong with this asset; `None` where nothing is, or nothing is kept of it.
    pub since: Option<Named>,
    /// The last statement before that with which nothing was.
    pub last_good: Option<Named>,
    /// What changed since the statement before: it comes to `difference` with what was there before.
    pub changes: Option<Changes>,
    /// Wallets that are not as claimed, not known, or changed since the statement before, the largest first.
    pub wallets: Vec<Wallet>,
    /// The statement's items, as they were judged, the largest first.
    pub in_flight: Vec<assay_verifier::InFlightLine>,
    /// The blocks since the statement before in which the most came or went, at most 20.
    pub blocks: Vec<Block>,
}

/// A statement.
#[derive(Debug, Clone, Serialize)]
pub struct Named {
    /// Its number, where it has one.
    pub sequence: Option<u64>,
    /// Its digest, where it is at hand.
    pub digest: Option<String>,
    /// The instant that it speaks of, where it is at hand.
    pub as_of: Option<Timestamp>,
}

/// What changed.
#[derive(Debug, Serialize)]
pub struct Changes {
    /// The statement before.
    pub since: Named,
    /// The difference that there was before.
    pub before: SignedCoins,
    /// Each part, the largest first.
    pub parts: Vec<Change>,
    /// What no part explains: entries that the flows do not report, corrections, trades between house and customers.
    pub left: SignedCoins,
}

/// One part.
#[derive(Debug, Serialize)]
pub struct Change {
    /// What it is.
    pub what: &'static str,
    /// How much of the difference it makes.
    pub amount: SignedCoins,
}

/// One wallet.
#[derive(Debug, Serialize)]
pub struct Wallet {
    /// The chain's alias.
    pub chain: String,
    /// The address.
    pub address: String,
    /// What it holds; `None` where that is not known.
    pub held: Option<Coins>,
    /// Why not.
    pub unknown: Option<String>,
    /// What the statement claims of it.
    pub claimed: Option<Coins>,
    /// Held less claimed.
    pub difference: Option<SignedCoins>,
    /// Held now less held at the statement before.
    pub changed: Option<SignedCoins>,
}

/// One block.
#[derive(Debug, Serialize)]
pub struct Block {
    /// The chain's alias.
    pub chain: String,
    /// Height, hash, time.
    pub at: serde_json::Value,
    /// What came to the declared accounts, less what went.
    pub net: SignedCoins,
}

const BLOCKS: usize = 20;
/// How many kept verdicts are looked through for the first with which something was wrong.
const LOOKED_THROUGH: usize = 1000;
/// The rules that speak of a difference.
const RULES: [&str; 6] = [
    "phantom-assets",
    "unexplained-difference",
    "wallet-shortfall",
    "unsettled-item",
    "ledger-over-holdings",
    "same-kind",
];

/// The latest statement that is kept of an exchange.
///
/// # Errors
/// When the database fails, or the statement can no longer be read.
pub fn latest(world: &World, records: &Records, exchange: &str) -> Result<Option<Statement>, DeskError> {
    let kept = keep::statements(records, exchange, None, 1)?;
    let parsed = kept.into_iter().next().map(|kept| with_number(world, &kept));
    parsed.transpose().map_err(|why| DeskError::Damaged(why.join("; ")))
}

fn with_number(world: &World, kept: &crate::KeptStatement) -> Result<Statement, Vec<String>> {
    let statement = case::parse(world, &kept.bytes)?;
    Ok(Statement { sequence: Some(kept.view.sequence), ..statement })
}

/// Explains one asset of a statement; nothing where the statement does not report it.
///
/// # Errors
/// When a database fails.
pub fn explain(
    world: &World,
    records: Option<&Records>,
    exchange: &Exchange,
    statement: &Statement,
    asset: &str,
    now: Timestamp,
) -> Result<Option<Explanation>, DeskError> {
    let Some(report) = statement.assets.iter().find(|report| report.symbol == asset) else { return Ok(None) };
    let judged = judge(world, exchange, statement, now)?;
    let Some(line) = judged.0.lines.iter().find(|line| line.asset == asset).cloned() else { return Ok(None) };
    let previous = match records {
        Some(records) => before(world, records, statement)?,
        None => None,
    };
    let judged_before = previous.as_ref().map(|previous| judge(world, exchange, previous, now)).transpose()?;
    let since = records.map(|records| since(records, statement, asset)).transpose()?.unwrap_or_default();
    let ours = |statement: &Statement| Named {
        sequence: statement.sequence,
        digest: Some(statement.digest.to_string()),
        as_of: Some(statement.as_of),
    };
    let changes = previous.as_ref().zip(judged_before.as_ref()).and_then(|(previous, (reconciliation, _))| {
        let line_before = reconciliation.lines.iter().find(|line| line.asset == asset)?;
        let report_before = previous.assets.iter().find(|report| report.symbol == asset)?;
        Some(changes(ours(previous), (report, &line), (report_before, line_before)))
    });
    let evidence_before = judged_before.as_ref().map(|(_, evidence)| evidence);
    let mut in_flight = line.in_flight.clone();
    in_flight.sort_by_key(|item| std::cmp::Reverse(item.amount.units()));
    Ok(Some(Explanation {
        exchange: exchange.id.clone(),
        asset: asset.to_owned(),
        statement: ours(statement),
        difference: gap(&line).coins(report.decimals),
        exact: line.difference.is_some(),
        since: since.0,
        last_good: since.1,
        changes,
        wallets: wallets(world, statement, report, &judged.1, evidence_before),
        in_flight,
        blocks: blocks(world, exchange, report, &judged.1, evidence_before)?,
        line,
    }))
}

fn question<'a>(world: &World, exchange: &'a Exchange, statement: &'a Statement, now: Timestamp) -> Question<'a> {
    Question {
        exchange,
        as_of: statement.as_of,
        latest: false,
        named: &statement.blocks,
        ignore_named_after_s: i64::try_from(world.policy.max_statement_age.seconds).unwrap_or(i64::MAX),
        now,
    }
}

/// Every account is looked up by itself here: sums explain nothing.
fn judge(
    world: &World,
    exchange: &Exchange,
    statement: &Statement,
    now: Timestamp,
) -> Result<(Reconciliation, Evidence), DeskError> {
    let world = World { sums: Sums::Apart, ..world.clone() };
    let question = question(&world, exchange, statement, now);
    let evidence = gather(&world, &question, statement)?;
    let reconciliation = reconcile(statement, &evidence, &world.policy, now, world.program);
    let (all, _) = balances(&world, &question)?;
    Ok((reconciliation, Evidence { accounts: all.accounts, ..evidence }))
}

/// The statement before this one that is kept.
fn before(world: &World, records: &Records, statement: &Statement) -> Result<Option<Statement>, DeskError> {
    let earlier = keep::statements(records, &statement.exchange, statement.sequence, LOOKED_THROUGH.min(2))?;
    let earlier = earlier.iter().find(|kept| kept.view.digest != statement.digest);
    Ok(earlier.and_then(|kept| with_number(world, kept).ok()))
}

/// Since which statement without a break something was found of this asset, and the last before with which nothing was.
fn since(records: &Records, statement: &Statement, asset: &str) -> Result<(Option<Named>, Option<Named>), DeskError> {
    #[derive(Deserialize)]
    struct Found {
        statement: Which,
        findings: Vec<What>,
    }
    #[derive(Deserialize)]
    struct Which {
        digest: String,
        as_of: Timestamp,
    }
    #[derive(Deserialize)]
    struct What {
        rule: String,
        severity: assay_verifier::Severity,
        asset: Option<String>,
    }
    let mut last = BTreeMap::new();
    for kept in keep::verdicts(records, &statement.exchange, None, LOOKED_THROUGH)? {
        if statement.sequence.is_none_or(|number| kept.sequence <= number) {
            last.entry(kept.sequence).or_insert(kept); // of each statement the last verdict counts
        }
    }
    let mut wrong = None;
    for kept in last.into_values().rev() {
        let damaged = |error: serde_json::Error| DeskError::Damaged(error.to_string());
        let found: Found = serde_json::from_str(kept.verdict.get()).map_err(damaged)?;
        let is_wrong = found.findings.iter().any(|what| {
            what.asset.as_deref() == Some(asset)
                && what.severity <= assay_verifier::Severity::Error
                && RULES.contains(&what.rule.as_str())
        });
        let Which { digest, as_of } = found.statement;
        let named = Named { sequence: Some(kept.sequence), digest: Some(digest), as_of: Some(as_of) };
        if !is_wrong {
            return Ok(if wrong.is_some() { (wrong, Some(named)) } else { (None, None) });
        }
        wrong = Some(named);
    }
    Ok((wrong, None))
}

/// What is there, less what should be.
fn gap(line: &Line) -> Balanced {
    let there = line.holdings.low.units() + line.deductions.units() + line.unconfirmed_in_mempool.units();
    let house = line.house.as_ref().map_or(Wide::ZERO, Coins::units);
    Balanced::new(there + line.negative.units(), line.owed.units() + house)
}

/// How the difference came about. Parts and what is left add up to it exactly, with what was there before.
fn changes(since: Named, (report, line): (&AssetReport, &Line), (earlier, before): (&AssetReport, &Line)) -> Changes {
    let wide = |amount: Option<assay_types::Amount>| amount.map_or(Wide::ZERO, |amount| Wide::from(amount.0));
    let chain = |line: &Line| {
        let there = line.holdings.low.units() + line.deductions.units() + line.unconfirmed_in_mempool.units();
        Balanced::new(there, line.pending_withdrawals.units() + line.uncredited_deposits.units())
    };
    let moved = chain(line).minus(chain(before));
    let flows = report.flows.as_ref();
    let (deposits, withdrawals) =
        flows.map_or_else(Default::default, |flows| (wide(flows.deposits), wide(flows.withdrawals)));
    let none = Wide::ZERO;
    let mut parts = vec![
        ("what the wallets did, against the deposits and withdrawals that are reported", {
            moved.minus(Balanced::new(deposits, withdrawals))
        }),
        ("rewards: credited without a coin", Balanced::new(none, flows.map_or(none, |flows| wide(flows.rewards)))),
        ("fees: taken from customers", Balanced::new(flows.map_or(none, |flows| wide(flows.fees)), none)),
        ("the house, by its own account", Balanced::new(wide(earlier.house), wide(report.house))),
    ];
    let (was, is) = (gap(before), gap(line));
    let left = parts.iter().fold(is.minus(was), |left, (_, part)| left.minus(*part));
    parts.retain(|(_, part)| !part.magnitude().is_zero());
    parts.sort_by_key(|(_, part)| std::cmp::Reverse(part.magnitude()));
    let parts = parts.into_iter().map(|(what, part)| Change { what, amount: part.coins(report.decimals) });
    Changes { since, before: was.coins(report.decimals), parts: parts.collect(), left: left.coins(report.decimals) }
}

type Place = (ChainId, Account);

fn wallets(
    world: &World,
    statement: &Statement,
    report: &AssetReport,
    now: &Evidence,
    before: Option<&Evidence>,
) -> Vec<Wallet> {
    let mine = |evidence: &Evidence| -> HashMap<Place, Balance> {
        let of_asset = evidence.accounts.iter().filter(|one| one.symbol == report.symbol && one.counted);
        of_asset.map(|one| ((one.chain.clone(), one.account.clone()), one.balance.clone())).collect()
    };
    let claims = statement.wallets.iter().filter(|claim| claim.symbol == report.symbol);
    let claims: HashMap<Place, Wide> =
        claims.map(|claim| ((claim.chain.clone(), claim.account.clone()), Wide::from(claim.claimed.0))).collect();
    let before = before.map(mine);
    let coins = |units| Coins::of(units, report.decimals);
    let known = |balance: &Balance| match balance {
        Balance::Known { amount, .. } => Some(Wide::from(amount.0)),
        Balance::Unknown { .. } => None,
    };
    let mut rows: Vec<(Wide, Wallet)> = Vec::new();
    for one in now.accounts.iter().filter(|one| one.symbol == report.symbol && one.counted) {
        let place = (one.chain.clone(), one.account.clone());
        let (held, claimed) = (known(&one.balance), claims.get(&place).copied());
        let difference = held.zip(claimed).map(|(held, claimed)| Balanced::new(held, claimed));
        let earlier = before.as_ref().and_then(|before| before.get(&place).and_then(&known));
        let changed = held.zip(earlier).map(|(held, earlier)| Balanced::new(held, earlier));
        let far = |part: Option<Balanced>| part.map_or(Wide::ZERO, Balanced::magnitude);
        let unknown = match &one.balance {
            Balance::Unknown { reason, .. } => Some(reason.clone()),
            Balance::Known { .. } => None,
        };
        let size = far(difference).max(far(changed)).max(if unknown.is_some() {
            claimed.unwrap_or_default()
        } else {
            Wide::ZERO
        });
        if size.is_zero() && unknown.is_none() {
            continue;
        }
        let name = world.directory.chain(one.chain.as_str()).map_or(one.chain.as_str(), |chain| &chain.name);
        let signed = |part: Option<Balanced>| part.map(|part| part.coins(report.decimals));
        let wallet = Wallet {
            chain: name.to_owned(),
            address: one.address.clone(),
            held: held.map(coins),
            unknown,
            claimed: claimed.map(coins),
            difference: signed(difference),
            changed: signed(changed),
        };
        rows.push((size, wallet));
    }
    rows.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.address.cmp(&other.address)));
    rows.into_iter().map(|(_, wallet)| wallet).collect()
}

/// The blocks between two statements in which the most came to the declared accounts or went: what goes from one to another cancels.
fn blocks(
    world: &World,
    exchange: &Exchange,
    report: &AssetReport,
    now: &Evidence,
    before: Option<&Evidence>,
) -> Result<Vec<Block>, DeskError> {
    let Some(before) = before else { return Ok(Vec::new()) };
    let height = |evidence: &Evidence, chain: &ChainId| {
        let used = evidence.blocks.iter().find(|used| used.chain == *chain)?;
        match &used.at {
            assay_verifier::At::Block { at, .. } => Some(at.height),
            assay_verifier::At::Unknown { .. } => None,
        }
    };
    let Some(entry) = world.directory.assets.iter().find(|entry| entry.symbol == report.symbol) else {
        return Ok(Vec::new());
    };
    let mut found: Vec<(Wide, Block)> = Vec::new();
    for source in world.sources.iter() {
        let (Some(from), Some(to)) = (height(before, &source.id), height(now, &source.id)) else { continue };
        let (Ok(store), true) = (source.store(), from < to) else { continue };
        let mut nets: BTreeMap<Height, Balanced> = BTreeMap::new();
        for on in entry.on.iter().filter(|on| on.chain == source.id) {
            let more = entry.decimals() - on.decimals;
            for declared in exchange.accounts.iter().filter(|declared| declared.terms.chain == source.id) {
                let Some((number, _)) = store.number(&declared.account)? else { continue };
                for movement in store.movements(number, on.asset, Height(from.0 + 1), to)? {
                    let movement = movement?;
                    let Some(amount) = movement.amount.scaled_up(more) else { continue };
                    let net = nets.entry(movement.height).or_default();
                    match movement.direction {
                        assay_types::Direction::Credit => net.more += Wide::from(amount.0),
                        assay_types::Direction::Debit => net.less += Wide::from(amount.0),
                    }
                }
            }
        }
        for (height, net) in nets.into_iter().filter(|(_, net)| !net.magnitude().is_zero()) {
            let header: Option<Header> = store.header(height)?;
            let at = header.map_or(serde_json::json!({ "height": height }), |header| at(&source.id, &header));
            found.push((net.magnitude(), Block { chain: source.name.clone(), at, net: net.coins(report.decimals) }));
        }
    }
    found.sort_by(|(a, _), (b, _)| b.cmp(a));
    found.truncate(BLOCKS);
    Ok(found.into_iter().map(|(_, block)| block).collect())
}
