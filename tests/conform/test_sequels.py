"""Sequels go on with the pages of the command that they follow, and every command of them is one."""

from __future__ import annotations

from random import Random

import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.sequels import rivals, sequel
from hmmspec.conform.wire import command_from_json

TOLD = [
    c.Store("p0", 3, 2, 5),
    c.Fork("p0", "p1"),
    c.Mprotect("p0", 3, 2, "r"),
    c.Mprotect("p0", 3, 2, "rw"),
    c.Gup("p0", 3, 2, pin=True, hold="h0"),
    c.DevRead("p0", "dev0", 3, 2),
    c.DevWrite("p0", "dev0", 3, 2, 5),
    c.MigrateToDevice("p0", "dev0", 3, 2),
    c.Mmap("p0", 3, 2, "rw", "file", "f0"),
    c.Munmap("p0", 3, 2),
    c.Mremap("p0", 3, 2, 9),
]


@pytest.mark.parametrize("command", TOLD, ids=str)
def test_a_sequel_is_about_the_same_process_and_can_be_written_down(command: c.Command) -> None:
    random, stamps = Random(1), iter(range(100, 10_000, 20))
    seen = set()
    for _ in range(30):
        story = sequel(command, random.randrange, lambda _: next(stamps), ("p1",))
        assert story
        seen.add(tuple(type(x).__name__ for x in story))
        for part in story:
            assert getattr(part, "process", "p0") in {"p0", "p1"}
            assert command_from_json(part.to_json()) == part
            if isinstance(part, c.OfPages) and not isinstance(command, c.Fork | c.Mremap):
                assert part.page in {3, 5}
    assert len(seen) >= (2 if isinstance(command, c.Store | c.Fork | c.MigrateToDevice | c.DevRead) else 1)


def test_most_commands_have_none() -> None:
    for command in (c.Load("p0", 0, 1), c.Exit("p0"), c.Drain(), c.Gup("p0", 0, 1), c.Open("p0", "dev0")):
        assert sequel(command, Random(1).randrange, lambda _: 1, ()) == ()


def test_written_pages_go_out_and_come_back() -> None:
    random = Random(2)
    stories = [sequel(c.Store("p0", 0, 1, 1), random.randrange, lambda _: 7, ()) for _ in range(40)]
    out = c.Madvise("p0", 0, 1, "pageout")
    assert any(story.count(out) == 2 and c.Store("p0", 0, 1, 7) in story for story in stories)


def test_rivals_share_pages_or_the_device() -> None:
    random = Random(3)
    seen = set()
    for _ in range(120):
        threads = rivals("p0", "dev0", (3, 2), random.randrange, lambda _: 7, "p9")
        assert len(threads) >= 2
        assert all(threads)
        seen.add(threads)
        for part in (part for thread in threads for part in thread):
            assert getattr(part, "process", "p0") in {"p0", "p9"}
            assert command_from_json(part.to_json()) == part
            if isinstance(part, c.OfPages):
                assert (part.page, part.count) == (3, 2)
    assert len(seen) > 8
