# Everything a fresh machine needs, from Python 3.10 to 3.13 alone.
# make demo       set up, run the main job on real input, and show it
# make test       set up and run all tests; needs Java 17, Maven, openssl, cc, Debian's chromium and apt-get
# make test-fast  the tests that start no server, under a minute
# make slo        the CTR example's scoring service under its objective, beside inline towers
# make test-faults  faults on the real servers, in full: about half an hour
# make bench      everything that docs/benchmarks.md compares, side by side: about 40 minutes
# make check      lint, format, types and import directions
# make check-docker  every checker of docker/
# make docs       write docs/configuration.md and docs/metrics.md again
# make lock       resolve requirements/*.txt again

PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3.13 python3; do \
	"$$p" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& command -v "$$p" && break; done)
BIN := .venv/bin
UV := $(BIN)/uv

.PHONY: setup retina models tensorrt demo slo bench test test-fast test-faults check check-docker docs lock clean

setup: .venv/.done
retina: .venv-retina/.done

.venv/.done: requirements/dev.txt setup.cfg
	@test -n "$(PYTHON)" || { echo "no Python 3.10 to 3.13 found; set PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) pip sync --quiet --python $(BIN)/python requirements/dev.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable . uv
	touch $@

.venv-retina/.done: requirements/retina.txt .venv/.done
	$(UV) venv --quiet --clear --seed --python $(BIN)/python .venv-retina
	$(UV) pip sync --quiet --python .venv-retina/bin/python requirements/retina.txt
	touch $@

# TensorRT's libraries, about half a gigabyte; Maven keeps what it has.
tensorrt: setup
	$(BIN)/python -m export.tensorrt.fetch

models: setup
	$(BIN)/python -m export --all

demo: setup retina models
	$(BIN)/python -m examples.demo

slo: setup retina models
	$(BIN)/python -m examples.ctr slo

# Peers' environments are made in .cache/bench; needs Java 17, Maven and Debian's redis-server.
bench: setup retina models
	$(BIN)/python -m benchmarks.gateway

# Each line has servers of its own, so that none of them waits for what others have started.
test: setup retina models tensorrt
	$(BIN)/python -m pytest -n 2 tests/unit tests/torch_only
	$(BIN)/python -m pytest tests/contract tests/browser tests/integration
	$(BIN)/python -m pytest tests/faults

test-faults: setup retina models
	FAULT_ROUNDS=3 BULK_REQUESTS=100000 $(BIN)/python -m pytest -m "" tests/faults
	BAD_INPUTS=100000 $(BIN)/python -m pytest tests/integration/test_bad_inputs.py

test-fast: setup
	$(BIN)/python -m pytest -n 2 -m "not cluster and not full" tests/unit tests/contract

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Needs Go, and promtool (Debian: prometheus), which PROMTOOL may name.
check-docker: setup
	docker/check

docs: setup
	$(BIN)/python docs/generate.py

lock: setup
	$(UV) pip compile --quiet --universal --python-version 3.10 --extra test \
		--custom-compile-command "make lock" setup.cfg -o requirements/dev.txt
	$(UV) pip compile --quiet --universal --python-version 3.10 \
		--custom-compile-command "make lock" requirements/retina.in -o requirements/retina.txt
	for part in gateway consumers; do \
		$(UV) pip compile --quiet --universal --python-version 3.12 --extra $$part --extra cassandra \
			--extra kafka --extra tracing --custom-compile-command "make lock" setup.cfg -o requirements/$$part.txt \
			|| exit 1; \
	done

clean:
	rm -rf .venv .venv-retina embark-data .cache model_repository/*/[0-9]*/
