# Two commands do everything: `make race` and `make test`. Each sets up what it needs in .venv first.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# uv looks for local wheel folders only where UV_FIND_LINKS says so; honour pip's setting.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
endif
# Tests and runs start Python hundreds of times: what one compiles is kept for the others, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: race test test-fast test-simulated test-live lint lock clean
.DELETE_ON_ERROR:

race: .venv/harness
	$(BIN)/tailrace run race
	$(BIN)/tailrace report --plan race --out report/race

test: lint test-fast test-simulated test-live

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/mypy

test-fast: .venv/dev
	$(BIN)/pytest -q -m "not live and not simulated" -n auto

test-simulated: .venv/dev
	$(BIN)/pytest -q -m "simulated and not live" -n auto

test-live: .venv/dev
	$(BIN)/pytest -q -m live

.venv/bootstrap: requirements/bootstrap.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tailrace needs Python 3.11 or newer: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --no-compile --require-hashes --only-binary :all: -r $<
	touch $@

.venv/harness: requirements/harness.txt pyproject.toml .venv/bootstrap
	$(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r $<
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

.venv/dev: requirements/dev.txt .venv/harness
	$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python --require-hashes -r $<
	touch $@

# Re-resolve the harness's own locks; setups and workloads keep theirs beside their .in files.
LOCK := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: .venv/bootstrap
	$(BIN)/$(LOCK) --upgrade pyproject.toml --group dev -o requirements/dev.txt
	$(BIN)/$(LOCK) --upgrade pyproject.toml -c requirements/dev.txt -o requirements/harness.txt
	$(BIN)/$(LOCK) --upgrade --allow-unsafe requirements/bootstrap.in -o requirements/bootstrap.txt

clean:
	rm -rf .venv report build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
