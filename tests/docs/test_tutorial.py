"""The console sessions of the README are run, in a copy of the repository, and must print what the page shows.

A line that is only `...` stands for any lines; `...` inside a line for any text.  After `$ ` stands a command; what it
exits with is shown by `$ echo $?` where it matters.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Command:
    line: int
    text: str
    output: str


def sessions() -> list[list[Command]]:
    """Every ```console block of the README as its commands, each with the output shown after it."""
    found = []
    text = (ROOT / "README.md").read_text()
    for block in re.finditer(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        first = text.count("\n", 0, block.start(1)) + 1
        commands: list[Command] = []
        for number, line in enumerate(block[1].splitlines(), first):
            if line.startswith("$ "):
                commands.append(Command(number, line[2:], ""))
            else:
                last = commands.pop()
                commands.append(Command(last.line, last.text, last.output + line + "\n"))
        found.append(commands)
    return found


def pattern(shown: str) -> re.Pattern[str]:
    """What the page shows as an expression: `...` alone on a line is any number of lines, else any text in its line."""
    parts = []
    for line in shown.splitlines():
        if line.strip() == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*?".join(re.escape(part) for part in line.rstrip().split("...")) + r" *\n")
    return re.compile("".join(parts))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a reader of the README has, with the command `hmmspec` on the path."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("specs", "docs", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / ".bin").mkdir()
    command = folder / ".bin" / "hmmspec"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hmmspec "$@"\n')
    command.chmod(0o755)
    return folder


@pytest.mark.parametrize("commands", sessions(), ids=lambda commands: f"line{commands[0].line}")
def test_session(commands: list[Command], home: Path) -> None:
    path = f"{home / '.bin'}{os.pathsep}{os.environ['PATH']}"
    status = 0
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", f"(exit {status}); {command.text}"],
            cwd=home,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        status = done.returncode
        # A result is on standard output, and on a slow machine its progress on the other; a complaint is there alone.
        printed = done.stdout or done.stderr
        assert pattern(command.output).fullmatch(printed), (
            f"README line {command.line}: $ {command.text}\nprints:\n{printed}"
        )


def test_there_are_sessions() -> None:
    assert len(sessions()) >= 4
