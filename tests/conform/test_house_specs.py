"""The conformance specs of the house with their bindings: they hold, they explain what a right kernel does, in
sequence and in races, and each of many wrong logs is found by the spec that speaks of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import Status
from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.load import load_for
from hmmspec.conform.results import Result
from hmmspec.conform.target import Event, Finding
from hmmspec.lang.load import load
from hmmspec.system.build import build_with_warnings

FOLDER = Path(__file__).resolve().parents[2] / "specs" / "conform"
NAMES = ("exclusive", "mirror", "page_life", "pins", "swap_dirty")
DEVICES = {"dev0": "private", "dev1": "private", "dev2": "coherent"}
OK = Result()

Steps = Sequence[tuple[Command, Result]]


@functools.cache
def follower(name: str) -> Follower:
    return Follower(load_for(str(FOLDER / f"{name}.bind")))


def run(name: str, steps: Steps) -> list[Finding]:
    """The findings of a sequential run."""
    f = follower(name)
    f.start({"evict_on_close": True, "close_evicts_everybody": True}, DEVICES)
    out: list[Finding] = []
    for number, (command, result) in enumerate(steps):
        out += f.feed(Event(number, "main", command=command))
        out += f.feed(Event(number, "main", result=result))
    out += f.finish()
    assert f.incomplete == ""
    return out


def read(*stamps: int) -> Result:
    return Result(cpages=len(stamps), stamps=stamps)


def seen(*shots: int) -> Result:
    return Result(cpages=len(shots), snapshot=shots)


P, D = "p0", "dev0"
START: Steps = [
    (c.Open(P, D), OK),
    (c.Open(P, "dev1"), OK),
    (c.Mmap(P, 0, 4), OK),
    (c.Store(P, 0, 4, stamp=10), Result(cpages=4)),
]
MOVED = [*START, (c.MigrateToDevice(P, D, 0, 4), read(10, 11, 12, 13))]
MIRRORED = [*START, (c.DevRead(P, D, 0), Result(cpages=1, faults=1, stamps=(10,)))]
TAKEN = [*START, (c.Exclusive(P, D, 0), read(10))]
PINNED = [*START, (c.Gup(P, 0, write=True, pin=True, hold="h"), Result(cpages=1))]
CLEAN = [*START, (c.ClearSoftDirty(P), OK)]
FORKED = [*MOVED, (c.Fork(P, "p1"), OK)]
PRESENT, SWAPPED, SOFT = 1, 2, 4

# What goes on after a beginning -> which specs find it wrong; none: it is right.
RUNS: dict[str, tuple[Steps, Steps, set[str]]] = {
    "a page comes back with its data": (MOVED, [(c.Load(P, 2), read(12))], set()),
    "a page comes back with other data": (MOVED, [(c.Load(P, 2), read(99))], set(NAMES)),
    "a page comes back zeroed": (MOVED, [(c.Load(P, 2), read(0))], set(NAMES)),
    "a page comes back torn": (MOVED, [(c.Load(P, 2), read(-1))], set(NAMES)),
    "the snapshot shows it on the device": (MOVED, [(c.Snapshot(P, D, 0), seen(0x22))], set()),
    "it is a hole for the other device": (MOVED, [(c.Snapshot(P, "dev1", 0), seen(0x00))], set()),
    "the snapshot shows it in RAM still": (MOVED, [(c.Snapshot(P, D, 0), seen(0x02))], {"page_life"}),
    "foreign private memory is mapped": (MOVED, [(c.Snapshot(P, "dev1", 0), seen(0x22))], {"page_life"}),
    "nothing keeps it, and it stays": (START, [(c.MigrateToDevice(P, D, 0), Result("ENOENT"))], {"page_life"}),
    "migrated back": (MOVED, [(c.MigrateToSystem(P, D, 0, 4), Result(cpages=4))], set()),
    "left on the device": (MOVED, [(c.MigrateToSystem(P, D, 0, 4), Result(cpages=0))], {"page_life"}),
    "the child reads what the parent wrote": (FORKED, [(c.Load("p1", 0), read(10))], set()),
    "the child's write is seen by the parent": (
        FORKED,
        [(c.Store("p1", 0, stamp=50), Result(cpages=1)), (c.Load(P, 0), read(50))],
        set(NAMES),
    ),
    "the parent keeps its own": (
        FORKED,
        [(c.Store("p1", 0, stamp=50), Result(cpages=1)), (c.Load(P, 0), read(10)), (c.Load("p1", 0), read(50))],
        set(),
    ),
    "writable after a fork": (FORKED, [(c.Snapshot(P, D, 0), seen(0x22))], {"page_life"}),
    "read-only after a fork": (FORKED, [(c.Snapshot(P, D, 0), seen(0x21))], set()),
    "read from the mirror": (MIRRORED, [(c.DevRead(P, D, 0), Result(cpages=1, faults=0, stamps=(10,)))], set()),
    "a fault though it was mirrored": (
        MIRRORED,
        [(c.DevRead(P, D, 0), Result(cpages=1, faults=1, stamps=(10,)))],
        {"page_life", "mirror"},
    ),
    "a stale mirror after munmap": (
        MIRRORED,
        [(c.Mmap(P, 0), OK), (c.DevRead(P, D, 0), Result(cpages=1, faults=0, stamps=(10,)))],
        set(NAMES),
    ),
    "no invalidation by mprotect": (
        MIRRORED,
        [(c.Mprotect(P, 0, prot="r"), OK), (c.DevRead(P, D, 0), Result(cpages=1, faults=0, stamps=(10,)))],
        {"page_life", "mirror"},
    ),
    "a device writes where the process may not": (
        START,
        [(c.Mprotect(P, 0, prot="r"), OK), (c.DevWrite(P, D, 0, stamp=9), Result(cpages=1, faults=1))],
        {"page_life", "mirror", "exclusive"},
    ),
    "it is refused": (
        START,
        [(c.Mprotect(P, 0, prot="r"), OK), (c.DevWrite(P, D, 0, stamp=9), Result("EPERM"))],
        set(),
    ),
    "refused without a reason": (START, [(c.DevWrite(P, D, 0, stamp=9), Result("EPERM"))], {"page_life", "mirror"}),
    "exclusive until the program reads": (
        TAKEN,
        [(c.CheckExclusive(P, D, 0), Result("EPERM")), (c.Load(P, 0), read(10)), (c.CheckExclusive(P, D, 0), OK)],
        set(),
    ),
    "still exclusive after the program read": (
        TAKEN,
        [(c.Load(P, 0), read(10)), (c.CheckExclusive(P, D, 0), Result("EPERM"))],
        {"page_life", "mirror", "exclusive"},
    ),
    "lost without anybody's access": (
        TAKEN,
        [(c.CheckExclusive(P, D, 0), OK)],
        {"page_life", "mirror", "exclusive"},
    ),
    "two devices have it": (
        [*TAKEN, (c.Exclusive(P, "dev1", 0), read(10))],
        [(c.CheckExclusive(P, D, 0), Result("EPERM"))],
        {"page_life", "mirror", "exclusive"},
    ),
    "mapped while it is exclusive": (TAKEN, [(c.Snapshot(P, D, 0), seen(0x02))], {"page_life", "exclusive"}),
    "a pinned page stays": (PINNED, [(c.MigrateToDevice(P, D, 0), Result("ENOENT"))], set()),
    "a pinned page moves": (
        PINNED,
        [(c.MigrateToDevice(P, D, 0), read(10)), (c.Snapshot(P, D, 0), seen(0x22))],
        {"page_life", "pins"},
    ),
    "it moves when it was let go": (
        PINNED,
        [(c.Unpin(P, "h"), OK), (c.MigrateToDevice(P, D, 0), read(10)), (c.Snapshot(P, D, 0), seen(0x22))],
        set(),
    ),
    "the holder sees what the program writes": (
        PINNED,
        [(c.Store(P, 0, stamp=70), Result(cpages=1)), (c.Peek(P, "h"), read(70))],
        set(),
    ),
    "the holder has another page": (
        PINNED,
        [(c.Store(P, 0, stamp=70), Result(cpages=1)), (c.Peek(P, "h"), read(10))],
        {"pins"},
    ),
    "swapped, and back": (
        START,
        [
            (c.Madvise(P, 0, advice="pageout"), OK),
            (c.Pagemap(P, 0), Result(cpages=1, pagemap=(SWAPPED | SOFT,))),
            (c.Load(P, 0), read(10)),
        ],
        set(),
    ),
    "lost in swap": (
        START,
        [(c.Madvise(P, 0, advice="pageout"), OK), (c.Load(P, 0), read(0))],
        set(NAMES),
    ),
    "gone from the page table": (
        START,
        [(c.Pagemap(P, 0), Result(cpages=1, pagemap=(SOFT,)))],
        {"page_life", "swap_dirty"},
    ),
    "a write since clear_refs shows": (
        CLEAN,
        [
            (c.Pagemap(P, 0), Result(cpages=1, pagemap=(PRESENT,))),
            (c.Store(P, 0, stamp=5), Result(cpages=1)),
            (c.Pagemap(P, 0), Result(cpages=1, pagemap=(PRESENT | SOFT,))),
        ],
        set(),
    ),
    "a write since clear_refs does not show": (
        CLEAN,
        [
            (c.Store(P, 0, stamp=5), Result(cpages=1)),
            (c.MigrateToDevice(P, D, 0), read(5)),
            (c.Load(P, 0), read(5)),
            (c.Pagemap(P, 0), Result(cpages=1, pagemap=(PRESENT,))),
        ],
        {"swap_dirty"},
    ),
    "a signal without a reason": (
        START,
        [(c.Load(P, 0), Result("SIGSEGV", cpages=0))],
        {"page_life", "mirror", "exclusive"},
    ),
    "a read where nothing is mapped": (START, [(c.Load(P, 9), read(0))], set(NAMES)),
}


@pytest.mark.parametrize("what", RUNS)
def test_right_and_wrong_runs(what: str) -> None:
    beginning, then, wrong = RUNS[what]
    for name in NAMES:
        assert run(name, beginning) == []
        found = run(name, [*beginning, *then])
        assert bool(found) is (name in wrong), (name, [str(f) for f in found])
        if found:
            assert found[0].call is not None
            assert found[0].call >= len(beginning)


def test_a_race_is_explained_by_some_order() -> None:
    """Two stores at once: the page holds either; after both returned it holds one of them for good."""
    for last, wrong in ((21, False), (31, False), (10, True)):
        f = follower("page_life")
        f.start({}, DEVICES)
        events = [
            Event(0, "main", command=c.Mmap(P, 0)),
            Event(0, "main", result=OK),
            Event(1, "main", command=c.Store(P, 0, stamp=10)),
            Event(1, "main", result=Result(cpages=1)),
            Event(2, "a", command=c.Store(P, 0, stamp=21)),
            Event(3, "b", command=c.Store(P, 0, stamp=31)),
            Event(3, "b", result=Result(cpages=1)),
            Event(2, "a", result=Result(cpages=1)),
            Event(4, "main", command=c.Load(P, 0)),
            Event(4, "main", result=read(last)),
        ]
        found = [x for e in events for x in f.feed(e)]
        assert bool(found) is wrong, last


@pytest.mark.parametrize("name", NAMES)
def test_the_spec_holds(name: str) -> None:
    """In a small instance; the larger ones are checked like those of other specs."""
    path = str(FOLDER / f"{name}.hmm")
    instance = {"page_life": "elsewhere", "pins": "two_holds", "swap_dirty": "alone"}.get(name, "small")
    (built,) = build_with_warnings(load(path), [instance])
    report = check(built.system, CheckOptions(states=60_000))
    assert {v.status for v in report.verdicts} == {Status.HOLDS}


def test_a_long_run_of_the_same_kind() -> None:
    """Seven hundred values, more than the spec has: a value that nobody holds any more makes room for the next."""
    steps: list[tuple[Command, Result]] = list(START)
    for k in range(700):
        stamp = 101 + k
        steps += [
            (c.Store(P, k % 4, stamp=stamp), Result(cpages=1)),
            (c.MigrateToDevice(P, D, k % 4), read(stamp)),
            (c.Snapshot(P, D, k % 4), seen(0x22)),
            (c.DevRead(P, D, k % 4), Result(cpages=1, faults=0, stamps=(stamp,))),
            (c.Load(P, k % 4), read(stamp)),
        ]
    assert run("page_life", steps) == []
