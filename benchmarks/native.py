"""The native engine against SPIN's exact modes and Rumur on benchmarks/pages.hmm.

All count the same states, one thread unless a row says otherwise; runs take turns, medians of three (peers' runs beyond
a minute once).  `explore` is the search alone: ours is the mean of enough repeats to fill a second; SPIN's is the
elapsed time that it prints; Rumur prints none, so its process counts.  `whole` is from the model's file to the verdict:
generating, compiling and running; ours with nothing in the cache of compiled specs, and `cached` with the compiled spec
there.  `others` is the part of all cores that was busy with something else meanwhile: with more than a few per cent
there, measure again.

Writes a table in Markdown to standard output and, with the same numbers as JSON and (with matplotlib) as a plot, to
benchmarks/results/.  Exits with 1 if two checkers count differently.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from peers import SPIN_MODES, Rumur, Sample, Size, Spin
from processes import Failed, TooLong, run

HERE = Path(__file__).resolve().parent
SPEC = HERE / "pages.hmm"
LONG = 60.0  # seconds from which on a peer runs once
REPEATED = 1.0  # seconds below which our search is repeated

COLUMNS = (
    *("size", "stored", "checker", "mode", "threads", "states", "transitions", "explore s", "states/s", "x ours"),
    *("whole s", "cached s", "peak MB", "others", "runs"),
)

FULL = (Size(4, 1, 185_625, 9_860), Size(4, 2, 320_625), Size(5, 1, 3_290_625, 42_228))
ORBITS = (Size(5, 1, 3_290_625, 42_228), Size(6, 3, None, 472_940))
MORE_FULL = (Size(5, 2, 6_665_625),)
MORE_ORBITS = (Size(8, 3, None, 6_172_530),)
ALONE = (Size(6, 2, 132_890_625),)  # beyond the memory of the others


class Hmmspec:
    """The native engine as a user calls it."""

    name = "hmmspec"

    def __init__(self, orbits: bool, threads: int = 1) -> None:
        self.orbits, self.threads = orbits, threads
        self.mode = "native"
        self.cores = threads
        self.cached: list[float] = []
        self.memory = "16G"

    def build(self, size: Size, folder: Path, seconds: float) -> None:
        """Nothing is built ahead: a run compiles."""
        self.size = size

    def command(self) -> list[str]:
        """The command line of one check."""
        options = ["--engine", "native", "--threads", str(self.threads), "--memory", self.memory, "--json", "--quiet"]
        sizes = ["-p", f"PAGES={self.size.pages}", "-p", f"FRAMES={self.size.frames}"]
        reduced = [] if self.orbits else ["--no-symmetry"]
        return [sys.executable, "-m", "hmmspec", "check", str(SPEC), *sizes, *options, *reduced]

    def once(self, folder: Path, seconds: float) -> Sample:
        """One run with an empty cache, one with a full one, and repeats of the search alone."""
        with tempfile.TemporaryDirectory() as cache:
            environment = {"XDG_CACHE_HOME": cache, "PYTHONPATH": str(HERE.parent)}
            taken = run(self.command(), HERE.parent, seconds, environment)
            found = json.loads(taken.output[taken.output.index("{") :])["instances"][0]
            if found["engine"] != "native":
                raise Failed(f"not the native engine: {found.get('remark', '')}")
            explore = found["explore_seconds"]
            if explore < REPEATED:
                self.cached.append(run(self.command(), HERE.parent, seconds, environment).wall)
                numbers = map(str, (self.size.pages, self.size.frames, self.threads, int(self.orbits)))
                repeat = [sys.executable, str(HERE / "repeat.py"), *numbers]
                explore = json.loads(run(repeat, HERE.parent, seconds, environment).output)["seconds"]
        states = found["orbits"] if self.orbits else found["states"]
        return Sample(states, found["transitions"], explore, taken.wall, taken.peak, taken.others)


Checker = Hmmspec | Spin | Rumur


@dataclass(frozen=True)
class Row:
    """One checker on one size.  times: how many runs; cached: ours, whole, with the compiled spec at hand; why: where
    it did not run."""

    size: str
    stored: str
    checker: str
    mode: str
    threads: int
    times: int
    states: int = 0
    transitions: int = 0
    explore: float = 0.0
    whole: float = 0.0
    cached: float | None = None
    peak: int = 0
    others: float | None = None
    why: str = ""

    @property
    def rate(self) -> float:
        """States a second."""
        return self.states / self.explore if self.explore else 0.0


def checkers(stored: str, size: Size) -> Iterator[Checker]:
    """Who runs on a size."""
    orbits = stored == "orbits"
    yield Hmmspec(orbits)
    yield Hmmspec(orbits, 2)
    if size in ALONE:
        return
    if not orbits and Spin.there():
        yield from (Spin(mode) for mode in SPIN_MODES)
        yield Spin("BFS_PAR", 2)
    if Rumur.there():
        yield Rumur("heuristic" if orbits else "off")
        if orbits and size.pages <= 5:
            yield Rumur("exhaustive")


def measure(stored: str, size: Size, times: int, left: Callable[[], float]) -> list[Row]:
    """Every checker on one size, in turns; what fails or takes too long says so in its row."""
    out: list[Row] = []
    with tempfile.TemporaryDirectory() as top:
        ready: list[tuple[Checker, Path, list[Sample]]] = []
        for number, checker in enumerate(checkers(stored, size)):
            folder = Path(top) / str(number)
            folder.mkdir()
            try:
                checker.build(size, folder, max(1.0, left()))
                ready.append((checker, folder, []))
            except (Failed, TooLong) as e:
                out.append(_absent(stored, size, checker, e))
        for turn in range(times):
            for entry in list(ready):
                checker, folder, samples = entry
                if turn and (left() < 0 or (samples[0].whole > LONG and not isinstance(checker, Hmmspec))):
                    continue
                try:
                    samples.append(checker.once(folder, max(1.0, left())))
                    _progress(stored, size, checker, samples[-1])
                except (Failed, TooLong) as e:
                    if not samples:
                        out.append(_absent(stored, size, checker, e))
                        ready.remove(entry)
    rows = [_row(stored, size, checker, samples) for checker, _, samples in ready]
    return rows + out


def _progress(stored: str, size: Size, checker: Checker, s: Sample) -> None:
    text = f"{stored} {size} {checker.name} {checker.mode} {checker.cores}: {s.states} states, {s.explore:.3f} s"
    print(text, file=sys.stderr, flush=True)


def _absent(stored: str, size: Size, checker: Checker, error: Exception) -> Row:
    why = "no time left" if isinstance(error, TooLong) else str(error).splitlines()[0]
    print(f"{stored} {size} {checker.name} {checker.mode}: {str(error) or why}", file=sys.stderr, flush=True)
    return Row(str(size), stored, checker.name, checker.mode, checker.cores, 0, why=why)


def _row(stored: str, size: Size, checker: Checker, samples: list[Sample]) -> Row:
    others = [s.others for s in samples if s.others is not None]
    cached = checker.cached if isinstance(checker, Hmmspec) else []
    return Row(
        str(size),
        stored,
        checker.name,
        checker.mode,
        checker.cores,
        len(samples),
        samples[0].states,
        samples[0].transitions,
        median(s.explore for s in samples),
        median(s.whole for s in samples),
        median(cached) if cached else None,
        int(median(s.peak for s in samples)),
        median(others) if others else None,
    )


def disagreements(rows: list[Row], sizes: dict[str, dict[str, Size]]) -> list[str]:
    """Where checkers that store the same kind of thing count differently, or not what is known."""
    out: list[str] = []
    for stored, by_size in sizes.items():
        for name, size in by_size.items():
            known = size.orbits if stored == "orbits" else size.states
            # Rumur's heuristic may store several states of one orbit.
            here = [r for r in rows if (r.size, r.stored) == (name, stored) and r.times and r.mode != "heuristic"]
            counts = {(r.states, r.transitions if stored != "orbits" else 0): f"{r.checker} {r.mode}" for r in here}
            if len(counts) > 1 or (known is not None and any(states != known for states, _ in counts)):
                out.append(f"{stored} {name}, known {known}: " + ", ".join(f"{w} {c}" for c, w in counts.items()))
    return out


# ---------------------------------------------------------------- what is shown


def table(rows: list[Row]) -> str:
    """Markdown."""
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        "|---|---|---|---" + "|--:" * (len(COLUMNS) - 4) + "|",
    ]
    for r in rows:
        head = f"| {r.size} | {r.stored} | {r.checker} | {r.mode} | {r.threads} "
        if not r.times:
            lines.append(f"{head}| {r.why} |  |  |  |  |  |  |  |  | 0 |")
            continue
        own = _own(rows, r)
        slower = f"{r.explore / own.explore:.1f}" if own is not None else ""
        others = "" if r.others is None else f"{100 * r.others:.0f} %"
        cached = "" if r.cached is None else f"{r.cached:.2f}"
        lines.append(
            f"{head}| {r.states:,} | {r.transitions:,} | {r.explore:.3f} | {r.rate:,.0f} | {slower} | {r.whole:.2f} "
            f"| {cached} | {r.peak / 1e6:.0f} | {others} | {r.times} |"
        )
    return "\n".join(lines)


def _own(rows: list[Row], like: Row, threads: int = 1) -> Row | None:
    here = [r for r in rows if (r.size, r.stored, r.checker, r.threads) == (like.size, like.stored, "hmmspec", threads)]
    return here[0] if here and here[0].times else None


def ratios(rows: list[Row]) -> list[str]:
    """What the numbers come to, per size."""
    out: list[str] = []
    seen: set[tuple[str, str]] = set()
    for r in rows:
        own = _own(rows, r)
        if own is None or (r.size, r.stored) in seen:
            continue
        seen.add((r.size, r.stored))
        here = [x for x in rows if (x.size, x.stored, x.threads) == (r.size, r.stored, 1) and x.times]
        parts: list[str] = []
        for name in ("SPIN", "Rumur"):
            theirs = [x for x in here if x.checker == name]
            if theirs:
                best = min(theirs, key=lambda x: x.explore)
                parts.append(
                    f"{name} ({best.mode}) {best.explore / own.explore:.1f}x the time to explore, "
                    f"{min(x.whole for x in theirs) / own.whole:.1f}x the whole time, "
                    f"{min(x.peak for x in theirs) / own.peak:.1f}x the memory (its best mode for each)"
                )
        two = _own(rows, r, 2)
        if two is not None:
            parts.append(f"two threads {own.explore / two.explore:.2f}x one")
        out.append(f"- {r.size} {r.stored}: " + "; ".join(parts))
    return out


def whole_runs() -> str:
    """`leads_to` and `recoverable` on more than 10^7 states, as a line; raises Failed."""
    command = [
        sys.executable,
        "-m",
        "hmmspec",
        "check",
        str(HERE / "pages_live.hmm"),
        "-i",
        "p52",
        "--engine",
        "native",
    ]
    with tempfile.TemporaryDirectory() as cache:
        environment = {"XDG_CACHE_HOME": cache, "PYTHONPATH": str(HERE.parent)}
        taken = run([*command, "--json", "--quiet"], HERE.parent, None, environment)
    document = json.loads(taken.output[taken.output.index("{") :])
    found = document["instances"][0]
    verdicts = ", ".join(
        f"{v['property']} {v['verdict']}" for v in document["verdicts"] if v["kind"] in ("leads_to", "recoverable")
    )
    return (
        f"- pages_live.hmm (5,2): {found['states']:,} states, {verdicts}: {taken.wall:.0f} s, {taken.cpu:.0f} s of the "
        f"processor, {taken.peak / 1e6:.0f} MB"
    )


def plan(which: str) -> list[tuple[str, Size]]:
    """What to measure: `small` (a minute), `usual` or `full` (with what takes hours)."""
    if which == "small":
        return [("states", FULL[0])]
    usual = [*(("states", s) for s in FULL), *(("orbits", s) for s in ORBITS)]
    if which == "usual":
        return usual
    return [*usual, *(("states", s) for s in (*MORE_FULL, *ALONE)), *(("orbits", s) for s in MORE_ORBITS)]


def main() -> int:
    """Run, print, write.  0, or 1 if the checkers disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=("small", "usual", "full"), default="usual")
    parser.add_argument("--times", type=int, default=3, help="runs of each checker (default: 3)")
    parser.add_argument(
        "--minutes", type=float, default=None, help="begin nothing after that (default: 25; full: none)"
    )
    parser.add_argument("--output", type=Path, default=HERE / "results", help="a folder")
    args = parser.parse_args()
    minutes = args.minutes or (600 if args.sizes == "full" else 25)
    end = time.monotonic() + 60 * minutes
    rows: list[Row] = []
    sizes: dict[str, dict[str, Size]] = {}
    for stored, size in plan(args.sizes):
        sizes.setdefault(stored, {})[str(size)] = size
        rows += measure(stored, size, args.times, lambda: end - time.monotonic())
    wrong = disagreements(rows, sizes)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    live = [whole_runs()] if args.sizes == "full" else []
    text = "\n".join(["# pages.hmm: states and orbits", "", machine, "", table(rows), "", *ratios(rows), *live, ""])
    print(text)
    for line in wrong:
        print(f"DIFFERENT COUNTS, {line}")
    for name, there in (("SPIN", Spin.there()), ("Rumur", Rumur.there())):
        if not there:
            print(f"{name}: not installed, not measured")
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "native.md").write_text(text, encoding="utf-8")
    document = {"machine": machine, "times": args.times, "rows": [asdict(r) for r in rows], "same_counts": not wrong}
    (args.output / "native.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    # In a process of its own: what this one has in memory would count as its children's.
    subprocess.run([sys.executable, str(HERE / "plot.py"), str(args.output / "native.json")], check=False)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
