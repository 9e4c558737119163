# The one door to the project: `make` alone says what there is.
# Everything is installed into .venv; nothing outside this directory is written, except Cargo's and pip's own caches.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export CARGO_BUILD_JOBS := $(JOBS)
# The tools of the house, pinned so that a new release of one cannot fail a build that passed yesterday.
TOOLS := "maturin>=1.9,<2" ruff==0.17.6 mypy==2.4.1
PYTHON_SOURCES := $(wildcard python tests benches demo soak examples docs/native_docstrings.py)

VENV_READY := $(VENV)/.ready
BUILT := $(VENV)/.built
RUST_SOURCES := $(shell find rust -type d -name target -prune -o -type f \( -name '*.rs' -o -name Cargo.toml \) -print 2>/dev/null)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: venv
venv: $(VENV_READY) ## Make .venv with the tools and the packages that tests and benches need

$(VENV_READY): pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "mqcore needs CPython 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Name another one: make PYTHON=python3.12"; exit 1; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -c "import tomllib; extras = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']; \
		print(*extras['test'], *extras['bench'], sep='\n')" > $(VENV)/requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TOOLS) --requirement $(VENV)/requirements.txt
	touch $@

.PHONY: build
build: $(BUILT) ## Build the release module and install it into .venv (again only where something changed)

$(BUILT): $(VENV_READY) pyproject.toml Cargo.toml Cargo.lock $(RUST_SOURCES)
	$(BIN)/maturin develop --release --locked
	touch $@

.PHONY: demo
demo: build ## Watch messages go: every pattern, over inproc, ipc and tcp, with a pyzmq peer
	$(BIN)/python -m demo

.PHONY: fmt
fmt: venv ## Format Rust and Python
	cargo fmt --all
	$(BIN)/ruff format $(PYTHON_SOURCES)
	$(BIN)/ruff check --fix $(PYTHON_SOURCES)

.PHONY: lint
lint: venv ## Check format, clippy, ruff and mypy
	cargo fmt --all -- --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(BIN)/ruff format --check $(PYTHON_SOURCES)
	$(BIN)/ruff check $(PYTHON_SOURCES)
	$(BIN)/mypy --strict python/mqcore demo benches soak

.PHONY: test
test: lint ## Everything: lint, Rust tests, model checks, build, pytest (the same in CI)
	cargo test --locked --workspace
	$(MAKE) --no-print-directory loom
	$(MAKE) --no-print-directory build
	$(BIN)/python -m pytest tests

.PHONY: test-quick
test-quick: build ## Rust and Python tests without lint, stopping at the first failure
	cargo test --locked --workspace
	$(BIN)/python -m pytest -x -q tests

.PHONY: docs
docs: build ## Build the documentation into build/docs, from docs/ and the docstrings
	$(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'], sep='\n')" \
		> $(VENV)/docs-requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement $(VENV)/docs-requirements.txt
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.PHONY: bench
bench: build ## Compare with pyzmq and pyomq, every cell, many rounds; tables and charts in benches/results/
	$(BIN)/python -m benches

.PHONY: bench-quick
bench-quick: build ## The main cells with few rounds, under three minutes
	$(BIN)/python -m benches --quick

.PHONY: bench-scale
bench-scale: build ## Curves: peers, subscriptions, message sizes, polled sockets
	$(BIN)/python -m benches.scale

.PHONY: bench-idle
bench-idle: build ## What import, a context, an idle connection and an idle process cost
	$(BIN)/python -m benches.idle

.PHONY: bench-calls
bench-calls: build ## What single calls cost, in one process (pytest-benchmark)
	mkdir -p benches/results
	$(BIN)/python -m pytest benches/test_calls.py -q --benchmark-columns=median,iqr,ops --benchmark-json=benches/results/calls.json

.PHONY: bench-publish
bench-publish: venv ## Write the latest results into BENCHMARKS.md, charts into benches/charts/
	$(BIN)/python -m benches.publish

.PHONY: loom
loom: ## Model-check the ring under every order of its atomic operations
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		cargo test --locked -p mqcore --release --lib loom

SOAK_SECONDS ?= 600
.PHONY: soak
soak: build ## Every pattern through faults of the network for SOAK_SECONDS (600), with every promise checked
	$(BIN)/python -m soak --seconds $(SOAK_SECONDS)

FUZZ_SECONDS ?= 30
.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZ_SECONDS (30); needs cargo-fuzz and a nightly compiler
	@[ -d rust/fuzz ] || { echo "There are no fuzz targets yet (rust/fuzz is missing)."; exit 1; }
	@cargo fuzz --version >/dev/null 2>&1 || { echo "Fuzzing needs cargo-fuzz: cargo install cargo-fuzz"; exit 1; }
	@cargo +nightly --version >/dev/null 2>&1 || { echo "Fuzzing needs a nightly compiler: rustup toolchain install nightly"; exit 1; }
	@for target in $$(cargo +nightly fuzz list --fuzz-dir rust/fuzz); do \
		echo "fuzzing $$target for $(FUZZ_SECONDS) s"; \
		mkdir -p rust/fuzz/corpus/$$target; \
		cargo +nightly fuzz run --fuzz-dir rust/fuzz $$target rust/fuzz/corpus/$$target rust/fuzz/seeds/$$target \
			-- -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048; \
	done

.PHONY: clean
clean: ## Remove everything that was built, .venv too
	cargo clean --quiet
	rm -rf $(VENV) benches/results .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find python -name '*.so' -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
