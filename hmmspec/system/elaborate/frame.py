"""The variables of a thread: its arguments, locals and place, and the names under which its body sees them."""

from __future__ import annotations

from dataclasses import dataclass

from hmmspec.diagnostics import Span
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.elaborate.base import WRONG, element
from hmmspec.system.elaborate.flow import (
    Cont,
    Instance,
    bound_names,
    locks_named,
    places,
    with_start,
)
from hmmspec.system.elaborate.locks import LockOps
from hmmspec.system.elaborate.lower import Lowerer
from hmmspec.system.elaborate.names import arrays, optional
from hmmspec.system.elaborate.scope import Env, Me
from hmmspec.system.elaborate.typing import Typer
from hmmspec.system.types import Array, Enum, Type


@dataclass(frozen=True)
class Point:
    """A label inside a procedure at one call site; `name` is how it is shown."""

    name: str
    instance: Instance
    label: S.Label


class ThreadFrame(Lowerer, LockOps):
    """The state of one thread's lowering; see threads.py."""

    def __init__(self, typer: Typer, decl: S.Thread, procedures: dict[str, S.Procedure]) -> None:
        super().__init__(typer)
        self.mistakes_before = len(typer.diagnostics.items)
        self.decl = decl
        self.shape = self.names.thread(decl)
        self.procedures = procedures
        self.body = with_start(decl.body, decl.name)
        self.taken = locks_named(self.body, procedures)[0]
        self.index_env, self.index = self._index_env()
        self.me = Me(self.shape.name, self.index)
        self.instances: dict[tuple[int, ...], Instance] = {}
        self.points: list[Point] = []
        self.locals_of: dict[str, core.Variable] = {}
        self.resets: list[core.Stmt] = []  # of the thread itself
        self.procedure_resets: dict[str, list[core.Stmt]] = {}
        self.arrived: set[int] = set()
        self.origin: Point | None = None  # the point that the step being lowered starts from
        self.env = self._thread_env()
        self.where: dict[int, Cont] = places(self.body, self.env, None)
        self.call_places: dict[tuple[int, ...], dict[int, Cont]] = {(): self.where}

    def _index_env(self) -> tuple[Env, tuple[E.Expr, ...]]:
        env, index = Env(), []
        for i, (d, t) in enumerate(zip(self.decl.indices, self.shape.index, strict=False)):
            name = d.name.name if d.name else f"_{i}"
            if d.name:
                self.typer.check_new_name(d.name, env)
            local = E.Local(name, t, span=d.span)
            env = env.bind(name, local, d.span)
            index.append(local)
        return env, tuple(index)

    def at(self, variable: str, t: Type, span: Span) -> E.Expr:
        """This thread's element of one of its variables."""
        return element(E.Var(variable, arrays(self.shape.index, t), span=span), self.index, span)

    def _thread_env(self) -> Env:
        env = Env(self.index_env.names, bound_names(self.body), self.me)
        name = self.shape.name
        for (p, t), d in zip(self.shape.params, self.decl.params, strict=True):
            self.typer.check_new_name(d.name, env)
            stored = optional(t)
            variable = core.Variable(
                f"{name}.{p}",
                arrays(self.shape.index, stored),
                len(self.shape.index),
                core.InitExpr(tuple(f"_{i}" for i in range(len(self.shape.index))), E.Const(0, stored)),
                "local",
                name,
                span=d.span,
            )
            self.locals_of[f"{name}.{p}"] = variable
            read = self.at(f"{name}.{p}", stored, d.span)
            self.resets.append(core.Assign(read, E.Const(0, stored), span=d.span))
            env = env.bind(p, E.Cast(read, t, span=d.span), d.span)
        return self._add_locals(self.decl.locals, f"{name}.", env, self.resets)

    def _add_locals(self, decls: tuple[S.VarDecl, ...], prefix: str, env: Env, resets: list[core.Stmt]) -> Env:
        first_env = Env(self.index_env.names, state=False)
        out = env
        for v in decls:
            self.typer.check_new_name(v.name, out)
            t = arrays(tuple(self.names.index_type(i) for i in v.indices), self.names.stored_type(v.type))
            inner, depth = t, 0
            binders: list[str] = [x.name for x in self.index if isinstance(x, E.Local)]
            v_env = first_env
            cell: E.Expr = self.at(prefix + v.name.name, t, v.span)
            loops: list[E.Binder] = []
            for i, d in enumerate(v.indices):
                if not isinstance(inner, Array):
                    break
                own = d.name.name if d.name else f"_{len(self.index) + i}"
                binders.append(own)
                local = E.Local(own, inner.index, span=d.span)
                v_env = v_env.bind(own, local, d.span)
                loops.append(E.Binder(own, local.type, E.OverType(local.type)))
                inner, depth = inner.element, depth + 1
                cell = E.Index(cell, local, inner, span=v.span)
            if v.init is None or isinstance(v.init, S.AnyInit):
                what = "has no first value" if v.init is None else "needs one first value: it returns to it"
                self.error("HMM040", v.span, f"the local '{v.name.name}' {what}", fix="give it one: `= e`")
                first: E.Expr = WRONG
            else:
                first = self.typer.check(v.init, v_env, inner)
            self.locals_of[prefix + v.name.name] = core.Variable(
                prefix + v.name.name,
                arrays(self.shape.index, t),
                len(self.shape.index) + depth,
                core.InitExpr(tuple(binders), first),
                "local",
                self.shape.name,
                span=v.span,
            )
            reset: core.Stmt = core.Assign(cell, first, span=v.span)
            if loops:
                reset = core.For(tuple(loops), None, (reset,), span=v.span)
            resets.append(reset)
            out = out.bind(v.name.name, self.at(prefix + v.name.name, t, v.span), v.span)
        return out

    def _stand(self, label: str, span: Span) -> core.Stmt:
        t = self.shape.labels
        return core.Assign(self.at(self.shape.name, t, span), E.Const(t.literals.index(label), t, span=span), span=span)

    @property
    def call_variable(self) -> str:
        return f"{self.shape.name}.call"

    @property
    def point_type(self) -> Enum:
        return Enum(self.call_variable, ("outside", *(p.name for p in self.points)))

    def _point(self, number: int) -> E.Expr:
        return E.Const(number, self.point_type)

    def first_label(self) -> str:
        first = self.body[0]
        assert isinstance(first, S.Label)
        return self.shape.aliases.get(first.name.name, first.name.name)


def path_key(path: tuple[S.CallStmt, ...]) -> tuple[int, ...]:
    return tuple(id(s) for s in path)
