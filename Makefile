# Two commands set everything up on a machine with Python 3.10 or newer:
#   make demo   samples/ -> out/*.exr with the demo weights; base dependencies only
#   make test   lint, types and all tests with the pinned full set; Python 3.11 or newer
# make coverage: the tests with branch coverage.
# make newest: the quick tests with the newest versions that pip takes, without pins.
PYTHON ?= python3
RUN := .venv
DEV := .venv-dev
NEWEST := .venv-newest
# Two more than two cores: some tests wait for processes that they start.
WORKERS ?= 4
# Files in the order of tests/conftest.py, the long ones first.
PYTEST := -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart=4
ONE_THREAD := OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1
PACKAGE := $(shell find dcdr_deploy -name '*.py' -o -path '*/weights/*')
# Set, each of the hundreds of processes that tests start would compile what it imports anew: torch alone for 8 seconds.
unexport PYTHONDONTWRITEBYTECODE
NO_VENV = { echo "error: $(PYTHON) cannot make a virtual environment; on Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }

.PHONY: demo test pytest newest coverage lint types format wheel clean

demo: $(RUN)/.ready
	$(RUN)/bin/dcdr-deploy run samples out --preview
	@echo "Files written:"
	@ls -1 out/*.exr out/*.png

test: lint types pytest

pytest: $(DEV)/.ready
	$(ONE_THREAD) $(DEV)/bin/python $(PYTEST) --durations=10

# What users get from pip, anew each time. Some of the newest need a newer Python: make newest PYTHON=python3.13
newest:
	$(PYTHON) -m venv --clear $(NEWEST) || $(NO_VENV)
	$(NEWEST)/bin/python -m pip install --quiet --upgrade pip
	$(NEWEST)/bin/python -m pip install --quiet --no-compile --editable ".[dev]"
	$(ONE_THREAD) $(NEWEST)/bin/python $(PYTEST) -m "not slow" $(TESTS)

# Apart, because watching every branch slows the tests.
coverage: $(DEV)/.ready
	$(ONE_THREAD) $(DEV)/bin/python $(PYTEST) --cov --cov-report=term:skip-covered

lint: $(DEV)/.ready
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .

types: $(DEV)/.ready
	$(DEV)/bin/mypy -p dcdr_deploy

format: $(DEV)/.ready
	$(DEV)/bin/ruff check --fix .
	$(DEV)/bin/ruff format .

wheel: $(DEV)/.ready
	$(DEV)/bin/python -m build --wheel

# The stamp is written last, so an interrupted installation starts over.
$(RUN)/.ready: pyproject.toml $(PACKAGE)
	$(PYTHON) -m venv $(RUN) || $(NO_VENV)
	$(RUN)/bin/python -m pip install --quiet --upgrade pip
	$(RUN)/bin/python -m pip install --quiet --upgrade .
	@touch $@

# Packages are compiled when they are imported: most of the full set never is.
$(DEV)/.ready: pyproject.toml requirements.txt
	$(PYTHON) -m venv $(DEV) || $(NO_VENV)
	$(DEV)/bin/python -m pip install --quiet --upgrade pip
	$(DEV)/bin/python -m pip install --quiet --no-compile --requirement requirements.txt
	$(DEV)/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

clean:
	rm -rf $(RUN) $(DEV) $(NEWEST) out build dist *.egg-info
