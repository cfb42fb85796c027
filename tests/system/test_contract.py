"""Rules of the language that a spec with `expect` lines cannot show: what is refused, with which code, and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.verdict import Status
from hmmspec.diagnostics import Diagnostic, SpecError
from hmmspec.lang.load import load
from hmmspec.system.build import build_with_warnings
from hmmspec.system.system import System


def systems(tmp_path: Path, text: str) -> list[System]:
    file = tmp_path / "case.hmm"
    file.write_text("spec case\n" + text, encoding="utf-8")
    return [b.system for b in build_with_warnings(load(str(file)), None)]


def mistakes(tmp_path: Path, text: str) -> list[Diagnostic]:
    with pytest.raises(SpecError) as e:
        systems(tmp_path, text)
    return list(e.value.diagnostics)


PAGES = """
type Page = symmetric[2];
var a[Page]: bool = any;
var b[Page][Page]: bool = false;
define other(x: Page): bool = exists y: Page { y != x && a[y] };
define row(x: Page): bool = exists z: Page { z != x && b[x][z] };
"""


@pytest.mark.parametrize(
    "body",
    [
        "for y: Page { a[y] := !other(y); }",  # the define's own y is not the loop's
        "for y, z: Page { b[y][z] := b[z][y]; }",
        "for y, z: Page { b[y][z] := b[y][y]; }",
        "for y, z: Page { b[y][z] := true; b[z][y] := false; }",
        "for y: Page { b[y][y] := true; a := b[y]; }",
    ],
)
def test_the_order_of_symmetric_passes_may_not_show(tmp_path: Path, body: str) -> None:
    assert [d.code for d in mistakes(tmp_path, PAGES + f"transition t {{ {body} }}")] == ["HMM051"]


@pytest.mark.parametrize(
    "body",
    [
        "for y: Page { a[y] := !a[y]; }",
        "for y: Page { b[y][y] := row(y); }",
        "for y, z: Page { b[y][z] := a[y] && a[z] && !b[y][z]; }",
        "for y: Page { b[y] := a; }",
    ],
)
def test_passes_that_do_not_meet_are_accepted(tmp_path: Path, body: str) -> None:
    (s,) = systems(tmp_path, PAGES + f"transition t {{ {body} }}")
    assert len(s.rules) == 1


@pytest.mark.parametrize(
    ("text", "code", "fix"),
    [
        ("machine m { states x, y; initial x; x -> y; }", "HMM001", "write '-> y by NAME'"),
        ("transition t(p) { skip; }", "HMM001", "write 'p: TYPE'"),
        ("transition t { let v: int = 3; }", "HMM001", "write 'let v = e;'"),
        ("invariant i: x not in {1};", "HMM001", "write '!(x in S)'"),
        ("invariant i: forall p: 0..1, x[p];", "HMM014", "write forall p: Page { ... }"),
        ("var x[0..1]: 0..1 = 0; invariant i: x == 1;", "HMM030", "add the index: `..[..]`"),
        (
            "var x[0..1][0..1]: 0..1 = 0; var y: 0..1 = 0; transition t { y := x; }",
            "HMM030",
            "add the indices: `..[..][..]`",
        ),
        ("var x: set of 0..1 = [];", "HMM023", "the empty set is `{}`"),
    ],
)
def test_frequent_mistakes_come_with_a_repair(tmp_path: Path, text: str, code: str, fix: str) -> None:
    (d,) = mistakes(tmp_path, text)
    assert (d.code, d.fix) == (code, fix)


def test_an_assignment_in_a_comparison_is_a_mistake_not_a_crash(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "var x: 0..1 = 0; transition t when x == 1 := x { skip; }")[0].code == "HMM012"


def test_an_element_inside_an_optional_record_is_refused(tmp_path: Path) -> None:
    text = "type R = record { a[0..1]: bool; }; var r: R? = null; transition t { r.a[0] := true; }"
    assert [d.code for d in mistakes(tmp_path, text)] == ["HMM041"]


def test_a_refining_spec_must_start_where_the_other_can(tmp_path: Path) -> None:
    (tmp_path / "abstract.hmm").write_text("spec abstract var n: 0..2 = 0; transition t { n := 1; }", encoding="utf-8")
    file = tmp_path / "concrete.hmm"
    file.write_text('spec concrete refines "abstract.hmm" var n: 0..2 = 2; transition t { n := 1; }', encoding="utf-8")
    (b,) = build_with_warnings(load(str(file)), None)
    (v,) = [v for v in check(b.system).verdicts if v.property == "refines"]
    assert v.status is Status.VIOLATED
    assert v.trace is not None
    assert v.trace.length == 0


def test_a_param_may_be_bounded_by_a_later_one(tmp_path: Path) -> None:
    (s,) = systems(tmp_path, "param A: 1..K = 2; param K = 3; var n: 0..A = 0; transition t { n := A; }")
    assert {name: value for name, value, _ in s.params} == {"A": 2, "K": 3}
    assert [d.code for d in mistakes(tmp_path, "param A: 1..K = 2; param K: enum { x, y } = y;")] == ["HMM030"]


def test_an_expected_lock_order_warning_counts(tmp_path: Path) -> None:
    text = """
        lock a; lock b;
        thread p { s: acquire a; s2: acquire b; s3: release a; release b; }
        thread q { s: await p == stopped; acquire b; s2: acquire a; s3: release a; release b; }
        expect default violates lock_order;
    """
    (s,) = systems(tmp_path, text)
    report = check(s)
    assert report.states == 7
    assert report.exit_code == 0
    assert {v.property for v in report.verdicts if v.status is Status.WARNING} == {"lock_order"}
