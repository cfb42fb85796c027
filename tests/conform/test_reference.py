"""The reference kernel as a target: commands mean what they say, races end, defects are found, nothing is left over."""

from __future__ import annotations

import pytest

from hmmspec.conform import commands as c
from hmmspec.conform.generate import Generator, RandomChooser, shape_for
from hmmspec.conform.judging import run_program
from hmmspec.conform.program import Program, Race
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.reference import ReferenceTarget
from hmmspec.conform.results import DMIRROR_PRIV_LOCAL, DMIRROR_WRITE, PAGEMAP_PRESENT, PAGEMAP_SWAPPED
from hmmspec.conform.target import needs

PROGRAMS = 25


@pytest.fixture(scope="module")
def target() -> ReferenceTarget:
    return ReferenceTarget()


def results(target: ReferenceTarget, *commands: c.Command) -> list[str]:
    target.reset()
    return [str(r) for r in target.run_all(commands)]


MAP, OPEN = c.Mmap("p0", 0, 4), c.Open("p0", "dev0")


def test_there_and_back(target: ReferenceTarget) -> None:
    target.reset()
    out = target.run_all(
        [
            MAP,
            OPEN,
            c.Store("p0", 0, 4, 10),
            c.MigrateToDevice("p0", "dev0", 0, 4),
            c.Snapshot("p0", "dev0", 0),
            c.Pagemap("p0", 0),
            c.DevWrite("p0", "dev0", 1, 1, 99),
            c.Load("p0", 0, 4),
            c.Snapshot("p0", "dev0", 0),
        ]
    )
    assert all(r.ok for r in out), out
    assert out[3].stamps == (10, 11, 12, 13)
    assert out[4].snapshot == (DMIRROR_PRIV_LOCAL | DMIRROR_WRITE,)
    assert out[5].pagemap[0] & PAGEMAP_SWAPPED
    assert not out[5].pagemap[0] & PAGEMAP_PRESENT
    assert out[7].stamps == (10, 99, 12, 13)
    assert out[8].snapshot == (DMIRROR_WRITE,)
    assert target.finish() == ()


@pytest.mark.parametrize(
    ("commands", "error"),
    [
        ((c.Load("p3", 0),), "ESRCH"),
        ((c.Fork("p0", "p0"),), "EEXIST"),
        ((c.DevRead("p0", "dev0", 0),), "EBADF"),
        ((c.Open("p0", "dev9"),), "ENOSYS"),
        ((OPEN, OPEN), "EEXIST"),
        ((c.Peek("p0", "h"),), "EBADF"),
        ((c.Load("p0", c.ARENA_PAGES - 1, 2),), "EINVAL"),
        ((c.Load("p0", 0),), "SIGSEGV cpages=0"),
        ((c.Mmap("p0", 0, 1, "rw", "file", "f9"),), "ENOENT"),
        ((c.FileRead("f9", 0),), "ENOENT"),
        ((c.Exit("p0"), c.Load("p0", 0)), "ESRCH"),
        ((MAP, OPEN, c.MigrateToDevice("p0", "dev0", 3, 2)), "EINVAL"),
        ((MAP, OPEN, c.Mprotect("p0", 0, 1, "r"), c.DevWrite("p0", "dev0", 0)), "EPERM"),
        (
            (
                MAP,
                c.Madvise("p0", 0, advice="dontfork"),
                c.Fork("p0", "p1"),
                c.Load("p1", 0),
            ),
            "SIGSEGV cpages=0",
        ),
    ],
)
def test_errors(target: ReferenceTarget, commands: tuple[c.Command, ...], error: str) -> None:
    assert results(target, *commands)[-1] == error


def test_a_pinned_page_does_not_move(target: ReferenceTarget) -> None:
    told = results(
        target,
        MAP,
        OPEN,
        c.Store("p0", 0),
        c.Gup("p0", 0, write=True, pin=True, hold="h"),
        c.MigrateToDevice("p0", "dev0", 0),
        c.Unpin("p0", "h"),
        c.Drain(),
        c.MigrateToDevice("p0", "dev0", 0),
    )
    assert told[4] == "ENOENT"
    assert told[7].startswith("ok")


