//! The play exchange: what it does on chain and what it writes into its ledger, side by side.

use std::path::PathBuf;

use assay_types::{Amount, Timestamp};

use super::bitcoin::{self, BitcoinSide, FeeFrom};
use super::book::{Chronicle, Head, Item, Ledger, minus, plus, total};
use super::ethereum;
use super::figures as of;
use super::stage::Stage;
use super::told::Told;
use crate::failure::Failure;

/// Acme: its wallets on the stage, and its books.
pub struct Exchange {
    /// The nodes and the clock.
    pub stage: Stage,
    /// Its ledger of bitcoin.
    pub btc: Ledger,
    /// Of ether.
    pub eth: Ledger,
    /// Of the token.
    pub usdx: Ledger,
    chronicle: Chronicle,
    /// Its transactions on the EVM chain whose gas is not booked yet.
    gas_open: Vec<String>,
}

/// A statement, and what the books and the play itself know of its truth.
pub struct Issued {
    /// Its number.
    pub number: u64,
    /// Where it lies.
    pub file: PathBuf,
    /// When it arrives.
    pub arrives: Timestamp,
    /// One for each asset, in the statement's order.
    pub truth: Vec<Truth>,
}

/// What one asset's line must say.
pub struct Truth {
    /// The asset's symbol.
    pub symbol: &'static str,
    /// Its decimals.
    pub decimals: u8,
    /// As the ledger has it.
    pub customers: Amount,
    /// As the ledger has it.
    pub house: Amount,
    /// Customers and what is in flight.
    pub owed: Amount,
    /// What the chain must hold, if the ledger is true.
    pub holdings: Amount,
}

impl Exchange {
    /// With empty books.
    pub fn new(stage: Stage) -> Exchange {
        Exchange {
            stage,
            btc: Ledger::new("BTC", bitcoin::CHAIN, 8),
            eth: Ledger::new("ETH", ethereum::CHAIN, 18),
            usdx: Ledger::new("USDX", ethereum::CHAIN, 6),
            chronicle: Chronicle::default(),
            gas_open: vec![],
        }
    }

    /// What was before the exchange's first day here: the first coins on its wallets.
    pub fn first_coins(&mut self) -> Result<(), Failure> {
        let old = first_deposits()?;
        let cold = minus(plus(old, of::HOUSE_BEFORE)?, plus(of::HOT_START, of::HOT_TAPROOT_START)?)?;
        let thousand = of::btc_milli(1_000_000);
        let rest = minus(cold, total([thousand; 3])?)?;
        let side = &self.stage.bitcoin;
        side.outside_pays(&[
            (&side.cold[0], thousand),
            (&side.cold[1], thousand),
            (&side.cold[2], thousand),
            (&side.cold[3], rest),
            (&side.hot, of::HOT_START),
            (&side.hot_taproot, of::HOT_TAPROOT_START),
        ])?;
        self.btc.deposit_spread(old, of::CUSTOMERS)?;
        self.btc.house_brings(of::HOUSE_BEFORE)?;

        let ether = plus(of::eth_cold_start(), of::eth_hot_start())?;
        self.eth.deposit_spread(minus(ether, of::eth_house())?, of::EVM_CUSTOMERS)?;
        self.eth.house_brings(of::eth_house())?;
        let tokens = plus(of::USDX_COLD_START, of::USDX_HOT_START)?;
        self.usdx.deposit_spread(minus(tokens, of::USDX_HOUSE)?, of::EVM_CUSTOMERS)?;
        self.usdx.house_brings(of::USDX_HOUSE)
    }

    /// Every customer pays to an address of their own.
    pub fn customers_deposit(&mut self) -> Result<usize, Failure> {
        let numbers: Vec<u32> = (0..of::CUSTOMERS).collect();
        let mut payments = 0;
        for batch in numbers.chunks(of::DEPOSIT_BATCH) {
            let side = &self.stage.bitcoin;
            let outputs = batch.iter().zip(side.deposits.iter().skip(payments * of::DEPOSIT_BATCH));
            let outputs: Vec<_> = outputs.map(|(number, address)| (address.as_str(), of::deposit(*number))).collect();
            side.outside_pays(&outputs)?;
            batch.iter().try_for_each(|number| self.btc.deposit(*number, of::deposit(*number)))?;
            payments += 1;
        }
        Ok(payments)
    }

