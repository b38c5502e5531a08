# `make` lists the targets. Each is enough on its own on a fresh machine.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# The longest first, so that no worker ends on them alone.
TESTS ?= tests/workflow tests/study tests/unit tests/browser tests/security
PYTEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false pytest -n $(WORKERS) --dist loadfile \
	--no-loadscope-reorder --durations=25
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help env env-dev demo study test coverage lint types style format schema lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -t -s $$'\t'

env: $(VENV)/.installed ## make the environment that studies run in (.venv)

env-dev: $(VENV)/.installed-dev

demo: $(VENV)/.installed ## run the demo study on two CPU cores, offline of any model hub, and make its report
	snakemake --cores 2 --directory studies/demo results/report.html
	@echo "open studies/demo/results/report.html"

study: $(VENV)/.installed ## write a study of your own: make study NAME=studies/mine DATA=texts.csv TEXT=text LABEL=label
	@test -n "$(NAME)" -a -n "$(DATA)" -a -n "$(TEXT)" -a -n "$(LABEL)" || \
		{ echo "make study NAME=studies/mine DATA=texts.csv TEXT='column of texts' LABEL='column of labels'"; exit 1; }
	@python scripts/new_study.py "$(NAME)" "$(DATA)" --text "$(TEXT)" --label "$(LABEL)"

test: lint ## run the linters and the tests
	$(PYTEST) $(TESTS)

coverage: $(VENV)/.installed-dev ## run the tests and print which lines they run (takes half as long again)
	$(PYTEST) --cov --cov-report=term $(TESTS)

lint: $(VENV)/.installed-dev ## check style, types, rules and the schema
	@$(MAKE) --no-print-directory --output-sync=target -j 2 types style

types: $(VENV)/.installed-dev
	mypy

style: $(VENV)/.installed-dev
	ruff check .
	ruff format --check .
	snakefmt --check -l 120 Snakefile workflow
	snakemake --lint
	python scripts/schema.py --check

format: $(VENV)/.installed-dev ## format Python and Snakemake files
	ruff format .
	ruff check --fix .
	snakefmt -l 120 Snakefile workflow

schema: $(VENV)/.installed ## write the config's JSON schema from the models in scripts/slingshot/config/
	python scripts/schema.py

lock: ## pin the newest releases into envs/*.txt
	$(PYTHON) envs/lock.py

clean: ## remove the environment and what tools left; results stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*

$(VENV)/.installed: envs/requirements.txt scripts/command.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "Python's venv is missing; on Debian or Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements.txt
	@$(BIN)/python scripts/command.py --install $(BIN)  # sets targets after --resources apart
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed envs/requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r envs/requirements-dev.txt
	@$(BIN)/python scripts/command.py --install $(BIN)
	@touch $@
