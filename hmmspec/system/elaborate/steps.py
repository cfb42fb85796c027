"""Labels, jumps and waits: where a step of a thread ends and what it needs to begin."""

from __future__ import annotations

from hmmspec.diagnostics import Span, did_you_mean
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.elaborate.constants import fold
from hmmspec.system.elaborate.flow import (
    Cont,
    Instance,
    Loop,
    Seq,
    aliases,
    labels,
    trylock_in,
)
from hmmspec.system.elaborate.frame import path_key
from hmmspec.system.elaborate.procedures import ProcedureCalls
from hmmspec.system.elaborate.scope import Env
from hmmspec.system.elaborate.shapes import STOPPED
from hmmspec.system.types import BOOL


class ThreadSteps(ProcedureCalls):
    """The part of a thread's lowering that follows control."""

    def arrive(self, label: S.Label, instance: Instance | None) -> core.Block:
        """The step ends at a label."""
        self.arrived.add(id(label))
        span = label.span
        while instance is not None:
            merged = aliases(instance.body)
            name = merged.get(label.name.name, label.name.name)
            label = next(x for x in labels(instance.body) if x.name.name == name)
            self.arrived.add(id(label))
            if not self._is_callers(instance, label):
                number = next(i for i, p in enumerate(self.points) if p.instance is instance and p.label is label)
                return (
                    core.Assign(self.at(self.call_variable, self.point_type, span), self._point(number + 1), span=span),
                )
            assert instance.direct is not None
            label, instance = instance.direct, self.instances.get(path_key(instance.caller_path))
            self.arrived.add(id(label))
        name = self.shape.aliases.get(label.name.name, label.name.name)
        out: list[core.Stmt] = []
        if self.origin is not None:
            out.append(core.Assign(self.at(self.call_variable, self.point_type, span), self._point(0), span=span))
        return (*out, self._stand(name, span))

    def _end(self, label: str, span: Span) -> core.Block:
        """`restart` and `stop`: no lock may be held, locals go back to their first values."""
        out: list[core.Stmt] = list(self.nothing_held(span))
        out.extend(self.resets)
        inside: set[str] = set()
        for p in self.instances.values():
            if p.procedure.name.name not in inside:
                inside.add(p.procedure.name.name)
                out.extend(self.procedure_resets[p.procedure.name.name])
        if self.origin is not None:
            out.append(core.Assign(self.at(self.call_variable, self.point_type, span), self._point(0), span=span))
        return (*out, self._stand(label, span))

    def finish(self) -> core.Block:
        return self._end(STOPPED, self.decl.span)

    def loop(self, cont: Loop, dirty: bool) -> core.Block:
        """The test of a `while` belongs to the step that arrives there."""
        if id(cont.stmt) in self._testing:
            self.error(
                "HMM047",
                cont.stmt.span,
                "a pass of this `while` reaches no label: the step would not end",
                fix="put a label first in its body",
            )
            return ()
        self._testing.add(id(cont.stmt))
        try:
            condition = self.typer.boolean(cont.stmt.condition, cont.env)
            saved = self.inside
            body = self.run(Seq(cont.stmt.body, cont.env, cont), dirty)
            self._testing.discard(id(cont.stmt))
            self.inside = saved
            after = self.run(cont.next, dirty)
            self.inside = saved
        finally:
            self._testing.discard(id(cont.stmt))
        if isinstance(condition, E.Const):
            return body if condition.value else after
        return (core.IfElse(condition, body, after, span=cont.stmt.span),)

    _testing: set[int]

    def control(self, s: S.Stmt, rest: Seq, env: Env, dirty: bool, fresh: bool) -> core.Block | None:
        match s:
            case S.Label():
                return self.arrive(s, self.inside)
            case S.Goto(name):
                body = self.inside.body if self.inside else self.body
                found = next((x for x in labels(body) if x.name.name == name.name), None)
                if found is None:
                    known = [x.name.name for x in labels(body)]
                    self.error(
                        "HMM046", name.span, f"there is no label '{name.name}' here", fix=did_you_mean(name.name, known)
                    )
                    return ()
                return self.arrive(found, self.inside)
            case S.Restart():
                return self._end(self.first_label(), s.span)
            case S.Stop():
                return self._end(STOPPED, s.span)
            case S.Return():
                out = self._return(s, env, dirty)
                return () if out is None else out
            case S.While():
                return self.loop(Loop(s, env, rest), dirty)
            case S.CallStmt():
                out = self._call(s, env, fresh)
                return () if out is None else out
            case S.Await(condition):
                self._may_wait(s, dirty)
                guard = core.Guard(self.typer.boolean(condition, env), span=s.span)
                return (guard, *self.run(rest, dirty))
            case S.Acquire():
                self._may_wait(s, dirty)
                return (*self.acquire(s, env), *self.run(rest, True))
            case S.Release():
                return (*self.release(s, env), *self.run(rest, True))
            case _:
                raise AssertionError(f"unhandled statement {s}")

    def _may_wait(self, s: S.Stmt, dirty: bool) -> None:
        if dirty:
            self.error(
                "HMM044",
                s.span,
                "this may wait, and something was assigned or locked before it in the same step",
                fix="put a label here: what comes before then is a step of its own",
            )

    # ------------------------------------------------------------ if with trylock

    def branch(self, s: S.If, env: Env, rest: Cont, dirty: bool) -> core.Block:
        saved = self.inside
        trylock = trylock_in(s.condition)
        if trylock is None:
            condition = self.typer.boolean(s.condition, env)
            then = self.run(Seq(s.then, env, rest), dirty)
            self.inside = saved
            otherwise = self.run(Seq(s.otherwise, env, rest), dirty)
            self.inside = saved
            if isinstance(condition, E.Const):
                return then if condition.value else otherwise
            return (core.IfElse(condition, then, otherwise, span=s.span),)
        got = E.Local(env.fresh("got"), BOOL, span=trylock.span)
        taken = env.bind("got ", got, trylock.span)  # keeps the core name from being used again below
        tried, value, positive = self._spine(s.condition, env, got)
        free, take = self.try_lock(trylock, env)
        then = self.run(Seq(s.then, taken, rest), dirty or positive)
        self.inside = saved
        otherwise = self.run(Seq(s.otherwise, taken, rest), dirty or not positive)
        self.inside = saved
        if tried == E.TRUE:
            good, bad = (then, otherwise) if positive else (otherwise, then)
            return (core.IfElse(free, (*take, *good), bad, span=s.span),)
        outcome = E.Local(env.fresh("passed"), BOOL, span=s.span)
        return (
            core.Let(got.name, E.Logic("&&", tried, free, span=trylock.span), span=trylock.span),
            core.Let(outcome.name, value, span=s.condition.span),
            core.IfElse(got, take, (), span=trylock.span),
            core.IfElse(outcome, then, otherwise, span=s.span),
        )

    def _spine(self, e: S.Expr, env: Env, got: E.Expr) -> tuple[E.Expr, E.Expr, bool]:
        """For a condition that ends with a trylock: whether it comes to the trylock at all; the value of the whole,
        given whether the lock was got; and whether getting it makes the whole true."""
        match e:
            case S.Unary("!", operand):
                tried, value, positive = self._spine(operand, env, got)
                return tried, E.Not(value, span=e.span), not positive
            case S.Binary("&&", left, right):
                a = self.typer.boolean(left, env)
                tried, value, positive = self._spine(right, env, got)
                return fold(E.Logic("&&", a, tried)), fold(E.Logic("&&", a, value, span=e.span)), positive
            case S.Binary("||", left, right):
                a = self.typer.boolean(left, env)
                tried, value, positive = self._spine(right, env, got)
                return fold(E.Logic("&&", fold(E.Not(a)), tried)), fold(E.Logic("||", a, value, span=e.span)), positive
            case _:
                return E.TRUE, got, True
