"""What a real Linux 6.12 answered where the reference kernel once said something else: it says the same now.

Each program was run on both; the results are those of Linux 6.12.117.
"""

from __future__ import annotations

import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.reference import ReferenceTarget
from hmmspec.conform.results import Result

OPEN = c.Open("p0", "dev0")
DRIVER = c.Mmap("p0", 0, 1, kind="device", source="dev0")

# name -> commands, and what the last of them answers.
TOLD: dict[str, tuple[tuple[Command, ...], Result]] = {
    "an invalidation erases one page more": (
        (
            OPEN,
            c.Mmap("p0", 0, 5, kind="shared"),
            c.DevRead("p0", "dev0", 0, 5),
            c.Madvise("p0", 1, 3, "dontneed"),
            c.MigrateToDevice("p0", "dev0", 4),
        ),
        Result("ENOENT"),
    ),
    "who faults in one page brings back those behind it": (
        (
            OPEN,
            c.Mmap("p0", 0, 2),
            c.MigrateToDevice("p0", "dev0", 1),
            c.DevRead("p0", "dev0", 0, 2),
            c.Snapshot("p0", "dev0", 0, 2),
        ),
        Result(cpages=2, snapshot=(0x11, 0x02)),
    ),
    "exclusive of a hole": ((OPEN, c.Exclusive("p0", "dev0", 0)), Result("EBUSY")),
    "exclusive of shared memory": (
        (OPEN, c.Mmap("p0", 0, kind="shared"), c.Exclusive("p0", "dev0", 0)),
        Result("EBUSY"),
    ),
    "an exclusive page tells its own device, too": (
        (
            c.Open("p0", "dev2"),
            c.Mmap("p0", 0, 4),
            c.MigrateToDevice("p0", "dev2", 1, 2),
            c.Exclusive("p0", "dev2", 1),
            c.MigrateToDevice("p0", "dev2", 0, 4),
        ),
        Result("ENOENT"),
    ),
    "userfaultfd protection of what is not armed": (
        (c.Mmap("p0", 0), c.UffdWp("p0", 0, on=False)),
        Result("ENOENT"),
    ),
    "userfaultfd protection of a hole": ((c.UffdWp("p0", 0, on=False),), Result("ENOENT")),
    "userfaultfd passes over holes": ((c.Mmap("p0", 2), c.UffdWp("p0", 1, 2)), Result()),
    "userfaultfd protection outlives MADV_DONTNEED in shared memory": (
        (
            OPEN,
            c.Mmap("p0", 0, kind="shared"),
            c.UffdWp("p0", 0),
            c.Madvise("p0", 0, 1, "dontneed"),
            c.DevRead("p0", "dev0", 0),
            c.DevWrite("p0", "dev0", 0),
        ),
        Result(cpages=1, faults=1),
    ),
    "userfaultfd leaves pages of a driver alone": ((OPEN, DRIVER, c.UffdWp("p0", 0)), Result("EINVAL")),
    "userfaultfd protection of an exclusive page": (
        (OPEN, c.Mmap("p0", 0), c.Exclusive("p0", "dev0", 0), c.UffdWp("p0", 0), c.Pagemap("p0", 0)),
        Result(cpages=1, pagemap=(38,)),
    ),
    "pages of a driver may be paged out": ((OPEN, DRIVER, c.Madvise("p0", 0, 1, "pageout")), Result()),
    "pages that may not be accessed are paged out": (
        (
            OPEN,
            c.Mmap("p0", 0, 2, kind="shared"),
            c.DevRead("p0", "dev0", 0, 2),
            c.Mprotect("p0", 0, 1, "none"),
            c.Madvise("p0", 0, 2, "pageout"),
            c.Pagemap("p0", 0, 2),
        ),
        Result(cpages=2, pagemap=(4, 4)),
    ),
    "pages of a driver may be huge": ((OPEN, DRIVER, c.Madvise("p0", 0, 1, "hugepage")), Result()),
    "a small area never collapses": (
        (c.Mmap("p0", 0), c.Madvise("p0", 0, 2, "collapse")),
        Result("EINVAL"),
    ),
    "mremap of nothing to its own place": ((c.Mremap("p0", 0, 1, 0),), Result("EFAULT")),
    "mremap within an area": ((c.Mmap("p0", 0, 2), c.Mremap("p0", 1, 1, 0)), Result()),
    "mremap unmaps before it fails": (
        (c.Mmap("p0", 0), c.Mmap("p0", 4), c.Mremap("p0", 0, 2, 4), c.Load("p0", 4)),
        Result("SIGSEGV", cpages=0),
    ),
    "mremap of shared memory leaves it mapped": (
        (c.Mmap("p0", 0, kind="shared"), c.Store("p0", 0, 1, 7), c.Mremap("p0", 0, 1, 1, True), c.Load("p0", 0)),
        Result(cpages=1, stamps=(7,)),
    ),
    "areas that are joined are soft-dirty as a whole": (
        (c.Mmap("p0", 0, 3), c.ClearSoftDirty("p0"), c.Mmap("p0", 0), c.Pagemap("p0", 1)),
        Result(cpages=1, pagemap=(4,)),
    ),
    "a pinned page stays soft-dirty": (
        (
            c.Mmap("p0", 0, 2),
            c.Gup("p0", 0, 1, pin=True, longterm=True, hold="long"),
            c.Store("p0", 0, 2),
            c.ClearSoftDirty("p0"),
            c.Pagemap("p0", 0, 2),
        ),
        Result(cpages=2, pagemap=(13, 9)),
    ),
    "a pin that is only for reading takes the zero page": (
        (OPEN, c.Mmap("p0", 0), c.Gup("p0", 0, 1, pin=True), c.Snapshot("p0", "dev0", 0)),
        Result(cpages=1, snapshot=(0x11,)),
    ),
    "a long-term pin takes a page": (
        (OPEN, c.Mmap("p0", 0), c.Gup("p0", 0, 1, pin=True, longterm=True), c.Snapshot("p0", "dev0", 0)),
        Result(cpages=1, snapshot=(0x01,)),
    ),
    "fork does not touch what it does not copy": (
        (
            OPEN,
            c.Mmap("p0", 0, 4, kind="shared"),
            c.UffdWp("p0", 0, 2),
            c.DevRead("p0", "dev0", 2, 2),
            c.Fork("p0", "p1"),
            c.MigrateToDevice("p0", "dev0", 2, 2),
        ),
        Result(cpages=2, stamps=(0, 0)),
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_the_reference_answers_as_linux_did(name: str) -> None:
    commands, wanted = TOLD[name]
    judge = DataJudge()
    with ReferenceTarget("6.12", one_cpu=True) as target:
        target.reset()
        assert target.run_all(commands)[-1] == wanted
        assert target.findings() == ()
        judge.begin(target)
        assert [f for event in target.log for f in judge.feed(event)] == []
        assert target.finish() == ()


def test_newer_kernels_do_otherwise() -> None:
    """What only 6.12 does is a behaviour of its profile."""
    with ReferenceTarget("latest") as target:
        for name, wanted in {
            "an invalidation erases one page more": "",
            "exclusive of a hole": "EFAULT",
            "exclusive of shared memory": "EOPNOTSUPP",
            "mremap of nothing to its own place": "EINVAL",
        }.items():
            target.reset()
            assert target.run_all(TOLD[name][0])[-1].error == wanted, name
