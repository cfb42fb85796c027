"""Which engines there are.  An engine judges one System and returns its report; a new one is one entry here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import cast

from hmmspec.checker.check import check
from hmmspec.checker.native.engine import check_auto, check_native
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Progress
from hmmspec.cli.args import mistake
from hmmspec.diagnostics import did_you_mean
from hmmspec.system.system import System

Engine = Callable[[System, CheckOptions, Callable[[Progress], None] | None], InstanceReport]

ENGINES: dict[str, Engine] = {"auto": check_auto, "python": check, "native": check_native}
PLANNED = ("z3", "all")


def engine(name: str, *, simulates: bool = False) -> Engine:
    """The engine of a name, for a search or for random runs.

    Raises SpecError for one that does not exist or that this version lacks.
    """
    if name in ENGINES:
        if simulates:
            # Only here, so that a search does not wait for what it does not need.
            return cast("dict[str, Engine]", import_module("hmmspec.cli.simulators").SIMULATORS)[name]
        return ENGINES[name]
    there = f"this version has: {', '.join(ENGINES)}"
    if name in PLANNED:
        raise mistake("HMM085", f"this version of hmmspec has no engine '{name}'", there)
    raise mistake("HMM085", f"there is no engine '{name}'", did_you_mean(name, [*ENGINES, *PLANNED]) or there)
