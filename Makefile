# make study   the embedded study: installs into .venv, trains, compares, reports
# make test    the tests that take seconds, with programs that compile fast
# make test-all   every test, with programs as users have them
# make chaos   thousands of faults, for hours; CHAOS_SHARE=0.1 takes a tenth
# make bench   ratios to peers and to the floors of the machine, for hours
# make lint    ruff and pyright                  make docs       the site, into site/
# make clean   build artefacts
#
# Every target installs its packages first, and again only when pyproject.toml or the
# constraints have changed. Variables, all optional:
#   PYTHON=python3.13                     The Python of the environment. .venv keeps the
#                                         Python it was made with; another version has
#                                         an environment of its own, .venv-3.13.
#   CONSTRAINTS=constraints-oldest.txt    The oldest versions of all packages (Python
#                                         3.11), in .venv-oldest.
#   WORKERS=4                             Processes that share the tests.
#   CHAOS_SHARE=0.1                       Share of the trials of make chaos.
#   BENCH=short                           A tiny form of make bench, without peers. Other
#                                         words: --only train start, --rounds 3, --help.

SHELL := bash
CONSTRAINTS := constraints.txt
WORKERS := 2
CHAOS_SHARE := 1
BENCH := full
VENV := $(patsubst constraints%.txt,.venv%,$(notdir $(CONSTRAINTS)))

ifeq ($(origin PYTHON),undefined)
PYTHON := python3
else
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ifeq ($(VERSION),)
$(error $(PYTHON) cannot be run; name one: make PYTHON=/path/to/python3)
endif
MADE := $(shell sed -n 's/^version *= *\([0-9]*\.[0-9]*\).*/\1/p' \
  $(VENV)/pyvenv.cfg 2>/dev/null)
ifneq ($(or $(MADE),$(VERSION)),$(VERSION))
VENV := $(VENV)-$(VERSION)
endif
endif

BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev
DOCS_STAMP := $(VENV)/.installed-docs
# One file of tests stays in one process, whose compiled programs it shares.
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONUNBUFFERED := 1

# A stamp holds the folder it was made in: a copied or moved checkout installs anew.
ifneq ($(shell cat $(RUN_STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(RUN_STAMP)
endif
ifneq ($(shell cat $(DEV_STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(DEV_STAMP)
endif
ifneq ($(shell cat $(DOCS_STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(DOCS_STAMP)
endif

.PHONY: study test test-all chaos bench lint docs clean
.DEFAULT_GOAL := study

study: $(RUN_STAMP)
	@$(BIN)/twotower train -m experiment=quickstart

test: $(DEV_STAMP)
	@$(PYTEST) -m "not slow"

test-all: $(DEV_STAMP)
	@TWOTOWER_TESTS_OPTIMIZED=1 $(PYTEST)

# Each campaign adds a line of JSON to chaos.jsonl.
chaos: $(DEV_STAMP)
	@TWOTOWER_TESTS_OPTIMIZED=1 CHAOS_SHARE=$(CHAOS_SHARE) \
	  CHAOS_OUT=$(CURDIR)/chaos.jsonl \
	  $(PYTEST) --durations 0 tests/chaos

# Peers have environments of their own, in bench-data/peers.
bench: $(RUN_STAMP)
	@PYTHONPATH=benchmarks $(BIN)/python -m bench $(BENCH)

lint: $(DEV_STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --pythonpath $(BIN)/python

# Warnings are errors: a dead link or anchor, a page outside the navigation.
docs: $(DOCS_STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open site/index.html, or with search: python3 -m http.server -d site"

clean:
	@rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis
	@find twotower_jax conf tests benchmarks experiments -name __pycache__ \
	  -prune -exec rm -rf {} + 2>/dev/null || true

$(RUN_STAMP): pyproject.toml $(CONSTRAINTS)
	@$(call install,.)
	@printf '%s\n' "$(CURDIR)" > $(RUN_STAMP)

$(DEV_STAMP): pyproject.toml $(CONSTRAINTS)
	@$(call install,.[dev])
	@printf '%s\n' "$(CURDIR)" > $(RUN_STAMP)
	@printf '%s\n' "$(CURDIR)" > $(DEV_STAMP)

$(DOCS_STAMP): pyproject.toml $(CONSTRAINTS)
	@$(call install,.[docs])
	@printf '%s\n' "$(CURDIR)" > $(RUN_STAMP)
	@printf '%s\n' "$(CURDIR)" > $(DOCS_STAMP)

# Make the environment if it is missing or broken; install, one line a package.
define install
set -euo pipefail; \
if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
  command -v $(PYTHON) >/dev/null || { \
    echo "$(PYTHON) was not found; name one: make PYTHON=/path/to/python3" >&2; \
    exit 2; }; \
  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
    echo "$$($(PYTHON) --version 2>&1) is too old: Python 3.11, 3.12 or 3.13" \
      "is needed; name one: make PYTHON=python3.12" >&2; exit 2; }; \
  echo "Making $(VENV) with $$($(PYTHON) --version)"; \
  $(PYTHON) -m venv --clear $(VENV); \
fi; \
echo "Installing $(1) into $(VENV) (minutes the first time, seconds after)"; \
$(BIN)/python -m pip install --progress-bar off -c $(CONSTRAINTS) -e "$(1)" \
  | { grep --line-buffered -o -E \
    '^(Collecting [^ ]+|Building wheels?|Installing collected packages|ERROR.*)' \
    || true; }
endef
