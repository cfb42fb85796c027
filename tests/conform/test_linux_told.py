"""What a real Linux 6.12 answered where the reference kernel once said something else: it says the same now.

Each program was run on both; the results are those of Linux 6.12.117.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.reference import ReferenceTarget
from hmmspec.conform.results import Result

OPEN = c.Open("p0", "dev0")
DRIVER = c.Mmap("p0", 0, 1, kind="device", source="dev0")

HUGE_PAGE = c.Mmap("p0", 512, 512, kind="hugetlb")
THP = (c.Mmap("p0", 512, 512), c.Madvise("p0", 512, 512, "hugepage"), c.Store("p0", 512, 512, 0), c.Drain())

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
    "what was held while it was reclaimed is not thrown away later": (
        (
            c.Mmap("p0", 0, 2),
            c.Store("p0", 0, 1, 5),
            c.Store("p0", 1, 1, 7),
            c.Drain(),
            c.Gup("p0", 0, hold="h0"),
            c.Madvise("p0", 0, 2, "free"),
            c.Madvise("p0", 0, 2, "pageout"),
            c.Unpin("p0", "h0"),
            c.Drain(),
            c.Madvise("p0", 0, 1, "pageout"),
            c.Load("p0", 0, 2),
        ),
        Result(cpages=2, stamps=(5, 0)),
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
    "an area that was used is not joined to one that was not": (
        (
            c.Mmap("p0", 5),
            c.Store("p0", 5),
            c.Mprotect("p0", 5, 1, "r"),
            c.Mmap("p0", 3, 2),
            c.Mprotect("p0", 5, 1, "rw"),
            c.Mremap("p0", 4, 2, 10),
        ),
        Result("EFAULT"),
    ),
    "what was once writable counts as committed": (
        (
            OPEN,
            c.Mmap("p0", 0, 6),
            c.DevWrite("p0", "dev0", 0),
            c.Mmap("p0", 2, 3, "none"),
            c.Mprotect("p0", 3, 3, "r"),
            c.Mremap("p0", 4, 2, 10),
        ),
        Result("EFAULT"),
    ),
    "a change back does not join what was used apart": (
        (
            c.Mmap("p0", 0, 4),
            c.Mprotect("p0", 2, 2, "r"),
            c.Fork("p0", "p1"),
            c.Store("p1", 0, 2),
            c.Load("p1", 2),
            c.Mprotect("p1", 2, 2, "rw"),
            c.Mremap("p1", 1, 2, 10),
        ),
        Result(),
    ),
    "neighbours share what they grow into": (
        (
            c.Mmap("p0", 0, 2),
            c.Mmap("p0", 2, 2, "r"),
            c.Mprotect("p0", 2, 2, "rw"),
            c.Mprotect("p0", 2, 2, "none"),
            c.Store("p0", 0, 1),
            c.Mprotect("p0", 2, 2, "rw"),
            c.Mremap("p0", 1, 2, 10),
        ),
        Result(),
    ),
    "two maps of a file are two areas": (
        (
            c.FileWrite("f0", 0, 4),
            c.Mmap("p0", 0, 2, kind="file", source="f0"),
            c.Mmap("p0", 2, 2, kind="file", source="f0", offset=2),
            c.Mremap("p0", 1, 2, 10),
        ),
        Result("EFAULT"),
    ),
    "mprotect may take soft-dirty from a neighbour": (
        (
            c.Mmap("p0", 0),
            c.ClearSoftDirty("p0"),
            c.Mmap("p0", 1, 1, "r"),
            c.Mprotect("p0", 0, 1, "r"),
            c.Pagemap("p0", 0, 2),
        ),
        Result(cpages=2, pagemap=(0, 0)),
    ),
    "userfaultfd protection stays behind": (
        (c.Mmap("p0", 0), c.Store("p0", 0), c.UffdWp("p0", 0), c.Mremap("p0", 0, 1, 4), c.Pagemap("p0", 4)),
        Result(cpages=1, pagemap=(13,)),
    ),
    "a page that may not be accessed is as dirty as before": (
        (c.Mmap("p0", 0), c.Store("p0", 0), c.Mprotect("p0", 0, 1, "none"), c.Smaps("p0", 0)),
        Result(counts=(("rss", 1), ("anon", 1), ("swap", 0), ("dirty", 1), ("huge", 0))),
    ),
    "what changes nothing splits nothing": (
        (c.Mmap("p0", 0, 512, kind="hugetlb"), c.Mprotect("p0", 0, 1)),
        Result(),
    ),
    "mprotect comes as far as a hugetlb page": (
        (
            c.Mmap("p0", 510, 2),
            c.Mmap("p0", 512, 512, kind="hugetlb"),
            c.Mprotect("p0", 510, 3, "r"),
            c.Store("p0", 511),
        ),
        Result("SIGSEGV", cpages=0),
    ),
    "an exclusive page that comes back counts as written": (
        (
            c.Open("p0", "dev2"),
            c.Mmap("p0", 0),
            c.Exclusive("p0", "dev2", 0),
            c.ClearSoftDirty("p0"),
            c.Load("p0", 0),
            c.Pagemap("p0", 0),
        ),
        Result(cpages=1, pagemap=(13,)),
    ),
    "an exclusive page stays read-only": (
        (
            c.Open("p0", "dev2"),
            c.Mmap("p0", 0),
            c.Exclusive("p0", "dev2", 0),
            c.Mprotect("p0", 0, 1, "r"),
            c.Mprotect("p0", 0, 1, "rw"),
            c.Load("p0", 0),
            c.Snapshot("p0", "dev2", 0),
        ),
        Result(cpages=1, snapshot=(0x01,)),
    ),
    "the huge zero page is a page of a file": (
        (
            c.Mmap("p0", 512, 512),
            c.Madvise("p0", 512, 512, "hugepage"),
            c.Load("p0", 600),
            c.Pagemap("p0", 512, 2),
        ),
        Result(cpages=2, pagemap=(21, 21)),
    ),
    "what is huge already collapses": (
        (
            c.Mmap("p0", 512, 512),
            c.Madvise("p0", 512, 512, "hugepage"),
            c.Load("p0", 600),
            c.Madvise("p0", 512, 512, "collapse"),
        ),
        Result(),
    ),
    "zeros of a huge page that is split are given up": (
        (
            c.Open("p0", "dev0"),
            c.Mmap("p0", 512, 512),
            c.Madvise("p0", 512, 512, "hugepage"),
            c.Store("p0", 514),
            c.MigrateToDevice("p0", "dev0", 512),
            c.Pagemap("p0", 512, 4),
        ),
        Result(cpages=4, pagemap=(6, 5, 13, 5)),
    ),
    "who splits an area tells of 2 MiB": (
        (
            c.Mmap("p0", 512, 512),
            c.Open("p0", "dev2"),
            c.MigrateToDevice("p0", "dev2", 512, 2),
            c.Madvise("p0", 700, 2, "dontfork"),
            c.DevWrite("p0", "dev2", 512, 2),
        ),
        Result(cpages=2, faults=1),
    ),
    "a file in memory is mapped writable at once": (
        (
            c.FileWrite("f0", 0),
            c.Mmap("p0", 0, kind="file", source="f0"),
            OPEN,
            c.Load("p0", 0),
            c.Snapshot("p0", "dev0", 0),
        ),
        Result(cpages=1, snapshot=(0x02,)),
    ),
    "shared memory is writable as soon as it may be": (
        (
            OPEN,
            c.Mmap("p0", 0, kind="shared"),
            c.Load("p0", 0),
            c.Mprotect("p0", 0, 1, "r"),
            c.Mprotect("p0", 0, 1, "rw"),
            c.Snapshot("p0", "dev0", 0),
        ),
        Result(cpages=1, snapshot=(0x02,)),
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
    "a hugetlb page that was only read is mapped read-only": (
        (HUGE_PAGE, OPEN, c.Load("p0", 600), c.Snapshot("p0", "dev0", 600)),
        Result(cpages=1, snapshot=(0x05,)),
    ),
    "mprotect gives a hugetlb page no write permission back": (
        (
            HUGE_PAGE,
            OPEN,
            c.Store("p0", 600),
            c.Mprotect("p0", 512, 512, "r"),
            c.Mprotect("p0", 512, 512),
            c.Snapshot("p0", "dev0", 600),
        ),
        Result(cpages=1, snapshot=(0x05,)),
    ),
    "hugetlb pages are not tracked as soft-dirty": (
        (HUGE_PAGE, c.ClearSoftDirty("p0"), c.Store("p0", 600), c.Pagemap("p0", 600)),
        Result(cpages=1, pagemap=(9,)),
    ),
    "a protected hole of a hugetlb mapping is not swapped": (
        (HUGE_PAGE, c.UffdWp("p0", 512, 512), c.Pagemap("p0", 600)),
        Result(cpages=1, pagemap=(36,)),
    ),
    "a device reads a protected hole of a hugetlb mapping": (
        (HUGE_PAGE, OPEN, c.UffdWp("p0", 512, 512), c.DevRead("p0", "dev0", 637, 4)),
        Result(cpages=4, faults=1, stamps=(0, 0, 0, 0)),
    ),
    "exclusive access does not fault in hugetlb pages": (
        (HUGE_PAGE, OPEN, c.Exclusive("p0", "dev0", 900, 4), c.Pagemap("p0", 600)),
        Result(cpages=1, pagemap=(4,)),
    ),
    "hugetlb pages move whole": (
        (HUGE_PAGE, c.Store("p0", 600, 1, 3), c.Mremap("p0", 512, 5, 2048), c.Load("p0", 2136)),
        Result(cpages=1, stamps=(3,)),
    ),
    "the owner of a hugetlb mapping takes pages away": (
        (
            c.Mmap("p0", 0, 16 * 512, kind="hugetlb"),
            c.Store("p0", 0),
            c.Fork("p0", "p1"),
            c.Store("p0", 0, 1, 2),
            c.Load("p1", 0),
        ),
        Result("SIGBUS", cpages=0),
    ),
    "MADV_FREE of a part splits a huge page": (
        (*THP, OPEN, c.Madvise("p0", 512, 256, "free"), c.MigrateToDevice("p0", "dev0", 768, 2)),
        Result(cpages=2, stamps=(256, 257)),
    ),
    "MADV_FREE of a huge page leaves it whole and clean": (
        (*THP, c.Madvise("p0", 512, 512, "free"), c.Smaps("p0", 512, 512)),
        Result(counts=(("rss", 512), ("anon", 512), ("swap", 0), ("dirty", 0), ("huge", 512))),
    ),
    "a huge page goes to swap whole, zeros and all": (
        (
            c.Mmap("p0", 512, 512),
            c.Madvise("p0", 512, 512, "hugepage"),
            c.Store("p0", 512),
            c.Drain(),
            c.Madvise("p0", 512, 512, "pageout"),
            c.Smaps("p0", 512, 512),
        ),
        Result(counts=(("rss", 0), ("anon", 0), ("swap", 512), ("dirty", 0), ("huge", 0))),
    ),
    "the huge zero page is not the zero page": (
        (
            c.Mmap("p0", 512, 512),
            OPEN,
            c.Madvise("p0", 512, 512, "hugepage"),
            c.Load("p0", 600),
            c.Snapshot("p0", "dev0", 600),
        ),
        Result(cpages=1, snapshot=(0x05,)),
    ),
    "who splits a huge page tells devices of all of it": (
        (*THP, OPEN, c.DevRead("p0", "dev0", 700), c.Madvise("p0", 512, 8), c.DevRead("p0", "dev0", 700)),
        Result(cpages=1, faults=1, stamps=(188,)),
    ),
    "a huge page stays whole under userfaultfd": (
        (*THP, OPEN, c.UffdWp("p0", 512, 512), c.Snapshot("p0", "dev0", 600)),
        Result(cpages=1, snapshot=(0x05,)),
    ),
    "what is not protected any more is writable at once": (
        (
            c.Mmap("p0", 0),
            OPEN,
            c.Store("p0", 0),
            c.UffdWp("p0", 0),
            c.UffdWp("p0", 0, 1, False),
            c.Snapshot("p0", "dev0", 0),
        ),
        Result(cpages=1, snapshot=(0x02,)),
    ),
    "userfaultfd takes write permission from a device's page": (
        (c.Mmap("p0", 0), OPEN, c.MigrateToDevice("p0", "dev0", 0), c.UffdWp("p0", 0), c.Snapshot("p0", "dev0", 0)),
        Result(cpages=1, snapshot=(0x21,)),
    ),
    "a long-term pin of a file's page gets a copy of its own": (
        (
            c.FileWrite("f0", 0),
            c.Mmap("p0", 0, kind="file_private", source="f0"),
            c.Gup("p0", 0, pin=True, longterm=True, hold="h0"),
            c.Store("p0", 0, 1, 2),
            c.Peek("p0", "h0"),
        ),
        Result(stamps=(2,)),
    ),
    "when nobody maps a page any more the other devices hear nothing": (
        (
            OPEN,
            c.Mmap("p0", 0, 7),
            c.MigrateToDevice("p0", "dev0", 1, 5),
            c.Fork("p0", "p1"),
            c.UffdWp("p0", 0),
            c.DevRead("p0", "dev0", 6),
            c.Load("p0", 1, 5),
            c.DevRead("p0", "dev0", 6),
        ),
        Result(cpages=1, faults=0, stamps=(0,)),
    ),
    "evicted pages are dirty": (
        (
            c.Mmap("p0", 7, prot="r"),
            OPEN,
            c.MigrateToDevice("p0", "dev0", 7),
            c.ReleaseMemory("p0", "dev0"),
            c.Smaps("p0", 7),
        ),
        Result(counts=(("rss", 1), ("anon", 1), ("swap", 0), ("dirty", 1), ("huge", 0))),
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_the_reference_answers_as_linux_did(name: str) -> None:
    answers(*TOLD[name])


def answers(commands: Sequence[Command], wanted: Result) -> None:
    """The last command is answered so, and nothing is wrong."""
    judge = DataJudge()
    with ReferenceTarget("6.12+files_in_memory", one_cpu=True) as target:
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
            "an area that was used is not joined to one that was not": "",
        }.items():
            target.reset()
            assert target.run_all(TOLD[name][0])[-1].error == wanted, name
        for name, bits in {
            "mprotect may take soft-dirty from a neighbour": (4, 4),
            "an exclusive page that comes back counts as written": (9,),
        }.items():
            target.reset()
            assert target.run_all(TOLD[name][0])[-1].pagemap == bits, name
