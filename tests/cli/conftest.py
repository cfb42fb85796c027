"""A small spec with a correct and a wrong instance, and the command in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hmmspec.cli.main import main

PINS = """\
spec pins
param PAGES = 2;
param BUG: bool = false;
type Page = symmetric[PAGES];
var pins[Page]: 0..1 = 0;
machine place[p: Page] {
  states system, swapped;
  initial system;
  system -> swapped by swap_out when pins[p] == 0 || BUG;
  swapped -> system by swap_in;
}
transition pin(p: Page) when place[p] == system && pins[p] < 1 { pins[p] += 1; }
transition unpin(p: Page) when pins[p] > 0 { pins[p] -= 1; }
invariant pinned_stay "pinned pages never migrate": forall p: Page { pins[p] > 0 => place[p] == system };
reachable all_out: forall p: Page { place[p] == swapped };
instance good { }
instance bad { BUG = true; }
expect good has 9 states;
expect bad violates pinned_stay;
"""

COUNTER = """\
spec counter
param TOP = 1000000;
var n: 0..TOP = 0;
var m: 0..TOP = 0;
transition up when n < TOP { n += 1; }
transition left when m < TOP { m += 1; }
transition back when n > 0 && m > 0 { n -= 1; m -= 1; }
invariant small: n <= TOP;
"""


@dataclass
class Result:
    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with pins.hmm and counter.hmm."""
    (tmp_path / "pins.hmm").write_text(PINS)
    (tmp_path / "counter.hmm").write_text(COUNTER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hmmspec(folder: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command, run in `folder`: exit code, standard output, standard error."""
    assert folder.is_dir()

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        code = main(list(arguments))
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run
