"""ARCHITECTURE.md is true and the floors hold: who may import whom, no circles, no module too long."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
PACKAGE = ROOT / "hmmspec"
MODULES = sorted(PACKAGE.rglob("*.py"))

LONGEST = 500
LONGER = {
    "hmmspec/lang/syntax.py": "one small dataclass per construct of the language and nothing else",
}


@cache
def floors() -> list[tuple[int, str]]:
    """(floor, room) of the table in ARCHITECTURE.md; a room is a folder (`hmmspec/lang/`) or a module."""
    rows = re.findall(r"^\| (\d) \| `(hmmspec/[\w/.]+)` \|", PAGE.read_text(), re.MULTILINE)
    return [(int(floor), room) for floor, room in rows]


def room_of(path: str) -> tuple[int, str] | None:
    """The room that holds a module (a path from the root): the longest entry of the table that covers it."""
    fitting = [(f, r) for f, r in floors() if path == r or (r.endswith("/") and path.startswith(r))]
    return max(fitting, key=lambda pair: len(pair[1]), default=None)


def same_room(one: tuple[int, str], other: tuple[int, str]) -> bool:
    """A folder in a room's folder on the same floor is a part of that room."""
    return one[0] == other[0] and (one[1].startswith(other[1]) or other[1].startswith(one[1]))


def name_of(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path): path for path in MODULES}


def imports(path: Path) -> set[str]:
    """The modules of this package that a module imports, anywhere in it (also inside functions)."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import(names=names):
                found |= {n.name for n in names if n.name in NAMES}
            case ast.ImportFrom(module=str(module), names=names, level=0) if module.split(".")[0] == "hmmspec":
                inner = {f"{module}.{n.name}" for n in names}
                found |= {m for m in inner if m in NAMES} or {module}
            case ast.ImportFrom(level=level) if level:
                found.add(f"relative import in {path.name}")
    return found


def edges() -> list[tuple[str, str]]:
    return [(name, target) for name, path in NAMES.items() for target in sorted(imports(path)) if target != name]


def test_the_table_names_every_room() -> None:
    top = {p.name for p in PACKAGE.iterdir() if p.suffix == ".py" or (p.is_dir() and list(p.rglob("*.py")))}
    top -= {"__init__.py", "__pycache__"}
    assert top == {room.removeprefix("hmmspec/").strip("/").split("/")[0] for _, room in floors()}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_module_has_a_place(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    if path.name != "__init__.py" or path.read_text().strip():
        assert room_of(relative) or relative == "hmmspec/__init__.py", f"{relative} is in no room of ARCHITECTURE.md"


def test_every_path_on_the_page_exists() -> None:
    text = PAGE.read_text()
    paths = set(re.findall(r"`([\w./-]+/[\w./-]*|[\w-]+\.(?:md|toml|lock))`", text))
    assert paths
    assert not {p for p in paths if not (ROOT / p).exists()}


def test_imports_go_down() -> None:
    wrong = []
    for source, target in edges():
        if target not in NAMES:
            wrong.append(f"{source}: {target}")
            continue
        here, there = (room_of(str(NAMES[m].relative_to(ROOT))) for m in (source, target))
        if here and there and not same_room(here, there) and here[0] <= there[0]:
            wrong.append(f"{source} (floor {here[0]}) imports {target} (floor {there[0]})")
    assert not wrong, "a room may import from floors below and from itself only"


def test_no_import_circles() -> None:
    graph = nx.DiGraph(edges())
    circles = [sorted(c) for c in nx.strongly_connected_components(graph) if len(c) > 1]
    assert circles == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_module_has_outgrown_its_name(path: Path) -> None:
    relative = str(path.relative_to(ROOT))
    assert relative in LONGER or len(path.read_text().splitlines()) <= LONGEST, "would two modules be clearer?"


def test_nothing_names_the_machine_it_was_written_on() -> None:
    """A path under somebody's home or a private mount works on one machine only."""
    texts = [p for p in ROOT.rglob("*") if p.suffix in {".py", ".md", ".hmm", ".toml", ".lock", ".lark"}]
    texts += [ROOT / "Makefile", ROOT / ".ci" / "run", *sorted((ROOT / "tools").iterdir())]
    private = re.compile(r"(?<![\w.<])/(?:home|root|opt|mnt|srv)/\w")
    ours = [p for p in texts if not any(part.startswith(".venv") for part in p.parts) and p != Path(__file__)]
    assert len(ours) > 20
    assert not [str(p.relative_to(ROOT)) for p in ours if private.search(p.read_text())]