    /// The same on the EVM chain, in ether and in tokens; and a contract pays the hot wallet.
    pub fn customers_deposit_on_evm(&mut self) -> Result<(), Failure> {
        let side = &self.stage.evm;
        for (number, address) in (0..of::EVM_CUSTOMERS).zip(side.deposits()) {
            side.outside_pays(address, of::eth_deposit(number))?;
            side.outside_pays_token(address, of::usdx_deposit(number))?;
            self.eth.deposit(number, of::eth_deposit(number))?;
            self.usdx.deposit(number, of::usdx_deposit(number))?;
        }
        side.outside_pays_inside(side.hot(), of::eth_internal())?;
        self.eth.deposit(0, of::eth_internal())
    }

    /// Deposits are gathered on the hot wallet, and the house pays for it.
    pub fn sweep(&mut self, count: usize) -> Result<usize, Failure> {
        let (sent, swept) = self.stage.bitcoin.sweep(count)?;
        self.btc.pay_fee(sent.fee)?;
        Ok(swept)
    }

    /// Gas for deposit addresses, so that their tokens can be swept.
    pub fn give_gas(&mut self) -> Result<(), Failure> {
        let side = &self.stage.evm;
        for address in side.deposits().iter().skip(of::EVM_SWEEP).take(of::EVM_SWEEP) {
            self.gas_open.push(side.hot_pays(address, of::eth_gas_gift())?);
        }
        Ok(())
    }

    /// The ether of some deposit addresses, and the tokens of others, go to the hot wallet.
    pub fn sweep_on_evm(&mut self) -> Result<(), Failure> {
        let side = &self.stage.evm;
        for number in 0..of::EVM_SWEEP {
            self.gas_open.push(side.sweep(number)?);
        }
        for (number, place) in (0..of::EVM_CUSTOMERS).zip(0..).skip(of::EVM_SWEEP).take(of::EVM_SWEEP) {
            self.gas_open.push(side.sweep_token(place, of::usdx_deposit(number))?);
        }
        Ok(())
    }

    /// A batch of withdrawals from the p2wpkh hot wallet; a top-up of the other one from the cold wallet.
    pub fn pay_withdrawals_and_top_up(&mut self) -> Result<(), Failure> {
        let (count, each) = of::WITHDRAWALS;
        let side = &self.stage.bitcoin;
        let outputs: Vec<_> = (0..count).map(|number| (side.stranger(number), each)).collect();
        let sent = side.hot_pays(&outputs)?;
        for number in 0..count {
            self.btc.withdraw(number, each, side.stranger(number))?;
            self.btc.withdrawal_sent(side.stranger(number), &sent.txid);
        }
        self.btc.settled(&sent.txid);
        self.btc.pay_fee(sent.fee)?;
        let top_up = side.cold_pays(&side.hot_taproot, of::TOP_UP, FeeFrom::Sender)?;
        self.btc.pay_fee(top_up.fee)
    }

    /// A withdrawal of the token, paid at once.
    pub fn pay_token_withdrawal(&mut self) -> Result<(), Failure> {
        let side = &self.stage.evm;
        let hash = side.hot_pays_token(side.stranger(), of::USDX_WITHDRAWAL)?;
        self.usdx.withdraw(1, of::USDX_WITHDRAWAL, side.stranger())?;
        self.usdx.withdrawal_sent(side.stranger(), &hash);
        self.usdx.settled(&hash);
        self.gas_open.push(hash);
        Ok(())
    }

    /// A withdrawal of bitcoin is written into the ledger, and waits.
    pub fn queue_withdrawal(&mut self, customer: u32, amount: Amount) -> Result<String, Failure> {
        let address = self.stage.bitcoin.stranger(50 + customer).to_owned();
        self.btc.withdraw(customer, amount, &address)?;
        Ok(address)
    }

    /// It is sent, from the taproot hot wallet. Gives the fee, to be booked when a block has it.
    pub fn send_withdrawal(&mut self, address: &str, amount: Amount) -> Result<bitcoin::Sent, Failure> {
        let sent = self.stage.bitcoin.hot_taproot_pays(&[(address, amount)])?;
        self.btc.withdrawal_sent(address, &sent.txid);
        Ok(sent)
    }

