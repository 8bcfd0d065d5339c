# The two commands: `make quickstart` and `make test`. Everything happens inside .venv.
.DEFAULT_GOAL := help
.PHONY: help setup quickstart demo test lint types tests slow pages clean

PYTHON ?= python3
BIN := .venv/bin
# What is installed besides segwright; tensorrt-rtx (proprietary licence of NVIDIA) makes the tests build real engines.
EXTRAS ?= onnx,openvino,prune,tiff,video,window,dev
comma := ,
READY := .venv/.ready-$(subst $(comma),-,$(EXTRAS))
MINUTES ?= 3.3
# Each process computes on one thread; the tests of a file stay together, because they share what was trained for them. A process that
# is lost ends the run, which would wait for its tests for ever; tests/test_live.py, whose limits and signals cost one its life, runs alone.
PARALLEL ?= -n auto --maxprocesses 4 --dist loadfile --max-worker-restart 0

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY) ## make .venv with the exact versions of constraints.txt

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "segwright needs Python 3.11 or newer, and $(PYTHON) is older; run: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[$(EXTRAS)]'
	@touch $@

quickstart: $(READY) ## the main job from end to end; DATA=folder for your own pictures, MINUTES=3.3 of training, OUT=new folder
	$(BIN)/segwright quickstart $(if $(DATA),--data "$(DATA)") $(if $(OUT),--out "$(OUT)") --minutes $(MINUTES)

demo: $(READY) ## the card model live in a web page on this machine; MODEL=run folder or .onnx file of your own, PORT=8000
	$(BIN)/segwright demo "$(or $(MODEL),train/exported_models/card_segmentation.onnx)" --serve --port $(or $(PORT),8000)

test: lint types tests ## linter, type checker and all tests but the slow ones

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

tests: $(READY)
	$(BIN)/pytest -m 'not slow' --ignore=tests/test_live.py $(PARALLEL)
	$(BIN)/pytest -m 'not slow' tests/test_live.py

slow: $(READY) ## the proofs that take minutes
	$(BIN)/pytest -m slow $(PARALLEL)

pages: $(READY) ## write the generated pages of docs/ again
	$(BIN)/python docs/make_pages.py

clean: ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
