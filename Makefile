# `make` lists what can be done; every target sets itself up and installs nothing twice.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FULL := $(VENV)/.ready-full
AEQUITAS := .venv-aequitas
GDPR_TESTER := .venv-gdpr-tester
DEPLOY_LINT := .venv-deploy-lint
export PIP_DISABLE_PIP_VERSION_CHECK = 1

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamp, not the folder, says that set-up ended well: a broken install is tried again.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "Ennakko needs Python 3.11; say: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $(READY)

setup: $(READY) ## install what the product and its tests need (the other targets do it by themselves)

demo: $(READY) ## the main job on an invented city: features, models, gate, lists
	$(BIN)/ennakko demo

test: $(READY) ## the tests (10 minutes at most on 2 cores)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not full"

$(FULL): $(READY) $(AEQUITAS)/.ready $(GDPR_TESTER)/.ready $(DEPLOY_LINT)/.ready
	sh tests/setup_full.sh
	@touch $(FULL)

setup-full: $(FULL) ## what the tests with PostgreSQL, Chromium, Aequitas, the city's GDPR tester need (needs root)

test-full: $(FULL) ## the tests that need PostgreSQL and Chromium; a skip is a failure
	ENNAKKO_TEST_FULL=1 $(BIN)/python -m pytest -q -m full tests

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY) ## timings, as ratios where there is a rival: the command, features, measures, training
	$(BIN)/python tests/benchmarks/run.py
	$(BIN)/python tests/benchmarks/bench_features.py
	$(BIN)/python tests/benchmarks/bench_metrics.py
	$(BIN)/python tests/benchmarks/bench_training.py

bench-features: $(READY) ## features beside polars, DuckDB and pandas; writes the table of docs/performance.md
	$(BIN)/python tests/benchmarks/bench_features.py

bench-city-features: $(READY) ## 100 million events to 480 columns in Parquet (needs 4 GB of memory, 3 GB of disk)
	$(BIN)/python tests/benchmarks/bench_city_features.py

bench-training: $(READY) ## training beside bare LightGBM on 200 000 rows x 500 columns, and the measures on a million
	$(BIN)/python tests/benchmarks/bench_metrics.py
	$(BIN)/python tests/benchmarks/bench_training.py

bench-gate: $(READY) ## the gate's statistics on a million persons, beside row-wise fairlearn; its evidence on 50 000 rows
	$(BIN)/python tests/benchmarks/bench_gate.py
	$(BIN)/python tests/benchmarks/bench_evidence.py

bench-scoring: $(READY) ## scores, contributions and lists beside LightGBM's own prediction
	$(BIN)/python tests/benchmarks/bench_scoring.py

bench-city: $(READY) ## the week of a city of 675 000 persons, 100 million events (needs 6 GB of memory, 6 GB of disk)
	$(BIN)/python tests/benchmarks/bench_city.py

bench-serving: $(READY) ## the HTTP service beside an empty endpoint of BentoML and of our own; batches; latency under load
	$(BIN)/python tests/benchmarks/bench_serving.py

bench-assignment: $(READY) ## pre-school places: 10 000 children, 300 units
	$(BIN)/python tests/benchmarks/bench_assignment.py

$(AEQUITAS)/.ready: tests/oracles/aequitas.lock
	$(PYTHON) -m venv $(AEQUITAS)
	$(AEQUITAS)/bin/pip install --quiet --require-hashes -r tests/oracles/aequitas.lock
	@touch $(AEQUITAS)/.ready

$(GDPR_TESTER)/.ready: tests/oracles/gdpr_tester.lock
	$(PYTHON) -m venv $(GDPR_TESTER)
	$(GDPR_TESTER)/bin/pip install --quiet --require-hashes -r tests/oracles/gdpr_tester.lock
	@touch $(GDPR_TESTER)/.ready

$(DEPLOY_LINT)/.ready: tests/oracles/deploy_lint.lock
	$(PYTHON) -m venv $(DEPLOY_LINT)
	$(DEPLOY_LINT)/bin/pip install --quiet --require-hashes -r tests/oracles/deploy_lint.lock
	@touch $(DEPLOY_LINT)/.ready

bento: $(READY) ## build the Bento (docs/operate.md); it is kept where BENTOML_HOME says
	BENTOML_DO_NOT_TRACK=True $(BIN)/bentoml build

oracle-aequitas: $(READY) $(AEQUITAS)/.ready ## group measures beside Aequitas, in an environment of its own (needs COMPAS in ../shared/data)
	$(BIN)/python tests/oracles/aequitas_oracle.py

trials: $(READY) ## invented worlds with known truth: gate, intervals, leaks, censoring, kills, uplift (two hours)
	$(BIN)/python tests/benchmarks/gate_trials.py
	$(BIN)/python tests/benchmarks/worlds.py
	$(BIN)/python tests/benchmarks/kills.py
	$(BIN)/python tests/benchmarks/kills_week.py
	$(BIN)/python tests/benchmarks/uplift_trials.py
	$(BIN)/python tests/benchmarks/model_trials.py
	$(BIN)/python tests/benchmarks/outreach_trials.py

lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --upgrade -o requirements.lock
	uv pip compile pyproject.toml --constraint requirements.lock --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11 --upgrade -o requirements-run.lock

clean: ## remove the virtual environment, the state and the caches
	rm -rf $(VENV) $(AEQUITAS) $(GDPR_TESTER) $(DEPLOY_LINT) var .hypothesis .mypy_cache .ruff_cache

.PHONY: help setup bento demo test setup-full test-full lint bench bench-features bench-city-features bench-training bench-gate bench-scoring bench-serving bench-city bench-assignment oracle-aequitas trials lock clean
