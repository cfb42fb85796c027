"""C for the rules of a System.

A rule becomes a function that runs its guard and body for every value of its parameters.  A body with choices is run
again and again, each time with another script of choices (`pick` follows the script and extends it), until all ways
have been taken: simple, and it makes no difference between choices in a row, in branches and in loops.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from math import prod

from hmmspec.checker.native.exprs import Exprs, Scope, comment, low_of
from hmmspec.checker.native.values import minus
from hmmspec.diagnostics import InternalError, Span
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.system import Rule
from hmmspec.system.types import Record, Union, cardinality

UNROLLED = 8  # arguments of a rule up to which each gets its own copy


class Rules:
    """Writes the rules of one System.  `checks` are its Check statements; number i of `c->failed` is entry i - 1."""

    def __init__(self, exprs: Exprs) -> None:
        self.exprs = exprs
        self.values = exprs.values
        self.checks: list[core.Check] = []

    # ------------------------------------------------------------ one rule

    def rule(self, r: Rule) -> str:
        """`static void rule_N(Ctx *c, const St *s)`: emits every outcome."""
        scope = Scope()
        params: list[str] = []
        number = "0"
        values: list[str] = []
        for k, p in enumerate(r.params):
            x = self.exprs.fresh(p.name)
            params.append(f", int i{k}")
            values.append(f"  const V {x} = {self.values.nth(p.type, f'i{k}')}; (void){x};")
            scope = scope.bind(p.name, x)
            number = f"({number} * {cardinality(p.type)} + i{k})"
        guard = self.exprs.fresh("guard")
        out = [
            f"/* {comment(r.name)}  {_where(r.span)} */",
            "static inline __attribute__((always_inline))",
            f"void one_{r.number}(Ctx *c, const St *s{''.join(params)}) {{",
            *values,
            f"  const V number = {number}; (void)number;",
            f"  V {guard} = {self.exprs.expr(r.guard, scope)};",
        ]
        if self.exprs.analysis.can_fault(r.guard):
            out.append(f"  if (c->fault) {{ emit_fault(c, s, {r.number}, number); return; }}")
        out += [f"  if (!{guard}) return;", *self._ways(r, scope, "number"), "}"]
        return "\n".join([*out, *self._all_arguments(r)])

    def _all_arguments(self, r: Rule) -> list[str]:
        """Every value of the parameters: written out where they are few, so that places in the state are constants."""
        sizes = [cardinality(p.type) for p in r.params]
        out = [f"static void rule_{r.number}(Ctx *c, const St *s) {{"]
        if prod(sizes) <= UNROLLED:
            ways = product(*(range(n) for n in sizes))
            out += [f"  one_{r.number}(c, s{''.join(f', {i}' for i in way)});" for way in ways]
        else:
            for k, n in enumerate(sizes):
                out.append(f"  for (int i{k} = 0; i{k} < {n}; i{k}++)")
            out.append(f"  one_{r.number}(c, s{''.join(f', i{k}' for k in range(len(sizes)))});")
        return [*out, "}"]

    def _ways(self, r: Rule, scope: Scope, number: str) -> list[str]:
        inner = replace(scope, state="&t")
        if not has_choice(r.body):
            return [
                "    do { St t = *s;",
                *self.block(r.body, inner, "break"),
                f"    emit(c, s, &t, {r.number}, {number}); }} while (0);",
                f"    if (c->fault || c->failed) emit_fault(c, s, {r.number}, {number});",
            ]
        return [
            "    c->script_length = 0; begin_outcomes(c);",
            "    do { c->at = 0; int gone = 1; do { St t = *s;",
            *self.block(r.body, inner, "break"),
            f"    gone = 0; emit_outcome(c, s, &t, {r.number}, {number}); }} while (0); (void)gone;",
            f"    if (c->fault || c->failed) emit_fault(c, s, {r.number}, {number});",
            "    } while (next_script(c));",
        ]

    # ------------------------------------------------------------ statements

    def block(self, block: core.Block, scope: Scope, leave: str) -> list[str]:
        """The statements; `leave` is what a path without an outcome does (`break`, or `goto` out of loops)."""
        out: list[str] = []
        for s in block:
            lines, scope = self.statement(s, scope, leave)
            out.extend(lines)
        return out

    def statement(self, s: core.Stmt, scope: Scope, leave: str) -> tuple[list[str], Scope]:
        e = self.exprs
        match s:
            case core.Assign(target, value):
                return self.assign(target, value, scope, leave), scope
            case core.Let(name, value):
                x = e.fresh(name)
                c_type = self.values.name(value.type)
                lines = [f"    {c_type} {x} = {e.expr(value, scope)}; (void){x};"]
                return lines + self.check_fault((value,), leave), scope.bind(name, x)
            case core.Guard(condition, _):
                x = e.fresh("holds")
                lines = [f"    V {x} = {e.expr(condition, scope)};", *self.check_fault((condition,), leave)]
                return [*lines, f"    if (!{x}) {leave};"], scope
            case core.Check(_, _, _, condition):
                self.checks.append(s)
                number = len(self.checks)
                x = e.fresh("holds")
                lines = [f"    V {x} = {e.expr(condition, scope)};", *self.check_fault((condition,), leave)]
                return [*lines, f"    if (!{x}) {{ c->failed = {number}; {leave}; }}"], scope
            case core.IfElse(condition, then, otherwise):
                return self.branch(condition, then, otherwise, scope, leave), scope
            case core.Either(branches):
                x = e.fresh("way")
                lines = [f"    int {x} = pick(c, {len(branches)});"]
                return lines + self._switch(x, branches, scope, leave), scope
            case core.Choose():
                return self.choose(s, scope, leave)
            case core.For():
                return self.loop(s, scope, leave), scope

    def check_fault(self, parts: tuple[E.Expr, ...], leave: str) -> list[str]:
        if any(self.exprs.analysis.can_fault(p) for p in parts):
            return [f"    if (c->fault) {leave};"]
        return []

    def branch(self, condition: E.Expr, then: core.Block, otherwise: core.Block, scope: Scope, leave: str) -> list[str]:
        x, out = self.exprs.fresh("c"), self.exprs.fresh("out")
        inner = f"goto {out}"
        a, b = self.block(then, scope, inner), self.block(otherwise, scope, inner)
        lines = [f"    V {x} = {self.exprs.expr(condition, scope)};", *self.check_fault((condition,), leave)]
        return lines + self._with_exit([f"    if ({x}) {{", *a, "    } else {", *b, "    }"], out, leave)

    def _switch(self, x: str, branches: tuple[core.Block, ...], scope: Scope, leave: str) -> list[str]:
        out = self.exprs.fresh("out")
        lines: list[str] = []
        for i, b in enumerate(branches):
            lines.append(f"    {'else ' if i else ''}if ({x} == {i}) {{")
            lines.extend(self.block(b, scope, f"goto {out}"))
            lines.append("    }")
        return self._with_exit(lines, out, leave)

    def _with_exit(self, lines: list[str], out: str, leave: str) -> list[str]:
        """A piece from inside which `goto out` leaves the path, whatever loops or blocks stand between."""
        if not any(f"goto {out};" in line for line in lines):
            return lines
        done = self.exprs.fresh("on")
        return [*lines, f"    goto {done};", f"    {out}: {leave};", f"    {done}:;"]

    def choose(self, s: core.Choose, scope: Scope, leave: str) -> tuple[list[str], Scope]:
        """Count what passes the filter, pick one of them by number, find it again."""
        n, k = self.exprs.fresh("n"), self.exprs.fresh("k")
        heads, inner, braces = self.exprs.loops(s.binders, scope, "")
        skip = f"if (!{self.exprs.expr(s.filter, inner)}) continue;" if s.filter is not None else ""
        lines = [f"    V {n} = 0; {heads} {skip} {n}++;{' }' * braces}"]
        faulty = tuple(x for x in (s.filter,) if x is not None) + tuple(
            d.set for b in s.binders if isinstance(d := b.domain, E.OverSet)
        )
        lines += self.check_fault(faulty, leave)
        lines.append(f"    if (!{n}) {leave};")
        lines.append(f"    V {k} = pick(c, (int){n});")
        names: list[str] = []
        result = scope
        for b in s.binders:
            x = self.exprs.fresh(b.name)
            names.append(x)
            result = result.bind(b.name, x)
        lines.append(f"    V {', '.join(f'{x} = 0' for x in names)};")
        heads, inner, braces = self.exprs.loops(s.binders, scope, f"{k} >= 0 && ")
        skip = f"if (!{self.exprs.expr(s.filter, inner)}) continue;" if s.filter is not None else ""
        keep = " ".join(f"{x} = {inner.names[b.name]};" for x, b in zip(names, s.binders, strict=True))
        lines.append(f"    {heads} {skip} if ({k}-- == 0) {{ {keep} }}{' }' * braces}")
        lines.append("    " + " ".join(f"(void){x};" for x in names))
        return lines, result

    def loop(self, s: core.For, scope: Scope, leave: str) -> list[str]:
        out = self.exprs.fresh("out")
        heads, inner, braces = self.exprs.loops(s.binders, scope, "")
        inside = f"goto {out}"
        body: list[str] = []
        if s.filter is not None:
            x = self.exprs.fresh("f")
            body.append(f"    V {x} = {self.exprs.expr(s.filter, inner)};")
            body.extend(self.check_fault((s.filter,), inside))
            body.append(f"    if (!{x}) continue;")
        body.extend(self.block(s.body, inner, inside))
        return self._with_exit([f"    {heads} {{", *body, "    }" + " }" * braces], out, leave)

    # ------------------------------------------------------------ assignment

    def assign(self, target: E.Expr, value: E.Expr, scope: Scope, leave: str) -> list[str]:
        e = self.exprs
        x = e.fresh("v")
        c_type = self.values.name(value.type)
        place = self._place(target, scope)
        if place is not None:
            at = e.fresh("at")
            lines = [f"    int {at} = {place}; (void){at};", f"    {c_type} {x} = {e.expr(value, scope)};"]
            lines += self.check_fault((target, value), leave)
            return [*lines, f"    {self.values.store(target.type, scope.state, at, x)}"]
        # A part of an optional record: take the whole out, change the part, put it back.
        root, change = self._inside(target, scope)
        whole = e.fresh("whole")
        lines = [
            f"    {c_type} {x} = {e.expr(value, scope)};",
            f"    {self.values.name(root.type)} {whole} = {e.expr(root, scope)};",
            *self.check_fault((target, value), leave),
            f"    {change.replace('@', whole)} = {x};",
        ]
        where = self._place(root, scope)
        if where is None:
            raise InternalError("the target of an assignment is not a variable")
        return [*lines, f"    {self.values.store(root.type, scope.state, where, whole)}"]

    def _place(self, target: E.Expr, scope: Scope) -> str | None:
        place = self.exprs.place(target, scope)
        return None if place is None else place[1]

    def _inside(self, target: E.Expr, scope: Scope) -> tuple[E.Expr, str]:
        """The outermost part of the target that is a place of the state, and C for the rest of the way (@: it)."""
        match target:
            case E.Field(E.Cast(inner, record), name) if isinstance(record, Record):
                assert isinstance(inner.type, Union)
                root, way = (inner, "@") if self._place(inner, scope) is not None else self._inside(inner, scope)
                member = inner.type.members.index(record)
                field = [n for n, _ in record.fields].index(name)
                return root, f"{way}.m{member}.f{field}"
            case E.Field(inner, name):
                assert isinstance(inner.type, Record)
                root, way = self._inside(inner, scope)
                return root, f"{way}.f{[n for n, _ in inner.type.fields].index(name)}"
            case E.Index(inner, index):
                root, way = self._inside(inner, scope)
                return root, f"{way}.e[{self.exprs.expr(index, scope)}{minus(low_of(index.type))}]"
            case _:
                raise InternalError("the target of an assignment is not a variable")


def has_choice(block: core.Block) -> bool:
    """Whether a body can have several outcomes."""
    for s in block:
        match s:
            case core.Choose() | core.Either():
                return True
            case core.IfElse(_, a, b) if has_choice(a) or has_choice(b):
                return True
            case core.For(_, _, body) if has_choice(body):
                return True
            case _:
                pass
    return False


def _where(span: Span) -> str:
    return f"line {span.line}" if span.source.text else ""
