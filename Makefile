# Everything runs in a virtual environment that make sets up itself.
# PYTHON=python3.12 chooses the interpreter, VENV=/tmp/env another environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

.PHONY: help
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.installed-all  ## Set up, then compare the rules on the mixed workload (demo_compare.png)
	$(BIN)/jaxsched compare --workload mixed --requests 1000 --instances 64 --plot demo_compare.png

# What breaks first in each room; the rest of `make test` takes several minutes.
QUICK := tests/_lib tests/model tests/servers tests/reference tests/metrics \
	tests/workloads/test_traces.py tests/workloads/test_load_requests.py \
	tests/house/test_imports.py tests/house/test_docstrings.py tests/bounds/test_volume.py \
	tests/engine/test_simulate_inputs.py tests/engine/test_contract.py \
	tests/engine/online/test_oracle_logs.py tests/policies/test_index.py \
	tests/policies/test_registry.py

.PHONY: quick
quick: $(VENV)/.installed-test  ## Set up, then run the quick tests (under 45 seconds on two cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(QUICK)

.PHONY: test
test: $(VENV)/.installed-test  ## Set up, then run the tests (nine minutes on two cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# The tests compile quickly unless the environment asks for another level (tests/conftest.py).
OPTIMIZED := XLA_FLAGS=--xla_backend_optimization_level=3

.PHONY: test-slow
test-slow: $(VENV)/.installed-test  ## Run the slow tests, the engine's tests and every notebook, compiled as for users
	$(OPTIMIZED) $(BIN)/python -m pytest -n 2 --dist worksteal -m slow
	$(OPTIMIZED) $(BIN)/python -m pytest -n 2 --dist loadfile tests/engine

.PHONY: lint
lint: $(VENV)/.installed-dev  ## Check formatting and style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

.PHONY: format
format: $(VENV)/.installed-dev  ## Format, and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: types
types: $(VENV)/.installed-dev  ## Check types
	$(BIN)/pyright --pythonpath $(BIN)/python

.PHONY: docs
docs: $(VENV)/.installed-docs  ## Build the documentation (docs/_build/html/index.html); a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

.PHONY: experiments-smoke
experiments-smoke: $(VENV)/.installed-dev  ## Run every experiment in its smallest form
	@printf '%s\n' experiments/[!_]*.py | xargs -t -P 2 -I SCRIPT $(BIN)/python SCRIPT --smoke

.PHONY: clean
clean:  ## Remove the environment, caches and build products
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build dist docs/_build docs/_tables docs/notebooks *.egg-info demo_compare.png
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of extras, so that set-up is not repeated until pyproject.toml changes.
$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) for '$*' (once)"
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("jaxsched needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
