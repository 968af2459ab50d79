# What one says to make here: install, demo, test, check, bench, chaos, diagrams, differences, kafka-start, kafka-stop.

.DEFAULT_GOAL := test
MAKEFLAGS += --no-print-directory

# The first interpreter that runs and that bytewax has wheels for. A name alone proves nothing:
# version managers leave names behind that run nothing.
PYTHON ?= $(shell for name in python3.11 python3.12 python3 python; do \
	$$name -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& echo $$name && break; done)
# Without an ensurepip of its own (some systems split it off) the environment takes the pip outside.
PIP = $$(test -x .venv/bin/pip && echo .venv/bin/python -m pip \
	|| echo $(PYTHON) -m pip --python .venv/bin/python)
PIP_INSTALL = $(PIP) install --disable-pip-version-check --no-input
PYTEST = .venv/bin/python -m pytest
PACKAGES = schemas operators billing flows

# A stamp says which locks are installed; nothing is done while it is newer than they are.
INSTALLED = .venv/.installed
INSTALLED_DEV = .venv/.installed-dev

.PHONY: install demo test check lint types tidy unit scenarios conformance api integration bench chaos \
	diagrams differences kafka-start kafka-stop

install: $(INSTALLED)

demo: install
	.venv/bin/tally demo

.venv/bin/python:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or 3.12 is missing" >&2; exit 1; }
	$(PYTHON) -m venv .venv || $(PYTHON) -m venv --clear --without-pip .venv

$(INSTALLED): requirements.lock pyproject.toml | .venv/bin/python
	$(PIP_INSTALL) --require-hashes -r requirements.lock
	$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	touch $@

$(INSTALLED_DEV): requirements-dev.lock $(INSTALLED)
	$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	touch $@

# The parts run one after the other, in this order, each with its name and its own limit of time.
test: $(INSTALLED_DEV)
	@for part in lint types unit scenarios conformance api integration; do \
		echo "== $$part"; $(MAKE) $$part || exit 1; done

check: $(INSTALLED_DEV)
	@for part in lint types tidy; do echo "== $$part"; $(MAKE) $$part || exit 1; done

lint: $(INSTALLED_DEV)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

types: $(INSTALLED_DEV)
	.venv/bin/mypy --strict $(PACKAGES)

tidy: $(INSTALLED_DEV)
	$(PYTEST) tests/test_tidy.py

# Units, laws, and the examples in the docstrings, a file on each of two cores.
unit: $(INSTALLED_DEV)
	$(PYTEST) --session-timeout=600 --numprocesses=2 --dist=loadfile --doctest-modules $(PACKAGES) tests \
		--ignore=tests/scenarios --ignore=tests/conformance --ignore=tests/integration \
		--ignore=tests/benchmarks --ignore=tests/faults --ignore=tests/billing/api

scenarios: $(INSTALLED_DEV)
	$(PYTEST) --session-timeout=300 tests/scenarios

conformance: $(INSTALLED_DEV)
	$(PYTEST) --session-timeout=300 tests/conformance

integration: $(INSTALLED_DEV)
	$(PYTEST) --session-timeout=720 tests/faults tests/integration $(API_TESTS:%=--ignore=%)

# What talks to a running `tally dev` over its socket.
API_TESTS = $(addprefix tests/integration/, test_dev.py test_ingest_dev.py test_prometheus.py)

# The routes inside one process, then what talks to a server.
api: $(INSTALLED_DEV)
	$(PYTEST) --session-timeout=240 --numprocesses=2 --dist=loadfile tests/billing/api
	$(PYTEST) --session-timeout=420 $(API_TESTS)

# Every kill that the fault tests know, where `make test` tries some of them.
chaos: $(INSTALLED_DEV)
	TALLY_FAULTS=all $(PYTEST) tests/faults

bench: $(INSTALLED_DEV)
	.venv/bin/python tests/benchmarks/bench_meter.py
	.venv/bin/python tests/benchmarks/bench_dev.py

# Draws the state machines in ARCHITECTURE.md anew, from their tables.
diagrams: $(INSTALLED_DEV)
	WRITE_DIAGRAMS=1 $(PYTEST) tests/test_state_diagrams.py

# Writes the page of differences from its file.
differences: $(INSTALLED_DEV)
	.venv/bin/python -m docs.differences

kafka-start:
	deploy/kafka/broker start

kafka-stop:
	deploy/kafka/broker stop
