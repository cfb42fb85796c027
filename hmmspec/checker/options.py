"""What a check is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RandomRuns:
    """Instead of a search: so many random runs (None: until a limit) of at most `depth` steps each."""

    runs: int | None = 10_000
    depth: int = 1000


@dataclass(frozen=True)
class Checkpoints:
    """Where a search is saved from time to time: in `folder`, in a file named after spec and instance, or in `file`.

    every: seconds between two checkpoints; overrides: what `-p` set, to be set again when the search goes on; version:
    of hmmspec, for the file.
    """

    folder: Path
    every: float = 600.0
    overrides: tuple[tuple[str, str], ...] = ()
    version: str = ""
    file: Path | None = None

    def path(self, spec: str, instance: str) -> Path:
        """The file for an instance."""
        return self.file or self.folder / f"{spec}-{instance}.ckpt"


@dataclass(frozen=True)
class CheckOptions:
    """engine: which one runs; symmetry: reduce by it where that is sound; states, seconds, memory (bytes): limits, None
    for none; max_traces: distinct counterexamples per property; witness: also a run to each `reachable` that holds;
    expectations: whether the file's `expect` lines are judged (not when parameters were set by hand); threads: of the
    native engine, 0 for one on each core; keep_c: a folder for the C text of each instance; simulate: random runs, and
    no search; checkpoints: of the native engine, None for none; hash_bits: of each state kept by the native engine
    instead of the state (40, 64; 0 for whole states); spill: a folder for its states.
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
    simulate: RandomRuns | None = None
    checkpoints: Checkpoints | None = None
    hash_bits: int = 0
    spill: Path | None = None
