"""Syntax tree to text, in one canonical layout.

`parse(print_file(f)) == f` for every tree that the parser can make.  Parentheses stand only where they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from hmmspec.lang import syntax as s
from hmmspec.lang.lexer import quote
from hmmspec.lang.spacing import INDENT

# How tight each operator binds; an operand that binds less gets parentheses.
_LOWEST, _IFF, _IMPLIES, _OR, _AND, _COMPARE, _RANGE, _ADD, _MUL, _UNARY, _POSTFIX = range(11)
_LEVEL: dict[str, int] = {
    "<=>": _IFF,
    "=>": _IMPLIES,
    "||": _OR,
    "&&": _AND,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), _COMPARE),
    **dict.fromkeys("+-", _ADD),
    **dict.fromkeys("*/%", _MUL),
}


# ---------------------------------------------------------------- expressions


def print_expr(expr: s.Expr) -> str:
    """An expression on one line."""
    return _expr(expr, _LOWEST)


def _expr(expr: s.Expr, level: int) -> str:
    """`expr` as an operand of something that binds as tight as `level`."""
    text, own = _bare(expr)
    return f"({text})" if own < level else text


def _bare(expr: s.Expr) -> tuple[str, int]:
    """The text without parentheses around it, and how tight it holds together."""
    match expr:
        case s.IntLit(value):
            return str(value), _POSTFIX
        case s.BoolLit(value):
            return "true" if value else "false", _POSTFIX
        case s.NullLit():
            return "null", _POSTFIX
        case s.EmptyQueue():
            return "[]", _POSTFIX
        case s.Name(name, primed):
            return name + ("'" if primed else ""), _POSTFIX
        case s.Call(name, args, primed):
            return f"{name.name}{chr(39) if primed else ''}({_list(args)})", _POSTFIX
        case s.RecordLit(name, fields):
            inits = ", ".join(f"{f.name.name} = {print_expr(f.value)}" for f in fields)
            return f"{name.name}({inits})", _POSTFIX
        case s.Index(base, index):
            return f"{_expr(base, _POSTFIX)}[{print_expr(index)}]", _POSTFIX
        case s.Member(base, name):
            return f"{_expr(base, _POSTFIX)}.{name.name}", _POSTFIX
        case s.SetLit(elements):
            return f"{{{_list(elements)}}}", _POSTFIX
        case s.SetComp(binder, filter):
            # `{x in S}` alone is a set with one truth value; the filter tells.
            text = print_expr(filter) if filter is not None else "true" if binder.over_set else None
            return f"{{{_binder(binder)}{'' if text is None else f' | {text}'}}}", _POSTFIX
        case s.Unary(op, operand):
            return op + _expr(operand, _UNARY), _UNARY
        case s.Binary(op, left, right):
            return _binary(op, left, right)
        case s.RangeExpr(low, high):
            return f"{_expr(low, _ADD)}..{_expr(high, _ADD)}", _RANGE
        case s.IfExpr(condition, then, otherwise):
            text = f"if {print_expr(condition)} then {print_expr(then)} else {print_expr(otherwise)}"
            return text, _LOWEST
        case s.Quant():
            return _quant(expr), _POSTFIX
        case s.Held(kind, read, lock):
            return f"{kind}{' read' if read else ''}({print_expr(lock)})", _POSTFIX
        case s.Trylock(read, lock):
            return f"trylock {'read ' if read else ''}{print_expr(lock)}", _UNARY
        case s.LeadsTo(left, right):
            return f"{print_expr(left)} ~> {print_expr(right)}", _LOWEST


def _binary(op: str, left: s.Expr, right: s.Expr) -> tuple[str, int]:
    own = _LEVEL[op]
    # Left-associative, but for `=>` (to the right) and comparisons (not at all).
    left_level = own + 1 if op == "=>" or own == _COMPARE else own
    right_level = own if op == "=>" else own + 1
    if op == "in" and isinstance(right, s.RangeExpr):
        right_level = _RANGE
    elif own == _COMPARE:
        left_level = right_level = _ADD
    return f"{_expr(left, left_level)} {op} {_expr(right, right_level)}", own


def _list(items: Sequence[s.Expr]) -> str:
    return ", ".join(print_expr(item) for item in items)


def _quant(q: s.Quant) -> str:
    over = _over(q.binders, q.filter)
    body = "" if q.body is None else print_expr(q.body)
    if q.kind in ("forall", "exists"):
        return f"{q.kind} {over} {{ {body} }}"
    if q.kind == "count":
        return f"count({over})"
    return f"{q.kind}({body} for {over})"


def _over(binders: Sequence[s.Binder], filter: s.Expr | None) -> str:
    text = ", ".join(_binder(binder) for binder in binders)
    return text if filter is None else f"{text} | {print_expr(filter)}"


def _binder(binder: s.Binder) -> str:
    names = _names(binder.names)
    match binder.domain:
        case s.BoolType() | s.NamedType() | s.RangeType() as domain:
            return f"{names}: {print_type(domain)}"
        case s.RangeExpr() as domain:
            return f"{names} in {_expr(domain, _RANGE)}"
        case (
            s.IntType()
            | s.EnumType()
            | s.SymmetricType()
            | s.UnionType()
            | s.OptionalType()
            | s.RecordType()
            | s.SetType()
            | s.QueueType()
        ) as domain:
            return f"{names}: {print_type(domain)}"
        case domain:
            return f"{names} in {_expr(domain, _ADD)}"


def _names(names: Sequence[s.Ident]) -> str:
    return ", ".join(name.name for name in names)


# ---------------------------------------------------------------- types


def print_type(type: s.Type) -> str:
    """A type on one line."""
    match type:
        case s.BoolType():
            return "bool"
        case s.IntType():
            return "int"
        case s.NamedType(name):
            return name
        case s.RangeType(low, high):
            return f"{_expr(low, _ADD)}..{_expr(high, _ADD)}"
        case s.EnumType(literals):
            return f"enum {{ {_names(literals)} }}"
        case s.SymmetricType(size):
            return f"symmetric[{print_expr(size)}]"
        case s.UnionType(members):
            return " | ".join(_element(member) for member in members)
        case s.OptionalType(inner):
            wide = isinstance(inner, (s.UnionType, s.SetType, s.QueueType))
            return f"({print_type(inner)})?" if wide else f"{print_type(inner)}?"
        case s.RecordType(fields):
            parts = (f"{f.name.name}{_indices(f.indices)}: {print_type(f.type)}; " for f in fields)
            return f"record {{ {''.join(parts)}}}"
        case s.SetType(element):
            return f"set of {_element(element)}"
        case s.QueueType(capacity, element):
            return f"queue[{print_expr(capacity)}] of {_element(element)}"


def _element(type: s.Type) -> str:
    text = print_type(type)
    return f"({text})" if isinstance(type, s.UnionType) else text


def _indices(indices: Sequence[s.IndexDecl]) -> str:
    return "".join(f"[{f'{i.name.name}: ' if i.name else ''}{print_type(i.type)}]" for i in indices)


def _params(params: Sequence[s.Parameter]) -> str:
    return f"({', '.join(f'{p.name.name}: {print_type(p.type)}' for p in params)})" if params else ""


# ---------------------------------------------------------------- statements


def print_stmt(stmt: s.Stmt) -> str:
    """A statement, over several lines if it holds blocks; no newline at the end."""
    return "\n".join(_stmt(stmt))


def print_stmts(body: s.Block) -> str:
    """The statements of a block, without its braces."""
    return "\n".join(_stmts(body))


def _stmts(body: s.Block) -> list[str]:
    """One or more lines for each statement; those that belong to a label are indented below it."""
    lines: list[str] = []
    margin = ""
    for stmt in body:
        if isinstance(stmt, s.Label):
            lines.append(f"{stmt.name.name}:")
            margin = INDENT
        else:
            lines.extend(margin + line for line in _stmt(stmt))
    return lines


def _braced(head: str, body: s.Block) -> list[str]:
    if not body:
        return [f"{head} {{ }}"]
    return [f"{head} {{", *(INDENT + line for line in _stmts(body)), "}"]


def _joined(blocks: Sequence[tuple[str, s.Block]]) -> list[str]:
    """Blocks one after the other: the head of each stands on the line of the brace before it."""
    lines: list[str] = []
    for head, body in blocks:
        part = _braced(head, body)
        if lines:
            part[0] = f"{lines.pop()} {part[0]}"
        lines.extend(part)
    return lines


def _stmt(stmt: s.Stmt) -> list[str]:
    match stmt:
        case s.Assign(target, op, value):
            return [f"{print_expr(target)} {op} {print_expr(value)};"]
        case s.Let(name, value):
            return [f"let {name.name} = {print_expr(value)};"]
        case s.If():
            return _joined(_branches(stmt))
        case s.For(binders, filter, body):
            return _braced(f"for {_over(binders, filter)}", body)
        case s.Choose(binders, filter):
            return [f"choose {_over(binders, filter)};"]
        case s.Either(branches):
            return _joined([("either" if i == 0 else "or", block) for i, block in enumerate(branches)])
        case s.Assert(name, text, condition):
            return [f"assert {name.name}{_text(text)}: {print_expr(condition)};"]
        case s.Push(queue, value):
            return [f"push({print_expr(queue)}, {print_expr(value)});"]
        case s.Pop(queue):
            return [f"pop({print_expr(queue)});"]
        case s.Skip():
            return ["skip;"]
        case s.Await(condition):
            return [f"await {print_expr(condition)};"]
        case s.Acquire(read, lock):
            return [f"acquire {'read ' if read else ''}{print_expr(lock)};"]
        case s.Release(lock):
            return [f"release {print_expr(lock)};"]
        case s.Goto(label):
            return [f"goto {label.name};"]
        case s.While(condition, body):
            return _braced(f"while ({print_expr(condition)})", body)
        case s.Restart():
            return ["restart;"]
        case s.Stop():
            return ["stop;"]
        case s.Return(value):
            return ["return;" if value is None else f"return {print_expr(value)};"]
        case s.CallStmt(target, name, args):
            into = "" if target is None else f"{print_expr(target)} := "
            return [f"{into}call {name.name}({_list(args)});"]
        case s.Label(name):
            return [f"{name.name}:"]


def _branches(stmt: s.If) -> list[tuple[str, s.Block]]:
    """An if statement with its `else if`s as one list of heads and blocks."""
    result = [(f"if ({print_expr(stmt.condition)})", stmt.then)]
    rest = stmt.otherwise
    while len(rest) == 1 and isinstance(rest[0], s.If):
        result.append((f"else if ({print_expr(rest[0].condition)})", rest[0].then))
        rest = rest[0].otherwise
    if rest:
        result.append(("else", rest))
    return result


def _text(text: str | None) -> str:
    return "" if text is None else f" {quote(text)}"


# ---------------------------------------------------------------- declarations


def print_declaration(declaration: s.Declaration) -> str:
    """A declaration, over several lines if it holds blocks; no newline at the end."""
    return "\n".join(_declaration(declaration))


def _declaration(d: s.Declaration) -> list[str]:
    match d:
        case s.Import(path):
            return [f"import {quote(path)};"]
        case s.ParamDecl(name, type, default):
            value = "" if default is None else f" = {print_expr(default)}"
            return [f"param {name.name}{_typed(type)}{value};"]
        case s.TypeDecl(name, type):
            return [f"type {name.name} = {print_type(type)};"]
        case s.VarDecl():
            return [_var(d)]
        case s.Define(name, params, result, body):
            return [f"define {name.name}{_params(params)}{_typed(result)} = {print_expr(body)};"]
        case s.Observe(name, params, result, body):
            return [f"observe {name.name}{_params(params)}{_typed(result)} = {print_expr(body)};"]
        case s.Machine():
            return _machine(d)
        case s.LockDecl(kind, name, indices):
            return [f"{kind} {name.name}{_indices(indices)};"]
        case s.Transition(name, params, when, body):
            return _braced(f"transition {name.name}{_params(params)}{_when(when)}", body)
        case s.Thread(name, indices, params, when, own, body):
            runs = "" if when is None else f" runs{_when(when)}"
            return _process(f"thread {name.name}{_indices(indices)}{_params(params)}{runs}", own, body)
        case s.Procedure(name, params, result, own, body):
            return _process(f"procedure {name.name}{_params(params)}{_typed(result)}", own, body)
        case s.Property(kind, name, text, condition):
            return [f"{kind} {name.name}{_text(text)}: {print_expr(condition)};"]
        case s.Fair(strong, steps):
            return [f"{'strongly ' if strong else ''}fair {_steps(steps)};"]
        case s.Event(steps):
            return [f"event {_steps(steps)};"]
        case s.SourceAnchor(path, symbol, steps):
            named = "" if symbol is None else f" {symbol}"
            return [f"source {quote(path)}{named}{f' for {_steps(steps)}' if steps else ''};"]
        case s.Instance(name, settings):
            values = "".join(f"{setting.name.name} = {print_expr(setting.value)}; " for setting in settings)
            return [f"instance {name.name} {{ {values}}}"]
        case s.ExpectViolates(instance, properties):
            return [f"expect {instance.name} violates {_names(properties)};"]
        case s.ExpectCount(instance, count, unit):
            return [f"expect {instance.name} has {count} {unit};"]
        case s.Prove(properties, every):
            return [f"prove {_names(properties)} for every {_names(every)};"]


def _typed(type: s.Type | None) -> str:
    return "" if type is None else f": {print_type(type)}"


def _when(condition: s.Expr | None) -> str:
    return "" if condition is None else f" when {print_expr(condition)}"


def _var(d: s.VarDecl) -> str:
    match d.init:
        case None:
            init = ""
        case s.AnyInit():
            init = " = any"
        case value:
            init = f" = {print_expr(value)}"
    return f"var {d.name.name}{_indices(d.indices)}: {print_type(d.type)}{init};"


def _process(head: str, own: Sequence[s.VarDecl], body: s.Block) -> list[str]:
    if not own and not body:
        return [f"{head} {{ }}"]
    return [f"{head} {{", *(INDENT + _var(d) for d in own), *(INDENT + line for line in _stmts(body)), "}"]


def _machine(d: s.Machine) -> list[str]:
    initial = d.initial[0].name if len(d.initial) == 1 else f"{{{_names(d.initial)}}}"
    lines = [f"states {_names(d.states)};", f"initial {initial};"]
    for arrow in d.arrows:
        lines.extend(_arrow(arrow))
    return [f"machine {d.name.name}{_indices(d.indices)} {{", *(INDENT + line for line in lines), "}"]


def _arrow(arrow: s.Arrow) -> list[str]:
    sources = arrow.sources[0].name if len(arrow.sources) == 1 else f"{{{_names(arrow.sources)}}}"
    head = f"{sources} -> {arrow.target.name} by {arrow.name.name}{_params(arrow.params)}{_when(arrow.when)}"
    return _braced(head, arrow.body) if arrow.body else [f"{head};"]


def _steps(steps: Sequence[s.StepName]) -> str:
    return ", ".join(step.name + (f".{step.label}" if step.label else "") for step in steps)


# ---------------------------------------------------------------- files


def print_file(file: s.File) -> str:
    """The whole file in canonical layout, with a newline at the end."""
    lines = [f"spec {file.name.name}"]
    if file.doc is not None:
        lines.append(_doc(file.doc))
    match file.header:
        case s.Refines(path, mappings):
            lines.extend(_block(f"refines {quote(path)} by", [_mapping(m) for m in mappings]))
        case s.Patches(path, items):
            lines.extend(_block(f"patches {quote(path)}", [line for item in items for line in _patch_item(item)]))
        case None:
            pass
    before: s.Declaration | None = None
    was_long = True
    for declaration in file.declarations:
        part = _declaration(declaration)
        # Declarations of one kind stand together; those with a block, and the first of a kind, after an empty line.
        if was_long or len(part) > 1 or type(declaration) is not type(before):
            lines.append("")
        lines.extend(part)
        before, was_long = declaration, len(part) > 1
    return "\n".join(lines) + "\n"


def _block(head: str, lines: Sequence[str]) -> list[str]:
    return [f"{head} {{", *(INDENT + line for line in lines), "}"]


def _doc(doc: str) -> str:
    if "\n" in doc or doc.endswith('"'):
        # On lines of its own, so that the first line's indentation counts like that of the others.
        return f'"""\n{doc}\n"""'
    return f'"""{doc}"""'


def _mapping(m: s.Mapping) -> str:
    field = "" if m.field is None else f".{m.field.name}"
    return f"{m.name.name}{_indices(m.indices)}{field} = {print_expr(m.value)};"


def _patch_item(item: s.PatchItem) -> list[str]:
    match item:
        case s.Replace(declaration):
            first, *rest = _declaration(declaration)
            return [f"replace {first}", *rest]
        case s.Add(declaration):
            first, *rest = _declaration(declaration)
            return [f"add {first}", *rest]
        case s.Remove(name):
            return [f"remove {name.name};"]
        case s.ReplaceIn(name, arrows, body):
            lines = [line for arrow in arrows for line in _arrow(arrow)] if arrows else _stmts(body)
            return _block(f"replace {name.name}", lines)
