# make demo · make test · make bench
#
# Each does all of its own set-up, and nothing twice; see scripts/. What may be set: ASSAY_CACHE=/folder for what is fetched or built once,
# BITCOIND=/path, ANVIL=/path, ALERTMANAGER=/path, SCHEMATHESIS=/path and ELECTRS=/path for programs of your own, POSTGRES=/folder for a server's, PONDER=/folder for one of npm's, ROCKSDB_LIB_DIR=/folder for a
# RocksDB of your own.

export ASSAY_CACHE := $(or $(ASSAY_CACHE),$(HOME)/.cache/assay)
export BITCOIND := $(or $(BITCOIND),$(ASSAY_CACHE)/nodes/bin/bitcoind)
export ANVIL := $(or $(ANVIL),$(ASSAY_CACHE)/nodes/bin/anvil)
export ALERTMANAGER := $(or $(ALERTMANAGER),$(ASSAY_CACHE)/nodes/bin/alertmanager)
export POSTGRES := $(or $(POSTGRES),$(ASSAY_CACHE)/nodes/postgres)
export SCHEMATHESIS := $(or $(SCHEMATHESIS),$(ASSAY_CACHE)/nodes/bin/schemathesis)
export ELECTRS := $(or $(ELECTRS),$(ASSAY_CACHE)/nodes/bin/electrs)
export PONDER := $(or $(PONDER),$(ASSAY_CACHE)/nodes/ponder)
export AXE := $(or $(AXE),$(ASSAY_CACHE)/nodes/axe-4.14.1.js)
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

ifndef ROCKSDB_LIB_DIR
ROCKSDB_LIB_DIR := $(shell scripts/rocksdb.sh where)
ifneq ($(ROCKSDB_LIB_DIR),)
export ROCKSDB_LIB_DIR
export ROCKSDB_STATIC := 1
endif
endif

# One profile and one set of features everywhere, so that nothing is compiled twice.
WORKSPACE := --release --workspace --locked

.PHONY: help demo test bench build lint nodes contracts

help: ## this list
	@echo 'make TARGET, where TARGET is'
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1\t\2/p' Makefile

demo: ## play the demo day on real nodes (options of `assay demo`: ARGS="--once")
	@scripts/setup.sh nodes build
	cargo build $(WORKSPACE)
	target/release/assay demo $(ARGS)

test: lint ## everything that CI checks: format, lints, all tests, on real nodes
	@scripts/setup.sh nodes build
	cargo test $(WORKSPACE)

bench: ## measure what there is to measure
	@scripts/setup.sh nodes build peers
	cargo bench --workspace --locked --bench '*'
	cargo test $(WORKSPACE) --test pages -- --nocapture a_new_verdict every_page

build: ## the binary, target/release/assay
	@scripts/setup.sh build
	cargo build $(WORKSPACE)

lint: ## format and lints
	@scripts/setup.sh lint build
	cargo fmt --all --check
	cargo clippy $(WORKSPACE) --all-targets -- -D warnings

nodes: ## bitcoind, anvil, alertmanager, postgres and schemathesis, in the cache's nodes/bin
	@scripts/setup.sh nodes

contracts: ## compile the test contracts again (data/contracts)
	data/contracts/compile.sh
