# `make` alone lists the targets. Everything is installed from pip into .venv; nothing needs root, Docker or a system package.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Relative to the checkout: pip takes a space in a path for the end of it.
export PIP_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

VIDEO ?= samples/big-buck-bunny-720p-5s.mp4
OUTPUT ?= demo-output
PRESET ?= fast
DEMO_OPTIONS := --video "$(VIDEO)" --output "$(OUTPUT)" --preset $(PRESET) \
	$(if $(SCALE),--scale $(SCALE)) $(if $(METHOD),--method $(METHOD)) $(foreach setting,$(SET),--set $(setting))

.PHONY: help demo test serve check lint format schema pretrain test-slow clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.service ## Encode, fetch and restore a clip: VIDEO=path SCALE=1|2|3|4 METHOD=stdo|jstdo|nas|awdnn PRESET=name SET="key=value ..."
	$(BIN)/python -m demo $(DEMO_OPTIONS)

serve: $(VENV)/.service ## Start the service in embedded mode on http://127.0.0.1:8000
	$(BIN)/python -m app serve

test: $(VENV)/.dev ## Run the tests (those marked slow or gpu are listed, not run)
	$(BIN)/pytest
	@echo "Left out (make test-slow runs the slow ones):"
	@$(BIN)/pytest -m "slow or gpu" --collect-only -q | grep "::" || true

test-slow: $(VENV)/.dev ## Run the tests that take minutes
	$(BIN)/pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## Everything that must hold before a commit: ruff, mypy, import-linter, tests

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

schema: $(VENV)/.dev ## Generate the manifest's JSON Schema anew
	$(BIN)/python -m stdo.bundle.schema

pretrain: $(VENV)/.dev ## Train the general networks f0 anew: PHOTOS=folder (models/weights/MODEL_CARD.md says from where)
	@test -n "$(PHOTOS)" || { echo "Say where the photographs are: make pretrain PHOTOS=folder"; exit 2; }
	$(BIN)/python -m pretraining train --photos "$(PHOTOS)"

clean: ## Remove the virtual environment and all output
	rm -rf $(VENV) demo-output pretraining-output var build dist *.egg-info

$(BIN)/python:
	@# Without python3-venv, Debian's Python leaves half an environment behind, which must not pass for a whole one.
	$(PYTHON) -m venv $(VENV) || { rm -f $@; exit 1; }

$(VENV)/.service: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[server,worker]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.service
