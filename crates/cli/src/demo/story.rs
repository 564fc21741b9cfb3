//! The acts. What they do is played on real nodes; what they say comes from the nodes, the books and the verifier.

use std::path::PathBuf;

use assay_indexer::Stop;
use assay_types::{Amount, Timestamp};
use assay_verifier::{Coins, Reconciliation, Severity, Stage as Finality, Verdict};

use super::bitcoin::{FeeFrom, Sent};
use super::book::{Item, minus, plus, total};
use super::exchange::{Exchange, Issued};
use super::figures as of;
use super::figures::kst;
use super::judge::{self, Expected};
use super::show::{self, Look};
use super::told::{Told, clock, duration, word};
use crate::failure::Failure;
use crate::setup::Setup;

/// A play under way.
pub struct Play<'a> {
    /// Acme, with the stage that it acts on.
    pub exchange: Exchange,
    /// Where it is told.
    pub told: &'a Told,
    /// Assay, as its operator set it up.
    pub setup: &'a std::sync::Arc<Setup>,
    /// Somebody wants it to end.
    pub stop: &'a Stop,
    /// Each statement's file, and when it arrived.
    pub issued: Vec<(PathBuf, Timestamp)>,
    /// Each statement's last verdict.
    pub verdicts: Vec<Reconciliation>,
    /// Where an answer was not what it must be.
    pub wrong: Vec<String>,
}

/// One sale of what had been credited out of nothing.
struct Order {
    at: Timestamp,
    amount: Amount,
}

/// Plays everything that was there before the first statement.
pub fn prologue(exchange: &mut Exchange, told: &Told) -> Result<(), Failure> {
    told.line(format!(
        "{} bitcoin blocks are there; Acme opens a 2-of-3 cold wallet, two hot wallets and {} deposit addresses,\n\
         and on the EVM chain a hot and a cold wallet and {} deposit addresses",
        of::HISTORY_BLOCKS,
        of::CUSTOMERS,
        of::EVM_CUSTOMERS
    ));
    exchange.first_coins()?;
    let stage = &exchange.stage;
    stage.others.iter().try_for_each(|other| other.fund(&stage.bitcoin, &stage.evm))?;
    exchange.advance(kst(15, 9, 0), told)?;
    let payments = exchange.customers_deposit()?;
    exchange.customers_deposit_on_evm()?;
    told.line(format!(
        "{} customers deposit bitcoin, in {payments} payments to many; {} deposit ETH and USDX;\n\
         a contract pays the hot wallet {} ETH inside of a transaction",
        of::CUSTOMERS,
        of::EVM_CUSTOMERS,
        of::eth_internal().to_coins(18)
    ));
    exchange.advance(kst(15, 20, 0), told)?;
    let swept = exchange.sweep(of::FIRST_SWEEP)?;
    exchange.give_gas()?;
    exchange.advance(kst(15, 30, 0), told)?;
    exchange.sweep_on_evm()?;
    exchange.pay_withdrawals_and_top_up()?;
    exchange.pay_token_withdrawal()?;
    told.line(format!(
        "{swept} deposits are swept to the hot wallet; {} withdrawals are paid; two of three keys sign {} BTC from cold to hot",
        of::WITHDRAWALS.0,
        of::TOP_UP.to_coins(8)
    ));
    exchange.advance(kst(15, 50, 0), told)?;
    exchange.book_gas()
}

