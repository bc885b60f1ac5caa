# Every verb sets up what it needs: a fresh machine with Python >= 3.10, pip and make is enough.
PYTHON ?= python3
VENV ?= .venv
# The same tests run under both majors of the OpenAI SDK: 2.x in $(VENV), with everything that users
# of flextier[all] get; 3.x in $(VENV)-openai3, without LlamaIndex, which pins openai<3.
VENV3 := $(VENV)-openai3
# What checks the style and builds the site need not import flextier, nor run on the oldest Python.
VENV_LINT := $(VENV)-lint
VENV_DOCS := $(VENV)-docs
# The tests run on all cores; a few of them are done sooner on one: make test WORKERS=0 TESTS=tests/sim
WORKERS ?= auto
# The packages that touch the SDK or HTTP: what the others do is the same under both majors.
OPENAI3_TESTS := $(addprefix tests/,_openai background batch calls client costs gateway journal langchain otel routing serve) \
    $(wildcard tests/test_*.py)
# With FLEXTIER_LEAN=0 all tests pass, too (FLEXTIER_LEAN=0 make test). These prove it.
LEAN_TESTS := tests/_openai tests/client tests/langchain
# Of tests with many sets of parameters, a part is enough under the second major; test-rest runs all.
SAMPLE3 := --sample 4
PYTEST = -m pytest --numprocesses $(WORKERS) --maxprocesses 8 --dist worksteal
# Tests start hundreds of processes: what they import is compiled once, whatever the machine's settings.
unexport PYTHONDONTWRITEBYTECODE
UV := $(shell command -v uv 2>/dev/null && uv --version >/dev/null 2>&1 || true)

.DEFAULT_GOAL := help
.PHONY: api docs help demo test test-openai2 test-openai3 test-all test-rest test-rest-openai2 test-rest-openai3 test-lean-off test-clients test-ray lint format types bench resolve clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.ready ## Summarise real text on the flex lane, against the built-in simulator
	$(VENV)/bin/flextier demo

test: test-openai2 test-openai3 ## Run the tests, under openai 2.x and 3.x

test-openai2: $(VENV)/.ready-test ## Run the tests under openai 2.x
	$(VENV)/bin/python $(PYTEST) $(TESTS) $(ARGS)

test-openai3: $(VENV3)/.ready-test ## Run the tests of what depends on the SDK's major under openai 3.x
	$(VENV3)/bin/python $(PYTEST) $(SAMPLE3) $(or $(TESTS),$(OPENAI3_TESTS)) $(ARGS)

test-all: test test-rest test-ray ## Run all tests: also kills, fuzz, stress, more seeds, Ray, and all of them under openai 3.x

test-rest: test-rest-openai2 test-rest-openai3 test-lean-off ## Run what `make test` leaves to `make test-all`

test-rest-openai2: $(VENV)/.ready-test
	$(VENV)/bin/python $(PYTEST) -m exhaustive $(ARGS)

test-rest-openai3: $(VENV3)/.ready-test
	$(VENV3)/bin/python $(PYTEST) $(SAMPLE3) -m exhaustive $(OPENAI3_TESTS) $(ARGS)
	$(VENV3)/bin/python $(PYTEST) -m '' $(addprefix --ignore=,$(OPENAI3_TESTS)) $(ARGS)

test-lean-off: $(VENV)/.ready-test $(VENV3)/.ready-test ## Run the clients' tests, and langchain-openai's, with the lean path off
	FLEXTIER_LEAN=0 $(VENV)/bin/python $(PYTEST) $(SAMPLE3) $(LEAN_TESTS) tests/llama_index $(ARGS)
	FLEXTIER_LEAN=0 $(VENV3)/bin/python $(PYTEST) $(SAMPLE3) $(LEAN_TESTS) $(ARGS)
	FLEXTIER_LEAN=0 $(VENV)/bin/python $(PYTEST) -m exhaustive tests/langchain/test_upstream.py $(ARGS)

test-clients: $(VENV)/.ready ## Run tools that are built on the SDK, an environment each, with our clients
	PYTHONPATH=src $(VENV)/bin/python -m tests.clients $(CLIENTS)
	$(if $(CLIENTS),,PYTHONPATH=src $(VENV)/bin/python -m tests.clients.through_gateway)

