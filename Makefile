# Two commands are enough: `make report` runs the sample hospital's 2020-T1, `make test` runs the tests. Both set up first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: report test check ui docs lock bench clean

report: $(READY)
	$(BIN)/npr run 2020-T1

test: $(READY)
	$(BIN)/pytest -n 2 --dist loadgroup

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pipelines.docs --check
	$(BIN)/dagster definitions validate -m pipelines.location --log-level warning

ui: $(READY)
	$(BIN)/npr ui

docs: $(READY)
	$(BIN)/python -m pipelines.docs

bench: $(READY)
	$(BIN)/python benchmarks/render.py
	$(BIN)/python benchmarks/validate.py
	$(BIN)/python benchmarks/identity.py
	$(BIN)/python benchmarks/packing.py
	$(BIN)/python benchmarks/run.py

# The locks hold names, versions and hashes, and no word of where packages come from. That of operation is the same without tools.
COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --no-strip-extras --universal \
  --python-version 3.11 --extra build --extra workers pyproject.toml
lock: $(READY)
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) --extra dev -o requirements.lock
	$(COMPILE) --constraint requirements.lock -o requirements-operation.lock

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

clean:
	rm -rf $(VENV) var
