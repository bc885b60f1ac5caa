# Every verb sets up what it needs: a fresh machine with Python >= 3.10 and make is enough.
PYTHON ?= python3
VENV ?= .venv
# The same tests run under both majors of the OpenAI SDK: 2.x in $(VENV), with everything that users
# of flextier[all] get; 3.x in $(VENV)-openai3, without LlamaIndex, which pins openai<3.
VENV3 := $(VENV)-openai3
# The tests run on all cores; a few of them are done sooner on one: make test WORKERS=0 ARGS=tests/sim
WORKERS ?= auto
PYTEST = -m pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist worksteal
# Tests start hundreds of processes: what they import is compiled once, whatever the machine's settings.
unexport PYTHONDONTWRITEBYTECODE
UV := $(shell command -v uv 2>/dev/null && uv --version >/dev/null 2>&1 || true)

.DEFAULT_GOAL := help
.PHONY: help demo test test-openai2 test-openai3 lint format types bench clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.ready ## Summarise real text on the flex lane, against the built-in simulator
	$(VENV)/bin/flextier demo

test: test-openai2 test-openai3 ## Run all tests, under openai 2.x and 3.x

test-openai2: $(VENV)/.ready ## Run all tests under openai 2.x
	$(VENV)/bin/python $(PYTEST) $(ARGS)

test-openai3: $(VENV3)/.ready ## Run all tests but LlamaIndex's under openai 3.x
	$(VENV3)/bin/python $(PYTEST) $(ARGS)

lint: $(VENV)/.ready ## Check style and formatting
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(VENV)/.ready ## Mend style and formatting where that can be done by itself
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

types: $(VENV)/.ready ## Check types strictly
	$(VENV)/bin/mypy

bench: $(VENV)/.ready ## Run the benchmarks, printing ratios against the plain classes
	$(VENV)/bin/python benchmarks/run_all.py $(ARGS)
	$(VENV)/bin/python benchmarks/capacity_traces.py

clean: ## Remove the virtual environments and caches
	rm -rf $(VENV) $(VENV3) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.ready: WANTED = '.[all]' 'openai<3'
$(VENV3)/.ready: WANTED = '.[aiohttp,bulk,langchain,ledger,otel,report,sim]' 'openai>=3'
$(VENV)/.ready $(VENV3)/.ready: pyproject.toml
ifneq ($(UV),)
	uv venv --quiet --allow-existing --seed --python $(PYTHON) $(@D)
	uv pip install --quiet --python $(@D)/bin/python --group dev --editable $(WANTED)
else
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(@D)/bin/python -m pip install --quiet --group dev --editable $(WANTED)
endif
	touch $@
