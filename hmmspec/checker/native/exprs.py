"""C for the expressions of the core.

An expression becomes one C expression (GNU statement expressions where a loop is needed), so that `&&`, `||` and `?:`
keep the order of evaluation.  A fault does not stop it: the first one is noted in `c->fault`, some value of the right
type stands in for the rest, and whoever asked looks at `c->fault` before the value is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from hmmspec.checker.native.values import CValues, is_plain, mask, minus
from hmmspec.diagnostics import Limit, Span
from hmmspec.system import expr as E
from hmmspec.system.analyse import Analysis
from hmmspec.system.layout import Layout, bits, field_offsets, width
from hmmspec.system.system import Define, System
from hmmspec.system.types import Array, Queue, Range, Record, Set, Type, cardinality

INT64 = (-(2**63), 2**63 - 1)


@dataclass(frozen=True)
class Scope:
    """What names mean: `state` and `after` are C expressions of type `const St *`; names are C variables."""

    state: str = "s"
    after: str | None = None
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def bind(self, name: str, c_name: str) -> Scope:
        return replace(self, names={**self.names, name: c_name})


@dataclass(frozen=True)
class FaultSite:
    """Where a fault can arise and of which kind; its number is its place in `Exprs.sites`, from 1."""

    kind: str
    span: Span


class Exprs:
    """Writes expressions of one System; `functions` are the defines it needed, in order."""

    def __init__(self, system: System, layout: Layout, values: CValues, prefix: str = "") -> None:
        self.system = system
        self.layout = layout
        self.values = values
        self.prefix = prefix  # of functions, where two systems share a file
        self.analysis = Analysis(system)
        self.defines: dict[str, Define] = {d.name: d for d in system.defines}
        self.types = {v.name: v.type for v in system.variables}
        self.sites: list[FaultSite] = []
        self.functions: list[str] = []
        self._made: set[str] = set()
        self._counter = 0

    def site(self, kind: str, span: Span) -> int:
        self.sites.append(FaultSite(kind, span))
        return len(self.sites)

    def fresh(self, stem: str) -> str:
        """A C name that no other has."""
        self._counter += 1
        return f"{comment(stem).replace('.', '_')}_{self._counter}"

    # ------------------------------------------------------------ expressions

    def expr(self, e: E.Expr, scope: Scope) -> str:
        v = self.values
        match e:
            case E.Const(value, t):
                return v.constant(t, value)
            case E.Local(name, _):
                return scope.names[name]
            case E.Var() | E.Index() | E.Field():
                return self.read(e, scope)
            case E.Not(operand):
                return f"(!{self.expr(operand, scope)})"
            case E.Negate(operand):
                return f"(-{self.number(operand, scope)})"
            case E.Arith():
                return self.arith(e, scope)
            case E.Compare("==" | "!=" as op, left, right):
                same = v.same(self.common(left, right), self.expr(left, scope), self.expr(right, scope))
                return same if op == "==" else f"(!{same})"
            case E.Compare(op, left, right):
                return f"({self.number(left, scope)} {op} {self.number(right, scope)})"
            case E.Logic():
                return self.logic(e, scope)
            case E.If(condition, then, otherwise):
                return f"({self.expr(condition, scope)} ? {self.expr(then, scope)} : {self.expr(otherwise, scope)})"
            case E.SetOp() | E.InSet() | E.MakeSet() | E.Size():
                return self.sets(e, scope)
            case E.InRange(value, low, high):
                x, a, b = (self.fresh(n) for n in ("x", "low", "high"))
                return (
                    f"({{ V {x} = {self.number(value, scope)}; V {a} = {self.number(low, scope)}; "
                    f"V {b} = {self.number(high, scope)}; {a} <= {x} && {x} <= {b}; }})"
                )
            case E.IsMember(value, members):
                x = self.fresh("x")
                held = v.is_member(value.type, members, x)
                return f"({{ {v.name(value.type)} {x} = {self.expr(value, scope)}; {held}; }})"
            case E.Quant():
                return self.quantifier(e, scope)
            case E.MinMax(kind, args):
                least = self.number(args[0], scope)
                for arg in args[1:]:
                    least = f"{kind}_of({least}, {self.number(arg, scope)})"
                return least
            case E.Apply(name, args, _, primed):
                return self.apply(name, args, primed, scope)
            case E.MakeRecord(values, t):
                inner = ", ".join(f".f{i} = {self.expr(x, scope)}" for i, x in enumerate(values))
                return f"(({v.name(t)}){{ {inner} }})"
            case E.MakeThreadId(args, t):
                return self.thread_id(args, scope)
            case E.Head() | E.Pushed() | E.Popped():
                return self.queues(e, scope)
            case E.Cast(operand, t):
                site = self.site("cast", e.span) if self.analysis.cast_can_fault(e) else 0
                return v.cast(operand.type, t, self.expr(operand, scope), site)

    def number(self, e: E.Expr, scope: Scope) -> str:
        return self.expr(e, scope)

    def common(self, a: E.Expr, b: E.Expr) -> Type:
        return a.type

    def test(self, e: E.Expr, scope: Scope) -> str:
        """A condition, without the doubled parentheses that `if` and `while` bring."""
        return self.expr(e, scope)

    def arith(self, e: E.Arith, scope: Scope) -> str:
        bounds = self.analysis.bounds(e)
        if bounds is not None and not (INT64[0] <= bounds[0] and bounds[1] <= INT64[1]):
            raise Limit("a result may leave 64 bits")
        a, b = self.number(e.left, scope), self.number(e.right, scope)
        if e.op in "/%":
            f = "div_down" if e.op == "/" else "mod_down"
            return f"{f}(c, {a}, {b}, {self.site('division', e.span)})"
        if bounds is None:
            f = {"+": "add", "-": "sub", "*": "mul"}[e.op]
            return f"{f}_checked(c, {a}, {b})"
        return f"({a} {e.op} {b})"

    def logic(self, e: E.Logic, scope: Scope) -> str:
        a, b = self.expr(e.left, scope), self.expr(e.right, scope)
        match e.op:
            case "&&" | "||":
                return f"({a} {e.op} {b})"
            case "=>":
                return f"(!{a} || {b})"
            case "<=>":
                return f"((!{a}) == (!{b}))"

    # ------------------------------------------------------------ state

    def read(self, e: E.Expr, scope: Scope) -> str:
        """A part of the state, or of a value that is at hand."""
        place = self.place(e, scope)
        if place is not None:
            state, at = place
            if bits(e.type) == 0 and self.analysis.can_fault(e):
                # There is nothing to load, but the indices on the way may be wrong.
                return f"({{ (void)({at}); {self.values.load(e.type, state, at)}; }})"
            return self.values.load(e.type, state, at)
        match e:
            case E.Index(base, index):
                assert isinstance(base.type, Array)
                i = f"{self.expr(index, scope)}{minus(low_of(base.type.index))}"
                x = self.fresh("a")
                return f"({{ {self.values.name(base.type)} {x} = {self.expr(base, scope)}; {x}.e[{i}]; }})"
            case E.Field(base, name):
                assert isinstance(base.type, Record)
                number = [n for n, _ in base.type.fields].index(name)
                return f"{self.expr(base, scope)}.f{number}"
            case _:
                raise AssertionError("a variable has a place")

    def place(self, e: E.Expr, scope: Scope) -> tuple[str, str] | None:
        """The packed state and the bit where a variable's part begins; None if it is not part of the state."""
        match e:
            case E.Var(name, _, primed):
                state = scope.after if primed else scope.state
                assert state is not None
                return state, str(self.layout.offsets[name])
            case E.Index(base, index):
                inner = self.place(base, scope)
                if inner is None:
                    return None
                assert isinstance(base.type, Array)
                t = base.type.index
                i = f"{self.expr(index, scope)}{minus(low_of(t))}"
                at = self.values.element_at(cardinality(t), base.type.element, inner[1], f"({i})")
                if at == inner[1] and self.analysis.can_fault(index):
                    # All elements begin at one bit, so that the index says nothing, but it may be wrong.
                    at = f"{at} + 0 * (int)({i})"
                return inner[0], at
            case E.Field(base, name):
                inner = self.place(base, scope)
                if inner is None:
                    return None
                assert isinstance(base.type, Record)
                number = [n for n, _ in base.type.fields].index(name)
                return inner[0], f"{inner[1]} + {field_offsets(base.type)[number]}"
            case _:
                return None

    # ------------------------------------------------------------ sets, queues, threads

    def sets(self, e: E.SetOp | E.InSet | E.MakeSet | E.Size, scope: Scope) -> str:
        match e:
            case E.Size(operand):
                inner = self.expr(operand, scope)
                if isinstance(operand.type, Queue):
                    place = self.place(operand, scope)
                    if place is not None and bits(operand.type) > 0:
                        return f"get({place[0]}, {place[1]}, {mask(width(operand.type.capacity + 1))})"
                    return f"{inner}.n"
                if is_plain(operand.type):
                    return f"((V)__builtin_popcountll((uint64_t)({inner})))"
                return f"big_size({self._words(operand, inner)})"
            case E.InSet(element, inside):
                i = f"({self.expr(element, scope)}{minus(low_of(element.type))})"
                s = self.expr(inside, scope)
                if is_plain(inside.type):
                    return f"((V)((uint64_t)({s}) >> {i} & 1))"
                x = self.fresh("set")
                return f"({{ {self.values.name(inside.type)} {x} = {s}; (V)({x}.w[{i} / 64] >> {i} % 64 & 1); }})"
            case E.MakeSet(elements, t):
                assert isinstance(t, Set)
                numbers = [f"({self.expr(x, scope)}{minus(low_of(t.element))})" for x in elements]
                if is_plain(t):
                    return "(" + (" | ".join(f"(V)(1ull << {n})" for n in numbers) or "(V)0") + ")"
                x = self.fresh("set")
                adds = " ".join(f"{{ V i = {n}; {x}.w[i / 64] |= 1ull << i % 64; }}" for n in numbers)
                return f"({{ {self.values.name(t)} {x}; memset(&{x}, 0, sizeof {x}); {adds} {x}; }})"
            case E.SetOp(op, left, right, t):
                a, b = self.expr(left, scope), self.expr(right, scope)
                if is_plain(t):
                    return f"({a} | {b})" if op == "+" else f"({a} & ~{b})"
                x, y = self.fresh("a"), self.fresh("b")
                name = self.values.name(t)
                change = f"{x}.w[i] |= {y}.w[i]" if op == "+" else f"{x}.w[i] &= ~{y}.w[i]"
                n = bits(t) // 64
                return f"({{ {name} {x} = {a}; {name} {y} = {b}; for (int i = 0; i < {n}; i++) {change}; {x}; }})"

    def _words(self, e: E.Expr, text: str) -> str:
        return f"(uint64_t *)&({self.values.name(e.type)}[]){{ {text} }}, {bits(e.type) // 64}"

    def queues(self, e: E.Head | E.Pushed | E.Popped, scope: Scope) -> str:
        q = self.fresh("q")
        t = e.queue.type
        assert isinstance(t, Queue)
        name = self.values.name(t)
        head = f"({{ {name} {q} = {self.expr(e.queue, scope)}; "
        element = self.values.name(t.element)
        match e:
            case E.Head():
                empty = f"if ({q}.n == 0) fault(c, {self.site('queue', e.span)}); "
                zero = self.values.zero(t.element)
                return f"{head}{element} r = {q}.n ? {q}.e[0] : {zero}; {empty}r; }})"
            case E.Pushed(_, value):
                full = f"if ({q}.n == {t.capacity}) fault(c, {self.site('queue', e.span)}); else {q}.e[{q}.n++] = x; "
                return f"{head}{element} x = {self.expr(value, scope)}; {full}{q}; }})"
            case E.Popped():
                site = self.site("queue", e.span)
                shift = f"for (int i = 1; i < {q}.n; i++) {q}.e[i - 1] = {q}.e[i]; {q}.n--;"
                return f"{head}if ({q}.n == 0) fault(c, {site}); else {{ {shift} }} {q}; }})"

    def thread_id(self, args: tuple[E.Expr, ...], scope: Scope) -> str:
        out = "0ll"
        for a in args:
            out = f"({out} * {cardinality(a.type)} + ({self.expr(a, scope)}{minus(low_of(a.type))}))"
        return out

    # ------------------------------------------------------------ binders

    def loops(self, binders: tuple[E.Binder, ...], scope: Scope, going: str) -> tuple[str, Scope, int]:
        """C loop heads over the binders, open braces left: text, scope inside, number of braces.  `going`: a C
        condition under which the loops go on."""
        out: list[str] = []
        for b in binders:
            x, i = self.fresh(b.name), self.fresh("i")
            match b.domain:
                case E.OverType(t):
                    n = cardinality(t)
                    out.append(f"for (V {i} = 0; {going}{i} < {n}; {i}++) {{ V {x} = {self.values.nth(t, i)};")
                case E.OverRange(low, high):
                    last = self.fresh("last")
                    out.append(
                        f"for (V {x} = {self.expr(low, scope)}, {last} = {self.expr(high, scope)}; "
                        f"{going}{x} <= {last}; {x}++) {{"
                    )
                case E.OverSet(s):
                    t = s.type
                    assert isinstance(t, Set)
                    held = self.fresh("held")
                    n = cardinality(t.element)
                    has = f"(uint64_t){held} >> {i} & 1" if is_plain(t) else f"{held}.w[{i} / 64] >> {i} % 64 & 1"
                    out.append(
                        f"{{ {self.values.name(t)} {held} = {self.expr(s, scope)}; "
                        f"for (V {i} = 0; {going}{i} < {n}; {i}++) if ({has}) "
                        f"{{ V {x} = {self.values.nth(t.element, i)};"
                    )
            scope = scope.bind(b.name, x)
        braces = len(binders) + sum(isinstance(b.domain, E.OverSet) for b in binders)
        return " ".join(out), scope, braces

    def quantifier(self, e: E.Quant, scope: Scope) -> str:
        r = self.fresh("r")
        faulty = any(self.analysis.can_fault(x) for x in (e.filter, e.body) if x is not None)
        # Binders do not stop early where the rest could still fault.
        going = {"forall": f"{r} && ", "exists": f"!{r} && "}.get(e.kind, "") if not faulty else ""
        heads, inner, braces = self.loops(e.binders, scope, going)
        skip = f"if (!{self.expr(e.filter, inner)}) continue; " if e.filter is not None else ""
        name = self.values.name(e.type)
        end = " }" * braces
        match e.kind:
            case "forall":
                assert e.body is not None
                return f"({{ V {r} = 1; {heads} {skip}if (!{self.expr(e.body, inner)}) {r} = 0;{end} {r}; }})"
            case "exists":
                assert e.body is not None
                return f"({{ V {r} = 0; {heads} {skip}if ({self.expr(e.body, inner)}) {r} = 1;{end} {r}; }})"
            case "count":
                return f"({{ V {r} = 0; {heads} {skip}{r}++;{end} {r}; }})"
            case "sum":
                assert e.body is not None
                add = f"{r} = add_checked(c, {r}, {self.expr(e.body, inner)});"
                return f"({{ V {r} = 0; {heads} {skip}{add}{end} {r}; }})"
            case "min" | "max":
                assert e.body is not None
                x, some = self.fresh("x"), self.fresh("some")
                better = "<" if e.kind == "min" else ">"
                take = f"V {x} = {self.expr(e.body, inner)}; if (!{some} || {x} {better} {r}) {r} = {x}; {some} = 1;"
                site = self.site("empty", e.span)
                return f"({{ V {r} = 0, {some} = 0; {heads} {skip}{take}{end} if (!{some}) fault(c, {site}); {r}; }})"
            case "set":
                assert isinstance(e.type, Set) and e.body is not None
                i = f"({self.expr(e.body, inner)}{minus(low_of(e.type.element))})"
                if is_plain(e.type):
                    return f"({{ V {r} = 0; {heads} {skip}{r} |= (V)(1ull << {i});{end} {r}; }})"
                add = f"{{ V j = {i}; {r}.w[j / 64] |= 1ull << j % 64; }}"
                return f"({{ {name} {r}; memset(&{r}, 0, sizeof {r}); {heads} {skip}{add}{end} {r}; }})"

    # ------------------------------------------------------------ defines

    def apply(self, name: str, args: tuple[E.Expr, ...], primed: bool, scope: Scope) -> str:
        function = f"{self.prefix}define_{list(self.defines).index(name)}"
        if name not in self._made:
            self._made.add(name)
            d = self.defines[name]
            names = {p.name: f"a{i}" for i, p in enumerate(d.params)}
            body = self.expr(d.body, Scope("s", None, names))
            params = "".join(f", {self.values.name(p.type)} a{i}" for i, p in enumerate(d.params))
            self.functions.append(
                f"static inline {self.values.name(d.type)} {function}(Ctx *c, const St *s{params}) "
                f"{{ (void)c; (void)s; return {body}; }}"
            )
        state = scope.after if primed else scope.state
        assert state is not None
        given = "".join(f", {self.expr(a, scope)}" for a in args)
        return f"{function}(c, {state}{given})"


def comment(name: str) -> str:
    """A name of the spec for a C comment: letters, digits, dots and underscores, whatever the name is."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", name)


def low_of(t: Type) -> int:
    """What the ordinals of a scalar type are counted from."""
    return t.low if isinstance(t, Range) else 0
