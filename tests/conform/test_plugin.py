"""`pytest --hmmspec`: specs, scenarios and bindings are tests; without the option nothing is collected."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

GOOD = """spec lamp
var on: 0..1 = 0;
transition toggle { on := 1 - on; }
invariant fine: on < 2;
instance small { }
"""
BAD = GOOD.replace("on < 2", "on < 1")
SCENARIO = """scenario one {
  process p0
  p0: mmap [0, 1) rw
  p0: store [0] = 7
  p0: load [0] -> data EXPECTED
}
"""


# Where hmmspec is installed pytest finds the plugin by itself, too; it must not be there twice.
ALONE = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "hmmspec.cli.pytest_plugin",
        "-q",
        "--rootdir",
        str(folder),
        *arguments,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=ALONE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "good.hmm").write_text(GOOD)
    (tmp_path / "bad.hmm").write_text(BAD)
    (tmp_path / "broken.hmm").write_text("spec broken\nvar x 3;\n")
    (tmp_path / "right.scn").write_text(SCENARIO.replace("EXPECTED", "7"))
    (tmp_path / "wrong.scn").write_text(SCENARIO.replace("EXPECTED", "8"))
    return tmp_path


def test_without_the_option_nothing_is_collected(folder: Path) -> None:
    done = run(folder, str(folder))
    assert done.returncode == 5, done.stdout
    assert "no tests ran" in done.stdout


def test_specs(folder: Path) -> None:
    assert run(folder, "--hmmspec", "good.hmm").returncode == 0
    done = run(folder, "--hmmspec", "good.hmm", "bad.hmm")
    assert done.returncode == 1
    assert "1 failed, 1 passed" in done.stdout
    assert "fine" in done.stdout
    assert "toggle" in done.stdout


def test_a_file_that_is_wrong_is_told_like_everywhere(folder: Path) -> None:
    done = run(folder, "--hmmspec", "broken.hmm")
    assert done.returncode == 2
    assert "broken.hmm:" in done.stdout
    assert "HMM0" in done.stdout


def test_scenarios(folder: Path) -> None:
    done = run(folder, "--hmmspec", "right.scn", "wrong.scn")
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "load" in done.stdout


@pytest.mark.slow
def test_bindings(folder: Path) -> None:
    binding = ROOT / "specs" / "conform" / "exclusive.bind"
    done = run(folder, "--hmmspec", "--hmmspec-steps", "20", str(binding))
    assert done.returncode == 0, done.stdout


def test_an_unknown_target_is_told(folder: Path) -> None:
    done = run(folder, "--hmmspec", "--hmmspec-target", "nothing", "right.scn")
    assert done.returncode == 2
    assert "there is no target 'nothing'" in done.stdout


def test_a_binding_that_follows_nothing_would_pass(folder: Path) -> None:
    for steps in ("0", "-3", "many"):
        done = run(folder, "--hmmspec", "--hmmspec-steps", steps, "right.scn")
        assert done.returncode == 4
        assert f"'{steps}' is not a number from 1" in done.stderr
