# Run `make` to list the targets.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Make uv trust the system certificates, as git and pip do, for example behind a company's proxy.
export UV_SYSTEM_CERTS ?= true

# Half of the installed Python code. Compiling it would waste time: mypy runs as machine code, and pip compiled itself.
NEVER_IMPORTED := site-packages/(mypyc?/|pip/|setuptools/|pygments/lexers/[a-z])

# Folders with a buf.yaml. The second imports contracts of the first, which `buf export` copies.
WORKSPACES := . examples/acme
EXPORTED := $(addprefix proto/solo60/,mesh/v1/policy.proto common/v1/errors.proto common/v1/text.proto)
IMPORTS := examples/acme/third_party
# Option of pytest, if BASE is given.
PREVIOUS_RELEASE := $(addprefix --previous-release=,$(BASE))

.DEFAULT_GOAL := help
.PHONY: help setup run test test-native test-fast check attack proofs soak chaos gen gen-check breaking fmt lint lock bench bench-booking bench-outbox bench-quick bench-scale bench-startup reset

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready $(IMPORTS) ## create the virtual environment; does nothing if it is up to date

run: setup ## start the mesh, show a booking, stay up until Ctrl-C
	@solo60 up --demo

test: setup ## run every test; the previous release is BASE (default: main)
	@pytest $(PREVIOUS_RELEASE)

test-native: setup ## run the tests that start servers once more, on the native engine
	@ENGINE=native pytest $(PREVIOUS_RELEASE) -m 'not system' tests/interceptors tests/services \
		$(addprefix tests/mesh/serving/test_,$(addsuffix .py,authorization channel key_rotation server)) \
		tests/mesh/data/test_cancelled_statements.py tests/mesh/telemetry/test_metrics.py

test-fast: setup ## run the tests that start no service processes
	@pytest $(PREVIOUS_RELEASE) -m 'not system'

attack: setup ## attack servers of both engines and fuzz every method, at full length; takes minutes
	@pytest -s -n0 -m "soak or not soak" tests/attack

proofs: setup ## test many callers, kills and races at full length: keys, ledger, outbox, one slot, journeys; takes about 15 minutes
	@pytest -s -n0 -m soak tests/mesh tests/services tests/outages

soak: setup ## call servers of both engines for SOAK_MINUTES (default: 2) and check that memory, files and tasks stay flat
	@SOAK_MINUTES=$(or $(SOAK_MINUTES),2) pytest -s -n0 -m soak tests/soak

chaos: setup ## kill, freeze and cut off services under 2,000 mixed journeys for each of CHAOS_SEEDS (default: 1); takes about 8 minutes each
	@pytest -s -n0 -m soak tests/chaos

check: setup lint gen-check breaking test test-native ## run every check that must pass before a change is merged

lint: setup ## check format, style, types, layers and contracts
	@ruff format --check --quiet || { echo "code is not formatted: run make fmt" >&2; exit 1; }
	@ruff check --quiet
	@mypy
	@lint-imports --no-logo
	@set -e; for each in $(WORKSPACES); do cd $(CURDIR)/$$each; \
		buf format proto --exit-code >/dev/null || { echo "contracts are not formatted: run make fmt" >&2; exit 1; }; \
		buf lint; \
		python -m contracts check; \
	done

# Findings without a fix are left to `make lint`, because formatting removes many of them.
fmt: setup ## format the code and the contracts
	@ruff check --fix --silent --exit-zero
	@ruff format --quiet
	@for each in $(WORKSPACES); do buf format $$each/proto --write || exit 1; done

gen: setup ## rebuild gen/ from proto/, also in examples/acme, and docs/graph.svg
	@for each in $(WORKSPACES); do (cd $$each && buf generate) || exit 1; done
	@python -m cli graph --svg docs/graph.svg

gen-check: setup ## fail if gen/ differs from the code generated from proto/
	@contracts/codegen/gen_check.sh $(WORKSPACES)

breaking: setup ## fail if a contract breaks its callers, compared with BASE (default: main)
	@contracts/codegen/breaking.sh $(BASE)

bench: .venv-bench/.ready ## compare with bare gRPC and other stacks, and write docs/performance.md; BASE=main only compares two commits; takes minutes
ifdef BASE
	@PYTHONPATH=.:gen .venv-bench/bin/python -m bench.compare '$(BASE)'
else
	@PYTHONPATH=.:gen .venv-bench/bin/python -m bench
	@PYTHONPATH=.:gen .venv-bench/bin/python -m bench.outbox
endif

bench-outbox: .venv-bench/.ready ## compare the outbox alone with Procrastinate, quickly; docs/performance.md is not changed
	@PYTHONPATH=.:gen .venv-bench/bin/python -m bench.outbox --quick

bench-quick: .venv-bench/.ready ## measure the same less exactly, also with BASE, in under two minutes; no document is changed
	@PYTHONPATH=.:gen .venv-bench/bin/python -m bench$(if $(BASE),.compare '$(BASE)') --quick

bench-scale: setup ## compare calls on a small and on a large database, and write docs/performance.md; takes about 3 minutes
	@GRPC_VERBOSITY=NONE python -m bench.scale

bench-booking: .venv-bench/.ready ## compare a booking over five services with plain FastAPI, and write docs/performance.md; takes about 5 minutes
	@PYTHONPATH=.:gen .venv-bench/bin/python -m bench.booking

bench-startup: setup ## measure start-up time and memory
	@python -m bench.startup

lock: setup ## pin the dependencies of pyproject.toml, with hashes, in requirements/
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev --extra console --extra mcp -o requirements/lock.txt pyproject.toml
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra bench -c requirements/lock.txt -o requirements/bench.txt pyproject.toml
	@grep -E '^uv==' requirements/lock.txt | cut -d' ' -f1 | uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate -o requirements/uv.txt -

reset: setup ## delete all data of a local mesh: database, keys, logs, mail
	@python -m local.reset

$(IMPORTS): .venv/.ready $(EXPORTED)
	@buf export . $(addprefix --path ,$(EXPORTED)) --output $@
	@touch $@

.venv/.ready: requirements/uv.txt requirements/lock.txt pyproject.toml $(wildcard contracts/codegen/*.py)
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is required. Select one, for example: make PYTHON=python3.12")'
	@echo "setting up .venv"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --require-hashes requirements/lock.txt
	@VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@python -m contracts.codegen.third_party
	@python -m compileall -q -x '$(NEVER_IMPORTED)' .venv/lib cli console contracts gen interceptors local mesh operations services
	@touch $@

# A separate environment, because the compared stacks need packages that nothing else here needs.
.venv-bench/.ready: .venv/.ready requirements/bench.txt
	@echo "setting up .venv-bench"
	@uv venv --quiet --clear --python .venv/bin/python .venv-bench
	@VIRTUAL_ENV=.venv-bench uv pip sync --quiet --compile-bytecode --require-hashes requirements/bench.txt
	@touch $@
