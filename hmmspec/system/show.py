"""A System as people read it: plain guarded steps in the notation of hmm, each with the line it comes from.

Printed text is for reading (`hmmspec show`, messages); names that lowering made are printed as they are.
"""

from __future__ import annotations

from hmmspec.diagnostics import NOWHERE, Span
from hmmspec.system.expr import (
    Apply,
    Arith,
    Binder,
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
    OverRange,
    OverSet,
    OverType,
    Popped,
    Pushed,
    Quant,
    SetOp,
    Size,
    Var,
)
from hmmspec.system.system import (
    AssertProperty,
    Assign,
    Block,
    Check,
    Choose,
    Either,
    For,
    Guard,
    IfElse,
    InitAny,
    InitExpr,
    Invariant,
    LeadsTo,
    Let,
    Predicate,
    Property,
    Reachable,
    Recoverable,
    Rule,
    StepProperty,
    Stmt,
    System,
    Variable,
)
from hmmspec.system.types import Array, Record, ThreadId, Union, show_type, show_value

# How tightly operators bind, loosest first.
IFF, IMPLIES, OR, AND, COMPARE, SUM, PRODUCT, UNARY, ATOM = range(9)
_ARITH = {"+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT, "%": PRODUCT}
_LOGIC = {"<=>": IFF, "=>": IMPLIES, "||": OR, "&&": AND}


def text_of(e: Expr) -> str:
    """The expression as its author wrote it, on one line; printed anew where it was not written."""
    if e.span is NOWHERE or e.span.end <= e.span.start:
        return show_expr(e)
    return " ".join(e.span.text.split())


def show_expr(e: Expr) -> str:
    """The expression in the notation of hmm; conversions between types are not shown."""
    return _show(e, IFF)


def _show(e: Expr, level: int) -> str:
    binds, text = _text(e)
    return text if binds >= level else f"({text})"


def _list(items: tuple[Expr, ...]) -> str:
    return ", ".join(_show(i, IFF) for i in items)


def _text(e: Expr) -> tuple[int, str]:
    match e:
        case Const(value, t):
            return ATOM, show_value(t, value)
        case Var(name, _, primed):
            return ATOM, name + "'" * primed
        case Local(name, _):
            return ATOM, name
        case Index(base, index):
            return ATOM, f"{_show(base, ATOM)}[{_show(index, IFF)}]"
        case Field(base, name):
            return ATOM, f"{_show(base, ATOM)}.{name}"
        case Not(operand):
            return UNARY, "!" + _show(operand, UNARY)
        case Negate(operand):
            return UNARY, "-" + _show(operand, UNARY)
        case Arith(op, left, right):
            level = _ARITH[op]
            return level, f"{_show(left, level)} {op} {_show(right, level + 1)}"
        case SetOp(op, left, right):
            return SUM, f"{_show(left, SUM)} {op} {_show(right, PRODUCT)}"
        case Compare(op, left, right):
            return COMPARE, f"{_show(left, SUM)} {op} {_show(right, SUM)}"
        case Logic(op, left, right):
            level = _LOGIC[op]
            # `=>` associates to the right, the others to the left.
            a, b = (level + 1, level) if op == "=>" else (level, level + 1)
            return level, f"{_show(left, a)} {op} {_show(right, b)}"
        case InSet(element, s):
            return COMPARE, f"{_show(element, SUM)} in {_show(s, SUM)}"
        case InRange(value, low, high):
            return COMPARE, f"{_show(value, SUM)} in {_show(low, SUM)}..{_show(high, SUM)}"
        case IsMember(value, members):
            assert isinstance(value.type, Union)
            names = [show_type(value.type.members[m]) for m in members]
            return COMPARE, f"{_show(value, SUM)} in {' | '.join(names)}"
        case If(condition, then, otherwise):
            return IFF, f"if {_show(condition, IFF)} then {_show(then, IFF)} else {_show(otherwise, IFF)}"
        case Quant():
            return ATOM, _quantifier(e)
        case MinMax(kind, args):
            return ATOM, f"{kind}({_list(args)})"
        case Apply(define, args, _, primed):
            return ATOM, define + "'" * primed + (f"({_list(args)})" if args else "")
        case MakeRecord(parts, t):
            assert isinstance(t, Record)
            inside = ", ".join(f"{n} = {_show(v, IFF)}" for (n, _), v in zip(t.fields, parts, strict=True))
            return ATOM, f"{t.name}({inside})"
        case MakeSet(elements, _):
            return ATOM, "{" + _list(elements) + "}"
        case MakeThreadId(args, t):
            assert isinstance(t, ThreadId)
            return ATOM, t.thread + "".join(f"[{_show(a, IFF)}]" for a in args)
        case Size(operand):
            return ATOM, f"size({_show(operand, IFF)})"
        case Head(queue, _):
            return ATOM, f"head({_show(queue, IFF)})"
        case Pushed(queue, value, _):
            return ATOM, f"pushed({_show(queue, IFF)}, {_show(value, IFF)})"
        case Popped(queue, _):
            return ATOM, f"popped({_show(queue, IFF)})"
        case Cast(operand, _):
            return _text(operand)


def show_binders(binders: tuple[Binder, ...], filter_: Expr | None) -> str:
    parts = []
    for b in binders:
        match b.domain:
            case OverType(t):
                parts.append(f"{b.name}: {show_type(t)}")
            case OverRange(low, high):
                parts.append(f"{b.name}: {_show(low, SUM)}..{_show(high, SUM)}")
            case OverSet(s):
                parts.append(f"{b.name} in {_show(s, IFF)}")
    return ", ".join(parts) + (f" | {_show(filter_, IFF)}" if filter_ is not None else "")


def _quantifier(e: Quant) -> str:
    over = show_binders(e.binders, e.filter)
    body = "" if e.body is None else _show(e.body, IFF)
    match e.kind:
        case "forall" | "exists":
            return f"{e.kind} {over} {{ {body} }}"
        case "count":
            return f"count({over})"
        case "set":
            plain = isinstance(e.body, Local) and e.body.name == e.binders[0].name
            return f"{{{over}}}" if plain else f"{{{body} for {over}}}"
        case _:
            return f"{e.kind}({body} for {over})"


# ---------------------------------------------------------------- statements and rules


def show_block(block: Block, margin: str = "  ") -> str:
    """The statements, one on a line."""
    return "\n".join(line for s in block for line in _statement(s, margin))


def _body(block: Block, margin: str) -> list[str]:
    return [line for s in block for line in _statement(s, margin + "  ")]


def _statement(s: Stmt, margin: str) -> list[str]:
    match s:
        case Assign(target, Pushed(queue, value)) if queue == target:
            return [f"{margin}push({show_expr(target)}, {show_expr(value)});"]
        case Assign(target, Popped(queue)) if queue == target:
            return [f"{margin}pop({show_expr(target)});"]
        case Assign(target, value):
            return [f"{margin}{show_expr(target)} := {show_expr(value)};"]
        case Let(name, value):
            return [f"{margin}let {name} = {show_expr(value)};"]
        case IfElse(condition, then, otherwise):
            lines = [f"{margin}if ({show_expr(condition)}) {{", *_body(then, margin)]
            if otherwise:
                lines += [f"{margin}}} else {{", *_body(otherwise, margin)]
            return [*lines, margin + "}"]
        case For(binders, filter_, body):
            return [f"{margin}for {show_binders(binders, filter_)} {{", *_body(body, margin), margin + "}"]
        case Choose(binders, filter_):
            return [f"{margin}choose {show_binders(binders, filter_)};"]
        case Either(branches):
            lines = []
            for n, b in enumerate(branches):
                lines += [f"{margin}{'} or' if n else 'either'} {{", *_body(b, margin)]
            return [*lines, margin + "}"] if branches else [f"{margin}either {{ }}"]
        case Guard(condition, waits):
            note = ""
            if waits is not None:
                index = "".join(f"[{show_expr(i)}]" for i in waits.index)
                note = f"  // waits for {waits.lock}{index}{' to read' if waits.read else ''}"
            return [f"{margin}await {show_expr(condition)};{note}"]
        case Check(finding, name, text, condition):
            what = name if finding == "assert" else finding
            return [f"{margin}assert {what}{_quoted(text)}: {show_expr(condition)};"]


def _quoted(text: str) -> str:
    return f' "{text}"' if text else ""


def _origin(span: Span) -> list[str]:
    return [] if span is NOWHERE else [f"// {span.path}:{span.line}"]


def show_rule(rule: Rule) -> str:
    """One step: where it comes from, its name and parameters, guard, body."""
    params = ", ".join(f"{p.name}: {show_type(p.type)}" for p in rule.params)
    head = f"transition {rule.name}" + (f"({params})" if params else "")
    guard = show_expr(rule.guard)
    if guard != "true":
        head += f" when {guard}"
    body = _body(rule.body, "")
    lines = [head + " {", *body, "}"] if body else [head + ";"]
    return "\n".join([*_origin(rule.span), *lines])


def _variable(v: Variable) -> str:
    t, shape, names = v.type, "", list(v.init.binders) if isinstance(v.init, InitExpr) else []
    for depth in range(v.depth):
        assert isinstance(t, Array)
        shape += f"[{names[depth]}: {show_type(t.index)}]" if depth < len(names) else f"[{show_type(t.index)}]"
        t = t.element
    match v.init:
        case InitExpr(_, value):
            first = show_expr(value)
        case InitAny(None):
            first = "any"
        case InitAny(allowed):
            first = "any of {" + ", ".join(show_value(t, a) for a in allowed or ()) + "}"
    remark = "" if v.kind == "var" else f"  // {v.kind}"
    return f"var {v.name}{shape}: {show_type(t)} = {first};{remark}"


def _property(p: Property) -> str:
    match p:
        case Invariant(name, text, body):
            kind = "invariant"
        case StepProperty(name, text, body):
            kind = "step"
        case Reachable(name, text, body):
            kind = "reachable"
        case Recoverable(name, text, body):
            kind = "recoverable"
        case AssertProperty(name, text):
            return f"// assert {name}{_quoted(text)}: where the steps say so"
        case LeadsTo(name, text, binders, filter_, left, right):
            inside = f"{show_expr(left)} ~> {show_expr(right)}"
            if binders:
                inside = f"forall {show_binders(binders, filter_)} {{ {inside} }}"
            return f"leads_to {name}{_quoted(text)}: {inside};"
    return f"{kind} {name}{_quoted(text)}: {show_expr(body)};"


def _predicate(kind: str, p: Predicate) -> str:
    return f"{kind} {p.name}{_quoted(p.text)}: {show_expr(p.body)};"


def show_system(system: System) -> str:
    """The whole System: variables, defines, every step, properties, fairness."""
    given = ", ".join(f"{n} = {show_value(t, v)}" for n, v, t in system.params)
    out = [f"// {system.name}, instance {system.instance}" + (f": {given}" if given else "")]
    out += [f"// {s.name} has {s.size} identities" for s in system.symmetric]
    out += ["", *(_variable(v) for v in system.variables)]
    if system.defines:
        out.append("")
    for d in system.defines:
        params = ", ".join(f"{p.name}: {show_type(p.type)}" for p in d.params)
        out.append(f"define {d.name}{f'({params})' if params else ''}: {show_type(d.type)} = {show_expr(d.body)};")
    for r in system.rules:
        out += ["", show_rule(r)]
    rest = [_property(p) for p in system.properties]
    rest += [_predicate("terminal", p) for p in system.terminal] + [_predicate("assume", p) for p in system.assumes]
    names = {r.number: r.name for r in system.rules}
    for f in system.fairness:
        steps = ", ".join(dict.fromkeys(names[n] for n in f.rules))
        rest.append(f"{'strongly fair' if f.strong else 'fair'} {steps};  // {f.name}")
    rest += [f"event {', '.join(dict.fromkeys(names[n] for n in e.rules))};" for e in system.events]
    for o in system.observations:
        params = ", ".join(f"{p.name}: {show_type(p.type)}" for p in o.params)
        rest.append(f"observe {o.name}{f'({params})' if params else ''}: {show_type(o.type)} = {show_expr(o.body)};")
    if rest:
        out += ["", *rest]
    return "\n".join(out) + "\n"
