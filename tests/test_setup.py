"""tools/venv.sh on machines that lack something: one clear message that says what to do, and nothing left behind."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

OLD = """#!/bin/sh
case "$*" in
  --version) echo "Python 3.9.2" ;;
  *) exit 1 ;;
esac
"""
# New enough, but without ensurepip and without pip: Debian's python3 alone.
BARE = """#!/bin/sh
case "$*" in
  --version) echo "Python 3.11.2" ;;
  *version_info*) exit 0 ;;
  "-m venv --without-pip "*) mkdir -p "$4/bin" ;;
  *) exit 1 ;;
esac
"""


def venv(folder: Path, python: str | None) -> subprocess.CompletedProcess[str]:
    """Run the script where `python3` is this text (None: where there is no python3 at all)."""
    tools = folder / "bin"
    tools.mkdir()
    for name in ("rm", "mkdir", "sh", "touch"):
        (tools / name).symlink_to(f"/bin/{name}")
    if python is not None:
        (tools / "python3").write_text(python)
        (tools / "python3").chmod(0o755)
    return subprocess.run(
        ["/bin/sh", str(ROOT / "tools" / "venv.sh"), str(folder / "venv"), "requirements.lock"],
        cwd=ROOT,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(("python", "found"), [(OLD, "Python 3.9.2"), (None, "no python3")], ids=["old", "none"])
def test_python_too_old(python: str | None, found: str, tmp_path: Path) -> None:
    done = venv(tmp_path, python)
    assert done.returncode == 2
    assert f"Python 3.11 or newer is needed, found: {found}" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_neither_ensurepip_nor_pip(tmp_path: Path) -> None:
    done = venv(tmp_path, BARE)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].strip() == "hmmspec:     sudo apt-get install -y python3-venv"
    assert not (tmp_path / "venv").exists()
