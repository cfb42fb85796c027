"""Constant folding of core expressions: what params, sizes and ranges are computed with."""

from __future__ import annotations

from hmmspec.system import expr as E
from hmmspec.system.types import BOOL, Range, Type, Union, inject


def literal(value: int) -> E.Const:
    """An int constant; its type is the range of just this value, so that a store of it needs no check."""
    return E.Const(value, Range(value, value))


def fold(e: E.Expr) -> E.Expr:
    """The expression with its top node computed if its operands are constants.  A constant that would fault
    (division by zero, a store out of range) is left alone: the fault belongs to the step that runs into it."""
    match e:
        case E.Not(E.Const(v, _)):
            return E.Const(not v, BOOL, span=e.span)
        case E.Negate(E.Const(int(v), _)):
            return E.Const(-v, Range(-v, -v), span=e.span)
        case E.Arith(op, E.Const(int(a), _), E.Const(int(b), _)):
            if op in "/%" and b == 0:
                return e
            v = {"+": a + b, "-": a - b, "*": a * b}.get(op)
            if v is None:
                v = a // b if op == "/" else a % b
            return E.Const(v, Range(v, v), span=e.span)
        case E.Compare("==" | "!=" as op, E.Const(a, t), E.Const(b, u)) if t == u or _ints(t, u):
            return E.Const((a == b) == (op == "=="), BOOL, span=e.span)
        case E.Compare(op, E.Const(int(a), _), E.Const(int(b), _)) if op not in ("==", "!="):
            return E.Const({"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[op], BOOL, span=e.span)
        case E.Logic(op, E.Const(a, _), b):
            match op, bool(a):
                case ("&&", True) | ("||", False) | ("=>", True) | ("<=>", True):
                    return b
                case ("&&", False):
                    return E.Const(False, BOOL, span=e.span)
                case ("||", True) | ("=>", False):
                    return E.Const(True, BOOL, span=e.span)
                case _:
                    return fold(E.Not(b, span=e.span))
        # The left side may fault, so only what leaves it standing is folded.
        case E.Logic("&&", a, E.Const(True, _)) | E.Logic("||", a, E.Const(False, _)):
            return a
        case E.If(E.Const(c, _), a, b):
            return a if c else b
        case E.InRange(E.Const(int(v), _), E.Const(int(a), _), E.Const(int(b), _)):
            return E.Const(a <= v <= b, BOOL, span=e.span)
        case E.MinMax(kind, args) if all(isinstance(a, E.Const) for a in args):
            numbers = [a.value for a in args if isinstance(a, E.Const) and isinstance(a.value, int)]
            v = min(numbers) if kind == "min" else max(numbers)
            return E.Const(v, Range(v, v), span=e.span)
        case E.Cast(E.Const(int(v), _), Range(low, high) as t) if low <= v <= high:
            return E.Const(v, t, span=e.span)
        case E.Cast(E.Const(v, t), Union(members) as u) if t in members:
            return E.Const(inject(u, members.index(t), v), u, span=e.span)
        case _:
            pass
    return e


def _ints(a: Type, b: Type) -> bool:
    return isinstance(a, Range) and isinstance(b, Range)
