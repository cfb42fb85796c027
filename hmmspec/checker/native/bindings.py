"""The compiled engine of one spec, called from Python (engine.c says what each function does)."""

from __future__ import annotations

import ctypes as c
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from hmmspec.checker.native.soundness import Check
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
    NO_DISK = 7


class _Check(c.Structure):
    _fields_ = (
        ("at", c.c_uint32),
        ("bits", c.c_uint32),
        ("least", c.c_uint64),
        ("most", c.c_uint64),
        ("skip", c.c_uint64),
    )


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
        ("disk_full", c.c_int),
        ("compared", c.c_uint64),
        ("expanded", c.c_uint64),
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
    disk_full: int
    compared: int
    expanded: int


class Library:
    """A loaded library.  Raises OSError if it cannot be loaded."""

    def __init__(self, path: Path) -> None:
        self.dll = c.CDLL(str(path))
        pointer, number, u64, u32 = c.c_void_p, c.c_int, c.c_uint64, c.c_uint32
        words = c.POINTER(c.c_uint32)
        self._declare("engine_new", pointer, u64, u64, number, number, u64, number)
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
        numbers, restored = c.POINTER(u64), (u32, pointer, c.c_char_p, u32, c.c_char_p, c.POINTER(_Check), u64)
        self._declare("engine_export", u64, pointer, numbers, u64)
        self._declare("engine_import", number, pointer, numbers, u64)
        self._declare("engine_restore", *restored)
        self._declare("engine_restore_lost", *restored)
        self._declare("engine_keep_lost", None, pointer)
        self._declare("engine_lost", u64, pointer, c.c_void_p, u64)
        self._declare("engine_let_go", None, pointer, u64, u64)

    def _declare(self, name: str, result: Any, *arguments: Any) -> None:
        function = getattr(self.dll, name)
        function.restype = result
        function.argtypes = arguments


class Engine:
    """One search.  memory: bytes for states and table; keep: states kept of each finding; seed: of hashes; file: an
    empty file for the states, -1 for memory (it may be closed once the engine is made).  To be closed.

    Raises Limit where the system does not give the memory.
    """

    def __init__(
        self,
        library: Library,
        memory: int,
        states: int | None,
        threads: int,
        keep: int,
        seed: int = 0,
        file: int = -1,
    ) -> None:
        self.dll = library.dll
        self.keep = keep
        self.pointer: int | None = self.dll.engine_new(memory, states or 0, threads, keep, seed % 2**64, file)
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
            r.disk_full,
            r.compared,
            r.expanded,
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

    # ------------------------------------------------------------ checkpoints, see checkpoint.c

    def export(self) -> bytes:
        """The control block, as numbers of 64 bits."""
        n = self.dll.engine_export(self.pointer, None, 0)
        numbers = (c.c_uint64 * n)()
        self.dll.engine_export(self.pointer, numbers, n)
        return bytes(numbers)

    def take(self, control: bytes) -> bool:
        """Go on from a control block, when the states are restored; whether it is one of this search."""
        n = len(control) // 8
        return bool(self.dll.engine_import(self.pointer, (c.c_uint64 * n).from_buffer_copy(control), n))

    def restore(self, states: bytes, count: int, used: bytes, checks: Sequence[Check], lost: bool = False) -> int:
        """Enter states of a checkpoint; how many were."""
        array = (_Check * len(checks))(*(_Check(x.at, x.bits, x.least, x.most, x.skip) for x in checks))
        call = self.dll.engine_restore_lost if lost else self.dll.engine_restore
        return int(call(self.pointer, states, count, used, array, len(checks)))

    def keep_lost(self) -> None:
        """From now on keep new states for which there is no room."""
        self.dll.engine_keep_lost(self.pointer)

    def lost(self, size: int) -> bytes | None:
        """The states for which there was no room; None if they are not known."""
        n = self.dll.engine_lost(self.pointer, None, 0)
        if n == 2**64 - 1:
            return None
        states = c.create_string_buffer(max(1, n * size))
        self.dll.engine_lost(self.pointer, states, n)
        return states.raw[: n * size]

    def let_go(self, begin: int, end: int) -> None:
        """Memory of stored states is not needed for now, where they are on disk."""
        self.dll.engine_let_go(self.pointer, begin, end)
