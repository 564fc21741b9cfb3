#!/usr/bin/env bash
# Sets up what the arguments name, in this order whatever theirs: "nodes" (bitcoind, anvil; alertmanager, postgres, schemathesis, chromium and axe-core), "lint" (rustfmt, clippy), "build" (Rust,
# compilers, RocksDB), "peers" (electrs and ponder, which the benchmarks compare with; Rust and compilers). What is there already costs nothing, so every make target calls it.
set -euo pipefail
source "${BASH_SOURCE[0]%/*}/common.sh"

scripts=$top/scripts
wants() { [[ " $wanted " == *" $1 "* ]]; }
wanted=$*

components=()
needs=()
if wants lint; then components=(rustfmt clippy); fi
if wants build || wants peers; then needs+=(build); fi
if wants nodes; then needs+=(nodes); fi

if wants build || wants lint || wants peers; then "$scripts/rust.sh" "${components[@]}"; fi
"$scripts/system-packages.sh" "${needs[@]}"
if wants nodes; then
    "$scripts/bitcoind.sh"
    "$scripts/anvil.sh"
    "$scripts/alertmanager.sh"
    "$scripts/postgres.sh"
    "$scripts/schemathesis.sh"
    "$scripts/axe.sh"
fi
if wants build; then "$scripts/rocksdb.sh"; fi
if wants peers; then
    "$scripts/electrs.sh"
    "$scripts/ponder.sh"
fi
