"""The engines for random runs, by the names of those that search (`engines.py`)."""

from __future__ import annotations

from hmmspec.checker.native.simulate import simulate_auto, simulate_native
from hmmspec.checker.simulate import simulate
from hmmspec.cli.engines import Engine

SIMULATORS: dict[str, Engine] = {"auto": simulate_auto, "python": simulate, "native": simulate_native}
