"""Random syntax trees: any file that the grammar allows, whether or not it means anything.

`Trees(seed).file()` makes a whole file.  Nothing here knows about names or types, so the printer, the formatter and the
parser are tried on far stranger specs than anybody would write.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeVar

from hmmspec.lang import syntax as s

_T = TypeVar("_T")

# Soft words among them: they are names wherever the grammar does not want them.
NAMES = ["p", "q", "x", "page", "pte", "x_1", "Aa", "_z", "start", "stopped", "read", "by", "add", "remove", "replace"]
NAMES += ["has", "every", "runs", "orbits", "violates", "refines", "patches", "head", "size", "and", "not"]

TEXTS = ["", "a", 'say "x"', "back\\slash", "two\nlines", "tab\there", "\u00e9\u2192\U0001f600", "// no comment", "\\n"]
DOCS = ["", "One line.", "Two\nlines.", "Deep\n  deeper\n\n    deepest", 'ends with "', '"quoted', "x\ny"]


class Trees:
    """A source of random trees.  `budget` bounds the depth of expressions, types and blocks."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.budget = self.random.randint(0, 4)

    # ------------------------------------------------------------ small parts

    def pick(self, *makers: Callable[[], _T]) -> _T:
        return self.random.choice(makers)()

    def maybe(self, maker: Callable[[], _T]) -> _T | None:
        return maker() if self.random.random() < 0.5 else None

    def some(self, maker: Callable[[], _T], least: int = 0, most: int = 3) -> tuple[_T, ...]:
        return tuple(maker() for _ in range(self.random.randint(least, most)))

    def flag(self) -> bool:
        return self.random.random() < 0.5

    def word(self) -> str:
        return self.random.choice(NAMES)

    def ident(self) -> s.Ident:
        return s.Ident(self.word())

    def text(self) -> str:
        return self.random.choice(TEXTS)

    def deeper(self, maker: Callable[[], _T], shallow: Callable[[], _T]) -> _T:
        """`maker` with one level less of budget, or `shallow` when none is left."""
        if self.budget <= 0:
            return shallow()
        self.budget -= 1
        try:
            return maker()
        finally:
            self.budget += 1

    # ------------------------------------------------------------ types

    def type(self) -> s.Type:
        return self.deeper(self._type, lambda: s.NamedType(self.word()))

    def _type(self) -> s.Type:
        return self.pick(
            s.BoolType,
            s.IntType,
            self.range_type,
            lambda: s.EnumType(self.some(self.ident, 1)),
            lambda: s.SymmetricType(self.expr()),
            lambda: s.NamedType(self.word()),
            lambda: s.UnionType(self.some(self.type, 2)),
            lambda: s.OptionalType(self.type()),
            lambda: s.RecordType(self.some(self.field)),
            lambda: s.SetType(self.type()),
            lambda: s.QueueType(self.expr(), self.type()),
        )

    def range_type(self) -> s.Type:
        return s.RangeType(self.low(), self.operand())

    def low(self) -> s.Expr:
        """The lower bound of a range type does not begin with a parenthesis."""
        return self.pick(
            self.number,
            lambda: s.Name(self.word()),
            lambda: s.Unary("-", self.number()),
            lambda: s.Binary("-", s.Name(self.word()), self.operand()),
            lambda: s.Binary("*", self.number(), self.number()),
            lambda: s.Call(self.ident(), self.some(self.expr)),
            lambda: s.Index(s.Name(self.word()), self.expr()),
            lambda: s.Member(s.Name(self.word()), self.ident()),
        )

    def bind_type(self) -> s.Type:
        return self.pick(s.BoolType, lambda: s.NamedType(self.word()), self.range_type)

    def field(self) -> s.FieldDecl:
        return s.FieldDecl(self.ident(), self.indices(), self.type())

    def indices(self) -> tuple[s.IndexDecl, ...]:
        return self.some(lambda: s.IndexDecl(self.maybe(self.ident), self.type()), 0, 2)

    def params(self) -> tuple[s.Parameter, ...]:
        return self.some(lambda: s.Parameter(self.ident(), self.type()), 0, 2)

    # ------------------------------------------------------------ expressions

    def number(self) -> s.Expr:
        return s.IntLit(self.random.choice([0, 1, 7, 10**18]))

    def expr(self) -> s.Expr:
        return self.deeper(self._expr, self.leaf)

    def leaf(self) -> s.Expr:
        return self.pick(
            self.number,
            lambda: s.BoolLit(self.flag()),
            s.NullLit,
            s.EmptyQueue,
            lambda: s.Name(self.word(), self.flag()),
        )

    def operand(self) -> s.Expr:
        """Anything that may stand where the grammar wants a sum: the printer adds parentheses."""
        return self.expr()

    def _expr(self) -> s.Expr:
        return self.pick(
            self.leaf,
            self.binary,
            self.binary,
            self.binary,
            lambda: s.Unary(self.random.choice(["!", "-"]), self.expr()),
            lambda: s.Call(self.ident(), self.some(self.expr), self.flag()),
            lambda: s.Call(s.Ident(self.random.choice(["min", "max"])), self.some(self.expr, 1)),
            lambda: s.RecordLit(self.ident(), self.some(lambda: s.FieldInit(self.ident(), self.expr()), 1)),
            lambda: s.Index(self.expr(), self.expr()),
            lambda: s.Member(self.expr(), self.ident()),
            lambda: s.SetLit(self.some(self.expr)),
            self.comprehension,
            lambda: s.IfExpr(self.expr(), self.expr(), self.expr()),
            self.quant,
            lambda: s.Held(self.random.choice(["held", "mine"]), self.flag(), self.place()),
            lambda: s.Trylock(self.flag(), self.place()),
        )

    def binary(self) -> s.Expr:
        ops: list[s.BinaryOp] = ["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "=>", "<=>"]
        op = self.random.choice([*ops, "in"])
        right = self.domain() if op == "in" else self.expr()
        return s.Binary(op, self.expr(), right)

    def domain(self) -> s.Expr:
        return self.pick(self.expr, lambda: s.RangeExpr(self.operand(), self.operand()))

    def comprehension(self) -> s.Expr:
        if self.flag():
            return s.SetComp(s.Binder((self.ident(),), self.domain(), True), self.expr())
        return s.SetComp(s.Binder((self.ident(),), self.bind_type(), False), self.maybe(self.expr))

    def binder(self) -> s.Binder:
        over_set = self.flag()
        return s.Binder(self.some(self.ident, 1), self.domain() if over_set else self.bind_type(), over_set)

    def binders(self) -> tuple[s.Binder, ...]:
        return self.some(self.binder, 1, 2)

    def quant(self) -> s.Expr:
        kind: s.QuantKind = self.random.choice(["forall", "exists", "count", "sum", "min", "max"])
        body = None if kind == "count" else self.expr()
        return s.Quant(kind, self.binders(), self.maybe(self.expr), body)

    def place(self) -> s.Expr:
        """What can be assigned or locked: a name, then indices and fields."""
        result: s.Expr = s.Name(self.word())
        for _ in range(self.random.randint(0, 2)):
            result = s.Index(result, self.expr()) if self.flag() else s.Member(result, self.ident())
        return result

    def leads(self) -> s.Expr:
        if self.flag():
            return s.LeadsTo(self.expr(), self.expr())
        return s.Quant("forall", self.binders(), self.maybe(self.expr), self.deeper(self.leads, self._leads_to))

    def _leads_to(self) -> s.Expr:
        return s.LeadsTo(self.leaf(), self.leaf())

    # ------------------------------------------------------------ statements

    def block(self, least: int = 0) -> s.Block:
        return self.some(lambda: self.deeper(self._stmt, s.Skip), least)

    def _stmt(self) -> s.Stmt:
        return self.pick(
            lambda: s.Assign(self.place(), self.random.choice([":=", "+=", "-="]), self.expr()),
            lambda: s.Let(self.ident(), self.expr()),
            lambda: s.If(self.expr(), self.block(), self.block()),
            lambda: s.If(self.expr(), self.block(), (s.If(self.expr(), self.block(), self.block()),)),
            lambda: s.For(self.binders(), self.maybe(self.expr), self.block()),
            lambda: s.Choose(self.binders(), self.maybe(self.expr)),
            lambda: s.Either(self.some(self.block, 2)),
            lambda: s.Assert(self.ident(), self.maybe(self.text), self.expr()),
            lambda: s.Push(self.place(), self.expr()),
            lambda: s.Pop(self.place()),
            s.Skip,
            lambda: s.Await(self.expr()),
            lambda: s.Acquire(self.flag(), self.place()),
            lambda: s.Release(self.place()),
            lambda: s.Goto(self.ident()),
            lambda: s.While(self.expr(), self.block()),
            s.Restart,
            s.Stop,
            lambda: s.Return(self.maybe(self.expr)),
            lambda: s.CallStmt(self.maybe(self.place), self.ident(), self.some(self.expr)),
            lambda: s.Label(self.ident()),
            lambda: s.Label(self.ident()),
        )

    # ------------------------------------------------------------ declarations

    def declaration(self) -> s.Declaration:
        kinds: list[s.PropertyKind] = ["invariant", "step", "reachable", "recoverable", "terminal", "assume"]
        return self.pick(
            lambda: s.Import(self.text()),
            lambda: s.ParamDecl(self.ident(), self.maybe(self.type), self.maybe(self.expr)),
            lambda: s.TypeDecl(self.ident(), self.type()),
            self.var,
            lambda: s.Define(self.ident(), self.params(), self.maybe(self.type), self.expr()),
            lambda: s.Observe(self.ident(), self.params(), self.maybe(self.type), self.expr()),
            self.machine,
            lambda: s.LockDecl(self.random.choice(["lock", "rwlock"]), self.ident(), self.indices()),
            lambda: s.Transition(self.ident(), self.params(), self.maybe(self.expr), self.block()),
            self.thread,
            lambda: s.Procedure(
                self.ident(), self.params(), self.maybe(self.type), self.some(self.var, 0, 2), self.block()
            ),
            lambda: s.Property(self.random.choice(kinds), self.ident(), self.maybe(self.text), self.expr()),
            lambda: s.Property("leads_to", self.ident(), self.maybe(self.text), self.leads()),
            lambda: s.Fair(self.flag(), self.steps()),
            lambda: s.Event(self.steps()),
            lambda: s.SourceAnchor(self.text(), self.maybe(self.word), self.maybe(self.steps) or ()),
            lambda: s.Instance(self.ident(), self.some(lambda: s.Setting(self.ident(), self.expr()))),
            lambda: s.ExpectViolates(self.ident(), self.some(self.ident, 1)),
            lambda: s.ExpectCount(self.ident(), self.random.randint(0, 99), self.random.choice(["states", "orbits"])),
            lambda: s.Prove(self.some(self.ident, 1), self.some(self.ident, 1)),
        )

    def var(self) -> s.VarDecl:
        init = self.pick(self.expr, s.AnyInit, lambda: None)
        return s.VarDecl(self.ident(), self.indices(), self.type(), init)

    def arrow(self) -> s.Arrow:
        sources = self.some(self.ident, 1)
        return s.Arrow(sources, self.ident(), self.ident(), self.params(), self.maybe(self.expr), self.block())

    def machine(self) -> s.Machine:
        return s.Machine(
            self.ident(), self.indices(), self.some(self.ident, 1), self.some(self.ident, 1), self.some(self.arrow)
        )

    def thread(self) -> s.Thread:
        return s.Thread(
            self.ident(), self.indices(), self.params(), self.maybe(self.expr), self.some(self.var, 0, 2), self.block()
        )

    def steps(self) -> tuple[s.StepName, ...]:
        return self.some(lambda: s.StepName(self.word(), self.maybe(self.word)), 1)

    # ------------------------------------------------------------ files

    def header(self) -> s.Refines | s.Patches:
        if self.flag():
            return s.Refines(self.text(), self.some(self.mapping))
        return s.Patches(self.text(), self.some(self.patch_item))

    def mapping(self) -> s.Mapping:
        return s.Mapping(self.ident(), self.indices(), self.maybe(self.ident), self.expr())

    def patch_item(self) -> s.PatchItem:
        return self.pick(
            lambda: s.Replace(self.declaration()),
            lambda: s.ReplaceIn(self.ident(), self.some(self.arrow, 1), ()),
            lambda: s.ReplaceIn(self.ident(), (), self.block(1)),
            lambda: s.Remove(self.ident()),
            lambda: s.Add(self.declaration()),
        )

    def file(self) -> s.File:
        doc = self.random.choice(DOCS) if self.flag() else None
        header = self.header() if self.random.random() < 0.3 else None
        return s.File(self.ident(), doc, header, self.some(self.declaration, 0, 4))
