//! Accounts declared late where the node has filters of its blocks (BIP158): few blocks are read, and the answers are the same; what
//! filters hide is found out when the blocks are read.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};

use crate::following::{PATIENCE, ended, follow, signal};
use crate::lab::{Lab, bitcoin_chain};
use crate::oracle::{agrees, agrees_as, all, answers};
use crate::proxy::{Fault, Proxy, Rule, alter};
use crate::stage::{Random, Stage};

/// The places of the accounts whose declarations have odd ones.
const LATE: [usize; 8] = [1, 3, 5, 7, 9, 13, 15, 17];

/// Every other declaration is indexed, and the others come now, with the node behind a proxy.
fn declared_late(stage: &Stage, rule: Rule) -> (Lab, Proxy) {
    let lab = stage.lab(100);
    stage.declare(&lab, |nth| nth % 2 == 0);
    lab.index();
    let proxy = Proxy::with(&stage.node.rpc_url, vec![rule]);
    lab.write("assay.toml", &bitcoin_chain(&proxy.url, &stage.node.cookie_file, 100));
    stage.declare(&lab, |_| true);
    (lab, proxy)
}

fn busy(arguments: &[&str]) -> Stage {
    let stage = Stage::with(arguments);
    stage.mine(150);
    let mut random = Random(158);
    (0..25).for_each(|_| stage.busy_block(&mut random));
    let since = Instant::now();
    while stage.node.call("getindexinfo", json!([])).unwrap()["basic block filter index"]["synced"] != json!(true) {
        assert!(since.elapsed() < PATIENCE, "the node makes no filters");
    }
    stage
}

/// Follows until no late account is unproven.
fn read_all_blocks(lab: &Lab, stage: &Stage) -> Vec<Value> {
    let (run, since) = (follow(lab), Instant::now());
    let said = loop {
        let said: Vec<Value> = LATE.iter().map(|place| balance(lab, stage, *place)).collect();
        if said.iter().all(|one| one["coverage"] != "unproven") {
            break said;
        }
        assert!(since.elapsed() < PATIENCE, "{said:?}");
    };
    signal(&run, "-TERM");
    assert_eq!(ended(run).0, Some(0));
    said
}

fn balance(lab: &Lab, stage: &Stage, place: usize) -> Value {
    let ran = lab.assay(&["balance", &stage.accounts[place].address, "--chain", "bitcoin", "--json"]);
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn filters_find_what_late_accounts_did_and_blocks_prove_it_afterwards() {
    for arguments in [&["-rest=1", "-blockfilterindex=1"][..], &["-blockfilterindex=1"]] {
        let stage = busy(arguments);
        let blocks = |name: &str, _: &Value| name == "getblock" || name.starts_with("/rest/block/");
        let count = Rule { of: Arc::new(blocks), fault: Fault::Bytes(Arc::new(|_| ())), times: u64::MAX };
        let (lab, proxy) = declared_late(&stage, count);
        lab.index();
        assert!(proxy.applied() < 50, "{} blocks were read of {}", proxy.applied(), stage.tip() + 1);
        let snapshot = stage.snapshot();
        agrees_as(&lab, &stage, &snapshot, LATE, "unproven");
        agrees(&lab, &stage, &snapshot, all(&stage).filter(|place| !LATE.contains(place)));
        read_all_blocks(&lab, &stage);
        assert!(proxy.applied() > stage.tip(), "only {} blocks were read", proxy.applied());
        agrees(&lab, &stage, &snapshot, all(&stage));
        let fresh = stage.lab(100);
        fresh.index();
        let heights = [0, 1, 120, 160, stage.tip()];
        assert_eq!(answers(&lab, &stage, &heights), answers(&fresh, &stage, &heights));
        assert_eq!(lab.assay(&["check", "--deep"]).code, 0);
    }
}

#[test]
fn what_a_filter_hides_is_found_out_and_the_account_is_unknown() {
    let stage = busy(&["-blockfilterindex=1"]);
    let hash = stage.hash_at(stage.tip() - 12);
    let hides = move |name: &str, params: &Value| name == "getblockfilter" && params[0] == json!(hash);
    // A filter of a block that touched nobody.
    let empty = alter(|result| result["filter"] = json!("00"));
    let (lab, proxy) = declared_late(&stage, Rule { of: Arc::new(hides), fault: empty, times: u64::MAX });
    lab.index();
    assert_eq!(proxy.applied(), 1);
    let (said, truth) = (read_all_blocks(&lab, &stage), stage.snapshot());
    let mut unknown = 0;
    for (place, one) in LATE.iter().zip(said) {
        if one["coverage"] == "unknown" {
            assert!(one["reason"].as_str().unwrap().contains("hid transaction"), "{one}");
            unknown += 1;
        } else {
            assert_eq!(
                (&one["coverage"], &one["units"]),
                (&json!("verified"), &json!(truth.held[*place].0.to_string()))
            );
        }
    }
    assert!((1..LATE.len()).contains(&unknown), "{unknown} accounts are unknown");
    assert_eq!(lab.assay(&["check", "--deep"]).code, 0);
}
