# Each target builds .venv itself. Needs Python >= 3.10 (PYTHON=... to choose one) and make, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS ?= suites,tui,dev
ARGS ?=
WORKERS ?= 2

.DEFAULT_GOAL := help
QUALITY ?=
QUALITY_VENV ?= .venv-quality
.PHONY: help venv perf test lint dashboard bench-dashboard bench-history change-quality baselines quality goals long bisect kills gemm-exact docs-pictures clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

venv: $(STAMP)  ## build the environment (.venv) and nothing else

# torch comes from tools/torch_source.py's choice, so that Linux does not pull gigabytes of CUDA packages by accident.
$(STAMP): pyproject.toml constraints.txt tools/torch_source.py
	$(PYTHON) tools/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  $$($(BIN)/python tools/torch_source.py constraints.txt) --editable '.[$(EXTRAS)]'
	@touch $@

perf: $(STAMP)  ## run the performance suites against the committed baselines, with the report in the terminal
	$(BIN)/python -m pytest --perfguard --perfguard-live=auto --perfguard-record=perf.pgrun suites $(ARGS)

test: $(STAMP) lint  ## lint, type-check and test everything (under 10 minutes)
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

long: $(STAMP)  ## the tests that take a minute or more each
	$(BIN)/python -m pytest -n $(WORKERS) -m long tests $(ARGS)

lint: $(STAMP)  ## ruff, mypy --strict, import-linter, workflow files, sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_workflows.py .github/workflows
	$(BIN)/python tools/check_actions.py .github
	$(BIN)/python tools/sizes.py perfguard suites tui

dashboard: $(STAMP)  ## run the performance suites inside the dashboard
	$(BIN)/perfguard dashboard -- $(BIN)/python -m pytest --perfguard suites $(ARGS)

bench-dashboard: $(STAMP)  ## the dashboard's goals measured, into docs/dashboard-bench.json (some four minutes, 2 GB in TMPDIR)
	$(BIN)/python -m perfguard_tui.bench --json docs/dashboard-bench.json $(ARGS)

bench-history: $(STAMP)  ## the history's goals at 10 million process runs, SQLite and PostgreSQL (some 15 minutes, 3 GB)
	$(BIN)/python tools/history_bench.py all $(ARGS)

change-quality: $(STAMP)  ## how often change points are false, and how soon steps are found (some minutes)
	$(BIN)/python tools/quality/changes.py $(ARGS)

baselines: $(STAMP)  ## add five process runs to the committed baselines (some 10 minutes)
	for run in 1 2 3 4 5; do $(BIN)/python -m pytest --perfguard --perfguard-update suites -q $(ARGS) || exit $$?; done

quality:  ## error rates of the gate beside a noisy neighbour, with other tools' rules (an hour; QUALITY='--minutes 20')
	test -x $(QUALITY_VENV)/bin/python || $(PYTHON) -m venv $(QUALITY_VENV)
	$(QUALITY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --editable '.[quality]'
	$(QUALITY_VENV)/bin/python tools/quality/run.py $(QUALITY)

goals: $(STAMP)  ## the transport's goals table, measured at length
	$(BIN)/python -m perfguard_suites.transport.goals $(ARGS)

bisect: $(STAMP)  ## a bisect of 64 commits with an 8 % slowdown, measured for real (some minutes)
	$(BIN)/python tools/quality/bisect_history.py $(ARGS)

kills: $(STAMP)  ## sixty kills of a transport peer at random moments
	$(BIN)/python -m perfguard_suites.transport.kill_test --kills 60

gemm-exact: $(STAMP)  ## the simulator's GEMM search against the plain loop on whole devices (an hour; ARGS='--shapes 20')
	$(BIN)/python tools/gemm_exact.py $(ARGS)

clean:  ## remove the environment and all that was built
	rm -rf $(VENV) $(QUALITY_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache perf.pgrun
