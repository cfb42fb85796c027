"""Bounded search finds what the explicit engine finds, with runs as short, and claims nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.bounded import check_bounded
from hmmspec.checker.verdict import InstanceReport, Level, Status
from hmmspec.checker.verify import verify
from hmmspec.lang.load import load
from hmmspec.system.build import build_all
from hmmspec.system.system import System
from tests.checker.helpers import traces

ROOT = Path(__file__).resolve().parents[2]
SPECS = [*sorted((ROOT / "tests/specs").glob("*.hmm")), *sorted((ROOT / "specs/bugs").glob("*.hmm"))]
DEPTH = 5
SMALL = 3000  # states
OPTIONS = CheckOptions(symmetry=False, expectations=False, states=SMALL)
NOT_JUDGED = {"lock_cycle", "lock_order", "refines"}


def shortest(report: InstanceReport, depth: int) -> dict[str, int]:
    """By name: the length of the run that shows it, if it is within the bound."""
    out: dict[str, int] = {}
    for v in report.verdicts:
        run = v.witness if v.kind == "reachable" else v.trace
        if v.kind in ("leads_to", "recoverable") or v.property in NOT_JUDGED or run is None:
            continue
        if v.status in (Status.VIOLATED, Status.HOLDS) and run.length <= depth:
            out[v.property] = run.length
    return out


def compare(system: System, depth: int) -> None:
    explicit = check(system, OPTIONS)
    bounded = check_bounded(system, depth, OPTIONS)
    assert shortest(bounded, depth) == shortest(explicit, depth), system.instance
    for verdict, trace in traces(bounded):
        assert verify(system, trace, verdict.property) == [], verdict.property
    for v in bounded.verdicts:
        assert v.level in (Level.BOUNDED, Level.VIOLATED_SHORTEST, Level.INCOMPLETE, Level.EXHAUSTIVE)
        assert v.level is not Level.EXHAUSTIVE or v.kind == "reachable"


@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_as_the_explicit_engine(path: Path) -> None:
    for system in build_all(load(str(path))):
        compare(system, DEPTH)


TEXT = """spec counter
var n: 0..9 = 0;
transition up when n < 9 { n += 1; }
transition back when n == 9 { n := 0; }
invariant small: n < 6;
invariant tiny: n < 12;
reachable four: n == 4;
reachable nine: n == 9;
recoverable home: n == 0;
expect default violates small;
"""


def of(tmp_path: Path, text: str) -> System:
    path = tmp_path / "s.hmm"
    path.write_text(text)
    (system,) = build_all(load(str(path)))
    return system


def test_what_a_bound_shows(tmp_path: Path) -> None:
    system = of(tmp_path, TEXT)
    report = check_bounded(system, 5, CheckOptions())
    found = {v.property: v for v in report.verdicts}
    assert (found["tiny"].status, found["tiny"].level) == (Status.HOLDS, Level.BOUNDED)
    # What is expected to be violated may be so in longer runs.
    assert found["small"].status is Status.UNKNOWN
    assert found["four"].witness is not None
    assert found["four"].witness.length == 4
    assert found["nine"].status is Status.UNKNOWN
    assert found["home"].status is Status.UNKNOWN
    assert (report.states, report.bounded, report.exit_code) == (None, 5, 3)
    longer = {v.property: v for v in check_bounded(system, 9, CheckOptions()).verdicts}
    assert longer["small"].status is Status.VIOLATED
    assert longer["small"].expected
    assert longer["small"].trace is not None
    assert longer["small"].trace.length == 6
    assert longer["nine"].status is Status.HOLDS


def test_limit_and_nothing_to_search(tmp_path: Path) -> None:
    system = of(tmp_path, TEXT)
    report = check_bounded(system, 50, CheckOptions(seconds=1e-6))
    assert report.limit
    assert report.exit_code == 3
    assert all(v.level is not Level.BOUNDED for v in report.verdicts)
    report = check_bounded(of(tmp_path, "spec s\nvar n: 0..1 = 2;\n"), 3, CheckOptions())
    assert [v.property for v in report.verdicts if v.status is Status.VIOLATED] == ["spec_error"]