impl Play<'_> {
    /// All acts.
    pub fn acts(&mut self) -> Result<(), Failure> {
        self.history()?;
        self.honest()?;
        self.in_flight()?;
        self.hidden_loss()?;
        self.coins_out_of_nothing()
    }

    /// Act 1: everything is indexed.
    fn history(&mut self) -> Result<(), Failure> {
        self.told.act(1, "What is on chain");
        let since = std::time::Instant::now();
        let (bitcoin, evm) = judge::catch_up(self.setup, self.stop)?;
        let declared = self.setup.declarations.exchange("acme").map_or(0, |acme| acme.accounts.len());
        self.told.line(format!(
            "Assay follows {declared} declared accounts: {bitcoin} bitcoin blocks and {evm} EVM blocks checked and indexed in {} ms",
            since.elapsed().as_millis()
        ));
        Ok(())
    }

    /// Act 2: a true statement, and nothing in between.
    fn honest(&mut self) -> Result<(), Failure> {
        self.told.act(2, "An honest statement");
        self.advance(kst(16, 0, 0))?;
        let issued = self.issue("honest")?;
        self.provisional(&issued, &Expected::backed(Finality::Provisional))?;
        self.advance(kst(16, 52, 0))?;
        let last = self.last(&issued, Expected::backed(Finality::Final))?;
        self.told.below(show::arithmetic(&last));
        self.told.below("");
        self.told.below("difference: chain against ledger. None, to the last unit, fees and gas included.");
        self.ask_the_oracle(&last)?;
        self.verdicts.push(last);
        Ok(())
    }

    /// Compares the holdings with what bitcoind itself counts, in a way that Assay never asks for.
    fn ask_the_oracle(&mut self, found: &Reconciliation) -> Result<(), Failure> {
        let unspent = Coins::new(self.exchange.stage.bitcoin.unspent_of_all()?, 8);
        self.told.below(format!(
            "bitcoind's own set of unspent outputs has {} BTC for them (scantxoutset).",
            unspent.grouped()
        ));
        let holdings = found.lines.first().map_or(String::new(), |line| line.holdings.low.to_string());
        if holdings != unspent.to_string() {
            self.wrong.push(format!("bitcoind counts {unspent} BTC, and Assay {holdings}"));
        }
        Ok(())
    }

    /// Act 3: money in flight, in every direction.
    fn in_flight(&mut self) -> Result<(), Failure> {
        self.told.act(3, "Money in flight");
        let queued = self.before_the_block()?;
        let (credit, withdrawal, ether) = self.after_the_block()?;
        let issued = self.issue("in-flight")?;
        let deducted = of::UNCONFIRMED_CREDIT;
        let found =
            self.provisional(&issued, &Expected { waiting: deducted, ..Expected::backed(Finality::Provisional) })?;
        self.told.below(show::findings(&found, Severity::Notice));
        self.settle_what_waited(&queued, &credit, &withdrawal, ether)?;
        let last = self.last(&issued, Expected { deducted, ..Expected::backed(Finality::Final) })?;
        self.told.below(show::in_flight(&last));
        self.told.below("");
        self.told.below(show::arithmetic(&last));
        let alarms = last.findings.iter().filter(|finding| finding.severity <= Severity::Warning).count();
        self.told.below(format!("{} items in flight, each found and explained; alarms: {alarms}.", items(&last)));
        self.verdicts.push(last);
        Ok(())
    }

    /// A sweep, a settled withdrawal and two deposits that are seen and not credited, all in blocks.
    fn before_the_block(&mut self) -> Result<String, Failure> {
        self.advance(kst(16, 53, 0))?;
        let exchange = &mut self.exchange;
        let settled = exchange.queue_withdrawal(31, of::SETTLED_WITHDRAWAL)?;
        let sent = exchange.send_withdrawal(&settled, of::SETTLED_WITHDRAWAL)?;
        let swept = exchange.sweep(of::SECOND_SWEEP)?;
        let deposit = exchange.somebody_deposits(17, of::UNCREDITED_DEPOSIT)?;
        exchange.btc.deposit_seen(deposit);
        let side = &exchange.stage.evm;
        let token = side.outside_pays_token(&side.deposits()[40], of::USDX_UNCREDITED)?;
        self.told.line(format!(
            "a withdrawal of {} BTC is paid, {swept} deposits are swept, {} BTC and {} USDX of deposits come in",
            of::SETTLED_WITHDRAWAL.to_coins(8),
            of::UNCREDITED_DEPOSIT.to_coins(8),
            Coins::new(of::USDX_UNCREDITED, 6).grouped()
        ));
        self.advance(kst(16, 59, 0))?;
        let exchange = &mut self.exchange;
        exchange.btc.settled(&sent.txid);
        exchange.btc.pay_fee(sent.fee)?;
        let log_index = exchange.stage.evm.log_index(&token)?;
        exchange.usdx.deposit_seen(Item {
            customer: 40,
            amount: of::USDX_UNCREDITED,
            txid: Some(token),
            place: Some(("log_index", log_index)),
            address: None,
        });
        exchange.queue_withdrawal(32, of::QUEUED_WITHDRAWAL)
    }

    /// What no block has yet: a withdrawal that is sent, one of ether, and a deposit that is credited early.
    fn after_the_block(&mut self) -> Result<(Item, Sent, String), Failure> {
        self.advance(kst(17, 0, 0))?;
        let exchange = &mut self.exchange;
        let address = exchange.queue_withdrawal(33, of::SENT_WITHDRAWAL)?;
        let withdrawal = exchange.send_withdrawal(&address, of::SENT_WITHDRAWAL)?;
        let ether = exchange.send_ether_withdrawal()?;
        let credit = exchange.somebody_deposits(21, of::UNCONFIRMED_CREDIT)?;
        exchange.btc.credit_early(credit.clone())?;
        self.told.line(format!(
            "{} BTC and {} ETH are withdrawn and wait in the mempools, {} BTC more are withdrawn and not sent yet;\n\
             a deposit of {} BTC is credited before any block has it",
            of::SENT_WITHDRAWAL.to_coins(8),
            of::eth_withdrawal().to_coins(18),
            of::QUEUED_WITHDRAWAL.to_coins(8),
            of::UNCONFIRMED_CREDIT.to_coins(8)
        ));
        Ok((credit, withdrawal, ether))
    }

    /// The hour after: what waited is settled, in the books too.
    fn settle_what_waited(&mut self, queued: &str, credit: &Item, sent: &Sent, ether: String) -> Result<(), Failure> {
        self.advance(kst(17, 12, 0))?;
        let exchange = &mut self.exchange;
        exchange.btc.settled(&sent.txid);
        exchange.btc.pay_fee(sent.fee)?;
        exchange.btc.settled(credit.txid.as_deref().unwrap_or_default());
        exchange.eth.settled(&ether);
        exchange.owes_gas(ether);
        exchange.book_gas()?;
        let late = exchange.send_withdrawal(queued, of::QUEUED_WITHDRAWAL)?;
        self.advance(kst(17, 20, 0))?;
        let exchange = &mut self.exchange;
        exchange.btc.settled(&late.txid);
        exchange.btc.pay_fee(late.fee)?;
        exchange.btc.credit_seen()?;
        exchange.usdx.credit_seen()?;
        self.advance(kst(17, 52, 0))
    }

    /// Act 4: two key holders take 0.3 % of the coins, and the statement invents a credit to hide it.
    fn hidden_loss(&mut self) -> Result<(), Failure> {
        self.told.act(4, "0.3 % gone, and hidden behind a credit that does not exist");
        self.advance(kst(17, 55, 0))?;
        let side = &self.exchange.stage.bitcoin;
        let taken = side.cold_pays(side.stranger(90), of::LOSS, FeeFrom::Amount)?;
        self.told.line(format!(
            "{} BTC leave the cold wallet for an address that nobody declared ({}…);\n\
             the ledger does not say so: it names an unconfirmed credit of as much",
            of::LOSS.to_coins(8),
            &taken.txid[..taken.txid.len().min(16)]
        ));
        self.advance(kst(18, 0, 0))?;
        let invented = assay_types::Digest::of(b"a transaction that never was").to_string();
        let txid = invented.trim_start_matches("sha256:").to_owned();
        let item = Item { amount: of::LOSS, txid: Some(txid), place: Some(("vout", 0)), ..Item::default() };
        self.exchange.btc.invent_credit(item);
        let issued = self.issue("hidden-loss")?;
        let expected = |stage: Finality| Expected {
            verdict: Verdict::Short,
            phantom: of::LOSS,
            invented: of::LOSS,
            alarms: vec![
                ("phantom-assets", Severity::Critical),
                ("unexplained-difference", Severity::Error),
                ("unsettled-item", Severity::Error),
            ],
            ..Expected::backed(stage)
        };
        let found = self.provisional(&issued, &expected(Finality::Provisional))?;
        self.told.below(show::findings(&found, Severity::Warning));
        self.advance(kst(18, 52, 0))?;
        let last = self.last(&issued, expected(Finality::Final))?;
        self.told.below(show::in_flight(&last));
        self.told.below("");
        self.told.below(show::arithmetic(&last));
        self.told.below(format!(
            "The house's own covers {} of the {} BTC; the rest are coins of customers that nobody holds.",
            Coins::new(self.exchange.btc.house(), 8).grouped(),
            of::LOSS.to_coins(8)
        ));
        self.verdicts.push(last);
        self.make_good()
    }

    /// The owners bring back what was taken, and 17.5 BTC in all for the evening's rewards.
    fn make_good(&mut self) -> Result<(), Failure> {
        self.advance(kst(18, 53, 0))?;
        let exchange = &mut self.exchange;
        let capital = minus(of::HOUSE_AT_19, exchange.btc.house())?;
        let side = &exchange.stage.bitcoin;
        side.outside_pays(&[(&side.cold[4], plus(of::LOSS, capital)?)])?;
        exchange.btc.forget_credits();
        exchange.btc.house_brings(capital)?;
        exchange.btc.set_aside(of::HOUSE_AT_19);
        self.told.line(format!(
            "the owners bring {} BTC back to the cold wallet, and {} more: the house has {} for the evening's rewards",
            of::LOSS.to_coins(8),
            capital.to_coins(8),
            of::HOUSE_AT_19.to_coins(8)
        ));
        self.advance(kst(18, 59, 0))
    }

    /// Act 5: the credit, the statement that shows it, and who else would have seen it when.
    fn coins_out_of_nothing(&mut self) -> Result<(), Failure> {
        self.told.act(5, "62,000 BTC out of nothing");
        self.advance(kst(19, 0, 0))?;
        let credited_at = self.exchange.stage.now();
        let (winners, each) = of::REWARD;
        (0..winners).try_for_each(|customer| self.exchange.btc.reward(customer, each))?;
        self.told.line(format!(
            "a reward is paid in the wrong unit: {winners} customers are credited {} BTC each, {} in all",
            each.to_coins(8),
            Coins::new(of::CREDITED, 8).grouped()
        ));
        let orders = orders(credited_at)?;
        self.advance(kst(19, 1, 0))?;
        let issued = self.issue("out-of-nothing")?;
        let expected = |stage: Finality| Expected {
            verdict: Verdict::Short,
            phantom: of::CREDITED,
            alarms: vec![("phantom-assets", Severity::Critical), ("unexplained-difference", Severity::Error)],
            ..Expected::backed(stage)
        };
        let found = self.provisional(&issued, &expected(Finality::Provisional))?;
        self.told.below(show::arithmetic(&found));
        self.told.below("");
        self.told.below(show::findings(&found, Severity::Warning));
        self.told.below("");
        self.told.below(show::evidence(&found));
        let flagged_at = issued.arrives;
        self.sell(&orders)?;
        self.advance(kst(19, 35, 0))?;
        self.told.line(format!(
            "by now {} customers have sold {} BTC that were never there",
            orders.len(),
            Coins::new(total(orders.iter().map(|order| order.amount))?, 8).grouped(),
        ));
        self.told.below(show::looks(&looks(&orders, credited_at, flagged_at)?, credited_at));
        self.told.below(format!(
            "The flag went up at {}: until then users had {} to sell, and the first {} BTC were sold.",
            clock(flagged_at),
            duration(flagged_at.seconds_since(credited_at)),
            Coins::new(sold(&orders, flagged_at)?.1, 8).grouped()
        ));
        self.advance(kst(19, 53, 0))?;
        let last = self.last(&issued, expected(Finality::Final))?;
        self.verdicts.push(last);
        Ok(())
    }

    /// The orders are filled on the internal ledger: coins that nobody holds change hands.
    fn sell(&mut self, orders: &[Order]) -> Result<(), Failure> {
        for (seller, order) in (0..).zip(orders) {
            self.exchange.btc.trade(seller, of::BUYER, order.amount)?;
        }
        Ok(())
    }

    fn advance(&mut self, to: Timestamp) -> Result<(), Failure> {
        self.exchange.advance(to, self.told)
    }

    fn issue(&mut self, name: &str) -> Result<Issued, Failure> {
        let issued = self.exchange.issue(name)?;
        self.issued.push((issued.file.clone(), issued.arrives));
        let truth = issued.truth.iter();
        let owed: Vec<_> =
            truth.map(|of| format!("{} {}", Coins::new(of.customers, of.decimals).grouped(), of.symbol)).collect();
        self.told.line(format!("statement {}: Acme owes its customers {}", issued.number, owed.join(", ")));
        Ok(issued)
    }

    /// The first verdict, as the statement arrives.
    fn provisional(&mut self, issued: &Issued, expected: &Expected) -> Result<Reconciliation, Failure> {
        self.advance(issued.arrives)?;
        self.judge(issued, expected, "at once")
    }

    /// The last verdict, when its blocks are final.
    fn last(&mut self, issued: &Issued, expected: Expected) -> Result<Reconciliation, Failure> {
        self.judge(issued, &expected, "its blocks are final")
    }

    fn judge(&mut self, issued: &Issued, expected: &Expected, when: &str) -> Result<Reconciliation, Failure> {
        let found = judge::verdict(self.setup, issued, self.stop)?;
        let stage = match found.stage {
            Finality::Provisional => "provisional",
            Finality::Final => "final",
        };
        self.told.line(format!("statement {}, {when}: {} ({stage})", issued.number, word(found.verdict)));
        self.wrong.extend(judge::differences(expected, issued, &found));
        Ok(found)
    }
}

