"""`build`: a loaded spec and values for its params become one `System`.

    names and types  (names.py, typing.py)   every expression gets a type, every conversion a Cast
    steps            (lower.py, threads.py, locks.py)   transitions, arrows and threads become rules
    the rest         (properties.py)   properties, fairness, events, expectations, refinement

A mistake in any of them is collected; `SpecError` holds all of them, of all instances asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hmmspec.diagnostics import NOWHERE, Diagnostic, Diagnostics, Severity, SpecError, did_you_mean
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.elaborate.flow import END, Seq, locks_named, statements
from hmmspec.system.elaborate.lower import Lowerer
from hmmspec.system.elaborate.names import ERROR, Names
from hmmspec.system.elaborate.params import settle
from hmmspec.system.elaborate.properties import Rest, RuleIndex
from hmmspec.system.elaborate.refinement import refinement_map
from hmmspec.system.elaborate.scope import Env, collect
from hmmspec.system.elaborate.shapes import thread_shape
from hmmspec.system.elaborate.threads import ThreadLowerer
from hmmspec.system.elaborate.typing import Typer
from hmmspec.system.types import Array, Enum, Set, Symmetric, Type

Value = S.Expr | E.Const | int | str  # of a param: an expression, a constant, a number or truth value, a literal's name
Overrides = Mapping[str, Value]


@dataclass(frozen=True)
class Built:
    """A system and what should be said about the spec besides."""

    system: core.System
    warnings: tuple[Diagnostic, ...]


def instance_names(spec: S.Spec) -> tuple[str, ...]:
    """The instances a spec declares; `default` (all params at their defaults) if it declares none."""
    declared = tuple(d.name.name for d in spec.declarations if isinstance(d, S.Instance))
    return declared or ("default",)


def build_all(
    spec: S.Spec, instances: Sequence[str] | None = None, overrides: Overrides | None = None
) -> list[core.System]:
    """One System for each instance.

    instances: names to build; None: all that the spec declares or, when params are overridden, `default`.
    overrides: values for params, stronger than the instance's and the defaults.
    Raises SpecError with every mistake found in any of the instances.
    """
    return [b.system for b in build_with_warnings(spec, instances, overrides)]


def build_with_warnings(
    spec: S.Spec, instances: Sequence[str] | None = None, overrides: Overrides | None = None
) -> list[Built]:
    """As `build_all`, each system with the warnings about it."""
    if instances is None:
        instances = ("default",) if overrides else instance_names(spec)
    out: list[Built] = []
    errors: list[Diagnostic] = []
    for name in instances:
        try:
            out.append(_build(spec, name, overrides or {}))
        except SpecError as e:
            errors.extend(e.diagnostics)
    if errors:
        raise SpecError(errors)
    return out


def build(spec: S.Spec, overrides: Overrides | None = None, instance: str = "default") -> core.System:
    """The System of one instance (`default`: every param at its default).  Raises SpecError."""
    return _build(spec, instance, overrides or {}).system


def _build(spec: S.Spec, instance: str, overrides: Overrides) -> Built:
    try:
        return _Builder(spec, instance, overrides).build()
    except RecursionError:
        raise SpecError(
            [
                Diagnostic(
                    "HMM055", "the spec is nested too deeply (defines within defines, calls within calls)", spec.span
                )
            ]
        ) from None


class _Builder:
    """One run of `build`."""

    def __init__(self, spec: S.Spec, instance: str, overrides: Overrides) -> None:
        self.spec = spec
        self.instance = instance
        self.overrides = overrides
        self.diagnostics = Diagnostics()
        self.symbols = collect(spec, self.diagnostics)
        self.names = Names(self.symbols, self.diagnostics)
        self.typer = Typer(self.names)
        self.names.make_define = self._define
        self.names.make_thread = lambda decl: thread_shape(decl, self.names)
        self.procedures = {d.name.name: d for d in spec.declarations if isinstance(d, S.Procedure)}
        self.rules: list[core.Rule] = []
        self.index = RuleIndex()
        self.asserts: dict[str, core.AssertProperty] = {}
        self.thread_variables: list[core.Variable] = []
        self.threads: list[core.ThreadInfo] = []

    def build(self) -> Built:
        declarations = self.spec.declarations
        settle(self.spec, self.instance, {n: _as_expr(v) for n, v in self.overrides.items()}, self.names)
        self.diagnostics.raise_if_errors()  # without its params nothing else of an instance has a meaning
        for d in declarations:
            if isinstance(d, S.Thread):
                for lock in locks_named(d.body, self.procedures)[1]:
                    self.names.lock_users.setdefault(lock, []).append(d.name.name)
        for d in declarations:
            if isinstance(d, S.TypeDecl):
                self.names.named_type(d.name.name, d.name.span)
        used_types = {n for n in self.names.used if not isinstance(self.symbols.get(n), S.Define)}
        variables = [v for d in declarations for v in self._variables(d)]
        for d in declarations:
            if isinstance(d, S.Define):
                self.names.define(d, d.span)
        self.names.used -= used_types
        for d in declarations:
            self._rules(d)
        kept = [r for r in self.rules if not _switched_off(r.guard)]
        renumber = {r.number: i for i, r in enumerate(kept)}
        rules = tuple(replace(r, number=renumber[r.number]) for r in kept)
        rest = Rest(self.spec, self.instance, self.typer, self.index.renumbered(renumber), rules, self.asserts)
        parts = rest.parts()
        refinement = self._refinement() if self.spec.refines is not None else None
        self.diagnostics.raise_if_errors()
        system = core.System(
            name=self.spec.name,
            doc=self.spec.doc or "",
            path=self.spec.files[0] if self.spec.files else self.spec.span.path,
            instance=self.instance,
            params=tuple((n, c.value, c.type) for n, c in self.names.params.items()),
            symmetric=tuple(t for t in self.names.types.values() if isinstance(t, Symmetric)),
            variables=(*variables, *self.thread_variables),
            defines=tuple(self.names.defines.values()),
            rules=rules,
            threads=tuple(self.threads),
            locks=tuple(
                core.LockInfo(s.owner, s.decl.kind, s.index, s.owner, s.readers, s.owner_type, span=s.decl.name.span)
                for s in (self.names.lock(d) for d in declarations if isinstance(d, S.LockDecl))
            ),
            properties=parts.properties,
            terminal=parts.terminal,
            assumes=parts.assumes,
            fairness=parts.fairness,
            events=parts.events,
            observations=parts.observations,
            anchors=parts.anchors,
            proofs=parts.proofs,
            expectation=parts.expectation,
            refinement=refinement,
        )
        return Built(system, self._warnings())

    # ------------------------------------------------------------ variables and defines

    def _variables(self, d: S.Declaration) -> list[core.Variable]:
        match d:
            case S.VarDecl():
                t = self.names.variable_type(d)
                return [core.Variable(d.name.name, t, len(d.indices), self._first_value(d, t), span=d.name.span)]
            case S.Machine():
                t = self.names.variable_type(d)
                return [
                    core.Variable(d.name.name, t, len(d.indices), self._first_state(d, t), "machine", span=d.name.span)
                ]
            case S.LockDecl():
                shape = self.names.lock(d)
                binders = tuple(f"_{i}" for i in range(len(shape.index)))
                free = E.Const(0, shape.owner_type)
                out = [
                    core.Variable(
                        shape.owner,
                        shape.owner_var,
                        len(binders),
                        core.InitExpr(binders, free),
                        "lock",
                        span=d.name.span,
                    )
                ]
                if shape.readers is not None:
                    inner = shape.readers_var
                    for _ in binders:
                        assert isinstance(inner, Array)
                        inner = inner.element
                    assert isinstance(inner, Set)
                    nobody = core.InitExpr(binders, E.Const(0, inner))
                    out.append(
                        core.Variable(
                            shape.readers, shape.readers_var, len(binders), nobody, "readers", span=d.name.span
                        )
                    )
                return out
            case _:
                return []

    def _index_env(self, indices: tuple[S.IndexDecl, ...], t: Type) -> tuple[Env, tuple[str, ...], Type]:
        """Names for the indices of a declaration, and the type below them."""
        env, binders = Env(state=False), []
        for i, d in enumerate(indices):
            own = d.name.name if d.name else f"_{i}"
            binders.append(own)
            if isinstance(t, Array):
                if d.name:
                    self.typer.check_new_name(d.name, env)
                env = env.bind(own, E.Local(own, t.index, span=d.span), d.span)
                t = t.element
        return env, tuple(binders), t

    def _first_value(self, d: S.VarDecl, t: Type) -> core.InitExpr | core.InitAny:
        env, binders, inner = self._index_env(d.indices, t)
        match d.init:
            case None:
                self.diagnostics.error(
                    "HMM040",
                    d.span,
                    f"the variable '{d.name.name}' has no first value",
                    fix="give it one: `= e`, or `= any` for one initial state for each value",
                )
                return core.InitAny()
            case S.AnyInit():
                return core.InitAny()
            case e:
                return core.InitExpr(binders, self.typer.check(e, env, inner))

    def _first_state(self, m: S.Machine, t: Type) -> core.InitExpr | core.InitAny:
        _, binders, inner = self._index_env(m.indices, t)
        if not isinstance(inner, Enum):
            return core.InitAny()
        numbers = [self._state(s, inner) for s in m.initial]
        if len(numbers) == 1:
            return core.InitExpr(binders, E.Const(numbers[0], inner, span=m.initial[0].span))
        return core.InitAny(tuple(numbers))

    def _state(self, s: S.Ident, states: Enum) -> int:
        if s.name in states.literals:
            return states.literals.index(s.name)
        self.diagnostics.error(
            "HMM020",
            s.span,
            f"the machine '{states.name}' has no state '{s.name}'",
            fix=did_you_mean(s.name, states.literals),
        )
        return 0

    def _define(self, d: S.Define) -> core.Define:
        env = Env()
        params: list[core.Parameter] = []
        for p in d.params:
            self.typer.check_new_name(p.name, env)
            t = self.names.type_of(p.type)
            params.append(core.Parameter(p.name.name, t))
            env = env.bind(p.name.name, E.Local(p.name.name, t, span=p.span), p.span)
        if d.type is None:
            body = self.typer.infer(d.body, env)
            return core.Define(d.name.name, tuple(params), body.type, body, span=d.name.span)
        t = self.names.type_of(d.type)
        return core.Define(d.name.name, tuple(params), t, self.typer.check(d.body, env, t), span=d.name.span)

    # ------------------------------------------------------------ rules

    def _rules(self, d: S.Declaration) -> None:
        match d:
            case S.Transition():
                env, params = self._parameters(d.params, Env())
                guard = self.typer.boolean(d.when, env) if d.when is not None else E.TRUE
                body = self._body(d.body, env)
                self._add(core.Rule(0, d.name.name, params, guard, body, span=d.span), d.name.name)
            case S.Machine():
                self._arrows(d)
            case S.Thread():
                lowerer = ThreadLowerer(self.typer, d, self.procedures)
                variables = lowerer.variables()
                self.thread_variables.extend(variables)
                self.names.hidden |= {v.name: v.type for v in variables}
                self._merge_asserts(lowerer)
                first, decl_rules = len(self.rules), lowerer.rules(len(self.rules))
                self._merge_asserts(lowerer)
                for i, r in enumerate(decl_rules):
                    self._add(replace(r, number=first + i), d.name.name, r.label)
                shape = lowerer.shape
                self.index.labels[d.name.name] = (set(shape.labels.literals), dict(shape.aliases))
                self.index.rules.setdefault((d.name.name, None), [])
                self.threads.append(
                    core.ThreadInfo(
                        shape.name,
                        shape.index,
                        shape.labels.literals,
                        shape.name,
                        lowerer.call_variable if lowerer.points else None,
                        tuple(v.name for v in variables if v.kind == "local"),
                        span=d.name.span,
                    )
                )
            case _:
                pass

    def _parameters(self, given: tuple[S.Parameter, ...], env: Env) -> tuple[Env, tuple[core.Parameter, ...]]:
        params: list[core.Parameter] = []
        for p in given:
            self.typer.check_new_name(p.name, env)
            t = self.names.stored_type(p.type)
            params.append(core.Parameter(p.name.name, t))
            env = env.bind(p.name.name, E.Local(p.name.name, t, span=p.span), p.span)
        return env, tuple(params)

    def _body(self, stmts: S.Block, env: Env) -> core.Block:
        lowerer = Lowerer(self.typer)
        out = lowerer.run(Seq(stmts, env, END), dirty=False)
        self._merge_asserts(lowerer)
        return out

    def _merge_asserts(self, lowerer: Lowerer) -> None:
        for name, a in lowerer.asserts.items():
            other = self.symbols.get(name)
            if other is not None:
                self.diagnostics.error(
                    "HMM021", a.span, f"'{name}' is defined already, and an assert needs its own name"
                )
            self.asserts.setdefault(name, a)

    def _arrows(self, m: S.Machine) -> None:
        t = self.names.variable_type(m)
        if t == ERROR:
            return
        env = Env()
        params: list[core.Parameter] = []
        cell: E.Expr = E.Var(m.name.name, t, span=m.name.span)
        inner = t
        for i, d in enumerate(m.indices):
            assert isinstance(inner, Array)
            own = d.name.name if d.name else f"_{i}"
            if d.name:
                self.typer.check_new_name(d.name, env)
            local = E.Local(own, inner.index, span=d.span)
            env = env.bind(own, local, d.span)
            params.append(core.Parameter(own, inner.index))
            cell = E.Index(cell, local, inner.element, span=m.name.span)
            inner = inner.element
        assert isinstance(inner, Enum)
        for arrow in m.arrows:
            inner_env, more = self._parameters(arrow.params, env)
            guard: E.Expr | None = None
            for s in arrow.sources:
                here = E.Compare("==", cell, E.Const(self._state(s, inner), inner, span=s.span), span=s.span)
                guard = here if guard is None else E.Logic("||", guard, here, span=arrow.span)
            assert guard is not None
            if arrow.when is not None:
                when = self.typer.boolean(arrow.when, inner_env)
                guard = E.Logic("&&", guard, when, span=arrow.when.span) if when != E.TRUE else guard
            target = E.Const(self._state(arrow.target, inner), inner, span=arrow.target.span)
            move = core.Assign(cell, target, span=arrow.target.span)
            body = (*self._body(arrow.body, inner_env), move)
            rule = core.Rule(0, arrow.name.name, (*params, *more), guard, body, "arrow", m.name.name, span=arrow.span)
            self._add(rule, arrow.name.name)

    def _add(self, rule: core.Rule, name: str, label: str | None = None) -> None:
        number = len(self.rules)
        self.rules.append(replace(rule, number=number))
        self.index.rules.setdefault((name, None), []).append(number)
        if label is not None:
            self.index.rules.setdefault((name, label), []).append(number)

    # ------------------------------------------------------------ refinement and warnings

    def _refinement(self) -> core.RefinementMap | None:
        assert self.spec.refines is not None
        wanted = {d.name.name for d in self.spec.refines.abstract.declarations if isinstance(d, S.ParamDecl)}
        given: dict[str, S.Expr | E.Const] = {n: c for n, c in self.names.params.items() if n in wanted}
        try:
            abstract = build(self.spec.refines.abstract, given)
        except SpecError as e:
            self.diagnostics.items.extend(e.diagnostics)
            return None
        return refinement_map(self.spec.refines, abstract, self.typer, [*self._all_variables()])

    def _all_variables(self) -> list[tuple[str, Type]]:
        out: list[tuple[str, Type]] = []
        for d in self.spec.declarations:
            match d:
                case S.VarDecl() | S.Machine():
                    out.append((d.name.name, self.names.variable_type(d)))
                case S.LockDecl():
                    shape = self.names.lock(d)
                    out.append((shape.owner, shape.owner_var))
                    if shape.readers is not None:
                        out.append((shape.readers, shape.readers_var))
                case _:
                    pass
        out.extend((v.name, v.type) for v in self.thread_variables)
        return out

    def _warnings(self) -> tuple[Diagnostic, ...]:
        """Defines and procedures that nothing uses, of the main file: they say less than they seem to."""
        called = {
            s.name.name
            for d in self.spec.declarations
            if isinstance(d, S.Thread | S.Procedure)
            for s in statements(d.body)
            if isinstance(s, S.CallStmt)
        }
        main = self.spec.files[0] if self.spec.files else ""
        out = [d for d in self.diagnostics.items if d.severity is Severity.WARNING]
        for d in self.spec.declarations:
            if d.span is NOWHERE or d.span.path != main:
                continue
            match d:
                case S.Define() if d.name.name not in self.names.used:
                    out.append(_warning(d.name, "define"))
                case S.Procedure() if d.name.name not in called:
                    out.append(_warning(d.name, "procedure"))
                case _:
                    pass
        return tuple(out)


def _as_expr(value: Value) -> S.Expr | E.Const:
    """What the command line gives (numbers, words) as an expression."""
    if isinstance(value, bool):
        return S.BoolLit(value)
    if isinstance(value, int):
        return S.IntLit(value) if value >= 0 else S.Unary("-", S.IntLit(-value))
    return S.Name(value) if isinstance(value, str) else value


def _warning(name: S.Ident, kind: str) -> Diagnostic:
    unchecked = ", so its body was not checked" if kind == "procedure" else ""
    return Diagnostic("HMM097", f"the {kind} '{name.name}' is never used{unchecked}", name.span, Severity.WARNING)


def _switched_off(guard: E.Expr) -> bool:
    """Whether params make the guard false for good (`when PATCHED && ..`): then the rule is not part of the system."""
    match guard:
        case E.Const(value, _):
            return not value
        case E.Logic("&&", a, b):
            return _switched_off(a) or _switched_off(b)
        case _:
            return False
