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
# Those that need Z3, which takes a while to load: where they are.
_WITH_Z3 = {
    "z3": ("hmmspec.checker.symbolic.settle", "prove_instance"),
    "all": ("hmmspec.checker.symbolic.agreement", "check_all"),
}


def engine(name: str, *, simulates: bool = False) -> Engine:
    """The engine of a name, for a search or for random runs.  Raises SpecError for one that there is not."""
    if name not in ENGINES and name not in _WITH_Z3:
        known = [*ENGINES, *_WITH_Z3]
        told = did_you_mean(name, known) or f"this version has: {', '.join(known)}"
        raise mistake("HMM085", f"there is no engine '{name}'", told)
    # Modules are loaded here, so that nobody waits for what is not needed.
    if simulates:
        if name not in ENGINES:
            raise mistake("HMM085", f"the engine '{name}' makes no random runs", f"these do: {', '.join(ENGINES)}")
        return cast("dict[str, Engine]", import_module("hmmspec.cli.simulators").SIMULATORS)[name]
    if name in ENGINES:
        return ENGINES[name]
    module, function = _WITH_Z3[name]
    return cast("Engine", getattr(import_module(module), function))
