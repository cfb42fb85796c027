"""The canonical forms of one system, compiled without its engine: quick to build, and called state by state."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from random import Random

from hmmspec.checker.explicit.symmetry import Renaming, Symmetry
from hmmspec.checker.native.canon import TRIES, symmetry_heading, symmetry_text
from hmmspec.checker.native.values import CValues
from hmmspec.system.layout import layout, pack
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import System
from hmmspec.system.types import Symmetric

PRELUDE = """
#include <stdint.h>
#include <string.h>
typedef int64_t V;
typedef struct { uint64_t w[WORDS]; } St;
static inline V get(const St *s, int at, uint64_t mask) { return (V)(s->w[at >> 6] >> (at & 63) & mask); }
static inline int equal(const St *a, const St *b) { return !memcmp(a, b, sizeof *a); }
static inline int less(const St *a, const St *b) {
  for (int i = 0; i < WORDS; i++) if (a->w[i] != b->w[i]) return a->w[i] < b->w[i];
  return 0;
}
"""
CALLED = """
int call_canonical(const St *in, St *out) { return canonical(in, out); }
void call_renaming(const St *in, St *out, uint16_t *to) { canonical_renaming(in, out, to); }
uint64_t call_size(const St *s) { return orbit_size(s); }
"""


@dataclass
class Found:
    """What is found for one state: the packed representative, whether it is the only one, the renaming that leads
    there, the size of the orbit (0: not known)."""

    representative: int
    only: bool
    renaming: Renaming
    size: int


class Alone:
    """`find` for the states of a system; `python` renames them; `way`: which of the ways of `canon` is taken."""

    def __init__(
        self, system: System, folder: Path, types: Sequence[Symmetric] | None = None, tries: int = TRIES,
        shortcuts: bool = True, native: bool = False,
    ) -> None:  # fmt: skip
        self.system = system
        self.types = tuple(t for t in system.symmetric if t.size > 1) if types is None else tuple(types)
        self.interp = Interpreter(system)
        self.python = Symmetry(system, self.types)
        self.plan = layout(system)
        text = symmetry_text(system, self.plan, CValues(), self.types, shortcuts)
        self.way = _way(text)
        heading = [f"#define WORDS {self.plan.words}", *symmetry_heading(self.types, tries)]
        source, made = folder / "canon.c", folder / f"canon{len(list(folder.iterdir()))}.so"
        source.write_text("\n".join([*heading, PRELUDE, text, CALLED]))
        machine = ["-march=native"] if native else []
        flags = [
            *machine,
            "-std=gnu11",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unused",
            "-Wno-sign-compare",
            "-shared",
            "-fPIC",
        ]
        subprocess.run(["cc", *flags, "-o", str(made), str(source)], check=True, timeout=60)
        self.compiled = ctypes.CDLL(str(made))
        self.compiled.call_size.restype = ctypes.c_uint64

    @staticmethod
    def way_of(system: System, shortcuts: bool) -> str:
        """Which of the ways of `canon` is taken."""
        types = tuple(t for t in system.symmetric if t.size > 1)
        return _way(symmetry_text(system, layout(system), CValues(), types, shortcuts))

    def packed(self, s: State) -> int:
        """The state's words, as one number."""
        return sum(
            pack(v.type, self.interp.read(s, v.name)) << self.plan.offsets[v.name] for v in self.system.variables
        )

    def find(self, s: State) -> Found:
        """As NOTE(native-symmetry)."""
        size = 8 * self.plan.words
        given = self.packed(s).to_bytes(size, "little")
        out, again = ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)
        to = (ctypes.c_uint16 * sum(t.size for t in self.types))()
        only = bool(self.compiled.call_canonical(given, out))
        self.compiled.call_renaming(given, again, to)
        assert out.raw == again.raw
        left = list(to)
        renaming = tuple(tuple(left.pop(0) for _ in range(t.size)) for t in self.types)
        return Found(int.from_bytes(out.raw, "little"), only, renaming, self.compiled.call_size(given))

    def renamings(self, r: Random) -> tuple[list[Renaming], bool]:
        """Every renaming, and True; or, where they are many, some, and False."""
        if self.python.group <= 300:
            return list(product(*(permutations(range(t.size)) for t in self.types))), True
        return [tuple(tuple(r.sample(range(t.size), t.size)) for t in self.types) for _ in range(15)], False


def _way(text: str) -> str:
    return "sorted" if "sort_columns" in text else "general" if "find_twins" in text else "all tried"
