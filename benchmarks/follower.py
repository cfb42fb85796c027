"""How fast the follower is: events a second on the page-life spec, for logs of programs that it has never seen.

Random programs run on the reference kernel first; what is measured is following their logs (a call and a return are two
events), with the binding loaded.

- *fresh*: a new follower, with nothing known of any state; *warm*: the same logs once more by the same follower.
- *sequential*: one command after the other, programs of up to 40; *failures*: the same with injected failures; *long*:
  programs of 300 commands; *races*: up to three threads at once in every seventh step.
- *C*: the sets in C, compiled before; *interpreter*: without a compiler.  How long compiling takes, and a whole command
  on a small log, is told below the table.

Medians of several runs, each on logs of its own.  Rates are by processor time, as other work on the machine makes no
difference to that; `wall` is the same by the clock.  *largest* is the largest set of configurations that was kept.
Writes a table in Markdown to standard output and the numbers to benchmarks/results/follower.json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

from hmmspec.clib.compile import CannotCompile, compiler
from hmmspec.conform.follow.engines import Kind
from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.load import Loaded, load_for
from hmmspec.conform.follow.log import write_log
from hmmspec.conform.generate import Generator, RandomChooser, Shape, shape_for
from hmmspec.conform.judging import run_program
from hmmspec.conform.target import Event, Target
from hmmspec.conform.targets import open_target

ROOT = Path(__file__).resolve().parents[1]
SPEC = ROOT / "specs" / "conform" / "page_life.hmm"
WANTED = 10_000  # events a second

Logs = Sequence[Sequence[Event]]


@dataclass(frozen=True)
class Row:
    """One measurement: rates in events a second (median), how many events each run had, the largest set."""

    what: str
    engine: str
    fresh: float
    warm: float
    wall: float
    slowest: float
    events: int
    largest: int


def logs(target: Target, shape: Shape, events: int, seed: int, *, whole: bool = False) -> Logs:
    """Logs of so many events.  whole: each program has as many steps as the shape allows."""
    out: list[Sequence[Event]] = []
    while sum(map(len, out)) < events:
        generator = Generator(shape, RandomChooser(seed + len(out)))
        program = tuple(generator.step() for _ in range(shape.steps)) if whole else generator.program()
        out.append(run_program(target, program, [], seed + len(out)).log)
    return out


def follow(f: Follower, target: Target, told: Logs) -> tuple[int, float, float]:
    """Events, seconds of processor time, seconds by the clock.  What is not followed to its end is told."""
    begin, clock, events = time.process_time(), time.perf_counter(), 0
    for log in told:
        f.start(target.profile, target.devices)
        for event in log:
            for finding in f.feed(event):
                print(f"not explained: {finding.message}", file=sys.stderr)
        f.finish()
        if f.incomplete:
            print(f"not followed to the end: {f.incomplete}", file=sys.stderr)
        events += len(log)
    return events, time.process_time() - begin, time.perf_counter() - clock


def measure(loaded: Loaded, target: Target, what: str, engine: Kind, every: Sequence[Logs]) -> Row:
    """The medians of fresh and warm runs on each of these sets of logs."""
    fresh, warm, wall, largest, events = [], [], [], 0, 0
    for told in every:
        f = Follower(loaded, engine=engine)
        f.start(target.profile, target.devices)
        events, used, clock = follow(f, target, told)
        fresh.append(events / used)
        wall.append(events / clock)
        events, used, _ = follow(f, target, told)
        warm.append(events / used)
        largest = max(largest, f.sets.largest)
    name = "C" if engine == "native" else "interpreter"
    return Row(what, name, median(fresh), median(warm), median(wall), min(fresh), events, largest)


def compiling(loaded: Loaded, target: Target) -> float:
    """Seconds until a new follower has its sets in C, with nothing compiled before."""
    with tempfile.TemporaryDirectory() as folder:
        before = os.environ.get("XDG_CACHE_HOME")
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            begin = time.perf_counter()
            Follower(loaded, engine="native").start(target.profile, target.devices)
            return time.perf_counter() - begin
        finally:
            if before is None:
                del os.environ["XDG_CACHE_HOME"]
            else:
                os.environ["XDG_CACHE_HOME"] = before


def command(target: Target, log: Sequence[Event]) -> float:
    """Seconds that `hmmspec follow` takes on one log, from start to end."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "log.jsonl")
        write_log(path, target, log)
        begin = time.perf_counter()
        asked = [sys.executable, "-m", "hmmspec", "follow", path, str(SPEC)]
        subprocess.run(asked, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        return time.perf_counter() - begin


def table(rows: Sequence[Row]) -> str:
    head = ["logs", "sets", "fresh events/s", "slowest", "warm", "fresh, wall", "events a run", "largest"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "--:|" * 6]
    for r in rows:
        rates = [f"{x:,.0f}" for x in (r.fresh, r.slowest, r.warm, r.wall)]
        lines.append("| " + " | ".join([r.what, r.engine, *rates, f"{r.events:,}", f"{r.largest:,}"]) + " |")
    return "\n".join(lines)


def main() -> int:
    p = argparse.ArgumentParser(description="How fast the follower is.")
    p.add_argument("--events", type=int, default=10_000, help="of each run (default: 10000)")
    p.add_argument("--times", type=int, default=5, help="runs of each row, each on logs of its own (default: 5)")
    p.add_argument("--seed", type=int, default=1, help="of the programs")
    p.add_argument("--output", default=str(ROOT / "benchmarks" / "results"), help="folder for follower.json")
    args = p.parse_args()
    target = open_target("ref", {"profile": "latest", "checks": False})
    loaded = load_for(str(SPEC))
    shapes = {
        "sequential": partial(logs, target, shape_for(target)),
        "failures": partial(logs, target, shape_for(target, failures=True)),
        "long": partial(logs, target, shape_for(target, steps=300), whole=True),
        "races": partial(logs, target, shape_for(target, race=True, failures=True)),
    }
    try:
        compiler()
        kinds: tuple[Kind, ...] = ("native", "python")
    except CannotCompile as why:
        print(f"only without C: {why}", file=sys.stderr)
        kinds = ("python",)
    rows = []
    for number, (what, make) in enumerate(shapes.items()):
        every = [make(args.events, 1_000_000 * args.seed + 100_000 * number + 10_000 * k) for k in range(args.times)]
        gc.collect()
        gc.freeze()  # as `hmmspec follow` does: the logs are no part of what is measured
        rows += [measure(loaded, target, what, kind, every) for kind in kinds]
        print(f"{what}: done", file=sys.stderr)
    print(table(rows))
    seconds = {"command": median(command(target, every[0][0]) for _ in range(3))}
    print(f"\nA whole `hmmspec follow` on a log of {len(every[0][0])} events: {seconds['command']:.2f} s.")
    if "native" in kinds:
        seconds["compiling"] = compiling(loaded, target)
        print(f"Compiling, once for each spec and kind of kernel: {seconds['compiling']:.1f} s, beside the first log.")
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    told = {"rows": [asdict(r) for r in rows], "seconds": seconds, "wanted": WANTED}
    (folder / "follower.json").write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    slow = [r for r in rows if r.engine == "C" and r.fresh < WANTED]
    for r in slow:
        print(f"below {WANTED:,} events a second: {r.what}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
