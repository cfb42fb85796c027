"""docs/coverage.md is true: every spec and property that it names exists, and it leaves out no spec, patch or rule."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path

import pytest

from hmmspec.lang.load import load
from hmmspec.lang.syntax import Assert, Property
from hmmspec.system.system import BUILT_IN_FINDINGS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "coverage.md").read_text()
NAMED = re.findall(r"`([\w/]+\.hmm)`: ((?:`\w+`(?:, )?)+)", TEXT)


def walk(value: object) -> set[str]:
    """The names of all properties and asserts in a tree."""
    if isinstance(value, tuple):
        return {name for item in value for name in walk(item)}
    if not is_dataclass(value):
        return set()
    own = {value.name.name} if isinstance(value, (Property, Assert)) else set()
    return own.union(*(walk(getattr(value, f.name)) for f in fields(value)))


@cache
def properties(spec: str) -> set[str]:
    return walk(load(str(ROOT / "specs" / spec)).declarations) | set(BUILT_IN_FINDINGS)


@pytest.mark.parametrize(("spec", "names"), sorted(set(NAMED)), ids=lambda value: value.replace("`", ""))
def test_every_name_exists(spec: str, names: str) -> None:
    assert (ROOT / "specs" / spec).exists()
    assert {n for n in re.findall(r"\w+", names) if n not in properties(spec)} == set()


def test_every_spec_is_named() -> None:
    there = {str(p.relative_to(ROOT / "specs")) for p in (ROOT / "specs").rglob("*.hmm")}
    assert there - set(re.findall(r"`([\w/]+\.hmm)`", TEXT)) == set()


def test_every_row_is_there() -> None:
    rows = re.findall(r"^\| (\w+)[ |]", TEXT, re.MULTILINE)
    wanted = [str(n) for n in range(1, 16)] + [f"I{n}" for n in range(1, 11)] + [f"L{n}" for n in range(1, 5)]
    assert [r for r in rows if r in wanted] == wanted
    without = [row for row in re.findall(r"^\| (?:\d+|[IL]\d+) .*$", TEXT, re.MULTILINE) if ".hmm`" not in row]
    assert without == []
