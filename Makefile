# Every target works by itself on a fresh clone. It needs Python 3.11 or newer with venv, make, and a network
# to PyPI; what tests and benchmarks use of Debian's packages is installed where that is allowed.

PYTHON ?= $(shell for name in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	$$name -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& command -v $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
STEP := .ci/step

# Tests run in twice as many processes as there are CPUs, because many wait for other programs: JOBS=1 changes that.
JOBS ?= $(shell echo $$((2 * $$(nproc 2>/dev/null || echo 1))))
# A process that has nothing left to do takes tests from another one: how long they take differs by three magnitudes.
PARALLEL := --numprocesses=$(JOBS) --dist=worksteal
# Tests that start other programs, and all others. Not selected by marks, because every process would load all tests for that.
PROGRAMS := tests/live tests/test_packaging.py
UNIT := $(foreach each,$(PROGRAMS),--ignore=$(each))

# Programs are started hundreds of times: none compiles its modules anew, whatever the environment says.
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: help demo test unit bench fuzz soak lint format docs compiled peers clean

help: ## List these targets
	@sed -n 's/^\([a-z]*\):.*## /  \1 /p' $(firstword $(MAKEFILE_LIST)) | while read -r name about; do \
		printf '  make %-8s %s\n' "$$name" "$$about"; done

# twistd ends by the signal of Ctrl-C, which make would report as an error.
demo: $(VENV)/.for-demo ## Run the demonstration until Ctrl-C
	@cat tap/demo.txt
	@trap : INT; $(BIN)/twistd -n --pidfile= smartproxy --config tap/demo.yaml; code=$$?; \
		test $$code -eq 130 || exit $$code

# What each runner is for. pytest runs every test. Coverage is measured of those that need no other program: it doubles their
# CPU time, and the others cover next to nothing besides, because the proxies that they start are not measured. trial runs the
# tests on its TestCase once more, because its own runner is the reference for clean reactors and lost errors. tests/live and
# test_packaging.py block on other processes and never run a reactor, so trial has nothing to add there; nor in the tests of
# packages that know no reactor, and of documents. tests/embedded is what an embedder writes with pytest-twisted, which keeps
# the reactor running and so needs a process of its own.
TRIAL := $(filter-out $(foreach each,live embedded fuzz model routing wire,tests/$(each)/),$(dir $(wildcard \
	tests/*/__init__.py))) $(foreach each,callables check_callables demo embedded_groups embedding errors monitoring \
	tap target_callables twistd_options,tests/test_$(each).py)

test: peers lint docs $(VENV)/.for-check ## Everything that CI runs
	@$(BIN)/coverage erase
	@$(STEP) "pytest" $(BIN)/coverage run -m pytest $(PARALLEL) $(UNIT)
	@$(STEP) "pytest, with other programs" $(BIN)/python -m pytest $(PARALLEL) $(PROGRAMS)
	@$(STEP) "pytest-twisted" $(BIN)/coverage run -m pytest -o addopts="--strict-markers --strict-config -ra" tests/embedded
	@$(BIN)/coverage combine --quiet
	@$(STEP) "coverage" $(BIN)/coverage report
	@$(STEP) "trial" $(BIN)/trial --reporter=text --jobs=$(JOBS) --temp-directory=_trial_temp $(TRIAL)

unit: $(VENV)/.for-check ## The fast loop: every test that needs no other program, in parallel
	@$(STEP) "pytest" $(BIN)/python -m pytest $(PARALLEL) $(UNIT)

# The first run also makes .venv-debian and .venv-compiled, which takes some minutes more.
bench: peers $(VENV)/.for-demo ## Compare both builds with haproxy, nginx and plain Twisted, about fourteen minutes
	@$(BIN)/python -m benchmarks
	@exec $(BIN)/python -m benchmarks.http

# Of each fuzz target, and of the mixed traffic: SECONDS=600 or MINUTES=5 changes that, TARGETS="host sniff" selects.
SECONDS := 60
MINUTES := 60
TARGETS :=

fuzz: $(VENV)/.for-fuzz ## Fuzz every parser, a minute each
	@$(STEP) "fuzz" $(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) $(TARGETS)

soak: $(VENV)/.for-fuzz ## The long runs: two hours of mixed faulty traffic, then every fuzz target
	@$(STEP) "soak" $(BIN)/python -m benchmarks.soak --minutes $(MINUTES)
	@$(STEP) "large bodies" env SMARTPROXY_BIG_MB=2000 SMARTPROXY_EVENT_SECONDS=60 \
		$(BIN)/python -m pytest tests/live/test_http_bodies.py
	@$(STEP) "bytes of HTTP" env SMARTPROXY_HTTP_REQUESTS=10000 SMARTPROXY_CONVERSATIONS=2000 \
		$(BIN)/python -m pytest tests/http/test_counted_bytes.py tests/http/test_conversations.py
	@$(STEP) "soak with workers" $(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --workers 3 \
		--output docs/benchmarks/soak-workers.json
	@$(STEP) "workers" env SMARTPROXY_WORKER_ROUNDS=60 SMARTPROXY_WORKER_CONNECTIONS=10000 \
		$(BIN)/python -m pytest tests/live/test_worker_endurance.py tests/live/test_worker_accounting.py
	@$(STEP) "renewals" env SMARTPROXY_CERTIFICATE_SECONDS=60 \
		$(BIN)/python -m pytest tests/live/test_acme.py -k renewals
	@$(STEP) "fuzz" $(BIN)/python -m tests.fuzz.run --seconds $(SECONDS)

lint: $(VENV)/.for-check ## ruff, mypy and the import contracts
	@$(STEP) "ruff check" $(BIN)/ruff check .
	@$(STEP) "ruff format" $(BIN)/ruff format --check .
	@$(STEP) "mypy" $(BIN)/mypy
	@$(STEP) "import-linter" $(BIN)/lint-imports

format: $(VENV)/.for-check ## Format the code and fix what ruff can fix
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(VENV)/.for-check ## Build the documentation
	@$(STEP) "sphinx" $(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

# mypyc and the dependencies, whose types it reads, are installed for the build only: some minutes, and 1.5 GB of memory.
compiled: | $(BIN)/python ## Build a wheel whose hot path is compiled, for this Python and machine
	@rm -f dist/smartproxy-*-cp*.whl
	@SMARTPROXY_MYPYC=1 $(STEP) "compile" $(BIN)/python -m pip --disable-pip-version-check wheel --quiet --no-deps \
		--wheel-dir dist .
	@for wheel in dist/smartproxy-*-cp*.whl; do echo "$$wheel"; \
		echo "Install it with: pip install --force-reinstall --no-deps $$wheel"; done

# Without these programs, the tests that need them are skipped and say so.
peers: ## Install the programs that tests and benchmarks use, where that is allowed
	@.ci/peers

clean: ## Remove everything that was built here
	rm -rf $(VENV) $(VENV)-compiled $(VENV)-debian $(VENV)-lowest $(VENV)-others build dist docs/_build _trial_temp* .coverage* .fuzz

# -- lower bounds: on the oldest Python, the oldest version of each direct dependency -----------------------

.PHONY: lowest
LOWEST := $(VENV)-lowest
LOWEST_PYTHON ?= $(or $(shell command -v python3.11),$(PYTHON))
# Twisted before 26.10 leaves a delayed call of its own TLS transport, which a backend of the demo uses, behind; and an
# older one keeps a coroutine that was cancelled or failed until Python's garbage collector runs.
FREED := tests/sessions/test_ends_are_freed.py::CallableTests
NOT_WITH_LOWEST := --deselect tests/test_demo.py::DemoTests::test_passthrough_tls_reaches_the_backend \
	--deselect $(FREED)::test_coroutine_that_is_cancelled_or_fails --deselect $(FREED)::test_late_header

lowest: $(LOWEST)/.installed ## The fast loop with the oldest dependencies that setup.cfg allows
	@$(STEP) "pytest, lowest versions" $(LOWEST)/bin/python -m pytest $(PARALLEL) $(UNIT) $(NOT_WITH_LOWEST)
	@$(STEP) "pytest-twisted, lowest versions" $(LOWEST)/bin/python -m pytest \
		-o addopts="--strict-markers --strict-config -ra" tests/embedded

$(LOWEST)/.installed: setup.cfg pyproject.toml .ci/lowest.py
	$(LOWEST_PYTHON) -m venv --clear $(LOWEST)
	$(LOWEST)/bin/python .ci/lowest.py test >$(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip --disable-pip-version-check --no-input install --quiet \
		--constraint $(LOWEST)/constraints.txt --editable '.[test]'
	@touch $@

# -- the environment: made once, and again when what it is made from changes -------------------------------

EXTRAS_demo :=
EXTRAS_check := [test,lint,docs]
EXTRAS_fuzz := [test,fuzz]

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer with venv was found (Debian: apt-get" \
		"install python3-venv); name one with PYTHON=" >&2; exit 1; }
	@echo "== creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.for-%: setup.cfg pyproject.toml | $(BIN)/python
	@$(BIN)/python .ci/install.py --editable '.$(EXTRAS_$*)'
	@touch $@
