"""What docs/reference.md shows runs, and the modules and names that it speaks of are there."""

from __future__ import annotations

import re
from pathlib import Path

from hmmspec.ref.profile import BEHAVIOURS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reference.md").read_text()


def test_the_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) >= 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/reference.md", "exec"), names)  # the blocks follow on each other


def test_every_module_is_there() -> None:
    named = set(re.findall(r"`([\w/]+\.py|\w+/)`", PAGE))
    assert len(named) > 40
    assert not {name for name in named if not (ROOT / "hmmspec" / "ref" / name).exists()}


def test_every_module_of_the_kernel_is_named() -> None:
    there = {p.name for p in (ROOT / "hmmspec" / "ref").glob("*.py")} - {"__init__.py"}
    small = {"errors.py", "migrate_args.py", "requests.py", "selection.py", "ranges.py"}
    assert there - small <= set(re.findall(r"`(\w+\.py)`", PAGE))


def test_profiles_are_spelled_right() -> None:
    assert set(re.findall(r"[+-]([a-z]+_[a-z_]+)", PAGE)) <= set(BEHAVIOURS)
