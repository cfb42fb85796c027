"""Types of generated specs, and what is declared with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


class NoWay(Exception):
    """No expression of the wanted type is at hand."""


@dataclass(frozen=True)
class Ty:
    """A type of the spec: how it is written, what kind it is, of how many values.

    parts: element of a set, queue or optional; members of a union; types of a record's fields.
    words: literals of an enum (or labels of a thread); names of a record's fields.
    """

    text: str
    kind: str
    size: int
    parts: tuple[Ty, ...] = ()
    words: tuple[str, ...] = ()
    low: int = 0
    high: int = 0


BOOL = Ty("bool", "bool", 2)
INT = Ty("int", "int", 0)


def range_type(low: int, high: int, name: str = "") -> Ty:
    return Ty(name or f"{low}..{high}", "range", high - low + 1, low=low, high=high)


def optional(t: Ty) -> Ty:
    text = f"({t.text})?" if t.kind == "range" and ".." in t.text else f"{t.text}?"
    return Ty(text, "optional", t.size + 1, (t,))


def set_of(t: Ty) -> Ty:
    return Ty(f"set of {t.text}", "set", 2**t.size, (t,))


def queue_of(capacity: int, t: Ty) -> Ty:
    return Ty(
        f"queue[{capacity}] of {t.text}", "queue", sum(t.size**n for n in range(capacity + 1)), (t,), high=capacity
    )


def literal_of(t: Ty) -> str | None:
    """A constant of the type; None if every value names an identity."""
    match t.kind:
        case "bool":
            return "false"
        case "range":
            return str(t.low)
        case "enum":
            return t.words[0]
        case "optional":
            return "null"
        case "set":
            return "{}"
        case "queue":
            return "[]"
        case "union":
            return next((x for x in map(literal_of, t.parts) if x is not None), None)
        case "record":
            values = [literal_of(f) for f in t.parts]
            if None in values:
                return None
            return f"{t.text}({', '.join(f'{n} = {v}' for n, v in zip(t.words, values, strict=True))})"
        case _:
            return None


@dataclass
class Var:
    """Something in the state that can be read: a variable, a machine, a thread's place or local.

    suffix: of a thread's local, `.x`.  writable: whether any step may assign it.
    """

    name: str
    indices: tuple[Ty, ...]
    type: Ty
    writable: bool = True
    suffix: str = ""


@dataclass
class Define:
    name: str
    params: tuple[Ty, ...]
    type: Ty


@dataclass
class Lock:
    name: str
    indices: tuple[Ty, ...]
    rw: bool


def fields_of(t: Ty) -> Iterator[tuple[str, Ty]]:
    """The parts that can be named under a value: itself and, of a record, its fields."""
    yield "", t
    if t.kind == "record":
        for name, f in zip(t.words, t.parts, strict=True):
            yield from ((f".{name}{below}", inner) for below, inner in fields_of(f))
