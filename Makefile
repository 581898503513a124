# gatewayproxy: `make run` and `make test` need python3 >= 3.11 and make, nothing else.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONFIG ?= config/quickstart
ARGS ?=
WORKERS ?= 2
IMAGE ?= gatewayproxy

.PHONY: help run test lint unit bench docs image clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Serve CONFIG (config/quickstart) with demo backends on loopback; Ctrl-C ends all
	@exec $(BIN)/python config/demo.py $(CONFIG) $(ARGS)

test: lint unit ## Format, lint, types, import contracts, then every test

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Tests marked by a shared resource stay together (--dist loadgroup); the rest is spread over WORKERS processes.
unit: $(VENV)/.dev
	$(BIN)/pytest -q -n $(WORKERS) --dist loadgroup $(ARGS)

bench: $(VENV)/.dev ## Load benchmark beside nginx, HAProxy and Envoy (those that are installed)
	@$(BIN)/python benchmarks/http/bench.py $(ARGS); http=$$?; $(BIN)/python benchmarks/l4/bench.py; exit $$((http | $$?))

docs: $(VENV)/.run ## Write docs/reference.md, docs/lint.md and docs/conformance.md anew from the code
	$(BIN)/python docs/reference.py > docs/reference.md
	$(BIN)/python docs/lint.py > docs/lint.md
	$(BIN)/python docs/conformance.py $(if $(RESULTS),--results $(RESULTS))

image: ## Build the container image IMAGE (gatewayproxy)
	@engine=$$(command -v docker || command -v podman) || { echo "make image: install docker or podman, or see docs/container.md" >&2; exit 1; }; \
	exec $$engine build -t $(IMAGE) .

clean: ## Remove the virtual environment, caches and generated certificates
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache config/*/certs

# The stamps make an installation that broke off half-way start again.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: gatewayproxy needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || $(PYTHON) -m virtualenv $(VENV) \
	|| { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install -q pip; } || { \
	  rm -rf $(VENV); \
	  echo "make: this Python cannot create a virtual environment; install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@touch $@

$(VENV)/.run: $(VENV)/.python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.python pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.run
