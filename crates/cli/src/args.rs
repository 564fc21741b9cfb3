//! The command line. See `assay help`.

use std::path::PathBuf;

use assay_verifier::{Age, PolicyError};
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

/// Does this exchange hold on chain what its internal ledger says it holds?
///
/// Assay follows declared exchange addresses on Bitcoin and EVM nodes, compares what they hold with the ledger that the
/// exchange reports, and flags coins that are owed and that nobody holds.
#[derive(Parser)]
#[command(name = "assay", version, after_help = "Start with: assay init\nThe whole story on local nodes: assay demo")]
pub struct Arguments {
    /// The configuration
    #[arg(long, global = true, env = "ASSAY_CONFIG", default_value = "./assay.toml", value_name = "FILE")]
    pub config: PathBuf,
    /// Print one JSON document on standard output
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// The whole story on local real nodes
    #[command(after_help = "Example: assay demo --once\n\n\
        Exit codes: 0 the story went as told, the phantom coins flagged included · 4 it did not")]
    Demo(DemoArgs),
    /// Write a commented assay.toml and a sample exchange
    #[command(after_help = "Example: assay init my-assay")]
    Init {
        /// Where to
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Configuration, declarations, prices, nodes, store: all in order?
    #[command(after_help = "Example: assay check --deep")]
    Check {
        /// Also compute again what is stored
        #[arg(long)]
        deep: bool,
    },
    /// Follow the chains
    #[command(after_help = "Example: assay index --once --chain bitcoin")]
    Index(IndexArgs),
    /// What an account held
    #[command(after_help = "Example: assay balance bc1q… --chain bitcoin --at 2026-02-06T19:00:00+09:00")]
    Balance(BalanceArgs),
    /// How an account came to hold it
    #[command(after_help = "Example: assay history 0x… --chain ethereum --asset USDT --format csv")]
    History(HistoryArgs),
    /// What an exchange holds on its declared accounts
    #[command(after_help = "Example: assay holdings acme")]
    Holdings {
        /// The exchange's id
        exchange: String,
        /// An RFC 3339 time; by default the last indexed blocks
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Reconcile one statement with what is on chain
    #[command(after_help = "Example: assay verify acme --statement 2026-02-06T19.json\n\n\
        Exit codes: 0 backed · 1 a discrepancy · 2 wrong input · 3 indeterminate or stale · 4 integrity failure")]
    Verify(VerifyArgs),
    /// What makes up a difference: wallets, items, blocks, largest first, and since when
    #[command(after_help = "Example: assay explain acme BTC\n\n\
        Exit codes: 0 backed · 1 short · 2 wrong input · 3 indeterminate, or no statement is kept")]
    Explain(ExplainArgs),
    /// Proofs that `balance --proof --json` and `verify --proofs` gave
    Proof {
        #[command(subcommand)]
        command: ProofCommand,
    },
    /// Statements, on the exchange's side
    Statement {
        #[command(subcommand)]
        command: StatementCommand,
    },
    /// Hand statements to an assay serve: checked, signed, tried again until they are taken
    #[command(after_help = SUBMIT)]
    Submit(SubmitArgs),
    /// The key by which an exchange signs its statements
    Keys {
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Everything, continuously: index, intake, rules, API
    #[command(after_help = "Example: assay serve\n\n\
        Listens where [serve] in assay.toml says. SIGHUP reads the files again; SIGTERM stops at a block boundary.")]
    Serve,
    /// Completions for your shell, on standard output
    #[command(after_help = "Example: assay completions bash > /etc/bash_completion.d/assay")]
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Man pages, one for each command
    #[command(after_help = "Example: assay man /usr/local/share/man/man1")]
    Man {
        /// The folder to put them into
        dir: PathBuf,
    },
    /// Who may ask the API
    Token {
        #[command(subcommand)]
        command: TokenCommand,
    },
}

#[derive(Subcommand)]
pub enum StatementCommand {
    /// Is this a statement, and what does it say?
    #[command(after_help = "Example: assay statement check 2026-02-06T19.json")]
    Check {
        /// The statement (assay.statement/1)
        file: PathBuf,
    },
}

#[derive(Subcommand)]
pub enum ProofCommand {
    /// Do they prove what they say? It takes no node, no store and no configuration
    #[command(after_help = "Example: assay proof check proof.json\n\n\
        Exit codes: 0 proven, if the blocks with the named hashes are on the chain · 2 no proofs · 4 refused")]
    Check {
        /// The document
        file: PathBuf,
    },
}

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a key: the secret into FILE, the public one on standard output, for statement_keys in exchange.toml
    #[command(after_help = "Example: assay keys new acme.key")]
    New {
        /// Where the secret goes; never over a file that is there
        file: PathBuf,
    },
}

const SUBMIT: &str = "\
Example: assay submit acme --statement 2026-02-06T19.json --to https://assay.example \\
           --key acme.key --token-file acme.token
         assay submit acme --query ledger.sql --database-file ledger.conn --every 1m \\
           --to https://assay.example --key acme.key --token-file acme.token

A query gives a row for each asset, with these columns. What is NULL is not reported, and that is not zero:
  asset, customers                text, and an amount: these two are required
  house, negative, inventory      amounts
  deposits, withdrawals, rewards, fees, corrections
                                  amounts: flows since the statement before
  pending_withdrawals, uncredited_deposits, unconfirmed_credits, elsewhere, volume
                                  json or jsonb: lists, as the statement has them
Amounts are numeric, integers or text, and stay exact; real and double precision are refused. The query runs in a \
transaction that can only read and sees one instant: its now() becomes as_of. current_setting('assay.since') is that of \
the statement before, or empty: flows go from there. Numbers go on from the last statement. Give it a role that may \
only read what it needs, on the primary: a standby may be behind.

With --every, and for a query, statements wait in the folder --spool until they are taken, and are sent in order, also \
after a kill. Up to 10080 wait. One that is refused goes to refused/ there; its number is not given again. What is wrong \
with a statement is said and tried again at the next round; a token, key or number that does not count ends the command. \
--json prints one document a line then.

Exit codes: 0 taken, or stopped · 2 wrong or refused · 3 not handed over: send it again";

#[derive(Args)]
#[command(group(ArgGroup::new("source").required(true).args(["statement", "query"])))]
pub struct SubmitArgs {
    /// The exchange's id
    pub exchange: String,
    /// The statement (assay.statement/1), with its number; with --every, read anew at each round and sent when it has changed
    #[arg(long, value_name = "FILE")]
    pub statement: Option<PathBuf>,
    /// A query for PostgreSQL that gives the statement: a row for each asset
    #[arg(long, value_name = "FILE", requires = "database_file")]
    pub query: Option<PathBuf>,
    /// The file with the database's connection string: host=… user=… password=… dbname=… sslmode=…, or postgresql://…
    #[arg(long, value_name = "FILE", requires = "query")]
    pub database_file: Option<PathBuf>,
    /// Certificates (PEM) of the authority that vouches for the database, instead of the system's
    #[arg(long, value_name = "FILE", requires = "query")]
    pub database_ca: Option<PathBuf>,
    /// Where assay serve listens
    #[arg(long, value_name = "URL")]
    pub to: String,
    /// The file with the secret key, as `assay keys new` made it
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The file with the token, as `assay token new` printed it
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Go on until a signal, a statement at each round: 1m, 30s
    #[arg(long, value_name = "DURATION", conflicts_with = "tries", value_parser = round)]
    pub every: Option<Age>,
    /// The folder where statements wait; by default outgoing/EXCHANGE
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
    /// How often to try, with growing pauses up to 30 seconds
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub tries: u32,
}

fn round(text: &str) -> Result<Age, String> {
    let age: Age = text.parse().map_err(|error: PolicyError| error.to_string())?;
    let day = Age { seconds: 86_400 };
    if age.seconds == 0 || age > day { Err("a round takes from a second to a day".into()) } else { Ok(age) }
}

#[derive(Subcommand)]
pub enum TokenCommand {
    /// Make a token: its secret is printed once, its hash added to the file that [serve] tokens_file names
    #[command(after_help = "Example: assay token new acme-1 --scope exchange --exchange acme > acme.token\n\n\
        To replace one: make another, give it to its holder, revoke the old one.")]
    New(TokenArgs),
    /// Which tokens there are, what they are good for and until when
    #[command(after_help = "Example: assay token list")]
    List,
    /// Strike a token out of the file: it is worth nothing a second later, also on open streams
    #[command(after_help = "Example: assay token revoke acme-1")]
    Revoke {
        /// What it is called in the file
        id: String,
    },
}

#[derive(Args)]
pub struct TokenArgs {
    /// What to call it in the file
    pub id: String,
    /// What it is good for
    #[arg(long, value_enum)]
    pub scope: ScopeName,
    /// Whose, for --scope exchange
    #[arg(long, value_name = "ID")]
    pub exchange: Option<String>,
    /// Until when it is good: an RFC 3339 time
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScopeName {
    /// Reads everything
    Regulator,
    /// Submits one exchange's statements, and reads that exchange
    Exchange,
    /// Reads accounts and chains
    Analyst,
}

#[derive(Args)]
pub struct DemoArgs {
    /// End with the story; otherwise the day goes on, with the pages open and commands to try
    #[arg(long)]
    pub once: bool,
    /// Where the pages are to be, on this machine; 0: any port that is free
    #[arg(long, value_name = "N", default_value = "0")]
    pub port: u16,
}

#[derive(Args)]
pub struct IndexArgs {
    /// Only this chain (alias or CAIP-2 id); may be repeated
    #[arg(long, value_name = "C")]
    pub chain: Vec<String>,
    /// Catch up with the tip, then exit
    #[arg(long)]
    pub once: bool,
    /// Go on after a reorganisation beyond finality: the hash of the new tip
    #[arg(long, value_name = "HASH")]
    pub accept_reorg: Option<String>,
    /// How many processors read and check blocks; by default all
    #[arg(long, value_name = "N")]
    pub threads: Option<std::num::NonZeroUsize>,
}

#[derive(Args)]
pub struct BalanceArgs {
    /// An address, or script:HEX
    pub address: String,
    /// The chain: alias or CAIP-2 id
    #[arg(long, value_name = "C")]
    pub chain: String,
    /// Symbol or CAIP-19 id; by default the chain's native coin
    #[arg(long, value_name = "A")]
    pub asset: Option<String>,
    /// A height, or an RFC 3339 time; by default the last indexed block
    #[arg(long, value_name = "HEIGHT|TIME")]
    pub at: Option<String>,
    /// With the last proof of the balance that is kept (EVM): all of it with --json, for `assay proof check`
    #[arg(long)]
    pub proof: bool,
}

#[derive(Args)]
pub struct HistoryArgs {
    /// An address, or script:HEX
    pub address: String,
    /// The chain: alias or CAIP-2 id
    #[arg(long, value_name = "C")]
    pub chain: String,
    /// Symbol or CAIP-19 id; by default the chain's native coin
    #[arg(long, value_name = "A")]
    pub asset: Option<String>,
    /// From this height
    #[arg(long, value_name = "H")]
    pub from: Option<u64>,
    /// To this height, included
    #[arg(long, value_name = "H")]
    pub to: Option<u64>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// With a header line
    Csv,
    /// One JSON object a line
    Ndjson,
    /// One JSON document
    Json,
}

#[derive(Args)]
pub struct ExplainArgs {
    /// The exchange's id
    pub exchange: String,
    /// The asset's symbol
    pub asset: String,
    /// This statement; by default the last one that assay serve took
    #[arg(long, value_name = "FILE")]
    pub statement: Option<PathBuf>,
}

#[derive(Args)]
pub struct VerifyArgs {
    /// The exchange's id
    pub exchange: String,
    /// The statement (assay.statement/1)
    #[arg(long, value_name = "FILE")]
    pub statement: PathBuf,
    /// Write the kept proofs that back the balances (EVM) into this file, for `assay proof check`
    #[arg(long, value_name = "FILE")]
    pub proofs: Option<PathBuf>,
    /// Judge the statement's age as of this RFC 3339 time; by default the clock's
    #[arg(long, value_name = "TIME")]
    pub now: Option<String>,
}
