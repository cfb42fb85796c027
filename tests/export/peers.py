"""Running SPIN and Rumur on exported models."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport
from hmmspec.diagnostics import Source
from hmmspec.export.murphi import murphi_of
from hmmspec.export.promela import promela_of
from hmmspec.lang.load import load, load_source
from hmmspec.system.build import build_with_warnings
from hmmspec.system.system import System

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120  # seconds


@dataclass(frozen=True)
class Count:
    """What another checker reports."""

    states: int
    errors: int
    output: str


@cache
def system_of(spec: str, instance: str | None = None) -> System:
    """An instance of a file of the repository."""
    return build_with_warnings(load(str(ROOT / spec)), [instance] if instance else None)[0].system


def system_from(text: str) -> System:
    return build_with_warnings(load_source(Source("spec.hmm", text)))[0].system


@cache
def checked(spec: str, instance: str | None = None) -> InstanceReport:
    return check(system_of(spec, instance), CheckOptions(symmetry=False))


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL
    )
    return done.stdout + done.stderr


def _needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def spin(system: System, folder: Path, *, define: str = "", all_errors: bool = True, deadlocks: bool = False) -> Count:
    """Count with SPIN; the state that start states are chosen from is not counted."""
    _needs("spin", "cc")
    text = promela_of(system)
    (folder / "m.pml").write_text(text)
    made = _run(["spin", *([f"-D{define}"] if define else []), "-a", "-o2", "m.pml"], folder)
    assert (folder / "pan.c").exists(), made
    assert "rror" not in made, made
    compiled = _run(["cc", "-O0", "-w", "-DSAFETY", "-DNOREDUCE", "-o", "pan", "pan.c"], folder)
    assert (folder / "pan").exists(), compiled
    options = ["-m1000000", "-w18", *(["-c0"] if all_errors else []), *([] if deadlocks else ["-E"])]
    output = _run(["./pan", *options], folder)
    states, errors = re.search(r"(\d+) states, stored", output), re.search(r"errors: (\d+)", output)
    assert states and errors, output
    chosen = "The first state is no state of the spec" in text
    return Count(int(states[1]) - chosen, int(errors[1]), output)


def rumur(
    system: System, folder: Path, *, symmetry: bool = False, deadlocks: bool = False, errors: int = 10**6
) -> Count:
    """Count with Rumur."""
    _needs("rumur", "cc")
    (folder / "m.m").write_text(murphi_of(system, symmetry=symmetry))
    options = ["--deadlock-detection", "stuck" if deadlocks else "off", "--value-type", "int32_t", "--threads", "1"]
    options += ["--max-errors", str(errors), *(["--symmetry-reduction", "exhaustive"] if symmetry else [])]
    made = _run(["rumur", *options, "-o", "v.c", "m.m"], folder)
    assert (folder / "v.c").exists(), made
    compiled = _run(["cc", "-O0", "-w", "-march=native", "-o", "v", "v.c", "-lpthread"], folder)
    assert (folder / "v").exists(), compiled
    output = _run(["./v"], folder)
    states, found = re.search(r"(\d+) states, \d+ rules", output), re.search(r"(\d+) error\(s\) found", output)
    assert states, output
    return Count(int(states[1]), int(found[1]) if found else 0, output)
