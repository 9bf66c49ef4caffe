# make run          the whole pipeline on embedded defaults (PROFILE=miniature|small|paper picks another set of dials)
# make test         the tests, offline
# make test-faults  servers that cut, stall and lie, processes that are killed, full disks
# make check        ruff and mypy
# make ui           the Prefect and MLflow pages on loopback

SHELL := /bin/bash
.DEFAULT_GOAL := run
.PHONY: run test test-faults check ui .venv

TORCH := torch==2.13.0
PYTHON := $(shell command -v python3.11 || command -v python3)
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
export PYTHONDONTWRITEBYTECODE := 1

run: .venv
ifdef PROFILE
	@python -m openmedq profile $(PROFILE)
endif
ifeq ($(PROFILE),small)
	@python -m openmedq parts
endif
	@dvc repro
	@python -m openmedq summary

test: .venv
	@python -m pytest -n 2 --dist loadgroup

test-faults: .venv
	@python -m pytest -n 2 --dist loadgroup -m faults

check: .venv
	@ruff format --check .
	@ruff check .
	@mypy

ui: .venv
	@python -m flows.ui

.venv: .venv/complete

.venv/complete: requirements.lock
	@for tool in git $(or $(PYTHON),python3.11); do command -v $$tool > /dev/null || \
	  { echo "error: $$tool is missing; on Debian or Ubuntu: apt install git make python3.11 python3.11-venv" >&2; exit 1; }; done
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
	  { echo "error: Python 3.11 is missing ($(PYTHON) is another); the lock is made for 3.11: apt install python3.11 python3.11-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
	  { echo "error: Python's venv is missing; on Debian or Ubuntu: apt install python3.11-venv" >&2; exit 1; }
	@echo "Installing into .venv: about 0.7 GB to download, and torch: 0.2 GB for a CPU wheel, about 3 GB where pip takes the CUDA build"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@touch $@
