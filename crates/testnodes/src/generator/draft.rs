//! One block in the making: transactions, then the coinbase and the header.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::transaction::Version as TransactionVersion;
use bitcoin::{
    Amount, Block, BlockHash, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxMerkleNode, TxOut, Txid,
    Weight, Witness, WitnessMerkleNode, Wtxid, merkle_tree,
};
use fastrand::Rng;

use super::address::{Address, Payees};
use super::keys::Ring;
use super::pool::Coin;
use super::unlock::Unsigned;

/// The time of regtest's first block here, in the past of every node.
const START: u32 = 1_700_000_000;
const SPACING_SECONDS: u32 = 600;
/// Blocks after which regtest halves what a block may create.
const HALVING: u32 = 150;
/// Of a thousand outputs, those that hold a message and no coin.
const MESSAGES_PERMILLE: u32 = 15;
/// The header, the number of transactions and the coinbase.
const WEIGHT_OF_THE_REST: u64 = 4_000;

pub(super) struct Draft {
    height: u32,
    previous: BlockHash,
    payees: Payees,
    transactions: Vec<Transaction>,
    txids: Vec<Txid>,
    weight: Weight,
    fees: Amount,
}

impl Draft {
    pub(super) fn new(height: u32, previous: BlockHash, payees: Payees) -> Draft {
        let weight = Weight::from_wu(WEIGHT_OF_THE_REST);
        Draft { height, previous, payees, transactions: vec![], txids: vec![], weight, fees: Amount::ZERO }
    }

    /// Whether a transaction of so many inputs and outputs fits, be they the heaviest. The limit of signature
    /// operations is never near: a block full of the mixture's outputs, or inputs, has fewer than half of them.
    pub(super) fn has_room(&self, inputs: u32, outputs: u32) -> bool {
        let heaviest = 100 + 1_200 * u64::from(inputs) + 460 * u64::from(outputs);
        self.weight + Weight::from_wu(heaviest) <= Weight::MAX_BLOCK
    }

    /// Adds a transaction that spends these coins, and gives the new ones, which can be spent at once. They are fewer
    /// than the outputs where some are messages; the first is none.
    pub(super) fn spend(&mut self, ring: &Ring, rng: &mut Rng, coins: &[Coin], outputs: u32) -> Vec<Coin> {
        let addresses: Vec<Option<Address>> = (0..outputs)
            .map(|nth| (nth == 0 || rng.u32(..1_000) >= MESSAGES_PERMILLE).then(|| self.payees.one(rng)))
            .collect();
        let in_all: Amount = coins.iter().map(|coin| coin.value).sum();
        let fee = (in_all / 1_000).min(Amount::from_sat(1_000));
        let mut left = in_all - fee;
        let mut to_pay = addresses.iter().flatten().count() as u64;
        let mut pay = |rng: &mut Rng| {
            let value = share(rng, left, to_pay);
            left -= value;
            to_pay -= 1;
            value
        };
        let output = |address: &Option<Address>| match address {
            Some(address) => TxOut { value: pay(rng), script_pubkey: address.script(ring) },
            None => TxOut { value: Amount::ZERO, script_pubkey: message(rng) },
        };
        let output = addresses.iter().map(output).collect();
        let transaction = signed(ring, coins, output);
        let txid = transaction.compute_txid();
        let coin = |(vout, (address, output)): (u32, (Option<Address>, &TxOut))| {
            Some(Coin { outpoint: OutPoint { txid, vout }, value: output.value, address: address? })
        };
        let coins = (0..).zip(addresses.into_iter().zip(&transaction.output)).filter_map(coin).collect();
        self.fees += fee;
        self.weight += transaction.weight();
        self.txids.push(txid);
        self.transactions.push(transaction);
        coins
    }

