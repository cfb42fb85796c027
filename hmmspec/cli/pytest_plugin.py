"""`pytest --hmmspec specs/ scenarios/`: specs, scenarios and bindings as tests.

This module is what pytest loads in every run, so it holds three options and nothing else; what collects is in
`collected.py`, and is imported only with `--hmmspec`.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

SUFFIXES = frozenset({".hmm", ".scn", ".bind"})


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options of the plugin."""
    group = parser.getgroup("hmmspec", "specs and scenarios as tests")
    group.addoption(
        "--hmmspec", action="store_true", help="collect .hmm specs, .scn scenarios and .bind bindings as tests"
    )
    group.addoption(
        "--hmmspec-target", default="ref", metavar="NAME", help="the kernel for scenarios and bindings (ref)"
    )
    group.addoption(
        "--hmmspec-steps",
        type=_from_one,
        default=500,
        metavar="N",
        help="commands that are followed for each binding (500)",
    )


def _from_one(text: str) -> int:
    """A number from 1: a binding that follows nothing would pass."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}' is not a number from 1")
    return int(text)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A collector for our files, if the user asks for it."""
    if file_path.suffix not in SUFFIXES or not parent.config.getoption("hmmspec", False):
        return None
    made: pytest.Collector = import_module("hmmspec.cli.collected").collector(file_path, parent)
    return made
