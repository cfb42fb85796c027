"""From syntax to typed core expressions: names resolved, literals decided by the expected type, casts made explicit.

`Typer.infer(e, env, hint)` gives the expression some type, using the hint only where `e` could mean several things;
`Typer.check(e, env, target)` gives it exactly the target type, with a `Cast` where the contract accepts one.
"""

from __future__ import annotations

from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system.elaborate.base import WRONG
from hmmspec.system.elaborate.binders import BinderTyping
from hmmspec.system.elaborate.constants import fold
from hmmspec.system.elaborate.names import (
    ERROR,
)
from hmmspec.system.elaborate.naming import NameTyping
from hmmspec.system.elaborate.operators import OperatorTyping
from hmmspec.system.elaborate.scope import Env
from hmmspec.system.types import (
    BOOL,
    NULL,
    Queue,
    Range,
    Set,
    Type,
)


class Typer(NameTyping, OperatorTyping, BinderTyping):
    """Types expressions against the names of one instance."""

    def infer(self, e: S.Expr, env: Env, hint: Type | None = None) -> E.Expr:
        match e:
            case S.IntLit(value):
                return E.Const(value, Range(value, value), span=e.span)
            case S.BoolLit(value):
                return E.Const(value, BOOL, span=e.span)
            case S.NullLit():
                if hint == ERROR:
                    return WRONG
                return E.Const(0, NULL, span=e.span)
            case S.EmptyQueue():
                if hint == ERROR:
                    return WRONG
                if isinstance(hint, Queue):
                    return E.Const((), hint, span=e.span)
                fix = "the empty set is `{}`" if isinstance(hint, Set) else None
                return self.error("HMM023", e.span, "`[]` needs a queue to be the empty value of", fix)
            case S.Name():
                return self.name(e, env, hint)
            case S.Call():
                return self.call(e, env, hint)
            case S.RecordLit():
                return self.record(e, env)
            case S.Index():
                return self.index(e, env, hint)
            case S.Member():
                return self.member(e, env)
            case S.SetLit():
                return self.set_literal(e, env, hint)
            case S.SetComp():
                return self.comprehension(e, env)
            case S.Unary("!", operand):
                return fold(E.Not(self.boolean(operand, env), span=e.span))
            case S.Unary(_, operand):
                return fold(E.Negate(self.integer(operand, env), span=e.span))
            case S.Binary():
                return self.binary(e, env, hint)
            case S.IfExpr():
                return self.conditional(e, env, hint)
            case S.Quant():
                return self.quantifier(e, env)
            case S.Held():
                return self.held(e, env)
            case S.RangeExpr():
                return self.error("HMM024", e.span, "a range stands only right of `in` and in a binder")
            case S.Trylock():
                return self.error(
                    "HMM042",
                    e.span,
                    "`trylock` stands only in an `if` condition of a thread, alone or last",
                    fix="write `if (trylock L) { .. } else { .. }`",
                )
            case S.LeadsTo():
                return self.error("HMM056", e.span, "`~>` stands only in a `leads_to`, alone or inside its `forall`s")
