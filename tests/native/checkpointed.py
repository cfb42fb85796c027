"""Specs whose searches end early, and the checkpoints of that."""

from __future__ import annotations

import struct
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from hmmspec.checker.native.checkpoint import Header, read
from hmmspec.checker.native.engine import check_native, resume_native
from hmmspec.checker.options import CheckOptions, Checkpoints
from hmmspec.checker.verdict import InstanceReport
from hmmspec.cli.specs import load_one
from hmmspec.system.system import System

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "benchmarks/pages.hmm"
OPTIONS = CheckOptions(threads=2, memory=1 << 30)
PREFIX = struct.Struct("<8sIIQ")

# Several words, a union and a queue of records, locks taken in both orders, an assume, errors of steps.
RICH = """
type Page = 0..2;
type Ask = record { page: Page; tries: 0..2; };
type Wide = 0..69;
var box: queue[2] of Ask = [];
var last: Ask? = null;
var seen: set of Wide = {};
var hits[Page]: 0..2 = 0;
lock a;
lock b;
thread one { begin: acquire a; more: acquire b; leave: release b; gone: release a; }
thread two { begin: acquire b; more: acquire a; leave: release a; gone: release b; }
transition ask(p: Page) when size(box) < 2 { push(box, Ask(page = p, tries = 1)); }
transition serve when box != [] { last := head(box); hits[head(box).page] += 1; pop(box); }
transition note(n: Wide) when n == 69 - hits[0] { seen += {n}; }
assume few: hits[0] + hits[1] + hits[2] <= 3;
"""
# Symmetric, in one word; findings of states and of whole runs, with several traces.
GRID = """
type Row = symmetric[4];
var at[Row]: 0..4 = 0;
var first: Row? = null;
transition up(r: Row) when at[r] < 4 { at[r] += 1; }
transition down(r: Row) when at[r] > 0 { at[r] -= 1; }
transition mark(r: Row) when first == null && at[r] == 3 { first := r; }
invariant early: forall r: Row, q: Row { r != q => at[r] + at[q] < 5 };
invariant late: exists r: Row { at[r] < 4 };
invariant implied: forall r: Row { at[r] == 4 => first != null || first == null };
step small: forall r: Row { at'[r] <= at[r] + 1 };
reachable top: forall r: Row { at[r] == 3 };
recoverable home: forall r: Row { at[r] == 0 };
"""
SMALL = """
param TOP = 9;
param ASIDE: bool = false;
type N = 0..TOP;
var x: N = 0;
var y: N = 0;
transition up when x < TOP { x += 1; }
transition aside when x == TOP && y < TOP { x := 0; y += 1; }
invariant low: x < 20;
terminal last: x == TOP && y == TOP;
"""


def pages(pages: int, frames: int) -> System:
    return load_one(str(PAGES), [], {"PAGES": str(pages), "FRAMES": str(frames)}).systems[0]


def untimed(report: InstanceReport) -> InstanceReport:
    return replace(report, explore_seconds=0.0, wall_seconds=0.0)


def resumed(file: Path, system: System, options: CheckOptions, **more: object) -> InstanceReport:
    with closing(read(file)) as saved:
        plan = Checkpoints(file.parent, file=file)
        return resume_native(system, replace(options, checkpoints=plan, **more), saved)  # type: ignore[arg-type]


def header_in(file: Path) -> Header:
    with closing(read(file)) as saved:
        return saved.header


def stopped(tmp_path: Path, system: System, options: CheckOptions = OPTIONS, states: int = 60) -> Path:
    """The checkpoint of a search that ended at a limit of states."""
    report = check_native(system, replace(options, states=states, checkpoints=Checkpoints(tmp_path)))
    file = tmp_path / f"{system.name}-{system.instance}.ckpt"
    assert report.limit == f"limit of {states} states"
    assert report.remark.endswith(f"to go on: hmmspec resume {file}")
    assert sorted(tmp_path.iterdir()) == [file]
    return file
