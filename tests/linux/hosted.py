"""The agent as an ordinary process of this machine: all that needs no test device, without a kernel of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hmmspec.conform.linux.target import LinuxTarget
from hmmspec.linux.agent import agent
from hmmspec.linux.image import Image
from hmmspec.linux.machine import Boot, Console, Machine, MachineError
from hmmspec.linux.protocol import Gone, Kind, Port, Refused, Silent


class Hosted(Machine):
    """A machine that is none."""

    def __init__(self, boot: Boot) -> None:
        self.boot, self.console = boot, Console()
        self._folder = tempfile.TemporaryDirectory(prefix="hmmspec-")
        ours, theirs = socket.socketpair()
        self.stream, self.port = ours, Port(ours)
        self._ended = self.marks = False
        words = ["import os, sys", "os.dup2(int(sys.argv[1]), 3)", "os.execv(sys.argv[2], sys.argv[2:])"]
        command = [
            sys.executable,
            "-c",
            "; ".join(words),
            str(theirs.fileno()),
            str(agent()),
            "--host",
            self._folder.name,
        ]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
        theirs.close()
        self.greeting = dict(line.split("=", 1) for line in self.ask(Kind.HELLO).decode().splitlines())

    def ask(self, kind: Kind, payload: bytes = b"", seconds: float = 30.0) -> bytes:
        try:
            return self.port.ask(kind, payload, seconds)
        except (Silent, Gone, Refused) as error:
            raise MachineError(str(error)) from None

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        if not self._ended:
            self._ended = True
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.stream.close()
            self._folder.cleanup()


IMAGE = Image(Path("none"), "6.12.0", "plain", "0", "none", "now", "none", {})


def hosted_target(**more: Any) -> LinuxTarget:
    """The target over the agent as an ordinary process."""
    return LinuxTarget(IMAGE, start=Hosted, **more)


def make(_options: dict[str, object]) -> LinuxTarget:
    """For `--target tests.linux.hosted:make`."""
    return hosted_target()
