"""The Markdown files in sessions/ are run: what the page shows is what the command prints.

A block ```hmm NAME.hmm``` is a file.  A block ```console``` holds lines `$ COMMAND`, each followed by what it prints
(both streams).  `...` stands for any text within a line, a line of only `...` for any lines.  A command that does not
exit with 0 is followed by `[exit N]`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((Path(__file__).parent / "sessions").glob("*.md"))


def blocks(page: Path) -> list[tuple[str, str]]:
    """(info string, text) of the fenced blocks."""
    return re.findall(r"^```(\S[^\n]*)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[tuple[str, str]]:
    """(command, what it should print) of a console block."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"text before the first command: {parts[0]}"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def pattern(expected: str) -> re.Pattern[str]:
    lines = []
    for line in expected.splitlines():
        if line.strip() == "...":
            lines.append(r"(?:[^\n]*\n)*?")
        else:
            lines.append(r"[^\n]*?".join(re.escape(part) for part in line.rstrip().split("...")) + "\n")
    return re.compile("".join(lines))


def shell(command: str, folder: Path) -> str:
    """What a command prints, and how it exits if not with 0."""
    tools = folder / ".bin"
    tools.mkdir(exist_ok=True)
    script = tools / "hmmspec"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hmmspec "$@"\n')
    script.chmod(0o755)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tools}:{os.environ['PATH']}"}
    env.pop("HMMSPEC_DEBUG", None)
    done = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
    )
    told = "\n".join(line.rstrip() for line in done.stdout.splitlines())
    told = f"{told}\n" if told else ""
    return told + (f"[exit {done.returncode}]\n" if done.returncode else "")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_session(page: Path, tmp_path: Path) -> None:
    ran = 0
    for info, text in blocks(page):
        language, _, name = info.partition(" ")
        if language == "hmm" and name:
            (tmp_path / name).write_text(text)
        elif language == "console":
            for command, expected in commands(text):
                got = shell(command, tmp_path)
                assert pattern(expected).fullmatch(got), f"$ {command}\n{got}\n--- expected\n{expected}"
                ran += 1
    assert ran, "no commands in the page"


def test_patterns_are_strict() -> None:
    assert pattern("a ... c\n").fullmatch("a b c\n")
    assert not pattern("a ... c\n").fullmatch("a b c\nd\n")
    assert not pattern("a\n").fullmatch("a b\n")
    assert pattern("a\n...\nz\n").fullmatch("a\nb\nc\nz\n")
    assert pattern("a\n...\nz\n").fullmatch("a\nz\n")
    assert not pattern("a\n...\nz\n").fullmatch("a\nz\ny\n")
