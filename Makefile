PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help run example test test-all test-lowest test-newest soak mutants lint protos docs lock bench clean

help: ## Show this help.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

# A virtual environment is created once, and again when its inputs change.
$(VENV)/.server: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "canuse needs Python 3.11 or later: make PYTHON=python3.x")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@echo > $@

$(VENV)/.test: requirements-test.lock $(VENV)/.server
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-test.lock
	@echo > $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.server
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@echo > $@

run: $(VENV)/.server ## Start canuse on 127.0.0.1:50051 (HTTP: 50052) with the example data; data is stored in canuse-data/.
	@exec $(BIN)/canuse serve --demo

example: $(VENV)/.test ## Start the example page on 127.0.0.1:8000, with its service and a canuse of its own; needs Node.js.
	@exec $(BIN)/python -m examples.page $(ARGS)

TEST_PROCESSES ?= 4

PYTEST_OPTIONS := --numprocesses=$(TEST_PROCESSES) --dist=loadscope --no-loadscope-reorder
PYTEST := $(BIN)/python -m pytest $(PYTEST_OPTIONS)

test: $(VENV)/.test ## Run the fast tests: at most three minutes in total, no other programs needed.
	$(PYTEST) --fast $(ARGS)

test-all: $(VENV)/.dev ## Run all tests.
	$(PYTEST) $(ARGS)

# What depends on the versions of Python, grpcio and protobuf: the clients, and a server with calls of each kind.
VERSION_TESTS := tests/unit/test_client_*.py tests/unit/test_exported_names.py tests/conformance/test_client.py \
	tests/conformance/test_errors.py tests/conformance/test_user_journey.py

# $(call environment,FOLDER,PYTHON,LOCK FILE)
define environment
	rm -rf $(1)
	$(BIN)/uv venv --quiet --python $(2) $(1)
	$(BIN)/uv pip install --quiet --python $(1) --require-hashes -r $(3)
	$(BIN)/uv pip install --quiet --python $(1) --no-deps -e .
endef

$(VENV)/lowest/.test: requirements-lowest.lock pyproject.toml $(VENV)/.dev
	$(call environment,$(VENV)/lowest,$(BIN)/python,requirements-lowest.lock)
	@echo > $@

test-lowest: $(VENV)/lowest/.test ## Run some tests with the lowest version of each dependency that pyproject.toml allows.
	$(VENV)/lowest/bin/python -m pytest $(PYTEST_OPTIONS) --fast $(VERSION_TESTS) $(ARGS)

NEWEST_PYTHON = $(shell $(BIN)/python -m tools.newest_python)

test-newest: $(VENV)/.dev ## Run some tests with the newest Python on this machine, or with NEWEST_PYTHON=….
	$(eval NEWEST_PYTHON := $(NEWEST_PYTHON))
	@$(if $(NEWEST_PYTHON),,echo "Skipped: there is no newer Python on this machine; install one, or name one by NEWEST_PYTHON=…")
	$(if $(NEWEST_PYTHON),$(call environment,$(VENV)/newest,$(NEWEST_PYTHON),requirements-test.lock))
	$(if $(NEWEST_PYTHON),$(VENV)/newest/bin/python -m pytest $(PYTEST_OPTIONS) --fast $(VERSION_TESTS) $(ARGS))

SOAK_SECONDS ?= 600
SOAK_SEED ?=

soak: $(VENV)/.dev ## Run random calls and failures for SOAK_SECONDS (600); SOAK_SEED repeats a run.
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_SEED=$(SOAK_SEED) $(BIN)/python -m pytest -q -s -m "soak or chaos" $(ARGS)

soak-memory: SOAK_SECONDS = 900
soak-memory: $(VENV)/.dev ## Make calls at a constant rate for 15 minutes (SOAK_SECONDS): the memory of server and store must stay what it is.
	SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/python -m pytest -q -s -m soak $(ARGS) tests/faults/test_memory_at_length.py

mutants: $(VENV)/.dev ## Break canuse in many places, one by one, and check that a test fails each time.
	$(BIN)/python tools/mutants.py $(ARGS)

lint: $(VENV)/.dev ## Check style, types, the API's definitions and the generated code.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m tools.generate_protos --check
	$(BIN)/python -m tools.generate_sync_client --check
	$(BIN)/python -m tools.generate_openapi --check
	$(BIN)/buf lint protos
	$(BIN)/buf breaking protos --against protos/released.binpb

protos: $(VENV)/.dev ## Generate code and the OpenAPI document from protos/, and the synchronous client; needs Node.js and Go.
	$(BIN)/buf format --write protos
	$(BIN)/python -m tools.generate_protos
	$(BIN)/python -m tools.generate_sync_client
	$(BIN)/python -m tools.generate_openapi
	$(BIN)/python -m tools.generate_clients

docs: $(VENV)/.dev ## Update the tables in the docs from the code.
	$(BIN)/python tools/docs_tables.py

lock: $(VENV)/.dev ## Update the lock files of all dependencies.
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --extra server pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --extra server --extra test pyproject.toml -o requirements-test.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --extra server --extra test --extra dev pyproject.toml -o requirements-dev.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --resolution lowest-direct --extra server --extra test --extra django \
		pyproject.toml -o requirements-lowest.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --extra server --extra otel --constraint requirements-test.lock \
		pyproject.toml -o deploy/docker/requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --quiet \
		--custom-compile-command "make lock" --constraint requirements-test.lock deploy/docker/build.in -o deploy/docker/build.lock

bench: $(VENV)/.dev ## Run the benchmark, some minutes, into bench-results/; ARGS="--help" shows the options.
	$(BIN)/python -m bench $(ARGS)

clean: ## Remove virtual environments and build results; canuse-data/ stays.
	rm -rf $(VENV) .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis bench-results dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
