# Every target makes .venv by itself on first use; all that is needed beforehand is python3 (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test replay check format bench lock
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: .venv/ready  ## one question, four sources, five example conversations
	$(BIN)/telemetry-mcp demo

test: .venv/ready  ## every test; those that need a server which is not installed say so and are skipped
	$(BIN)/python -m pytest

replay: .venv/ready  ## every recorded payload through its plugin, and how each ended
	$(BIN)/python -m pytest tests/plugins -q -m wire --replay-table

check: .venv/ready  ## lint, layout, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/ready  ## mend the layout
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/ready  ## the speed table, each figure against its reference in the same run
	$(BIN)/python bench/run.py

lock:  ## renew requirements.lock (needs uv)
	uv pip compile --universal --generate-hashes --no-header --no-annotate --group dev --upgrade pyproject.toml -o requirements.lock
