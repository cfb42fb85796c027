"""Names: what a spec declares (one namespace), and what is bound inside a rule, property or define."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hmmspec.diagnostics import Diagnostics, Note, Span
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system.system import BUILT_IN_FINDINGS
from hmmspec.system.types import Type

BUILT_IN_CALLS = ("head", "size", "min", "max")


@dataclass(frozen=True)
class Bound:
    """A bound name and the expression that reading it means."""

    value: E.Expr
    span: Span


@dataclass(frozen=True)
class Me:
    """The thread whose body is being read: its name and the values of its index."""

    thread: str
    index: tuple[E.Expr, ...]


@dataclass(frozen=True)
class Env:
    """What an expression may see besides the declarations.

    ended: let names that a label has ended, for a better message.  me: inside a thread.  primes: inside a `step`.
    state: whether variables may be read (not in a size, a range or a first value).
    """

    names: Mapping[str, Bound] = field(default_factory=dict)
    ended: frozenset[str] = frozenset()
    me: Me | None = None
    primes: bool = False
    state: bool = True

    def bind(self, name: str, value: E.Expr, span: Span) -> Env:
        return Env({**self.names, name: Bound(value, span)}, self.ended, self.me, self.primes, self.state)

    def fresh(self, name: str) -> str:
        """A name for a core Local that no enclosing scope uses (inlined procedures can bring the same name twice)."""
        used = {b.value.name for b in self.names.values() if isinstance(b.value, E.Local)}
        candidate, n = name, 1
        while candidate in used:
            n += 1
            candidate = f"{name}_{n}"
        return candidate


# What a spec-wide name can be.
Symbol = (
    S.ParamDecl
    | S.TypeDecl
    | S.VarDecl
    | S.Define
    | S.Machine
    | S.LockDecl
    | S.Transition
    | S.Thread
    | S.Procedure
    | S.Property
    | S.Observe
    | S.Instance
    | S.Arrow
)

_KIND = {
    S.ParamDecl: "a param",
    S.TypeDecl: "a type",
    S.VarDecl: "a variable",
    S.Define: "a define",
    S.Machine: "a machine",
    S.LockDecl: "a lock",
    S.Transition: "a transition",
    S.Thread: "a thread",
    S.Procedure: "a procedure",
    S.Property: "a property",
    S.Observe: "an observation",
    S.Instance: "an instance",
    S.Arrow: "an arrow",
}


def kind_of(symbol: Symbol) -> str:
    """`a variable`, `a thread`, ..: for messages."""
    return _KIND[type(symbol)]


def collect(spec: S.Spec, diagnostics: Diagnostics) -> dict[str, Symbol]:
    """The namespace of a spec.  A name defined twice is reported; the first meaning stays."""
    out: dict[str, Symbol] = {}

    def add(name: S.Ident, symbol: Symbol) -> None:
        if name.name in BUILT_IN_FINDINGS or name.name in BUILT_IN_CALLS:
            diagnostics.error("HMM059", name.span, f"'{name.name}' is a name that hmmspec gives to a built-in")
            return
        old = out.get(name.name)
        if old is None:
            out[name.name] = symbol
        elif not (isinstance(old, S.Arrow) and isinstance(symbol, S.Arrow)):
            diagnostics.error(
                "HMM021",
                name.span,
                f"'{name.name}' is defined twice",
                notes=[Note(f"it is {kind_of(old)} already, defined here", old.name.span)],
            )

    for d in spec.declarations:
        match d:
            case (
                S.ParamDecl()
                | S.TypeDecl()
                | S.VarDecl()
                | S.Define()
                | S.LockDecl()
                | S.Transition()
                | S.Thread()
                | S.Procedure()
                | S.Property()
                | S.Observe()
                | S.Instance()
            ):
                add(d.name, d)
            case S.Machine():
                add(d.name, d)
                for arrow in d.arrows:
                    add(arrow.name, arrow)
            case _:
                pass
    return out


@dataclass(frozen=True)
class VariableInfo:
    """A state variable as expressions see it."""

    name: str
    type: Type
