# Every target sets up an environment of its own; it is rebuilt when a requirement changes.
PYTHON ?= python3
# Of today's versions some do without Python 3.11, on which CI runs.
VERSIONS := $(shell $(PYTHON) -c "import sys; print('constraints' + '-newest' * (sys.version_info >= (3, 12)) + '.txt')")
REQUIREMENTS := pyproject.toml $(VERSIONS)
NEWEST_PEERS := jax numba numpyro==0.22.0 pymc==6.4.0 bayesflow==2.1.0
PEERS := jax numba numpyro pymc pystan higher learn2learn torchopt "setuptools<81"
# Two workers with one thread each: the tests are many small computations.
TEST = OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2

.PHONY: demo test test-all test-newest test-oldest lint bench bench-newest bench-first bench-maml \
	docs docs-test clean

demo: .venv/installed
	.venv/bin/python examples/radon.py

test: lint
	$(TEST) -m "not slow"

test-all: lint
	$(TEST)

# The same tests with other versions, each Python in an environment of its own; torch of PyPI brings
# CUDA, 3 GB: `make test-newest PYTHON=python3.13`, `make test-oldest PYTHON=python3.11`.
test-newest test-oldest: test-%: .venv-%-$(notdir $(PYTHON))/installed
	OMP_NUM_THREADS=1 $(dir $<)bin/python -m pytest -n 2 -m "not slow"

lint: .venv/installed-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy bayesmeta

bench: .venv-bench/installed
	.venv-bench/bin/python -m benchmarks.nuts

# Today's peers, which need Python 3.12: `make bench-newest PYTHON=python3.12`.
bench-newest: .venv-bench-newest/installed
	.venv-bench-newest/bin/python -m benchmarks.nuts --out benchmarks/newest \
		--only bayesmeta "nutpie + PyMC" NumPyro
	.venv-bench-newest/bin/python -m benchmarks.amortised --out benchmarks/newest

# R's lme4 and glmmTMB are measured beside where they are installed.
bench-first: .venv-bench/installed
	.venv-bench/bin/python -m benchmarks.first_answer

bench-maml: .venv-bench/installed
	.venv-bench/bin/python -m benchmarks.maml

# The site, in docs/_build/html: the lecture is computed, short examples run, warnings are errors.
docs: .venv-docs/installed docs/generated/extra/lecture/index.html
	OMP_NUM_THREADS=1 .venv-docs/bin/python -m sphinx -W --keep-going -b html \
		-d docs/_build/doctrees docs docs/_build/html

# Links and images, and, where Chromium is found, pages on a wide and on a narrow screen.
docs-test: docs
	.venv-docs/bin/python docs/check_links.py docs/_build/html
	.venv-docs/bin/python docs/check_pages.py docs/_build/html

docs/generated/extra/lecture/index.html: .venv-docs/installed $(wildcard examples/lecture/*.py)
	OMP_NUM_THREADS=1 .venv-docs/bin/python -m bayesmeta.lecture docs/generated/lecture
	mkdir -p $(dir $@)
	cp docs/generated/lecture/index.html $@

clean:
	rm -rf .venv .venv-* build dist out *.egg-info .mypy_cache .pytest_cache .ruff_cache
	rm -rf docs/_build docs/generated

.venv/installed: $(REQUIREMENTS)
	$(PYTHON) -m venv --clear .venv
	.venv/bin/pip install --quiet -c $(VERSIONS) -e .
	touch $@

.venv/installed-test: .venv/installed
	.venv/bin/pip install --quiet -c $(VERSIONS) -e ".[test]"
	touch $@

.venv-docs/installed: $(REQUIREMENTS) constraints-docs.txt
	$(PYTHON) -m venv --clear .venv-docs
	.venv-docs/bin/pip install --quiet -c $(VERSIONS) -c constraints-docs.txt -e ".[docs]"
	touch $@

.venv-%-$(notdir $(PYTHON))/installed: constraints-%.txt pyproject.toml
	$(PYTHON) -m venv --clear $(dir $@)
	$(dir $@)bin/pip install --quiet -c $< -e ".[test]"
	touch $@

.venv-bench-newest/installed: constraints-newest.txt pyproject.toml
	$(PYTHON) -m venv --clear .venv-bench-newest
	.venv-bench-newest/bin/pip install --quiet -e . $(NEWEST_PEERS)
	touch $@

# A peer that does not install must not keep the others from being measured.
.venv-bench/installed: $(REQUIREMENTS)
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/pip install --quiet -c $(VERSIONS) -e .
	for peer in $(PEERS); do \
		.venv-bench/bin/pip install --quiet -c $(VERSIONS) $$peer || echo "$$peer: not installed"; \
	done
	touch $@
