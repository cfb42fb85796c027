"""Run a command and say what it took: time, processor time, peak memory, and what others did meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class TooLong(Exception):
    """The command was ended because its time was up."""


class Failed(Exception):
    """The command failed; the message has the end of what it wrote."""


@dataclass(frozen=True)
class Taken:
    """One run of a command.

    wall, cpu: seconds; peak: bytes of its largest process; others: part (0 to 1) of all cores that was busy with
    something else meanwhile, None where the machine does not say.
    """

    output: str
    wall: float
    cpu: float
    peak: int
    others: float | None


def busy() -> tuple[float, float] | None:
    """Seconds that all cores together have been busy, and how many cores there are; None without /proc/stat."""
    try:
        lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    # user nice system idle iowait irq softirq steal: whatever is not idle or waiting for a disk is somebody's.
    fields = [int(x) for x in lines[0].split()[1:9]]
    ticks = sum(fields) - fields[3] - fields[4]
    cores = sum(line.startswith("cpu") for line in lines) - 1
    return ticks / os.sysconf("SC_CLK_TCK"), float(cores)


def run(
    command: Sequence[str], folder: Path, seconds: float | None = None, environment: Mapping[str, str] | None = None
) -> Taken:
    """Run it to its end.  Raises TooLong after so many seconds, Failed if it does not return 0."""
    before, begin = busy(), time.monotonic()
    with tempfile.TemporaryFile() as written:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=written,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,  # so that what it starts ends with it
        )
        ended_early = threading.Event()

        def end() -> None:
            ended_early.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(seconds, end) if seconds is not None else None
        if timer is not None:
            timer.start()
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        wall, after = time.monotonic() - begin, busy()
        written.seek(0)
        output = written.read().decode(errors="replace")
    if ended_early.is_set():
        raise TooLong
    if process.returncode:
        raise Failed(f"{' '.join(command)}: {process.returncode}\n{output[-2000:]}")
    cpu = used.ru_utime + used.ru_stime
    others = None
    if before is not None and after is not None and wall > 0.05:
        others = max(0.0, (after[0] - before[0] - cpu) / (wall * after[1]))
    return Taken(output, wall, cpu, used.ru_maxrss * 1024, others)
