# A fresh machine needs two commands: make demo, make test.  They set up .venv first.
# PYTHON: the interpreter to build .venv from (3.11 or newer).  PIP_ARGS: more for pip, e.g. on a machine without a GPU
#   make demo PIP_ARGS='--extra-index-url https://download.pytorch.org/whl/cpu'   (a CPU build of torch: 200 MB, not 3 GB)

PYTHON ?= python3
PIP_ARGS ?=
CORES ?= $(shell $(PYTHON) -c 'import os; print(len(os.sched_getaffinity(0)))')
BIN := .venv/bin
DEMO := --config preset=beam_search problem=matvec rounds=3 run=demo models='[kopt-rewrite]'

.PHONY: demo unlock test test-random lint setup lock generated clean

demo: setup
	$(BIN)/snakemake --cores $(CORES) --quiet all $(DEMO)
	@echo "open results/demo/report.html"

unlock: setup # after a demo that was killed
	$(BIN)/snakemake --cores 1 --unlock $(DEMO)

test: setup
	$(BIN)/pytest -n $(CORES) --dist loadgroup -m "not gpu"

test-random: setup # property tests alone, on many new examples; what fails is printed with the line that repeats it
	$(BIN)/pytest -n $(CORES) -m "hypothesis and not gpu" --hypothesis-profile=random

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/python workflow/lint.py

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kopt needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[test,lint]' --config-settings editable_mode=compat
	touch $@

lock: # the versions that are installed now
	{ sed -n '/^#/p' constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

generated: setup # files made from the configuration model, the imports and the commands
	$(BIN)/kopt config --write
	$(BIN)/python docs/draw_architecture.py
	$(BIN)/python docs/list_commands.py

clean:
	rm -rf .venv .snakemake .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
