"""Where values are: places in the state, reading them after writes, and whole values taken apart into cells.

A cell is a place that holds a scalar, the membership of one element of a set, the length of a queue or the member
number of a union.  Cells of a queue behind its end, and of union members that are not held, keep one fixed value: so
equal values have equal cells, and a state of the other checker is a state here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from hmmspec.diagnostics import InternalError
from hmmspec.export.names import refuse
from hmmspec.export.terms import Arr, Line, Many, Num, Rec, Scalar, Sum, Syntax, Truth, Value
from hmmspec.system.convert import span_of
from hmmspec.system.types import (
    BOOL,
    Array,
    Bool,
    Enum,
    Queue,
    Range,
    Record,
    Set,
    Type,
    Union,
    cardinality,
    from_ordinal,
    is_scalar,
    ordinal,
    show_type,
)

MOST_CELLS = 4096  # of one variable or value


@dataclass(frozen=True)
class Step:
    """One way down into a value of type `type`: to an element, a field, a place of a queue, ..."""

    kind: Literal["at", "has", "field", "length", "item", "tag", "member"]
    key: Scalar | int
    type: Type


Path = tuple[Step, ...]
Spot = Callable[[str, Path, Type], Scalar]
"""What the language writes for a cell: variable, path and the type of the cell."""


@dataclass(frozen=True)
class Write:
    """An assignment on the way: where `when` holds, the place has this value from now on."""

    variable: str
    path: Path
    when: Truth
    type: Type
    value: Value


Memory = tuple[Write, ...]


class Places:
    """Reads, compares and takes apart values in one language."""

    def __init__(
        self,
        syntax: Syntax,
        spot: Spot,
        literal: Callable[[Enum, int], str],
        numbered: Callable[[Type], None] = lambda _: None,
    ) -> None:
        """`literal` names a literal; `numbered` is told of types whose values are used as numbers, and may refuse."""
        self.syntax = syntax
        self.spot = spot
        self.literal = literal
        self.numbered = numbered

    # ------------------------------------------------------------ reading

    def load(self, variable: str, path: Path, t: Type, memory: Memory) -> Value:
        """What a place holds after the writes of `memory`, in terms of the state before them."""
        down = partial(self._down, variable, path, memory)
        match t:
            case Record(_, fields):
                return Rec(lambda k: down(Step("field", k, t), fields[k][1]))
            case Array(_, element):
                return Arr(lambda i: down(Step("at", i, t), element))
            case Set():
                return Many(lambda i: _truth(down(Step("has", i, t), BOOL)))
            case Queue(capacity, element):
                return Line(
                    _num(down(Step("length", 0, t), Range(0, capacity))), lambda k: down(Step("item", k, t), element)
                )
            case Union(members) if not is_scalar(t):
                tag = _num(down(Step("tag", 0, t), Range(0, len(members) - 1)))
                return Sum(tag, lambda k: down(Step("member", k, t), members[k]))
            case _:
                return self._cell(variable, path, t, memory)

    def _down(self, variable: str, path: Path, memory: Memory, step: Step, t: Type) -> Value:
        return self.load(variable, (*path, step), t, memory)

    def _cell(self, variable: str, path: Path, t: Type, memory: Memory) -> Scalar:
        # From the last write back: what is written for certain hides all before it.
        found: list[tuple[Truth, Write]] = []
        for w in reversed(memory):
            if w.variable != variable:
                continue
            here = self.syntax.both(w.when, self._meets(w.path, path))
            if here.known is not False:
                found.append((here, w))
            if here.known:
                break
        if found and found[-1][0].known:
            last = found.pop()[1]
            value = scalar(self.inside(last.value, path[len(last.path) :]))
        else:
            value = self.spot(variable, path, t)
        for here, w in reversed(found):
            value = self.syntax.pick_scalar(here, scalar(self.inside(w.value, path[len(w.path) :])), value)
        return value

    def _meets(self, written: Path, read: Path) -> Truth:
        """Whether a write to one place is seen at the other, which is a cell."""
        parts = []
        for a, b in zip(written, read, strict=False):
            if isinstance(a.key, int) or isinstance(b.key, int):
                if (a.kind, a.key) != (b.kind, b.key):
                    return self.syntax.false
            else:
                parts.append(self.syntax.same(a.key, b.key))
        return self.syntax.both(*parts)

    def inside(self, value: Value, path: Path) -> Value:
        """The part of a value at a path."""
        for step in path:
            match value, step.key:
                case Rec(), int(k):
                    value = value.field(k)
                case Arr(), (Num() | Truth()) as i:
                    value = value.at(i)
                case Many(), (Num() | Truth()) as i:
                    value = value.has(i)
                case Line(), int(k):
                    value = value.length if step.kind == "length" else value.item(k)
                case Sum(), int(k):
                    value = value.tag if step.kind == "tag" else value.member(k)
                case _:
                    raise InternalError(f"no {step.kind} in this value")
        return value

    # ------------------------------------------------------------ cells

    def index(self, t: Type, number: int) -> Scalar:
        """The value of a scalar type with this ordinal."""
        return scalar(self.constant(t, from_ordinal(t, number)))

    def indices(self, t: Type) -> Iterator[Scalar]:
        """Every value of a scalar type."""
        self.numbered(t)
        if cardinality(t) > MOST_CELLS:
            raise refuse(f"{show_type(t)}, which has {cardinality(t)} values (more than {MOST_CELLS})")
        return (self.index(t, n) for n in range(cardinality(t)))

    def cells(self, t: Type) -> Iterator[tuple[Path, Type]]:
        """The way to every cell of a value, with the type that the cell has."""
        match t:
            case Record(_, fields):
                downs: Iterator[tuple[Step, Type]] = ((Step("field", k, t), f) for k, (_, f) in enumerate(fields))
            case Array(index, element):
                downs = ((Step("at", i, t), element) for i in self.indices(index))
            case Set(element):
                downs = ((Step("has", i, t), BOOL) for i in self.indices(element))
            case Queue(capacity, element):
                items = [(Step("item", k, t), element) for k in range(capacity)]
                downs = iter([(Step("length", 0, t), Range(0, capacity)), *items])
            case Union(members) if not is_scalar(t):
                held = [(Step("member", k, t), m) for k, m in enumerate(members)]
                downs = iter([(Step("tag", 0, t), Range(0, len(members) - 1)), *held])
            case _:
                yield (), t
                return
        for step, inner in downs:
            for path, leaf in self.cells(inner):
                yield (step, *path), leaf

    def equal(self, a: Value, b: Value, t: Type) -> Truth:
        parts = []
        for path, _ in self.cells(t):
            parts.append(self.syntax.same(scalar(self.inside(a, path)), scalar(self.inside(b, path))))
            if parts[-1].known is False:
                return parts[-1]
        return self.syntax.both(*parts)

    # ------------------------------------------------------------ making values

    def constant(self, t: Type, value: object) -> Value:
        """A value as in NOTE(values)."""
        match t, value:
            case Bool(), _:
                return self.syntax.truth(bool(value))
            case Record(_, fields), tuple():
                return Rec(lambda k: self.constant(fields[k][1], value[k]))
            case Array(index, element), tuple():
                return Arr(lambda i: self._element(index, element, value, i))
            case Set(element), int():
                return Many(lambda i: self._element_of(element, value, i))
            case Queue(_, element), tuple():
                return Line(
                    self.syntax.num(len(value)),
                    lambda k: self.constant(element, value[k]) if k < len(value) else self.zero(element),
                )
            case Union(members), tuple():
                return Sum(
                    self.syntax.num(value[0]),
                    lambda k: self.constant(members[k], value[1]) if k == value[0] else self.zero(members[k]),
                )
            case Enum(), int():
                return Num(self.literal(t, int(value)), int(value), int(value))
            case _, int():
                self.numbered(t)
                return self.syntax.num(int(value))
            case _:
                raise InternalError(f"no value of {show_type(t)}")

    def _element(self, index: Type, element: Type, value: tuple[object, ...], i: Scalar) -> Value:
        parts = [self.constant(element, v) for v in value]
        if i.known is not None:
            return parts[ordinal(index, int(i.known))]
        out = parts[-1]
        for n in range(len(parts) - 2, -1, -1):
            out = self.pick(self.syntax.same(i, self.index(index, n)), parts[n], out, element)
        return out

    def _element_of(self, element: Type, value: int, i: Scalar) -> Truth:
        if i.known is not None:
            return self.syntax.truth(bool(value >> ordinal(element, int(i.known)) & 1))
        wanted = [n for n in range(cardinality(element)) if value >> n & 1]
        if len(wanted) == cardinality(element):
            return self.syntax.true
        return self.syntax.either(*(self.syntax.same(i, self.index(element, n)) for n in wanted))

    def zero(self, t: Type) -> Value:
        """The value that unused cells hold."""
        match t:
            case Record(_, fields):
                return Rec(lambda k: self.zero(fields[k][1]))
            case Array(_, element):
                return Arr(lambda _: self.zero(element))
            case Set():
                return self.constant(t, 0)
            case Queue():
                return self.constant(t, ())
            case Union(members) if not is_scalar(t):
                return Sum(self.syntax.num(0), lambda k: self.zero(members[k]))
            case Bool():
                return self.syntax.false
            case _:
                limits = span_of(t)
                assert limits is not None
                self.numbered(t)
                return self.syntax.num(limits[0])

    def pick(self, condition: Truth, a: Value, b: Value, t: Type) -> Value:
        """`a` where the condition holds, else `b`."""
        if condition.known is not None:
            return a if condition.known else b
        match t, a, b:
            case Record(_, fields), Rec(), Rec():
                return Rec(lambda k: self.pick(condition, a.field(k), b.field(k), fields[k][1]))
            case Array(_, element), Arr(), Arr():
                return Arr(lambda i: self.pick(condition, a.at(i), b.at(i), element))
            case Set(), Many(), Many():
                return Many(lambda i: self.syntax.pick_truth(condition, a.has(i), b.has(i)))
            case Queue(_, element), Line(), Line():
                return Line(
                    self.syntax.pick(condition, a.length, b.length),
                    lambda k: self.pick(condition, a.item(k), b.item(k), element),
                )
            case Union(members), Sum(), Sum():
                return Sum(
                    self.syntax.pick(condition, a.tag, b.tag),
                    lambda k: self.pick(condition, a.member(k), b.member(k), members[k]),
                )
            case _:
                return self.syntax.pick_scalar(condition, scalar(a), scalar(b))


def scalar(value: Value) -> Scalar:
    if not isinstance(value, (Num, Truth)):
        raise InternalError("a scalar is wanted")
    return value


def _num(value: Value) -> Num:
    assert isinstance(value, Num)
    return value


def _truth(value: Value) -> Truth:
    assert isinstance(value, Truth)
    return value


def indices_of(path: Path) -> list[Step]:
    """The steps of a path that lead into arrays or sets, outermost first."""
    return [s for s in path if s.kind in ("at", "has")]


def fields_of(path: Path) -> list[str]:
    """What a path says of names: fields, members and the parts of queues."""
    out = []
    for s in path:
        match s.kind, s.type, s.key:
            case "field", Record(_, fields), int(k):
                out.append(fields[k][0])
            case "member", _, int(k):
                out.append(f"m{k}")
            case "length", _, _:
                out.append("length")
            case "tag", _, _:
                out.append("kind")
            case "item", _, _:
                out.append("item")
            case _:
                pass
    return out
