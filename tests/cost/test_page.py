"""The answers in docs/cost.md are what the command says today."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.cli.main import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cost.md"


@pytest.mark.parametrize("more", [(), ("--huge",)], ids=["base pages", "huge pages"])
def test_the_answers_of_the_page(capsys: pytest.CaptureFixture[str], more: tuple[str, ...]) -> None:
    command = ["simulate", "--size", "6M", "--link", "pcie3,pcie5,c2c", *more]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert f"$ hmmspec {' '.join(command)}\n{out[out.index('When does migrating pay?') :]}```" in PAGE.read_text()
