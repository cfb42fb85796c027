"""Certificates of proofs that are none, and solvers that do not decide."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from hmmspec.checker.symbolic import recheck as recheck_module
from hmmspec.checker.symbolic import solvers
from hmmspec.checker.symbolic.certificate import write_certificate
from hmmspec.cli.main import main
from hmmspec.lang.load import load
from hmmspec.system.build import build
from tests.symbolic.certified import LEMMAS, PAGES, by_hand, checked

# ---------------------------------------------------------------- proofs that are none


@pytest.mark.parametrize(
    ("lemmas", "failing"),
    [
        ({**LEMMAS, "wrong": "forall p: Page { place[p] == system }"}, "consecution-move.smt2"),
        ({**LEMMAS, "wrong": "exists p: Page { pinned[p] }"}, "initiation-lemma_3.smt2"),
        ({"by_owner": LEMMAS["by_owner"]}, "consecution-move.smt2"),
        ({"alone": LEMMAS["alone"]}, "safety-foreign_release.smt2"),
    ],
)
def test_a_wrong_or_missing_lemma_is_found(path: Path, lemmas: dict[str, str], failing: str) -> None:
    found = checked(write_certificate(path.parent / "certs", *by_hand(path, lemmas=lemmas)))
    assert found.exit_code == 1
    assert not found.wrong
    assert failing in [c.obligation.file for c in found.checked if c.status == "failed"]


@pytest.mark.parametrize(
    ("old", "new"), [("0..DEPTH", "0..PAGES"), ("{ place[p] == system };", "{ place[p] == system && PAGES < 3 };")]
)
def test_a_size_that_is_used_elsewhere(path: Path, old: str, new: str) -> None:
    """Then the instance that is looked at stands for no other."""
    path.write_text(PAGES.replace(old, new))
    found = checked(write_certificate(path.parent / "certs", *by_hand(path)))
    assert all(c.status == "shown" for c in found.checked)
    assert (found.exit_code, len(found.wrong)) == (1, 1)
    assert found.wrong[0].startswith("it is of the instance alone, not of every number of Page, Cpu")


def test_no_start_state_and_nothing_possible(path: Path) -> None:
    path.write_text(PAGES + "assume nothing: depth > 0;\n")
    found = checked(write_certificate(path.parent / "certs", *by_hand(path)))
    assert "start.smt2" in [c.obligation.file for c in found.checked if c.status == "failed"]


def test_what_solvers_do_not_find_a_run_shows(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = solvers.ask

    def silent(solver: str, text: str, *how: Any) -> solvers.Answer:
        return "unknown" if "; enabled:" in text or "; start:" in text else real(solver, text, *how)

    monkeypatch.setattr(solvers, "ask", silent)
    found = checked(written)
    assert found.exit_code == 0
    assert {c.by for c in found.checked if c.obligation.expected == "sat"} == {("a run",)}


def test_such_runs_are_of_the_setting_that_was_proved(path: Path) -> None:
    """Also where it is no instance of the file: params that were set on the command line."""
    path.write_text(PAGES + "transition deep when DEPTH > 5 { depth := 0; }\n")
    spec = load(str(path))
    deep = next(r for r in build(spec, {"DEPTH": 7}).rules if r.name == "deep").number
    for depth, found in ((7, {None, deep}), (2, {None})):
        assert (
            recheck_module._runs(spec, build(spec, {"DEPTH": depth}), ("Page", "Cpu"), {None, deep}) & {None, deep}
            == found
        )


# ---------------------------------------------------------------- solvers


def test_a_solver_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(_solver: str, text: str, *_: object) -> solvers.Answer:
        if text == "hangs":
            time.sleep(60)
        return "unsat"

    monkeypatch.setattr(solvers, "ask", slow)
    monkeypatch.setattr(solvers, "GRACE", 0.3)
    asked = [solvers.Question("f", i, "hangs" if i == 1 else "fine") for i in range(4)]
    found = solvers.ask_all(asked, ("z3",), 0.1, 2)
    assert sorted((a.question.number, a.answer) for a in found) == [
        (0, "unsat"),
        (1, "unknown"),
        (2, "unsat"),
        (3, "unsat"),
    ]


def test_undecided_is_no_success(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "ask", lambda *_: "unknown")
    found = checked(written)
    assert found.exit_code == 3
    assert any("z3 did not decide in 10 s whether" in c.told for c in found.checked)


def test_without_cvc5(written: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(solvers, "installed", lambda: ("z3",))
    for solver in ("cvc5", "both"):
        assert main(["recheck", str(written), "--solver", solver]) == 2
        told = capsys.readouterr().err
        assert "HMM103" in told
        assert 'pip install "hmmspec[cvc5]"' in told
    assert main(["recheck", str(written)]) == 0
    out, err = capsys.readouterr()
    assert "shown by Z3" in out
    assert "and cvc5" not in out
    assert "only Z3 was asked: cvc5 is not installed" in err
