"""Bodies of rules as Python functions.  Three shapes:

- plain: no choices, and guards only at the start; written inside the loops over the arguments;
- path: no choices, but guards anywhere; a function that returns the next state, or None where a guard fails;
- tree: choices; functions that put each next state into `ends` and each fault into `errs`.  What follows a choice is a
  function of its own (`part_K`), called once for each branch with its own copy of the state, so code does not multiply.

A fourth, the probe, is a tree that notes at each guard what it waits for.  The state is copied (`s` to `t`) at the
first assignment on a path; from there on reads go to `t`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hmmspec.diagnostics import InternalError
from hmmspec.system.analyse import (
    assigns,
    branches,
    guards,
)
from hmmspec.system.code import TERNARY, Code, Scope, Unit, indent, negation
from hmmspec.system.compile_cast import inside
from hmmspec.system.compile_expr import compile_expr
from hmmspec.system.compile_quant import domain
from hmmspec.system.expr import Cast, Expr, Field, Index, Var
from hmmspec.system.faults import Fault, Site, is_integer
from hmmspec.system.places import place_of
from hmmspec.system.show import text_of
from hmmspec.system.slots import is_leaf, is_row, width
from hmmspec.system.system import Assign, Block, Check, Choose, Either, For, Guard, IfElse, Let, Rule
from hmmspec.system.types import Range, Type

Lines = list[str]
Then = Callable[[Scope], Lines]  # what to write where a path goes on

# Python takes 100 levels of indentation and 20 nested loops; deeper blocks become functions.
MAX_NESTING = 8


def copied(unit: Unit, state: str) -> str:
    return f"bytearray({state})" if unit.layout.packed else f"list({state})"


def frozen(unit: Unit, scope: Scope) -> str:
    """The state that a path has reached, as a state."""
    if scope.state == "s":
        return "s"
    return "bytes(t)" if unit.layout.packed else "tuple(t)"


def with_copy(unit: Unit, scope: Scope) -> tuple[Lines, Scope]:
    """Lines that make the working copy, unless there is one."""
    if scope.state == "t":
        return [], scope
    return [f"t = {copied(unit, 's')}"], replace(scope, state="t")


# ---------------------------------------------------------------- statements that cannot branch


def assign(unit: Unit, s: Assign, scope: Scope) -> tuple[Lines, Scope]:
    """The lines of an assignment; the index values of the target come first, then the value."""
    made, to = with_copy(unit, scope)
    # The value is read from the same state as before: a copy holds the same.
    value, checks = _checked_value(unit, s, to)
    target = place_of(unit, s.target, to, compile_expr)
    if target is None:
        raise InternalError("the target of an assignment is not a variable")
    first, size = target.first, width(target.type)
    lines = made
    if target.terms and (checks or unit.analysis.can_fault(s.value)) and unit.analysis.can_fault(s.target):
        lines = [*lines, f"i = {first.text}"]
        first = Code("i", simple=True)
    lines = [*lines, *checks]
    if is_leaf(target.type):
        return [*lines, f"t[{first.text}] = {value}"], to
    if first.fixed:
        where = f"{target.start}:{target.start + size}"
    elif first.simple:
        where = f"{first.text}:{first.text} + {size}"
    else:
        lines = [*lines, f"i = {first.text}"]
        where = f"i:i + {size}"
    row = value if is_row(target.type) else f"flat({unit.named('type', target.type)}, {value})"
    return [*lines, f"t[{where}] = {row}"], to


def _checked_value(unit: Unit, s: Assign, scope: Scope) -> tuple[str, Lines]:
    """The value of an assignment, and lines before it.  A number that leaves its range is reported with its target."""
    v = s.value
    if not (isinstance(v, Cast) and isinstance(v.type, Range) and is_integer(v.operand.type)):
        return compile_expr(unit, v, scope).text, []
    operand = compile_expr(unit, v.operand, scope)
    limits = (int(operand.value),) * 2 if isinstance(operand.value, int) else unit.analysis.bounds(v.operand)
    known = (limits[0], limits[-1]) if limits is not None else None
    test = inside(Code("v", simple=True), v.type.low, v.type.high, known)
    if test == "True":
        return operand.text, []
    path, indices = _target_path(unit, s.target, scope)
    site = unit.site(Site(v.span if v.span.end else s.span, text_of(s.target), v.operand.type, v.type, tuple(path)))
    arguments = ", ".join([site.text, "v", *indices])
    return "v", [f"v = {operand.text}", f"if not {test}: fail_store({arguments})"]


def _target_path(unit: Unit, target: Expr, scope: Scope) -> tuple[list[str | Type], list[str]]:
    match target:
        case Var(name, _):
            return [name], []
        case Index(base, index):
            path, indices = _target_path(unit, base, scope)
            return [*path, "[", index.type, "]"], [*indices, compile_expr(unit, index, scope).text]
        case Field(base, name):
            path, indices = _target_path(unit, base, scope)
            return [*path, "." + name], indices
        case _:
            raise InternalError("the target of an assignment is not a variable")


def let(unit: Unit, s: Let, scope: Scope) -> tuple[Lines, Scope]:
    value = compile_expr(unit, s.value, scope)
    if value.fixed:
        return [], scope.bind(s.name, value)
    inner, name = scope.declare(s.name)
    return [f"{name} = {value.text}"], inner


def check(unit: Unit, s: Check, scope: Scope) -> Lines:
    condition = compile_expr(unit, s.condition, scope)
    if condition.is_(True):
        return []
    number = unit.check(Fault(s.finding, s.name, "", s.text or s.name, s.span))
    return [f"if {negation(condition).text}: fail_check({number.text})"]


# ---------------------------------------------------------------- bodies


@dataclass(frozen=True)
class Shape:
    """How paths end: `end` writes what an outcome does; `blocked` what a failing guard does (None: guards nest)."""

    kind: str  # 'plain', 'path', 'tree' or 'probe'
    end: Then
    extra: tuple[str, ...] = ()  # parameters that every function of the body passes on


class BodyCompiler:
    """Writes the body of one rule in one shape."""

    def __init__(self, unit: Unit, shape: Shape, rule: Rule) -> None:
        self.unit = unit
        self.shape = shape
        self.rule = rule

    def block(self, block: Block, scope: Scope, then: Then, depth: int = 0) -> Lines:
        """The statements, and `then` at the end of every path.  Never falls through in the shape 'tree'."""
        if depth > MAX_NESTING and block:
            return self.jump(self.lifted("part", block, scope, then), scope)
        lines: Lines = []
        for number, s in enumerate(block):
            rest = block[number + 1 :]
            match s:
                case Assign():
                    more, scope = assign(self.unit, s, scope)
                    lines += more
                case Let():
                    more, scope = let(self.unit, s, scope)
                    lines += more
                case Check():
                    lines += check(self.unit, s, scope)
                case Guard():
                    return lines + self.guard(s, rest, scope, then, depth)
                case IfElse() if not rest or branches((s,)):
                    return lines + self.fork_if(s, rest, scope, then, depth)
                case For() if branches((s,)):
                    return lines + self.branching_for(s, rest, scope, then, depth)
                case IfElse() | For():
                    if assigns((s,)):
                        more, scope = with_copy(self.unit, scope)
                        lines += more
                    lines += self.straight((s,), scope, depth)
                case Choose():
                    return lines + self.choose(s, rest, scope, then)
                case Either():
                    return lines + self.either(s, rest, scope, then)
        return lines + then(scope)

    def guard(self, s: Guard, rest: Block, scope: Scope, then: Then, depth: int) -> Lines:
        condition = compile_expr(self.unit, s.condition, scope)
        if self.shape.kind == "probe":
            return [*self.attempt(s, condition, scope), *self.block(rest, scope, then, depth)]
        if condition.is_(True):
            return self.block(rest, scope, then, depth)
        if condition.is_(False):
            return ["return"] if self.shape.kind != "plain" else []
        if self.shape.kind == "plain":
            inner = self.block(rest, scope, then, depth + 1)
            if inner:
                return [f"if {condition.text}:", *indent(inner)]
            # Nothing can follow, but the condition may still fault.
            return [condition.text] if self.unit.analysis.can_fault(s.condition) else []
        return [f"if {negation(condition).text}: return", *self.block(rest, scope, then, depth)]

    def attempt(self, s: Guard, condition: Code, scope: Scope) -> Lines:
        """Of a probe: note the wait, and whether it would be over."""
        index: tuple[str, ...] = ()
        me, number = "None", "None"
        if s.waits is not None:
            index = tuple(compile_expr(self.unit, i, scope).text for i in s.waits.index)
            me = compile_expr(self.unit, s.waits.me, scope).text
            number = self.unit.named("wait", s.waits)
        joined = "".join(i + ", " for i in index)
        return [
            f"g = {condition.text}",
            f"ends.append(({number}, ({joined}), {me}, {frozen(self.unit, scope)}, bool(g)))",
            "if not g: return",
        ]

    # -------------------------------------------------------- blocks without branches, inside others

    def straight(self, block: Block, scope: Scope, depth: int) -> Lines:
        """A block that cannot branch and after which the path goes on; it assigns only where there is a copy."""
        if depth > MAX_NESTING and block:
            name = self.unit.number("part")
            params = [scope.state, *scope.variables]
            blocked = guards(block)
            inside_it = self.straight(block, scope, 0)
            self.unit.function(
                f"{name}({', '.join(params)})", [*inside_it, *(["return True"] if blocked else [])] or ["pass"]
            )
            text = f"{name}({', '.join(params)})"
            return [f"if not {text}: return"] if blocked else [text]
        lines: Lines = []
        for s in block:
            match s:
                case Assign():
                    more, scope = assign(self.unit, s, scope)
                    lines += more
                case Let():
                    more, scope = let(self.unit, s, scope)
                    lines += more
                case Check():
                    lines += check(self.unit, s, scope)
                case Guard():
                    condition = compile_expr(self.unit, s.condition, scope)
                    if self.shape.kind == "probe":
                        lines += self.attempt(s, condition, scope)
                    elif not condition.is_(True):
                        lines.append(f"if {negation(condition).text}: return")
                case IfElse(condition_, then, otherwise):
                    test = compile_expr(self.unit, condition_, scope)
                    if test.fixed:
                        lines += self.straight(then if test.value else otherwise, scope, depth)
                        continue
                    yes = self.straight(then, scope, depth + 1)
                    no = self.straight(otherwise, scope, depth + 1)
                    lines += _if(test, yes, no)
                case For(binders, filter_, body):
                    inner = scope
                    heads = []
                    for b in binders:
                        source = domain(self.unit, b, inner, compile_expr)
                        inner, name = inner.declare(b.name)
                        heads.append(f"for {name} in {source.text}:")
                    if filter_ is not None:
                        heads.append(f"if {compile_expr(self.unit, filter_, inner).text}:")
                    written = self.straight(body, inner, depth + len(heads)) or ["pass"]
                    for head in reversed(heads):
                        written = [head, *indent(written)]
                    lines += written
                case _:
                    raise InternalError("a choice in a block that cannot branch")
        return lines

    # -------------------------------------------------------- branches

    def fork_if(self, s: IfElse, rest: Block, scope: Scope, then: Then, depth: int) -> Lines:
        """An `if` after which each side goes its own way."""
        made: Lines = []
        if rest and assigns((s,)):
            made, scope = with_copy(self.unit, scope)
        go_on = self.continuation(rest, scope, then) if rest else then
        outer = scope.variables
        test = compile_expr(self.unit, s.condition, scope)
        if test.fixed:
            return made + self.block(s.then if test.value else s.otherwise, scope, go_on, depth)
        yes = self.block(s.then, scope, go_on, depth + 1)
        no = self.block(s.otherwise, scope, go_on, depth + 1)
        assert scope.variables == outer
        return made + _if(test, yes, no)

    def continuation(self, rest: Block, scope: Scope, then: Then) -> Then:
        """The rest of a block as a function, to be called at the end of several paths."""
        name = self.lifted("part", rest, scope, then)
        return lambda at: self.jump(name, replace(scope, state=at.state))

    def lifted(self, prefix: str, block: Block, scope: Scope, then: Then) -> str:
        """A function that runs the block and what follows it, from where the scope is."""
        name = self.unit.number(prefix)
        self.define(name, scope, (), self.block(block, scope, then))
        return name

    def define(self, name: str, scope: Scope, more: tuple[str, ...], lines: Lines) -> None:
        params = ", ".join([scope.state, *scope.variables, *more, *self.shape.extra])
        self.unit.function(f"{name}({params})", lines or ["pass"], self.rule.name)

    def call(self, name: str, state: str, scope: Scope, *more: str) -> str:
        return f"{name}({', '.join([state, *scope.variables, *more, *self.shape.extra])})"

    def jump(self, name: str, scope: Scope, *more: str) -> Lines:
        """Go on in a function: the path ends where that ends."""
        return [f"return {self.call(name, scope.state, scope, *more)}"]

    def branch(self, name: str, scope: Scope, *more: str) -> Lines:
        """One of several ways to go on, with a copy of its own; its faults are its own too."""
        state = "s" if scope.state == "s" else "t[:]"
        return [
            f"try: {self.call(name, state, scope, *more)}",
            "except SpecFault as f: errs.append(f.fault)",
        ]

    def choose(self, s: Choose, rest: Block, scope: Scope, then: Then) -> Lines:
        inner, names, clauses = scope, [], []
        for b in s.binders:
            source = domain(self.unit, b, inner, compile_expr)
            inner, name = inner.declare(b.name)
            names.append(name)
            clauses.append(f"for {name} in {source.at(TERNARY + 1)}")
        if s.filter is not None:
            clauses.append(f"if {compile_expr(self.unit, s.filter, inner).at(TERNARY + 1)}")
        chosen = names[0] if len(names) == 1 else f"({', '.join(names)})"
        target = self.lifted("part", rest, inner, then)
        # All values first: a fault of the filter is a fault of the whole.
        return [f"for {chosen} in [{chosen} {' '.join(clauses)}]:", *indent(self.branch(target, inner))]

    def either(self, s: Either, rest: Block, scope: Scope, then: Then) -> Lines:
        made: Lines = []
        if rest and assigns((s,)):
            made, scope = with_copy(self.unit, scope)
        go_on = self.continuation(rest, scope, then) if rest else then
        lines = made
        for b in s.branches:
            lines = lines + self.branch(self.lifted("part", b, scope, go_on), scope)
        return lines or ["return"]

    def branching_for(self, s: For, rest: Block, scope: Scope, then: Then, depth: int) -> Lines:
        """Passes that branch: a function that makes one pass and calls itself for the next."""
        made: Lines = []
        if assigns((s,)):
            made, scope = with_copy(self.unit, scope)
        first, others = s.binders[0], s.binders[1:]
        body = s.body
        if others:
            body = (replace(s, binders=others),)
        elif s.filter is not None:
            body = (IfElse(s.filter, s.body, ()),)
        source = domain(self.unit, first, scope, compile_expr)
        done = self.lifted("part", rest, scope, then)
        name = self.unit.number("loop")
        inner, variable = scope.declare(first.name)
        todo = variable + "todo"
        # The list of what is left stays in scope under its own Python name.
        carried = replace(inner, variables=(*inner.variables, todo))
        again = self.block(body, carried, lambda at: self.jump(name, replace(scope, state=at.state), todo), 0)
        lines = [
            f"if not {todo}: return {self.call(done, scope.state, scope)}",
            f"{variable}, *{todo} = {todo}",
            *again,
        ]
        self.define(name, scope, (todo,), lines)
        return [*made, f"return {self.call(name, scope.state, scope, f'list({source.text})')}"]


def _if(test: Code, yes: Lines, no: Lines) -> Lines:
    if not yes and not no:
        # The condition may still fault.
        return [test.text]
    if not yes:
        return [f"if {negation(test).text}:", *indent(no)]
    return [f"if {test.text}:", *indent(yes), *(["else:", *indent(no)] if no else [])]
