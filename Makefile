# Everything starts here: `make` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# uv then trusts whom git and pip trust, also behind a company's proxy.
export UV_SYSTEM_CERTS ?= true

# Half of the installed Python code. mypy runs as machine code, and pip compiled itself.
NEVER_IMPORTED := site-packages/(mypyc?/|pip/|setuptools/|pygments/lexers/[a-z])

.DEFAULT_GOAL := help
.PHONY: help setup run test test-native test-fast check attack proofs soak chaos gen gen-check breaking fmt lint lock bench bench-outbox bench-quick bench-startup reset

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## make the virtual environment; does nothing when it is up to date

run: setup ## start the mesh, show a booking, stay up until Ctrl-C
	@solo60 up --demo

test: setup ## run every test
	@pytest

test-native: setup ## run the tests that start servers once more, on the native engine
	@ENGINE=native pytest -m 'not system' tests/interceptors tests/services \
		$(addprefix tests/mesh/test_,$(addsuffix .py,authorization cancelled_statements channel key_rotation metrics server))

test-fast: setup ## run the tests that start no service processes
	@pytest -m 'not system'

attack: setup ## attack servers of both engines and fuzz every method, at full length; takes minutes
	@pytest -s -n0 -m "soak or not soak" tests/attack

proofs: setup ## crowds, kills and races at full length: keys, ledger, outbox, one slot; takes about ten minutes
	@pytest -s -n0 -m soak tests/mesh tests/services

soak: setup ## call servers of both engines for SOAK_MINUTES (default: 2): memory, files and tasks stay flat
	@SOAK_MINUTES=$(or $(SOAK_MINUTES),2) pytest -s -n0 -m soak tests/soak

chaos: setup ## kill, freeze and cut off services under 500 bookings for each of CHAOS_SEEDS (default: 1-10); takes 40 minutes
	@pytest -s -n0 -m soak tests/chaos

check: setup lint gen-check breaking test test-native ## everything that must hold before a change lands

lint: setup ## format, style, types, layers, contracts
	@ruff format --check --quiet
	@ruff check --quiet
	@mypy
	@lint-imports --no-logo
	@buf format proto --exit-code >/dev/null || { echo "contracts are not formatted: run make fmt" >&2; exit 1; }
	@buf lint
	@python -m contracts.linter

fmt: setup ## format the code and the contracts
	@ruff check --fix --quiet
	@ruff format --quiet
	@buf format proto --write

gen: setup ## rebuild gen/ from proto/
	@buf generate

gen-check: setup ## fail when gen/ is not what proto/ generates
	@contracts/codegen/gen_check.sh

breaking: setup ## fail when a contract breaks its callers, compared with BASE (default: main)
	@contracts/codegen/breaking.sh $(or $(BASE),main)

bench: .venv-bench/.ready ## compare with bare gRPC and other stacks on this machine, and write docs/performance.md; takes minutes
	@PYTHONPATH=.:gen .venv-bench/bin/python -m bench
	@PYTHONPATH=.:gen .venv-bench/bin/python -m bench.outbox

bench-outbox: .venv-bench/.ready ## measure the outbox alone, beside Procrastinate, quickly; docs/performance.md stays as it is
	@PYTHONPATH=.:gen .venv-bench/bin/python -m bench.outbox --quick

bench-quick: .venv-bench/.ready ## the same figures, less exact, in under 50 s; docs/performance.md stays as it is
	@PYTHONPATH=.:gen .venv-bench/bin/python -m bench --quick

bench-startup: setup ## measure start-up time and memory
	@python -m bench.startup

lock: setup ## pin what pyproject.toml asks for, with hashes, in requirements/
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev -o requirements/lock.txt pyproject.toml
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra bench -c requirements/lock.txt -o requirements/bench.txt pyproject.toml
	@grep -E '^uv==' requirements/lock.txt | cut -d' ' -f1 | uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/uv.txt -

reset: setup ## forget everything that a local mesh keeps: database, keys, logs, mail
	@python -m mesh.reset

.venv/.ready: requirements/uv.txt requirements/lock.txt pyproject.toml $(wildcard contracts/codegen/*.py)
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12")'
	@echo "setting up .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --require-hashes requirements/lock.txt
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@python -m contracts.codegen.third_party
	@python -m compileall -q -x '$(NEVER_IMPORTED)' .venv/lib cli contracts gen interceptors mesh services
	@touch $@

# Beside .venv: what is compared needs packages that nothing else here needs.
.venv-bench/.ready: .venv/.ready requirements/bench.txt
	@echo "setting up .venv-bench"
	@uv venv --quiet --clear --python .venv/bin/python .venv-bench
	@VIRTUAL_ENV=.venv-bench uv pip sync --quiet --compile-bytecode --require-hashes requirements/bench.txt
	@touch $@
