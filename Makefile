# `make` alone lists the targets. Needs Python 3.11 to 3.13; everything else goes into .venv.
# Written for GNU make 3.81 (macOS) and later.

# Not the default shell: make 3.81 would run simple commands itself, with the PATH it was given.
SHELL := bash

PYTHON ?= python3.13 python3.12 python3.11 python3
VENV := .venv
LOCK_OPTIONS := --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY ?= true

# $(call install,FILE,OPTIONS): FILE's exact packages, then this package itself. pip speaks of
# errors only, so dots show that it works; it stays in the foreground, where Ctrl-C reaches it.
define install
	@echo "Installing $(1) (once, about two minutes) "
	@(while sleep 3 >/dev/null 2>&1; do printf .; done) & dots=$$!; \
	trap 'kill $$dots 2>/dev/null; echo' EXIT; trap 'exit 130' INT TERM; \
	python -m pip install --quiet --quiet --disable-pip-version-check --no-input \
		$(2) --requirement $(1) && \
	python -m pip install --quiet --quiet --disable-pip-version-check --no-input \
		--no-deps --no-build-isolation --editable .
endef

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST) | expand -t 22

.PHONY: demo
demo: $(VENV)/.runtime ## the whole study on the embedded demo data; prints the results table
	@MLFLOW_LOGGING_LEVEL=WARNING mlflow run . --env-manager local
	@echo
	@echo "The table as a web page, Markdown and CSV, and its figures: comparison/"
	@echo "Every run, curve and model: make server, then http://127.0.0.1:5000"

.PHONY: server
server: $(VENV)/.runtime ## the tracking server of this machine, http://127.0.0.1:5000
	@tracking/start.sh

# Two files of tests at a time; more would need more memory, for each process holds TensorFlow.
AT_ONCE := --numprocesses 2 --dist loadfile

.PHONY: test
test: $(VENV)/.backends ## all tests, those of the three Keras backends included
	@python -m pytest $(AT_ONCE)

.PHONY: test-fast
test-fast: $(VENV)/.dev ## the tests that take no more than a few seconds each
	@python -m pytest $(AT_ONCE) -m "not slow"

.PHONY: lint
lint: $(VENV)/.dev ## style, types, and whether the generated files are up to date
	@ruff check .
	@ruff format --check .
	@mypy
	@python -m lesion_transfer.mlproject --check

.PHONY: bench
bench: $(VENV)/.dev ## every benchmark but bench-recipe, which needs real images
	@set -e; for file in $(filter-out benchmarks/measure.py benchmarks/inner_validation.py,$(wildcard benchmarks/*.py)); do \
		[ -e "$$file" ] || { echo "benchmarks/ holds none yet"; break; }; \
		echo "== $$file"; python "$$file"; \
	done

.PHONY: bench-preprocess
bench-preprocess: $(VENV)/.dev ## preprocessing against the original's way: images/s, memory, quality
	@python benchmarks/preprocess.py

.PHONY: bench-svm
bench-svm: $(VENV)/.dev ## a fold's evaluation against scikit-learn's grid search: same answer, time
	@python benchmarks/svm.py

.PHONY: bench-statistics
bench-statistics: $(VENV)/.dev ## each test's false alarms and power on simulated 5×2 folds
	@python benchmarks/paired_tests.py

.PHONY: bench-compare
bench-compare: $(VENV)/.dev ## the results table from a server with 1,800 and 20,000 folds: time, requests
	@python benchmarks/compare.py

.PHONY: bench-train
bench-train: $(VENV)/.dev ## training against a bare loop on arrays in memory, float32 and bfloat16
	@python benchmarks/train.py

.PHONY: bench-paper
bench-paper: $(VENV)/.dev ## the time of the whole paper protocol, from a measured fold
	@python benchmarks/paper_protocol.py

.PHONY: bench-extract
bench-extract: $(VENV)/.dev ## extraction from a store against predict on arrays in memory
	@python benchmarks/extract.py

.PHONY: bench-recipe
bench-recipe: $(VENV)/.dev ## the recipe of `modern` within a training half, a quarter of an hour a recipe
	@python benchmarks/inner_validation.py

.PHONY: mlproject
mlproject: $(VENV)/.runtime ## write MLproject, conda.yaml and docs/parameters.md anew
	@python -m lesion_transfer.mlproject

# The locks name versions and hashes, never the place they came from.
.PHONY: lock
lock: $(VENV)/.dev ## resolve pyproject.toml into the two lock files
	@env -u PIP_FIND_LINKS -u UV_FIND_LINKS uv pip compile pyproject.toml \
		$(LOCK_OPTIONS) --output-file requirements.lock
	@env -u PIP_FIND_LINKS -u UV_FIND_LINKS uv pip compile pyproject.toml \
		--extra dev --constraint requirements.lock \
		$(LOCK_OPTIONS) --output-file requirements-dev.lock
	@python -m lesion_transfer.mlproject

# --- the environment: made once, brought up to date when a lock changes --------------------------

$(VENV)/bin/python:
	@for python in $(PYTHON); do \
		if "$$python" -c 'import sys, ensurepip; \
			sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; \
		then exec "$$python" -m venv $(VENV); fi; \
	done; \
	echo "error: no Python 3.11, 3.12 or 3.13 with venv and pip was found" >&2; \
	echo "Expected: one of $(PYTHON) on the PATH (Debian: python3-venv too)" >&2; \
	echo "Next step: install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; \
	exit 2

$(VENV)/.runtime: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(call install,requirements.lock,--require-hashes)
	@touch $@

# The development lock holds all of the runtime lock, so one installation serves both.
$(VENV)/.dev: requirements-dev.lock requirements.lock pyproject.toml | $(VENV)/bin/python
	$(call install,requirements-dev.lock,--require-hashes)
	@touch $(VENV)/.runtime $@

# JAX and PyTorch, for the tests of all three backends.
$(VENV)/.backends: requirements-backends.txt $(VENV)/.dev
	$(call install,requirements-backends.txt)
	@touch $@
