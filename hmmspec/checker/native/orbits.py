"""The compiled engine's representatives of orbits, for whoever works with the interpreter's states.

They are others than those of `explicit.symmetry` (which is the least of an orbit depends on the packing), and where
ties are too many to be tried only the engine itself knows which state it takes; renaming means the same in both.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from hmmspec.checker.explicit.engine import told_apart
from hmmspec.checker.explicit.symmetry import Renaming, Symmetry
from hmmspec.checker.native.bindings import Library
from hmmspec.checker.native.packing import Packing
from hmmspec.checker.options import CheckOptions
from hmmspec.system.run import State
from hmmspec.system.system import System
from hmmspec.system.types import Symmetric


def reduced_types(system: System, options: CheckOptions) -> tuple[Symmetric, ...]:
    """The types by whose renamings the native engine reduces: not those whose identities a `leads_to` or fairness can
    tell apart, since it does not keep track of who is who (the Python engine does)."""
    apart = told_apart(system) if not options.hash_bits else ()  # on hashed states no `leads_to` is judged
    return tuple(t for t in system.symmetric if options.symmetry and t.size >= 2 and t not in apart)


class NativeSymmetry(Symmetry):
    """As `Symmetry`, with the representatives of a library that was generated for these types (in this order)."""

    def __init__(self, system: System, types: Sequence[Symmetric], library: Library, packing: Packing) -> None:
        super().__init__(system, types)
        self._packing = packing
        self._call = library.dll.engine_canonical
        self._call.restype = ctypes.c_uint64
        self._call.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint16))
        self._out = ctypes.create_string_buffer(packing.size)
        self._to = (ctypes.c_uint16 * sum(t.size for t in self.types))()

    def representative(self, s: State) -> tuple[State, int]:
        """The representative, and the size of the orbit; 0 if that is not known."""
        size = self._call(self._packing.pack(s), self._out, None)
        return self._packing.unpack(self._out.raw), size

    def renaming(self, s: State) -> Renaming:
        """A renaming that makes `s` its representative."""
        self._call(self._packing.pack(s), self._out, self._to)
        numbers = iter(self._to)
        return tuple(tuple(next(numbers) for _ in range(t.size)) for t in self.types)
