"""The compiled engine of one spec, called from Python (engine.c says what each function does)."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from hmmspec.diagnostics import Limit

NONE = 0xFFFFFFFF


class Ended(IntEnum):
    """What `engine_run` returns."""

    DONE = 0
    NO_ROOM = 1
    STOPPED = 2
    OVERFLOW = 3
    TIME = 4
    NO_MEMORY = 5
    CHOICES = 6


class _Report(c.Structure):
    _fields_ = (
        ("states", c.c_uint64),
        ("transitions", c.c_uint64),
        ("faults", c.c_uint64),
        ("frontier", c.c_uint64),
        ("table_bytes", c.c_uint64),
        ("store_bytes", c.c_uint64),
        ("depth", c.c_int),
        ("levels", c.c_int),
        ("stop", c.c_int),
        ("words", c.c_int),
        ("full_states", c.c_uint64),
        ("orbits", c.c_int),
    )


@dataclass(frozen=True)
class Counted:
    """What the engine counted so far; see `Report` in engine.c."""

    states: int
    transitions: int
    faults: int
    frontier: int
    depth: int
    levels: int
    full_states: int
    orbits: bool
    bytes: int
    stopped: bool


class Library:
    """A loaded library.  Raises OSError if it cannot be loaded."""

    def __init__(self, path: Path) -> None:
        self.dll = c.CDLL(str(path))
        pointer, number, u64, u32 = c.c_void_p, c.c_int, c.c_uint64, c.c_uint32
        words = c.POINTER(c.c_uint32)
        self._declare("engine_new", pointer, u64, u64, number, number)
        self._declare("engine_free", None, pointer)
        self._declare("engine_start", u32, pointer, c.c_char_p, u32)
        self._declare("engine_run", number, pointer, c.c_double)
        self._declare("engine_judge", u64, pointer, u64, c.c_double)
        self._declare("engine_predecessors", None, pointer, u32, u32, c.c_char_p, number, words)
        self._declare("engine_report", None, pointer, c.POINTER(_Report))
        self._declare("engine_kept", number, pointer, number, words, c.POINTER(number))
        self._declare("engine_states", pointer, pointer)
        self._declare("engine_levels", words, pointer)
        self._declare("engine_fired", c.POINTER(u64), pointer)
        self._declare("engine_seen", c.POINTER(c.c_ubyte), pointer)
        self._declare("engine_lookup", u32, pointer, c.c_char_p)

    def _declare(self, name: str, result: Any, *arguments: Any) -> None:
        function = getattr(self.dll, name)
        function.restype = result
        function.argtypes = arguments


class Engine:
    """One search.  memory: bytes for states and table; keep: states kept of each finding.  To be closed.

    Raises Limit where the system does not give the memory.
    """

    def __init__(self, library: Library, memory: int, states: int | None, threads: int, keep: int) -> None:
        self.dll = library.dll
        self.keep = keep
        self.pointer: int | None = self.dll.engine_new(memory, states or 0, threads, keep)
        if not self.pointer:
            raise Limit("the system does not give the memory for a search")

    def close(self) -> None:
        """Give everything back; nothing may be asked any more."""
        if self.pointer:
            self.dll.engine_free(self.pointer)
            self.pointer = None

    def start(self, states: bytes, count: int) -> int:
        """Enter start states; how many states there are now."""
        return int(self.dll.engine_start(self.pointer, states, count))

    def run(self, seconds: float) -> Ended:
        """Go on for about so long."""
        return Ended(self.dll.engine_run(self.pointer, seconds))

    def judge(self, begin: int, seconds: float) -> int:
        """Look at states that were not expanded; which is next."""
        return int(self.dll.engine_judge(self.pointer, begin, seconds))

    def counted(self) -> Counted:
        r = _Report()
        self.dll.engine_report(self.pointer, c.byref(r))
        return Counted(
            r.states,
            r.transitions,
            r.faults,
            r.frontier,
            r.depth,
            r.levels,
            r.full_states,
            bool(r.orbits),
            r.table_bytes + r.store_bytes,
            bool(r.stop),
        )

    def kept(self, finding: int) -> list[tuple[int, int]]:
        """The least states that show this finding: number, and length of the run that shows it."""
        numbers, lengths = (c.c_uint32 * self.keep)(), (c.c_int * self.keep)()
        n = self.dll.engine_kept(self.pointer, finding, numbers, lengths)
        return list(zip(numbers[:n], lengths[:n], strict=True))

    def fired(self, rules: int) -> tuple[list[int], list[int]]:
        """By rule: steps taken, and steps that ended in an error."""
        found = self.dll.engine_fired(self.pointer)[: 2 * rules]
        return list(found[:rules]), list(found[rules:])

    def flags(self, count: int) -> list[bool]:
        """The answers to questions, see `Compiled`."""
        return [bool(x) for x in self.dll.engine_seen(self.pointer)[:count]]

    def level_ends(self) -> list[int]:
        """Where each level of the store ends."""
        n = self.counted().levels
        return list(self.dll.engine_levels(self.pointer)[:n])

    def memory(self, size: int, count: int) -> object:
        """The store: `count` states of `size` bytes, as long as the engine is open."""
        address = self.dll.engine_states(self.pointer)
        return (c.c_char * (size * count)).from_address(address)

    def predecessors(self, begin: int, end: int, targets: bytes, found: Sequence[int]) -> list[int]:
        """The least predecessor of each target among the stored states begin..end-1 and those found before."""
        n = len(found)
        numbers = (c.c_uint32 * n)(*found)
        self.dll.engine_predecessors(self.pointer, begin, end, targets, n, numbers)
        return list(numbers)
