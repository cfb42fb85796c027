# make check   judge every spec in specs/
# make test    everything a change must pass: style, types, tests; make test-long: that, and what takes long
# make test-linux
#              scenarios and random programs on a real kernel, built from /usr/src or HMMSPEC_LINUX_SOURCE (docs/linux.md)
# make fmt     lay the Python and the specs out
# make bench   the reference kernel against memcpy, the follower, the native engine against spin and rumur, where installed;
#              make bench-full: large sizes, too
# make lock    pin the newest dependencies anew
# make clean   remove what the above made
#
# The first run makes .venv from the lock file; see tools/venv.sh.  PYTHON=python3.12 picks an interpreter.

SHELL := /bin/bash
VENV  := .venv
BIN   := $(VENV)/bin
SPECS := $(sort $(wildcard specs/*.hmm))
CODE  := hmmspec tests benchmarks
LAID  := $(wildcard specs/*.hmm specs/bugs/*.hmm specs/conform/*.hmm benchmarks/*.hmm docs/tutorial/*.hmm scenarios/*.scn)

.PHONY: all check test test-long test-linux lint fmt bench bench-full lock clean
.NOTPARALLEL:

all: check

check: $(VENV)/.stamp
	$(BIN)/hmmspec check $(SPECS)

# Tests come last, so that their count is the last thing to read.
test: lint
	$(BIN)/python -m pytest -n auto -m 'not slow'

# What takes minutes to an hour: every spec on both engines, a thousand generated ones, all planted defects.
test-long: lint
	HMMSPEC_AGREEMENT=1000 $(BIN)/python -m pytest -n auto

# The image is found where it was built before.  Linux is not deterministic: the seed makes the programs the same, no more.
HMMSPEC_LINUX_SOURCE ?= debian
HMMSPEC_LINUX_STEPS  ?= 20000
HMMSPEC_LINUX_ALONE  ?= 2000
test-linux: $(VENV)/.stamp
	rm -rf build/linux
	$(BIN)/hmmspec linux build --source '$(HMMSPEC_LINUX_SOURCE)' --out build/linux
	$(BIN)/hmmspec scenario --target linux --image build/linux scenarios
	$(BIN)/python -m tests.linux.leaking --image build/linux
	$(BIN)/hmmspec conform --target ref,linux@image=build/linux --steps $(HMMSPEC_LINUX_STEPS) --seed 1
	$(BIN)/hmmspec conform --target linux --image build/linux --steps $(HMMSPEC_LINUX_ALONE) --seed 1

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy
	$(BIN)/hmmspec fmt --check $(LAID)

fmt: $(VENV)/.stamp-dev
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)
	$(BIN)/hmmspec fmt $(LAID)

# Within half an hour, and then what takes hours.  With matplotlib in the environment there is a plot, too.
bench: $(VENV)/.stamp-dev
	$(BIN)/python benchmarks/reference.py
	$(BIN)/python benchmarks/follower.py
	$(BIN)/python benchmarks/native.py

bench-full: $(VENV)/.stamp-dev
	$(BIN)/python benchmarks/native.py --sizes full

$(VENV)/.stamp: requirements.lock pyproject.toml tools/venv.sh
	@tools/venv.sh $(VENV) requirements.lock
	@touch $@

# The development lock holds the same versions of everything in the other, and more.
$(VENV)/.stamp-dev: requirements-dev.lock pyproject.toml tools/venv.sh
	@tools/venv.sh $(VENV) requirements-dev.lock
	@touch $@ $(VENV)/.stamp

# On Python 3.11, the oldest supported: what newer versions need is a part of what it needs.
LOCK := $(VENV)-lock/bin/pip-compile --quiet --no-config --generate-hashes --strip-extras --upgrade \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --build-deps-for editable
lock:
	test -x $(VENV)-lock/bin/pip-compile || { python3.11 -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet pip-tools; }
	CUSTOM_COMPILE_COMMAND="make lock" $(LOCK) --output-file requirements.lock pyproject.toml
	CUSTOM_COMPILE_COMMAND="make lock" $(LOCK) --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

clean:
	rm -rf $(VENV) $(VENV)-lock build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis benchmarks/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
