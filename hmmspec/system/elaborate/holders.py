"""Who holds a lock, and where inside a procedure a thread is: what threads have that no declaration names.

    holder(folio[p]) == fault[c]       the lock is held by this thread; `null`: by none (of an rwlock: for writing)
    fault[c] in readers(mmap_lock)     the thread holds the rwlock for reading
    inside(fault[c])                   the thread is in some procedure
    inside(fault[c], walk.wait)        .. at this label of it; `inside(fault[c], walk.wait, 2)`: of its second call
    fault[c].walk.p                    an argument or a local of a procedure that the thread calls

Where the identity of a thread is wanted `t[c]` is the thread, else the label it stands at.
"""

from __future__ import annotations

from abc import abstractmethod

from hmmspec.diagnostics import did_you_mean
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system.elaborate.base import WRONG, TyperBase, element
from hmmspec.system.elaborate.names import ThreadShape
from hmmspec.system.elaborate.scope import Env
from hmmspec.system.faults import members_of
from hmmspec.system.types import Array, Enum, Type

HOLDERS = ("holder", "readers", "inside")


class HolderTyping(TyperBase):
    """The part of the typing that knows these."""

    def held_by(self, e: S.Call, env: Env) -> E.Expr:
        """`holder(L)`, `readers(L)`, `inside(t, ..)`."""
        if not env.state:
            return self.error("HMM036", e.span, "what threads do is part of the state")
        if e.primed:
            return self.error("HMM035", e.span, f"`{e.name.name}` has no prime: name the thread's own state")
        if e.name.name == "inside":
            return self._inside(e, env)
        if len(e.args) != 1:
            return self.error("HMM025", e.span, f"`{e.name.name}` takes 1 argument, and {len(e.args)} are given")
        found = self.lock_of(e.args[0], env)
        if found is None:
            return WRONG
        lock, index = found
        if e.name.name == "holder":
            return element(E.Var(lock.owner, lock.owner_var, span=e.span), index, e.span)
        if lock.readers is None:
            return self.error("HMM043", e.span, f"'{lock.owner}' is a lock; only an rwlock has readers")
        return element(E.Var(lock.readers, lock.readers_var, span=e.span), index, e.span)

    def thread_value(self, shape: ThreadShape, indices: tuple[S.Expr, ...], env: Env, e: S.Expr) -> E.Expr:
        """The thread itself: what owns a lock."""
        values = tuple(self.check(i, env, t) for i, t in zip(indices, shape.index, strict=True))
        return E.MakeThreadId(values, shape.identity, span=e.span)

    def wants_thread(self, shape: ThreadShape, hint: Type | None) -> bool:
        """Whether a thread, not its label, is meant."""
        return hint is not None and shape.identity in members_of(hint)

    def in_procedure(self, e: S.Member, env: Env) -> E.Expr | None:
        """`t[c].procedure.name`; None where it is something else."""
        if not isinstance(e.base, S.Member):
            return None
        thread = self.thread_of(e.base.base, env)
        if thread is None:
            return None
        shape, indices, primed = thread
        name = f"{shape.name}.{e.base.name.name}.{e.name.name}"
        t = self.names.hidden.get(name)
        if t is None:
            return None
        return self._element(name, t, primed, indices, env, e)

    def _inside(self, e: S.Call, env: Env) -> E.Expr:
        thread = self.thread_of(e.args[0], env) if e.args else None
        if thread is None or len(e.args) > 3:
            return self.error("HMM025", e.span, "`inside` takes a thread, and a label of a procedure that it calls")
        shape, indices, primed = thread
        name = f"{shape.name}.call"
        t = self.names.hidden.get(name)
        if t is None:
            return self.error("HMM046", e.span, f"the thread '{shape.name}' is in no procedure at any of its labels")
        at = self._element(name, t, primed, indices, env, e)
        points = at.type
        assert isinstance(points, Enum)
        if len(e.args) == 1:
            return E.Compare("!=", at, E.Const(0, points), span=e.span)
        match e.args[1:]:
            case [S.Member(S.Name(procedure), label), *number] if all(isinstance(n, S.IntLit) for n in number):
                which = number[0].value if number and isinstance(number[0], S.IntLit) else 1
                shown = f"{procedure}.{label.name}" + (f"#{which}" if which > 1 else "")
            case _:
                return self.error("HMM025", e.span, "a label of a procedure is wanted: `inside(t, procedure.label)`")
        if shown not in points.literals[1:]:
            fix = did_you_mean(shown, points.literals[1:])
            return self.error("HMM046", e.span, f"the thread '{shape.name}' never stands at '{shown}'", fix)
        return E.Compare("==", at, E.Const(points.literals.index(shown), points), span=e.span)

    def _element(self, name: str, t: Type, primed: bool, indices: tuple[S.Expr, ...], env: Env, e: S.Expr) -> E.Expr:
        out: E.Expr = E.Var(name, t, primed, span=e.span)
        for i in indices:
            assert isinstance(out.type, Array)
            out = E.Index(out, self.check(i, env, out.type.index), out.type.element, span=e.span)
        return out

    @abstractmethod
    def thread_of(self, e: S.Expr, env: Env) -> tuple[ThreadShape, tuple[S.Expr, ...], bool] | None:
        """If `e` is a thread with all of its indices: the thread, the indices, whether it is primed."""
