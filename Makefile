# Needs git, make, and Python 3.11 or newer with venv. Everything else is set up here, in .venv.
#
#   make test ARGS="-k ledger -x"    passes ARGS to pytest
#   make test JOBS=0                 one process instead of one a core
#   make venv PYTHON=python3.13      another interpreter

PYTHON ?= python3
JOBS   ?= auto
ARGS   ?=

VENV   := .venv
BIN    := $(VENV)/bin
PY     := $(BIN)/python
LOCK   := requirements/dev.lock
LOCKED := $(VENV)/.locked
STAMP  := $(VENV)/.installed

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo picture docs test test-docs test-browser test-ray test-reliability tried lint format types arch lock-check bench bench-full soak wheel-smoke ci lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## set up .venv from the lock (every target does it when needed)
	@:

# From nothing each time the lock changes, so that no package is left over.
$(LOCKED): $(LOCK)
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "batchgen needs Python 3.11 or newer; this is " + sys.version.split()[0] + ": make PYTHON=… names another")'
	@echo "setting up $(VENV) (a minute or less)"
	@"$(PYTHON)" -m venv --clear $(VENV) 2>/dev/null || $(MAKE) --no-print-directory venv-without-ensurepip
	@$(PY) -m pip install -qq --upgrade pip
	@$(PY) -m pip install -qq --requirement $(LOCK)
	@touch $@

# Debian keeps ensurepip in a package of its own; the pip that is there can fill the environment.
.PHONY: venv-without-ensurepip
venv-without-ensurepip:
	@{ "$(PYTHON)" -m venv --clear --without-pip $(VENV) && "$(PYTHON)" -m pip --python $(PY) install -qq pip; } \
	    || { echo "no virtual environment: on Debian, apt-get install python3-venv" >&2; exit 1; }

# The last step installs nothing: it fails when the lock lacks what pyproject.toml asks for.
$(STAMP): pyproject.toml $(LOCKED)
	@$(PY) -m pip install -qq --no-build-isolation --no-deps --editable .
	@$(PY) -m pip install -qq --no-build-isolation --no-index --dry-run --group dev --group bench --editable . \
	    || { echo "$(LOCK) does not fit pyproject.toml: make lock" >&2; exit 1; }
	@touch $@

demo: $(STAMP) ## render the example catalogue on the built-in emulator: no key, no cost
	@$(BIN)/batchgen run jobs/catalog.yaml --provider emulator

picture: demo ## renew the picture of the readme: the report of the demo in Chromium
	@$(PY) -m tests.picture

docs: $(STAMP) ## write the pages that come from --help and from the schema of the job file
	@$(PY) -m tests.reference

test: $(STAMP) ## run the tests, except docs, browser, reliability, ray and soak
	@$(PY) -m pytest -q -n $(JOBS) --maxprocesses 8 --dist worksteal -m "not browser and not reliability and not docs and not soak and not ray" $(ARGS)

test-docs: $(STAMP) ## run every command and every job of the pages, as they stand
	@$(PY) -m pytest -q -n $(JOBS) --maxprocesses 8 --dist worksteal -m docs $(ARGS)

test-reliability: $(STAMP) ## kill, starve and attack it: what docs/reliability.md promises, at its numbers
	@$(PY) -m pytest -q -n $(JOBS) --maxprocesses 8 --dist worksteal -m "reliability and not soak" $(ARGS)

# Soak figures stay as they were written; `make soak ARGS=--write-tried` renews those.
tried: $(STAMP) ## run both, and write what was tried into docs/reliability.md
	@$(PY) -m pytest -q -n $(JOBS) --maxprocesses 8 --dist worksteal -m "not browser and not soak and not ray" --write-tried $(ARGS)

# One after the other: paces are measured, and two clusters at once would wait for the processor.
test-ray: $(STAMP) ## runs on a Ray cluster of several nodes on this machine
	@$(PY) -m pytest -q -m ray $(ARGS)

test-browser: $(STAMP) ## look at the report in a real Chromium
	@$(PY) -m pytest -q -m browser --require-browser $(ARGS)

lint: $(STAMP) lock-check ## style and formatting (ruff), and a lock without hosts
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

format: $(STAMP) ## let ruff format the code and fix what it safely can
	@$(PY) -m ruff format .
	@$(PY) -m ruff check --fix .

types: $(STAMP) ## strict types (mypy)
	@$(PY) -m mypy

arch: $(STAMP) ## the import contract: data flows one way (import-linter)
	@$(BIN)/lint-imports --no-logo

# A lock that names a host or a path works in one place only.
lock-check:
	@test -s $(LOCK)
	@! grep -nE '://|^ *--?(index|extra-index|i|find-links|f|trusted-host|e|editable)|^[^#]* @ |^[./]' $(LOCK) \
	    || { echo "$(LOCK) names a host or a path: make lock" >&2; exit 1; }

bench: $(STAMP) ## measure what the goals of speed and memory need, beside the rivals (15 minutes)
	@$(PY) -m benchmarks $(ARGS)

bench-full: $(STAMP) ## measure everything that benchmarks/ knows
	@$(PY) -m benchmarks --full $(ARGS)

soak: $(STAMP) ## minutes of load and faults against the emulator
	@$(PY) -m pytest -q -m soak $(ARGS)

wheel-smoke: $(STAMP) ## build the wheel and run it in a clean environment outside the checkout
	@.ci/wheel-smoke $(PY)

ci: ## everything that CI runs
	@PYTHON="$(PYTHON)" .ci/run

# Keeps the pins that still fit; `make lock UPGRADE=1` takes the newest of all.
lock: ## renew requirements/dev.lock from pyproject.toml
	@"$(PYTHON)" -m venv --clear .venv-lock
	@.venv-lock/bin/python -m pip install -qq uv
	@.venv-lock/bin/uv pip compile pyproject.toml --group dev --group bench \
	    --universal --python-version 3.11 --generate-hashes --no-header --quiet \
	    $(if $(UPGRADE),--upgrade) --output-file $(LOCK)
	@rm -rf .venv-lock
	@$(MAKE) --no-print-directory lock-check
	@echo "$(LOCK): $$(grep -c '==' $(LOCK)) packages"

clean: ## remove what make made; output/ is kept, it may have cost money
	@rm -rf $(VENV) .venv-lock build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .artefacts
	@find batchgen tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
