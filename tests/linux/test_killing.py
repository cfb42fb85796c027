"""Runs whose QEMU is killed at some moment, and runs that are interrupted: what they say, and that nothing is left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from hmmspec.conform.targets import open_target
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
LONG = "conform", "--no-spec", "--steps", "10000000"  # for what ends before


def needs_a_kernel() -> None:
    if shutil.which(QEMU) is None or newest("plain") is None:
        pytest.skip("no kernel image or no QEMU here")


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

    def guest(self) -> int:
        """Wait for the guest: the child that is QEMU.  0: the run has ended."""
        while self.process.poll() is None:
            for pid in below(self.process.pid):
                with suppress(OSError):
                    if QEMU.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                        self.met.add(pid)
                        return pid
            time.sleep(0.01)
        return 0

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
@pytest.mark.parametrize("moment", [0.0, 0.5, 1.5])
def test_qemu_ends_with_the_run(tmp_path: Path, boot: float, kind: signal.Signals, moment: float) -> None:
    run = Run(tmp_path, *LONG, "--target", "linux")
    run.guest()
    time.sleep(boot * moment)
    said = run.wait(lambda: run.process.send_signal(kind))
    assert run.process.returncode == (130 if kind == signal.SIGINT else -kind) and "Traceback" not in said, said


@pytest.fixture(scope="module")
def boot() -> float:
    """How many seconds a boot takes here."""
    needs_a_kernel()
    begin = time.monotonic()
    with open_target("linux"):
        return time.monotonic() - begin


RUNS = {
    "conform": ("conform", "--no-spec", "--target", "linux"),
    "followed": ("conform", "--no-huge", "--target", "linux"),
    "pair": ("conform", "--no-huge", "--target", "ref,linux"),
    "races": ("conform", "--race", "--no-huge", "--target", "ref,linux"),
    "scenarios": ("scenario", "scenarios/races.scn", "--only", "increments", "--seeds", "300", "--target", "linux"),
}


def judge(run: Run, said: str) -> None:
    """The run has ended with a verdict, and that says what happened to the machine."""
    assert "Traceback" not in said, said
    if "did not start" in said:
        assert run.process.returncode == 2, said
    else:
        assert any(words in said for words in ("has died", "had died")), said
        assert run.process.returncode == 1, said


@pytest.mark.parametrize("moment", [0.2, 0.8, 1.4, 2.0])
@pytest.mark.parametrize("what", RUNS)
def test_qemu_is_killed_at_any_moment(tmp_path: Path, boot: float, what: str, moment: float) -> None:
    """The run says so, and goes on with another machine.  `moment`: in boots."""
    words = RUNS[what]
    if words[0] == "conform":
        words = (*words, "--steps", "10000000", "--time", f"{2 * boot:.0f}s")
    run = Run(tmp_path, *words)
    guest = run.guest()
    time.sleep(boot * (moment + random.uniform(-0.1, 0.1)))
    judge(run, run.wait(lambda: os.kill(guest, signal.SIGKILL)))


def test_qemu_is_killed_again_and_again(tmp_path: Path, boot: float) -> None:
    """After five restarts that nothing explains the run ends."""
    run = Run(tmp_path, *LONG, "--target", "linux")
    kills = threading.Thread(target=lambda: kill_them_all(run, 1.5 * boot), daemon=True)
    judge(run, run.wait(kills.start))
    kills.join()


def kill_them_all(run: Run, seconds: float) -> None:
    """Each guest so many seconds after its start, until the run has ended."""
    while guest := run.guest():
        time.sleep(seconds)
        with suppress(OSError):
            os.kill(guest, signal.SIGKILL)
        while not gone(guest):
            time.sleep(0.01)


def test_qemu_stands_still(tmp_path: Path) -> None:
    """A machine that does not end and does nothing is told from one that has died."""
    needs_a_kernel()
    run = Run(tmp_path, *LONG, "--time", "20s", "--limit", "3s", "--target", "linux")
    guest = run.guest()
    assert run.process.stdout is not None and "conform: " in run.process.stdout.readline()
    said = run.wait(lambda: os.kill(guest, signal.SIGSTOP))
    assert run.process.returncode == 1 and "Traceback" not in said and "the guest does not answer" in said, said
