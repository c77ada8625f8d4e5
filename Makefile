PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-fast check lint format schema torture

run: .venv/installed
	$(BIN)/python -m tune_app run ncsn_space.yaml

test: .venv/installed
	$(BIN)/python -m pytest -q

test-fast: .venv/installed
	$(BIN)/python -m pytest -q -m "not ray"

check: lint test

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

torture: .venv/installed
	$(BIN)/python -m tests.end_to_end.torture

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: .venv/installed
	$(BIN)/python -m tune_app schema > search_spaces/sweep.schema.json

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
