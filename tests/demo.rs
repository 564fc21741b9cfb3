//! The demo, played by the real binary on real nodes: what it says is what its play knows to be true.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.arg("demo").args(arguments).env_remove("ASSAY_CONFIG");
    command
}

/// Rules and severities of the findings that are more than notices.
fn alarms<'a>(verdict: &'a Value) -> Vec<(&'a str, &'a str)> {
    let word = |value: &'a Value| value.as_str().unwrap_or("?");
    let findings = verdict["findings"].as_array().into_iter().flatten();
    let pairs = findings.map(|finding| (word(&finding["rule"]), word(&finding["severity"])));
    let mut pairs: Vec<_> = pairs.filter(|(_, severity)| *severity != "notice").collect();
    pairs.sort_unstable();
    pairs
}

#[test]
fn the_story_ends_with_the_phantom_flagged() {
    let output = demo(&["--once", "--json"]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdicts = document["verdicts"].as_array().unwrap();

    let words: Vec<_> =
        verdicts.iter().map(|one| (one["verdict"].as_str().unwrap(), one["stage"].as_str().unwrap())).collect();
    assert_eq!(words, [("backed", "final"), ("backed", "final"), ("short", "final"), ("short", "final")]);
    let of = |number: usize, field: &str| verdicts[number]["lines"][0][field].clone();
    let difference: Vec<_> = (0..4).map(|number| of(number, "difference")).collect();
    assert_eq!(difference, ["0", "0", "-12.8", "-62000"]);

    // What is in flight explains itself, without an alarm.
    assert_eq!((alarms(&verdicts[0]), alarms(&verdicts[1])), (vec![], vec![]));
    assert_eq!((of(1, "pending_withdrawals"), of(1, "uncredited_deposits")), ("3.05".into(), "1.5".into()));
    assert_eq!(of(1, "deductions"), "1.2");
    let in_flight =
        verdicts[1]["lines"].as_array().unwrap().iter().map(|line| line["in_flight"].as_array().unwrap().len());
    assert_eq!(in_flight.collect::<Vec<_>>(), [4, 1, 1]);

    // An invented credit hides nothing.
    let hidden = [("phantom-assets", "critical"), ("unexplained-difference", "error"), ("unsettled-item", "error")];
    assert_eq!(alarms(&verdicts[2]), hidden);
    assert_eq!(of(2, "in_flight")[0]["standing"], "not-found");

    // The day's figures, at a tenth.
    assert_eq!(verdicts[3]["statement"]["as_of"], "2026-02-06T10:01:00Z");
    assert_eq!((of(3, "customers"), of(3, "house")), ("66261.9".into(), "17.5".into()));
    assert_eq!(
        (of(3, "holdings")["low"].clone(), of(3, "holdings")["high"].clone()),
        ("4279.4".into(), "4279.4".into())
    );
    assert_eq!((of(3, "missing"), of(3, "coverage_ratio")), ("61982.5".into(), "0.0645".into()));
    assert_eq!(alarms(&verdicts[3]), [("phantom-assets", "critical"), ("unexplained-difference", "error")]);
}

#[test]
fn the_first_line_comes_within_ten_seconds_and_every_line_has_the_clock() {
    let since = Instant::now();
    let mut child = demo(&["--once"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert!(first.starts_with("15:00:00  "), "{first}");
    let told: Vec<String> = lines.collect();
    assert!(child.wait().unwrap().success(), "{told:#?}");
    let clocks: Vec<&str> =
        told.iter().filter(|line| !line.starts_with(' ') && !line.is_empty()).map(|line| &line[..8]).collect();
    assert!(clocks.is_sorted(), "{clocks:?}");
    assert!(told.iter().any(|line| line.starts_with("19:01:05") && line.contains("SHORT (provisional)")), "{told:#?}");
    assert!(!told.iter().any(|line| line.contains('\u{1b}')), "no colours in a pipe");
}
