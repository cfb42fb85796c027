"""Can these formulas hold together?  Asked of one growing graph of formulas, thousands of times.

`circuit.c` answers where there is a C compiler, Z3 where there is none; what they find may differ, whether there is
something does not.  No proof rests on either: they help to find what is to be proved then.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Protocol
from weakref import finalize

from hmmspec.checker.symbolic.formulas import Formula, Formulas
from hmmspec.checker.symbolic.sat import Circuit, Lit, Sat, Undecided
from hmmspec.clib.compile import CannotCompile, TooSlow, build

CONFLICTS = 200_000  # for one question in C
KEPT = 4000  # learned clauses
LONGEST = 20.0  # seconds, for one question to Z3
_COMPILING = 60.0  # seconds
_LEAF = (-1, -1)


class Circuits(Protocol):
    """Questions about formulas of one graph."""

    def require(self, f: Formula) -> None:
        """From now on this holds."""

    def solve(self, assumed: Sequence[Formula]) -> bool:
        """Whether all of this can hold together.  Raises Undecided."""

    def core(self) -> set[Formula]:
        """After a no: assumptions that suffice for it."""

    def values(self, formulas: Sequence[Formula]) -> list[bool]:
        """After a yes: whether each of these holds; leaves that nobody asked about do not."""


def circuits(formulas: Formulas) -> Circuits:
    """The best there is."""
    found = library()
    return ByZ3(formulas) if found is None else Compiled(formulas, found)


@cache
def library() -> Any:
    """`circuit.c`, compiled; None where that cannot be done.  Processes that are started later share it."""
    try:
        built = build(Path(__file__).with_name("circuit.c").read_text(encoding="utf-8"), _COMPILING)
        found = ctypes.CDLL(str(built.path))
    except (CannotCompile, TooSlow, OSError):
        return None
    with suppress(OSError):
        built.loaded()
    found.circuit_new.restype, found.circuit_forgotten.restype = ctypes.c_void_p, ctypes.c_int64
    for name, arguments in (
        ("new", (ctypes.c_int,)),
        ("free", (ctypes.c_void_p,)),
        ("forgotten", (ctypes.c_void_p,)),
        ("extend", (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)),
        ("require", (ctypes.c_void_p, ctypes.c_int32)),
        ("solve", (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)),
        ("core", (ctypes.c_void_p, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32)))),
        ("values", (ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)),
    ):
        getattr(found, f"circuit_{name}").argtypes = arguments
    return found


class Compiled:
    """By the solver in C.  Its literals are the formulas themselves.  kept: clauses that it learned, at first."""

    def __init__(self, formulas: Formulas, found: Any, kept: int = KEPT) -> None:
        self._formulas, self._c = formulas, found
        self._circuit: int | None = found.circuit_new(kept)
        if not self._circuit:
            raise MemoryError
        finalize(self, found.circuit_free, self._circuit)
        self._known = 0  # nodes that it has

    def require(self, f: Formula) -> None:
        self._extend()
        self._answered(self._c.circuit_require(self._circuit, f))

    def solve(self, assumed: Sequence[Formula]) -> bool:
        self._extend()
        some = array("i", assumed)
        at, count = some.buffer_info()
        answer = self._answered(self._c.circuit_solve(self._circuit, count, at, CONFLICTS))
        if answer < 0:
            raise Undecided
        return answer > 0

    def core(self) -> set[Formula]:
        found = ctypes.POINTER(ctypes.c_int32)()
        count = self._c.circuit_core(self._circuit, ctypes.byref(found))
        return set(found[:count])

    def values(self, formulas: Sequence[Formula]) -> list[bool]:
        self._extend()
        some, out = array("i", formulas), bytearray(len(formulas))
        at, count = some.buffer_info()
        into = (ctypes.c_char * count).from_buffer(out) if count else None
        self._c.circuit_values(self._circuit, count, at, into)
        return list(map(bool, out))

    def forgotten(self) -> int:
        """How many of the clauses that it learned it does not have any more."""
        return int(self._c.circuit_forgotten(self._circuit))

    def _extend(self) -> None:
        """It gets to know the nodes that were made since."""
        new = self._formulas.parts[self._known :]
        if new:
            parts = array("i", chain.from_iterable(_LEAF if p is None else p for p in new))
            self._answered(self._c.circuit_extend(self._circuit, len(new), parts.buffer_info()[0]))
            self._known += len(new)

    @staticmethod
    def _answered(answer: int) -> int:
        if answer == -2:
            raise MemoryError
        return answer


class ByZ3:
    """By Z3's solver."""

    def __init__(self, formulas: Formulas) -> None:
        self._formulas = formulas
        self._sat = Sat(LONGEST, easy=True)
        self._circuit = Circuit(self._sat, formulas)
        self._asked: dict[Lit, Formula] = {}

    def require(self, f: Formula) -> None:
        self._sat.clause([self._circuit.literal(f)])

    def solve(self, assumed: Sequence[Formula]) -> bool:
        self._asked = {self._circuit.literal(f): f for f in assumed}
        return self._sat.solve(list(self._asked))

    def core(self) -> set[Formula]:
        return {self._asked[x] for x in self._sat.core()}

    def values(self, formulas: Sequence[Formula]) -> list[bool]:
        f = self._formulas
        nodes = list(f.below(formulas))
        leaves = [n for n in nodes if n and f.parts[n] is None and self._circuit.knows(2 * n)]
        found = self._sat.values(self._circuit.literal(2 * n) for n in leaves)
        known = {0: True, **dict(zip(leaves, found, strict=True))}
        for n in nodes:
            parts = f.parts[n]
            if parts is not None:
                a, b = parts
                known[n] = (known[a >> 1] ^ bool(a & 1)) and (known[b >> 1] ^ bool(b & 1))
            else:
                known.setdefault(n, False)
        return [known[x >> 1] ^ bool(x & 1) for x in formulas]
