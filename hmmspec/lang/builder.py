"""Lark's tree to our syntax tree: one method per rule or alias of grammar.lark.

Every method gets the span of its rule and the children, already built; a child that the grammar lists in `[ ]` is None
when it is missing.  The walk keeps its own stack, so that no input can overflow Python's.
"""

from __future__ import annotations

from typing import Any, cast

from lark import Token, Tree

from hmmspec.diagnostics import NOWHERE, Diagnostics, Source, Span
from hmmspec.lang import syntax as s
from hmmspec.lang.lexer import number_value, undoc, unquote


class Builder:
    """Builds the nodes of one source.  Mistakes that the grammar cannot tell go to `diags`."""

    def __init__(self, source: Source, diags: Diagnostics) -> None:
        self.source = source
        self.diags = diags

    def build(self, tree: Tree[Token]) -> Any:
        """The node for a tree of lark's, children first."""
        # Each frame: the tree, its children built so far, the next child to look at.
        stack: list[tuple[Tree[Token], list[Any], int]] = [(tree, [], 0)]
        while True:
            node, built, at = stack.pop()
            if at < len(node.children):
                child = node.children[at]
                stack.append((node, built, at + 1))
                if isinstance(child, Tree):
                    stack.append((child, [], 0))
                else:
                    built.append(child)
                continue
            value = getattr(self, node.data)(self._span(node), *built)
            if not stack:
                return value
            stack[-1][1].append(value)

    def _span(self, tree: Tree[Token]) -> Span:
        meta = tree.meta
        if meta.empty:
            return NOWHERE
        return Span(self.source, meta.start_pos, meta.end_pos)

    # ------------------------------------------------------------ files and headers

    def file(self, span: Span, name: s.Ident, doc: Token | None, header: Any, *decls: s.Declaration) -> s.File:
        node: s.Refines | s.Patches | None = None
        if header is not None:
            node, second = header
            doc = doc or second
        return s.File(name, undoc(doc) if doc is not None else None, node, decls, span=span)

    def rest(self, span: Span, *decls: s.Declaration) -> tuple[s.Declaration, ...]:
        return decls

    def expression(self, span: Span, expr: s.Expr) -> s.Expr:
        return expr

    def refines(
        self, span: Span, path: Token, doc: Token | None, mappings: tuple[s.Mapping, ...] | None
    ) -> tuple[s.Refines, Token | None]:
        return s.Refines(unquote(path), mappings or (), span=span), doc

    def patches(
        self, span: Span, path: Token, doc: Token | None, *items: s.PatchItem
    ) -> tuple[s.Patches, Token | None]:
        return s.Patches(unquote(path), items, span=span), doc

    def mappings(self, span: Span, *items: s.Mapping) -> tuple[s.Mapping, ...]:
        return items

    def mapping(
        self, span: Span, name: s.Ident, indices: tuple[s.IndexDecl, ...], field: s.Ident | None, value: s.Expr
    ) -> s.Mapping:
        return s.Mapping(name, indices, field, value, span=span)

    def replace(self, span: Span, declaration: s.Declaration) -> s.Replace:
        return s.Replace(declaration, span=span)

    def replace_arrows(self, span: Span, name: s.Ident, *arrows: s.Arrow) -> s.ReplaceIn:
        return s.ReplaceIn(name, arrows, (), span=span)

    def replace_steps(self, span: Span, name: s.Ident, *body: s.Stmt) -> s.ReplaceIn:
        return s.ReplaceIn(name, (), body, span=span)

    def remove(self, span: Span, name: s.Ident) -> s.Remove:
        return s.Remove(name, span=span)

    def add(self, span: Span, declaration: s.Declaration) -> s.Add:
        return s.Add(declaration, span=span)

    def name(self, span: Span, token: Token) -> s.Ident:
        return s.Ident(str(token), span=span)

    def names(self, span: Span, *names: s.Ident | tuple[s.Ident, ...]) -> tuple[s.Ident, ...]:
        return cast(tuple[s.Ident, ...], names)

    # ------------------------------------------------------------ declarations

    def import_file(self, span: Span, path: Token) -> s.Import:
        return s.Import(unquote(path), span=span)

    def param_decl(self, span: Span, name: s.Ident, type: s.Type | None, default: s.Expr | None) -> s.ParamDecl:
        return s.ParamDecl(name, type, default, span=span)

    def type_decl(self, span: Span, name: s.Ident, type: s.Type) -> s.TypeDecl:
        return s.TypeDecl(name, type, span=span)

    def var_decl(
        self, span: Span, name: s.Ident, indices: tuple[s.IndexDecl, ...], type: s.Type, init: s.Expr | s.AnyInit | None
    ) -> s.VarDecl:
        return s.VarDecl(name, indices, type, init, span=span)

    def any_init(self, span: Span) -> s.AnyInit:
        return s.AnyInit(span=span)

    def indices(self, span: Span, *items: s.IndexDecl) -> tuple[s.IndexDecl, ...]:
        return items

    def index_of(self, span: Span, type: s.Type) -> s.IndexDecl:
        return s.IndexDecl(None, type, span=span)

    def index_named(self, span: Span, name: s.Ident, type: s.Type) -> s.IndexDecl:
        return s.IndexDecl(name, type, span=span)

    def define(
        self, span: Span, name: s.Ident, params: tuple[s.Parameter, ...] | None, type: s.Type | None, body: s.Expr
    ) -> s.Define:
        return s.Define(name, params or (), type, body, span=span)

    def observe(
        self, span: Span, name: s.Ident, params: tuple[s.Parameter, ...] | None, type: s.Type | None, body: s.Expr
    ) -> s.Observe:
        return s.Observe(name, params or (), type, body, span=span)

    def params(self, span: Span, *groups: tuple[s.Parameter, ...] | None) -> tuple[s.Parameter, ...]:
        return tuple(p for group in groups if group is not None for p in group)

    def param(self, span: Span, names: tuple[s.Ident, ...], type: s.Type) -> tuple[s.Parameter, ...]:
        return tuple(s.Parameter(name, type, span=name.span.to(type.span)) for name in names)

    def machine(
        self,
        span: Span,
        name: s.Ident,
        indices: tuple[s.IndexDecl, ...],
        states: tuple[s.Ident, ...],
        initial: tuple[s.Ident, ...],
        *arrows: s.Arrow,
    ) -> s.Machine:
        return s.Machine(name, indices, states, initial, arrows, span=span)

    def arrow(
        self,
        span: Span,
        sources: tuple[s.Ident, ...],
        target: s.Ident,
        name: s.Ident,
        params: tuple[s.Parameter, ...] | None,
        when: s.Expr | None,
        body: s.Block,
    ) -> s.Arrow:
        return s.Arrow(sources, target, name, params or (), when, body, span=span)

    def no_body(self, span: Span) -> s.Block:
        return ()

    def lock_decl(self, span: Span, kind: Token, name: s.Ident, indices: tuple[s.IndexDecl, ...]) -> s.LockDecl:
        return s.LockDecl("lock" if kind == "lock" else "rwlock", name, indices, span=span)

    def transition(
        self, span: Span, name: s.Ident, params: tuple[s.Parameter, ...] | None, when: s.Expr | None, body: s.Block
    ) -> s.Transition:
        return s.Transition(name, params or (), when, body, span=span)

    def thread(
        self,
        span: Span,
        name: s.Ident,
        indices: tuple[s.IndexDecl, ...],
        params: tuple[s.Parameter, ...] | None,
        when: s.Expr | None,
        locals: tuple[s.VarDecl, ...],
        *body: s.Stmt,
    ) -> s.Thread:
        return s.Thread(name, indices, params or (), when, locals, body, span=span)

    def procedure(
        self,
        span: Span,
        name: s.Ident,
        params: tuple[s.Parameter, ...] | None,
        result: s.Type | None,
        locals: tuple[s.VarDecl, ...],
        *body: s.Stmt,
    ) -> s.Procedure:
        return s.Procedure(name, params or (), result, locals, body, span=span)

    def locals(self, span: Span, *items: s.VarDecl) -> tuple[s.VarDecl, ...]:
        return items

    def property(self, span: Span, kind: Token, name: s.Ident, text: Token | None, body: s.Expr) -> s.Property:
        return s.Property(cast(s.PropertyKind, str(kind)), name, _text(text), body, span=span)

    def leads_property(self, span: Span, name: s.Ident, text: Token | None, body: s.Expr) -> s.Property:
        return s.Property("leads_to", name, _text(text), body, span=span)

    def steps(self, span: Span, *items: s.StepName) -> tuple[s.StepName, ...]:
        return items

    def step_name(self, span: Span, name: s.Ident, label: s.Ident | None) -> s.StepName:
        return s.StepName(name.name, label.name if label else None, span=span)

    def fair(self, span: Span, steps: tuple[s.StepName, ...]) -> s.Fair:
        return s.Fair(False, steps, span=span)

    def strongly_fair(self, span: Span, steps: tuple[s.StepName, ...]) -> s.Fair:
        return s.Fair(True, steps, span=span)

    def event(self, span: Span, steps: tuple[s.StepName, ...]) -> s.Event:
        return s.Event(steps, span=span)

    def source_anchor(
        self, span: Span, path: Token, symbol: s.Ident | None, steps: tuple[s.StepName, ...] | None
    ) -> s.SourceAnchor:
        return s.SourceAnchor(unquote(path), symbol.name if symbol else None, steps or (), span=span)

    def setting(self, span: Span, name: s.Ident, value: s.Expr) -> s.Setting:
        return s.Setting(name, value, span=span)

    def instance(self, span: Span, name: s.Ident, *settings: s.Setting) -> s.Instance:
        return s.Instance(name, settings, span=span)

    def expect_violates(self, span: Span, name: s.Ident, properties: tuple[s.Ident, ...]) -> s.ExpectViolates:
        return s.ExpectViolates(name, properties, span=span)

    def expect_count(self, span: Span, name: s.Ident, count: Token, unit: Token) -> s.ExpectCount:
        return s.ExpectCount(name, self._integer(count), "states" if unit == "states" else "orbits", span=span)

    def prove(self, span: Span, properties: tuple[s.Ident, ...], every: tuple[s.Ident, ...]) -> s.Prove:
        return s.Prove(properties, every, span=span)

    # ------------------------------------------------------------ types

    def bool_type(self, span: Span) -> s.Type:
        return s.BoolType(span=span)

    def int_type(self, span: Span) -> s.Type:
        return s.IntType(span=span)

    def named_type(self, span: Span, name: s.Ident) -> s.Type:
        return s.NamedType(name.name, span=span)

    def range_type(self, span: Span, low: s.Expr, high: s.Expr) -> s.Type:
        return s.RangeType(low, high, span=span)

    def enum_type(self, span: Span, *literals: s.Ident) -> s.Type:
        return s.EnumType(literals, span=span)

    def symmetric_type(self, span: Span, size: s.Expr) -> s.Type:
        return s.SymmetricType(size, span=span)

    def union_type(self, span: Span, *members: s.Type) -> s.Type:
        return s.UnionType(members, span=span)

    def optional_type(self, span: Span, inner: s.Type) -> s.Type:
        return s.OptionalType(inner, span=span)

    def record_type(self, span: Span, *fields: s.FieldDecl) -> s.Type:
        return s.RecordType(fields, span=span)

    def field(self, span: Span, name: s.Ident, indices: tuple[s.IndexDecl, ...], type: s.Type) -> s.FieldDecl:
        return s.FieldDecl(name, indices, type, span=span)

    def set_type(self, span: Span, element: s.Type) -> s.Type:
        return s.SetType(element, span=span)

    def queue_type(self, span: Span, capacity: s.Expr, element: s.Type) -> s.Type:
        return s.QueueType(capacity, element, span=span)

    # ------------------------------------------------------------ expressions

    def number(self, span: Span, token: Token) -> s.Expr:
        return s.IntLit(self._integer(token), span=span)

    def _integer(self, token: Token) -> int:
        value = number_value(token)
        return value if isinstance(value, int) else 0  # the lexer has said what is wrong with it

    def true(self, span: Span) -> s.Expr:
        return s.BoolLit(True, span=span)

    def false(self, span: Span) -> s.Expr:
        return s.BoolLit(False, span=span)

    def null(self, span: Span) -> s.Expr:
        return s.NullLit(span=span)

    def empty_queue(self, span: Span) -> s.Expr:
        return s.EmptyQueue(span=span)

    def var(self, span: Span, name: s.Ident) -> s.Expr:
        return s.Name(name.name, span=span)

    def primed(self, span: Span, name: s.Ident) -> s.Expr:
        return s.Name(name.name, True, span=span)

    def call(self, span: Span, name: s.Ident, args: tuple[s.Expr, ...]) -> s.Expr:
        return s.Call(name, args, span=span)

    def primed_call(self, span: Span, name: s.Ident, args: tuple[s.Expr, ...]) -> s.Expr:
        return s.Call(name, args, True, span=span)

    def args(self, span: Span, *args: s.Expr | None) -> tuple[s.Expr, ...]:
        return tuple(arg for arg in args if arg is not None)

    def record_lit(self, span: Span, name: s.Ident, *fields: s.FieldInit) -> s.Expr:
        return s.RecordLit(name, fields, span=span)

    def field_init(self, span: Span, name: s.Ident, value: s.Expr) -> s.FieldInit:
        return s.FieldInit(name, value, span=span)

    def index(self, span: Span, base: s.Expr, index: s.Expr) -> s.Expr:
        return s.Index(base, index, span=span)

    def member(self, span: Span, base: s.Expr, name: s.Ident) -> s.Expr:
        return s.Member(base, name, span=span)

    def set_lit(self, span: Span, *elements: s.Expr) -> s.Expr:
        return s.SetLit(elements, span=span)

    def set_of(self, span: Span, name: s.Ident, domain: s.Type, filter: s.Expr | None) -> s.Expr:
        binder = s.Binder((name,), domain, False, span=name.span.to(domain.span))
        return s.SetComp(binder, filter, span=span)

    def set_in(self, span: Span, left: s.Expr, filter: s.Expr) -> s.Expr:
        # `{x in S | P}`: the grammar reads `x in S` as an expression; only the `|` tells it from the set `{x in S}`.
        match left:
            case s.Binary("in", s.Name(name, False) as bound, domain):
                binder = s.Binder((s.Ident(name, span=bound.span),), domain, True, span=left.span)
                return s.SetComp(binder, filter, span=span)
            case _:
                self.diags.error(
                    "HMM016",
                    left.span,
                    "left of '|' in a set stands what the set ranges over",
                    fix="write {x: T | condition} or {x in S | condition}; for 'or' write '||'",
                )
                return s.SetLit((left,), span=span)

    def unary(self, span: Span, op: Token, operand: s.Expr) -> s.Expr:
        return s.Unary(cast(s.UnaryOp, str(op)), operand, span=span)

    def binary(self, span: Span, left: s.Expr, op: Token, right: s.Expr) -> s.Expr:
        return s.Binary(cast(s.BinaryOp, str(op)), left, right, span=span)

    def range_expr(self, span: Span, low: s.Expr, high: s.Expr) -> s.Expr:
        return s.RangeExpr(low, high, span=span)

    def if_expr(self, span: Span, condition: s.Expr, then: s.Expr, otherwise: s.Expr) -> s.Expr:
        return s.IfExpr(condition, then, otherwise, span=span)

    def binder_of(self, span: Span, names: tuple[s.Ident, ...], domain: s.Type) -> s.Binder:
        return s.Binder(names, domain, False, span=span)

    def binder_in(self, span: Span, names: tuple[s.Ident, ...], _in: Token, domain: s.Expr) -> s.Binder:
        return s.Binder(names, domain, True, span=span)

    def binders(self, span: Span, *binders: s.Binder) -> tuple[s.Binder, ...]:
        return binders

    def forall(self, span: Span, binders: tuple[s.Binder, ...], filter: s.Expr | None, body: s.Expr) -> s.Expr:
        return s.Quant("forall", binders, filter, body, span=span)

    def exists(self, span: Span, binders: tuple[s.Binder, ...], filter: s.Expr | None, body: s.Expr) -> s.Expr:
        return s.Quant("exists", binders, filter, body, span=span)

    def count(self, span: Span, binders: tuple[s.Binder, ...], filter: s.Expr | None) -> s.Expr:
        return s.Quant("count", binders, filter, None, span=span)

    def sum(self, span: Span, body: s.Expr, binders: tuple[s.Binder, ...], filter: s.Expr | None) -> s.Expr:
        return s.Quant("sum", binders, filter, body, span=span)

    def least(
        self, span: Span, kind: Token, body: s.Expr, binders: tuple[s.Binder, ...], filter: s.Expr | None
    ) -> s.Expr:
        return s.Quant("min" if kind == "min" else "max", binders, filter, body, span=span)

    def least_of(self, span: Span, kind: Token, *args: s.Expr) -> s.Expr:
        start = span.start
        return s.Call(s.Ident(str(kind), span=Span(self.source, start, start + len(kind))), args, span=span)

    def held(self, span: Span, lock: s.Expr) -> s.Expr:
        return s.Held("held", False, lock, span=span)

    def held_read(self, span: Span, lock: s.Expr) -> s.Expr:
        return s.Held("held", True, lock, span=span)

    def mine(self, span: Span, lock: s.Expr) -> s.Expr:
        return s.Held("mine", False, lock, span=span)

    def mine_read(self, span: Span, lock: s.Expr) -> s.Expr:
        return s.Held("mine", True, lock, span=span)

    def trylock(self, span: Span, lock: s.Expr) -> s.Expr:
        return s.Trylock(False, lock, span=span)

    def trylock_read(self, span: Span, lock: s.Expr) -> s.Expr:
        return s.Trylock(True, lock, span=span)

    def leads_to(self, span: Span, left: s.Expr, right: s.Expr) -> s.Expr:
        return s.LeadsTo(left, right, span=span)

    # ------------------------------------------------------------ statements

    def block(self, span: Span, *body: s.Stmt) -> s.Block:
        return body

    def assign(self, span: Span, target: s.Expr, op: Token, value: s.Expr) -> s.Stmt:
        return s.Assign(target, cast(Any, str(op)), value, span=span)

    def call_into(self, span: Span, target: s.Expr, _op: Token, name: s.Ident, args: tuple[s.Expr, ...]) -> s.Stmt:
        return s.CallStmt(target, name, args, span=span)

    def call_stmt(self, span: Span, name: s.Ident, args: tuple[s.Expr, ...]) -> s.Stmt:
        return s.CallStmt(None, name, args, span=span)

    def let(self, span: Span, name: s.Ident, value: s.Expr) -> s.Stmt:
        return s.Let(name, value, span=span)

    def if_stmt(self, span: Span, condition: s.Expr, then: s.Block, otherwise: s.Block | s.If | None) -> s.Stmt:
        if isinstance(otherwise, s.If):
            otherwise = (otherwise,)
        return s.If(condition, then, otherwise or (), span=span)

    def for_stmt(self, span: Span, binders: tuple[s.Binder, ...], filter: s.Expr | None, body: s.Block) -> s.Stmt:
        return s.For(binders, filter, body, span=span)

    def choose(self, span: Span, binders: tuple[s.Binder, ...], filter: s.Expr | None) -> s.Stmt:
        return s.Choose(binders, filter, span=span)

    def either(self, span: Span, *branches: s.Block) -> s.Stmt:
        return s.Either(branches, span=span)

    def assert_stmt(self, span: Span, name: s.Ident, text: Token | None, condition: s.Expr) -> s.Stmt:
        return s.Assert(name, _text(text), condition, span=span)

    def push(self, span: Span, queue: s.Expr, value: s.Expr) -> s.Stmt:
        return s.Push(queue, value, span=span)

    def pop(self, span: Span, queue: s.Expr) -> s.Stmt:
        return s.Pop(queue, span=span)

    def skip(self, span: Span) -> s.Stmt:
        return s.Skip(span=span)

    def await_stmt(self, span: Span, condition: s.Expr) -> s.Stmt:
        return s.Await(condition, span=span)

    def acquire(self, span: Span, lock: s.Expr) -> s.Stmt:
        return s.Acquire(False, lock, span=span)

    def acquire_read(self, span: Span, lock: s.Expr) -> s.Stmt:
        return s.Acquire(True, lock, span=span)

    def release(self, span: Span, lock: s.Expr) -> s.Stmt:
        return s.Release(lock, span=span)

    def goto(self, span: Span, label: s.Ident) -> s.Stmt:
        return s.Goto(label, span=span)

    def while_stmt(self, span: Span, condition: s.Expr, body: s.Block) -> s.Stmt:
        return s.While(condition, body, span=span)

    def restart(self, span: Span) -> s.Stmt:
        return s.Restart(span=span)

    def stop(self, span: Span) -> s.Stmt:
        return s.Stop(span=span)

    def return_stmt(self, span: Span, value: s.Expr | None) -> s.Stmt:
        return s.Return(value, span=span)

    def label(self, span: Span, name: s.Ident) -> s.Stmt:
        return s.Label(name, span=span)


def _text(token: Token | None) -> str | None:
    return None if token is None else unquote(token)
