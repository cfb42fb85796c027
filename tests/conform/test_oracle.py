"""The oracle: what it accepts, what it refuses, one command after the other and at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.results import TORN, Result
from hmmspec.conform.target import Event

OK = Result()
MAPPED: list[tuple[Command, Result]] = [(c.Mmap("p0", 0, 4), OK), (c.Store("p0", 0, 4, 10), Result(cpages=4))]
OPENED: list[tuple[Command, Result]] = [*MAPPED, (c.Open("p0", "dev0"), OK)]


def told(run: Sequence[tuple[Command, Result]], atomic: bool = True) -> list[str]:
    """The findings of a sequential run."""
    judge = DataJudge(atomic)
    out = []
    for call, (command, result) in enumerate(run):
        out += judge.feed(Event(call, "main", command=command))
        out += judge.feed(Event(call, "main", result=result))
    return [str(f) for f in out]


GOOD: list[list[tuple[Command, Result]]] = [
    [*MAPPED, (c.Load("p0", 1, 2), Result(cpages=2, stamps=(11, 12)))],
    [*MAPPED, (c.Increment("p0", 0), Result(cpages=1, stamps=(10,))), (c.Load("p0", 0), Result(cpages=1, stamps=(11,)))],
    [*MAPPED, (c.Munmap("p0", 1), OK), (c.Load("p0", 0, 3), Result("SIGSEGV", cpages=1, stamps=(10,)))],
    [*MAPPED, (c.Madvise("p0", 0), OK), (c.Load("p0", 0), Result(cpages=1, stamps=(0,)))],
    [*MAPPED, (c.Madvise("p0", 0, advice="free"), OK), (c.Load("p0", 0), Result(cpages=1, stamps=(10,))), (c.Load("p0", 0), Result(cpages=1, stamps=(0,)))],
    [*MAPPED, (c.Mremap("p0", 0, 2, to=8), OK), (c.Load("p0", 8), Result(cpages=1, stamps=(10,)))],
    [*MAPPED, (c.Fork("p0", "p1"), OK), (c.Store("p1", 0, 1, 99), Result(cpages=1)), (c.Load("p0", 0), Result(cpages=1, stamps=(10,)))],
    [(c.Mmap("p0", 0, kind="shared"), OK), (c.Fork("p0", "p1"), OK), (c.Store("p1", 0, 1, 9), Result(cpages=1)), (c.Load("p0", 0), Result(cpages=1, stamps=(9,)))],
    [*OPENED, (c.DevWrite("p0", "dev0", 0, 2, 50), Result(cpages=2)), (c.Load("p0", 0, 3), Result(cpages=3, stamps=(50, 51, 12)))],
    [*OPENED, (c.MigrateToDevice("p0", "dev0", 0, 4), Result("ENOENT")), (c.Load("p0", 3), Result(cpages=1, stamps=(13,)))],
    [*OPENED, (c.Mprotect("p0", 0, 4, "r"), OK), (c.DevWrite("p0", "dev0", 0, 1, 50), Result("EPERM")), (c.Load("p0", 0), Result(cpages=1, stamps=(10,)))],
    [*MAPPED, (c.Gup("p0", 0, write=True, pin=True, hold="h"), Result(cpages=1)), (c.Poke("p0", "h", 7), OK), (c.Load("p0", 0), Result(cpages=1, stamps=(7,)))],
    [(c.FileWrite("f0", 0, 2, 5), Result(cpages=2)), (c.Mmap("p0", 0, 2, "rw", "file_private", "f0"), OK), (c.Store("p0", 0, 1, 9), Result(cpages=1)), (c.FileRead("f0", 0, 2), Result(stamps=(5, 6)))],
    [(c.Load("p7", 0), Result("ESRCH"))],
    [(c.Mmap("p0", 0, 512, kind="hugetlb"), OK), (c.Mprotect("p0", 0, 1), OK)],
    [(c.Mmap("p0", 0, 512, kind="hugetlb"), OK), (c.Mprotect("p0", 0, 1, "r"), Result("EINVAL")), (c.Store("p0", 0), Result(cpages=1))],
    [(c.Mmap("p0", 512, 512, kind="hugetlb"), OK), (c.Mmap("p0", 511), OK), (c.Mprotect("p0", 511, 2, "r"), Result("EINVAL")), (c.Store("p0", 511), Result("SIGSEGV", cpages=0))],
]  # fmt: skip


@pytest.mark.parametrize("run", GOOD)
def test_what_may_happen(run: list[tuple[Command, Result]]) -> None:
    assert told(run) == []


BAD: list[tuple[list[tuple[Command, Result]], str]] = [
    ([*MAPPED, (c.Load("p0", 1), Result(cpages=1, stamps=(0,)))], "was read as 0; it must hold 11"),
    ([*MAPPED, (c.Load("p0", 1), Result(cpages=1, stamps=(TORN,)))], "no stamp"),
    ([*MAPPED, (c.Load("p0", 1), Result("SIGBUS", cpages=0))], "expected success"),
    ([*MAPPED, (c.Load("p0", 3, 2), Result(cpages=2, stamps=(13, 0)))], "expected SIGSEGV"),
    ([*MAPPED, (c.Load("p0", 0, 2), Result(cpages=2, stamps=(10,)))], "read 1 pages instead of 2"),
    ([*MAPPED, (c.Mprotect("p0", 0, 1, "r"), OK), (c.Store("p0", 0), Result(cpages=1))], "expected SIGSEGV"),
    ([(c.Mmap("p0", 0, 512, kind="hugetlb"), OK), (c.Mprotect("p0", 0, 1, "r"), OK)], "expected EINVAL"),
    ([(c.Mmap("p0", 0, 512, kind="hugetlb"), OK), (c.Mprotect("p0", 1, 2), Result("EINVAL"))], "expected success"),
    ([*MAPPED, (c.Madvise("p0", 0), OK), (c.Load("p0", 0), Result(cpages=1, stamps=(10,)))], "must hold 0"),
    ([*MAPPED, (c.Fork("p0", "p1"), OK), (c.Store("p1", 0, 1, 99), Result(cpages=1)), (c.Load("p0", 0), Result(cpages=1, stamps=(99,)))], "must hold 10"),
    ([*OPENED, (c.DevWrite("p0", "dev0", 0, 1, 50), Result(cpages=1)), (c.Load("p0", 0), Result(cpages=1, stamps=(10,)))], "must hold 50"),
    ([*OPENED, (c.MigrateToDevice("p0", "dev0", 0), Result(cpages=1, stamps=(77,)))], "must hold 10"),
    ([*OPENED, (c.MigrateToDevice("p0", "dev0", 3, 2), Result(cpages=2, stamps=(13, 0)))], "expected EINVAL"),
    ([*OPENED, (c.Snapshot("p0", "dev0", 4), Result(snapshot=(0x02,)))], "cannot be read"),
    ([*OPENED, (c.Mprotect("p0", 0, 1, "r"), OK), (c.Snapshot("p0", "dev0", 0), Result(snapshot=(0x02,)))], "reading only"),
    ([(c.DevRead("p0", "dev0", 0), OK)], "expected EBADF"),
    ([*OPENED, (c.Open("p0", "dev0"), OK)], "expected EEXIST"),
    ([*MAPPED, (c.Gup("p0", 3, 2, pin=True), Result(cpages=2))], "expected 1"),
    ([*MAPPED, (c.Gup("p0", 0, pin=True, hold="h"), Result(cpages=1)), (c.Store("p0", 0, 1, 8), Result(cpages=1)), (c.Peek("p0", "h"), Result(stamps=(10,)))], "must hold 8"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "message"), BAD)
def test_what_must_not_happen(run: list[tuple[Command, Result]], message: str) -> None:
    found = told(run)
    assert len(found) == 1, found
    assert message in found[0]


def test_failures_are_accepted_once_they_are_injected() -> None:
    failing = (c.Inject("alloc"), OK)
    load = (c.Load("p0", 0), Result("SIGBUS", cpages=0))
    assert told([*MAPPED, load])
    assert told([*MAPPED, failing, load, (c.Load("p0", 0), Result(cpages=1, stamps=(10,)))]) == []
    assert told([*MAPPED, failing, load, (c.Load("p0", 0), Result(cpages=1, stamps=(0,)))])


def raced(
    prefix: Sequence[tuple[Command, Result]], events: Sequence[tuple[int, Command | Result]], atomic: bool = True
) -> list[str]:
    """The findings of a run that ends in a race: (call, command) begins it, (call, result) ends it."""
    judge = DataJudge(atomic)
    out = []
    for call, (command, result) in enumerate(prefix):
        out += judge.feed(Event(call, "main", command=command))
        out += judge.feed(Event(call, "main", result=result))
    for number, what in events:
        call = 100 + number
        out += judge.feed(
            Event(call, f"t{number}", what) if isinstance(what, Command) else Event(call, f"t{number}", None, what)
        )
    return [str(f) for f in out]


def one(stamp: int) -> Result:
    return Result(cpages=1, stamps=(stamp,))


LOAD, STORE = c.Load("p0", 0), c.Store("p0", 0, 1, 20)
DONE = Result(cpages=1)


@pytest.mark.parametrize("seen", [10, 20])
def test_a_read_beside_a_write_sees_either(seen: int) -> None:
    assert raced(MAPPED, [(0, STORE), (1, LOAD), (0, DONE), (1, one(seen))]) == []


def test_a_read_after_the_write_sees_it() -> None:
    events: list[tuple[int, Command | Result]] = [
        (9, c.Load("p0", 3)),
        (0, STORE),
        (0, DONE),
        (1, LOAD),
        (1, one(10)),
        (9, one(13)),
    ]
    assert "was read as 10" in raced(MAPPED, events)[0]


def test_what_is_left_of_two_writes_is_one_of_them() -> None:
    race: list[tuple[int, Command | Result]] = [(0, STORE), (1, c.Store("p0", 0, 1, 30)), (0, DONE), (1, DONE)]
    for seen in (20, 30):
        assert raced(MAPPED, [*race, (2, LOAD), (2, one(seen))]) == []
    assert "must hold 20 or 30" in raced(MAPPED, [*race, (2, LOAD), (2, one(10))])[0]


def test_a_file_that_grows_meanwhile() -> None:
    """Who comes after the file was made longer writes to its new page; who comes before gets a signal."""
    longer, at_once = c.FileWrite("f0", 0, 2, 40), c.DevWrite("p0", "dev0", 1, 1, 7)
    for kind, left in (("file", (7, 41)), ("file_private", (7,))):
        mapped = [
            (c.Open("p0", "dev0"), OK),
            (c.FileWrite("f0", 0, 1, 5), DONE),
            (c.Mmap("p0", 0, 2, "rw", kind, "f0"), OK),
        ]
        race: list[tuple[int, Command | Result]] = [(0, at_once), (1, longer), (1, OK), (0, DONE)]
        for seen in left:
            assert raced(mapped, [*race, (2, c.Load("p0", 1)), (2, one(seen))]) == []
        assert "must hold" in raced(mapped, [*race, (2, c.Load("p0", 1)), (2, one(0))])[0]
        assert raced(mapped, [*race, (2, c.FileRead("f0", 1)), (2, one(41))]) == []
        early: list[tuple[int, Command | Result]] = [
            (1, longer),
            (0, c.Store("p0", 1, 1, 7)),
            (0, Result("SIGBUS", cpages=0)),
            (1, OK),
        ]
        assert raced(mapped, early) == []


def test_a_page_that_is_unmapped_meanwhile_may_be_read_or_not() -> None:
    for result in (one(10), Result("SIGSEGV", cpages=0)):
        assert raced(MAPPED, [(0, c.Munmap("p0", 0)), (1, LOAD), (0, OK), (1, result)]) == []
    race: list[tuple[int, Command | Result]] = [(0, c.Munmap("p0", 0)), (1, LOAD), (0, OK), (1, one(10))]
    assert "expected SIGSEGV" in raced(MAPPED, [*race, (2, LOAD), (2, one(10))])[0]


def test_words_of_no_stamp_are_a_finding_in_a_race_too() -> None:
    race: list[tuple[int, Command | Result]] = [(0, STORE), (1, LOAD), (0, DONE), (1, one(TORN))]
    assert "no stamp" in raced(MAPPED, race)[0]
    # Where an access to a page takes more than one moment, half of what is being written may be seen.
    assert raced(MAPPED, race, atomic=False) == []
    assert "no stamp" in raced(MAPPED, [(0, c.Pagemap("p0", 0)), (1, LOAD), (0, OK), (1, one(TORN))], atomic=False)[0]


def test_increments_at_once_may_each_see_half_of_the_other() -> None:
    """What one that read half a page wrote is not known, and whoever comes after it may read that."""
    add = c.Increment("p0", 0)
    race: list[tuple[int, Command | Result]] = [(0, add), (1, add), (2, add)]
    race += [(0, one(TORN)), (1, one(TORN)), (2, one(12)), (3, LOAD), (3, one(13))]
    assert raced(MAPPED, race, atomic=False) == []
    assert "no stamp" in raced(MAPPED, race)[0]
    alone: list[tuple[int, Command | Result]] = [(0, c.Pagemap("p0", 0)), (1, add), (0, OK), (1, one(TORN))]
    assert "no stamp" in raced(MAPPED, alone, atomic=False)[0]


def test_an_unexpected_signal_in_a_race_is_a_finding() -> None:
    race: list[tuple[int, Command | Result]] = [
        (0, c.Store("p0", 1, 1, 5)),
        (1, LOAD),
        (0, DONE),
        (1, Result("SIGBUS", cpages=0)),
    ]
    assert "expected success" in raced(MAPPED, race)[0]