test-ray: $(VENV)-ray/.ready ## Run the tests of flextier.ray in clusters of Ray, with an environment of its own
	RAY_worker_niceness=0 $(VENV)-ray/bin/python -m pytest -m '' tests/ray 'tests/docs/test_pages.py::test_a_page_runs[ray]' $(ARGS)

lint: $(VENV_LINT)/.ready ## Check style, formatting, words, and which package imports which
	$(VENV_LINT)/bin/ruff check .
	$(VENV_LINT)/bin/ruff format --check .
	$(VENV_LINT)/bin/codespell src tests docs examples README.md Makefile
	PYTHONPATH=src $(VENV_LINT)/bin/lint-imports --no-logo

format: $(VENV_LINT)/.ready ## Fix style and formatting
	$(VENV_LINT)/bin/ruff check --fix .
	$(VENV_LINT)/bin/ruff format .

api: $(VENV)/.ready-test ## Write docs/api.md from the docstrings, and the table of models from the price list
	$(VENV)/bin/python -m tests.api_reference
	$(VENV)/bin/python -m tests.model_table

docs: $(VENV_DOCS)/.ready ## Build the documentation site into site/, and check its links
	$(VENV_DOCS)/bin/zensical build --clean --strict
	$(VENV_DOCS)/bin/python tests/docs/check_site.py site

types: $(VENV)/.ready-types ## Check types strictly: ours, and those that users see in our examples and docs
	$(VENV)/bin/mypy
	$(VENV)/bin/python tests/typing/check.py

bench: $(VENV)/.ready-bench $(VENV3)/.ready-bench ## Run the benchmarks under openai 2.x and 3.x, as one table with goals
	$(VENV)/bin/python benchmarks/run_all.py --openai3 $(VENV3)/bin/python $(ARGS)

# One resolution of all extras stands for each of them. Tools that need a later Python are not in it.
RESOLVE = uv pip compile --quiet --no-header --no-annotate --output-file /dev/null --python-version 3.10

resolve: ## Check, with uv, that extras and groups can be installed on Python 3.10
	echo 'openai<3' | $(RESOLVE) pyproject.toml --all-extras --group test --group bench --group types -c -
	echo 'openai>=3' | $(RESOLVE) pyproject.toml $(addprefix --extra ,$(EXTRAS3)) --group test -c -

clean: ## Remove the virtual environments and caches
	rm -rf $(VENV) $(VENV)-ray $(VENV3) $(VENV_LINT) $(VENV_DOCS) site .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .clients

# --- virtual environments -----------------------------------------------------------------------

ifneq ($(UV),)
CREATE = uv venv --quiet --allow-existing --seed --python $(PYTHON) $(@D)
INSTALL = uv pip install --quiet --python $(@D)/bin/python
else
CREATE = $(PYTHON) -m venv $(@D) && $(@D)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
INSTALL = $(@D)/bin/python -m pip install --quiet
endif

EXTRAS3 := aiohttp bulk langchain ledger otel report serve sim
empty :=
comma := ,
$(VENV)/%: OPENAI = 'openai<3'
$(VENV)/.ready: EXTRAS = all
$(VENV3)/%: OPENAI = 'openai>=3'
$(VENV3)/.ready: EXTRAS = $(subst $(empty) ,$(comma),$(EXTRAS3))

$(VENV)/.ready $(VENV3)/.ready: pyproject.toml
	$(CREATE)
	$(INSTALL) --editable '.[$(EXTRAS)]' $(OPENAI)
	touch $@

$(VENV)-ray/.ready: pyproject.toml
	$(CREATE)
	$(INSTALL) --editable '.[langchain,ledger,serve,sim]' --group test --group ray 'openai<3'
	touch $@

$(VENV_LINT)/.ready $(VENV_DOCS)/.ready: $(VENV)-%/.ready: pyproject.toml
	$(CREATE)
	$(INSTALL) --group $*
	touch $@

# Groups are added to an environment when a verb needs them.
$(VENV)/.ready-test $(VENV3)/.ready-test: %/.ready-test: %/.ready
	$(INSTALL) --group test $(OPENAI)
	touch $@

$(VENV)/.ready-types $(VENV)/.ready-bench: $(VENV)/.ready-%: $(VENV)/.ready-test
	$(INSTALL) --group $* $(OPENAI)
	touch $@

$(VENV3)/.ready-bench: $(VENV3)/.ready-%: $(VENV3)/.ready-test
	$(INSTALL) --group $* $(OPENAI)
	touch $@
