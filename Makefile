# Everything a developer does, each target setting up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

.PHONY: setup
setup: gnupg $(STAMP) ## Make .venv from the hashed lock, check for gnupg

$(STAMP): requirements/development.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1): Python 3.11 or newer is needed; make PYTHON=/path/to/python3.12 names another" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing dependencies into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/development.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: gnupg
gnupg:
	@command -v gpg >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing gnupg"; apt-get update -qq && apt-get install -y -qq gnupg >/dev/null; \
	else \
	  echo "gnupg is needed. On Debian: sudo apt-get install gnupg" >&2; exit 1; \
	fi

# The pages are looked at in a browser; where there is none and none can be installed, those tests are skipped and say so.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing chromium"; apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
	else \
	  echo "chromium is not installed: the tests of pages in a browser are skipped (Debian: sudo apt-get install chromium)"; \
	fi

# Metrics and rules are tested with Prometheus itself: the two programs of Debian's package, without its server on 9090.
.PHONY: prometheus
prometheus:
	@command -v prometheus >/dev/null && command -v promtool >/dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing prometheus and promtool"; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; cd "$$folder"; \
	  apt-get update -qq && apt-get download -qq -o APT::Sandbox::User=root prometheus >/dev/null && dpkg-deb -x prometheus_*.deb . && \
	  install usr/bin/prometheus usr/bin/promtool /usr/local/bin; \
	else \
	  echo "prometheus is not installed: the tests that need it are skipped (Debian: sudo apt-get install prometheus)"; \
	fi

.PHONY: demo
demo: setup ## Emit every event type through Kafka, watch each signed delivery arrive (ARGS=--once ends by itself)
	@$(BIN)/heliograph demo $(ARGS)

.PHONY: test
test: setup chromium prometheus ## Run the whole test suite: no Docker, no JVM, no network
	@$(BIN)/python -m pytest --numprocesses=4 $(ARGS)

.PHONY: test-apache-kafka
test-apache-kafka: setup ## Run the acceptance suite, and what it takes a real one for, on Apache Kafka (Java and Maven)
	@HELIOGRAPH_TEST_BROKER=apache $(BIN)/python -m pytest tests/acceptance tests/apache $(ARGS)

.PHONY: chaos
chaos: setup ## Break every part under real processes and compare the books (half an hour; ARGS=-k name for one row)
	@HELIOGRAPH_CHAOS=1 $(BIN)/python -m pytest -p no:xdist tests/chaos $(ARGS)

.PHONY: check
check: setup audit ## Lint, types, import contracts, known vulnerabilities
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format" >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

.PHONY: audit
audit: setup ## Ask for known vulnerabilities of what is shipped; says so where nobody can be asked
	@$(BIN)/python -m requirements.audit

.PHONY: sbom
sbom: setup ## Write what the image is made of to build/heliograph.cdx.json (CycloneDX)
	@$(BIN)/python -m requirements.sbom

.PHONY: licences
licences: setup ## Write requirements/licences.md; fails on a licence that is not allowed
	@$(BIN)/python -m requirements.licences

.PHONY: format
format: setup ## Format the code and fix what can be fixed
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --fix --quiet .

.PHONY: bench
bench: setup ## Measure, print and write benchmarks/results.json
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: lock
lock: setup ## Resolve the dependencies anew into requirements/
	@for name in runtime development; do \
	  extras=$$([ $$name = development ] && echo "--extra embedded --extra dev"); \
	  $(BIN)/uv pip compile --quiet pyproject.toml $$extras --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --upgrade -o requirements/$$name.txt; \
	done
	@printf 'editables>=0.5\nhatchling>=1.27\n' | $(BIN)/uv pip compile --quiet - --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate \
	  --constraints requirements/development.txt --upgrade -o requirements/build.txt
	@echo "now: make setup licences"

.PHONY: clean
clean: ## Remove what was built
	@rm -rf $(VENV) build .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
