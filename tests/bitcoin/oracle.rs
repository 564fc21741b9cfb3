//! Holds what `assay` answers against what the node's own set of coins said when the block was its tip.

use std::fmt::Write as _;

use assay_types::Amount;
use serde_json::{Value, json};

use crate::lab::Lab;
use crate::stage::{Snapshot, Stage};

/// Asks for the balance of these accounts (by place) at the snapshot's height.
pub fn agrees(lab: &Lab, stage: &Stage, snapshot: &Snapshot, places: impl IntoIterator<Item = usize>) {
    agrees_as(lab, stage, snapshot, places, "verified");
}

/// The same, where they are known so well.
pub fn agrees_as(
    lab: &Lab,
    stage: &Stage,
    snapshot: &Snapshot,
    places: impl IntoIterator<Item = usize>,
    coverage: &str,
) {
    let height = snapshot.height.to_string();
    each_of(places.into_iter().collect(), |place| {
        let account = &stage.accounts[place];
        let answer = lab.json(&["balance", &account.address, "--chain", "bitcoin", "--at", &height], 0);
        let (held, immature) = snapshot.held[place];
        let where_ = format!("{} ({}) at {height}: {answer}", account.name, account.address);
        assert_eq!(answer["units"], json!(held.to_string()), "{where_}");
        assert_eq!(answer["amount"], json!(Amount::from(held).to_coins(8)), "{where_}");
        assert_eq!(answer["immature"], json!(Amount::from(immature).to_coins(8)), "{where_}");
        assert_eq!(answer["coverage"], json!(coverage), "{where_}");
        assert_eq!(answer["at"]["height"], json!(snapshot.height), "{where_}");
        assert_eq!(answer["at"]["hash"], json!(snapshot.hash), "{where_}");
    });
}

/// All accounts.
pub fn all(stage: &Stage) -> std::ops::Range<usize> {
    0..stage.accounts.len()
}

/// Every history, checked to be a sum that ends at the snapshot, within the active chain's blocks only.
pub fn histories_agree(lab: &Lab, stage: &Stage, snapshot: &Snapshot, active: &[String]) {
    each_of(all(stage).collect(), |place| {
        let account = &stage.accounts[place];
        let answer = lab.json(&["history", &account.address, "--chain", "bitcoin"], 0);
        let mut sum = 0_u64;
        for movement in answer["movements"].as_array().unwrap() {
            let height = usize::try_from(movement["height"].as_u64().unwrap()).unwrap();
            assert_eq!(movement["hash"], json!(active[height]), "{}: a block that is not on the chain", account.name);
            let amount = units(movement["amount"].as_str().unwrap());
            sum = match movement["direction"].as_str() {
                Some("credit") => sum + amount,
                _ => sum.checked_sub(amount).unwrap(),
            };
            assert_eq!(movement["balance"], json!(Amount::from(sum).to_coins(8)), "{}: {movement}", account.name);
        }
        assert_eq!(sum, snapshot.held[place].0, "{}", account.name);
    });
}

/// Everything that can be asked of these accounts, byte by byte: histories, and balances at these heights.
pub fn answers(lab: &Lab, stage: &Stage, heights: &[u64]) -> String {
    let of_each = each_of(all(stage).collect(), |place| {
        let address = &stage.accounts[place].address;
        let mut text = lab.assay(&["history", address, "--chain", "bitcoin", "--json"]).stdout;
        for height in heights {
            let height = height.to_string();
            let ran = lab.assay(&["balance", address, "--chain", "bitcoin", "--json", "--at", &height]);
            let _ = write!(text, "{} {}", ran.code, ran.stdout);
        }
        text
    });
    of_each.concat()
}

/// The height of the last block that is indexed.
pub fn indexed_height(lab: &Lab, stage: &Stage) -> Option<u64> {
    let ran = lab.assay(&["balance", &stage.accounts[0].address, "--chain", "bitcoin", "--json"]);
    match ran.code {
        0 => serde_json::from_str::<Value>(&ran.stdout).unwrap()["at"]["height"].as_u64(),
        3 => None,
        code => panic!("exit code {code}: {}", ran.stderr),
    }
}

fn units(coins: &str) -> u64 {
    Amount::from_coins(coins, 8).unwrap().to_string().parse().unwrap()
}

/// Asks on several threads, and gives the answers in order.
fn each_of<T: Send>(places: Vec<usize>, ask: impl Fn(usize) -> T + Sync) -> Vec<T> {
    const THREADS: usize = 4;
    let per_thread = places.len().div_ceil(THREADS).max(1);
    std::thread::scope(|scope| {
        let ask = &ask;
        let threads: Vec<_> = places
            .chunks(per_thread)
            .map(|chunk| scope.spawn(move || chunk.iter().map(|place| ask(*place)).collect::<Vec<T>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}
