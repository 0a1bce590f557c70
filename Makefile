# Two commands matter: `make loop` (watch the ring turn once) and `make test`. Each sets itself up on a fresh machine
# that has Python 3.11+, make and a C compiler.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
HOME_DIR ?= .trivet
TURN   ?= full
# Torch's threads must not spin while they wait (see cli/main.py).
export OMP_WAIT_POLICY ?= PASSIVE
LOOP   := $(BIN)/trivet loop --recipe configs/loop_$(TURN).yaml --home $(HOME_DIR)/$(TURN)

.PHONY: help loop test lint format docs town bench clean
.DEFAULT_GOAL := help

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Trivet needs Python 3.11 or newer; set PYTHON=python3.x"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

loop: $(READY)  ## Attack, harvest, train, gate, promote: one turn on the town (TURN=quick for a short one)
	$(LOOP)

test: $(READY)  ## Run the tests
	$(BIN)/python -m pytest

lint: $(READY)  ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## Mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## Write docs/cli.md from the commands
	$(BIN)/python -m trivet.cli.reference > docs/cli.md

bench: $(READY)  ## Measure speed and memory of training beside TRL 1.16 (half an hour)
	$(BIN)/python bench/preference.py --json $(HOME_DIR)/bench/preference.json

town: $(READY)  ## Grow the shipped town models again from nothing
	$(BIN)/trivet town build --out $(HOME_DIR)/town

clean:  ## Remove the environment and everything that was made
	rm -rf $(VENV) $(HOME_DIR) .pytest_cache .ruff_cache .mypy_cache .hypothesis
