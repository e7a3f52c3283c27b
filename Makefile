# Every target sets up what it needs in .venv; a second call starts at once.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Two workers of one thread each: small tensors gain nothing from more, and two cores are what CI has.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: help setup demo test fast lint bench bench-gpu fuzz clean
help:
	@echo "make demo    three cohorts from mask to measured picture, written to demo/"
	@echo "make test    the whole test suite        make fast   without the slow tests"
	@echo "make lint    ruff and mypy               make fuzz   10,000 damaged adapter files"
	@echo "make bench   the timed comparisons       make bench-gpu  training at full size, on a GPU"
	@echo "make clean   remove .venv and demo"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed; name it with make PYTHON=python3.12 …')"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(READY)

setup: $(READY)

demo: $(READY)
	$(BIN)/python -m wdlora demo --out demo

test: $(READY)
	$(PYTEST)

fast: $(READY)
	$(PYTEST) -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks

bench-gpu: $(READY)
	$(BIN)/python -m benchmarks gpu --write

fuzz: $(READY)
	FUZZ_CASES=10000 $(BIN)/python -m pytest tests/adapter/test_fuzz.py

clean:
	rm -rf .venv demo
