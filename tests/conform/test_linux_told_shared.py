"""What Linux 6.12.117 answered about pages that were shared or pinned, and about pages that are put together to a huge
one (see `test_linux_told.py`)."""

from __future__ import annotations

import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.results import Result
from tests.conform.test_linux_told import answers

AREA = c.Mmap("p0", 0, 512)
WATCHED = c.UffdWp("p0", 0, 512)
OPEN = c.Open("p0", "dev0")
COLLAPSE = c.Madvise("p0", 0, 512, "collapse")

TOLD: dict[str, tuple[tuple[Command, ...], Result]] = {
    "MADV_FREE of a shared page that only entries call dirty": (
        (
            c.Mmap("p0", 0, 1),
            c.Store("p0", 0),
            c.Drain(),
            c.Fork("p0", "p1"),
            c.Madvise("p0", 0, 1, "free"),
            c.Smaps("p0", 0),
        ),
        Result(counts=(("rss", 1), ("anon", 1), ("swap", 0), ("dirty", 0), ("huge", 0))),
    ),
    "who has taken a page over has it moved without a word to others": (
        (
            c.Open("p0", "dev2"),
            c.Mmap("p0", 0, 1),
            c.MigrateToDevice("p0", "dev2", 0),
            c.Fork("p0", "p1"),
            c.DevWrite("p0", "dev2", 0),
            c.Store("p1", 0),
            c.ReleaseMemory("p0", "dev2"),
            c.DevRead("p0", "dev2", 0),
        ),
        Result(cpages=1, faults=0, stamps=(1,)),
    ),
    "the child's copy of a pinned page is writable, though the parent's is not": (
        (
            c.Mmap("p0", 0, 1),
            c.Gup("p0", 0, pin=True, longterm=True, hold="h0"),
            c.Fork("p0", "p1"),
            c.Open("p1", "dev2"),
            c.MigrateToDevice("p1", "dev2", 0),
            c.Snapshot("p1", "dev2", 0),
        ),
        Result(cpages=1, snapshot=(0x42,)),
    ),
    "pages that were all written may be put together though userfaultfd watches them": (
        (AREA, WATCHED, c.Store("p0", 0, 512), COLLAPSE),
        Result(),
    ),
    "pages that are protected may not": (
        (AREA, c.Store("p0", 0, 512), WATCHED, COLLAPSE),
        Result("EINVAL"),
    ),
    "pages that nobody may write are not put together": (
        (AREA, c.Load("p0", 0, 512), COLLAPSE),
        Result("EINVAL"),
    ),
    "nor is one of private device memory with holes around it": (
        (AREA, OPEN, c.MigrateToDevice("p0", "dev0", 7), COLLAPSE),
        Result("EINVAL"),
    ),
    "with a page that may be written it comes back, and all are put together": (
        (AREA, OPEN, c.MigrateToDevice("p0", "dev0", 7), c.Store("p0", 8), COLLAPSE),
        Result(),
    ),
    "a page of coherent memory stays where it is": (
        (AREA, c.Open("p0", "dev2"), c.Store("p0", 8), c.MigrateToDevice("p0", "dev2", 7), COLLAPSE),
        Result("EINVAL"),
    ),
    "a page that is referred to is not put together with others": (
        (AREA, c.Store("p0", 0, 512), c.Gup("p0", 3, hold="h0"), COLLAPSE),
        Result("EAGAIN"),
    ),
    "a page that was written is dirty on a device, too": (
        (c.Mmap("p0", 0, 1), OPEN, c.Store("p0", 0), c.MigrateToDevice("p0", "dev0", 0), c.Smaps("p0", 0)),
        Result(counts=(("rss", 1), ("anon", 1), ("swap", 0), ("dirty", 1), ("huge", 0))),
    ),
    "a page on a device that may be written no more is not soft-dirty any more": (
        (
            c.Mmap("p0", 0, 1),
            c.ClearSoftDirty("p0"),
            OPEN,
            c.Store("p0", 0),
            c.MigrateToDevice("p0", "dev0", 0),
            c.Mprotect("p0", 0, 1, "r"),
            c.Pagemap("p0", 0),
        ),
        Result(cpages=1, pagemap=(2,)),
    ),
    "nor is it after a fork": (
        (
            c.Mmap("p0", 0, 1),
            c.ClearSoftDirty("p0"),
            OPEN,
            c.Store("p0", 0),
            c.MigrateToDevice("p0", "dev0", 0),
            c.Fork("p0", "p1"),
            c.Pagemap("p0", 0),
        ),
        Result(cpages=1, pagemap=(2,)),
    ),
    "a child has the soft-dirty bit of a page on a device that nobody may write": (
        (
            c.Mmap("p0", 0, 1),
            c.Store("p0", 0),
            OPEN,
            c.Mprotect("p0", 0, 1, "r"),
            c.MigrateToDevice("p0", "dev0", 0),
            c.Fork("p0", "p1"),
            c.ClearSoftDirty("p0"),
            c.Pagemap("p1", 0),
        ),
        Result(cpages=1, pagemap=(6,)),
    ),
    "devices hear of all that is unmapped, with holes": (
        (
            c.Mmap("p0", 0, 3),
            c.Mmap("p0", 5, 1),
            OPEN,
            c.DevRead("p0", "dev0", 5),
            c.Munmap("p0", 2, 3),
            c.DevRead("p0", "dev0", 5),
        ),
        Result(cpages=1, faults=1, stamps=(0,)),
    ),
    "who is made exclusive has all places told where the page may be": (
        (
            c.Mmap("p0", 0, 2),
            OPEN,
            c.Store("p0", 0),
            c.Mremap("p0", 0, 1, to=2, dontunmap=True),
            c.DevRead("p0", "dev0", 0),
            c.Exclusive("p0", "dev0", 2),
            c.DevRead("p0", "dev0", 0),
        ),
        Result(cpages=1, faults=1, stamps=(0,)),
    ),
    "a page that GUP looked up for writing is dirty": (
        (
            OPEN,
            c.Mmap("p0", 0, 1),
            c.MigrateToDevice("p0", "dev0", 0),
            c.MigrateToSystem("p0", "dev0", 0),
            c.Gup("p0", 0, write=True),
            c.Smaps("p0", 0),
        ),
        Result(counts=(("rss", 1), ("anon", 1), ("swap", 0), ("dirty", 1), ("huge", 0))),
    ),
    "it is not if it is pinned under mmap_lock": (
        (
            OPEN,
            c.Mmap("p0", 0, 1),
            c.MigrateToDevice("p0", "dev0", 0),
            c.MigrateToSystem("p0", "dev0", 0),
            c.Gup("p0", 0, write=True, pin=True),
            c.Smaps("p0", 0),
        ),
        Result(counts=(("rss", 1), ("anon", 1), ("swap", 0), ("dirty", 0), ("huge", 0))),
    ),
    "of a huge page only the first can be made exclusive, and all are": (
        (AREA, c.Madvise("p0", 0, 512, "hugepage"), c.Store("p0", 0), OPEN, c.Exclusive("p0", "dev0", 5)),
        Result("EBUSY"),
    ),
    "a page that moved is not in the mirror when one after it has others told": (
        (
            c.Mmap("p0", 0, 7),
            OPEN,
            c.Store("p0", 0),
            c.Mremap("p0", 5, 1, to=7, dontunmap=True),
            c.Store("p0", 7),
            c.Fork("p0", "p1"),
            c.MigrateToDevice("p0", "dev0", 6, 2),
        ),
        Result("ENOENT"),
    ),
    "an entry of a shared mapping is for reading where userfaultfd waits for writes": (
        (
            c.Mmap("p0", 0, 1, kind="shared"),
            OPEN,
            c.UffdWp("p0", 0, 1),
            c.Store("p0", 0),
            c.Drain(),
            c.Madvise("p0", 0, 1, "pageout"),
            c.Load("p0", 0),
            c.Snapshot("p0", "dev0", 0),
        ),
        Result(cpages=1, snapshot=(1,)),
    ),
    "a hole before the first protected page decides": (
        (AREA, WATCHED, c.Store("p0", 490), c.Open("p0", "dev3"), c.DevRead("p0", "dev3", 0, 512), COLLAPSE),
        Result("EBUSY"),
    ),
    "a device has mapped 64 pages before the piece with the gap": (
        (
            c.Mmap("p0", 0, 512),
            c.Munmap("p0", 100, 3),
            OPEN,
            c.DevWrite("p0", "dev0", 0, 300, 1),
            c.DevRead("p0", "dev0", 63),
            c.DevRead("p0", "dev0", 64),
        ),
        Result(cpages=1, faults=1, stamps=(0,)),
    ),
    "what mremap moves counts as written, the zero page, too": (
        (c.Mmap("p0", 0, 1), c.Load("p0", 0), c.ClearSoftDirty("p0"), c.Mremap("p0", 0, 1, 1), c.Pagemap("p0", 1)),
        Result(cpages=1, pagemap=(5,)),
    ),
    "what the device writes to its private memory does not show there": (
        (c.Mmap("p0", 0, 1), OPEN, c.MigrateToDevice("p0", "dev0", 0), c.DevWrite("p0", "dev0", 0), c.Smaps("p0", 0)),
        Result(counts=(("rss", 1), ("anon", 1), ("swap", 0), ("dirty", 0), ("huge", 0))),
    ),
    "reclaim leaves a pinned page alone, and devices hear nothing": (
        (
            c.Mmap("p0", 0, 1),
            OPEN,
            c.Gup("p0", 0, pin=True, longterm=True, hold="h0"),
            c.DevRead("p0", "dev0", 0),
            c.Madvise("p0", 0, 1, "pageout"),
            c.DevRead("p0", "dev0", 0),
        ),
        Result(cpages=1, faults=0, stamps=(0,)),
    ),
    "holes that userfaultfd is told of stay holes": (
        (AREA, c.Store("p0", 0), WATCHED, c.UffdWp("p0", 0, 512, False), COLLAPSE),
        Result("EBUSY"),
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_the_reference_answers_as_linux_did(name: str) -> None:
    answers(*TOLD[name])
