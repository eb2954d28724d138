# Everything that this project can do, from a fresh machine with Python 3.11 or newer.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$p; break; }; done)
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help compiled up test check bench soak lock format clean wheel browser

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements/dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Redoubt needs Python 3.11 or newer; none was found." >&2; exit 1; }
	@echo "Setting up .venv from requirements/dev.txt (hashes are checked) …" >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

compiled: $(STAMP) # every process imports from it; sources that changed would be compiled anew by each
	@$(BIN)/python -m compileall -q src/redoubt

up: compiled ## build, run and verify the example shop; on a terminal it then keeps serving
	@$(BIN)/redoubt up examples/shop/spec.yaml

browser: ## find Chromium, or install it from Debian's packages
	@scripts/chromium

test: compiled browser ## run the whole test suite
	@$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not soak" $(ARGS)

check: $(STAMP) ## lint, types, floors and docstrings
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(STAMP) ## measure ours, the peer and the limit side by side (ARGS=--quick for under a minute each)
	@for b in bench/[a-z]*.py; do echo "== $$b"; $(BIN)/python $$b $(ARGS) || exit 1; done

soak: $(STAMP) browser ## the long campaigns: kills, faults, fuzzing
	@$(BIN)/python -m pytest -m soak $(ARGS)

format: $(STAMP) ## format the code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

lock: $(STAMP) ## resolve the dependencies anew into requirements/*.txt
	@for f in core dev localstripe; do $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --custom-compile-command 'make lock' requirements/$$f.in -o requirements/$$f.txt; done
	@$(BIN)/python -m redoubt.build.sync requirements

wheel: $(STAMP) ## build the wheel into dist/
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation -w dist .

clean: ## remove what was built and measured
	@rm -rf dist build-out .mypy_cache .ruff_cache .pytest_cache .hypothesis
