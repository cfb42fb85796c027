"""Values as texts of another checker's language, and how that language writes operators.

A scalar value is a `Num` with certain bounds (every scalar type but Bool, written as in NOTE(values)) or a `Truth`.
Composite values are functions from a place inside to what is there: nothing is written that nobody asks for.
Constants are folded, so that what is written stays short.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from hmmspec.export.names import refuse

LONGEST = 100_000  # of one expression, in characters


@dataclass(frozen=True)
class Num:
    text: str
    low: int
    high: int

    @property
    def known(self) -> int | None:
        return self.low if self.low == self.high else None


@dataclass(frozen=True)
class Truth:
    text: str
    known: bool | None = None


@dataclass(frozen=True)
class Rec:
    field: Callable[[int], Value]


@dataclass(frozen=True)
class Arr:
    at: Callable[[Scalar], Value]


@dataclass(frozen=True)
class Many:
    """A set."""

    has: Callable[[Scalar], Truth]


@dataclass(frozen=True)
class Line:
    """A queue; places behind its end hold the first value of the type."""

    length: Num
    item: Callable[[int], Value]


@dataclass(frozen=True)
class Sum:
    """A value of a union that is not scalar; members that it is not hold their first value."""

    tag: Num
    member: Callable[[int], Value]


Scalar = Num | Truth
Value = Num | Truth | Rec | Arr | Many | Line | Sum


@dataclass(frozen=True)
class Bound:
    """A name bound by a quantifier or a rule of the other language; its type there, and how many values that has."""

    name: str
    type: str
    size: int


Bounds = tuple[Bound, ...]
FoldKind = Literal["count", "sum", "min", "max"]


@dataclass(frozen=True)
class Item:
    """One summand: for every value of the bounds with which `when` holds, `value`."""

    bounds: Bounds
    when: Truth
    value: Num


@dataclass
class Syntax(ABC):
    """How the language writes operators.  Division is the language's, which rounds to zero."""

    conjunction: str
    disjunction: str
    equal: str
    unequal: str
    choice: str  # with three places
    limit: tuple[int, int]
    true: Truth = field(default=Truth("true", True))
    false: Truth = field(default=Truth("false", False))

    # ------------------------------------------------------------ what the languages do differently

    @abstractmethod
    def quantify(self, kind: Literal["forall", "exists"], bounds: Bounds, body: Truth) -> Truth:
        """The body for every or for some value of the bounds."""

    @abstractmethod
    def fold(self, kind: FoldKind, items: Sequence[Item]) -> Num:
        """How many items, their sum, the smallest, the largest (of at least one)."""

    # ------------------------------------------------------------ truth

    def truth(self, value: bool) -> Truth:
        return self.true if value else self.false

    def _truth(self, text: str) -> Truth:
        if len(text) > LONGEST:
            raise refuse(f"an expression of more than {LONGEST} characters", fix="a smaller instance may do")
        return Truth(text)

    def both(self, *parts: Truth) -> Truth:
        """All of them, looked at from left to right until one is false."""
        kept: list[str] = []
        for p in parts:
            if p.known is False:
                return self.false
            if p.known is None and p.text not in kept:
                kept.append(p.text)
        return self._joined(kept, self.conjunction, self.true)

    def either(self, *parts: Truth) -> Truth:
        kept: list[str] = []
        for p in parts:
            if p.known is True:
                return self.true
            if p.known is None and p.text not in kept:
                kept.append(p.text)
        return self._joined(kept, self.disjunction, self.false)

    def _joined(self, kept: list[str], sign: str, empty: Truth) -> Truth:
        if not kept:
            return empty
        return self._truth(kept[0]) if len(kept) == 1 else self._truth(f"({sign.join(kept)})")

    def no(self, a: Truth) -> Truth:
        if a.known is not None:
            return self.truth(not a.known)
        return (
            Truth(a.text[1:]) if a.text.startswith("!(") and _closed(a.text[1:]) else self._truth(f"!{_atom(a.text)}")
        )

    def implies(self, a: Truth, b: Truth) -> Truth:
        return self.true if b.known else self.either(self.no(a), b)

    # ------------------------------------------------------------ numbers

    def num(self, value: int) -> Num:
        return self.number(str(value) if value >= 0 else f"({value})", value, value)

    def number(self, text: str, low: int, high: int) -> Num:
        """Raises SpecError where the language has no such numbers."""
        if low < self.limit[0] or high > self.limit[1]:
            raise refuse(f"a number outside {self.limit[0]}..{self.limit[1]}")
        if len(text) > LONGEST:
            raise refuse(f"an expression of more than {LONGEST} characters", fix="a smaller instance may do")
        return Num(text, low, high)

    def add(self, a: Num, b: Num) -> Num:
        if a.known is not None and b.known is not None:
            return self.num(a.known + b.known)
        if b.known == 0:
            return a
        if a.known == 0:
            return b
        sign, other = ("-", str(-b.known)) if b.known is not None and b.known < 0 else ("+", b.text)
        return self.number(f"({a.text} {sign} {other})", a.low + b.low, a.high + b.high)

    def sub(self, a: Num, b: Num) -> Num:
        if b.known is not None:
            return self.add(a, self.num(-b.known))
        return self.number(f"({a.text} - {b.text})", a.low - b.high, a.high - b.low)

    def mul(self, a: Num, b: Num) -> Num:
        corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
        if min(corners) == max(corners):
            return self.num(corners[0])
        return self.number(f"({a.text} * {b.text})", min(corners), max(corners))

    def div(self, a: Num, b: Num) -> Num:
        """Rounded down; the divisor is not 0 (its bounds may include it)."""
        if a.known is not None and b.known:
            return self.num(a.known // b.known)
        size = max(abs(a.low), abs(a.high))
        plain = self.number(f"({a.text} / {b.text})", 0 if a.low >= 0 and b.low >= 0 else -size, size)
        if a.low >= 0 and b.low >= 0:
            return plain
        # Rounding to zero is one too much where the signs differ and something remains.
        remains = self._truth(f"({plain.text} * {b.text} {self.unequal} {a.text})")
        differ = self.either(
            self.both(self.less(a, self.num(0)), self.less(self.num(0), b)),
            self.both(self.less(self.num(0), a), self.less(b, self.num(0))),
        )
        return self.pick(self.both(differ, remains), self.number(f"({plain.text} - 1)", -size - 1, size), plain)

    def mod(self, a: Num, b: Num) -> Num:
        """What the division that rounds down leaves."""
        if a.known is not None and b.known:
            return self.num(a.known % b.known)
        reach = max(abs(b.low), abs(b.high), 1) - 1
        if a.low >= 0 and b.low >= 0:
            return self.number(f"({a.text} % {b.text})", 0, min(reach, a.high))
        whole = self.div(a, b)
        return self.number(
            f"({a.text} - {whole.text} * {b.text})", -reach if b.low < 0 else 0, reach if b.high > 0 else 0
        )

    def less(self, a: Num, b: Num) -> Truth:
        if a.high < b.low:
            return self.true
        return self.false if a.low >= b.high else self._truth(f"({a.text} < {b.text})")

    def at_most(self, a: Num, b: Num) -> Truth:
        if a.high <= b.low:
            return self.true
        return self.false if a.low > b.high else self._truth(f"({a.text} <= {b.text})")

    def within(self, a: Num, low: int, high: int) -> Truth:
        if low == high:
            return self.same(a, self.num(low))
        return self.both(self.at_most(self.num(low), a), self.at_most(a, self.num(high)))

    def written_out(self, kind: FoldKind, items: Sequence[Item]) -> Num:
        """A fold without bounds: a sum of conditional values; of the smallest, the first no larger than any."""
        items = [i for i in items if i.when.known is not False]
        if kind in ("count", "sum"):
            total = self.num(0)
            for i in items:
                total = self.add(total, self.pick(i.when, i.value, self.num(0)))
            return total
        if not items:
            return self.num(0)
        out = items[-1].value
        for n in range(len(items) - 2, -1, -1):
            others = [
                self.implies(o.when, self._beats(kind, items[n].value, o.value)) for o in items if o is not items[n]
            ]
            out = self.pick(self.both(items[n].when, *others), items[n].value, out)
        return out

    def _beats(self, kind: FoldKind, a: Num, b: Num) -> Truth:
        return self.at_most(a, b) if kind == "min" else self.at_most(b, a)

    # ------------------------------------------------------------ scalars

    def same(self, a: Scalar, b: Scalar) -> Truth:
        """Whether they are equal."""
        if isinstance(a, Truth) and isinstance(b, Truth):
            if a.known is not None:
                return b if a.known else self.no(b)
            if b.known is not None:
                return a if b.known else self.no(a)
            return self.true if a.text == b.text else self._truth(f"({a.text} {self.equal} {b.text})")
        assert isinstance(a, Num) and isinstance(b, Num)
        if a.text == b.text or (a.known is not None and a.known == b.known):
            return self.true
        if a.high < b.low or b.high < a.low:
            return self.false
        return self._truth(f"({a.text} {self.equal} {b.text})")

    def pick(self, condition: Truth, then: Num, otherwise: Num) -> Num:
        if condition.known is not None:
            return then if condition.known else otherwise
        low, high = min(then.low, otherwise.low), max(then.high, otherwise.high)
        if then.text == otherwise.text:
            return self.number(then.text, low, high)
        return self.number(self.choice.format(condition.text, then.text, otherwise.text), low, high)

    def pick_truth(self, condition: Truth, then: Truth, otherwise: Truth) -> Truth:
        if condition.known is not None:
            return then if condition.known else otherwise
        if then.known is not None:
            return self.either(condition, otherwise) if then.known else self.both(self.no(condition), otherwise)
        if otherwise.known is not None:
            return self.either(self.no(condition), then) if otherwise.known else self.both(condition, then)
        if then.text == otherwise.text:
            return then
        return self._truth(self.choice.format(condition.text, then.text, otherwise.text))

    def pick_scalar(self, condition: Truth, then: Scalar, otherwise: Scalar) -> Scalar:
        if isinstance(then, Truth):
            assert isinstance(otherwise, Truth)
            return self.pick_truth(condition, then, otherwise)
        assert isinstance(otherwise, Num)
        return self.pick(condition, then, otherwise)

    def as_number(self, a: Scalar) -> Num:
        """false is 0, true is 1."""
        return a if isinstance(a, Num) else self.pick(a, self.num(1), self.num(0))


def _closed(text: str) -> bool:
    """Whether the first parenthesis is closed by the last character."""
    depth = 0
    for n, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0:
            return n == len(text) - 1 and text[0] == "("
    return False


def _atom(text: str) -> str:
    return text if _closed(text) or all(c.isalnum() or c in "_.[]" for c in text) else f"({text})"
