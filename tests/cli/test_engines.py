"""`check --engine z3` and `--engine all`: what they show, and what they say they do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic import agreement
from hmmspec.checker.symbolic.settle import prove_instance
from hmmspec.checker.verdict import InstanceReport, Progress, Status
from hmmspec.system.system import System

ROOM = """\
spec room
param SIZE = 2;
type Page = symmetric[SIZE];
var used[Page]: bool = false;
transition take(p: Page) when !used[p] { used[p] := true; }
invariant some: count(p: Page | used[p]) <= SIZE;
reachable full: forall p: Page { used[p] };
reachable more "never": count(p: Page | used[p]) > SIZE;
leads_to filled: forall p: Page { used[p] ~> !used[p] };
terminal done: forall p: Page { used[p] };
instance small { }
expect small violates more, filled;
"""


def test_z3_proves_and_refutes(hmmspec) -> None:
    result = hmmspec("check", "pins.hmm", "--engine", "z3")
    told = " ".join(result.out.split())
    assert result.code == 0
    assert "holds in all reachable states of instance good (inductive" in told
    assert "violated as expected, shortest trace of 2 steps" in told
    assert "pins.hmm: as expected: 1 violation found in 2 instances (inductive)" in told


def test_z3_says_what_it_does_not_judge(hmmspec, folder) -> None:
    (folder / "room.hmm").write_text(ROOM)
    result = hmmspec("check", "room.hmm", "--engine", "z3")
    told = " ".join(result.out.split())
    assert result.code == 3
    assert "violated as expected, reached in none of all reachable states of instance small (inductive): more" in told
    assert "not judged by engine z3 (incomplete): filled" in told
    assert "room.hmm: INCOMPLETE" in told
    verdicts = {
        v["property"]: v for v in json.loads(hmmspec("check", "room.hmm", "--engine", "z3", "--json").out)["verdicts"]
    }
    assert (verdicts["more"]["verdict"], verdicts["more"]["level"]) == ("violated", "inductive")
    assert (verdicts["filled"]["verdict"], verdicts["filled"]["level"]) == ("unknown", "incomplete")


def test_all_engines(hmmspec, folder) -> None:
    (folder / "room.hmm").write_text(ROOM)
    result = hmmspec("check", "room.hmm", "pins.hmm", "--engine", "all")
    assert result.code == 0
    assert result.out.count("engines that agree: python") == 3
    assert "z3" in result.out


def test_engines_that_disagree_are_a_defect(hmmspec, monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(system: System, options: CheckOptions, progress: Callable[[Progress], None] | None) -> InstanceReport:
        report = prove_instance(system, options, progress)
        return replace(report, verdicts=tuple(replace(v, status=Status.HOLDS) for v in report.verdicts))

    monkeypatch.setitem(agreement.ENGINES, "z3", blind)
    monkeypatch.delenv("HMMSPEC_DEBUG", raising=False)
    result = hmmspec("check", "pins.hmm", "--engine", "all")
    assert result.code == 70
    assert "the engines disagree on pins.hmm, instance bad: pinned_stay: violated (python), holds (z3)" in result.err
    assert "Traceback" not in result.err
