# Two commands do everything, set-up included:  make demo   and   make test
# `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
# Compiled modules halve the start of every command; some environments switch them off.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test setup fast fuzz lint types imports tests lab lab-whole lab-figures conformance bench bench-quick lock clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

demo: setup ## one image travels from a push to prod in two sites, told step by step (KEEP=1 leaves it running, IMAGE= brings your own)
	@$(BIN)/python scripts/demo

# The lab mostly waits for its hosts, so it runs beside the other tests; their dots mix, their summaries do not.
test: setup lint types imports ## every check and every test that this machine can run
	@$(MAKE) --no-print-directory --jobs=2 tests lab

setup: $(VENV)/.ready ## the virtual environment, from the lock file with hashes

# uv comes from PyPI, into a folder of its own; a uv of the right version on PATH is taken as it is.
$(VENV)/.ready: requirements-dev.lock pyproject.toml Makefile
	@if ! $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	  echo "towpath needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; fi
	@if [ "$$(uv --version 2>/dev/null | cut -d' ' -f2)" = "$(UV_VERSION)" ]; then mkdir -p .tools && ln -sfn "$$(command -v uv)" .tools/uv; \
	elif [ "$$(.tools/uv --version 2>/dev/null | cut -d' ' -f2)" != "$(UV_VERSION)" ]; then \
	  mkdir -p .tools && $(PYTHON) -m venv .tools/uv-env && .tools/uv-env/bin/pip install -q uv==$(UV_VERSION) && ln -sfn uv-env/bin/uv .tools/uv; fi
	@[ -x $(BIN)/python ] || .tools/uv venv -q --python "$$(command -v $(PYTHON))" $(VENV)
	@.tools/uv pip sync -q --require-hashes --python $(VENV) requirements-dev.lock
	@.tools/uv pip install -q --no-deps --no-build-isolation --python $(VENV) -e .
	@touch $@

lint: setup ## style and common errors
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "run: .venv/bin/ruff format ." >&2; exit 1; }

types: setup ## mypy --strict
	@$(BIN)/mypy

imports: setup ## the architecture, as import contracts
	@$(BIN)/lint-imports

# Three on two processors: much of a test's time is waiting for what it started.
tests: setup ## all tests but the lab's; those whose tools are missing say so
	@$(BIN)/pytest -n $(or $(WORKERS),3) --dist worksteal -m "not lab" $(PYTEST_ARGS)

lab: setup ## plan and apply on four real systemd hosts that boot inside this machine (root, mmdebstrap, systemd-nspawn)
	@$(BIN)/pytest -m "lab and not slow" $(PYTEST_ARGS) tests/lab

lab-whole: setup ## the lab with its long stories too: an upgrade under load, a lost host, a line that is cut, the rest of the guide
	@$(BIN)/pytest -m lab $(PYTEST_ARGS) tests/lab

lab-figures: setup ## how long plan, apply and drift take, over 45 ms and for 1,000 hosts (figures only)
	@$(BIN)/python -m tests.lab.figures

fast: setup ## the tests that need no other program and no waiting
	@$(BIN)/pytest -n 2 -q -m "not slow and not clients and not conformance and not lab" $(PYTEST_ARGS)

fuzz: setup ## raw input against a node of its own (TARGET=url|manifest|token|head|chunked|all SECONDS=60 SEED=)
	@$(BIN)/python -m tests.fuzz --target $(or $(TARGET),all) --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED))

conformance: setup ## the official OCI conformance program against a node, at stable and at dev
	@$(BIN)/pytest -q -s -m conformance

bench: setup ## the node against distribution 3.1.2 and docker-registry 2.8.2 in one run: every target of the design
	@$(BIN)/python -m bench $(BENCH_ARGS)

bench-quick: setup ## the same in under a minute, against distribution 3.1.2; ends with one JSON line of the ratios
	@$(BIN)/python -m bench --quick

lock: setup ## renew the lock files (hashes, no addresses)
	@.tools/uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 -q --upgrade pyproject.toml --extra postgresql -o requirements.lock
	@.tools/uv pip compile --universal --generate-hashes --no-emit-index-url --python-version 3.11 -q --upgrade pyproject.toml --group dev --extra postgresql -o requirements-dev.lock

clean: ## what the commands above have made, but for the tools
	@rm -rf $(VENV) .demo .towpath .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
