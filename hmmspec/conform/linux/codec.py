"""Commands and results as the agent in the guest has them: records of fixed size, and data behind them.

NOTE(numbers): the numbers and layouts are those of hmmspec/linux/guest/agent.h.  Names do not travel: processes, files
and holds are numbered as they first appear in a program.
"""

from __future__ import annotations

import errno
import signal
import struct
from collections.abc import Sequence
from enum import IntEnum

import numpy as np

from hmmspec.conform import commands as c
from hmmspec.conform.commands import ADVICE, KINDS, PROTS, Command
from hmmspec.conform.results import Result
from hmmspec.records import dataclass

VERSION = 1
THREADS = 16  # lists of one race
BATCH = 16384  # commands of one message
DATA = 48 << 20  # bytes of results of one message
NAMES = 256  # processes of one program
HOLDS = 64  # holds of one process

_COMMAND = struct.Struct("<4B2H4IQ")
_REQUEST = struct.Struct(f"<4IQ{THREADS}I")
_HEAD = struct.Struct("<3I")
_RESULT = struct.Struct("<2Q3i3I")

_ORDER: tuple[type[Command], ...] = (
    c.Spawn, c.Fork, c.Exit, c.Kill, c.Mmap, c.Munmap, c.Mprotect, c.Mremap, c.Madvise, c.Load, c.Store, c.Increment,
    c.Gup, c.Peek, c.Poke, c.Unpin, c.Pagemap, c.ClearSoftDirty, c.UffdWp, c.Smaps, c.FileWrite, c.FileRead, c.Drain,
    c.Open, c.Close, c.DevRead, c.DevWrite, c.MigrateToDevice, c.MigrateToSystem, c.Snapshot, c.Exclusive,
    c.CheckExclusive, c.ReleaseMemory, c.Flags,
)  # fmt: skip
_OPS = {cls: number for number, cls in enumerate(_ORDER, 1)}
_GUP = ("write", "fast", "pin", "longterm")  # bits 0, 1, ..
_GUP_HOLD = 16
_COUNTS = ("rss", "anon", "swap", "dirty", "huge")
_SIGNALLED = 0x1000
_STAMPS, _SNAPSHOT, _PAGEMAP, _SMAPS = 1, 2, 3, 4


class Status(IntEnum):
    """How a message came to its end."""

    DONE = 0
    STUCK = 1
    ENDED = 2


class TooMany(Exception):
    """A program has more of something than the agent has room for: the message says what."""


class Names:
    """The numbers of what has a name in a program."""

    def __init__(self) -> None:
        self._processes = {"p0": 0}
        self._files: dict[str, int] = {}
        self._holds: dict[tuple[str, str], int] = {}
        self._holds_of: dict[str, int] = {}

    def process(self, name: str) -> int:
        """Raises TooMany."""
        number = self._processes.setdefault(name, len(self._processes))
        if number >= NAMES:
            raise TooMany(f"a program on this target has at most {NAMES} names of processes")
        return number

    def file(self, name: str) -> int:
        """The number of a file."""
        return self._files.setdefault(name, len(self._files))

    def hold(self, process: str, name: str) -> int:
        """Raises TooMany."""
        if (process, name) not in self._holds:
            self._holds[process, name] = self._holds_of[process] = self._holds_of.get(process, -1) + 1
        number = self._holds[process, name]
        if number >= HOLDS:
            raise TooMany(f"a process on this target has at most {HOLDS} names of holds")
        return number


@dataclass(frozen=True)
class Told:
    """What the agent said of one command: when it began and ended, by one clock for all (0: not yet)."""

    begin: int
    end: int
    result: Result


@dataclass(frozen=True)
class Answer:
    """What the agent said of a message.  at: the command that was under way where `status` is not DONE."""

    status: Status
    at: int
    told: tuple[Told, ...]


def can_travel(command: Command) -> bool:
    """Whether the agent knows such commands."""
    return type(command) in _OPS


