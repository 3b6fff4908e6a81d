# `make test` installs what is missing and runs every test; a second run installs nothing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help deps packages test test-rust test-clients test-package test-aarch64 lint package package-aarch64 fuzz

CARGO ?= cargo
CLIENTS := tests/clients
LINT := scripts/.venv
SCRIPTS := $(shell grep -lm1 '^#!/usr/bin/env bash' scripts/*)
TIDEWIRE_BIN ?= $(abspath $(or $(CARGO_TARGET_DIR),target)/debug/tidewire)

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

test: deps ## everything: the Rust tests, the unmodified clients, the packages and the chart
	@failed=(); \
	$(MAKE) --no-print-directory test-rust || failed+=(test-rust); \
	$(MAKE) --no-print-directory test-clients || failed+=(test-clients); \
	$(MAKE) --no-print-directory test-package || failed+=(test-package); \
	$(MAKE) --no-print-directory test-aarch64 || failed+=(test-aarch64); \
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

# The debug build, as nobody waits for another one: `make package` does the same to a release.
test-package: $(LINT)/installed ## packages of the debug build, installed in a clean Debian, and the chart
	@$(CARGO) test --quiet --no-run --test it
	@echo "== packages and chart"
	@scripts/test-release
	@scripts/test-package $(TIDEWIRE_BIN) "$$(rustc -vV | sed -n 's/^host: //p')"
	@$(LINT)/bin/python scripts/check-chart $(TIDEWIRE_BIN)

# What needs no optimization to be seen: that it builds, links and serves there.
test-aarch64: $(LINT)/installed ## packages of aarch64 from a build in which nothing is optimized, under QEMU, where Debian has a compiler
	@echo "== aarch64"
	@toolchain=$$(scripts/aarch64-toolchain target/aarch64-toolchain) || \
		{ echo "test-aarch64: skipped: the standard library of aarch64 cannot be had here"; exit 0; }; \
	export $$toolchain; export CARGO_TARGET_DIR=$(abspath target/aarch64); \
	binary=$$(scripts/build-static aarch64-unknown-linux-gnu --quick); \
	EMULATOR=$$(command -v qemu-aarch64-static) scripts/test-package "$$binary" aarch64-unknown-linux-gnu --static

package: ## a release of this machine's architecture in target/package: built, packed, installed, run
	@binary=$$(scripts/build-static); target=$$(rustc -vV | sed -n 's/^host: //p'); \
	scripts/test-package "$$binary" "$$target" --static; \
	scripts/package "$$binary" "$$target" target/package

package-aarch64: ## the same of aarch64 on x86_64, by Debian's compiler and under QEMU
	@target=aarch64-unknown-linux-gnu; toolchain=$$(scripts/aarch64-toolchain target/aarch64-toolchain); \
	export $$toolchain; export CARGO_TARGET_DIR=$(abspath target/aarch64); \
	binary=$$(scripts/build-static "$$target"); \
	EMULATOR=$$(command -v qemu-aarch64-static) scripts/test-package "$$binary" "$$target" --static; \
	scripts/package "$$binary" "$$target" target/package

lint: packages $(LINT)/installed ## formatting, clippy, scripts, workflows, the chart
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(LINT)/bin/shellcheck .ci/run packaging/p* $(SCRIPTS)
	$(LINT)/bin/actionlint -shellcheck $(LINT)/bin/shellcheck
	$(LINT)/bin/python scripts/check-chart

FUZZ_TARGETS := $(notdir $(wildcard fuzz/seeds/*))
FUZZ_SECONDS ?= 60
FUZZ_TOOL := $(abspath target/tools)
# Where files cost no disk: some targets write one for each input.
FUZZ_TMP ?= $(firstword $(wildcard /dev/shm) /tmp)

# Without a sanitizer, the stable compiler will do: no code here is unsafe. What is found is in fuzz/artifacts.
fuzz: $(FUZZ_TOOL)/bin/cargo-fuzz ## looks for inputs that break a property, each target for FUZZ_SECONDS
	@failed=(); export PATH="$(FUZZ_TOOL)/bin:$$PATH"; \
	export TMPDIR=$$(mktemp -d -p $(FUZZ_TMP)); trap 'rm -rf "$$TMPDIR"' EXIT; \
	TMPDIR=/tmp $(CARGO) fuzz build --fuzz-dir fuzz --sanitizer none; \
	for target in $(FUZZ_TARGETS); do \
		echo "== fuzz: $$target"; \
		mkdir -p fuzz/corpus/$$target; \
		$(CARGO) fuzz run --fuzz-dir fuzz --sanitizer none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 || failed+=($$target); \
	done; \
	if [ $${#failed[@]} -gt 0 ]; then echo "== found something: $${failed[*]} (fuzz/artifacts)"; exit 1; fi

$(FUZZ_TOOL)/bin/cargo-fuzz:
	@$(CARGO) install --locked --root $(FUZZ_TOOL) cargo-fuzz

deps: packages $(CLIENTS)/node_modules/.package-lock.json $(CLIENTS)/.venv/installed $(LINT)/installed ## install what the tests need

# Debian's names. As root they are installed, everyone else is told.
packages:
	@missing=(); \
	need() { command -v "$$1" > /dev/null || missing+=("$$2"); }; \
	need node nodejs; need npm npm; need curl curl; need openssl openssl; need redis-server redis-server; \
	need nginx nginx; need haproxy haproxy; need faketime faketime; need /usr/sbin/mariadbd mariadb-server; \
	compgen -G '/usr/lib/postgresql/*/bin/initdb' > /dev/null || missing+=(postgresql); \
	[ "$$(id -u)" -ne 0 ] || need debootstrap debootstrap; \
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
$(LINT)/installed: scripts/requirements.txt | packages
%/.venv/installed: %/requirements.txt
	@echo "== pip install"
	@python3 -m venv --clear $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
