//! Announcing accounts before anybody uses them: they are proven to hold nothing, followed, kept and declared, in that order, and
//! only then answered for. Killed in between, the same again leads to the same end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, sync_channel};

use assay_indexer::{Indexer, Refusal, Settings, Stop, Turns};
use assay_registry::{Exchange, Owner, Role};
use assay_store::{Coverage, Store};
use assay_types::{Account, Asset, BlockRef, ChainEntry, ChainId, Timestamp, suggestion};
use assay_verifier::Coins;
use parking_lot::{Mutex, MutexGuard};

use crate::announced::{self, AnnounceError, Announced, KnownFrom};
use crate::clock;
use crate::line::Waiting;
use crate::work::{Desk, Work};
use crate::{DeskError, Source, World};

/// An account as an exchange announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wallet {
    /// The chain, by alias or CAIP-2 id.
    pub chain: String,
    /// The address, or `script:HEX`.
    pub address: String,
    /// What it is used for.
    pub role: Role,
    /// Whose coins it will hold.
    pub owner: Owner,
    /// What people call it.
    pub label: Option<String>,
}

/// What is on record then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wallets {
    /// One for each that was announced, in that order.
    pub wallets: Vec<Announced>,
    /// Were all of them there already?
    pub repeated: bool,
}

/// A wallet that was read.
struct Wanted<'a> {
    /// As people find it in what they sent.
    field: String,
    chain: &'a ChainEntry,
    account: Account,
    address: String,
    wallet: &'a Wallet,
}

impl Desk {
    /// Takes on accounts that an exchange will use, all of them or none. Blocks until the chains' nodes have said that they hold
    /// nothing: on the main Bitcoin network that takes a minute or more. `by`: whose token it is.
    ///
    /// # Errors
    /// See [`AnnounceError`].
    pub fn announce(&self, exchange: &str, by: &str, wallets: &[Wallet]) -> Result<Wallets, AnnounceError> {
        let world = self.world();
        let declares = world.exchange(exchange).ok_or_else(|| AnnounceError::UnknownExchange(exchange.into()))?;
        let wanted = read(&world, wallets)?;
        let mut kept: Vec<Option<Announced>> = Vec::with_capacity(wanted.len());
        for one in &wanted {
            let known = announced::find(&self.0.records, exchange, &one.chain.id, &one.address)?;
            kept.push(known.map(|known| one.repeats(known)).transpose()?);
        }
        let fresh = wanted.iter().zip(&kept).filter(|(_, kept)| kept.is_none());
        let fresh: Vec<&Wanted<'_>> = fresh.map(|(one, _)| one).collect();
        if !fresh.is_empty() {
            not_declared(&world, declares, &fresh)?;
            let known = known_from(&world, &fresh)?;
            let announced = known.into_iter().map(|(one, stands)| one.announced(exchange, by, stands)).collect();
            let mut announced = self.keep(announced, &world)?.into_iter();
            kept.iter_mut().filter(|kept| kept.is_none()).for_each(|kept| *kept = announced.next());
        }
        let repeated = fresh.is_empty();
        Ok(Wallets { wallets: kept.into_iter().flatten().collect(), repeated })
    }

    /// Announced accounts of a chain, for whoever indexes it: in a store that is made anew they are like any others.
    pub fn announced(&self, chain: &ChainId) -> Vec<Account> {
        announced::accounts(&self.world().declarations, chain)
    }

    fn keep(&self, announced: Vec<Announced>, seen: &World) -> Result<Vec<Announced>, AnnounceError> {
        let (reply, answer) = sync_channel(1);
        self.0.give(Work::Announce(announced, seen.declarations.clone(), reply))?;
        answer.recv().map_err(|_| DeskError::Stopped)?
    }
}

/// Reads what was sent: every wallet is on a chain, and there once.
fn read<'a>(world: &'a World, wallets: &'a [Wallet]) -> Result<Vec<Wanted<'a>>, AnnounceError> {
    let (mut wanted, mut seen) = (Vec::with_capacity(wallets.len()), HashMap::new());
    for (nth, wallet) in wallets.iter().enumerate() {
        let refused = |field: &str, why: String| AnnounceError::Refused(format!("wallets[{nth}].{field}: {why}"));
        let chain = world.directory.chain(&wallet.chain).ok_or_else(|| {
            let hint = suggestion(&wallet.chain, world.directory.chains.iter().map(|chain| chain.name.as_str()));
            refused("chain", format!("`{}` is not a configured chain: {hint}", wallet.chain))
        })?;
        let account = chain.addresses.parse(&wallet.address).map_err(|why| refused("address", why))?;
        if let Some(before) = seen.insert((&chain.id, account.clone()), nth) {
            return Err(refused("address", format!("is the account of wallets[{before}]")));
        }
        let (field, address) = (format!("wallets[{nth}].address"), chain.addresses.show(&account));
        wanted.push(Wanted { field, chain, account, address, wallet });
    }
    Ok(wanted)
}

