# make demo: the whole path on a generated data set.  make test: the tests.  make docs: the documentation, in site/.
# All of them set the environment up first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test nightly check coverage docs clean

$(READY): setup.py pyproject.toml requirements-dev.txt proto/caffe.proto
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --editable .
	touch $(READY)

demo: $(READY)
	$(BIN)/caffecompat demo --out demo_out

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# One OpenMP thread a process: two test processes share two cores.
test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests

# What takes minutes: the networks of models/ at their published sizes.
nightly: $(READY)
	$(BIN)/python -m pytest -m nightly tests

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The lines of the package that the tests run, as a table at the end.
coverage: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/coverage run -m pytest -n 2 tests
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --sort=cover --skip-covered

clean:
	rm -rf $(VENV) demo_out site build dist *.egg-info caffecompat/schema/caffe.desc caffecompat/schema/pb.pyi
