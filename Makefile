# Everything runs in .venv, which the first target that needs it makes. Of the system nothing is changed, except that
# python3-venv is installed where it is missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo serve test lint bench clean

export PIP_DISABLE_PIP_VERSION_CHECK := 1

IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

BIN := .venv/bin
SOURCES := pyproject.toml setup.py $(wildcard proto/*.proto)
INSTALLED := .venv/.installed
TYPING := build/typing/yais
PEERS := build/peers/.complete

help: ## show what there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup: $(INSTALLED) ## make .venv with YAIS and all that its development needs

demo: $(INSTALLED) ## serve a real model, classify a picture, lay siege to it, show the metrics that moved
	@$(BIN)/python demo/run.py

serve: $(INSTALLED) ## the same server in the foreground; extra flags in ARGS
	@exec $(BIN)/inference-grpc --engine "$$($(BIN)/python demo/engine.py)" $(ARGS)

test: $(INSTALLED) $(PEERS) ## run all tests; extra pytest flags in ARGS
	YAIS_REQUIRE_PEERS=1 $(BIN)/pytest $(ARGS)

lint: $(INSTALLED) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p $(TYPING) && for folder in proto engines server clients; do ln -sfn "$(CURDIR)/$$folder" "$(TYPING)/$$folder"; done
	MYPYPATH=build/typing $(BIN)/mypy -p yais.proto -p yais.engines -p yais.server -p yais.clients
	MYPYPATH=build/typing $(BIN)/mypy -p bench

bench: $(INSTALLED) ## measure, side by side with a bare server, and print the table; ARGS=--full for the long runs
	$(BIN)/python -m bench $(ARGS)

clean: ## remove everything that was made here
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis proto/*_pb2*

$(INSTALLED): $(SOURCES)
	@[ -n "$(PYTHON)" ] || { echo "YAIS needs Python 3.11 or newer: apt-get install python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(AS_ROOT) apt-get update -qq && $(AS_ROOT) apt-get install -y -qq python3-venv; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

$(PEERS): tests/e2e/make_peers.sh
	tests/e2e/make_peers.sh
	@touch $@
