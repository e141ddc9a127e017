# Everything is set up in .venv by the first target that needs it; `make clean` takes it away again.
#
#   make demo     watch connections being made, in every security mode, through every adapter
#   make test     check, then the fast tests on every other Python that is there, then every test on one
#   make check    format, lint, types, the structure of the project, the docs
#   make fuzz     each fuzz target, or each of FUZZ_TARGETS, for FUZZ_SECONDS (60)
#   make mutation change the core in thousands of small ways, each of which the tests have to find, for an hour or two
#   make interop  the tests against the real servers and clients that are here, and the table of who did what
#   make model    the model check with more commands at a time, for some minutes
#   make bench    the benchmarks
#   make compare  what other libraries do, and ours, as the README has it
#   make docs     the documentation, in docs/_build/html
#   make picture  the picture of a session in the README
#   make links    whether the links of the documentation lead somewhere, for which it needs a network
#   make dist     wheel and sdist, in dist, and the fast tests from the sdist, where nothing else is
#   make format   put the sources into the one format
#   make clean    remove what the others made
#
# PYTHON=/path/to/python says which Python to make .venv with; otherwise it is the newest one found.

PYTHON =
FUZZ_SECONDS = 60
FUZZ_TARGETS =
PYTEST_ARGS =
BENCH_ARGS =
COMPARE_ARGS =
INTEROP_TABLE = interop.json

# Whole files of tests side by side, so that what a file starts is started once.
SIDE_BY_SIDE = --numprocesses=auto --maxprocesses=4 --dist=loadfile

VENV = .venv
BIN = $(VENV)/bin
PIP = -m pip --disable-pip-version-check --quiet --no-input
SUPPORTED = 3.13 3.12 3.11
# A test that needs other extras, real servers, or to build things is not one of the fast ones.
FAST = tests --ignore=tests/adapters --ignore=tests/interop --ignore=tests/test_cli.py --ignore-glob=tests/test_cli_*.py \
	--ignore-glob=tests/test_bench*.py --ignore=tests/test_docs.py --ignore=tests/test_packaging.py \
	--ignore=tests/test_scripted.py -m "not slow"

.PHONY: help demo test check everywhere fast everything interop fuzz mutation model bench compare docs picture links dist format clean
.NOTPARALLEL:
.DEFAULT_GOAL := help

help:
	@sed -n '2,/^$$/s/^# \{0,1\}//p' Makefile

demo: $(VENV)/stamp-demo
	@$(BIN)/smtpproto connect --demo

test: check everywhere everything

check: $(VENV)/stamp-dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -q tests/test_structure.py
	$(BIN)/python -m sphinx -b html -n -W --keep-going -q docs docs/_build/html

everywhere: $(VENV)/stamp-venv
	@all=$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in $(SUPPORTED); do \
		if [ "$$version" = "$$all" ]; then \
			echo "CPython $$version: that is $(VENV), which runs every test."; \
		elif python=$$(.ci/find-python $$version); then \
			echo "CPython $$version ($$python): the fast tests."; \
			$(MAKE) --no-print-directory fast VERSION=$$version FOUND="$$python" || exit 1; \
		else \
			echo "CPython $$version is not on this machine, so the fast tests do not run on it."; \
		fi; \
	done

fast: $(VENV)/py$(VERSION)/stamp
	@$(VENV)/py$(VERSION)/bin/python -m pytest -q $(SIDE_BY_SIDE) $(FAST) $(PYTEST_ARGS)

everything: $(VENV)/stamp-dev $(VENV)/registry/stamp
	$(BIN)/python -m pytest -q $(SIDE_BY_SIDE) --cov=smtpproto --cov-branch --cov-report=term-missing:skip-covered \
		--cov-fail-under=100 $(PYTEST_ARGS)

# With INTEROP_TABLE=tests/interop/table.json, where nothing is missing, it is what stands in the documentation.
interop: $(VENV)/stamp-dev
	@$(BIN)/python -m pytest -q tests/interop --interop-table=$(INTEROP_TABLE) $(PYTEST_ARGS); status=$$?; \
		$(BIN)/python -m tests.interop.table $(INTEROP_TABLE) && exit $$status

# What it finds lands in fuzz/found/, and belongs in fuzz/corpus/ once it is understood.
fuzz: $(VENV)/fuzz/stamp
	@$(VENV)/fuzz/bin/python -m fuzz --seconds=$(FUZZ_SECONDS) $(FUZZ_TARGETS)

