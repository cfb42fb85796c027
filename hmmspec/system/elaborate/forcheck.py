"""`for` over a symmetric type: the order of its passes must not matter.

A pass may write only at its own index, and may read nothing that another pass writes.  That is what keeps the
symmetry reduction sound: identities have no order that a loop could follow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace

from hmmspec.diagnostics import Diagnostics
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.analyse import statements
from hmmspec.system.types import Symmetric, ThreadId, Type, Union


def is_symmetric(t: Type) -> bool:
    """Whether the values of the type are (or include) identities that can be exchanged."""
    match t:
        case Symmetric(_, size):
            return size > 1
        case Union(members):
            return any(is_symmetric(m) for m in members)
        case ThreadId(_, index):
            return any(is_symmetric(i) for i in index)
        case _:
            return False


@dataclass(frozen=True)
class Crossing:
    """What makes the order of passes matter: the statement that writes, or the expression that reads, and of what."""

    at: core.Stmt | E.Expr
    variable: str


def check_for(loop: core.For, defines: Mapping[str, core.Define], diagnostics: Diagnostics) -> None:
    """Report what makes the order of the passes of a symmetric loop matter."""
    symmetric = frozenset(b.name for b in loop.binders if is_symmetric(b.type))
    found = own_parts(loop, symmetric, defines) if symmetric else {}
    if not isinstance(found, Crossing):
        return
    if isinstance(found.at, core.Assign):
        diagnostics.error(
            "HMM051",
            found.at.span,
            "a `for` over a symmetric type writes here outside its own index: the order of its passes would show",
            fix=f"write only `..[{min(symmetric)}]`, or use count, sum or a set comprehension",
        )
    else:
        diagnostics.error(
            "HMM051",
            found.at.span if found.at.span.source.text else loop.span,
            f"a pass of this `for` over a symmetric type reads '{found.variable}', which another pass writes",
            fix="take a copy before the loop, or read only at the loop's own index",
        )


def own_parts(
    loop: core.For, names: frozenset[str], defines: Mapping[str, core.Define]
) -> dict[str, dict[str, set[int]]] | Crossing:
    """What each pass has to itself: variable -> name of the loop (of these) -> index positions at which every write and
    read of the variable has that name.  Or else what passes do to one another."""
    # Under names that no define can bind, so that those in the bodies of defines are not taken for the loop's.
    loop = E.rewrite(
        loop, lambda e: replace(e, name=f"{e.name} ") if isinstance(e, E.Local) and e.name in names else None
    )
    own = {f"{name} " for name in names}
    positions: dict[str, dict[str, set[int]]] = {}
    for s in statements(loop.body):
        if not isinstance(s, core.Assign):
            continue
        root, indices = _path(s.target)
        assert root is not None, "an assignment stores into a variable"
        own_at = {n: {i for i, e in enumerate(indices) if _is_local(e, n)} for n in own}
        before = positions.get(root.name, own_at)
        positions[root.name] = {n: before[n] & own_at[n] for n in own}
        if not all(positions[root.name].values()):
            return Crossing(s, root.name)
    for e in _expressions(loop, defines):
        bad = _foreign_read(e, positions)
        if bad is not None:
            return Crossing(e, bad)
    return {variable: {n.rstrip(): set(i) for n, i in at.items()} for variable, at in positions.items()}


def _foreign_read(e: E.Expr, written: Mapping[str, Mapping[str, set[int]]]) -> str | None:
    """A written variable that the expression reads elsewhere than at the loop's own index: each name of the loop must
    stand in the read at a position where it stands in all writes, so that no other pass can have written there."""
    parts = list(E.children(e))
    if isinstance(e, E.Index | E.Field | E.Var):
        root, indices = _path(e)
        if root is not None and root.name in written:
            for name, at in written[root.name].items():
                if not any(i < len(indices) and _is_local(indices[i], name) for i in at):
                    return root.name
            parts = list(indices)
    for p in parts:
        bad = _foreign_read(p, written)
        if bad is not None:
            return bad
    return None


def _is_local(e: E.Expr, name: str) -> bool:
    # Also as a member of a union, or out of one: different values stay different.
    while isinstance(e, E.Cast):
        e = e.operand
    return isinstance(e, E.Local) and e.name == name


def _path(e: E.Expr) -> tuple[E.Var | None, list[E.Expr]]:
    """The variable at the root of a chain of indices and fields (None if it is no variable), and the indices."""
    indices: list[E.Expr] = []
    while isinstance(e, E.Index | E.Field | E.Cast):
        if isinstance(e, E.Index):
            indices.insert(0, e.index)
        e = e.operand if isinstance(e, E.Cast) else e.base
    return (e if isinstance(e, E.Var) else None), indices


def _expressions(loop: core.For, defines: Mapping[str, core.Define]) -> Iterator[E.Expr]:
    """Every expression that a pass evaluates, the bodies of the defines it applies included; of an assignment's
    target only the indices (it is written, not read)."""

    def with_defines(e: E.Expr) -> Iterator[E.Expr]:
        yield e
        for x in E.walk(e):
            if isinstance(x, E.Apply) and x.define in defines:
                define = defines[x.define]
                given = dict(zip((p.name for p in define.params), x.args, strict=True))
                yield from with_defines(E.substitute(define.body, given))

    for b in loop.binders[1:]:  # the first is asked before all passes
        yield from (x for e in _bounds(b) for x in with_defines(e))
    if loop.filter is not None:
        yield from with_defines(loop.filter)
    for s in statements(loop.body):
        for f in fields(s):
            value = getattr(s, f.name)
            if isinstance(s, core.Assign) and f.name == "target":
                for index in _path(value)[1]:
                    yield from with_defines(index)
            elif isinstance(value, E.Node):
                yield from with_defines(value)  # type: ignore[arg-type]
            elif f.name == "binders":
                yield from (x for b in value for e in _bounds(b) for x in with_defines(e))


def _bounds(b: E.Binder) -> tuple[E.Expr, ...]:
    """What the domain of a binder is made of."""
    match b.domain:
        case E.OverSet(of):
            return (of,)
        case E.OverRange(low, high):
            return (low, high)
        case E.OverType():
            return ()
