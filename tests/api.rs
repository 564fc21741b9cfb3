//! The API against its own description: schemathesis sends what the description allows and what it does not, and finds answers
//! that it does not describe, errors of the server, and headers that are missing.

#![allow(clippy::unwrap_used)]

mod lab;
#[path = "lab/scene.rs"]
mod scene;
#[path = "lab/serving.rs"]
mod serving;

use std::process::Command;

use scene::{SUBSIDY, Scene, indexed, submit};
use serving::Serving;

/// How many requests are made up for each route and phase.
const EXAMPLES: &str = "25";

fn try_as(serving: &Serving, folder: &std::path::Path, who: &str, secret: &str) {
    let mut command = Command::new(assay_testnodes::schemathesis().unwrap());
    command.current_dir(folder).arg("run").arg(format!("http://{}/openapi.json", serving.address()));
    command.args(["--header", &format!("Authorization: Bearer {secret}")]);
    // Streams do not end; `/healthz` needs no token, and no schema says what an address or an instant in time is.
    command.args(["--exclude-path-regex", "events|stream"]);
    command.args(["--exclude-checks", "ignored_auth,positive_data_acceptance"]);
    command.args(["--max-examples", EXAMPLES, "--seed", "1", "--no-color", "--generation-database", "none"]);
    command.args(["--phases", "examples,coverage,fuzzing"]);
    let ran = command.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "as {who}: {said}\n{}", String::from_utf8_lossy(&ran.stderr));
    let made = said.lines().find_map(|line| line.trim().split_once(" generated, ")).map(|(made, _)| made.parse());
    assert!(matches!(made, Some(Ok(300..))), "as {who}: {said}");
}

#[test]
fn every_answer_is_as_described_whatever_is_sent() {
    let scene = Scene::new(4);
    let config = std::fs::read_to_string(scene.lab.path("assay.toml")).unwrap();
    scene.lab.write("assay.toml", &config.replace("[serve]\n", "[serve]\nrate = 1000000\n"));
    let serving = scene.serve();
    indexed(&serving, 4);
    submit(&serving, &scene.acme, "acme", &scene.statement(1, 4 * SUBSIDY + 1));
    let folder = tempfile::tempdir().unwrap();
    // Once with names that are there, and once with whatever it makes up.
    let names =
        format!("[parameters]\nid = \"acme\"\nchain = \"bitcoin\"\naddress = \"{}\"\nsequence = 1\n", scene.address);
    std::fs::write(folder.path().join("schemathesis.toml"), names).unwrap();
    try_as(&serving, folder.path(), "the regulator", &scene.regulator);
    try_as(&serving, folder.path(), "an exchange", &scene.acme);
    std::fs::remove_file(folder.path().join("schemathesis.toml")).unwrap();
    try_as(&serving, folder.path(), "the regulator", &scene.regulator);
    try_as(&serving, folder.path(), "an exchange", &scene.acme);
    assert_eq!(serving.get("/v1/exchanges/acme")["verdict"]["verdict"], "short", "and nothing came of it");
    assert_eq!(serving.stop().0, 0);
}