    /// A withdrawal of ether is written into the ledger and sent.
    pub fn send_ether_withdrawal(&mut self) -> Result<String, Failure> {
        let side = &self.stage.evm;
        self.eth.withdraw(2, of::eth_withdrawal(), side.stranger())?;
        let hash = side.hot_pays(side.stranger(), of::eth_withdrawal())?;
        self.eth.withdrawal_sent(side.stranger(), &hash);
        Ok(hash)
    }

    /// A block has this transaction of the hot wallet: its gas is booked with the next ones.
    pub fn owes_gas(&mut self, hash: String) {
        self.gas_open.push(hash);
    }

    /// Blocks have all of them: the house pays the gas.
    pub fn book_gas(&mut self) -> Result<(), Failure> {
        for hash in std::mem::take(&mut self.gas_open) {
            self.eth.pay_fee(self.stage.evm.fee(&hash)?)?;
        }
        Ok(())
    }

    /// Somebody deposits bitcoin; the item says where, once the node has it.
    pub fn somebody_deposits(&self, customer: u32, amount: Amount) -> Result<Item, Failure> {
        let side: &BitcoinSide = &self.stage.bitcoin;
        let address = &side.deposits[usize::try_from(customer).unwrap_or_default()];
        let sent = side.outside_pays(&[(address, amount)])?;
        let vout = side.output_to(&sent.txid, address)?;
        Ok(Item { customer, amount, txid: Some(sent.txid), place: Some(("vout", vout)), address: None })
    }

    /// Writes the statement of this instant, with the last blocks and the balances of the hot wallets.
    pub fn issue(&mut self, name: &str) -> Result<Issued, Failure> {
        let truth = [&self.btc, &self.eth, &self.usdx].map(truth).into_iter().collect::<Result<Vec<_>, _>>()?;
        let (bitcoin, evm) = (&self.stage.bitcoin, &self.stage.evm);
        let ((height, hash), (evm_height, evm_hash)) = (bitcoin.tip()?, evm.tip()?);
        let hot = bitcoin.unspent(&[format!("addr({})", bitcoin.hot)])?.to_coins(self.btc.decimals);
        let evm_hot = evm.balance(evm.hot())?.to_coins(self.eth.decimals);
        let head = Head {
            as_of: self.stage.now(),
            blocks: vec![(bitcoin::CHAIN, height, hash), (ethereum::CHAIN, evm_height, evm_hash)],
            wallets: vec![
                (bitcoin::CHAIN, bitcoin.hot.clone(), self.btc.symbol, hot),
                (ethereum::CHAIN, evm.hot().to_owned(), self.eth.symbol, evm_hot),
            ],
        };
        let (number, bytes) = self.chronicle.next(&head, &mut [&mut self.btc, &mut self.eth, &mut self.usdx])?;
        let file = self.stage.write(&format!("statements/{number}-{name}.json"), bytes)?;
        Ok(Issued { number, file, arrives: super::stage::later(head.as_of, of::STATEMENT_ARRIVES_AFTER_S), truth })
    }

    /// Lets the clock run.
    pub fn advance(&mut self, to: Timestamp, told: &Told) -> Result<(), Failure> {
        self.stage.advance(to, told)
    }
}

fn truth(ledger: &Ledger) -> Result<Truth, Failure> {
    Ok(Truth {
        symbol: ledger.symbol,
        decimals: ledger.decimals,
        customers: ledger.customers()?,
        house: ledger.house(),
        owed: ledger.owed()?,
        holdings: ledger.expected_holdings()?,
    })
}

/// What customers had brought before: so much that the day's movements lead to what they own at 19:00.
fn first_deposits() -> Result<Amount, Failure> {
    let came = total((0..of::CUSTOMERS).map(of::deposit).chain([of::UNCREDITED_DEPOSIT, of::UNCONFIRMED_CREDIT]))?;
    let (count, each) = of::WITHDRAWALS;
    let batch = total((0..count).map(|_| each))?;
    let went = total([batch, of::SETTLED_WITHDRAWAL, of::SENT_WITHDRAWAL, of::QUEUED_WITHDRAWAL])?;
    minus(plus(of::CUSTOMERS_AT_19, went)?, came)
}