def encode(command: Command, names: Names) -> bytes:
    """The record of a command.  Raises TooMany."""
    choice = kind = other = extra = 0
    match command:
        case c.Fork(child=child):
            other = names.process(child)
        case c.Mmap():
            choice, kind, extra = PROTS.index(command.prot), KINDS.index(command.kind), command.offset
            if command.kind.startswith("file"):
                other = names.file(command.source or "")
        case c.Mprotect(prot=prot):
            choice = PROTS.index(prot)
        case c.Mremap(to=to, dontunmap=dontunmap):
            choice, extra = int(dontunmap), to
        case c.Madvise(advice=advice):
            choice = ADVICE.index(advice)
        case c.Gup(process=process, hold=hold):
            choice = sum(getattr(command, name) << bit for bit, name in enumerate(_GUP))
            if hold is not None:
                choice, other = choice | _GUP_HOLD, names.hold(process, hold)
        case c.Peek(process=process, hold=name) | c.Poke(process=process, hold=name) | c.Unpin(process, hold=name):
            other = names.hold(process, name)
        case c.UffdWp(on=on):
            choice = int(on)
        case c.FileWrite(file=name) | c.FileRead(file=name):
            other = names.file(name)
        case c.Flags(fail_alloc=fail):
            choice = int(fail)
        case c.Kill(reap=reap):
            choice = int(reap)
        case _:
            pass
    device = getattr(command, "device", "") or (getattr(command, "source", "") if kind == KINDS.index("device") else "")
    process = getattr(command, "process", "")
    return _COMMAND.pack(
        _OPS[type(command)], choice, kind, _device(device), names.process(process) if process else 0, other,
        getattr(command, "page", 0), getattr(command, "count", 0), extra, 0, getattr(command, "stamp", 0),
    )  # fmt: skip


def _device(name: str | None) -> int:
    if not name:
        return 0
    digits = name.removeprefix("dev")
    return int(digits) if digits.isdecimal() and int(digits) < 255 else 255


def volume(command: Command) -> int:
    """The most bytes that the data of the command's result take."""
    return 64 + 8 * getattr(command, "count", 64)


def request(
    threads: Sequence[Sequence[bytes]],
    *,
    fresh: bool = False,
    again: bool = False,
    patience: float = 10.0,
    seed: int = 0,
) -> bytes:
    """The payload of a message.

    fresh: forget the program before; again: what the kernel warns of once it is to warn of once more; patience: seconds
    until a worker is stuck.
    """
    counts = [len(thread) for thread in threads] + [0] * (THREADS - len(threads))
    head = _REQUEST.pack(int(fresh) | int(again) << 1, int(patience * 1000), len(threads), 0, seed % (1 << 64), *counts)
    return head + b"".join(record for thread in threads for record in thread)


def answer(payload: bytes) -> Answer:
    """What an answer says.  Raises ValueError where it is not whole."""
    try:
        status, at, count = _HEAD.unpack_from(payload)
        position = _HEAD.size
        told: list[Told] = []
        for _ in range(count):
            begin, end, error, cpages, faults, data, length, _ = _RESULT.unpack_from(payload, position)
            position += _RESULT.size
            raw = payload[position : position + length]
            if len(raw) != length:
                raise ValueError(f"an answer of {len(payload)} bytes ends in its data")
            told.append(Told(begin, end, _result(error, cpages, faults, data, raw)))
            position += length
    except struct.error as why:
        raise ValueError(f"an answer of {len(payload)} bytes is not whole: {why}") from None
    if position != len(payload):
        raise ValueError(f"an answer of {len(payload)} bytes should have {position}")
    return Answer(Status(status), at, tuple(told))


def _result(error: int, cpages: int, faults: int, data: int, raw: bytes) -> Result:
    numbers: tuple[int, ...] = ()
    if raw:
        numbers = tuple(raw) if data in (_SNAPSHOT, _PAGEMAP) else tuple(np.frombuffer(raw, np.int64).tolist())
    return Result(
        error_name(error),
        None if cpages < 0 else cpages,
        None if faults < 0 else faults,
        stamps=numbers if data == _STAMPS else (),
        snapshot=numbers if data == _SNAPSHOT else (),
        pagemap=numbers if data == _PAGEMAP else (),
        counts=tuple(zip(_COUNTS, numbers, strict=True)) if data == _SMAPS and numbers else (),
    )


def error_name(number: int) -> str:
    """`ENOENT`, `SIGBUS`; '' for 0."""
    if number >= _SIGNALLED:
        return signal.Signals(number - _SIGNALLED).name
    return errno.errorcode.get(number, f"E{number}") if number else ""
