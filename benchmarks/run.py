"""hmmspec against SPIN and Rumur on benchmarks/pages.hmm: same states, same transitions, how many of them a second.

Every checker runs the same instance several times, in turns, on this machine; the median counts, and ratios are of
this run alone.  Times are of the search: `explore_seconds` of hmmspec's report; of the peers the processor time of the
compiled verifier, one thread (start included: choose an instance that is large enough).  They judge the same
invariants; SPIN's partial order reduction is off, so that it stores all states.
Writes a table to standard output and benchmarks/results/pages.json.  Exits with 1 if two checkers count differently.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
SPEC = HERE / "pages.hmm"
INSTANCES = {"p32": (3, 2), "p41": (4, 1), "p42": (4, 2)}


@dataclass(frozen=True)
class Sample:
    """What one run counted, and how long its search took."""

    states: int
    transitions: int
    seconds: float


@dataclass(frozen=True)
class Row:
    """One checker in one mode: counts, median seconds and the rate that follows (transitions a second)."""

    checker: str
    stored: str
    states: int
    transitions: int
    seconds: float
    rate: float


Runner = Callable[[], Sample]


def run(command: list[str], folder: Path) -> tuple[str, float]:
    """Standard output and processor seconds of a command.  Raises CalledProcessError if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def hmmspec(instance: str, symmetry: bool) -> Runner:
    """The Python engine, as a user would call it."""
    options = ["--json", "--quiet", "-i", instance, *([] if symmetry else ["--no-symmetry"])]

    def once() -> Sample:
        output, _ = run([sys.executable, "-m", "hmmspec", "check", str(SPEC), *options], HERE.parent)
        found = json.loads(output)["instances"][0]
        states = found["orbits"] if symmetry else found["states"]
        return Sample(states, found["transitions"], found["explore_seconds"])

    return once


def spin(instance: str, folder: Path) -> Runner:
    """SPIN's verifier, compiled for all states and no cycles."""
    pages, frames = INSTANCES[instance]
    shutil.copy(HERE / "peers" / "pages.pml", folder)
    run(["spin", f"-DPAGES={pages}", f"-DFRAMES={frames}", "-a", "pages.pml"], folder)
    run(["gcc", "-O2", "-w", "-DSAFETY", "-DNOREDUCE", "-DNOCLAIM", "-o", "pan", "pan.c"], folder)

    def once() -> Sample:
        output, seconds = run(["./pan", "-m4000000", "-w22"], folder)
        if "errors: 0" not in output:
            raise RuntimeError(f"SPIN does not find what it should:\n{output}")
        # SPIN counts the initial state as a transition into it.
        return Sample(number(r"(\d+) states, stored", output), number(r"(\d+) transitions", output) - 1, seconds)

    return once


def rumur(instance: str, symmetry: bool, folder: Path) -> Runner:
    """Rumur's verifier, with one thread."""
    pages, frames = INSTANCES[instance]
    page_type = "scalarset(PAGES)" if symmetry else "0 .. PAGES - 1"
    text = (HERE / "peers" / "pages.m").read_text()
    for name, value in (("PAGE_TYPE", page_type), ("PAGES", str(pages)), ("FRAMES", str(frames))):
        text = text.replace(f"${name}", value)
    (folder / "pages.m").write_text(text)
    run(["rumur", "--threads", "1", "--output", "verify.c", "pages.m"], folder)
    cpu = ["-mcx16"] if platform.machine() == "x86_64" else []
    run(["gcc", "-std=c11", "-w", "-O3", "-march=native", *cpu, "-o", "verify", "verify.c", "-lpthread"], folder)

    def once() -> Sample:
        output, seconds = run(["./verify"], folder)
        if "No error found" not in output:
            raise RuntimeError(f"Rumur does not find what it should:\n{output}")
        found = re.findall(r"(\d+) states, (\d+) rules fired", output)[-1]
        return Sample(int(found[0]), int(found[1]), seconds)

    return once


def number(pattern: str, text: str) -> int:
    """The number that a pattern's only group matches.  Raises RuntimeError if it matches nothing."""
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"no '{pattern}' in:\n{text}")
    return int(found[1])


def runners(instance: str, folder: Path) -> dict[tuple[str, str], Runner]:
    """Every checker that is installed, in each mode: (name, what it stores) -> how to run it once."""
    found: dict[tuple[str, str], Runner] = {
        ("hmmspec", "all states"): hmmspec(instance, symmetry=False),
        ("hmmspec", "orbits"): hmmspec(instance, symmetry=True),
    }

    def room(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    if shutil.which("gcc") and shutil.which("spin"):
        found["spin", "all states"] = spin(instance, room("spin"))
    if shutil.which("gcc") and shutil.which("rumur"):
        found["rumur", "all states"] = rumur(instance, symmetry=False, folder=room("rumur"))
        found["rumur", "orbits"] = rumur(instance, symmetry=True, folder=room("rumur-orbits"))
    return found


def measure(found: Mapping[tuple[str, str], Runner], times: int) -> list[Row]:
    """Each runner `times` times, in turns, so that a busy moment of the machine hits all alike."""
    samples: dict[tuple[str, str], list[Sample]] = {key: [] for key in found}
    for _ in range(times):
        for key, once in found.items():
            samples[key].append(once())
    rows = []
    for (checker, stored), taken in samples.items():
        seconds = median(s.seconds for s in taken)
        first = taken[0]
        rows.append(Row(checker, stored, first.states, first.transitions, seconds, first.transitions / seconds))
    return rows


def disagreements(rows: list[Row]) -> list[str]:
    """Pairs of checkers that stored the same kind of thing and counted differently."""
    out = []
    for stored in ("all states", "orbits"):
        counted = {(r.states, r.transitions): r.checker for r in rows if r.stored == stored}
        # Representatives may differ in which member of an orbit they keep, and so in transitions; states never.
        if len({states for states, _ in counted}) > 1 or (stored == "all states" and len(counted) > 1):
            out.append(f"{stored}: " + ", ".join(f"{name} {counts}" for counts, name in counted.items()))
    return out


def table(rows: list[Row]) -> str:
    """The rows as text, with each rate against hmmspec's of the same kind."""
    own = {r.stored: r.rate for r in rows if r.checker == "hmmspec"}
    lines = [
        f"{'checker':<9}{'stored':<12}{'states':>9}{'transitions':>13}{'seconds':>9}{'transitions/s':>15}{'ratio':>8}"
    ]
    for r in rows:
        ratio = r.rate / own[r.stored]
        head = f"{r.checker:<9}{r.stored:<12}{r.states:>9}{r.transitions:>13}"
        lines.append(f"{head}{r.seconds:>9.3f}{r.rate:>15.0f}{ratio:>8.1f}")
    return "\n".join(lines)


def main() -> int:
    """Run, print, write.  0, or 1 if the checkers disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instance", choices=INSTANCES, default="p42", help="of pages.hmm (default: p42)")
    parser.add_argument("--times", type=int, default=3, help="runs of each checker (default: 3)")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "pages.json")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(runners(args.instance, Path(folder)), args.times)
    wrong = disagreements(rows)
    print(f"pages.hmm, instance {args.instance}, median of {args.times}\n\n{table(rows)}")
    for name in ("spin", "rumur"):
        if not any(r.checker == name for r in rows):
            print(f"{name}: not installed, not measured")
    for line in wrong:
        print(f"DIFFERENT COUNTS, {line}")
    document = {
        "spec": SPEC.name,
        "instance": args.instance,
        "times": args.times,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "rows": [asdict(r) for r in rows],
        "same_counts": not wrong,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(document, indent=2) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
