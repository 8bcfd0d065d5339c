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
# Every file of tests has a process of its own, of one thread: native libraries by the dozen in one process have cost it its life. Where
# nothing is left of a file, pytest says 5.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
apiece = xargs -P $(JOBS) -I FILE sh -c '$(BIN)/pytest -m "$(1)" FILE || test $$? = 5'

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
	find tests -name 'test_*.py' | sort | $(call apiece,not slow)

slow: $(READY) ## the proofs that take minutes
	grep -rl --include='test_*.py' 'pytest.mark.slow' tests | sort | $(call apiece,slow)

pages: $(READY) ## write the generated pages of docs/ again
	$(BIN)/python docs/make_pages.py

clean: ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
