"""A virtual machine with a kernel image and our agent: started, spoken to, killed.

Nothing stays behind: the machine has no files of its own (its first file system is in memory, its port is one end of a
pair of sockets), and QEMU is killed with the process that started it, whatever that process dies of.

NOTE(memory): the kernel is told of less memory than the machine has; the half gigabyte above is where the test devices
put their coherent memory.  More would not lie below the hole for devices of that machine.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hmmspec.linux.agent import NoAgent, agent, cache_folder, clock_rate
from hmmspec.linux.initramfs import initramfs
from hmmspec.linux.protocol import Gone, Kind, Port, Refused, Silent

Accel = Literal["auto", "kvm", "tcg"]

QEMU = "qemu-system-x86_64"
SYSTEM_MIB, MACHINE_MIB = 2048, 2560
COHERENT = (0x80000000, 0x90000000)  # where the memory of the devices 2 and 3 is
CPUS = 2
KVM_PATIENCE = 5.0  # seconds until a kernel under KVM must have said something
# How interrupts are routed stands in a table there.  That of the older `pc` is a program, and a kernel with KASAN on a
# busy host gives it up after 30 seconds: then the port has no interrupt, and nobody answers.
MACHINE = "q35"
BOOT = 300.0  # seconds a boot may take: on a busy host it takes as many minutes as seconds elsewhere
SILENCE = 60.0  # seconds of its own in which a machine that boots says nothing: it hangs
LOG_LINES = 20_000  # lines of the console that are kept; the first hundred always are
_HEAD = 100
# Emulated, what protects a kernel from its programs only costs time, and so does the fifth level of page tables.
_CPU = {"tcg": "max,la57=off,smap=off,smep=off,pku=off", "kvm": "host"}
_MARK = re.compile(r"hmmspec: seen (\d+)$")
_DEATH = 1  # PR_SET_PDEATHSIG


class MachineError(Exception):
    """The machine cannot be started, or has died: the message says why, and what to do."""


@dataclass(frozen=True)
class Boot:
    """What is started.

    kernel: a bzImage; accel: `auto` tries KVM for a few seconds; cpus: of the machine; arguments: more words for the
    kernel's command line; qemu: the program; seconds: how long until the agent must have answered; silence: how long it
    may say nothing until then, without what it had to wait for a processor of the host.
    """

    kernel: Path
    accel: Accel = "auto"
    arguments: tuple[str, ...] = ()
    qemu: str = QEMU
    cpus: int = CPUS
    seconds: float = BOOT
    silence: float = SILENCE


class Console:
    """What the kernel says: all lines, without end in time and with one in number.

    NOTE(marks): after each message with commands the agent leaves a mark on the console, with the message's number.
    What was said because of the commands stands before it, and has been read once the mark has.
    """

    def __init__(self) -> None:
        self._first: list[str] = []
        self._rest: deque[str] = deque(maxlen=LOG_LINES)
        self._mark = 0
        self._marked = threading.Condition()
        self.count = 0

    def wait_for(self, mark: int, seconds: float) -> bool:
        """Wait until this mark has been read."""
        with self._marked:
            return self._marked.wait_for(lambda: self._mark == mark, seconds)

    def add(self, line: str) -> None:
        """One more line."""
        if found := _MARK.search(line):
            with self._marked:
                self._mark = int(found[1])
                self._marked.notify_all()
            return
        if self.count < _HEAD:
            self._first.append(line)
        else:
            self._rest.append(line)
        self.count += 1

    def lines(self, since: int = 0) -> list[str]:
        """The lines from number `since` on, as far as they are kept."""
        first = self._first[since:] if since < len(self._first) else []
        rest = list(self._rest)
        begins = self.count - len(rest)
        return first + rest[max(0, since - begins) :]


class Machine:
    """One running machine.  `port` speaks to the agent; `console` has what the kernel said."""

    def __init__(self, boot: Boot) -> None:
        """Start it and wait for the agent.  Raises MachineError."""
        self.boot = boot
        self.console = Console()
        self.marks = True
        self._last = 0
        self.accel: Accel = "tcg"
        self.greeting: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._socket: socket.socket | None = None
        self._started = threading.Event()
        self._failed = ""
        for accel in self._ways():
            try:
                self._start(accel)
                return
            except MachineError:
                self.kill()
                if accel != "kvm" or boot.accel == "kvm":
                    raise
                _useless().touch()
                self.console = Console()

    def _ways(self) -> list[Accel]:
        if self.boot.accel != "auto":
            return [self.boot.accel]
        usable = os.access("/dev/kvm", os.R_OK | os.W_OK) and not _useless().exists()
        return ["kvm", "tcg"] if usable else ["tcg"]

    # ---- starting

    def _start(self, accel: Accel) -> None:
        program = shutil.which(self.boot.qemu)
        if program is None:
            raise MachineError(f"there is no '{self.boot.qemu}': apt install qemu-system-x86")
        if not os.access(self.boot.kernel, os.R_OK):
            raise MachineError(f"the kernel image '{self.boot.kernel}' cannot be read")
        try:
            first = initramfs(agent().read_bytes())
        except NoAgent as error:
            raise MachineError(str(error)) from None
        self.accel = accel
        ours, theirs = socket.socketpair()
        memory = os.memfd_create("initramfs", 0)
        try:
            os.write(memory, first)
            command = self._command(program, accel, theirs.fileno(), memory)
            self._socket, self.port = ours, Port(ours)
            self._started.clear()
            # NOTE(parent): QEMU dies with the thread that started it; this one lives until QEMU has ended.
            self._reader = threading.Thread(
                target=self._read, args=(command, (theirs.fileno(), memory)), name="console", daemon=True
            )
            self._reader.start()
            self._started.wait()
        finally:
            theirs.close()
            os.close(memory)
        if self._failed:
            raise MachineError(f"'{program}' cannot be started: {self._failed}")
        self._greet(accel)

    def _command(self, program: str, accel: Accel, port: int, memory: int) -> list[str]:
        rate = clock_rate() if accel == "tcg" else None
        words = [
            "console=ttyS0", "panic=-1", "oops=panic", f"mem={SYSTEM_MIB}M", "mitigations=off",
            # Grace periods of RCU are short: device memory that goes away waits for several, one after the other.
            "rcupdate.rcu_expedited=1",
            # On a busy host timers come late: that is no reason to distrust a clock, nor a way to find out its rate.
            "no_timer_check", "tsc=reliable", *([f"tsc_early_khz={rate}"] if rate else []), "printk.devkmsg=on",
            *(f"test_hmm.spm_addr_dev{n}={address:#x}" for n, address in enumerate(COHERENT)),
            *self.boot.arguments,
        ]  # fmt: skip
        return [
            program, "-machine", MACHINE, "-accel", accel, "-cpu", _CPU[accel], "-m", str(MACHINE_MIB),
            "-smp", str(self.boot.cpus), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-kernel", str(self.boot.kernel), "-initrd", f"/proc/self/fd/{memory}", "-append", " ".join(words),
            "-serial", "stdio", "-device", "virtio-serial-pci", "-chardev", f"socket,id=port,fd={port}",
            "-device", "virtserialport,chardev=port,name=hmmspec",
        ]  # fmt: skip

    def _read(self, command: Sequence[str], files: tuple[int, int]) -> None:
        """Start QEMU, and take what it writes until it has ended."""
        try:
            process = subprocess.Popen(
                _mortal(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=files,
                start_new_session=True,  # an interrupt at the keyboard is ours to handle
            )
        except OSError as error:
            self._failed = error.strerror or str(error)
            self._started.set()
            return
        self._process = process
        self._started.set()
        assert process.stdout is not None
        console = self.console
        with process.stdout as stream:
            for line in stream:
                console.add(line.decode("utf-8", "replace").rstrip("\r\n"))
        process.wait()

    def _greet(self, accel: Accel) -> None:
        """Wait for the agent; under KVM, for the kernel's first words only a short time."""
        begin = time.monotonic()
        while accel == "kvm" and not any("Linux version" in line for line in self.console.lines()):
            if not self.running or time.monotonic() - begin > KVM_PATIENCE:
                raise MachineError("the kernel says nothing under KVM")
            time.sleep(0.05)
        lines, since, time_of_its_own = 0, 0.0, OwnTime()
        patience = min(self.boot.seconds, self.boot.silence, 2.0)
        while True:
            own = time_of_its_own.look(self.pid)
            if lines != self.console.count:
                lines, since = self.console.count, own
            if time.monotonic() - begin >= self.boot.seconds or own - since >= self.boot.silence or not self.running:
                taken = time.monotonic() - begin
                why = f"the agent did not answer within {taken:.1f} s" if self.running else "QEMU has ended"
                raise MachineError(f"the machine did not start: {why}{self._last_words()}")
            try:
                text = self.port.ask(Kind.HELLO, seconds=patience, again=0.5).decode()
            except Silent:
                continue
            except (Gone, Refused) as error:
                self._settle()
                raise MachineError(f"the machine did not start: {error}{self._last_words()}") from None
            self.greeting = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
            return

    def _last_words(self) -> str:
        if self.running:
            time.sleep(0.1)  # what was said just now is on its way
        said = [line for line in self.console.lines() if line.strip()][-3:]
        return "; it said last: " + " / ".join(said) if said else ""

    # ---- living

    @property
    def running(self) -> bool:
        """Whether QEMU runs."""
        return self._process is not None and self._process.poll() is None

    def ask(self, kind: Kind, payload: bytes = b"", seconds: float = 30.0) -> bytes:
        """A request to the agent.  Raises MachineError where the guest is dead."""
        try:
            told = self.port.ask(kind, payload, seconds)
            if kind in (Kind.RUN, Kind.RACE):
                self._last = self.port.sequence
            return told
        except Silent as error:
            raise MachineError(f"the guest does not answer ({error})") from None
        except Gone:
            self._settle()
            raise MachineError(f"the machine has died{self._last_words()}") from None
        except Refused as error:
            raise MachineError(f"the agent refused a request: {error}") from None

    def all_said(self, seconds: float = 2.0) -> None:
        """Wait until the console has been read up to the last message with commands."""
        if self.marks and self.running and not self.console.wait_for(self._last, seconds):
            self.marks = False  # a kernel without that log: never wait again

    def _settle(self) -> None:
        """QEMU is ending: wait a moment for its last lines."""
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(2)
        if self._reader is not None:
            self._reader.join(2)

    def kill(self) -> None:
        """End it.  May be called twice."""
        if self._process is not None and self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._reader is not None:
            self._reader.join(10)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    @property
    def pid(self) -> int | None:
        """QEMU's process."""
        return None if self._process is None else self._process.pid


