//! What people write and type: whatever is wrong is said with its place, nothing is written, and the exit code is the
//! contract's. What is right answers in the contract's form.
#![allow(clippy::unwrap_used, missing_docs)] // all of it is test, helpers included

mod lab;

#[path = "input/answers.rs"]
mod answers;
#[path = "input/commands.rs"]
mod commands;
#[path = "input/configuration.rs"]
mod configuration;
#[path = "input/declarations.rs"]
mod declarations;
#[path = "input/prices.rs"]
mod prices;
#[path = "input/statements.rs"]
mod statements;

use lab::{Lab, Ran};

/// Two chains whose nodes are not there: nothing here may need one.
const CONFIG: &str = r#"data_dir = "assay-data"
exchanges = "exchanges"
timezone = "UTC"

[[chain]]
name = "bitcoin"
id = "bip122:000000000019d6689c085ae165831e93"
finality = { confirmations = 6 }
undo_depth = 1000

[[chain.node]]
rpc = "http://127.0.0.1:1"

[[chain]]
name = "ethereum"
id = "eip155:1"
start = 1

[[chain.node]]
rpc = "http://127.0.0.1:1"

[policy]
max_statement_age = "5m"
"#;

const EXCHANGE: &str = r#"id = "acme"
name = "Acme"

[[wallet]]
chain = "bitcoin"
role = "cold"
address = "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq"
"#;

/// A folder in which everything is right.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("assay.toml", CONFIG);
    lab.write("exchanges/acme/exchange.toml", EXCHANGE);
    lab
}

/// Runs it and expects an error that says all of this, in the contract's form, and leaves nothing behind.
fn wrong(lab: &Lab, arguments: &[&str], words: &[&str]) -> Ran {
    let ran = lab.assay(arguments);
    let told = format!("assay {}\n{}\n{}", arguments.join(" "), ran.stdout, ran.stderr);
    assert_eq!(ran.code, 2, "{told}");
    assert_eq!(ran.stdout, "", "{told}");
    assert!(ran.stderr.starts_with("error: "), "{told}");
    assert!(ran.stderr.lines().all(|line| line.starts_with("error: ") || line.starts_with("hint: ")), "{told}");
    for word in words {
        assert!(ran.stderr.contains(word), "`{word}` is not said: {told}");
    }
    assert!(!lab.path("assay-data").exists(), "something was written: {told}");
    ran
}

#[test]
fn a_shell_and_a_reader_of_manuals_know_every_command() {
    let lab = Lab::new();
    let commands = ["serve", "explain", "submit", "verify"];
    for shell in ["bash", "zsh", "fish"] {
        let script = lab.assay(&["completions", shell]);
        assert!(script.code == 0 && commands.iter().all(|command| script.stdout.contains(command)), "{shell}");
    }
    assert_eq!(lab.assay(&["completions", "nosh"]).code, 2);
    assert_eq!(lab.assay(&["man", "man1"]).code, 0);
    for command in commands {
        let page = std::fs::read_to_string(lab.path(&format!("man1/assay-{command}.1"))).unwrap();
        assert!(page.contains("Example"), "{command}");
    }
}
