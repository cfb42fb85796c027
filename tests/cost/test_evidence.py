"""docs/cost.md is what the command prints, and the model is as good as the page says."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from hmmspec.ref.cost.evidence import Group, Row, evidence
from hmmspec.ref.cost.presets import isolated_fault_ps, touched_on_demand_ps, xe_range_ps
from hmmspec.ref.cost.units import GB, GIB, MIB, MS, US, S
from hmmspec.report.costs import evidence_csv, evidence_markdown, evidence_text, updated, verdict

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cost.md"
GROUPS = evidence()
ROWS = [(group, row) for group in GROUPS for row in group.rows]


@pytest.mark.parametrize(("group", "row"), ROWS, ids=lambda value: value.what if isinstance(value, Row) else "")
def test_every_figure_is_within_what_is_allowed(group: Group, row: Row) -> None:
    assert row.fine, f"{row.what}: {float(row.measured)} measured, {float(row.predicted)} predicted"
    assert row.source
    limits = {"Link layer, x16": "1/1000", "Copies by size": "1/10", "Migration by the CPU": "15/100"}
    if group.title in limits and row.how != "must miss":
        assert row.allowed <= Fraction(limits[group.title])
    assert row.remark or row.how != "not modelled"


def test_the_page_is_up_to_date() -> None:
    """`hmmspec cost table --update docs/cost.md` would change nothing."""
    text = PAGE.read_text()
    assert updated(text, GROUPS) == text
    assert evidence_markdown(GROUPS) in text
    changed = text.replace("gen 3, P100, to device", "gen 3, P100, somewhere")
    assert changed != text and updated(changed, GROUPS) == text


def test_a_page_without_marks_is_left_alone() -> None:
    for text in ("", "no marks", "<!-- end -->", "<!-- end --> <!-- begin: hmmspec cost table -->"):
        assert updated(text, GROUPS) is None


def test_a_wrong_figure_would_show() -> None:
    group = GROUPS[0]
    row = group.rows[0]
    wrong = Row(row.what, row.source, row.unit, row.measured, row.measured * 2, row.how, row.allowed)
    assert not wrong.fine
    text = evidence_text([Group(group.title, (wrong,))])
    assert "+100.00%" in text and "formula: WRONG" in text and "0 of 1 figures" in text


def test_kinds_of_evidence_are_told_apart() -> None:
    """What was fitted is never called predicted; what is not modelled is not counted as good."""
    kinds = {row.how for _, row in ROWS}
    assert kinds == {"formula", "band", "predicted", "fitted", "must miss", "not modelled"}
    told = verdict(GROUPS)
    judged = sum(row.how != "not modelled" for _, row in ROWS)
    assert told.startswith(f"{judged} of {judged} figures")
    assert evidence_csv(GROUPS).count("\n") == 1 + len(ROWS)


def test_hmm_in_xe() -> None:
    size = 64 * MIB
    assert xe_range_ps(size) == pytest.approx(15.4 * MS, rel=0.01)
    rates = [size * S / xe_range_ps(size, threads=n) / GB for n in range(1, 65)]
    assert rates == sorted(rates)
    assert max(rates) <= 16
    assert 12 <= rates[4] <= 16
    assert xe_range_ps(size) / xe_range_ps(size, huge=True) == pytest.approx(3.7, abs=0.1)


def test_unified_memory_on_pascal() -> None:
    whole = touched_on_demand_ps(31_774)
    assert whole / 31_774 == pytest.approx(12.2 * US, rel=0.02)
    assert 3 * GIB * S / whole / GB == pytest.approx(8.2, rel=0.04)
    assert isolated_fault_ps() == pytest.approx(45 * US, rel=0.02)
    assert whole < 31_774 * isolated_fault_ps() / 3
