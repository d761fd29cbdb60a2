# Every command a contributor needs. The first one that needs tools sets them up in .venv, once.

PYTHON ?= python3
FUZZ_EXAMPLES ?= 20000
FUZZ_SECONDS ?= 60
CHAOS ?=
TESTS ?=

BIN := .venv/bin
READY := .venv/.ready
TOOLS := .venv/.tools
CORE := src/portside/core
CODE := $(wildcard src tests examples benchmarks fuzz tools noxfile.py setup.py)
# A module's tests stay together: they share what they have set up.
PYTEST := -m pytest -n logical --maxprocesses 8 --dist loadfile $(if $(CI),-ra --durations=10,-q)

# pyenv's commands refuse a version that is not active: make every stable one active, the newest first.
pyenv_versions = $(shell command -v pyenv >/dev/null && \
	pyenv versions --bare | grep -E '^3\.[0-9]+\.[0-9]+$$' | sort -rV | paste -sd: -)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint types format test-all bench chaos fuzz asan clean

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(READY) ## Set up .venv (the other commands do so by themselves)

# The tools change seldom, the core often: what changed is made anew, and only that.
$(READY): $(TOOLS) setup.py $(wildcard $(CORE)/*.pyx $(CORE)/*.px[di])
	@echo "Compiling the core"
	@PORTSIDE_CORE=require $(BIN)/python setup.py -q build_ext --inplace
	@touch $@

$(TOOLS): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Portside needs Python 3.11 or later; say which one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version) (once, about half a minute)"
	@$(PYTHON) -m venv .venv || \
		{ echo "This Python cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
	@PORTSIDE_CORE=no $(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY) ## Show what Portside is for
	@$(BIN)/python tools/demo.py

test: lint types ## Lint, types, and all tests with the coverage report
	@$(BIN)/coverage erase
	@$(BIN)/coverage run $(PYTEST)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

check: lint types ## The same without the slow tests and without coverage
	@$(BIN)/python $(PYTEST) -m "not slow"

lint: $(READY) ## Style, complexity and formatting
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check --diff .
	@echo "lint: clean"

types: $(READY) ## Strict type check of everything
	@$(BIN)/mypy $(CODE)

format: $(READY) ## Rewrite the files in the house format
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

test-all: $(READY) ## All tests on every supported Python; TESTS="-k compat" or a path plays a part of them
	@PYENV_VERSION="$(pyenv_versions)" $(BIN)/nox $(if $(TESTS),-- $(TESTS))

bench: $(READY) ## Measure throughput, latency and memory
	@for program in benchmarks/[!_]*.py; do echo "$$program"; $(BIN)/python -m benchmarks.$$(basename $$program .py) || exit; done

chaos: $(READY) ## Attack, kill and reload a service beside clients whose every answer is checked (under ten minutes)
	@$(BIN)/python -m tools.chaos $(CHAOS)

fuzz: $(READY) ## Property tests with many examples each, then the fuzzers for a minute each
	@FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(BIN)/python $(PYTEST) -m hypothesis --hypothesis-profile=fuzz --timeout=0 \
		-o faulthandler_timeout=0
	@for program in fuzz/fuzz_*.py; do echo "$$program"; \
		$(BIN)/python -m fuzz.$$(basename $$program .py) --seconds $(FUZZ_SECONDS) || exit; done

asan: $(READY) ## The tests of the core under AddressSanitizer and with bounds checks (minutes)
	@tools/asan.sh

clean: ## Remove everything that can be made again
	@rm -rf .venv .nox build dist src/*.egg-info .coverage .coverage.* htmlcov \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache $(CORE)/*.so
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
