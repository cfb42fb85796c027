"""Statements to core statements.

A step's statements are lowered by following control from where the step starts: `Lowerer.run(cont)` turns a
continuation (see flow.py) into a block that ends where the step ends.  For a transition or an arrow that is simply
the end of its body; `threads.ThreadLowerer` adds labels, jumps, waits, locks and calls.
"""

from __future__ import annotations

from hmmspec.diagnostics import Span
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system import system as core
from hmmspec.system.elaborate.constants import fold
from hmmspec.system.elaborate.flow import END, Cont, End, Loop, Ret, Seq, is_plain, writes
from hmmspec.system.elaborate.forcheck import check_for
from hmmspec.system.elaborate.names import ERROR, is_int
from hmmspec.system.elaborate.scope import Env
from hmmspec.system.elaborate.typing import Typer
from hmmspec.system.types import INT, Queue, Range, Record, Set, Type, Union, show_type

MAX_STATEMENTS = 5_000  # of one step, after all its paths are written out


class Lowerer:
    """Lowers the statements of one transition, arrow or thread."""

    def __init__(self, typer: Typer) -> None:
        self.typer = typer
        self.names = typer.names
        self.diagnostics = typer.diagnostics
        self.visited: set[int] = set()
        self.asserts: dict[str, core.AssertProperty] = {}
        self.emitted = 0

    def error(self, code: str, span: Span, message: str, fix: str | None = None) -> None:
        self.diagnostics.error(code, span, message, fix=fix)

    def block(self, stmts: S.Block, env: Env) -> core.Block:
        """A plain inner block."""
        return self.run(Seq(stmts, env, END), dirty=True)

    # ------------------------------------------------------------ the walk

    def run(self, cont: Cont, dirty: bool, fresh: bool = False) -> core.Block:
        """The core block that runs `cont` up to the end of the step.

        dirty: something was assigned or locked before in this step, so that a wait is an error.
        fresh: this is the very start of a step.
        """
        out: list[core.Stmt] = []
        while True:
            if isinstance(cont, End):
                return tuple(out)
            if cont is None:
                return (*out, *self.finish())
            if isinstance(cont, Loop):
                return (*out, *self.loop(cont, dirty))
            if isinstance(cont, Ret):
                out.extend(self.hand_over(cont))
                cont, fresh = cont.next, False
                continue
            if not cont.stmts:
                cont = cont.next
                continue
            s, rest = cont.stmts[0], Seq(cont.stmts[1:], cont.env, cont.next)
            self.visited.add(id(s))
            self.emitted += 1
            if self.emitted > MAX_STATEMENTS:
                if self.emitted == MAX_STATEMENTS + 1:
                    self.error(
                        "HMM055", s.span, "too many paths lead through one step", fix="put labels between branches"
                    )
                return tuple(out)
            match s:
                case S.Let(name, value):
                    typed = self.typer.infer(value, cont.env)
                    self.typer.check_new_name(name, cont.env)
                    own = cont.env.fresh(name.name)
                    out.append(core.Let(own, typed, span=s.span))
                    cont = Seq(rest.stmts, cont.env.bind(name.name, E.Local(own, typed.type), name.span), rest.next)
                case S.Choose(binders, condition):
                    bound, inner = self.typer.binders(binders, cont.env)
                    assert inner is not None
                    chosen = self.typer.boolean(condition, inner) if condition is not None else None
                    out.append(core.Choose(bound, chosen, span=s.span))
                    cont = Seq(rest.stmts, inner, rest.next)
                case S.If():
                    if is_plain(s.then) and is_plain(s.otherwise):
                        out.extend(self.branch(s, cont.env, END, dirty))
                        dirty = dirty or writes((s,))
                        cont = rest
                    else:
                        return (*out, *self.branch(s, cont.env, rest, dirty))
                case S.Either(branches):
                    if all(is_plain(b) for b in branches):
                        out.append(core.Either(tuple(self.block(b, cont.env) for b in branches), span=s.span))
                        dirty = dirty or writes((s,))
                        cont = rest
                    else:
                        ways = tuple(self.run(Seq(b, cont.env, rest), dirty) for b in branches)
                        return (*out, core.Either(ways, span=s.span))
                case S.For():
                    out.append(self.for_loop(s, cont.env))
                    dirty, cont = dirty or writes((s,)), rest
                case S.Assign() | S.Push() | S.Pop():
                    out.extend(self.assign(s, cont.env))
                    dirty, cont = True, rest
                case S.Assert(name, text, condition):
                    self.asserts.setdefault(name.name, core.AssertProperty(name.name, text or "", span=name.span))
                    holds = self.typer.boolean(condition, cont.env)
                    out.append(core.Check("assert", name.name, text or "", holds, span=s.span))
                    cont = rest
                case S.Skip():
                    cont = rest
                case _:
                    more = self.control(s, rest, cont.env, dirty, fresh)
                    if more is None:
                        cont = rest
                    else:
                        return (*out, *more)
            fresh = False

    # ------------------------------------------------------------ what threads add

    def control(self, s: S.Stmt, rest: Seq, env: Env, dirty: bool, fresh: bool) -> core.Block | None:
        """A statement that only threads and procedures have.  None: reported, go on behind it."""
        word = type(s).__name__.lower().replace("callstmt", "call")
        fixes = {S.Await: "write the condition behind `when`", S.Return: None}
        self.error("HMM045", s.span, f"`{word}` stands only in threads and procedures", fix=fixes.get(type(s)))
        return None

    def finish(self) -> core.Block:
        """The end of a thread's body is `stop`."""
        return ()

    def loop(self, cont: Loop, dirty: bool) -> core.Block:
        raise NotImplementedError

    def hand_over(self, ret: Ret) -> core.Block:
        raise NotImplementedError

    # ------------------------------------------------------------ statements

    def branch(self, s: S.If, env: Env, rest: Cont, dirty: bool) -> core.Block:
        """`if`, each branch followed by `rest`."""
        condition = self.typer.boolean(s.condition, env)
        then = self.run(Seq(s.then, env, rest), dirty)
        otherwise = self.run(Seq(s.otherwise, env, rest), dirty)
        if isinstance(condition, E.Const):
            return then if condition.value else otherwise
        return (core.IfElse(condition, then, otherwise, span=s.span),)

    def for_loop(self, s: S.For, env: Env) -> core.Stmt:
        bound, inner = self.typer.binders(s.binders, env)
        assert inner is not None
        condition = self.typer.boolean(s.filter, inner) if s.filter is not None else None
        if not is_plain(s.body):
            self.error("HMM049", s.span, "a `for` is one step: no label, jump, wait, loop or call stands in it")
            return core.For(bound, condition, (), span=s.span)
        result = core.For(bound, condition, self.block(s.body, inner), span=s.span)
        check_for(result, self.names.defines, self.diagnostics)
        return result

    def assign(self, s: S.Assign | S.Push | S.Pop, env: Env) -> core.Block:
        target = self.place(s.queue if isinstance(s, S.Push | S.Pop) else s.target, env)
        if target is None:
            if isinstance(s, S.Assign | S.Push):
                self.typer.infer(s.value, env)
            return ()
        t = target.type
        match s:
            case S.Push(_, value) if isinstance(t, Queue):
                pushed = self.typer.check(value, env, t.element)
                return self.store(target, E.Pushed(target, pushed, t, span=s.span), s.span)
            case S.Pop() if isinstance(t, Queue):
                return self.store(target, E.Popped(target, t, span=s.span), s.span)
            case S.Push(queue, _) | S.Pop(queue):
                self.error("HMM030", queue.span, f"a queue is wanted, and this is {show_type(t)}")
                return ()
            case S.Assign(_, ":=", value):
                return self.store(target, self.typer.check(value, env, t), s.span)
            case S.Assign(_, op, value):
                return self.update(target, "+" if op == "+=" else "-", value, env, s)

    def update(self, target: E.Expr, op: str, value: S.Expr, env: Env, s: S.Assign) -> core.Block:
        """`x += e`, `x -= e` for numbers and sets."""
        t: Type = target.type
        if isinstance(t, Set):
            if not isinstance(value, S.SetLit | S.SetComp | S.Binary | S.Name | S.Index | S.Member | S.Call | S.IfExpr):
                self.error("HMM030", value.span, "a set is wanted", fix="write `{x}` for the set of one element")
            change = self.typer.check(value, env, t)
            return self.store(target, E.SetOp("+" if op == "+" else "-", target, change, t, span=s.span), s.span)
        number: E.Expr = target
        if isinstance(t, Union) and any(is_int(m) for m in t.members):
            number = E.Cast(target, next(m for m in t.members if is_int(m)), span=s.target.span)
        elif not isinstance(t, Range):
            self.error("HMM031", s.span, f"a number or a set is wanted, and this is {show_type(t)}")
            return ()
        change = self.typer.integer(value, env)
        if change.type == ERROR:
            return ()
        total = fold(E.Arith("+" if op == "+" else "-", number, change, INT, span=s.span))
        return self.store(target, self.typer.coerce(total, t, s.span), s.span)

    def store(self, target: E.Expr, value: E.Expr, span: Span) -> core.Block:
        """The assignment.  A field of a record that a union holds is no place of its own: the union is stored anew."""
        inside = target
        while isinstance(inside, E.Index | E.Field):
            inside = inside.base
        if not isinstance(inside, E.Cast):
            return (core.Assign(target, value, span=span),)
        if not isinstance(target, E.Field):
            self.error("HMM041", span, "one element inside a record of a union cannot be stored by itself")
            return ()
        record = target.base.type
        assert isinstance(record, Record)
        parts = tuple(value if n == target.name else E.Field(target.base, n, t, span=span) for n, t in record.fields)
        made: E.Expr = E.MakeRecord(parts, record, span=span)
        if isinstance(target.base, E.Cast):
            whole = target.base.operand
            return self.store(whole, E.Cast(made, whole.type, span=span), span)
        return self.store(target.base, made, span)

    def place(self, e: S.Expr, env: Env) -> E.Expr | None:
        """The left side of an assignment; None (and a diagnostic) if nothing can be stored there."""
        root = e
        while isinstance(root, S.Index | S.Member):
            root = root.base
        if isinstance(root, S.Name):
            symbol = self.names.symbols.get(root.name)
            bound = env.names.get(root.name)
            if bound is not None and isinstance(bound.value, E.Local | E.Cast | E.Const):
                self.error("HMM041", e.span, f"'{root.name}' is a bound name and keeps its value")
                return None
            if isinstance(symbol, S.ParamDecl | S.Define):
                self.error("HMM041", e.span, f"'{root.name}' is not a variable")
                return None
            if isinstance(symbol, S.Thread) and bound is None:
                self.error(
                    "HMM041", e.span, "a thread's place and locals change only in its own steps", fix="use `goto` there"
                )
                return None
        target = self.typer.infer(e, env)
        if target.type == ERROR:
            return None
        inside = target
        while isinstance(inside, E.Index | E.Field | E.Cast):
            inside = inside.operand if isinstance(inside, E.Cast) else inside.base
        if not isinstance(inside, E.Var):
            self.error("HMM041", e.span, "nothing can be stored here")
            return None
        return target
