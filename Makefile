# Two commands: `make repave` and `make test`. Everything they need goes into .venv and .kapman.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DAGSTER_HOME := $(CURDIR)/dagster_home
# Dagster advises other commands than those that people know.
export PYTHONWARNINGS := ignore:Function `
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help repave ui market test check audit format lock clean stop

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

repave: $(VENV)/runtime ## Destroy and rebuild the whole database, and show what came of it
	@kapman ready
	@dagster job execute -m kapman_assets -j repave; status=$$?; kapman summary; exit $$status

ui: $(VENV)/runtime ## Dagster's web interface and daemon (http://127.0.0.1:3000; PORT=... for another)
	@kapman ready
	@kapman ui --port $(or $(PORT),3000)

market: $(VENV)/runtime ## The market page, read-only (http://127.0.0.1:8050; PORT=... for another)
	@kapman market --port $(or $(PORT),8050)

test: $(VENV)/dev ## Run the tests (KAPMAN_TEST_DATABASE_URL: against a server of your own)
	@pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/dev ## Lint, formatting, types, layers, and whether the definitions load
	ruff check .
	ruff format --check .
	mypy
	lint-imports
	dagster definitions validate -m kapman_assets

audit: $(VENV)/dev ## Pins, hashes and installed versions; known vulnerabilities (exit code 2: nobody could be asked)
	@python scripts/audit.py

docs: $(VENV)/dev ## Build the documentation into site/ (a broken link fails)
	zensical build --clean --strict

format: $(VENV)/dev ## Format the code
	ruff format .
	ruff check --fix .

lock: $(VENV)/dev ## Resolve the dependencies anew into the lock files (hashes, no registry)
	uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-header \
	    --python-version 3.11 --upgrade -q -o requirements.lock
	uv pip compile pyproject.toml --group dev --universal --generate-hashes --no-emit-index-url --no-header \
	    --python-version 3.11 -c requirements.lock -q -o requirements-dev.lock
	echo pip-audit | uv pip compile - --universal --generate-hashes --no-emit-index-url --no-header \
	    --python-version 3.11 --upgrade -q -o scripts/audit.lock

stop: ## Stop the embedded database and the simulator
	@if [ -x $(BIN)/kapman ]; then kapman stop; fi

# Vault and backups stay: a real vendor's option snapshots can't be fetched again, and a backup is for what is gone.
clean: ## Remove what make has built: venv, embedded database, Dagster's records (vault and backups stay)
	@if [ -x $(BIN)/kapman ]; then kapman stop --remove; fi
	[ ! -d .kapman ] || find .kapman -mindepth 1 -maxdepth 1 ! -name vault ! -name backups -exec rm -rf {} +
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache test-artifacts site
	find $(DAGSTER_HOME) -mindepth 1 ! -name dagster.yaml -delete

$(VENV)/runtime: requirements.lock pyproject.toml
	@scripts/install.sh $(VENV) "$(PYTHON)" requirements.lock
	@touch $@

$(VENV)/dev: requirements-dev.lock pyproject.toml
	@scripts/install.sh $(VENV) "$(PYTHON)" requirements-dev.lock
	@touch $@ $(VENV)/runtime
