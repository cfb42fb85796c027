"""Rules as Python functions: `rule_N(s, out, bad)` appends `(N, args, next state)` to `out` and `(N, args, Fault)` to
`bad`, in the order of the arguments."""

from __future__ import annotations

from hmmspec.system.analyse import (
    blocks,
    branches,
    expressions,
    guards,
    locals_of,
    nesting,
    target_variable,
)
from hmmspec.system.code import Code, Scope, Unit, both, indent, negation
from hmmspec.system.compile_body import MAX_NESTING, BodyCompiler, Lines, Shape, frozen
from hmmspec.system.compile_expr import compile_expr, conjuncts
from hmmspec.system.compile_quant import over_type
from hmmspec.system.expr import Expr
from hmmspec.system.system import Assign, Block, Check, Guard, Let, Rule, Stmt
from hmmspec.system.types import cardinality, is_scalar, show_type, values

# Arguments are written out, one copy of the rule for each, up to this many copies and this much code.
UNROLL_ARGUMENTS = 32
UNROLL_CODE = 3000


def hoisted(unit: Unit, block: Block) -> Block:
    """The block with its guards, lets and checks before the assignments they do not depend on.

    So a step that is not enabled copies nothing.  Assignments that can fault stay where they are: whether the guard or
    the fault comes first decides what the step does.
    """
    out: list[Stmt] = []
    for s in block:
        at = len(out)
        if isinstance(s, (Guard, Let, Check)):
            reads = frozenset[str]().union(*(unit.analysis.reads(e) for e in expressions(s)))
            while at > 0:
                before = out[at - 1]
                if not isinstance(before, Assign) or unit.analysis.statement_can_fault(before):
                    break
                if target_variable(before.target) in reads:
                    break
                at -= 1
        out.insert(at, s)
    return tuple(out)


def shape_of(body: Block) -> str:
    if branches(body):
        return "tree"
    start = 0
    while start < len(body) and isinstance(body[start], (Guard, Let, Check, Assign)):
        start += 1
    inner = any(guards(b) for s in body[start:] for b in blocks(s))
    later = sum(isinstance(s, Guard) for s in body)
    return "path" if inner or later > 4 or nesting(body) > MAX_NESTING // 2 else "plain"


class RuleCompiler:
    """Writes `rule_N`: loops over the arguments around the guard around the body."""

    def __init__(self, unit: Unit, rule: Rule) -> None:
        self.unit = unit
        self.rule = rule
        self.body = hoisted(unit, rule.body)
        self.kind = shape_of(self.body)
        self.name = f"rule_{rule.number}"
        self.careful = unit.analysis.can_fault(rule.guard) or unit.analysis.block_can_fault(self.body)
        combinations = 1
        for p in rule.params:
            combinations *= cardinality(p.type)
        size = unit.analysis.weight(rule.guard) + unit.analysis.block_weight(rule.body)
        self.unroll = combinations <= UNROLL_ARGUMENTS and combinations * size <= UNROLL_CODE

    def compile(self) -> None:
        """Add the function to the unit."""
        if self.kind != "plain":
            self.body_function()
        lines = self.arguments(0, Scope(), (), conjuncts(self.rule.guard), True)
        params = ", ".join(f"{p.name}: {show_type(p.type)}" for p in self.rule.params)
        self.unit.function(f"{self.name}(s, out, bad)", lines or ["pass"], f"{self.rule.name}({params})")

    def arguments(self, depth: int, scope: Scope, args: tuple[Code, ...], open_: list[Expr], certain: bool) -> Lines:
        """The loops from parameter `depth` on.  `open_`: the conjuncts of the guard that are not tested yet.

        A conjunct is tested as soon as its parameters are bound, as long as it and all before it cannot fault.
        """
        now, later = [], []
        bound = {p.name for p in self.rule.params[:depth]}
        params = {p.name for p in self.rule.params}
        for c in open_:
            certain = certain and not self.unit.analysis.can_fault(c)
            if depth == len(self.rule.params) or (certain and locals_of(c) & params <= bound):
                now.append(c)
            else:
                later.append(c)
        droppable = not any(self.unit.analysis.can_fault(c) for c in now)
        test = both((compile_expr(self.unit, c, scope) for c in now), droppable)
        if test.is_(False):
            return []
        if depth == len(self.rule.params):
            return self.innermost(scope, args, test)
        p = self.rule.params[depth]
        lines: Lines = []
        if self.unroll:
            for v in values(p.type):
                value = self.unit.value(v)
                lines += self.arguments(depth + 1, scope.bind(p.name, value), (*args, value), later, True)
        else:
            source = over_type(p.type) if is_scalar(p.type) else Code(f"values({self.unit.named('type', p.type)})")
            inner_scope, name = scope.declare(p.name)
            inner = self.arguments(depth + 1, inner_scope, (*args, Code(name, simple=True)), later, True)
            if inner:
                lines = [f"for {name} in {source.text}:", *indent(inner)]
        return _guarded(test, lines)

    def innermost(self, scope: Scope, args: tuple[Code, ...], test: Code) -> Lines:
        made = f"({', '.join(a.text for a in args)},)" if args else "()"
        number = self.rule.number
        if self.kind == "plain":

            def end(at: Scope) -> Lines:
                return [f"out.append(({number}, {made}, {frozen(self.unit, at)}))"]

            lines = BodyCompiler(self.unit, Shape("plain", end), self.rule).block(self.body, scope, end)
        else:
            passed = ", ".join(["s", *(a.text for a in args)])
            if self.kind == "path":
                lines = [
                    f"n = {self.name}_body({passed})",
                    f"if n is not None: out.append(({number}, {made}, n))",
                ]
            else:
                return _guarded_tree(self.name, passed, number, made, test)
        lines = _guarded(test, lines)
        if lines and self.careful:
            return ["try:", *indent(lines), f"except SpecFault as f: bad.append(({number}, {made}, f.fault))"]
        return lines

    def body_function(self) -> None:
        """`rule_N_body(s, args..)`."""
        scope = Scope()
        for p in self.rule.params:
            scope, _ = scope.declare(p.name)
        unit = self.unit

        def returned(at: Scope) -> Lines:
            return [f"return {frozen(unit, at)}"]

        def collected(at: Scope) -> Lines:
            return [f"ends[{frozen(unit, at)}] = None"]

        shape = Shape("path", returned) if self.kind == "path" else Shape("tree", collected, ("ends", "errs"))
        compiler = BodyCompiler(unit, shape, self.rule)
        lines = compiler.block(self.body, scope, shape.end)
        compiler.define(f"{self.name}_body", scope, (), lines)


