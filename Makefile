# Everything a contributor runs. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MEMBERS := libs/contracts libs/chassis libs/runtime libs/model-server \
	services/gateway services/builder services/cache services/autoscaler services/forwarder \
	clients/python deploy/local
SOURCES := $(addsuffix /src,$(MEMBERS))
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo up down test unit integration e2e soak lint format bench docs clean

help: ## list the targets
	@grep -E '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## make .venv with every member (editable) and every tool in it

$(VENV)/.installed: constraints.txt requirements-dev.txt $(addsuffix /pyproject.toml,$(MEMBERS))
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt \
		$(addprefix --editable ,$(MEMBERS)) --requirements requirements-dev.txt
	touch $@

demo: setup ## start the whole platform, deploy digits, call it three ways, shut down
	$(BIN)/model-engine demo

up: setup ## start the whole platform on this machine and leave it running
	$(BIN)/model-engine up --detach

down: setup ## stop what `make up` started
	$(BIN)/model-engine down

test: setup ## every test but the soak runs (15 minutes at most on two cores)
	$(PYTEST) -n 2 --dist worksteal -m "not soak"

unit: setup ## tests that need no server (a minute at most)
	$(PYTEST) -n 2 -m "not integration and not e2e and not soak"

integration: setup ## tests against real NATS, MongoDB and Valkey
	$(PYTEST) -n 2 --dist worksteal -m "integration and not soak"

e2e: setup ## tests that start the whole platform, faults included
	$(PYTEST) -m "e2e and not soak"

soak: setup ## the long runs
	$(PYTEST) -m soak --timeout 3600

lint: setup ## ruff, mypy --strict, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(SOURCES)
	PYTHONPATH= $(BIN)/lint-imports

format: setup ## let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## the benchmarks, each beside its peer, ratio printed
	$(BIN)/python benchmarks/run.py

docs: setup ## regenerate what is generated: settings tables, event catalogue, golden schemas
	$(BIN)/python scripts/generate_docs.py

clean: ## remove the environment and every cache
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage* htmlcov
