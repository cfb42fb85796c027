"""What Linux 6.12.117 answered about pages that were shared, and about pages that userfaultfd watches (see
`test_linux_told.py`)."""

from __future__ import annotations

import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.results import Result
from tests.conform.test_linux_told import answers

AREA = c.Mmap("p0", 0, 512)
WATCHED = c.UffdWp("p0", 0, 512)
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
    "pages that were all written may be put together though userfaultfd watches them": (
        (AREA, WATCHED, c.Store("p0", 0, 512), COLLAPSE),
        Result(),
    ),
    "pages that are protected may not": (
        (AREA, c.Store("p0", 0, 512), WATCHED, COLLAPSE),
        Result("EINVAL"),
    ),
    "holes that userfaultfd is told of stay holes": (
        (AREA, c.Store("p0", 0), WATCHED, c.UffdWp("p0", 0, 512, False), COLLAPSE),
        Result("EBUSY"),
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_the_reference_answers_as_linux_did(name: str) -> None:
    answers(*TOLD[name])
