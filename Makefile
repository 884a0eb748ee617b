# Every target works by itself on a fresh clone. It needs Python 3.11 or newer with venv, make, and a network
# to PyPI; what tests and benchmarks use of Debian's packages is installed where that is allowed.

PYTHON ?= $(shell for name in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	$$name -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& command -v $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
STEP := .ci/step

.NOTPARALLEL:
.PHONY: demo test bench lint docs peers clean

demo: $(VENV)/.for-demo
	@cat tap/demo.txt
	@exec $(BIN)/twistd -n --pidfile= smartproxy --config tap/demo.yaml

test: peers lint docs $(VENV)/.for-check
	@$(STEP) "trial" $(BIN)/trial --reporter=text --temp-directory=_trial_temp tests
	@$(BIN)/coverage erase
	@$(STEP) "pytest" $(BIN)/coverage run -m pytest
	@$(STEP) "pytest-twisted" $(BIN)/coverage run -m pytest -o addopts="--strict-markers --strict-config -ra" tests/embedded
	@$(BIN)/coverage combine --quiet
	@$(STEP) "coverage" $(BIN)/coverage report

bench: peers $(VENV)/.for-demo
	@exec $(BIN)/python -m benchmarks

lint: $(VENV)/.for-check
	@$(STEP) "ruff check" $(BIN)/ruff check .
	@$(STEP) "ruff format" $(BIN)/ruff format --check .
	@$(STEP) "mypy" $(BIN)/mypy
	@$(STEP) "import-linter" $(BIN)/lint-imports

docs: $(VENV)/.for-check
	@$(STEP) "sphinx" $(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# Programs that the tests and benchmarks meet: without them, those tests are skipped and say so.
peers:
	@.ci/peers

clean:
	rm -rf $(VENV) build dist docs/_build _trial_temp* .coverage*

# -- the environment: made once, and again when what it is made from changes -------------------------------

EXTRAS_demo :=
EXTRAS_check := [test,lint,docs]

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer with venv was found (Debian: apt-get" \
		"install python3-venv); name one with PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.for-%: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --editable '.$(EXTRAS_$*)'
	@touch $@
