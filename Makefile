# make demo: the whole path on a generated data set.  make test: the tests.  make docs: the documentation, in site/.
# All of them set the environment up first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test nightly check coverage docs clean

$(READY): setup.py pyproject.toml requirements-dev.txt proto/caffe.proto
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "caffecompat needs Python 3.10 or newer: make PYTHON=python3.12")'
	@echo "Making a virtual environment in $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import torch' 2>/dev/null || printf '%s\n' \
	  "Installing PyTorch and what else requirements-dev.txt names. That takes minutes, and with torch's GPU libraries" \
	  "5.7 GB of disk. torch's CPU build is far smaller: to have it, stop here (Ctrl-C), install torch into $(VENV) with" \
	  "$(BIN)/pip and the command that torch's site shows for CPU, and call make again; it is kept."
	$(BIN)/python -m pip install --upgrade pip
	$(BIN)/python -m pip install -r requirements-dev.txt
	$(BIN)/python -m pip install --editable .
	@touch $(READY)
	@echo "Installed in $(VENV)."

demo: $(READY)
	$(BIN)/caffecompat demo --out demo_out
	@printf '%s\n' "" "To call caffecompat yourself: source $(BIN)/activate, once in a shell, then caffecompat ...;" \
	  "or $(BIN)/caffecompat ... without that."

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# One OpenMP thread a process: two test processes share two cores.
test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -rs tests

# What takes minutes: the networks of models/ at their published sizes.
nightly: $(READY)
	$(BIN)/python -m pytest -m nightly -rs tests

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The lines of the package that the tests run, as a table at the end.
coverage: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -n 2 tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --sort=cover --skip-covered

clean:
	rm -rf $(VENV) demo_out site build dist *.egg-info caffecompat/schema/caffe.desc caffecompat/schema/pb.pyi
