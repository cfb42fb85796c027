"""What a check is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CheckOptions:
    """engine: which one runs; symmetry: reduce by it where that is sound; states, seconds, memory (bytes): limits, None
    for none; max_traces: distinct counterexamples per property; witness: also a run to each `reachable` that holds;
    expectations: whether the file's `expect` lines are judged (not when parameters were set by hand); threads: of the
    native engine, 0 for one on each core; keep_c: a folder for the C text of each instance.
    """

    engine: str = "python"
    symmetry: bool = True
    states: int | None = None
    seconds: float | None = None
    memory: int | None = None
    threads: int = 0
    seed: int = 0
    max_traces: int = 1
    witness: bool = True
    expectations: bool = True
    keep_c: Path | None = None
