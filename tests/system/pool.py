"""The types that random Systems are made of, and what is asked of types when values are made."""

from __future__ import annotations

from typing import Any

from hmmspec.system import types as T

PAGE = T.Symmetric("Page", 2)
CPU = T.Symmetric("Cpu", 2)
KIND = T.Enum("Kind", ("none", "present", "device"))
MODE = T.Enum("Mode", ("idle", "busy"))
SMALL = T.Range(0, 2)
ODD = T.Range(1, 3, "Odd")
SIGNED = T.Range(-1, 1)
PTE = T.Record("Pte", (("kind", KIND), ("write", T.BOOL)))
THREAD = T.ThreadId("fault", (CPU,))
PAIR = T.ThreadId("pair", (CPU, MODE))
OWNER = T.Union((T.NULL, THREAD))
MAYBE_PAGE = T.Union((T.NULL, PAGE))
MAYBE_ODD = T.Union((T.NULL, ODD))
PLACE = T.Union((PAGE, MODE), "Place")
WIDE = T.Union((T.NULL, PAGE, MODE))
ENTRY = T.Union((T.NULL, PTE), "Entry")
THING = T.Union((PTE, SMALL, MODE), "Thing")

SCALARS: tuple[T.Type, ...] = (
    T.BOOL, SMALL, ODD, KIND, MODE, PAGE, CPU, MAYBE_PAGE, MAYBE_ODD, PLACE, WIDE, THREAD, PAIR, OWNER,
)  # fmt: skip
INDICES: tuple[T.Type, ...] = (PAGE, CPU, MODE, ODD, T.BOOL, MAYBE_PAGE)
PACKED: tuple[T.Type, ...] = (*SCALARS, PTE, T.Set(PAGE), T.Set(ODD), T.Set(MODE), T.Array(MODE, SMALL))
LOOSE: tuple[T.Type, ...] = (
    SIGNED, ENTRY, THING, T.Queue(2, PAGE), T.Queue(1, PTE), T.Queue(2, ODD), T.Set(SIGNED),
    T.Array(MODE, PTE), T.Record("Box", (("pte", PTE), ("tags", T.Array(MODE, T.BOOL)), ("q", T.Queue(1, MODE)))),
)  # fmt: skip


def has_identity(t: T.Type) -> bool:
    """Whether a value of the type can name an identity of a symmetric type."""
    match t:
        case T.Symmetric():
            return True
        case T.ThreadId(_, index):
            return any(has_identity(i) for i in index)
        case T.Union(members):
            return any(has_identity(m) for m in members)
        case T.Record(_, fields):
            return any(has_identity(f) for _, f in fields)
        case T.Array(index, element):
            return has_identity(index) or has_identity(element)
        case T.Set(element) | T.Queue(_, element):
            return has_identity(element)
        case _:
            return False


def plain_value(t: T.Type) -> Any:
    """A value that names no identity, or None if every value of the type names one."""
    match t:
        case T.Symmetric():
            return None
        case T.ThreadId():
            return None if has_identity(t) else 0
        case T.Union(members):
            for number, m in enumerate(members):
                v = plain_value(m)
                if v is not None:
                    return T.inject(t, number, v)
            return None
        case T.Record(_, fields):
            values = [plain_value(f) for _, f in fields]
            return None if None in values else tuple(values)
        case T.Array(index, element):
            v = plain_value(element)
            return None if v is None else (v,) * T.cardinality(index)
        case T.Set():
            return 0
        case T.Queue():
            return ()
        case T.Range(low, _):
            return low
        case T.Bool():
            return False
        case _:
            return 0


def reaches(whole: T.Type, part: T.Type) -> bool:
    """Whether a value of `part` is found in `whole` under indices and fields."""
    if whole == part:
        return True
    match whole:
        case T.Array(_, element):
            return reaches(element, part)
        case T.Record(_, fields):
            return any(reaches(f, part) for _, f in fields)
        case _:
            return False
