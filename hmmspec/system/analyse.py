"""What can be said of an expression or a statement without a state: can it fault, what does it read, how big is it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from hmmspec.system.convert import Piece, partner, pieces, span_of
from hmmspec.system.expr import (
    Apply,
    Arith,
    Binder,
    Cast,
    Const,
    Expr,
    Field,
    Head,
    If,
    Index,
    Local,
    MinMax,
    Negate,
    OverRange,
    OverSet,
    OverType,
    Popped,
    Pushed,
    Quant,
    Size,
    Var,
    children,
    walk,
)
from hmmspec.system.faults import is_integer, members_of
from hmmspec.system.system import (
    Assign,
    Block,
    Check,
    Choose,
    Define,
    Either,
    For,
    Guard,
    IfElse,
    Let,
    Stmt,
    System,
)
from hmmspec.system.types import INT, Queue, Set, Type, cardinality

Bounds = tuple[int, int] | None
T = TypeVar("T")

# NOTE(unrolling): quantifiers and parameters with few values become plain code, one copy for each value.
UNROLL_VALUES = 16
UNROLL_WEIGHT = 400


def binder_exprs(binders: tuple[Binder, ...]) -> Iterator[Expr]:
    """The expressions in the domains of binders."""
    for b in binders:
        match b.domain:
            case OverRange(low, high):
                yield low
                yield high
            case OverSet(s):
                yield s
            case OverType():
                pass


class Analysis:
    """Answers for one System, remembered by the identity of the node (the System keeps the nodes alive)."""

    def __init__(self, system: System) -> None:
        self.defines: dict[str, Define] = {d.name: d for d in system.defines}
        self._memo: dict[tuple[str, int], object] = {}
        self._keep: list[object] = []

    def _once(self, what: str, node: object, work: Callable[[], T]) -> T:
        key = what, id(node)
        if key not in self._memo:
            self._memo[key] = work()
            self._keep.append(node)
        return self._memo[key]  # type: ignore[return-value]

    # ------------------------------------------------------------ faults

    def can_fault(self, e: Expr) -> bool:
        """Whether evaluating `e` can be a spec error in some state (False is certain, True may be too careful)."""
        return self._once("fault", e, lambda: self._can_fault(e))

    def _can_fault(self, e: Expr) -> bool:
        match e:
            case Head() | Popped() | Pushed():
                return True
            case Quant(kind="min" | "max"):
                return True
            case Cast() if self.cast_can_fault(e):
                return True
            case Arith(op="/" | "%", right=right):
                b = self.bounds(right)
                if b is None or b[0] <= 0 <= b[1]:
                    return True
            case Apply(define, _) if self.can_fault(self.defines[define].body):
                return True
            case _:
                pass
        return any(self.can_fault(c) for c in children(e))

    def cast_can_fault(self, e: Cast) -> bool:
        """Whether the conversion itself can fail."""
        source, target = e.operand.type, e.type
        if source == target or (is_integer(source) and target == INT):
            return False
        parts = pieces(source, target)
        if parts is None:
            return any(not _accepted(m, target) for m in members_of(source))
        limits = self.bounds(e.operand)
        return limits is None or uncovered(parts, limits)

    def block_can_fault(self, block: Block) -> bool:
        """Whether some statement of the block can end the run."""
        return any(self.statement_can_fault(s) for s in block)

    def statement_can_fault(self, s: Stmt) -> bool:
        if isinstance(s, Check):
            return True
        return any(self.can_fault(e) for e in expressions(s)) or any(self.block_can_fault(b) for b in blocks(s))

    # ------------------------------------------------------------ bounds

    def bounds(self, e: Expr) -> Bounds:
        """Certain bounds of an expression whose value is an int; None where nothing is known."""
        return self._once("bounds", e, lambda: self._bounds(e))

    def _bounds(self, e: Expr) -> Bounds:
        declared = span_of(e.type)
        if declared is not None and not isinstance(e, (Cast, Const)):
            return declared
        match e:
            case Const(value, _):
                return (int(value), int(value)) if isinstance(value, int) else None
            case Negate(operand):
                b = self.bounds(operand)
                return None if b is None else (-b[1], -b[0])
            case Arith(op, left, right):
                return _arith(op, self.bounds(left), self.bounds(right))
            case If(_, then, otherwise):
                return _hull(self.bounds(then), self.bounds(otherwise))
            case MinMax(kind, args):
                known = [self.bounds(a) for a in args]
                if any(b is None for b in known):
                    return None
                pick = min if kind == "min" else max
                return pick(b[0] for b in known if b), pick(b[1] for b in known if b)
            case Cast(operand, _) if is_integer(operand.type):
                # A number stays the number it was, whatever range it is now held to be in.
                inner = self.bounds(operand) if is_integer(e.type) else declared
                if inner is None or declared is None:
                    return inner or declared
                low, high = max(inner[0], declared[0]), min(inner[1], declared[1])
                return (low, high) if low <= high else declared
            case Apply(define, _):
                return self.bounds(self.defines[define].body)
            case Quant(kind="count", binders=binders):
                n = self.combinations(binders)
                return None if n is None else (0, n)
            case Quant(kind="sum", binders=binders, body=body) if body is not None:
                n, b = self.combinations(binders), self.bounds(body)
                return None if n is None or b is None else (min(0, n * b[0]), max(0, n * b[1]))
            case Quant(kind="min" | "max", body=body) if body is not None:
                return self.bounds(body)
            case Size(operand):
                if isinstance(operand.type, Set):
                    return 0, cardinality(operand.type.element)
                return (0, operand.type.capacity) if isinstance(operand.type, Queue) else None
            case _:
                return declared

    def combinations(self, binders: tuple[Binder, ...]) -> int | None:
        """How many values the binders take at most; None where that is not known."""
        n = 1
        for b in binders:
            match b.domain:
                case OverType(t):
                    n *= cardinality(t)
                case OverSet(s) if isinstance(s.type, Set):
                    n *= cardinality(s.type.element)
                case OverRange(low, high):
                    first, last = self.bounds(low), self.bounds(high)
                    if first is None or last is None:
                        return None
                    n *= max(0, last[1] - first[0] + 1)
                case _:
                    return None
        return n

    # ------------------------------------------------------------ reads

    def reads(self, e: Expr) -> frozenset[str]:
        """The state variables that the expression may read, through defines too."""
        return self._once("reads", e, lambda: self._reads(e))

    def _reads(self, e: Expr) -> frozenset[str]:
        out: set[str] = set()
        for x in walk(e):
            match x:
                case Var(name, _):
                    out.add(name)
                case Apply(define, _):
                    out |= self.reads(self.defines[define].body)
                case _:
                    pass
        return frozenset(out)

    # ------------------------------------------------------------ size

    def weight(self, e: Expr) -> int:
        """How many nodes the expression has when defines are put in place and small quantifiers are unrolled."""
        return self._once("weight", e, lambda: self._weight(e))

    def _weight(self, e: Expr) -> int:
        inside = sum(self.weight(c) for c in children(e))
        match e:
            case Apply(define, _):
                inside += self.weight(self.defines[define].body)
            case Quant() if self.unrolls(e):
                inside *= self.combinations(e.binders) or 1
            case _:
                pass
        return min(1 + inside, 1_000_000)

    def unrolls(self, e: Quant) -> bool:
        """Whether the quantifier is written out, one copy for each value (see NOTE(unrolling))."""
        return self._once("unrolls", e, lambda: self._unrolls(e))

    def _unrolls(self, e: Quant) -> bool:
        if e.kind in ("min", "max") or self.can_fault(e) or not e.binders:
            return False
        n = 1
        for b in e.binders:
            match b.domain:
                case OverType(t):
                    n *= cardinality(t)
                case OverRange(Const(low), Const(high)):
                    assert isinstance(low, int) and isinstance(high, int)
                    n *= max(0, high - low + 1)
                case _:
                    return False
        inside = sum(self.weight(x) for x in (e.filter, e.body) if x is not None)
        return n <= UNROLL_VALUES and n * (inside + 1) <= UNROLL_WEIGHT

    def block_weight(self, block: Block) -> int:
        return sum(
            1 + sum(self.weight(e) for e in expressions(s)) + sum(self.block_weight(b) for b in blocks(s))
            for s in block
        )


def uncovered(parts: tuple[Piece, ...], limits: tuple[int, int]) -> bool:
    """Whether some int within the limits is in no piece."""
    at = limits[0]
    for p in parts:
        if p.low > at:
            break
        at = max(at, p.high + 1)
    return at <= limits[1]


def _accepted(member: Type, target: Type) -> bool:
    """Whether the target takes every value of the member."""
    to = partner(member, target)
    if to is None:
        return False
    wanted = members_of(target)[to]
    if not is_integer(member) or wanted == INT:
        return True
    inner, outer = span_of(member), span_of(wanted)
    return inner is not None and outer is not None and outer[0] <= inner[0] and inner[1] <= outer[1]


def _hull(a: Bounds, b: Bounds) -> Bounds:
    return None if a is None or b is None else (min(a[0], b[0]), max(a[1], b[1]))


def _arith(op: str, a: Bounds, b: Bounds) -> Bounds:
    if a is None or b is None:
        return None
    match op:
        case "+":
            return a[0] + b[0], a[1] + b[1]
        case "-":
            return a[0] - b[1], a[1] - b[0]
        case "*":
            corners = [x * y for x in a for y in b]
            return min(corners), max(corners)
        case "%" if b[0] > 0:
            return 0, b[1] - 1
        case "/" if b[0] > 0:
            corners = [x // y for x in a for y in b]
            return min(corners), max(corners)
        case _:
            return None


# ---------------------------------------------------------------- statements


def expressions(s: Stmt) -> list[Expr]:
    """The expressions that stand directly in a statement, in order of evaluation."""
    match s:
        case Assign(target, value):
            return [target, value]
        case Let(_, value):
            return [value]
        case IfElse(condition) | Guard(condition) | Check(condition=condition):
            return [condition]
        case For(binders, filter) | Choose(binders, filter):
            return [*binder_exprs(binders), *([filter] if filter is not None else [])]
        case Either():
            return []


def blocks(s: Stmt) -> tuple[Block, ...]:
    """The blocks inside a statement."""
    match s:
        case IfElse(_, then, otherwise):
            return then, otherwise
        case For(_, _, body):
            return (body,)
        case Either(branches):
            return branches
        case _:
            return ()


def statements(block: Block) -> Iterator[Stmt]:
    """The statements of a block and of the blocks inside them, in the order of the text."""
    for s in block:
        yield s
        for inner in blocks(s):
            yield from statements(inner)


def branches(block: Block) -> bool:
    """Whether the block can have several outcomes."""
    return any(isinstance(s, (Choose, Either)) for s in statements(block))


def assigns(block: Block) -> bool:
    """Whether the block changes the state."""
    return any(isinstance(s, Assign) for s in statements(block))


def guards(block: Block) -> bool:
    """Whether the block has a guard anywhere."""
    return any(isinstance(s, Guard) for s in statements(block))


def nesting(block: Block) -> int:
    """How deep blocks stand in one another."""
    return 1 + max((nesting(b) for s in block for b in blocks(s)), default=0)


def target_variable(target: Expr) -> str:
    """The variable that an assignment changes."""
    while isinstance(target, (Index, Field)):
        target = target.base
    assert isinstance(target, Var)
    return target.name


def locals_of(e: Expr) -> frozenset[str]:
    """The names of every Local in the expression (bound inside or not: names are unique)."""
    return frozenset(x.name for x in walk(e) if isinstance(x, Local))
