"""What the declared names of one instance mean: params, types, variables, locks, threads, defines.

`Names` is filled on demand (declarations come in any order) and remembers what it has worked out; a mistake is
reported once and replaced by something harmless, so that one run finds all it can.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hmmspec.diagnostics import Diagnostics, Span, did_you_mean
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system.elaborate.scope import Env, Symbol
from hmmspec.system.system import Define
from hmmspec.system.types import (
    BOOL,
    INT,
    NULL,
    Array,
    Enum,
    Int,
    Queue,
    Range,
    Record,
    Set,
    Symmetric,
    ThreadId,
    Type,
    Union,
    cardinality,
    is_scalar,
    show_type,
)

MAX_INDEX = 1 << 16  # values of a type that indexes an array or is the element of a set

# Stands for the type of something that is wrong already: it fits everywhere, so that one mistake gives one message.
ERROR = Enum("<error>", ())


@dataclass(frozen=True)
class LockShape:
    """A lock as the elaboration sees it: index types and the names and types of its variables."""

    decl: S.LockDecl
    index: tuple[Type, ...]
    owner_type: Union

    @property
    def owner(self) -> str:
        return self.decl.name.name

    @property
    def readers(self) -> str | None:
        return f"{self.decl.name.name}.readers" if self.decl.kind == "rwlock" else None

    @property
    def owner_var(self) -> Type:
        return arrays(self.index, self.owner_type)

    @property
    def readers_var(self) -> Type:
        return arrays(self.index, Set(Union(self.owner_type.members[1:])) if self.many else Set(self.single))

    @property
    def many(self) -> bool:
        return len(self.owner_type.members) > 2

    @property
    def single(self) -> Type:
        return self.owner_type.members[1]


@dataclass(frozen=True)
class ThreadShape:
    """A thread as expressions see it.  aliases: labels that are one with another, to that other."""

    decl: S.Thread
    index: tuple[Type, ...]
    labels: Enum
    aliases: Mapping[str, str]
    params: tuple[tuple[str, Type], ...]  # the thread's own arguments (p: T)
    locals: tuple[tuple[str, Type], ...]

    @property
    def name(self) -> str:
        return self.decl.name.name

    @property
    def identity(self) -> ThreadId:
        return ThreadId(self.name, self.index)


def arrays(index: tuple[Type, ...], element: Type) -> Type:
    """The type of a variable declared with these indices."""
    for i in reversed(index):
        element = Array(i, element)
    return element


def optional(t: Type) -> Type:
    """`T?`"""
    if isinstance(t, Union):
        return t if t.members[0] == NULL else Union((NULL, *t.members))
    return t if t == NULL else Union((NULL, t))


class Names:
    """The meaning of the declared names under given parameter values.

    params: every param's value and type.  `expressions` is set by the elaborator: how to type an expression.
    """

    def __init__(self, symbols: dict[str, Symbol], diagnostics: Diagnostics) -> None:
        self.symbols = symbols
        self.diagnostics = diagnostics
        self.params: dict[str, E.Const] = {}
        self.types: dict[str, Type] = {}
        self.variables: dict[str, Type] = {}
        self.locks: dict[str, LockShape] = {}
        self.threads: dict[str, ThreadShape] = {}
        self.hidden: dict[str, Type] = {}  # of variables of threads that lowering made, set by the elaborator
        self.defines: dict[str, Define] = {}
        self.used: set[str] = set()
        self.lock_users: dict[str, list[str]] = {}  # lock -> threads that take or release it, set by the elaborator
        self._open: list[str] = []
        self.expressions: Callable[[S.Expr, Env, Type | None], E.Expr]
        self.make_define: Callable[[S.Define], Define]
        self.make_thread: Callable[[S.Thread], ThreadShape]

    # ------------------------------------------------------------ types

    def type_of(self, t: S.Type, name: str = "") -> Type:
        """The core type of a type expression; `name` is what it is declared as (enums and records take it)."""
        match t:
            case S.BoolType():
                return BOOL
            case S.IntType():
                return INT
            case S.RangeType(low, high):
                a, b = self.constant_int(low, "a range's bound"), self.constant_int(high, "a range's bound")
                if a is None or b is None:
                    return ERROR
                return Range(a, b, name or None)
            case S.EnumType(literals):
                seen: dict[str, S.Ident] = {}
                for literal in literals:
                    if literal.name in seen:
                        self.diagnostics.error(
                            "HMM021", literal.span, f"the literal '{literal.name}' occurs twice in one enum"
                        )
                    seen.setdefault(literal.name, literal)
                return Enum(name, tuple(seen))
            case S.SymmetricType(size):
                n = self.constant_int(size, "a symmetric type's size")
                if n is None:
                    return ERROR
                if n < 1:
                    self.diagnostics.error(
                        "HMM037", t.span, f"a symmetric type needs at least 1 identity, and this one has {n}"
                    )
                    return ERROR
                if not name:
                    self.diagnostics.error(
                        "HMM033", t.span, "a symmetric type needs a name", fix="declare it: `type Page = symmetric[N];`"
                    )
                    return ERROR
                return Symmetric(name, n)
            case S.NamedType(other):
                return self.named_type(other, t.span)
            case S.OptionalType(inner):
                it = self.type_of(inner)
                if it == ERROR:
                    return ERROR
                if it == INT:
                    return self._no_int(t.span)
                return optional(it)
            case S.UnionType(members):
                return self._union(t, members, name)
            case S.RecordType(fields):
                out: dict[str, Type] = {}
                for f in fields:
                    if f.name.name in out:
                        self.diagnostics.error("HMM021", f.name.span, f"the field '{f.name.name}' is defined twice")
                        continue
                    index = tuple(self.index_type(i) for i in f.indices)
                    element = self.stored_type(f.type)
                    out[f.name.name] = ERROR if ERROR in (*index, element) else arrays(index, element)
                if ERROR in out.values():
                    return ERROR
                return Record(name, tuple(out.items()))
            case S.SetType(element):
                et = self.stored_type(element)
                return ERROR if not self._countable(et, element.span, "the element of a set") else Set(et)
            case S.QueueType(capacity, element):
                n = self.constant_int(capacity, "a queue's capacity")
                et = self.stored_type(element)
                if n is None or et == ERROR:
                    return ERROR
                if n < 1:
                    self.diagnostics.error("HMM037", t.span, f"a queue needs room for at least 1, and this one has {n}")
                    return ERROR
                return Queue(n, et)

    def named_type(self, name: str, span: Span) -> Type:
        if name in self.types:
            self.used.add(name)
            return self.types[name]
        symbol = self.symbols.get(name)
        if not isinstance(symbol, S.TypeDecl):
            known = [n for n, s in self.symbols.items() if isinstance(s, S.TypeDecl)]
            what = "is not a type" if symbol is not None else "is not defined"
            self.diagnostics.error("HMM020", span, f"'{name}' {what}", fix=did_you_mean(name, known))
            return ERROR
        if name in self._open:
            chain = " -> ".join([*self._open[self._open.index(name) :], name])
            self.diagnostics.error("HMM034", span, f"the type '{name}' contains itself ({chain})")
            return ERROR
        self._open.append(name)
        try:
            result = self.type_of(symbol.type, name)
        finally:
            self._open.pop()
        self.types[name] = result
        self.used.add(name)
        return result

    def stored_type(self, t: S.Type, name: str = "") -> Type:
        """A type of something kept in a state: any but int, with at least one value."""
        result = self.type_of(t, name)
        if result == INT:
            return self._no_int(t.span)
        if isinstance(result, Range) and cardinality(result) == 0:
            self.diagnostics.error("HMM037", t.span, f"the range {result.low}..{result.high} has no value")
            return ERROR
        return result

    def index_type(self, index: S.IndexDecl) -> Type:
        t = self.stored_type(index.type)
        return t if self._countable(t, index.span, "an index") else ERROR

    def _no_int(self, span: Span) -> Type:
        self.diagnostics.error(
            "HMM032", span, "'int' is unbounded and cannot be stored in a state", fix="use a range such as 0..7"
        )
        return ERROR

    def _countable(self, t: Type, span: Span, what: str) -> bool:
        if t == ERROR:
            return False
        if not is_scalar(t):
            self.diagnostics.error("HMM039", span, f"{what} must be a scalar type, and this is {show_type(t)}")
            return False
        if cardinality(t) > MAX_INDEX:
            self.diagnostics.error(
                "HMM039", span, f"{what} may have at most {MAX_INDEX} values, and {show_type(t)} has more"
            )
            return False
        return True

    def _union(self, t: S.UnionType, members: tuple[S.Type, ...], name: str) -> Type:
        flat: list[Type] = []
        for m in members:
            mt = self.type_of(m)
            if mt == ERROR:
                return ERROR
            if mt == INT:
                return self._no_int(m.span)
            flat.extend(mt.members if isinstance(mt, Union) else [mt])
        unique = list(dict.fromkeys(flat))
        if NULL in unique:
            unique.remove(NULL)
            unique.insert(0, NULL)
        if sum(isinstance(m, Range) for m in unique) > 1:
            self.diagnostics.error("HMM033", t.span, "a union may have only one range: its values would be two things")
            return ERROR
        literals: set[str] = set()
        for e in unique:
            if isinstance(e, Enum):
                both = literals & set(e.literals)
                if both:
                    self.diagnostics.error("HMM033", t.span, f"two enums of this union have '{min(both)}'")
                    return ERROR
                literals |= set(e.literals)
        return Union(tuple(unique), name or None) if len(unique) > 1 else unique[0]

    # ------------------------------------------------------------ constants

    def constant(self, e: S.Expr, what: str, hint: Type | None = None) -> E.Const | None:
        """The value of an expression over params and literals alone; None (and a diagnostic) if it is not one."""
        before = len(self.diagnostics.items)
        result = self.expressions(e, Env(state=False), hint)
        if isinstance(result, E.Const):
            return result if result.type != ERROR else None
        if len(self.diagnostics.items) == before:
            self.diagnostics.error("HMM036", e.span, f"{what} must be a constant")
        return None

    def constant_int(self, e: S.Expr, what: str) -> int | None:
        result = self.constant(e, what, INT)
        if result is None:
            return None
        if not isinstance(result.type, Range | Int) or not isinstance(result.value, int):
            self.diagnostics.error("HMM030", e.span, f"{what} must be a number, and this is {show_type(result.type)}")
            return None
        return int(result.value)

    # ------------------------------------------------------------ variables, locks, threads, defines

    def variable_type(self, decl: S.VarDecl | S.Machine) -> Type:
        name = decl.name.name
        if name not in self.variables:
            index = tuple(self.index_type(i) for i in decl.indices)
            if isinstance(decl, S.Machine):
                element: Type = self._states(decl)
            else:
                element = self.stored_type(decl.type)
            self.variables[name] = ERROR if ERROR in (*index, element) else arrays(index, element)
        return self.variables[name]

    def _states(self, m: S.Machine) -> Enum:
        seen: dict[str, None] = {}
        for s in m.states:
            if s.name in seen:
                self.diagnostics.error("HMM021", s.span, f"the state '{s.name}' is defined twice")
            seen[s.name] = None
        return Enum(m.name.name, tuple(seen))

    def lock(self, decl: S.LockDecl) -> LockShape:
        name = decl.name.name
        if name not in self.locks:
            index = tuple(self.index_type(i) for i in decl.indices)
            index = () if ERROR in index else index
            owners: list[Type] = []
            for thread in self.lock_users.get(name, []):
                symbol = self.symbols[thread]
                assert isinstance(symbol, S.Thread)
                owners.append(ThreadId(thread, self.thread_index(symbol)))
            self.locks[name] = LockShape(decl, index, Union((NULL, *(owners or [ThreadId("nobody", ())]))))
        return self.locks[name]

    def thread_index(self, decl: S.Thread) -> tuple[Type, ...]:
        index = tuple(self.index_type(i) for i in decl.indices)
        return () if ERROR in index else index

    def thread(self, decl: S.Thread) -> ThreadShape:
        name = decl.name.name
        if name not in self.threads:
            self.threads[name] = self.make_thread(decl)
        return self.threads[name]

    def define(self, decl: S.Define, span: Span) -> Define | None:
        name = decl.name.name
        if name in self.defines:
            return self.defines[name]
        if name in self._open:
            chain = " -> ".join([*self._open[self._open.index(name) :], name])
            self.diagnostics.error("HMM026", span, f"the define '{name}' uses itself ({chain})")
            return None
        self._open.append(name)
        try:
            self.defines[name] = self.make_define(decl)
        finally:
            self._open.pop()
        return self.defines[name]


def literal_members(t: Type | None, literal: str, names: Names) -> list[tuple[Enum, str]]:
    """The enums within a type that have this literal (label aliases resolved), with the literal's own name."""
    match t:
        case Enum(name, literals):
            if literal in literals:
                return [(t, literal)]
            shape = names.threads.get(name)
            if shape is not None and shape.labels == t and literal in shape.aliases:
                return [(t, shape.aliases[literal])]
            return []
        case Union(members):
            return [found for m in members for found in literal_members(m, literal, names)]
        case _:
            return []


def is_int(t: Type) -> bool:
    return isinstance(t, Int | Range)


def accepts(target: Type, t: Type) -> bool:
    """Whether a value of type `t` may stand where `target` is wanted (perhaps with a check at run time)."""
    if t == target or ERROR in (t, target):
        return True
    if is_int(t) and is_int(target):
        return True
    if isinstance(target, Union):
        if isinstance(t, Union):
            return any(accepts(target, m) for m in t.members)
        return any(accepts(m, t) for m in target.members)
    if isinstance(t, Union):
        return any(accepts(target, m) for m in t.members)
    return False