fn items(found: &Reconciliation) -> usize {
    found.lines.iter().map(|line| line.in_flight.len()).sum()
}

/// 86 sales, the last 35 minutes after the credit; the sum is exact.
fn orders(credited_at: Timestamp) -> Result<Vec<Order>, Failure> {
    let (count, sum) = of::SOLD;
    let (first_s, last_s) = of::SALES_S;
    let average = sum.0 / Amount::from(u64::from(count)).0;
    let mut left = sum;
    let mut orders = vec![];
    for number in 0..count {
        // From half the average to one and a half of it, in a fixed disorder; the last takes what is left.
        let share = 50 + u64::from(number) * 37 % 101;
        let amount = match number + 1 == count {
            true => left,
            false => Amount(average * Amount::from(share).0 / Amount::from(100).0),
        };
        left = minus(left, amount)?;
        let at = first_s + (last_s - first_s) * i64::from(number) / i64::from(count - 1);
        orders.push(Order { at: super::stage::later(credited_at, at), amount });
    }
    Ok(orders)
}

/// How many orders were filled until then, and how much they sold.
fn sold(orders: &[Order], until: Timestamp) -> Result<(usize, Amount), Failure> {
    let before: Vec<_> = orders.iter().filter(|order| order.at <= until).map(|order| order.amount).collect();
    Ok((before.len(), total(before)?))
}

