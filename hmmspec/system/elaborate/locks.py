"""Lock operations as guards, checks and assignments on owner variables.

A `lock` is a variable that holds its owner (a thread instance) or null; an `rwlock` has beside it the set of its
readers.  `acquire` waits until it can have the lock; taking what one holds already is `double_acquire`, giving back
what one does not hold `foreign_release`, ending with a lock in hand `held_at_stop`.
"""

from __future__ import annotations

from hmmspec.diagnostics import Span
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.elaborate.base import element, null_of
from hmmspec.system.elaborate.constants import fold
from hmmspec.system.elaborate.names import LockShape, Names
from hmmspec.system.elaborate.scope import Env, Me
from hmmspec.system.elaborate.typing import Typer
from hmmspec.system.types import Set


class LockOps:
    """The part of a thread's lowering that knows locks; mixed into `ThreadLowerer`."""

    typer: Typer
    names: Names
    me: Me
    taken: set[str]
    index_env: Env

    def acquire(self, s: S.Acquire, env: Env) -> core.Block:
        found = self.typer.lock_of(s.lock, env)
        if found is None:
            return ()
        lock, index = found
        if s.read and lock.readers is None:
            self.typer.error("HMM043", s.span, f"'{lock.owner}' is a lock; only an rwlock has readers")
            return ()
        free, take = self._free_and_take(lock, index, env, s.read, s.span)
        me = self._me(lock, env, s.span)
        wait = core.LockWait(lock.owner, index, s.read, me)
        check = core.Check(
            "double_acquire",
            "double_acquire",
            f"{s.lock.span.text or lock.owner} is taken again by the thread that holds it",
            fold(E.Not(self._mine(lock, index, env, s.span))),
            span=s.span,
        )
        return (check, core.Guard(free, wait, span=s.span), *take)

    def try_lock(self, s: S.Trylock, env: Env) -> tuple[E.Expr, core.Block]:
        """Whether the lock can be had now, and what takes it."""
        found = self.typer.lock_of(s.lock, env)
        if found is None:
            return E.FALSE, ()
        lock, index = found
        if s.read and lock.readers is None:
            self.typer.error("HMM043", s.span, f"'{lock.owner}' is a lock; only an rwlock has readers")
            return E.FALSE, ()
        return self._free_and_take(lock, index, env, s.read, s.span)

    def release(self, s: S.Release, env: Env) -> core.Block:
        found = self.typer.lock_of(s.lock, env)
        if found is None:
            return ()
        lock, index = found
        check = core.Check(
            "foreign_release",
            "foreign_release",
            f"{s.lock.span.text or lock.owner} is released by a thread that does not hold it",
            self._mine(lock, index, env, s.span),
            span=s.span,
        )
        owner = element(E.Var(lock.owner, lock.owner_var, span=s.span), index, s.span)
        drop: core.Stmt = core.Assign(owner, null_of(lock), span=s.span)
        if lock.readers is None:
            return (check, drop)
        readers = element(E.Var(lock.readers, lock.readers_var, span=s.span), index, s.span)
        assert isinstance(readers.type, Set)
        me = self._me(lock, env, s.span)
        mine = E.Compare("==", owner, me, span=s.span)
        alone = E.MakeSet(
            (self.typer.coerce(self._identity(lock, env, s.span), readers.type.element, s.span),), readers.type
        )
        leave = core.Assign(readers, E.SetOp("-", readers, alone, readers.type), span=s.span)
        return (check, core.IfElse(mine, (drop,), (leave,), span=s.span))

    def nothing_held(self, span: Span) -> core.Block:
        """One check for each lock that this thread's body may take: it is not held now."""
        out: list[core.Stmt] = []
        for name in sorted(self.taken):
            symbol = self.names.symbols.get(name)
            if not isinstance(symbol, S.LockDecl):
                continue
            lock = self.names.lock(symbol)
            env = Env(self.index_env.names, me=self.me)
            binders: list[E.Binder] = []
            index: list[E.Expr] = []
            for i, t in enumerate(lock.index):
                local = env.fresh(f"_{i}")
                binders.append(E.Binder(local, t, E.OverType(t)))
                index.append(E.Local(local, t))
                env = env.bind(f" {local}", index[-1], span)
            free: E.Expr = fold(E.Not(self._mine(lock, tuple(index), env, span)))
            if binders:
                free = E.Quant("forall", tuple(binders), None, free, free.type)
            text = f"{name} is still held at the end"
            out.append(core.Check("held_at_stop", "held_at_stop", text, free, span=span))
        return tuple(out)

    def _identity(self, lock: LockShape, env: Env, span: Span) -> E.Expr:
        identity = self.typer.identity(env, lock, span)
        assert identity is not None, "a thread that names a lock is among its possible owners"
        return identity

    def _me(self, lock: LockShape, env: Env, span: Span) -> E.Expr:
        return self.typer.coerce(self._identity(lock, env, span), lock.owner_type, span)

    def _mine(self, lock: LockShape, index: tuple[E.Expr, ...], env: Env, span: Span) -> E.Expr:
        """Held by the running thread in any mode."""
        owner = element(E.Var(lock.owner, lock.owner_var, span=span), index, span)
        writes = E.Compare("==", owner, self._me(lock, env, span), span=span)
        if lock.readers is None:
            return writes
        readers = element(E.Var(lock.readers, lock.readers_var, span=span), index, span)
        assert isinstance(readers.type, Set)
        me = self.typer.coerce(self._identity(lock, env, span), readers.type.element, span)
        return E.Logic("||", writes, E.InSet(me, readers, span=span), span=span)

    def _free_and_take(
        self, lock: LockShape, index: tuple[E.Expr, ...], env: Env, read: bool, span: Span
    ) -> tuple[E.Expr, core.Block]:
        owner = element(E.Var(lock.owner, lock.owner_var, span=span), index, span)
        free: E.Expr = E.Compare("==", owner, null_of(lock), span=span)
        take: core.Stmt = core.Assign(owner, self._me(lock, env, span), span=span)
        if lock.readers is None:
            return free, (take,)
        readers = element(E.Var(lock.readers, lock.readers_var, span=span), index, span)
        assert isinstance(readers.type, Set)
        me = self.typer.coerce(self._identity(lock, env, span), readers.type.element, span)
        if read:
            # A second read acquire can wait for a writer that waits for the first: never granted, as in the kernel's
            # rule against recursive readers.
            again = E.InSet(me, readers, span=span)
            joined = E.SetOp("+", readers, E.MakeSet((me,), readers.type), readers.type)
            return E.Logic("&&", free, E.Not(again), span=span), (core.Assign(readers, joined, span=span),)
        unread = E.Compare("==", readers, E.MakeSet((), readers.type), span=span)
        return E.Logic("&&", free, unread, span=span), (take,)
