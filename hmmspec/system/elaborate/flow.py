"""Control flow of thread and procedure bodies, on the syntax alone: labels, what follows what, what can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hmmspec.lang import syntax as S
from hmmspec.system.elaborate.scope import Env

# A continuation: what is left to run.  `None` is the end of a thread's body, `End` the end of a plain inner block.


@dataclass(frozen=True)
class Seq:
    """These statements under these names, then `next`."""

    stmts: S.Block
    env: Env
    next: Cont


@dataclass(frozen=True)
class Loop:
    """The test of a `while`, again."""

    stmt: S.While
    env: Env
    next: Cont


@dataclass(frozen=True)
class Ret:
    """The end of a procedure: hand over the result, then `next` in the caller."""

    call: Instance
    next: Cont


@dataclass(frozen=True)
class End:
    pass


Cont = Seq | Loop | Ret | End | None
END = End()


@dataclass(frozen=True, eq=False)
class Instance:
    """One procedure at one call site of one thread (`path`: the call statements from the thread's body to here)."""

    procedure: S.Procedure
    body: S.Block  # begins with a label
    path: tuple[S.CallStmt, ...]
    env: Env  # inside the procedure
    caller_env: Env
    caller_path: tuple[S.CallStmt, ...]
    direct: S.Label | None  # the caller's label, if nothing stands between it and the call


def with_start(body: S.Block, span_of: S.Ident) -> S.Block:
    """The body, beginning with a label: its own or `start`."""
    if body and isinstance(body[0], S.Label):
        return body
    return (S.Label(S.Ident("start", span=span_of.span), span=span_of.span), *body)


def blocks(s: S.Stmt) -> tuple[S.Block, ...]:
    """The blocks inside a statement."""
    match s:
        case S.If(_, then, otherwise):
            return (then, otherwise)
        case S.For(_, _, body) | S.While(_, body):
            return (body,)
        case S.Either(branches):
            return branches
        case _:
            return ()


def statements(body: S.Block) -> Iterator[S.Stmt]:
    """Every statement of a body, nested ones after the one that holds them."""
    for s in body:
        yield s
        for b in blocks(s):
            yield from statements(b)


def labels(body: S.Block) -> list[S.Label]:
    return [s for s in statements(body) if isinstance(s, S.Label)]


def is_plain(body: S.Block) -> bool:
    """Whether control simply runs through: no label, jump, wait, loop or call inside."""
    jumps = S.Label | S.Goto | S.Restart | S.Stop | S.Return | S.While | S.CallStmt | S.Await | S.Acquire
    return not any(isinstance(s, jumps) for s in statements(body))


def writes(body: S.Block) -> bool:
    """Whether some statement assigns or locks."""
    effects = S.Assign | S.Push | S.Pop | S.Acquire | S.Release | S.CallStmt
    return any(
        isinstance(s, effects) or (isinstance(s, S.If) and trylock_in(s.condition) is not None)
        for s in statements(body)
    )


def trylock_in(e: S.Expr) -> S.Trylock | None:
    """The `trylock` that an `if` condition ends with, if it does."""
    while True:
        match e:
            case S.Trylock():
                return e
            case S.Unary("!", operand):
                e = operand
            case S.Binary("&&" | "||", _, right):
                e = right
            case _:
                return None


def places(body: S.Block, env: Env, after: Cont) -> dict[int, Cont]:
    """For each label and call of a body (by `id`): what is left to run behind it, none of its step's names bound."""
    out: dict[int, Cont] = {}

    def walk(stmts: S.Block, after: Cont) -> None:
        for i, s in enumerate(stmts):
            rest = Seq(stmts[i + 1 :], env, after)
            match s:
                case S.Label() | S.CallStmt():
                    out[id(s)] = rest
                case S.If(_, then, otherwise):
                    walk(then, rest)
                    walk(otherwise, rest)
                case S.Either(branches):
                    for b in branches:
                        walk(b, rest)
                case S.While(_, inner):
                    walk(inner, Loop(s, env, rest))
                case _:
                    pass

    walk(body, after)
    return out


def skip_ends(cont: Cont) -> Cont:
    """The continuation without exhausted sequences at its front."""
    while isinstance(cont, Seq) and not cont.stmts:
        cont = cont.next
    return cont


def aliases(body: S.Block) -> dict[str, str]:
    """Labels with nothing between them are one: each such label, to the last of its group."""
    where = places(body, Env(), None)
    direct: dict[str, str] = {}
    for label in labels(body):
        cont = skip_ends(where.get(id(label)))
        if isinstance(cont, Seq) and isinstance(cont.stmts[0], S.Label):
            direct[label.name.name] = cont.stmts[0].name.name
    out: dict[str, str] = {}
    for name in direct:
        target, seen = direct[name], {name}
        while target in direct and target not in seen:
            seen.add(target)
            target = direct[target]
        out[name] = target
    return out


def bound_names(body: S.Block) -> frozenset[str]:
    """The names that `let` and `choose` bind anywhere in a body: they end at labels."""
    out: set[str] = set()
    for s in statements(body):
        match s:
            case S.Let(name, _):
                out.add(name.name)
            case S.Choose(binders, _):
                out |= {n.name for b in binders for n in b.names}
            case _:
                pass
    return frozenset(out)


def expressions(s: S.Stmt) -> Iterator[S.Expr]:
    """The expressions that stand directly in a statement."""
    match s:
        case S.Assign(target, _, value):
            yield target
            yield value
        case S.Let(_, value):
            yield value
        case S.If(c, _, _) | S.While(c, _) | S.Await(c) | S.Assert(_, _, c):
            yield c
        case S.For(binders, f, _) | S.Choose(binders, f):
            for b in binders:
                if b.over_set:
                    yield b.domain  # type: ignore[misc]
            if f is not None:
                yield f
        case S.Push(queue, value):
            yield queue
            yield value
        case S.Pop(queue):
            yield queue
        case S.Acquire(_, lock) | S.Release(lock):
            yield lock
        case S.Return(value):
            if value is not None:
                yield value
        case S.CallStmt(target, _, args):
            if target is not None:
                yield target
            yield from args
        case _:
            pass


def locks_named(body: S.Block, procedures: dict[str, S.Procedure]) -> tuple[set[str], set[str]]:
    """The locks that a body may take, and those it takes, releases or asks `mine` of; called procedures included."""
    taken: set[str] = set()
    named: set[str] = set()
    seen: set[str] = set()

    def root(e: S.Expr) -> str:
        while isinstance(e, S.Index):
            e = e.base
        return e.name if isinstance(e, S.Name) else ""

    def in_expr(e: object) -> None:
        # Any node: `mine` and `trylock` may stand anywhere inside.
        if isinstance(e, S.Trylock):
            taken.add(root(e.lock))
        if isinstance(e, S.Held) and e.kind == "mine":
            named.add(root(e.lock))
        if isinstance(e, S.Node):
            for value in vars(e).values():
                for item in value if isinstance(value, tuple) else (value,):
                    in_expr(item)

    def walk(stmts: S.Block) -> None:
        for s in statements(stmts):
            match s:
                case S.Acquire(_, lock):
                    taken.add(root(lock))
                case S.Release(lock):
                    named.add(root(lock))
                case S.CallStmt(_, name, _) if name.name in procedures and name.name not in seen:
                    seen.add(name.name)
                    walk(procedures[name.name].body)
                case _:
                    pass
            for e in expressions(s):
                in_expr(e)

    walk(body)
    return taken, named | taken