    /// The block's hash, its bytes, and the coin of its coinbase.
    pub(super) fn finish(self, ring: &Ring, rng: &mut Rng) -> (BlockHash, Vec<u8>, Coin) {
        let address = self.payees.one(rng);
        let value = subsidy(self.height) + self.fees;
        let coinbase = self.coinbase(TxOut { value, script_pubkey: address.script(ring) });
        let txid = coinbase.compute_txid();
        let txids = std::iter::once(txid).chain(self.txids).map(|txid| txid.to_raw_hash().into());
        let merkle_root: TxMerkleNode = merkle_tree::calculate_root(txids).expect("there is a coinbase");
        let txdata = std::iter::once(coinbase).chain(self.transactions).collect();
        let block = Block { header: mined(self.height, self.previous, merkle_root), txdata };
        let coin = Coin { outpoint: OutPoint { txid, vout: 0 }, value, address };
        (block.block_hash(), serialize(&block), coin)
    }

    fn coinbase(&self, payment: TxOut) -> Transaction {
        const RESERVED: [u8; 32] = [0; 32];
        let wtxids = self.transactions.iter().map(Transaction::compute_wtxid);
        let wtxids = std::iter::once(Wtxid::all_zeros()).chain(wtxids).map(|wtxid| wtxid.to_raw_hash().into());
        let root: WitnessMerkleNode = merkle_tree::calculate_root(wtxids).expect("there is a coinbase");
        let commitment = Block::compute_witness_commitment(&root, &RESERVED);
        let mut committed = [0xaa, 0x21, 0xa9, 0xed].to_vec();
        committed.extend(commitment.to_byte_array());
        let committed = ScriptBuf::new_op_return(PushBytesBuf::try_from(committed).expect("36 bytes"));
        // The height is BIP34's. The name is there because a low height alone is too short.
        let script_sig = Builder::new().push_int(self.height.into()).push_slice(b"assay").into_script();
        let witness = Witness::from_slice(&[RESERVED]);
        Transaction {
            version: TransactionVersion::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn { previous_output: OutPoint::null(), script_sig, sequence: Sequence::MAX, witness }],
            output: vec![payment, TxOut { value: Amount::ZERO, script_pubkey: committed }],
        }
    }
}

fn signed(ring: &Ring, coins: &[Coin], output: Vec<TxOut>) -> Transaction {
    let sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
    let input = |coin: &Coin| TxIn { previous_output: coin.outpoint, sequence, ..TxIn::default() };
    let input = coins.iter().map(input).collect();
    let mut transaction = Transaction { version: TransactionVersion::TWO, lock_time: LockTime::ZERO, input, output };
    let mut unsigned = Unsigned::new(ring, coins, &transaction);
    let unlocked: Vec<(ScriptBuf, Witness)> = (0..coins.len()).map(|input| unsigned.unlock(input)).collect();
    for (input, (script_sig, witness)) in transaction.input.iter_mut().zip(unlocked) {
        input.script_sig = script_sig;
        input.witness = witness;
    }
    transaction
}

/// What one of so many outputs gets: the average give or take three quarters, and all that is left for the last.
fn share(rng: &mut Rng, left: Amount, outputs: u64) -> Amount {
    let average = left.to_sat() / outputs;
    if outputs == 1 { left } else { Amount::from_sat(rng.u64(average / 4..=average / 4 * 7)) }
}

fn message(rng: &mut Rng) -> ScriptBuf {
    let mut message = vec![0; rng.usize(20..=80)];
    rng.fill(&mut message);
    ScriptBuf::new_op_return(PushBytesBuf::try_from(message).expect("a short message"))
}

fn subsidy(height: u32) -> Amount {
    Amount::from_int_btc(50) / 2_u64.saturating_pow(height / HALVING)
}

/// A header whose hash is good enough for regtest, which every other one is.
fn mined(height: u32, prev_blockhash: BlockHash, merkle_root: TxMerkleNode) -> Header {
    let bits = bitcoin::constants::genesis_block(Network::Regtest).header.bits;
    let (version, time) = (Version::NO_SOFT_FORK_SIGNALLING, START + SPACING_SECONDS * height);
    let mut header = Header { version, prev_blockhash, merkle_root, time, bits, nonce: 0 };
    while header.validate_pow(header.target()).is_err() {
        header.nonce += 1;
    }
    header
}
