# make run          the whole pipeline (PROFILE=small|real|paper|contrastive: other settings)
# make real-data    links published files of FROM="DIR ..." into data/real, for the profile real
# make test         the tests, offline
# make test-faults  tests with faulty servers and killed processes
# make bench        the data stages' speed and memory, beside peers; writes bench/results.md
# make check        ruff and mypy
# make docs         generated pages, and the site of docs/ in site/
# make ui           the Prefect and MLflow pages on loopback
# make lock         requirements.lock from pyproject.toml; keeps versions that still fit (needs uv: pip install uv)

SHELL := /bin/bash
.DEFAULT_GOAL := run
.PHONY: run real-data test test-faults bench check docs ui lock .venv

TORCH := torch==2.13.0
IS_SUPPORTED := -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2> /dev/null
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell $(name) $(IS_SUPPORTED) && echo $(name))))
REAL := VQA-RAD SLAKE PubMedQA MedQA MedMNIST
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
export PYTHONDONTWRITEBYTECODE := 1

run: .venv
ifdef PROFILE
	@python -m openmedq profile $(PROFILE)
endif
ifneq ($(filter $(PROFILE),small real),)
	@python -m openmedq parts
endif
	@python -m openmedq locate
	@dvc repro
	@python -m openmedq summary

real-data:
	@test -n "$(FROM)" || { echo 'error: name the folders of the published files: make real-data FROM="DIR DIR"' >&2; exit 1; }
	@mkdir -p data/real
	@for folder in $(FROM); do for name in $(REAL); do \
	  if test -d "$$folder/$$name"; then find data/real/$$name -type l -delete 2> /dev/null; \
	    cp -rsT --no-preserve=mode "$$(realpath "$$folder/$$name")" data/real/$$name || exit 1; fi; done; done
	@ls data/real | grep . || { echo 'error: $(FROM): no folder is named $(REAL)' >&2; exit 1; }

test: .venv
	@python -m pytest -n 2 --dist loadgroup

test-faults: .venv
	@python -m pytest -n 2 --dist loadgroup -m faults

bench: .venv
	@python bench/run.py

check: .venv
	@ruff format --check .
	@ruff check .
	@mypy
	@MYPYPATH=bench mypy bench --implicit-reexport --allow-subclassing-any

docs: .venv
	@python docs/generate.py
	@zensical build --strict

ui: .venv
	@python -m flows.ui

lock:
	@command -v uv > /dev/null || { echo "error: uv is missing: pip install uv" >&2; exit 1; }
	@uv pip compile pyproject.toml --quiet --all-extras --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --no-emit-package openmedq --custom-compile-command "make lock" --output-file requirements.lock

.venv: .venv/complete

.venv/complete: requirements.lock
	@command -v git > /dev/null || { echo "error: git is missing; on Debian or Ubuntu: apt install git" >&2; exit 1; }
	@$(or $(PYTHON),false) $(IS_SUPPORTED) || \
	  { echo "error: Python 3.11, 3.12 or 3.13 is missing$(if $(PYTHON), ($(PYTHON) is another version or not found)); on Debian or Ubuntu: apt install python3 python3-venv; elsewhere: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
	  { echo "error: $(PYTHON) lacks the venv module; on Debian or Ubuntu: apt install $$(basename $(PYTHON))-venv" >&2; exit 1; }
	@echo "Installing into .venv: about 0.7 GB to download, and torch: 0.2 GB for a CPU wheel, about 3 GB where pip takes the CUDA build"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@echo "Installed. Before you run dvc or python yourself: source .venv/bin/activate"
	@touch $@
