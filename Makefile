# The two commands are `make run` and `make test`; PYTHON=… names another interpreter.

.DEFAULT_GOAL := help
.PHONY: help setup run test soak lint check

help:  ## shows this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile

setup:  ## makes .venv with everything that the service needs
	@scripts/setup run

run: setup  ## starts everything on this machine and prints the page's address
	@exec .venv/bin/citestream run

.PHONY: setup-test
setup-test:
	@scripts/setup test

test: setup-test  ## runs every test against real servers; ARGS=… is given to pytest
	@.venv/bin/python -m pytest $(ARGS)

soak: setup-test  ## keeps the promises for minutes; ROWS="17" chooses some, ARGS=--help tells more
	@.venv/bin/python -m tests.soak $(ROWS) $(ARGS)

lint: setup-test  ## ruff, mypy and the direction of the rooms
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

check: lint test  ## everything that a change must pass
