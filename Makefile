# Python >= 3.11 and make are all that is needed. `make demo` and `make test` set up first.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup demo test check bench bench-advice bench-data bench-train bench-kills bench-predict bench-qlora bench-faults bench-eval bench-tui bench-parsers clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

demo: setup
	$(BIN)/finetune demo

test: setup
	$(BIN)/python -m pytest

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python bench/banking77.py

bench-advice: setup
	$(BIN)/python bench/advice.py $(QUESTIONS)

bench-data: setup
	$(BIN)/python bench/data.py --rows $(or $(ROWS),200000)

bench-train: setup
	$(BIN)/python bench/train.py $(OPTIONS)

bench-kills: setup
	$(BIN)/python bench/kills.py

bench-predict: setup
	$(BIN)/python bench/predict.py

bench-faults: setup
	$(BIN)/python bench/faults.py

bench-eval: setup
	$(BIN)/python bench/eval.py $(OPTIONS)

bench-tui: setup
	$(BIN)/python bench/tui.py

bench-parsers: setup
	$(BIN)/python bench/parsers.py

bench-qlora: setup
	$(BIN)/python bench/qlora.py $(OPTIONS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
