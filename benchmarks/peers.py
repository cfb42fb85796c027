"""SPIN and Rumur on the benchmark model: how they are built, run and read."""

from __future__ import annotations

import platform
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from processes import Failed, Taken, run

HERE = Path(__file__).resolve().parent

# SPIN's exact ways to store all states.  BFS_PAR without NO_HC compacts states and is none.
SPIN_MODES: dict[str, tuple[str, ...]] = {
    "DFS": (),
    "NOCOMP": ("-DNOCOMP",),
    "SFH": ("-DSFH",),
    "BFS": ("-DBFS",),
    "BFS_PAR": ("-DBFS_PAR", "-DNO_HC"),
}


@dataclass(frozen=True)
class Size:
    """Pages and frames of the model; states that there are, and orbits, where known (so that a wrong count is seen)."""

    pages: int
    frames: int
    states: int | None = None
    orbits: int | None = None

    def __str__(self) -> str:
        return f"({self.pages},{self.frames})"


@dataclass(frozen=True)
class Sample:
    """One run of a checker.  explore: seconds of the search alone; whole: from the model's file to the verdict;
    peak: bytes; others: as in `Taken`."""

    states: int
    transitions: int
    explore: float
    whole: float
    peak: int
    others: float | None


class Spin:
    """One of SPIN's modes, with so many cores where that is possible."""

    name = "SPIN"

    def __init__(self, mode: str, cores: int = 1) -> None:
        self.mode, self.cores = mode, cores
        self.build_seconds = 0.0

    @staticmethod
    def there() -> bool:
        """Whether it is installed."""
        return bool(shutil.which("spin") and shutil.which("gcc"))

    def build(self, size: Size, folder: Path, seconds: float) -> None:
        """Generate and compile the verifier."""
        shutil.copy(HERE / "peers" / "pages.pml", folder)
        made = run(["spin", f"-DPAGES={size.pages}", f"-DFRAMES={size.frames}", "-a", "pages.pml"], folder, seconds)
        flags = ["-O3", "-w", "-DSAFETY", "-DNOREDUCE", "-DNOCLAIM", *SPIN_MODES[self.mode]]
        self.build_seconds = made.wall + run(["gcc", *flags, "-o", "pan", "pan.c"], folder, seconds).wall
        # As much room for the stack and as many slots as the model wants, and not much more.
        states = size.states or 1_000_000
        self.options = [f"-m{max(1_000_000, states)}", f"-w{max(18, states.bit_length())}"]
        if self.mode == "BFS_PAR":
            self.options.append(f"-u{self.cores}")

    def once(self, folder: Path, seconds: float) -> Sample:
        """One run.  Raises Failed, TooLong."""
        taken = run(["./pan", *self.options], folder, seconds)
        if "errors: 0" not in taken.output or "too small" in taken.output:
            raise Failed(f"SPIN does not find what it should:\n{taken.output[:1500]}")
        transitions = _number(r"(\d+) transitions", taken.output) - 1  # it counts the initial state as one
        # Where SPIN is too quick to tell, the process is what is known.
        told = re.search(r"elapsed time ([\d.e+]+) seconds", taken.output)
        explore = float(told[1]) if told else taken.wall
        return Sample(
            _number(r"(\d+) states, stored", taken.output),
            transitions,
            max(explore, 0.001),
            self.build_seconds + taken.wall,
            _peak(taken),
            taken.others,
        )


class Rumur:
    """Rumur; reduction: off, heuristic or exhaustive."""

    name = "Rumur"

    def __init__(self, reduction: str = "off", cores: int = 1) -> None:
        self.mode, self.cores = reduction, cores
        self.build_seconds = 0.0

    @staticmethod
    def there() -> bool:
        """Whether it is installed."""
        return bool(shutil.which("rumur") and shutil.which("gcc"))

    def build(self, size: Size, folder: Path, seconds: float) -> None:
        """Generate and compile the verifier; it keeps what its traces need, as ours can show traces too."""
        text = (HERE / "peers" / "pages.m").read_text(encoding="utf-8")
        kind = "0 .. PAGES - 1" if self.mode == "off" else "scalarset(PAGES)"
        for name, value in (("PAGE_TYPE", kind), ("PAGES", str(size.pages)), ("FRAMES", str(size.frames))):
            text = text.replace(f"${name}", value)
        (folder / "pages.m").write_text(text, encoding="utf-8")
        options = ["--threads", str(self.cores), "--symmetry-reduction", self.mode]
        made = run(["rumur", *options, "--output", "verify.c", "pages.m"], folder, seconds)
        cpu = ["-mcx16"] if platform.machine() == "x86_64" else []
        flags = ["-std=c11", "-w", "-O3", "-march=native", *cpu]
        self.build_seconds = (
            made.wall + run(["gcc", *flags, "-o", "verify", "verify.c", "-lpthread"], folder, seconds).wall
        )

    def once(self, folder: Path, seconds: float) -> Sample:
        """One run.  Raises Failed, TooLong."""
        taken = run(["./verify"], folder, seconds)
        if "No error found" not in taken.output:
            raise Failed(f"Rumur does not find what it should:\n{taken.output[-1500:]}")
        found = re.findall(r"(\d+) states, (\d+) rules fired", taken.output)[-1]
        return Sample(
            int(found[0]), int(found[1]), taken.wall, self.build_seconds + taken.wall, _peak(taken), taken.others
        )


def _peak(taken: Taken) -> int:
    """Peak memory; shared memory that SPIN reserves for its table is not in the process's own count."""
    told = re.search(r"([\d.]+)\s+total shared memory usage", taken.output)
    return max(taken.peak, int(float(told[1]) * 1e6) if told else 0)


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise Failed(f"no '{pattern}' in:\n{text[-1500:]}")
    return int(found[1])
