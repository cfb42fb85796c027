"""Threads and procedures to variables and rules.

A thread `t[c]` becomes a variable `t` (at which label each instance stands), one variable per local (`t.x`) and
argument (`t.p`, null before it is chosen), and one rule per label: everything from that label to the next one that
control reaches.  A procedure is put in the place of each call; while a thread is inside one, `t` keeps the caller's
label and a hidden variable `t.call` says where inside.  Locks become owner variables (see build.py).
"""

from __future__ import annotations

from hmmspec.diagnostics import Span
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.elaborate.flow import (
    labels,
    statements,
)
from hmmspec.system.elaborate.frame import path_key
from hmmspec.system.elaborate.names import arrays, optional
from hmmspec.system.elaborate.scope import Env
from hmmspec.system.elaborate.steps import ThreadSteps
from hmmspec.system.elaborate.typing import Typer
from hmmspec.system.types import Enum


class ThreadLowerer(ThreadSteps):
    """Lowers one thread: `variables()` and `rules()`."""

    def __init__(self, typer: Typer, decl: S.Thread, procedures: dict[str, S.Procedure]) -> None:
        super().__init__(typer, decl, procedures)
        self._find_calls(self.body, (), self.env, ())

    def variables(self) -> tuple[core.Variable, ...]:
        name, index = self.shape.name, self.shape.index
        binders = tuple(f"_{i}" for i in range(len(index)))
        labels_type = self.shape.labels
        first = E.Const(labels_type.literals.index(self.first_label()), labels_type)
        out = [
            core.Variable(
                name,
                arrays(index, labels_type),
                len(index),
                core.InitExpr(binders, first),
                "label",
                name,
                span=self.decl.name.span,
            )
        ]
        if self.points:
            out.append(
                core.Variable(
                    self.call_variable,
                    arrays(index, self.point_type),
                    len(index),
                    core.InitExpr(binders, self._point(0)),
                    "point",
                    name,
                    span=self.decl.name.span,
                )
            )
        return (*out, *self.locals_of.values())

    def rules(self, first_number: int) -> list[core.Rule]:
        """One rule per label and per point; statements that nothing reaches are reported."""
        self._testing = set()
        out: list[core.Rule] = []
        runs = (
            self.typer.boolean(self.decl.runs_when, Env(self.index_env.names))
            if self.decl.runs_when is not None
            else E.TRUE
        )
        first = self.first_label()
        for label in labels(self.body):
            name = label.name.name
            if name in self.shape.aliases or id(label) not in self.where:
                self.visited.add(id(label))
                continue
            self.visited.add(id(label))
            self.origin, self.inside = None, None
            block = self.run(self.where[id(label)], dirty=False, fresh=True)
            guard = self._stands(self.shape.name, self.shape.labels, self.shape.labels.literals.index(name), label.span)
            if self.points:
                guard = E.Logic("&&", guard, self._stands(self.call_variable, self.point_type, 0, label.span))
            params = self._index_params()
            if name == first and self.shape.params:
                params, block = self._choose_arguments(params, block)
            out.append(self._rule(first_number + len(out), name, params, guard, runs, block, label.span))
        for number, point in enumerate(self.points):
            self.visited.add(id(point.label))
            self.origin, self.inside = point, point.instance
            start = self.call_places[path_key(point.instance.path)][id(point.label)]
            block = self.run(start, dirty=False, fresh=True)
            guard = self._stands(self.call_variable, self.point_type, number + 1, point.label.span)
            out.append(
                self._rule(
                    first_number + len(out), point.name, self._index_params(), guard, runs, block, point.label.span
                )
            )
        if (
            len(self.diagnostics.items) == self.mistakes_before
        ):  # a mistake elsewhere cuts paths off: not worth a second message
            self._report_unreachable()
        return self._reachable(out)

    def _stands(self, variable: str, t: Enum, number: int, span: Span) -> E.Expr:
        return E.Compare("==", self.at(variable, t, span), E.Const(number, t, span=span), span=span)

    def _index_params(self) -> tuple[core.Parameter, ...]:
        return tuple(core.Parameter(x.name, x.type) for x in self.index if isinstance(x, E.Local))

    def _choose_arguments(
        self, params: tuple[core.Parameter, ...], block: core.Block
    ) -> tuple[tuple[core.Parameter, ...], core.Block]:
        """The first step chooses the arguments: they become parameters of its rule, and are kept first of all."""
        kept: list[core.Stmt] = []
        for (name, t), d in zip(self.shape.params, self.decl.params, strict=True):
            cell = self.at(f"{self.shape.name}.{name}", optional(t), d.span)
            chosen = E.Local(name, t, span=d.span)
            read = E.Cast(cell, t)
            block = E.rewrite(block, lambda e, read=read, chosen=chosen: chosen if e == read else None)  # type: ignore[misc]
            kept.append(core.Assign(cell, self.typer.coerce(chosen, optional(t), d.span), span=d.span))
            params = (*params, core.Parameter(name, t))
        return params, (*kept, *block)

    def _rule(
        self,
        number: int,
        label: str,
        params: tuple[core.Parameter, ...],
        guard: E.Expr,
        runs: E.Expr,
        block: core.Block,
        span: Span,
    ) -> core.Rule:
        return core.Rule(
            number,
            f"{self.shape.name}.{label}",
            params,
            guard if runs == E.TRUE else E.Logic("&&", guard, runs, span=span),
            block,
            "thread",
            None,
            self.shape.name,
            label,
            len(self.shape.index),
            span=span,
        )

    def _report_unreachable(self) -> None:
        if len({s.span.path for s in statements(self.body)}) > 1:
            return  # a patch replaced some of the steps: that others are left without a way to them is no mistake in it
        first = self.body[0]
        bodies = [(self.body, self.where)]
        for label in labels(self.body):
            if label is not first and id(label) not in self.arrived and label.name.name not in self.shape.aliases:
                reached_by_alias = any(
                    target == label.name.name
                    and any(id(x) in self.arrived or x is first for x in labels(self.body) if x.name.name == a)
                    for a, target in self.shape.aliases.items()
                )
                if not reached_by_alias:
                    self.error("HMM048", label.span, f"nothing leads to the label '{label.name.name}'")
        for body, _ in bodies:
            for s in statements(body):
                if id(s) not in self.visited and not isinstance(s, S.Label):
                    self.error("HMM048", s.span, "this statement can never be reached")
                    break

    def _reachable(self, rules: list[core.Rule]) -> list[core.Rule]:
        """Without the rules of labels that the parameters' values cut off (`if (PATCHED) { .. }`)."""
        by_place: dict[tuple[str, object], core.Rule] = {}
        for r in rules:
            inside = r.label in {p.name for p in self.points}
            number = (
                1 + next(i for i, p in enumerate(self.points) if p.name == r.label)
                if inside
                else self.shape.labels.literals.index(str(r.label))
            )
            by_place[self.call_variable if inside else self.shape.name, number] = r
        first = by_place[self.shape.name, self.shape.labels.literals.index(self.first_label())]
        todo, kept = [first], {first.number}
        while todo:
            for variable, value in _places_assigned(todo.pop().body):
                rule = by_place.get((variable, value))
                if rule is not None and rule.number not in kept:
                    kept.add(rule.number)
                    todo.append(rule)
        return [r for r in rules if r.number in kept]


def _places_assigned(block: core.Block) -> list[tuple[str, object]]:
    out: list[tuple[str, object]] = []
    for s in block:
        match s:
            case core.Assign(target, E.Const(value, Enum())):
                while isinstance(target, E.Index):
                    target = target.base
                if isinstance(target, E.Var):
                    out.append((target.name, value))
            case core.IfElse(_, a, b):
                out += _places_assigned(a) + _places_assigned(b)
            case core.Either(branches):
                for b in branches:
                    out += _places_assigned(b)
            case _:
                pass
    return out
