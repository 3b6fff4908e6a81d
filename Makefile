# `make test` installs what is missing and runs every test; a second run installs nothing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help deps packages test test-rust test-clients lint

CARGO ?= cargo
CLIENTS := tests/clients
TIDEWIRE_BIN ?= $(abspath $(or $(CARGO_TARGET_DIR),target)/debug/tidewire)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

test: deps ## everything: the Rust tests, then the unmodified clients
	@failed=(); \
	$(MAKE) --no-print-directory test-rust || failed+=(test-rust); \
	$(MAKE) --no-print-directory test-clients || failed+=(test-clients); \
	if [ $${#failed[@]} -gt 0 ]; then echo "== failed: $${failed[*]}"; exit 1; fi

# Most tests wait for something, so there are more at a time than cores.
test-rust: ## cargo test
	@echo "== cargo test"
	@RUST_TEST_THREADS=$${RUST_TEST_THREADS:-$$((2 * $$(nproc)))} $(CARGO) test --no-fail-fast

# The binary is the one that `cargo test` has built: `cargo build` would build everything once more, as without the
# tests some libraries have fewer features.
test-clients: $(CLIENTS)/node_modules/.package-lock.json $(CLIENTS)/.venv/installed ## the unmodified clients against the debug build, alone and over Redis
	@$(CARGO) test --quiet --no-run --test it
	@cd $(CLIENTS) && TIDEWIRE_BIN=$(TIDEWIRE_BIN) node run.js

lint: ## formatting and clippy
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

deps: packages $(CLIENTS)/node_modules/.package-lock.json $(CLIENTS)/.venv/installed ## install what the tests need

# Debian's names. As root they are installed, everyone else is told.
packages:
	@missing=(); \
	need() { command -v "$$1" > /dev/null || missing+=("$$2"); }; \
	need node nodejs; need npm npm; need curl curl; need openssl openssl; need redis-server redis-server; \
	need nginx nginx; need haproxy haproxy; need faketime faketime; \
	command -v chromium chromium-browser google-chrome > /dev/null || missing+=(chromium); \
	python3 -c 'import ensurepip, venv' &> /dev/null || missing+=(python3-venv); \
	if [ $${#missing[@]} -eq 0 ]; then exit 0; fi; \
	if [ "$$(id -u)" -ne 0 ] || ! command -v apt-get > /dev/null; then \
		echo "The tests need what these Debian packages contain: $${missing[*]}"; \
		echo "Install them, e.g. with: sudo apt-get install $${missing[*]}"; \
		exit 1; \
	fi; \
	echo "== apt-get install $${missing[*]}"; \
	export DEBIAN_FRONTEND=noninteractive; \
	apt-get update -qq; \
	apt-get install -y -qq --no-install-recommends "$${missing[@]}"

# Both marks are made by the last step, so an interrupted installation is done again.
$(CLIENTS)/node_modules/.package-lock.json: $(CLIENTS)/package.json $(CLIENTS)/package-lock.json | packages
	@echo "== npm ci"
	@cd $(CLIENTS) && npm ci --no-audit --no-fund
	@touch $@

$(CLIENTS)/.venv/installed: $(CLIENTS)/requirements.txt | packages
	@echo "== pip install"
	@python3 -m venv --clear $(CLIENTS)/.venv
	@$(CLIENTS)/.venv/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
