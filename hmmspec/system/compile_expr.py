"""Expressions as Python text.

NOTE(generated-bools): a bool expression may evaluate to 0 or 1 instead of False or True (it may be a slot), so `not`,
`and`, `or` and sums work, and `is` must not be used; `slots.tidy` makes real bools of results that leave.

Python evaluates the text in the order that NOTE(evaluation) asks for; where an operator of Python would not, and the
difference could be seen in which fault comes first, a helper function takes its place.
"""

from __future__ import annotations

from hmmspec.diagnostics import InternalError
from hmmspec.system.code import (
    BIT_AND,
    BIT_OR,
    COMPARE,
    MAX_DEPTH,
    PRODUCT,
    SUM,
    TERNARY,
    UNARY,
    Code,
    Scope,
    Unit,
    both,
    call,
    constant,
    deeper,
    either,
    infix,
    negation,
    python_name,
)
from hmmspec.system.compile_cast import compile_cast
from hmmspec.system.compile_quant import compile_quant
from hmmspec.system.compile_set import comparison, in_set, is_member, make_set, thread_id
from hmmspec.system.expr import (
    Apply,
    Arith,
    Cast,
    Compare,
    Const,
    Expr,
    Field,
    Head,
    If,
    Index,
    InRange,
    InSet,
    IsMember,
    Local,
    Logic,
    MakeRecord,
    MakeSet,
    MakeThreadId,
    MinMax,
    Negate,
    Not,
    Popped,
    Pushed,
    Quant,
    SetOp,
    Size,
    Var,
    walk,
)
from hmmspec.system.faults import Site
from hmmspec.system.places import index_ordinal, place_of, read
from hmmspec.system.show import text_of
from hmmspec.system.slots import field_offset
from hmmspec.system.types import (
    Array,
    Queue,
    Record,
)

# A define whose expanded body is no larger than this is written out where it is applied.
INLINE_WEIGHT = 80


def compile_expr(unit: Unit, e: Expr, scope: Scope) -> Code:
    """The expression as Python text that reads the states and variables of the scope."""
    code = _compile(unit, e, scope)
    return unit.lift(code, scope) if code.depth > MAX_DEPTH else code


def _compile(unit: Unit, e: Expr, scope: Scope) -> Code:
    def sub(x: Expr) -> Code:
        return compile_expr(unit, x, scope)

    match e:
        case Const(value, _):
            return unit.value(value)
        case Local(name, _):
            if name not in scope.names:
                raise InternalError(f"{name} is not bound here")
            return scope.names[name]
        case Var():
            place = _place(unit, e, scope)
            assert place is not None
            return place
        case Index(base, index):
            return _place(unit, e, scope) or _index(base, sub(base), sub(index))
        case Field(base, name):
            return _place(unit, e, scope) or _field(base, sub(base), name)
        case Not(operand):
            return negation(sub(operand))
        case Negate(operand):
            c = sub(operand)
            return constant(-c.value) if isinstance(c.value, int) else Code(f"-{c.at(UNARY)}", UNARY, depth=deeper(c))
        case Arith():
            return _arith(unit, e, sub(e.left), sub(e.right))
        case Compare(op, left, right):
            return comparison(op, sub(left), sub(right))
        case Logic():
            return _logic(unit, e, scope)
        case SetOp(op, left, right):
            a, b = sub(left), sub(right)
            if isinstance(a.value, int) and isinstance(b.value, int):
                return constant(a.value | b.value if op == "+" else a.value & ~b.value)
            if op == "+":
                return infix("|", a, b, BIT_OR)
            return infix("&", a, Code(f"~{b.at(UNARY)}", UNARY, depth=b.depth), BIT_AND)
        case InSet():
            return in_set(unit, e, scope, compile_expr)
        case InRange(value, low, high):
            v, a, b = sub(value), sub(low), sub(high)
            if unit.analysis.can_fault(e):
                return call("within", v, a, b)
            text = f"{a.at(COMPARE + 1)} <= {v.at(COMPARE + 1)} <= {b.at(COMPARE + 1)}"
            return Code(text, COMPARE, depth=deeper(v, a, b))
        case IsMember():
            return is_member(e, sub(e.value))
        case If(condition, then, otherwise):
            c = sub(condition)
            if c.fixed:
                return sub(then if c.value else otherwise)
            a, b = sub(then), sub(otherwise)
            text = f"{a.at(TERNARY + 1)} if {c.at(TERNARY + 1)} else {b.at(TERNARY)}"
            return Code(text, TERNARY, depth=deeper(c, a, b))
        case Quant():
            return compile_quant(unit, e, scope, compile_expr)
        case MinMax(kind, args):
            codes = [sub(a) for a in args]
            if all(c.fixed for c in codes):
                pick = min if kind == "min" else max
                return constant(pick(c.value for c in codes))  # type: ignore[type-var]
            return codes[0] if len(codes) == 1 else call(kind, *codes)
        case Apply():
            return _apply(unit, e, [sub(a) for a in e.args], scope)
        case MakeRecord(values, _):
            codes = [sub(v) for v in values]
            if all(c.fixed for c in codes):
                return unit.value(tuple(c.value for c in codes))
            return Code(f"({', '.join(c.text for c in codes)},)", depth=deeper(*codes))
        case MakeSet(elements, _):
            return make_set(e, [sub(x) for x in elements])
        case MakeThreadId(args, _):
            return thread_id(e, [sub(a) for a in args])
        case Size(operand):
            c = sub(operand)
            if isinstance(operand.type, Queue):
                return constant(len(c.value)) if isinstance(c.value, tuple) else call("len", c)
            if isinstance(c.value, int):
                return constant(c.value.bit_count())
            return Code(f"{c.at(UNARY + 1)}.bit_count()", depth=deeper(c))
        case Head(queue, _):
            return call("head", sub(queue), _site(unit, e))
        case Popped(queue, _):
            return call("popped", sub(queue), _site(unit, e))
        case Pushed(queue, value, t):
            assert isinstance(t, Queue)
            return call("pushed", sub(queue), sub(value), constant(t.capacity), _site(unit, e))
        case Cast(operand, _):
            return compile_cast(unit, e, sub(operand))


