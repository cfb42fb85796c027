"""Runs whose QEMU is killed at some moment, and runs that are interrupted: what they say, and that nothing is left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hmmspec.linux.agent import NoAgent, agent
from hmmspec.linux.machine import QEMU
from hmmspec.linux.store import newest

try:
    agent()
    WHY = ""
except NoAgent as error:
    WHY = str(error)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(WHY), reason=WHY or "there is a compiler")]

ROOT = Path(__file__).parents[2]
LONG = "conform", "--no-spec", "--steps", "10000000"


def below(pid: int) -> list[int]:
    """The children of a process."""
    with suppress(OSError):
        return [int(n) for task in Path(f"/proc/{pid}/task").iterdir() for n in (task / "children").read_text().split()]
    return []


def gone(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


class Run:
    """A run of hmmspec in a process of its own."""

    def __init__(self, tmp_path: Path, *words: str) -> None:
        self.files = tmp_path
        self.met: set[int] = set()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hmmspec", *words],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def guest(self, word: bytes) -> int:
        """Wait for the guest: the child with this word in its command."""
        while self.process.poll() is None:
            for pid in below(self.process.pid):
                with suppress(OSError):
                    if word in Path(f"/proc/{pid}/cmdline").read_bytes():
                        return pid
            time.sleep(0.01)
        raise AssertionError(self.process.communicate()[0])

    def wait(self, doing: Callable[[], None]) -> str:
        """Do something to it, wait for its end, and see that nothing is left.  What it said."""
        self.met |= set(below(self.process.pid))
        doing()
        said = self.process.communicate()[0]
        for pid in self.met:
            while not gone(pid):  # it is being killed
                time.sleep(0.01)
        assert list(self.files.iterdir()) == []
        return said


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", [0.0, 2.0, 8.0])
def test_qemu_ends_with_the_run(tmp_path: Path, kind: signal.Signals, moment: float) -> None:
    if shutil.which(QEMU) is None or newest("plain") is None:
        pytest.skip("no kernel image or no QEMU here")
    run = Run(tmp_path, *LONG, "--target", "linux")
    run.met.add(run.guest(QEMU.encode()))
    time.sleep(moment)
    said = run.wait(lambda: run.process.send_signal(kind))
    assert run.process.returncode == (130 if kind == signal.SIGINT else -kind) and "Traceback" not in said, said


@pytest.mark.parametrize("seed", range(6))
def test_qemu_is_killed_at_any_moment(tmp_path: Path, seed: int) -> None:
    if shutil.which(QEMU) is None or newest("plain") is None:
        pytest.skip("no kernel image or no QEMU here")
    long = (
        LONG
        if seed % 2
        else ("scenario", "scenarios/races.scn", "--only", "increments", "--variant", "private", "--seeds", "100000")
    )
    run = Run(tmp_path, *long, "--target", "linux")
    guest = run.guest(QEMU.encode())
    time.sleep(random.Random(seed).uniform(0, 12))
    said = run.wait(lambda: os.kill(guest, signal.SIGKILL))
    assert run.process.returncode == (2 if "did not start" in said else 1), said
    assert "Traceback" not in said and any(w in said for w in ("did not start", "has died", "had died")), said