def compile_at(unit: Unit, rule: Rule, written: bool = True) -> str:
    """A function `rule_N_at(s, args.., out, bad)`: what `rule_N` does, for these arguments alone.

    written: whether `rule_N` is in the unit, with what it calls.
    """
    compiler = RuleCompiler(unit, rule)
    if not written and compiler.kind != "plain":
        compiler.body_function()
    scope, args = Scope(), list[Code]()
    for p in rule.params:
        scope, name = scope.declare(p.name)
        args.append(Code(name, simple=True))
    # As if all parameters were bound already: what is left of `arguments` is its innermost part.
    lines = compiler.arguments(len(rule.params), scope, tuple(args), conjuncts(rule.guard), True)
    name = f"{compiler.name}_at"
    unit.function(f"{name}({', '.join(['s', *(a.text for a in args), 'out', 'bad'])})", lines or ["pass"])
    return name


def _guarded(test: Code, lines: Lines) -> Lines:
    if test.is_(True):
        return lines
    return [f"if {test.text}:", *indent(lines)] if lines else ([test.text] if not test.fixed else [])


def _guarded_tree(name: str, passed: str, number: int, made: str, test: Code) -> Lines:
    call_ = [f"{name}_body({passed}, ends, errs)"]
    return [
        "ends = {}; errs = []",
        "try:",
        *indent(_guarded(test, call_)),
        "except SpecFault as f: errs.append(f.fault)",
        f"for n in ends: out.append(({number}, {made}, n))",
        f"if errs: several({number}, {made}, errs, bad)",
    ]


def compile_probe(unit: Unit, rule: Rule) -> str:
    """A function `probe_N(s, out)` that notes at which waits a thread's step stands: appends (args, what the guards
    gave)."""
    compiler = RuleCompiler(unit, rule)
    name = f"probe_{rule.number}"
    scope = Scope()
    for p in rule.params:
        scope, _ = scope.declare(p.name)

    def nothing(_: Scope) -> Lines:
        return ["pass"]

    body = BodyCompiler(unit, Shape("probe", nothing, ("ends", "errs")), rule)
    guard = compile_expr(unit, rule.guard, scope)
    lines = [f"if {negation(guard).text}: return"] if not guard.is_(True) else []
    body.define(name, scope, (), [*lines, *body.block(compiler.body, scope, nothing)])
    return name