def _site(unit: Unit, e: Expr) -> Code:
    return unit.site(Site(e.span, text_of(e)))


def _place(unit: Unit, e: Expr, scope: Scope) -> Code | None:
    """The read of a variable or part of one; None for anything else."""
    p = place_of(unit, e, scope, compile_expr)
    return read(unit, p) if p is not None else None


def _index(base: Expr, value: Code, index: Code) -> Code:
    assert isinstance(base.type, Array)
    number = index_ordinal(base.type.index, index)
    if isinstance(value.value, tuple) and isinstance(number.value, int):
        return _element(value.value[number.value])
    return Code(f"{value.at(UNARY + 1)}[{number.text}]", depth=deeper(value, number))


def _field(base: Expr, value: Code, name: str) -> Code:
    assert isinstance(base.type, Record)
    number = field_offset(base.type, name)[1]
    if isinstance(value.value, tuple):
        return _element(value.value[number])
    return Code(f"{value.at(UNARY + 1)}[{number}]", simple=value.simple, depth=deeper(value))


def _element(value: object) -> Code:
    """A part of a constant."""
    return constant(value) if isinstance(value, int) else Code(repr(value), simple=True, fixed=True, value=value)


def _arith(unit: Unit, e: Arith, a: Code, b: Code) -> Code:
    if e.op in "/%":
        limits = unit.analysis.bounds(e.right)
        if limits is None or limits[0] <= 0 <= limits[1]:
            return call("div" if e.op == "/" else "mod", a, b, _site(unit, e))
    if isinstance(a.value, int) and isinstance(b.value, int):
        match e.op:
            case "+":
                return constant(a.value + b.value)
            case "-":
                return constant(a.value - b.value)
            case "*":
                return constant(a.value * b.value)
            case "/":
                return constant(a.value // b.value)
            case "%":
                return constant(a.value % b.value)
    op = "//" if e.op == "/" else e.op
    return infix(op, a, b, SUM if e.op in "+-" else PRODUCT)


def _chain(e: Expr, op: str) -> list[Expr]:
    """The operands of a chain of one operator, without recursion: specs can have hundreds of conjuncts."""
    out: list[Expr] = []
    todo = [e]
    while todo:
        x = todo.pop()
        if isinstance(x, Logic) and x.op == op:
            todo += [x.right, x.left]
        else:
            out.append(x)
    return out


def conjuncts(e: Expr) -> list[Expr]:
    """The operands of `&&`, left to right."""
    return _chain(e, "&&")


def _logic(unit: Unit, e: Logic, scope: Scope) -> Code:
    droppable = not unit.analysis.can_fault(e)
    if e.op in ("&&", "||"):
        parts: list[Code] = []
        for x in _chain(e, e.op):
            parts.append(compile_expr(unit, x, scope))
            if parts[-1].is_(e.op == "||"):
                break
        return (both if e.op == "&&" else either)(parts, droppable)
    a = compile_expr(unit, e.left, scope)
    if e.op == "=>":
        if a.is_(False):
            return constant(True)
        return either((negation(a), compile_expr(unit, e.right, scope)), droppable)
    b = compile_expr(unit, e.right, scope)
    if a.is_(True) or b.is_(True):
        return b if a.is_(True) else a
    return comparison("==", a, b)


def _apply(unit: Unit, e: Apply, args: list[Code], scope: Scope) -> Code:
    define = unit.analysis.defines[e.define]
    state = scope.after if e.primed else scope.state
    if state is None:
        raise InternalError(f"{e.define} is read after the step where there is no step")
    if unit.analysis.weight(define.body) <= INLINE_WEIGHT and all(
        a.simple or (_used_once(p.name, define.body) and not unit.analysis.can_fault(x))
        for p, a, x in zip(define.params, args, e.args, strict=True)
    ):
        names = {p.name: a for p, a in zip(define.params, args, strict=True)}
        return compile_expr(unit, define.body, Scope(state, None, names, scope.variables))
    name = "define_" + python_name(define.name)
    if name not in unit.defined:
        unit.defined.add(name)
        inner, params = Scope(), []
        for p in define.params:
            inner, param = inner.declare(p.name)
            params.append(param)
        body = compile_expr(unit, define.body, inner)
        unit.function(f"{name}({', '.join(['s', *params])})", [f"return {body.text}"], f"define {define.name}")
    return call(name, Code(state), *args)


def _used_once(name: str, body: Expr) -> bool:
    """Whether the parameter is read in at most one place, and that not inside a quantifier."""
    uses = sum(isinstance(x, Local) and x.name == name for x in walk(body))
    return uses == 0 or (uses == 1 and not any(isinstance(x, Quant) for x in walk(body)))
