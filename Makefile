# One vocabulary for people, pre-commit and CI. `make` alone says what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(shell command -v uv 2>/dev/null)
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo check check-format check-lint check-types check-architecture check-declarations format test \
  test-reliability test-all oracles spark docs screenshots lock ui clean

help:  ## Say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

install: $(STAMP)  ## Make .venv and install the committed lock into it

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); ok or sys.exit("recsys needs Python 3.11, 3.12 or 3.13; this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
ifdef UV
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --require-hashes -r requirements.lock
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --no-deps --no-build-isolation -e .
else
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	@touch $@

demo: $(STAMP)  ## The whole life cycle on real shop data
	$(BIN)/recsys demo

check: check-format check-lint check-types check-architecture check-declarations  ## Format, lint, types, architecture, declarations

check-format: $(STAMP)
	$(BIN)/ruff format --check .

check-lint: $(STAMP)
	$(BIN)/ruff check .

check-types: $(STAMP)
	$(BIN)/mypy

check-architecture: $(STAMP)
	$(BIN)/lint-imports

check-declarations: $(STAMP)
	$(BIN)/recsys validate

format: $(STAMP)  ## Format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(STAMP)  ## All tests, in two processes; those of Redis and PostgreSQL where one answers
	$(BIN)/pytest --numprocesses 2 --dist loadscope --no-loadscope-reorder

test-reliability: $(STAMP)  ## Of them, those that kill commands at random moments or run two at once, and stores that fail
	$(BIN)/pytest tests/reliability tests/chaos

test-all: $(STAMP)  ## The wheel, tested on every Python 3.11 to 3.13 that is here
	$(BIN)/python tests/packaging/run_all.py $(ARGS)

oracles: .oracles/recbole .oracles/obp  ## Fetch the public data that tests and benchmarks are judged by (they skip without it)

# Their example data is read and none of their code: their pins are older than the lock's.
.oracles/recbole: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .oracles recbole==1.2.1
	@touch $@

.oracles/obp: $(STAMP) | .oracles/recbole
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target .oracles obp==0.4.1
	@touch $@

spark: $(VENV)/.spark  ## Add the extra spark to .venv, from a lock of its own (it needs Java 17 to run)

$(VENV)/.spark: $(STAMP) requirements-spark.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-spark.lock
	@touch $@

docs: $(STAMP)  ## Make the generated references anew
	$(BIN)/python docs/generate.py

screenshots: demo  ## Take the console's pictures anew, over the demo's project (needs Debian's chromium)
	$(BIN)/python docs/screenshots.py

ui: $(STAMP)  ## MLflow's own UI over the local registry
	$(BIN)/mlflow ui --backend-store-uri sqlite:///.recsys/mlflow.db

lock:  ## Resolve requirements.lock and requirements-spark.lock anew (needs uv)
	uv pip compile pyproject.toml --universal --python-version 3.11 --extra demo --extra postgres --extra redis \
	  --group dev --generate-hashes --no-emit-index-url --no-strip-extras --no-header --upgrade -o requirements.lock
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["spark"], sep="\n")' \
	  | uv pip compile - --universal --python-version 3.11 --constraint requirements.lock \
	  --generate-hashes --no-emit-index-url --no-strip-extras --no-header --upgrade -o requirements-spark.lock

clean:  ## Remove what the commands wrote (not the virtual environment)
	rm -rf .recsys
