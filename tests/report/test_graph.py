"""The reachable graph of a small instance, as a diagram."""

from __future__ import annotations

from pathlib import Path

from hmmspec.lang.load import load
from hmmspec.report.graph import graph_of
from hmmspec.system.build import build_all
from hmmspec.system.run import Interpreter

SPECS = Path(__file__).parent.parent / "specs"


def tones(instance: str) -> list[str]:
    (system,) = build_all(load(str(SPECS / "recoverable.hmm")), [instance])
    return [v.tone for v in graph_of(Interpreter(system), 100).vertices]


def test_what_a_run_never_leaves_again_is_marked() -> None:
    assert tones("trap") == ["initial", "", "", "", "", "final"]


def test_a_graph_that_is_one_component_has_no_mark() -> None:
    assert "final" not in tones("open")
