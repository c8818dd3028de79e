# Everything starts here: `make` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
SOURCES := contracts interceptors mesh services cli tests

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast check gen gen-check fmt lint lock reset

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## make the virtual environment; does nothing when it is up to date

.venv/.ready: requirements/uv.txt requirements/lock.txt pyproject.toml $(wildcard contracts/codegen/*.py)
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12")'
	@echo "setting up .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --require-hashes requirements/lock.txt
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@python -m contracts.codegen.third_party
	@python -m grpc_tools.protoc -I third_party/protovalidate --python_out=gen --mypy_out=quiet:gen buf/validate/validate.proto
	@touch $@

gen: setup ## rebuild gen/ from proto/
	@buf generate

lock: setup ## pin what pyproject.toml asks for, with hashes, in requirements/
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev -o requirements/lock.txt pyproject.toml
	@grep -E '^uv==' requirements/lock.txt | cut -d' ' -f1 | uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/uv.txt -
