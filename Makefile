# The two commands are `make run` and `make test`; PYTHON=… names another interpreter.

.DEFAULT_GOAL := help
.PHONY: help setup run test soak lint check up down compose-test

help:  ## shows this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup:  ## makes .venv with everything that the service needs
	@scripts/setup run

run: setup  ## starts everything on this machine and prints the page's address
	@exec .venv/bin/citestream run

.PHONY: setup-test
setup-test:
	@scripts/setup test

# Two processes, each with servers of its own; by files, which share what they start, and in the
# order of the folders, because the last files are short. A third one would take the last sixth of
# two cores (487 s instead of 557), and what a test gives a tenth of a second would take longer.
test: setup-test  ## runs every test against real servers; ARGS=… is given to pytest, -n0 for one process
	@.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

soak: setup-test  ## keeps the promises for minutes; ROWS="17" chooses some, ARGS=--help tells more
	@.venv/bin/python -m tests.soak $(ROWS) $(ARGS)

lint: setup-test  ## ruff, mypy and the direction of the rooms
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

check: lint test  ## everything that a change must pass

up:  ## starts everything in containers; makes .env and secrets/ on first use
	@deploy/compose/up

down:  ## stops the containers; the data stay
	@. deploy/compose/compose.sh && compose down

compose-test:  ## builds, starts, asks, breaks and removes a deployment of its own
	@deploy/compose-test/run
