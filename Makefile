# Two commands matter: `make demo` and `make test`. Everything else serves them.
.DEFAULT_GOAL := help
.PHONY: help venv demo test test-again test-faults mutants soak fuzz audit secrets lint types bench bench-codecs bench-outage bench-metrics dashboards pictures clean
SHELL := bash
.SHELLFLAGS := -o pipefail -c
BIN := .venv/bin
# Where scripts/ensure-redis-server unpacks a server for a user who may not install one.
WITH_REDIS := PATH="$$PATH:$(CURDIR)/.redis/usr/bin"

# Most tests wait, for servers and for time. What they use is their own: directories, ports, networks.
SIDE_BY_SIDE := --numprocesses=logical --maxprocesses=4 --dist=worksteal

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 15

.venv/.base: pyproject.toml
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "tiered needs Python 3.11 or later as python3"; exit 1; }
	@python3 -m venv .venv || { scripts/ensure-package python3-venv && python3 -m venv --clear .venv; }
	@echo "installing tiered and what it needs into .venv: some seconds"
	@$(BIN)/python -m pip install --quiet -e .
	@touch $@

.venv/.ok: .venv/.base
	@echo "installing what development needs into .venv: a minute or two"
	$(BIN)/python -m pip install -e '.[dev]' | sed -un '/^Collecting/ p'
	@touch $@

venv: .venv/.ok  ## the virtual environment, with what development needs

demo: .venv/.base  ## a bot with thousands of users on real parts
	$(BIN)/tiered demo

test: .venv/.ok  ## all tests, with what they need; those that need root only if you are
	@scripts/ensure-redis-server
	@scripts/ensure-prometheus
	@scripts/ensure-couchbase-mock
	@scripts/ensure-will
	@if [ "$$(id -u)" = 0 ]; then scripts/ensure-fault-tools; fi
	$(WITH_REDIS) $(BIN)/python -m pytest $(SIDE_BY_SIDE)

test-again: .venv/.ok  ## the tests that failed, if no more than three, once more and by name: a stall of the machine is no finding
	@scripts/failed-once
	$(WITH_REDIS) $(BIN)/python -m pytest --last-failed

test-faults: .venv/.ok  ## faults caused for real (docs/faults.md), with the tools for it; as root, or some are left out
	@scripts/ensure-redis-server
	@scripts/ensure-couchbase-mock
	@scripts/ensure-fault-tools
	$(WITH_REDIS) $(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "faults or root"

mutants: .venv/.ok  ## each rule taken out of the code: the tests must notice, some minutes
	@scripts/ensure-redis-server
	@scripts/ensure-couchbase-mock
	$(WITH_REDIS) $(BIN)/python -m tests.mutants

soak: .venv/.ok  ## ten minutes of every fault in random order, judged by the history and by verify
	@scripts/ensure-redis-server
	$(WITH_REDIS) $(BIN)/tiered chaos --seconds 600

FUZZ_RUNS := 1000000
fuzz: .venv/.ok  ## frames, codecs, URLs, configurations: millions of inputs guided by coverage; FUZZ_RUNS of each
	$(BIN)/python -m pip install --quiet -e '.[dev,fuzz]'
	$(BIN)/python -m tests.fuzz all $(FUZZ_RUNS)

lint: .venv/.ok  ## ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: .venv/.ok  ## mypy, strict
	$(BIN)/mypy

audit: .venv/.ok  ## known vulnerabilities among the dependencies, where the registry tells
	$(BIN)/python scripts/audit-dependencies

secrets: .venv/.ok  ## what looks like a secret in the files that git tracks
	$(BIN)/python scripts/scan-secrets

bench-codecs: .venv/.ok  ## what compression, signatures and encryption cost at 1 KiB
	$(BIN)/python benchmarks/codecs.py

bench: .venv/.ok  ## the parts and whole stores beside their peers (docs/performance.md)
	@scripts/ensure-redis-server
	@scripts/ensure-couchbase-mock
	$(BIN)/python -m pip install --quiet -e '.[pictures]'
	$(WITH_REDIS) $(BIN)/python -m benchmarks --json benchmarks.json --picture docs/images/performance.png

bench-outage: .venv/.ok  ## Redis hung, killed, back old, flapping, under load: tiered and its peers (docs/outages.md)
	@scripts/ensure-redis-server
	$(WITH_REDIS) $(BIN)/python -m benchmarks.outage

bench-metrics: .venv/.ok  ## what counting costs a hit in memory, and what a scrape costs
	$(BIN)/python -m benchmarks.metrics

dashboards: .venv/.ok  ## grafana/dashboards/*.json from grafana/source
	$(BIN)/python -m grafana.source

pictures: .venv/.ok  ## the README's pictures of the dashboards, from a real run through a real outage
	@scripts/ensure-redis-server
	@scripts/ensure-prometheus
	$(BIN)/python -m pip install --quiet -e '.[pictures]'
	$(WITH_REDIS) $(BIN)/python -m grafana.pictures

clean:  ## remove what make made
	rm -rf .venv .will .redis .couchbase .prometheus .pytest_cache .mypy_cache .ruff_cache .hypothesis
