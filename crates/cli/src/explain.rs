//! `assay explain`: what makes up a difference, largest first.

use std::path::Path;
use std::sync::Arc;

use assay_desk::{Explanation, clock};
use assay_store::Records;
use assay_types::{InputError, suggestion};
use assay_verifier::Verdict;

use crate::args::ExplainArgs;
use crate::config::DESK;
use crate::failure::{Failure, UNKNOWN, WRONG_INPUT};
use crate::setup::{self, Setup};
use crate::{output, statement};

const SHOWN: usize = 20;

pub fn run(setup: &Arc<Setup>, wished: &ExplainArgs, json: bool) -> Result<u8, Failure> {
    let world = setup.world_to_read()?;
    let exchange = setup::exchange(&world.declarations, &wished.exchange)?;
    let records = Records::open_to_read(&setup.config.data_dir.join(DESK))?;
    let kept = || -> Result<_, Failure> {
        let none = || {
            Failure::new(UNKNOWN, format!("no statement of {} is kept here", exchange.id))
                .hint("name one: --statement FILE; or let assay serve take them")
        };
        let records = records.as_ref().ok_or_else(none)?;
        assay_desk::latest(&world, records, &exchange.id)?.ok_or_else(none)
    };
    let statement = match &wished.statement {
        Some(file) => of_file(setup, &exchange.id, file)?,
        None => kept()?,
    };
    let known = statement.assets.iter().map(|report| report.symbol.as_str());
    let unknown = || {
        let why = format!("the statement does not report `{}`", wished.asset);
        Failure::new(WRONG_INPUT, why).hint(suggestion(&wished.asset, known.clone()))
    };
    let explained = assay_desk::explain(&world, records.as_ref(), exchange, &statement, &wished.asset, clock::now())?;
    let explained = explained.ok_or_else(unknown)?;
    if json {
        output::document(&explained);
    } else {
        output::data(text(&explained));
    }
    Ok(match explained.line.verdict {
        Verdict::Short => 1,
        Verdict::Indeterminate => UNKNOWN,
        Verdict::Backed => 0,
    })
}

fn of_file(setup: &Setup, exchange: &str, file: &Path) -> Result<assay_types::Statement, Failure> {
    let (statement, _) = statement::read(setup, file)?;
    if statement.exchange != exchange {
        let why = format!("is `{}`, but `{exchange}` is asked for", statement.exchange);
        return Err(InputError::new(file, why).field("exchange").into());
    }
    Ok(statement)
}

fn text(one: &Explanation) -> String {
    let line = &one.line;
    let number = |named: &assay_desk::Named| {
        let number = named.sequence.map_or_else(|| "without a number".into(), |number| number.to_string());
        named.as_of.map_or(number.clone(), |as_of| format!("{number}, as of {as_of}"))
    };
    let mut text = format!("{} {}, statement {}\n\n", one.exchange, one.asset, number(&one.statement));
    let at_worst = if one.exact { "" } else { " (at worst: see what is unknown)" };
    let house = line.house.as_ref().map_or_else(|| "not said".into(), |house| house.grouped());
    let figures = [
        ("holdings", line.holdings.low.grouped()),
        ("deductions", line.deductions.grouped()),
        ("owed", line.owed.grouped()),
        ("house", house),
        ("difference", format!("{}{at_worst}", one.difference)),
    ];
    for (what, figure) in figures {
        text += &format!("{what:<11} {figure}\n");
    }
    if let Some(since) = &one.since {
        text += &format!("wrong since statement {}\n", number(since));
    }
    if let Some(good) = &one.last_good {
        text += &format!("right with statement {}\n", number(good));
    }
    if let Some(changes) = &one.changes {
        text += &format!("\nSince statement {}, when it was {}:\n", number(&changes.since), changes.before);
        let left = vec!["left".to_owned(), changes.left.to_string()];
        let rows = changes.parts.iter().map(|part| vec![part.what.to_owned(), part.amount.to_string()]).chain([left]);
        text += &format!("{}\n", output::table(&["part", "amount"], &["amount"], rows));
    }
    let or = |value: Option<String>| value.unwrap_or_default();
    if !one.wallets.is_empty() {
        let rows = one.wallets.iter().take(SHOWN).map(|wallet| {
            let held = wallet
                .held
                .as_ref()
                .map(|held| held.to_string())
                .or_else(|| Some(format!("? {}", or(wallet.unknown.clone()))));
            let texts = [held, wallet.claimed.as_ref().map(|coins| coins.to_string())];
            let signed = [&wallet.difference, &wallet.changed].map(|coins| coins.as_ref().map(ToString::to_string));
            let rest = texts.into_iter().chain(signed).map(or);
            [wallet.chain.clone(), wallet.address.clone()].into_iter().chain(rest).collect()
        });
        let headings = ["chain", "wallet", "held", "claimed", "difference", "changed"];
        text += &format!("\n{}\n{}", output::table(&headings, &headings[2..], rows), more(one.wallets.len()));
    }
    if !one.in_flight.is_empty() {
        let rows = one.in_flight.iter().take(SHOWN).map(|item| {
            let value = serde_json::to_value(item).unwrap_or_default();
            ["field", "txid", "amount", "standing", "effect", "counted"]
                .map(|field| value[field].as_str().unwrap_or_default().to_owned())
                .to_vec()
        });
        let headings = ["item", "transaction", "amount", "standing", "effect", "counted"];
        text += &format!("\n{}\n{}", output::table(&headings, &["amount", "counted"], rows), more(one.in_flight.len()));
    }
    if !one.blocks.is_empty() {
        let rows = one.blocks.iter().map(|block| {
            let hash = block.at["hash"].as_str().unwrap_or_default().to_owned();
            vec![block.chain.clone(), block.at["height"].to_string(), hash, block.net.to_string()]
        });
        text += &format!("\n{}\n", output::table(&["chain", "block", "hash", "net"], &["block", "net"], rows));
    }
    text
}

fn more(count: usize) -> String {
    if count > SHOWN { format!("and {} more: --json has all\n", count - SHOWN) } else { String::new() }
}
