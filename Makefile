PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test test-fast test-browser check lint format schema torture

run: .venv/tune_app
	$(BIN)/python -m tune_app run ncsn_space.yaml

test: .venv/installed
	$(BIN)/python -m pytest -q

test-fast: .venv/installed
	$(BIN)/python -m pytest -q -m "not ray and not browser"

test-browser: .venv/browser
	$(BIN)/python -m pytest -q -n 0 -m browser

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

.venv/tune_app: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv: about 6 GB, most of it CUDA (see README.md for a machine without a GPU)"
	$(BIN)/python -m pip install --constraint constraints.txt --editable .
	touch $@

.venv/installed: .venv/tune_app
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/browser: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,browser]'
	touch $@
