"""Sets, conditionals and operators: two sides brought to one type, each telling the other what its literals are."""

from __future__ import annotations

from hmmspec.diagnostics import Span
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system.elaborate.base import WRONG, TyperBase, join, unindexed
from hmmspec.system.elaborate.constants import fold, literal
from hmmspec.system.elaborate.names import (
    ERROR,
    accepts,
    is_int,
)
from hmmspec.system.elaborate.scope import Env
from hmmspec.system.types import (
    BOOL,
    INT,
    NULL,
    Range,
    Set,
    Type,
    Union,
    is_scalar,
    show_type,
)


class OperatorTyping(TyperBase):
    """The part of the typing that joins expressions."""

    # ------------------------------------------------------------ sets, conditionals

    def set_literal(self, e: S.SetLit, env: Env, hint: Type | None) -> E.Expr:
        if hint == ERROR:
            return WRONG
        wanted = hint.element if isinstance(hint, Set) else None
        if wanted is None and not e.elements:
            return self.error("HMM023", e.span, "`{}` needs a set to be the empty value of")
        typed: dict[int, E.Expr] = {}
        if wanted is None:
            # The first element that has a type of its own gives it to the set.
            first = next((i for i, x in enumerate(e.elements) if not self.needs_hint(x, env)), 0)
            typed[first] = self.infer(e.elements[first], env)
            wanted = typed[first].type
        if isinstance(wanted, Range) and not isinstance(hint, Set):
            return self._int_set(e, env)
        if wanted == ERROR or not is_scalar(wanted):
            return WRONG if wanted == ERROR else self.error("HMM039", e.span, "a set's elements must be scalar")
        values = tuple(
            self.coerce(typed[i] if i in typed else self.infer(x, env, wanted), wanted, x.span)
            for i, x in enumerate(e.elements)
        )
        if any(v.type == ERROR for v in values):
            return WRONG
        return E.MakeSet(values, Set(wanted), span=e.span)

    def _int_set(self, e: S.SetLit, env: Env) -> E.Expr:
        """A set of numbers with no type from outside: the smallest range that holds all its constants."""
        values = [self.integer(x, env) for x in e.elements]
        if any(v.type == ERROR for v in values):
            return WRONG
        ranges = [v.type for v in values if isinstance(v.type, Range)]
        if len(ranges) < len(values):
            return self.error("HMM023", e.span, "the range of this set's elements is not known here")
        element = Range(min(r.low for r in ranges), max(r.high for r in ranges))
        return E.MakeSet(tuple(self.coerce(v, element, v.span) for v in values), Set(element), span=e.span)

    def comprehension(self, e: S.SetComp, env: Env) -> E.Expr:
        binders, inner = self.binders((e.binder,), env)
        if inner is None:
            return WRONG
        if len(binders) != 1:
            return self.error("HMM028", e.span, "a set comprehension binds one name")
        b = binders[0]
        if not is_scalar(b.type):
            return self.error("HMM039", e.span, f"a set's elements must be scalar, and this is {show_type(b.type)}")
        condition = self.boolean(e.filter, inner) if e.filter is not None else None
        return E.Quant("set", binders, condition, E.Local(b.name, b.type), Set(b.type), span=e.span)

    def conditional(self, e: S.IfExpr, env: Env, hint: Type | None) -> E.Expr:
        condition = self.boolean(e.condition, env)
        spans = (e.then.span, e.otherwise.span)
        then, otherwise, t = self.unify(*self.sides(e.then, e.otherwise, env, hint), hint, e, spans)
        if t == ERROR:
            return WRONG
        return fold(E.If(condition, then, otherwise, t, span=e.span))

    def needs_hint(self, e: S.Expr, env: Env) -> bool:
        """Whether the expression alone has no type: a bare literal, null, `{}`, `[]`."""
        match e:
            case S.NullLit() | S.EmptyQueue():
                return True
            case S.Name(name):
                symbol = self.names.symbols.get(name)
                return name not in env.names and not isinstance(
                    symbol, S.ParamDecl | S.VarDecl | S.Machine | S.Define | S.Thread
                )
            case S.SetLit(elements):
                return all(self.needs_hint(x, env) for x in elements) or all(isinstance(x, S.IntLit) for x in elements)
            case S.IfExpr(_, a, b):
                return self.needs_hint(a, env) and self.needs_hint(b, env)
            case _:
                return False

    def sides(self, a: S.Expr, b: S.Expr, env: Env, hint: Type | None) -> tuple[E.Expr, E.Expr]:
        """Two expressions, each of which may tell the other what its literals are."""
        if (self.needs_hint(a, env) and not self.needs_hint(b, env)) or holds(b, "holder"):
            right = self.infer(b, env, hint)
            left = self.infer(a, env, hint if hint is not None and not accepts(right.type, hint) else right.type)
        else:
            left = self.infer(a, env, hint)
            right = self.infer(b, env, left.type if hint is None or left.type != NULL else hint)
        return left, right

    def unify(
        self, left: E.Expr, right: E.Expr, hint: Type | None, e: S.Expr, spans: tuple[Span, Span]
    ) -> tuple[E.Expr, E.Expr, Type]:
        """Two typed expressions brought to one type (ERROR, and a diagnostic, if there is none)."""
        if ERROR in (left.type, right.type):
            return left, right, ERROR
        t = join(left.type, right.type)
        if t is None and hint is not None and accepts(hint, left.type) and accepts(hint, right.type):
            t = hint
        if t is None:
            fix = unindexed(left.type, right.type) or unindexed(right.type, left.type)
            self.error("HMM030", e.span, f"{show_type(left.type)} and {show_type(right.type)} are never equal", fix)
            return left, right, ERROR
        return self.coerce(left, t, spans[0]), self.coerce(right, t, spans[1]), t

    # ------------------------------------------------------------ operators

    def binary(self, e: S.Binary, env: Env, hint: Type | None) -> E.Expr:
        match e.op:
            case "&&" | "||" | "=>" | "<=>":
                return fold(E.Logic(e.op, self.boolean(e.left, env), self.boolean(e.right, env), span=e.span))
            case "==" | "!=":
                return self.equality(e, env)
            case "<" | "<=" | ">" | ">=":
                a, b = self.integer(e.left, env), self.integer(e.right, env)
                return WRONG if ERROR in (a.type, b.type) else fold(E.Compare(e.op, a, b, span=e.span))
            case "in":
                return self.membership(e, env)
            case "+" | "-":
                return self._sum(e, env, hint)
            case _:
                return self._arith(e, self.integer(e.left, env), self.integer(e.right, env))

    def _arith(self, e: S.Binary, a: E.Expr, b: E.Expr) -> E.Expr:
        if ERROR in (a.type, b.type):
            return WRONG
        match e.op:
            case "+" | "-" | "*" | "/" | "%":
                return fold(E.Arith(e.op, a, b, span=e.span))
            case _:
                raise AssertionError(f"{e.op} is not arithmetic")

    def _sum(self, e: S.Binary, env: Env, hint: Type | None) -> E.Expr:
        """`+` and `-`, of numbers or of sets."""
        wanted = hint if isinstance(hint, Set) else None
        bare = isinstance(e.left, S.SetLit | S.SetComp) and self.needs_hint(e.left, env)
        right: E.Expr | None = None
        if wanted is None and bare:
            right = self.infer(e.right, env)
            wanted = right.type if isinstance(right.type, Set) else None
        left = self.infer(e.left, env, wanted)
        if wanted is None and isinstance(left.type, Set):
            wanted = left.type
        if wanted is None:
            return self._arith(e, self.as_number(left, e.left.span), self.integer(e.right, env))
        a = self.coerce(left, wanted, e.left.span)
        b = self.coerce(right if right is not None else self.infer(e.right, env, wanted), wanted, e.right.span)
        if ERROR in (a.type, b.type):
            return WRONG
        return E.SetOp("+" if e.op == "+" else "-", a, b, wanted, span=e.span)

    def equality(self, e: S.Binary, env: Env) -> E.Expr:
        left, right = self.sides(e.left, e.right, env, None)
        number = _number_in_union(left, right, e)
        if number is not None:
            return number if e.op == "==" else fold(E.Not(number, span=e.span))
        a, b, t = self.unify(left, right, None, e, (e.left.span, e.right.span))
        return WRONG if t == ERROR else fold(E.Compare("==" if e.op == "==" else "!=", a, b, span=e.span))

    def membership(self, e: S.Binary, env: Env) -> E.Expr:
        """`x in S`, `x in lo..hi`, `x in Cpu`"""
        if isinstance(e.right, S.RangeExpr):
            left = self.infer(e.left, env, INT)
            v = self.as_number(left, e.left.span)
            low, high = self.integer(e.right.low, env), self.integer(e.right.high, env)
            if ERROR in (v.type, low.type, high.type):
                return WRONG
            inside = fold(E.InRange(v, low, high, span=e.span))
            return self._if_number(left, inside, e) if isinstance(left.type, Union) else inside
        if isinstance(e.right, S.Name) and e.right.name not in env.names:
            symbol = self.names.symbols.get(e.right.name)
            if isinstance(symbol, S.TypeDecl):
                return self._in_type(e, self.names.named_type(e.right.name, e.right.span), env)
        if self.needs_hint(e.left, env) or holds(e.right, "readers"):
            right = self.infer(e.right, env)
            element = right.type.element if isinstance(right.type, Set) else None
            left = self.infer(e.left, env, element)
        else:
            left = self.infer(e.left, env)
            if is_int(left.type) and isinstance(e.right, S.SetLit) and e.right.elements:
                return self._one_of(left, e.right.elements, e, env)
            right = self.infer(e.right, env, Set(left.type) if is_scalar(left.type) and left.type != NULL else None)
        if ERROR in (left.type, right.type):
            return WRONG
        if not isinstance(right.type, Set):
            return self.error(
                "HMM030", e.right.span, f"a set is wanted right of `in`, and this is {show_type(right.type)}"
            )
        return self._in_set(left, right, e)

    def _one_of(self, number: E.Expr, elements: tuple[S.Expr, ...], e: S.Binary, env: Env) -> E.Expr:
        """`n in {1, 5}`: numbers are compared as they are, whatever ranges they come from."""
        found: E.Expr = E.FALSE
        for x in elements:
            value = self.integer(x, env)
            if value.type == ERROR:
                return WRONG
            found = fold(E.Logic("||", found, fold(E.Compare("==", number, value, span=e.span)), span=e.span))
        return found

    def _if_number(self, union: E.Expr, test: E.Expr, e: S.Binary) -> E.Expr:
        """A test of a union's number: false where the union holds another member."""
        assert isinstance(union.type, Union)
        ranges = tuple(i for i, m in enumerate(union.type.members) if isinstance(m, Range))
        return E.Logic("&&", E.IsMember(union, ranges, span=union.span), test, span=e.span)

    def _in_set(self, left: E.Expr, right: E.Expr, e: S.Binary) -> E.Expr:
        assert isinstance(right.type, Set)
        element, t = right.type.element, left.type
        if t == element:
            return E.InSet(left, right, span=e.span)
        # A value that the set's element type cannot hold is not in the set: false, not a spec error.
        if is_int(t) and isinstance(element, Range):
            inside = fold(E.InRange(left, literal(element.low), literal(element.high), span=e.span))
            return fold(E.Logic("&&", inside, E.InSet(E.Cast(left, element, span=e.left.span), right), span=e.span))
        if is_int(t) and isinstance(element, Union) and any(isinstance(m, Range) for m in element.members):
            number = next(m for m in element.members if isinstance(m, Range))
            fits = fold(E.InRange(left, literal(number.low), literal(number.high), span=e.span))
            held = E.InSet(self.coerce(left, element, e.left.span), right, span=e.span)
            return fold(E.Logic("&&", fits, held, span=e.span))
        if isinstance(t, Union):
            targets = element.members if isinstance(element, Union) else (element,)
            numbers = tuple(i for i, m in enumerate(t.members) if m in targets)
            if numbers:
                such = E.IsMember(left, numbers, span=e.left.span)
                return E.Logic("&&", such, E.InSet(E.Cast(left, element, span=e.left.span), right), span=e.span)
        if accepts(element, t):
            return E.InSet(self.coerce(left, element, e.left.span), right, span=e.span)
        return self.error("HMM030", e.span, f"{show_type(t)} is never in {show_type(right.type)}")

    def _in_type(self, e: S.Binary, t: Type, env: Env) -> E.Expr:
        value = self.infer(e.left, env, t)
        if ERROR in (value.type, t):
            return WRONG
        if isinstance(t, Range) and is_int(value.type):
            return fold(E.InRange(value, literal(t.low), literal(t.high), span=e.span))
        wanted = t.members if isinstance(t, Union) else (t,)
        if isinstance(value.type, Union):
            numbers = tuple(i for i, m in enumerate(value.type.members) if m in wanted)
            if numbers:
                return E.IsMember(value, numbers, span=e.span)
        elif value.type in wanted:
            return E.Const(True, BOOL, span=e.span)
        return self.error("HMM030", e.span, f"{show_type(value.type)} is never in {show_type(t)}")


def holds(e: S.Expr, what: str) -> bool:
    """Whether this is `holder(L)` or `readers(L)`: a thread on the other side is the thread, not its label."""
    return isinstance(e, S.Call) and e.name.name == what


def _number_in_union(left: E.Expr, right: E.Expr, e: S.Binary) -> E.Expr | None:
    """`x == 5` where x is a union with a range: false, not an error, where x holds another member or where 5 is
    outside the range.  None if the sides are not of that kind."""
    for union, number in ((left, right), (right, left)):
        if isinstance(union.type, Union) and is_int(number.type):
            ranges = [i for i, m in enumerate(union.type.members) if isinstance(m, Range)]
            if ranges:
                value = E.Cast(union, union.type.members[ranges[0]], span=union.span)
                is_number = E.IsMember(union, (ranges[0],), span=union.span)
                return E.Logic("&&", is_number, E.Compare("==", value, number, span=e.span), span=e.span)
    return None