impl Wanted<'_> {
    fn repeats(&self, known: Announced) -> Result<Announced, AnnounceError> {
        let Wallet { role, owner, label, .. } = self.wallet;
        if (known.role, known.owner, &known.label) == (*role, *owner, label) {
            return Ok(known);
        }
        let as_what = format!("{} of {}, label {:?}", known.role.as_str(), known.owner.as_str(), known.label);
        Err(AnnounceError::Conflict(format!("{}: {} is announced already, as {as_what}", self.field, self.address)))
    }

    fn announced(&self, exchange: &str, by: &str, stands: Stands) -> Announced {
        let Wallet { role, owner, label, .. } = self.wallet;
        Announced {
            exchange: exchange.into(),
            chain: self.chain.id.clone(),
            address: self.address.clone(),
            role: *role,
            owner: *owner,
            label: label.clone(),
            since: stands.since,
            from: stands.from,
            coverage: stands.coverage.into(),
            by: by.into(),
            announced_at: clock::now(),
        }
    }
}

/// What the files declare needs no announcement; and nobody can make a rival's account unknown by announcing it.
fn not_declared(world: &World, declares: &Exchange, fresh: &[&Wanted<'_>]) -> Result<(), AnnounceError> {
    let wanted: HashMap<(&ChainId, &Account), &Wanted<'_>> =
        fresh.iter().map(|one| ((&one.chain.id, &one.account), *one)).collect();
    let known = |exchange: &&Exchange| {
        let known = exchange.accounts.iter().find_map(|on| wanted.get(&(&on.terms.chain, &on.account)));
        known.map(|one| format!("{}: {}", one.field, one.address))
    };
    if let Some(one) = known(&declares) {
        let why = format!("{one} is declared in the exchange's files: it needs no announcement");
        return Err(AnnounceError::Conflict(why));
    }
    let others = world.declarations.exchanges.iter().filter(|exchange| exchange.id != declares.id);
    match others.filter_map(|exchange| known(&exchange)).next() {
        Some(one) => {
            Err(AnnounceError::Conflict(format!("{one} is another exchange's: ask whoever runs this service")))
        }
        None => Ok(()),
    }
}

/// How an account stands that holds nothing.
struct Stands {
    since: Timestamp,
    from: KnownFrom,
    coverage: &'static str,
}

/// From which block on each account is known, in the order of `fresh`.
fn known_from<'a>(world: &World, fresh: &[&'a Wanted<'a>]) -> Result<Vec<(&'a Wanted<'a>, Stands)>, AnnounceError> {
    let mut stores = BTreeMap::new();
    // Whether a chain can be asked is looked at for all of them before the first is asked.
    for chain in fresh.iter().map(|one| &one.chain.id) {
        let source = world.sources.iter().find(|source| source.id == *chain);
        let source = source.ok_or_else(|| AnnounceError::NotNow(format!("{chain} is not followed")))?;
        stores.insert(chain, (source, source.store_to_announce().map_err(AnnounceError::NotNow)?));
    }
    let mut proven: HashMap<&ChainId, (BlockRef, HashSet<&Account>)> = HashMap::new();
    for (chain, (source, store)) in &stores {
        let here: Vec<&Wanted<'_>> = fresh.iter().copied().filter(|one| one.chain.id == **chain).collect();
        let mut unknown = HashSet::new();
        for one in &here {
            if store.number(&one.account)?.is_none() {
                unknown.insert(&one.account);
            }
        }
        // What somebody declared once is followed already.
        let at = match unknown.is_empty() {
            true => store.tip()?.map(|tip| tip.at()),
            false => {
                let accounts = unknown.iter().copied().cloned().collect();
                Some(source.announce(store, accounts).map_err(|why| refusal(world, source, &here, why))?)
            }
        };
        let at = at.ok_or_else(|| AnnounceError::NotNow(format!("{}: no block is indexed yet", source.name)))?;
        proven.insert(chain, (at, unknown));
    }
    let stand = |one: &&'a Wanted<'a>| {
        let (source, store) = &stores[&one.chain.id];
        let (at, unknown) = &proven[&one.chain.id];
        let tip = store.tip()?.map_or(*at, |tip| tip.at());
        let at = if unknown.contains(&one.account) { *at } else { tip };
        Ok((*one, stands(world, source, store, one, at)?))
    };
    fresh.iter().map(stand).collect()
}

