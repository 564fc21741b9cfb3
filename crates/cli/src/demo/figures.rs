//! Every figure of the story, in one place: the day of 6 February 2026 at a tenth of its size.
//!
//! Reported of the real day: about 620,000 BTC credited to users of an exchange that held about 42,794 and owed 42,619; 86 users
//! sold some 1,788 BTC in 35 minutes; it was noticed after about 20 minutes; ledger and wallets were compared once a day.
//! The rest is invented and only has to add up.

use assay_types::{Amount, Timestamp};
use ruint::aliases::U256;

/// 2026-02-06T00:00:00+09:00 in Unix seconds.
const MIDNIGHT_UNIX_S: i64 = 1_770_303_600;

/// An instant of the day, Korean time.
pub fn kst(hour: i64, minute: i64, second: i64) -> Timestamp {
    Timestamp::from_unix_s(MIDNIGHT_UNIX_S + hour * 3600 + minute * 60 + second)
}

/// A bitcoin block comes every ten minutes, at :08, :18, ...
pub const BITCOIN_BLOCK_S: i64 = 600;
/// Seconds after the full hour of the first of them.
pub const BITCOIN_BLOCK_OFFSET_S: i64 = 480;
/// An EVM block comes every 48 seconds: 64 of them, which anvil wants for finality, take as long as Bitcoin's six.
pub const EVM_BLOCK_S: i64 = 48;
/// How long after its instant a statement arrives.
pub const STATEMENT_ARRIVES_AFTER_S: i64 = 5;

/// Blocks before the story: coins of the first 110 can be spent at its start.
pub const HISTORY_BLOCKS: i64 = 210;

/// Satoshi from thousandths of a bitcoin.
pub const fn btc_milli(milli: u64) -> Amount {
    Amount(U256::from_limbs([milli * 100_000, 0, 0, 0]))
}

/// Wei from thousandths of an ether.
pub fn eth_milli(milli: u64) -> Amount {
    Amount(U256::from(milli) * U256::from(1_000_000_000_000_000_u64))
}

/// Units of the token, which has 6 decimals, from whole coins.
pub const fn usdx(coins: u64) -> Amount {
    Amount(U256::from_limbs([coins * 1_000_000, 0, 0, 0]))
}

/// How many customers have a deposit address on Bitcoin.
pub const CUSTOMERS: u32 = 1000;
/// How many of them have one on the EVM chain too.
pub const EVM_CUSTOMERS: u32 = 50;
/// How many other exchanges there are, each with one account on each chain.
pub const OTHERS: u32 = 2;
/// Addresses of the cold wallet's descriptor, from 0.
pub const COLD_ADDRESSES: u32 = 100;
/// One bitcoin payment of a batch pays so many deposit addresses.
pub const DEPOSIT_BATCH: usize = 200;

/// What customers own at 19:00, before the credit: 4,261.9 BTC.
pub const CUSTOMERS_AT_19: Amount = btc_milli(4_261_900);
/// The house's own at 19:00, all of it set aside for rewards: 17.5 BTC.
pub const HOUSE_AT_19: Amount = btc_milli(17_500);
/// The house's own in the afternoon: 5 BTC.
pub const HOUSE_BEFORE: Amount = btc_milli(5_000);

/// Where the first coins lie; the rest of them is cold.
pub const HOT_START: Amount = btc_milli(250_000);
/// On the taproot hot wallet.
pub const HOT_TAPROOT_START: Amount = btc_milli(150_000);
/// From the cold wallet to the taproot hot wallet, signed by two of three.
pub const TOP_UP: Amount = btc_milli(60_000);
/// How many deposits the first sweep gathers.
pub const FIRST_SWEEP: usize = 60;
/// And the second.
pub const SECOND_SWEEP: usize = 10;
/// Withdrawals of the first batch: how many, and how much each.
pub const WITHDRAWALS: (u32, Amount) = (20, btc_milli(1_250));

