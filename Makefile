# Everything runs in .venv, which the first target that needs it makes. Of the system nothing is changed, except that on
# Debian and its kin the packages named below are installed where they are missing.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo serve test test-conformance test-gpu sanitize sanitize-gpu lint docs bench bench-full bench-gpu wheel clean

export PIP_DISABLE_PIP_VERSION_CHECK := 1

IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c '$(IS_NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)

BIN := .venv/bin
PROJECT := pyproject.toml setup.py $(wildcard proto/*.proto)
EXTENSION := $(wildcard */*.pyx */*.pxd */*/*.pyx */*/*.pxd)
# What the demo needs, and what developers need as well: a machine that has the second does not install the first.
RUNNABLE := .venv/.runnable
INSTALLED := .venv/.installed
DEMO := $(or $(wildcard $(INSTALLED)),$(RUNNABLE))
STUBBED := $(addprefix yais.,$(subst /,.,$(basename $(filter-out proto/%,$(wildcard */*.pyi */*/*.pyi)))))
TENSORRT_STUBS := build/typing/tensorrt/__init__.pyi
PEERS := build/peers/.complete
BROWSER := build/peers/.browser
INTEROP := tests/conformance/interop
INTEROP_PEERS := build/interop/.complete

# What the extension is compiled with, and what tests and benchmarks hold it against.
BUILD_PACKAGES := gcc python3-dev pkg-config libnghttp2-dev
PACKAGES := $(BUILD_PACKAGES) g++ libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc nghttp2-client \
	curl
# Empty where Python can make virtual environments by itself.
VENV_PACKAGE = $(shell $(PYTHON) -c 'import ensurepip' 2>/dev/null || echo python3-venv)

help: ## show what there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: $(INSTALLED) ## make .venv with YAIS and all that its development needs

demo: $(DEMO) ## serve a real model, classify a picture, lay siege to it, show the metrics that moved
	@$(BIN)/python demo/run.py

serve: $(DEMO) ## the same server in the foreground; extra flags in ARGS
	@exec $(BIN)/inference-grpc --engine "$$($(BIN)/python demo/engine.py)" $(ARGS)

test: $(INSTALLED) $(PEERS) $(BROWSER) ## run the tests of what users see, in a few minutes; pytest flags in ARGS
	YAIS_REQUIRE_PEERS=1 $(BIN)/pytest --ignore tests/conformance $(ARGS)

test-conformance: $(INSTALLED) $(PEERS) $(INTEROP_PEERS) ## run RFC, attacks, fuzz corpora, interoperability, packages, and the service on grpcio
	YAIS_REQUIRE_PEERS=1 $(BIN)/pytest tests/conformance $(ARGS)
	YAIS_REQUIRE_PEERS=1 YAIS_TEST_TRANSPORT=grpcio $(BIN)/pytest tests/e2e $(ARGS)

test-gpu: $(INSTALLED) ## run the tests that need a GPU; pytest flags in ARGS
	YAIS_REQUIRE_GPU=1 $(BIN)/pytest -m gpu -n 0 $(ARGS)

sanitize: $(INSTALLED) ## call the extension modules with what does not fit, under AddressSanitizer and UndefinedBehaviorSanitizer
	tests/conformance/extensions/sanitized.sh build/sanitized

sanitize-gpu: $(INSTALLED) ## run test-gpu under compute-sanitizer, but for those in which things are to go wrong
	@command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer comes with CUDA's toolkit"; exit 1; }
	YAIS_REQUIRE_GPU=1 compute-sanitizer --target-processes all --error-exitcode 99 \
		$(BIN)/python -m pytest -m gpu -n 0 --timeout 1200 tests/gpu/test_runs_on_a_gpu.py $(ARGS)

lint: $(INSTALLED) $(TENSORRT_STUBS) ## check style, types and which way imports run
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint $(EXTENSION)
	MYPYPATH=build/typing $(BIN)/mypy -p yais -p bench
	MYPYPATH=build/typing $(BIN)/stubtest --mypy-config-file pyproject.toml --ignore-missing-stub --ignore-disjoint-bases \
		--concise $(STUBBED)
	$(BIN)/python tests/engines/tensorrt/check_versions.py

docs: $(INSTALLED) ## build the documentation site in build/docs/site
	$(BIN)/python docs/build.py build/docs
	@echo "To read it: $(BIN)/python -m http.server --bind 127.0.0.1 --directory build/docs/site 8000"

bench: $(INSTALLED) ## measure, side by side with other servers, and print the table; names of benchmarks in ARGS
	bench/service/make_peers.sh
	$(BIN)/python -m bench $(ARGS)

bench-full: $(INSTALLED) ## the long runs, for a machine with nothing else to do; their results are kept
	bench/service/make_peers.sh
	$(BIN)/python -m bench --full $(ARGS)

bench-gpu: $(INSTALLED) ## measure engines and the server on a GPU, short; --full and names of benchmarks in ARGS
	$(BIN)/python -m bench $(or $(ARGS),gpu)

wheel: $(INSTALLED) ## wheels with nghttp2 inside, for each CPython from 3.11 to 3.14 that is found, in dist
	deploy/wheel/make_wheels.sh

clean: ## remove everything that was made here
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis proto/*_pb2* */*.so */*/*.so

$(TENSORRT_STUBS): $(INSTALLED) tests/engines/tensorrt/make_stubs.py
	@$(BIN)/python tests/engines/tensorrt/make_stubs.py $@

# Where nothing but the extension has changed, the developers' build is repeated in place; the demo's goes through pip.
define make_venv
	@[ -n "$(PYTHON)" ] || { echo "YAIS needs Python 3.11 or newer: apt-get install python3"; exit 1; }
	@.ci/apt-install $(1) $(VENV_PACKAGE)
	@[ -x $(BIN)/python ] || { echo "== Virtual environment: .venv"; $(PYTHON) -m venv .venv; }
	@echo "== Python packages, and YAIS with its extension modules"
endef

$(RUNNABLE): $(PROJECT) $(EXTENSION)
	$(call make_venv,$(BUILD_PACKAGES))
	@$(BIN)/pip install --quiet --editable '.[build,picture]'
	@touch $@

$(INSTALLED): $(PROJECT) $(EXTENSION)
	$(call make_venv,$(PACKAGES))
	$(if $(filter $(PROJECT),$?),$(BIN)/pip install --quiet --editable '.[dev]',$(BIN)/python setup.py --quiet build_ext --inplace)
	@touch $@

$(PEERS): tests/e2e/make_peers.sh
	tests/e2e/make_peers.sh
	@touch $@

# A page is looked at in it.
$(BROWSER):
	@.ci/apt-install chromium
	@mkdir -p $(@D) && touch $@

$(INTEROP_PEERS): $(INTEROP)/make_interop_peers.sh $(INTEROP)/interop.proto $(wildcard $(INTEROP)/cpp/*)
	$(INTEROP)/make_interop_peers.sh
	@touch $@
