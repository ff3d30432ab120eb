# Everything a newcomer runs. `make` alone explains itself.
PY := .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help run up test lint compose-test generate lock bench clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

run: ## install, then two simulated winter days with every service, and the report
	@deploy/setup.sh run
	@$(PY) -m pems run --days 2 --speed max

up: ## install, then the house live in the terminal
	@deploy/setup.sh run
	@$(PY) -m pems up

test: ## install, then all tests that need no container engine
	@deploy/setup.sh dev
	@$(PY) -m pytest -q -p no:cacheprovider --ignore=tests/compose

lint: ## style, types, import rules, generated files
	@deploy/setup.sh dev
	@.venv/bin/ruff check .
	@.venv/bin/mypy
	@.venv/bin/lint-imports
	@$(PY) -m contracts.generate --check

compose-test: ## build the image, bring the containers up, check commands, restarts and traces
	@deploy/setup.sh dev
	@$(PY) -m pytest -q -p no:cacheprovider tests/compose

generate: ## event reference, AsyncAPI, JSON Schema
	@deploy/setup.sh dev
	@$(PY) -m contracts.generate

lock: ## resolve dependencies anew into the two lock files
	@.venv/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	@.venv/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header --group dev pyproject.toml -c requirements.lock -o requirements-dev.lock

bench: ## the project's benchmarks, side by side in one run
	@deploy/setup.sh dev
	@$(PY) -m bench

clean: ## remove what was installed and simulated
	@rm -rf .venv .pems .mypy_cache .ruff_cache .pytest_cache