mutation: $(VENV)/mutation/stamp
	@$(VENV)/mutation/bin/python -m tests.mutation

model: $(VENV)/stamp-dev
	SMTPPROTO_MODEL=1 $(BIN)/python -m pytest -q -s tests/model

# The registry has another package of the name smtpproto, which lives in an environment of its own.
bench: $(VENV)/stamp-dev $(VENV)/registry/stamp
	$(BIN)/python -m tests.bench --json bench.json $(BENCH_ARGS)

compare: $(VENV)/stamp-dev $(VENV)/registry/stamp
	$(BIN)/python -m tests.comparison $(COMPARE_ARGS)

docs: $(VENV)/stamp-dev
	$(BIN)/python -m sphinx -b html -n -W --keep-going docs docs/_build/html

links: $(VENV)/stamp-dev
	$(BIN)/python -m sphinx -b linkcheck --keep-going -q docs docs/_build/links

dist: $(VENV)/stamp-dev
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m venv --clear $(VENV)/dist
	mkdir $(VENV)/dist/source
	tar -xzf dist/*.tar.gz -C $(VENV)/dist/source --strip-components=1
	$(VENV)/dist/bin/python $(PIP) install '$(VENV)/dist/source[fast]'
	cd $(VENV)/dist/source && ../bin/python -m pytest -q $(SIDE_BY_SIDE) $(FAST) $(PYTEST_ARGS)

format: $(VENV)/stamp-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

picture: $(VENV)/stamp-dev
	$(BIN)/python -m tests.picture

clean:
	rm -rf $(VENV) build dist docs/_build fuzz/found mutants bench.json interop.json .coverage .coverage.* \
		.mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written when its step is done, so that a step which was broken off is taken again.

$(VENV)/stamp-venv:
	@python=$$(.ci/find-python $(if $(PYTHON),"$(PYTHON)",$(SUPPORTED) python3 python)) || { \
		echo "smtpproto needs Python 3.11 or newer with its venv module, and found none$(if $(PYTHON), at $(PYTHON)):" \
			"install one, or say where it is with PYTHON=/path/to/python." >&2; exit 1; }; \
	echo "Making $(VENV) with $$python."; "$$python" -m venv $(VENV)
	@touch $@

$(VENV)/stamp-demo: $(VENV)/stamp-venv pyproject.toml
	@echo "Installing what the demo needs."
	@$(BIN)/python $(PIP) install -e '.[cli,testing,trio]'
	@touch $@

$(VENV)/stamp-dev: $(VENV)/stamp-venv pyproject.toml
	@echo "Installing what the tests need."
	@$(BIN)/python $(PIP) install -e '.[dev]'
	@touch $(VENV)/stamp-demo $@

$(VENV)/py$(VERSION)/stamp: pyproject.toml
	@"$(FOUND)" -m venv $(VENV)/py$(VERSION)
	@$(VENV)/py$(VERSION)/bin/python $(PIP) install -e '.[fast]'
	@touch $@

$(VENV)/registry/stamp: $(VENV)/stamp-venv Makefile
	@$(BIN)/python -m venv --clear $(VENV)/registry
	@$(VENV)/registry/bin/python $(PIP) install smtpproto==2.0.0 trio
	@touch $@

$(VENV)/mutation/stamp: $(VENV)/stamp-venv pyproject.toml
	@$(BIN)/python -m venv --clear $(VENV)/mutation
	@$(VENV)/mutation/bin/python $(PIP) install -e '.[mutation]'
	@touch $@

# Atheris is built for some Pythons only: the newest that it has a wheel for.  Without it the targets run all the same,
# with inputs that are made by chance alone.
$(VENV)/fuzz/stamp: pyproject.toml
	@for version in $(SUPPORTED); do \
		python=$$(.ci/find-python $$version) || continue; \
		"$$python" -m venv --clear $(VENV)/fuzz; \
		if $(VENV)/fuzz/bin/python $(PIP) install --only-binary atheris -e '.[fuzz]'; then \
			touch $@; exit 0; \
		fi; \
		other=$${other:-$$python}; \
	done; \
	test -n "$$other" || { echo "Found no Python among $(SUPPORTED)." >&2; exit 1; }; \
	echo "Found no Python among $(SUPPORTED) that atheris can be installed for: fuzzing without it."; \
	"$$other" -m venv --clear $(VENV)/fuzz && $(VENV)/fuzz/bin/python $(PIP) install -e . && touch $@
