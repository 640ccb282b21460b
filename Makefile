# make run   starts the service on http://127.0.0.1:8080
# make test  installs the development tools and runs all tests
# Each works as the first command on a machine with Python 3.11 or newer and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run test drills lint lint-mypy lint-basedpyright lint-rest format bench compose-secrets drill-compose lock clean

run: $(VENV)/.installed
	@$(BIN)/stateroom serve

# Tests that measure time, or that need the machine's browser, containers or fixed ports, run after the others and alone.
SERIAL := $(addprefix tests/,drills sessions/promise sessions/journal/test_journal_scale.py browser containers serving)
SERIAL_TEST := tests/accounts/test_accounts.py::test_unknown_user_and_wrong_password_take_the_same_time \
	tests/accounts/stories/test_same_time.py

# Without the option, xdist starts files with few tests last. The slowest files have few tests, so one worker would wait for them.
PARALLEL := --dist loadfile --no-loadscope-reorder $(addprefix --deselect=,$(SERIAL_TEST))

# These tests measure no times, and most run in one process: counting lines doubles a test's CPU time.
COVERED := tests/accounts tests/request tests/sessions/model tests/sessions/sealing tests/settings tests/telemetry tests/web

# `make test COVERAGE=1` also counts the lines that the tests in COVERED run, and prints a table.
# The parallel tests mostly wait for servers, so two cores have time for three processes.
test: $(VENV)/.installed-dev
	@status=0; \
	$(if $(COVERAGE),$(BIN)/python -m pytest -n 3 $(PARALLEL) $(COVERED) --cov --cov-report= || status=$$?;) \
	$(BIN)/python -m pytest -n 3 $(PARALLEL) $(addprefix --ignore=,$(SERIAL) $(if $(COVERAGE),$(COVERED))) || status=$$?; \
	$(BIN)/python -m pytest $(SERIAL) $(SERIAL_TEST) || status=$$?; \
	$(if $(COVERAGE),$(BIN)/python -m tests.covered || status=$$?;) \
	exit $$status

# All drills. If all pass, the session records the digest of the files that they passed on. Until one of these files
# changes, `make test` runs only a short set.
drills: $(VENV)/.installed-dev
	DRILLS=all $(BIN)/python -m pytest tests/drills

# `make -j2 lint` runs the two slow ones, mypy and basedpyright, at the same time.
lint: lint-mypy lint-basedpyright lint-rest

lint-mypy: $(VENV)/.installed-dev
	$(BIN)/mypy

lint-basedpyright: $(VENV)/.installed-dev
	$(BIN)/basedpyright --pythonpath $(BIN)/python

lint-rest: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Compares Stateroom with peers and writes a table to bench/results (docs/benchmark.md). Takes ten to fifteen minutes.
bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench

# Makes the secrets for docker-compose.sentinel.yml (docs/compose.md).
compose-secrets:
	@$(PYTHON) deploy/make_secrets.py

drill-compose: $(VENV)/.installed
	@$(BIN)/stateroom drill --compose

# Uses the first Python that is new enough. The stamp is made last, so that an interrupted installation is repeated.
$(VENV)/.made:
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "stateroom needs Python 3.11 or newer: apt-get install python3 (or set PYTHON=...)" >&2; exit 1; fi; \
	if ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
	  echo "stateroom needs Python's venv module: apt-get install python3-venv" >&2; exit 1; fi; \
	$$python -m venv --clear $(VENV) && touch $@

$(VENV)/.installed: $(VENV)/.made requirements.txt pyproject.toml
	@echo "installing into $(VENV) ..."
	@$(PIP) --require-hashes -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	@echo "installing the development tools ..."
	@$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

# Writes pins with hashes for every platform, without the address of an index.
lock:
	uv pip compile pyproject.toml requirements-build.in --all-extras $(LOCK) -o requirements.txt
	uv pip compile pyproject.toml requirements-build.in --all-extras --group dev $(LOCK) -o requirements-dev.txt
	uv pip compile bench/peers/requirements.in -c requirements.txt $(LOCK) -o bench/peers/requirements.txt
LOCK := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet \
	--no-emit-index-url --no-emit-find-links

clean:
	rm -rf $(VENV) bench/peers/.venv bench/peers/node_modules .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
