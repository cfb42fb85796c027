"""One broken scenario for each message: what is told, and where.

The codes: HMM120, HMM121, HMM122, HMM123, HMM124, HMM125, HMM126, HMM127, HMM128; HMM129 is of the command line.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hmmspec.conform.scenario.expand import Choice, plans
from hmmspec.conform.scenario.parser import parse
from hmmspec.conform.scenario.runner import facts_of
from hmmspec.diagnostics import CODES, Diagnostic, Source, SpecError, render
from tests.scenario.fake import Fake

FOLDER = Path(__file__).parent / "wrong"
FILES = sorted(FOLDER.glob("*.scn"))


def told(text: str) -> list[Diagnostic]:
    """Everything that is wrong with a file on the fake target."""
    try:
        file = parse(Source("wrong.scn", text))
        for scenario in file.scenarios:
            plans(file, scenario, facts_of(Fake()), Choice("private"))
    except SpecError as error:
        return list(error.diagnostics)
    return []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_mistake_gives_one_message(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmmspec.conform.scenario.unroll.MOST_STEPS", 1000)
    text = path.read_text()
    expected = re.match(r"// expect: (HMM\d+) at (\d+):(\d+): (.*)", text)
    assert expected
    found = told(text)
    assert len(found) == 1, "\n".join(map(render, found))
    span = found[0].span
    assert (found[0].code, span.line, span.column, found[0].message) == (
        expected[1],
        int(expected[2]),
        int(expected[3]),
        expected[4],
    )
    assert path.name.startswith(expected[1])
    shown = render(found[0])
    assert "^" in shown
    assert f"wrong.scn:{span.line}:{span.column}: error {expected[1]}" in shown


def test_every_code_has_a_file() -> None:
    codes = {code for code in CODES if "HMM120" <= code < "HMM129"}
    assert {path.name[:6] for path in FILES} == codes


def test_one_run_tells_all_mistakes() -> None:
    text = "scenario s {\n  lod [0]\n  load [0, 4]\n  for i [0, 3) {\n    store\n  }\n  load [0] -> dat 1\n}\nscenario t {\n  load\n}\n"
    assert [(d.code, d.span.line) for d in told(text)] == [
        ("HMM122", 2),
        ("HMM121", 3),
        ("HMM121", 4),
        ("HMM126", 7),
        ("HMM121", 10),
    ]


def test_mistakes_of_values_are_told_together() -> None:
    text = "scenario s {\n  load [4, 0)\n  store [0] = N\n  gpu.read [0]\n  expect r.ok\n}\n"
    assert [(d.code, d.span.line) for d in told(text)] == [("HMM125", 2), ("HMM123", 3), ("HMM123", 4), ("HMM123", 5)]


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_torn_file_is_no_crash(cut: int) -> None:
    """However a file ends, there is a message or it is a scenario."""
    whole = (
        'let N = 8\nscenario s "t" {\n  device gpu\n  param a in {1, 2}\n  gpu.open\n  mmap [0, N) rw\n'
        "  race {\n    thread { load [0] as r }\n    thread { gpu.read [0, N) as q -> data 1 | ENOENT, any }\n  }\n"
        '  outcome x "y": r.ok && q.data[0] == 1\n  if private { load [0] } else { drain }\n}\n'
    )
    for diagnostic in told(whole[: len(whole) * cut // 60]):
        assert render(diagnostic)