/// What customer `number` deposits: 0.05 to 0.8492 BTC.
pub fn deposit(number: u32) -> Amount {
    let step = u64::from(number) * 7919 % 1000;
    Amount::from(5_000_000 + step * 80_000)
}

/// The statement with money in flight: a withdrawal that a block has just settled.
pub const SETTLED_WITHDRAWAL: Amount = btc_milli(3_400);
/// A withdrawal that waits in the mempool.
pub const SENT_WITHDRAWAL: Amount = btc_milli(2_250);
/// A withdrawal that has no transaction yet.
pub const QUEUED_WITHDRAWAL: Amount = btc_milli(800);
/// A deposit in a block, which the ledger has not credited yet.
pub const UNCREDITED_DEPOSIT: Amount = btc_milli(1_500);
/// A deposit in the mempool, which the ledger has credited already.
pub const UNCONFIRMED_CREDIT: Amount = btc_milli(1_200);

/// What disappears from the cold wallet, 0.3 % of the coins: 12.8 BTC.
pub const LOSS: Amount = btc_milli(12_800);

/// What is credited out of nothing: so much to so many.
pub const REWARD: (u32, Amount) = (310, btc_milli(200_000));
/// That is 62,000 BTC.
pub const CREDITED: Amount = btc_milli(62_000_000);
/// What users sell of it, in so many orders.
pub const SOLD: (u32, Amount) = (86, btc_milli(178_800));
/// When the first of them sells, and the last, in seconds after the credit.
pub const SALES_S: (i64, i64) = (20, 35 * 60);
/// Who buys.
pub const BUYER: u32 = 999;

/// The cold wallet's ether at the start of coverage.
pub fn eth_cold_start() -> Amount {
    eth_milli(12_000_000)
}
/// The hot wallet's.
pub fn eth_hot_start() -> Amount {
    eth_milli(300_000)
}
/// Of both, the house's own.
pub fn eth_house() -> Amount {
    eth_milli(42_000)
}
/// What EVM customer `number` deposits in ether.
pub fn eth_deposit(number: u32) -> Amount {
    eth_milli(1_500 + u64::from(number) * 20)
}
/// Paid to the hot wallet by a contract, inside a transaction of somebody else.
pub fn eth_internal() -> Amount {
    eth_milli(7_500)
}
/// A withdrawal of ether that waits for a block.
pub fn eth_withdrawal() -> Amount {
    eth_milli(12_000)
}
/// What a deposit address is given to pay for the sweep of its tokens.
pub fn eth_gas_gift() -> Amount {
    eth_milli(1)
}
/// How many deposit addresses are swept.
pub const EVM_SWEEP: usize = 8;

/// The token on the cold wallet at the start of coverage.
pub const USDX_COLD_START: Amount = usdx(24_000_000);
/// On the hot wallet.
pub const USDX_HOT_START: Amount = usdx(1_000_000);
/// Of both, the house's own.
pub const USDX_HOUSE: Amount = usdx(150_000);
/// A deposit of the token in a block, which the ledger has not credited yet.
pub const USDX_UNCREDITED: Amount = usdx(2_500);
/// A withdrawal of the token.
pub const USDX_WITHDRAWAL: Amount = usdx(40_000);

/// What EVM customer `number` deposits of the token.
pub fn usdx_deposit(number: u32) -> Amount {
    usdx(1_000 + u64::from(number) * 25)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_a_tenth_of_the_days() {
        assert_eq!(kst(19, 0, 0).to_string(), "2026-02-06T10:00:00Z");
        assert_eq!(REWARD.1.0 * U256::from(REWARD.0), CREDITED.0);
        let held = CUSTOMERS_AT_19.checked_add(HOUSE_AT_19).unwrap();
        let owed = CUSTOMERS_AT_19.checked_add(CREDITED).unwrap();
        let shown = [held, owed, CREDITED, SOLD.1].map(|amount| amount.to_coins(8));
        assert_eq!(shown, ["4279.4", "66261.9", "62000", "178.8"]);
    }
}