class OwnTime:
    """How long a process has had, without the time in which it waited for a processor of the host.

    Looked at again and again: between two looks it had what its threads used, or all of the time if none wanted any.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._then = time.monotonic()
        self._used = 0.0

    def look(self, pid: int | None) -> float:
        """The seconds until now."""
        now = time.monotonic()
        used, wanted = 0.0, False
        for path in Path(f"/proc/{pid}/task").glob("*/stat"):
            with suppress(OSError):
                fields = path.read_text().rpartition(")")[2].split()  # from the third on: the state, .. (proc(5))
                used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
                wanted = wanted or fields[0] != "S"
        passed = now - self._then
        self.seconds += min(passed, max(0.0, used - self._used)) if wanted else passed
        self._then, self._used = now, used
        return self.seconds


def _useless() -> Path:
    """A file that is there where KVM was tried since the host's start, in vain."""
    try:
        return cache_folder() / f"no-kvm-{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    except (NoAgent, OSError):
        return Path(os.devnull)  # nothing can be kept: then KVM is not tried


# Runs in a fresh interpreter: asks to be killed with its parent, looks whether that still lives, becomes the program.
_LAUNCH = (
    "import ctypes, os, signal, sys\n"
    f"ctypes.CDLL(None).prctl({_DEATH}, signal.SIGKILL, 0, 0, 0)\n"
    "os.getppid() == int(sys.argv[1]) or os._exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


def _mortal(command: Sequence[str]) -> list[str]:
    """The command that runs a command which is killed when we die."""
    return [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command]
