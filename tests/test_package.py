"""What is installed is what is needed: data files in the wheel, dependencies that are used, locks that hold them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGE = ROOT / "hmmspec"


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~;\[ ]", r, maxsplit=1)[0].lower() for r in requirements}


def locked(lock: str) -> dict[str, str]:
    """Package -> version."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_wheel_holds_the_data(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    data = [p for p in PACKAGE.rglob("*") if p.is_file() and p.suffix != ".pyc"]
    assert {str(p.relative_to(ROOT)) for p in data} - inside == set()
    assert "hmmspec/lang/grammar.lark" in inside
    assert not [n for n in inside if not n.startswith(("hmmspec/", "hmmspec-"))]


def test_dependencies_are_those_that_are_imported() -> None:
    imported: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Import(names=aliases):
                    imported |= {a.name.split(".")[0] for a in aliases}
                case ast.ImportFrom(module=str(module), level=0):
                    imported.add(module.split(".")[0])
                case _:
                    pass
    imported = {"z3-solver" if name == "z3" else name for name in imported}
    # pytest is imported by its own plugin alone, which only pytest loads.
    foreign = imported - set(sys.stdlib_module_names) - {"hmmspec", "pytest"}
    assert foreign == names(PROJECT["project"]["dependencies"])


def test_locks_hold_what_is_declared() -> None:
    run, dev = locked("requirements.lock"), locked("requirements-dev.lock")
    build = names(PROJECT["build-system"]["requires"])
    assert names(PROJECT["project"]["dependencies"]) | build <= run.keys()
    assert names(PROJECT["project"]["optional-dependencies"]["dev"]) <= dev.keys()
    assert {name: dev.get(name) for name in run} == run


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_locks_are_hashed_and_name_no_host(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert text.count("==") <= text.count("--hash=sha256:") / 2