/// How an account stands after a block: it must be followed, and hold nothing that we know of.
fn stands(
    world: &World,
    source: &Source,
    store: &Store,
    one: &Wanted<'_>,
    at: BlockRef,
) -> Result<Stands, AnnounceError> {
    const WORDS: [&str; 3] = ["verified", "unproven", "unknown"];
    let not_now = |why: &str| AnnounceError::NotNow(format!("{}: {}: {why}", one.field, one.address));
    let Some((number, true)) = store.number(&one.account)? else {
        return Err(not_now("it is declared, and its history is being filled in"));
    };
    let mut worst = 0;
    let assets = world.directory.assets.iter().flat_map(|entry| entry.on.iter().map(move |on| (entry, on)));
    for (entry, on) in assets.filter(|(_, on)| on.chain == source.id) {
        let standing = store.standing((number, on.asset), at.height)?;
        if !standing.balance.is_zero() {
            let holds = format!("{} {}", Coins::new(standing.balance, on.decimals), entry.symbol);
            let block = format!("block {} of {}", at.height, source.name);
            return Err(AnnounceError::NotEmpty(format!("{}: {} holds {holds} at {block}", one.field, one.address)));
        }
        if let (Coverage::Unknown(why), Asset::Native) = (&standing.coverage, on.asset) {
            return Err(not_now(why));
        }
        let rank = WORDS.iter().position(|word| *word == standing.coverage.as_str());
        worst = worst.max(rank.unwrap_or(WORDS.len() - 1));
    }
    let (header, since) = (store.header(at.height)?, store.latest_time(at.height)?);
    let (Some(header), Some(since)) = (header.filter(|header| header.hash == at.hash), since) else {
        return Err(not_now("the chain reorganised meanwhile: ask again"));
    };
    let hash = source.id.show_hash(&header.hash.0);
    let from = KnownFrom { height: header.height, hash, time: header.time };
    Ok(Stands { since, from, coverage: WORDS[worst] })
}

/// What keeps these from being taken on, in the words of whoever sent them.
fn refusal(world: &World, source: &Source, wanted: &[&Wanted<'_>], refusal: Refusal) -> AnnounceError {
    const NAMED: usize = 10;
    let holdings = match refusal {
        Refusal::NotNow(why) => return AnnounceError::NotNow(format!("{}: {why}", source.name)),
        Refusal::NotEmpty(holdings) => holdings,
    };
    let each = holdings.iter().take(NAMED).filter_map(|holding| {
        let one = wanted.iter().find(|one| one.account == holding.account)?;
        let holds = match world.directory.deployed(&source.id, holding.asset) {
            Some((entry, on)) => format!("{} {}", Coins::new(holding.amount, on.decimals), entry.symbol),
            None => format!("{} units of a token", holding.amount),
        };
        let block = format!("block {} of {}", holding.at, source.name);
        Some(format!("{}: {} holds {holds} at {block}", one.field, one.address))
    });
    let mut each: Vec<String> = each.collect();
    if holdings.len() > NAMED {
        each.push(format!("and {} more", holdings.len() - NAMED));
    }
    AnnounceError::NotEmpty(each.join("; "))
}

/// About so many accounts are asked about at once.
const AT_ONCE: usize = 5000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl Source {
    /// The store, if it is written here and its chain is followed.
    fn store_to_announce(&self) -> Result<Arc<Store>, String> {
        if let Some(trouble) = self.trouble() {
            return Err(format!("{} is not followed since {}: {}", self.name, trouble.since, trouble.why));
        }
        let store = self.store().map_err(|why| format!("{}: {why}", self.name))?;
        match store.is_writer() {
            true => Ok(store),
            false => Err(format!("{} is indexed by another process, which takes no announcements", self.name)),
        }
    }

    /// Takes on accounts that nobody knows yet: alone, or together with those for whom others wait.
    fn announce(&self, store: &Store, accounts: Vec<Account>) -> Result<BlockRef, Refusal> {
        let (reply, answer) = sync_channel(1);
        lock(&self.line.waiting).push(Waiting { accounts, reply });
        loop {
            let _asking = lock(&self.line.asking);
            match answer.try_recv() {
                Ok(answer) => return answer,
                Err(TryRecvError::Empty) => self.ask(store),
                Err(TryRecvError::Disconnected) => {
                    return Err(Refusal::NotNow("whoever asked for it did not end well: ask again".into()));
                }
            }
        }
    }

    /// Asks the node for those who wait longest, and for accounts that are to be proven again.
    fn ask(&self, store: &Store) {
        let some: Vec<Waiting> = {
            let mut waiting = lock(&self.line.waiting);
            let mut sum = 0;
            let count = waiting.iter().take_while(|one| {
                let before = sum;
                sum += one.accounts.len();
                before < AT_ONCE
            });
            let count = count.count();
            waiting.drain(..count).collect()
        };
        let requests: Vec<&[Account]> = some.iter().map(|one| one.accounts.as_slice()).collect();
        let answers = match self.connect() {
            Ok(chain) => {
                let settings = Settings { undo_depth: 0, accept_reorg: None, threads: 1, turns: Turns::default() }; // no new block is applied
                Indexer::new(&*chain, store, settings, Stop::default()).announce(&requests)
            }
            Err(why) => requests.iter().map(|_| Err(Refusal::NotNow(why.clone()))).collect(),
        };
        for (one, answer) in some.iter().zip(answers) {
            let _ = one.reply.send(answer); // whoever asked may have gone
        }
    }

    /// Are there announced accounts whose block left the chain, so that they are to be proven again?
    pub fn has_to_prove_again(&self) -> bool {
        let Ok(store) = self.store() else { return false };
        store.is_writer() && store.to_prove_again().is_ok_and(|again| !again.is_empty())
    }

    /// Proves them again, unless somebody asks the node already. May take minutes.
    pub fn prove_again(&self) {
        if let (Ok(store), Some(_asking)) = (self.store_to_announce(), self.line.asking.try_lock()) {
            self.ask(&store);
        }
    }
}
