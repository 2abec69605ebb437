# A fresh machine needs two commands: make demo, make test.  They set up .venv first: make demo with what a search needs,
# make test and make lint with their tools too.
# PYTHON: the interpreter to build .venv from (3.11 or newer).  TORCH: the build of PyTorch, on a machine without a GPU
#   make demo TORCH=cpu   (200 MB, not 3 GB; or cu126 and so on: what TORCH_INDEX has)
# TORCH_INDEX is asked for PyTorch alone.  PIP_ARGS: more for pip; an --extra-index-url there is asked for every package.

PYTHON ?= python3
PIP_ARGS ?=
TORCH ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/$(TORCH)
CORES ?= $(shell $(PYTHON) -c 'import os; print(len(os.sched_getaffinity(0)))')
BIN := .venv/bin
COMMA := ,
DEMO := --config preset=beam_search problem=matvec rounds=3 run=demo models='[kopt-rewrite]'

.PHONY: demo unlock test test-random lint setup lock generated site clean

demo: .venv/search
	@echo "== searching a faster matrix-vector product in 3 rounds; kopt's own rewriter proposes, no key and no GPU is needed"
	$(BIN)/snakemake --cores $(CORES) --quiet all $(DEMO)
	@echo "== the kernel is results/demo/best_kernel.py; open results/demo/report.html to see how it was found"

unlock: .venv/search # after a demo that was killed
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

# $(torch): install the build TORCH of PyTorch where .venv has none; what it needs comes with all else
define torch
@$(BIN)/python -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)' || { \
	echo "== installing PyTorch ($(TORCH)) from $(TORCH_INDEX) into .venv"; \
	$(BIN)/python -m pip install $(PIP_ARGS) --timeout 15 --retries 1 --disable-pip-version-check \
		--no-deps --index-url $(TORCH_INDEX) --constraint constraints.txt torch \
	|| { echo "== no PyTorch from $(TORCH_INDEX): the lines above say why; without TORCH=$(TORCH) it comes from PyPI (3 GB)"; \
		exit 1; }; }
endef

# $(call install,PACKAGE,WORDS): make .venv where there is none, and install a package into it; WORDS say what it is
define install
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "kopt needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || { echo "== making .venv with $(PYTHON)"; $(PYTHON) -m venv .venv; }
	$(if $(TORCH),$(torch))
	@echo "== installing $(2) into .venv; a first time takes minutes, most of them for PyTorch (200 MB to 3 GB)"
	$(BIN)/python -m pip install $(PIP_ARGS) --constraint constraints.txt --editable '$(1)' --config-settings editable_mode=compat
	@touch $@
endef

.venv/search: pyproject.toml constraints.txt
	$(call install,.,kopt and what a search needs)

.venv/ready: pyproject.toml constraints.txt
	$(call install,.[test$(COMMA)lint],kopt and the tools of its tests and linters)
	@touch .venv/search

lock: # the versions that are installed now
	{ sed -n '/^#/p' constraints.txt; $(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.new
	mv constraints.new constraints.txt

generated: setup # files made from the configuration model, the imports and the commands
	$(BIN)/kopt config --write
	$(BIN)/python docs/draw_architecture.py
	$(BIN)/python docs/list_commands.py

site: .venv/site # the documentation as pages in site/; a link that leads nowhere is an error
	$(BIN)/zensical build --strict

.venv/site: pyproject.toml constraints.txt
	$(call install,.[docs],kopt and what makes its pages)
	@touch .venv/search

clean:
	rm -rf .venv site .cache .snakemake .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