/// Who would have seen it when, and what was sold until then.
fn looks(orders: &[Order], credited_at: Timestamp, flagged_at: Timestamp) -> Result<Vec<Look>, Failure> {
    let at = |who: &str, at: Timestamp| -> Result<Look, Failure> {
        let (orders, sold) = sold(orders, at)?;
        Ok(Look { who: who.to_owned(), at, sold, orders })
    };
    let next = |every_s: i64| super::stage::later(credited_at, every_s - credited_at.unix_s().rem_euclid(every_s));
    Ok(vec![
        at("Assay, a statement each minute", flagged_at)?,
        at("reconciliation every five minutes", next(300))?,
        at("people, as it really went (about 20 min)", super::stage::later(credited_at, 20 * 60))?,
        at("reconciliation once a day, at midnight", kst(24, 0, 0))?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_orders_sum_up_to_what_was_sold() {
        let orders = orders(kst(19, 0, 0)).unwrap();
        assert_eq!(total(orders.iter().map(|order| order.amount)).unwrap(), of::SOLD.1);
        assert_eq!(orders.last().unwrap().at, kst(19, 35, 0));
        let looks = looks(&orders, kst(19, 0, 0), kst(19, 1, 5)).unwrap();
        let seconds: Vec<_> = looks.iter().map(|look| look.at.seconds_since(kst(19, 0, 0))).collect();
        assert_eq!(seconds, [65, 300, 1200, 18_000]);
        assert_eq!(looks[3].sold, of::SOLD.1);
    }
}
