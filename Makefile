# Tollgate's commands. `make help` lists them; `make check` is what CI runs.
#
# One target directory and the dev profile throughout, so that nothing is compiled twice: the
# binary that `make demo` runs is the one that the tests start.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Tools that set-up had to build live here and not in the user's own ~/.cargo.
export PATH := $(CURDIR)/.tools/bin:$(PATH)
CARGO := cargo
LOCKED := --locked
# Arguments for the programs behind `demo`, `test` and `bench`: make test ARGS='-E "test(isolat)"'
ARGS ?=

# What `fuzz` works on, for how many seconds each: make fuzz TARGET=json TIME=600
TARGET ?= $(notdir $(wildcard tests/fuzz/corpus/*))
TIME ?= 180

.PHONY: help demo test nightly fuzz check bench fmt setup setup-build fmt-check lint docs doctest deny \
	deny-offline setup-deny setup-fuzz config-check clean-tools

help: ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 18

# The dev build is ready in a third of a release build's time, and the demo shows behaviour, not
# speed; `make bench` is where the release profile belongs.
demo: setup-build ## Run the whole gateway in one process, with sample data and ready-to-paste requests
	@$(CARGO) build $(LOCKED) --bin tollgate
	@exec $(CARGO) run $(LOCKED) --quiet --bin tollgate -- demo $(ARGS)

# Doctests first: what a reader looks for, the runner's summary, stays the last thing printed.
test: setup doctest ## Run every test, with real PostgreSQL, Redis, PostgREST and supabase-js
	@$(CARGO) nextest run $(LOCKED) --no-fail-fast $(ARGS)

# `lint` covers benches and examples too (--all-targets), so they need no check of their own.
check: fmt-check lint docs deny-offline config-check test ## What CI runs: all of the below and `test`

nightly: setup ## 20,000 random requests through the isolation, and three minutes of chaos for the limiter, on one Redis and on a cluster
	@TOLLGATE_CASES=20000 $(CARGO) nextest run $(LOCKED) --profile nightly --no-fail-fast -E 'binary(attack) & test(generator)'
	@TOLLGATE_CHAOS=180 $(CARGO) nextest run $(LOCKED) --profile nightly --no-capture -E 'binary(e2e) & test(chaos)'

# `none`, because the code under test is safe Rust and the sanitizers need a nightly compiler; what
# guides the fuzzer is the compiler's own coverage. New inputs go to target/fuzz, for a person to pick.
fuzz: setup-fuzz ## Let libFuzzer look for inputs that break the parsers
	@for target in $(TARGET); do \
		mkdir -p target/fuzz/$$target; \
		echo "fuzz: $$target for $(TIME) s"; \
		TOLLGATE_FUZZ=$$target $(CARGO) fuzz run --fuzz-dir tests/fuzz --sanitizer none --no-cfg-fuzzing \
			--target-dir target/fuzz-build targets \
			$(CURDIR)/target/fuzz/$$target $(CURDIR)/tests/fuzz/corpus/$$target -- \
			-max_total_time=$(TIME) -max_len=4096 -verbosity=0 -print_final_stats=1 \
			-artifact_prefix=$(CURDIR)/target/fuzz/$$target- $(ARGS); \
	done

bench: setup-build ## Compare Tollgate with a bare Pingora proxy, interleaved, in the release profile
	@$(CARGO) run $(LOCKED) --release --example bench_compare -- $(ARGS)

fmt: ## Format the code
	@$(CARGO) fmt --all

setup: ## Install what the tests need and is missing, saying what is done
	@tests/setup.sh build test

setup-build:
	@tests/setup.sh build

fmt-check: ## Is the code formatted?
	@$(CARGO) fmt --all --check

lint: setup-build ## Clippy on every target, warnings are errors
	@$(CARGO) clippy $(LOCKED) --all-targets --quiet -- -D warnings

docs: setup-build ## Build the documentation, warnings are errors
	@RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(LOCKED) --no-deps --lib --quiet

doctest: setup-build ## Run the examples in the documentation
	@$(CARGO) test $(LOCKED) --doc --quiet

config-check: setup-build ## Every configuration is accepted by the program itself, every policy does what its tests say
	@$(CARGO) build $(LOCKED) --bin tollgate --quiet
	@tests/check-configs.sh

deny: setup-deny ## Licences, bans, sources and advisories of all dependencies
	@$(CARGO) deny $(LOCKED) --log-level error check $(ARGS)

# Without the advisories: their database has to be fetched, and an advisory published overnight
# must not fail a change that has nothing to do with it.
deny-offline: setup-deny
	@$(CARGO) deny $(LOCKED) --log-level error check bans licenses sources

setup-deny: setup-build
	@tests/setup.sh deny

setup-fuzz: setup-build
	@tests/setup.sh fuzz

clean-tools: ## Remove what set-up built or fetched inside this directory
	@rm -rf .tools tests/node_modules
