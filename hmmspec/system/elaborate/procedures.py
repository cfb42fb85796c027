"""Procedures put in the place of each call.

While a thread is inside one it keeps the caller's label, and its variable `t.call` says at which point it is.
"""

from __future__ import annotations

from hmmspec.diagnostics import did_you_mean
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.elaborate.flow import (
    Cont,
    Instance,
    Ret,
    Seq,
    aliases,
    bound_names,
    labels,
    places,
    skip_ends,
    statements,
    with_start,
)
from hmmspec.system.elaborate.frame import Point, ThreadFrame, path_key
from hmmspec.system.elaborate.names import arrays, optional
from hmmspec.system.elaborate.scope import Bound, Env


class ProcedureCalls(ThreadFrame):
    """The part of a thread's lowering that knows calls."""

    def _find_calls(self, body: S.Block, path: tuple[S.CallStmt, ...], env: Env, open_: tuple[str, ...]) -> None:
        """Put a procedure instance at every call, outermost first, and name the points inside."""
        before: dict[int, S.Label] = {}
        for label in labels(body):
            cont = skip_ends(self.call_places[path_key(path)].get(id(label)))
            if isinstance(cont, Seq) and isinstance(cont.stmts[0], S.CallStmt):
                before[id(cont.stmts[0])] = label
        for s in statements(body):
            if not isinstance(s, S.CallStmt):
                continue
            procedure = self.procedures.get(s.name.name)
            if procedure is None:
                self.error(
                    "HMM020",
                    s.name.span,
                    f"the procedure '{s.name.name}' is not defined",
                    fix=did_you_mean(s.name.name, self.procedures),
                )
                continue
            self.names.used.add(s.name.name)
            if s.name.name in open_:
                chain = " -> ".join([*open_[open_.index(s.name.name) :], s.name.name])
                self.error("HMM052", s.span, f"the procedure '{s.name.name}' calls itself ({chain})")
                continue
            if id(s) not in self.call_places[path_key(path)]:
                continue  # inside a `for`: reported there
            inner_path = (*path, s)
            inner_body = with_start(procedure.body, procedure.name)
            inner_env = self._procedure_env(procedure)
            instance = Instance(procedure, inner_body, inner_path, inner_env, env, path, before.get(id(s)))
            self.instances[path_key(inner_path)] = instance
            ret = Ret(instance, self.call_places[path_key(path)][id(s)])
            self.call_places[path_key(inner_path)] = places(inner_body, inner_env, ret)
            merged = aliases(inner_body)
            for label in labels(inner_body):
                if label.name.name not in merged and not self._is_callers(instance, label):
                    shown = f"{procedure.name.name}.{label.name.name}"
                    twins = sum(p.name.split("#")[0] == shown for p in self.points)
                    self.points.append(Point(f"{shown}#{twins + 1}" if twins else shown, instance, label))
            self._find_calls(inner_body, inner_path, inner_env, (*open_, s.name.name))

    def _is_callers(self, instance: Instance, label: S.Label) -> bool:
        """Whether the label is one with the caller's: nothing stands between, and nothing is handed over."""
        return label is instance.body[0] and instance.direct is not None and not instance.procedure.params

    def _procedure_env(self, p: S.Procedure) -> Env:
        """Names inside a procedure: its arguments and locals, kept in variables of this thread."""
        prefix = f"{self.shape.name}.{p.name.name}."
        # The thread's index is not visible by name in a procedure, but its Locals must not be captured there.
        hidden = {f" {x.name}": Bound(x, x.span) for x in self.index if isinstance(x, E.Local)}
        env = Env(hidden, bound_names(p.body), self.me)
        first = p.name.name not in self.procedure_resets
        resets: list[core.Stmt] = []
        for d in p.params:
            self.typer.check_new_name(d.name, env)
            t = self.names.stored_type(d.type)
            stored = optional(t)
            if first:
                self.locals_of[prefix + d.name.name] = core.Variable(
                    prefix + d.name.name,
                    arrays(self.shape.index, stored),
                    len(self.shape.index),
                    core.InitExpr(tuple(f"_{i}" for i in range(len(self.shape.index))), E.Const(0, stored)),
                    "local",
                    self.shape.name,
                    span=d.span,
                )
            read = self.at(prefix + d.name.name, stored, d.span)
            resets.append(core.Assign(read, E.Const(0, stored), span=d.span))
            env = env.bind(d.name.name, E.Cast(read, t, span=d.span), d.span)
        env = self._add_locals(p.locals, prefix, env, resets)
        self.procedure_resets[p.name.name] = resets
        return env

    def _call(self, s: S.CallStmt, env: Env, fresh: bool) -> core.Block | None:
        path = self._path_of(s)
        instance = self.instances.get(path)
        if instance is None:
            return None
        p = instance.procedure
        if len(s.args) != len(p.params):
            n = len(p.params)
            self.error(
                "HMM025", s.span, f"'{p.name.name}' takes {n} argument{'s' * (n != 1)}, and {len(s.args)} are given"
            )
            return None
        handed: list[core.Stmt] = []
        for given, d in zip(s.args, p.params, strict=True):
            t = self.names.stored_type(d.type)
            value = self.typer.check(given, env, t)
            stored = optional(t)
            cell = self.at(f"{self.shape.name}.{p.name.name}.{d.name.name}", stored, given.span)
            handed.append(core.Assign(cell, self.typer.coerce(value, stored, given.span), span=given.span))
        if s.target is not None:
            if p.result is None:
                self.error("HMM053", s.span, f"'{p.name.name}' returns nothing")
            elif not any(isinstance(x, S.Return) for x in statements(p.body)):
                self.error("HMM053", s.span, f"'{p.name.name}' has no `return`")
        first = instance.body[0]
        assert isinstance(first, S.Label)
        if not fresh:
            return (*handed, *self.arrive(first, instance))
        # Nothing stands between this step's label and the call: the procedure's first label is one with it.
        self.visited.add(id(first))
        saved, self.inside = self.inside, instance
        inner = self.run(self.call_places[path][id(first)], dirty=False, fresh=True)
        self.inside = saved
        return (*handed, *inner)

    def _path_of(self, s: S.CallStmt) -> tuple[int, ...]:
        return (*(path_key(self.inside.path) if self.inside else ()), id(s))

    inside: Instance | None = None  # the procedure that the walk is in

    def hand_over(self, ret: Ret) -> core.Block:
        """Falling off the end of a procedure, or after `return` has evaluated its value."""
        self.inside = self.instances.get(path_key(ret.call.caller_path))
        return tuple(self.procedure_resets[ret.call.procedure.name.name])

    def _return(self, s: S.Return, env: Env, dirty: bool) -> core.Block | None:
        instance = self.inside
        if instance is None:
            self.error(
                "HMM053", s.span, "`return` stands only in a procedure", fix="end a thread with `stop` or `restart`"
            )
            return None
        p = instance.procedure
        call = instance.path[-1]
        out: list[core.Stmt] = []
        if s.value is None:
            if p.result is not None:
                self.error("HMM053", s.span, f"'{p.name.name}' must return a value")
        elif p.result is None:
            self.error(
                "HMM053", s.span, f"'{p.name.name}' is declared to return nothing", fix="add `: TYPE` behind its ()"
            )
        else:
            value = self.typer.check(s.value, env, self.names.type_of(p.result))
            if call.target is not None:
                target = self.place(call.target, instance.caller_env)
                if target is not None:
                    out.extend(self.store(target, self.typer.coerce(value, target.type, s.span), call.span))
        ret = self._ret_of(instance)
        saved = self.inside
        rest = self.run(Ret(instance, ret), dirty or bool(out))
        self.inside = saved
        return (*out, *rest)

    def _ret_of(self, instance: Instance) -> Cont:
        return self.call_places[path_key(instance.caller_path)][id(instance.path[-1])]

    def arrive(self, label: S.Label, instance: Instance | None) -> core.Block:
        """The step ends at a label (see steps.py)."""
        raise NotImplementedError
