"""Everything that Z3 settles by itself is as the explicit engine says: nothing proved is violated, nothing is missed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic import settle
from hmmspec.checker.symbolic.agreement import disagreements
from hmmspec.checker.symbolic.kinduction import KInduction
from hmmspec.checker.symbolic.pdr import Pdr
from hmmspec.checker.symbolic.sat import Undecided
from hmmspec.checker.symbolic.settle import prove_instance, prove_properties
from hmmspec.checker.verdict import Level, Status
from hmmspec.checker.verify import verify
from hmmspec.lang.load import load
from hmmspec.system.build import build_all
from tests.checker.helpers import traces
from tests.symbolic.settling import how, settled, system_of

ROOT = Path(__file__).resolve().parents[2]
SPECS = [*sorted((ROOT / "tests/specs").glob("*.hmm")), *sorted((ROOT / "specs/bugs").glob("*.hmm"))]
OPTIONS = CheckOptions(expectations=False, states=3000)
NOT_JUDGED = {"lock_cycle", "lock_order", "refines"}
# Where a loop has choices in it nobody looks for a deadlock.
NO_DEADLOCK = {"audit_for_passes"}
SLOW = {"audit_calls_with_loops"}


@pytest.mark.parametrize("path", [pytest.param(p, marks=pytest.mark.slow) if p.stem in SLOW else p for p in SPECS],
                         ids=lambda p: p.stem)  # fmt: skip
def test_as_the_explicit_engine(path: Path) -> None:
    for system in build_all(load(str(path))):
        explicit, settled = check(system, OPTIONS), prove_instance(system, OPTIONS)
        assert list(disagreements(explicit, settled)) == []
        for verdict, trace in traces(settled):
            assert verify(system, trace, verdict.property) == [], verdict.property
        runs = {v.property: v.witness.length for v in explicit.verdicts if v.witness is not None}
        for v in settled.verdicts:
            judged = v.kind not in ("leads_to", "recoverable") and v.property not in NOT_JUDGED
            judged = judged and not (v.property == "deadlock" and path.stem in NO_DEADLOCK)
            assert (v.status is not Status.UNKNOWN) == judged, v.property
            if v.witness is not None and v.property in runs:
                assert v.witness.length == runs[v.property], v.property


COUNTER = """
var n: 0..9 = 0;
var twice: 0..9 = 0;
transition up when n < 3 { n += 1; twice += 2; }
transition down when n > 0 { n -= 1; twice -= 2; }
invariant double: twice == n + n;
invariant small: n < 3;
recoverable home: n == 0;
reachable three: n == 3;
reachable four: n == 4;
"""


def test_each_verdict_says_what_was_shown() -> None:
    report, found = settled(COUNTER)
    assert how(found["double"]) == "holds by k-induction (1)"
    assert how(found["small"]) == "violated in 3"
    assert how(found["three"]) == "holds in 3"
    assert how(found["four"]).startswith("violated by ")
    assert found["four"].level is Level.INDUCTIVE
    assert (found["home"].status, found["home"].level) == (Status.UNKNOWN, Level.INCOMPLETE)
    assert found["spec_error"].status is Status.HOLDS
    assert report.engine == "z3"


def test_only_what_is_asked_for() -> None:
    system = system_of(COUNTER)
    double, small = prove_properties(system, ["double", "small"], 60.0)
    assert (double.property, how(double)) == ("double", "holds by k-induction (1)")
    assert (small.property, how(small)) == ("small", "violated in 3")


def test_a_limit_leaves_what_was_shown() -> None:
    report = prove_instance(system_of(COUNTER), replace(OPTIONS, seconds=1e-6))
    assert report.limit
    assert report.exit_code == 3
    assert all(v.status is Status.UNKNOWN and v.level is not Level.INDUCTIVE for v in report.verdicts)


def test_a_question_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then bounded search goes on; what it does not settle is within a bound only."""

    def undecided(*_: object) -> NoReturn:
        raise Undecided

    monkeypatch.setattr(Pdr, "run", undecided)
    monkeypatch.setattr(KInduction, "show", undecided)
    double, small = prove_properties(system_of(COUNTER), ["double", "small"], 60.0)
    assert (small.status, small.level) == (Status.VIOLATED, Level.VIOLATED_SHORTEST)
    assert how(double) == "holds by k-induction (4)"  # no run has four steps between different states
    monkeypatch.setattr(KInduction, "all_seen", lambda _: False)
    monkeypatch.setattr(settle, "DEEPEST", 2)
    report = prove_instance(system_of(COUNTER), OPTIONS)
    assert report.exit_code == 3
    assert "a question to Z3" in report.remark
    assert {(v.status, v.level) for v in report.verdicts if v.property in ("double", "small", "four")} == {
        (Status.UNKNOWN, Level.BOUNDED)
    }


def test_what_the_file_expects() -> None:
    system = system_of(COUNTER + "expect default violates small, four;\n")
    report = prove_instance(system, CheckOptions(engine="z3"))
    assert report.problems == ()
    assert report.exit_code == 3  # `home` is not judged
    report = prove_instance(system_of(COUNTER + "expect default violates small, double;\n"), CheckOptions(engine="z3"))
    assert report.problems == ("expected double to be violated, but it is not",)
    assert report.exit_code == 1


def test_no_start_is_nothing_checked() -> None:
    report = prove_instance(
        system_of("lock l;\nvar n: 0..1 = 0;\nassume never: n == 1;\ninvariant i: n == 0;\n"), OPTIONS
    )
    assert report.problems
    assert {v.status for v in report.verdicts} == {Status.UNKNOWN}