def test_who_is_killed_meanwhile_is_told(target: ReferenceTarget) -> None:
    """Over many interleavings a load of a process that is killed ends well, with SIGKILL, or finds nobody."""
    seen = set()
    for seed in range(40):
        target.reset(seed)
        target.run_all([c.Spawn("p1"), c.Mmap("p1", 0, 4), c.Store("p1", 0, 4)])
        out = target.race([[c.Load("p1", 0, 4)], [c.Kill("p1")]], seed)
        assert out[1][0] is not None
        assert out[1][0].ok
        assert out[0][0] is not None
        seen.add(out[0][0].error)
        assert target.run(c.Load("p1", 0)).error == "ESRCH"
        assert target.finish() == ()
    assert {"", "ESRCH"} <= seen


def test_a_log_has_each_call_and_its_return(target: ReferenceTarget) -> None:
    target.reset()
    target.run_all([MAP, OPEN])
    target.race([[c.Store("p0", 0), c.Load("p0", 0)], [c.DevRead("p0", "dev0", 0)]], 3)
    calls = [e.call for e in target.log if e.is_call]
    returns = [e.call for e in target.log if not e.is_call]
    assert calls == list(range(5))
    assert sorted(returns) == calls
    assert {e.thread for e in target.log} == {"main", "t0", "t1"}


def test_races_are_the_same_for_the_same_seed(target: ReferenceTarget) -> None:
    program: Program = (MAP, OPEN, Race(((c.Store("p0", 0, 4),), (c.MigrateToDevice("p0", "dev0", 0, 4),)), 7))
    logs = [run_program(target, program, [], 5).log for _ in range(2)]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("profile", ["latest", "6.12"])
@pytest.mark.parametrize("kind", ["plain", "failures", "race"])
def test_nothing_is_found(profile: str, kind: str) -> None:
    target = ReferenceTarget(profile)
    shape = shape_for(target, race=kind == "race", failures=kind == "failures", steps=25)
    for seed in range(PROGRAMS):
        program = Generator(shape, RandomChooser(9000 + seed)).program()
        outcome = run_program(target, program, [DataJudge(target.atomic)], seed)
        assert not outcome.findings, (seed, outcome.findings[:2])


def test_the_bulk_driver_is_a_target_too() -> None:
    target = ReferenceTarget(driver="bulk", checks=False)
    assert "race" not in target.capabilities
    shape = shape_for(target, race=True, steps=25)
    for seed in range(PROGRAMS):
        program = Generator(shape, RandomChooser(seed)).program()
        assert not run_program(target, program, [DataJudge()], seed).findings


@pytest.mark.parametrize(
    ("defect", "program", "check"),
    [
        (
            "zap-forgets-rss",
            (MAP, OPEN, c.Store("p0", 0), c.MigrateToDevice("p0", "dev0", 0), c.Munmap("p0", 0)),
            "invariant",
        ),
        ("fork-keeps-write", (MAP, c.Store("p0", 0), c.Fork("p0", "p1"), c.Store("p0", 0, 1, 9)), "invariant"),
    ],
)
def test_a_defect_is_found_by_the_checks(defect: str, program: Program, check: str) -> None:
    assert not run_program(ReferenceTarget(), program, [DataJudge()]).findings
    found = run_program(ReferenceTarget(defects=[defect]), program, [DataJudge()]).findings
    assert found
    assert found[0].check == check


def test_without_checks_the_data_tell() -> None:
    program: Program = (
        MAP,
        c.Store("p0", 0),
        c.Load("p0", 0),
        c.Fork("p0", "p1"),
        *(c.Store("p0", 0, 1, s) for s in range(5, 12)),
    )
    target = ReferenceTarget(defects=["fork-keeps-write"], checks=False)
    assert [f.check for f in run_program(target, program, [DataJudge()]).findings] == ["data"]


def test_capabilities_are_told() -> None:
    target = ReferenceTarget("6.12")
    assert "fail_alloc" not in target.capabilities
    assert not target.supports(c.Flags("p0", "dev0"))
    assert needs(c.Flags("p0", "dev0")) == {"fail_alloc"}
    with pytest.raises(ValueError, match="no behaviour"):
        ReferenceTarget("latest+wings")
