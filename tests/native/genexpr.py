"""Expressions of generated specs: text that is well typed by construction.

Everything is drawn from one `random.Random`.  Where nothing of the wanted type can be written (an identity of a symmetric
type has no literal), `NoWay` is raised and whoever asked tries something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from tests.native.gentypes import BOOL, INT, Define, Lock, NoWay, Ty, Var, fields_of, literal_of

T = TypeVar("T")
Scope = Mapping[str, Ty]  # bound names that can be read


@dataclass
class Exprs:
    """Writes expressions.  risk: per cent of the places where something may err that are left unguarded."""

    random: Random
    risk: int
    binder_types: list[Ty] = field(default_factory=list)  # types that have a name (or are short) and can be bound
    variables: list[Var] = field(default_factory=list)
    defines: list[Define] = field(default_factory=list)
    locks: list[Lock] = field(default_factory=list)
    params: list[tuple[str, Ty]] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)  # variables not to be read now
    primes: bool = False
    mine: bool = False  # whether `mine` may be said
    _names: int = 0

    # ------------------------------------------------------------ drawing

    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def chance(self, percent: float) -> bool:
        return self.random.random() * 100 < percent

    def risky(self) -> bool:
        return self.chance(self.risk)

    def fresh(self, stem: str) -> str:
        self._names += 1
        return f"{stem}{self._names}"

    def first(self, ways: Sequence[Callable[[], str]]) -> str:
        """One of the ways, by chance, that is possible."""
        order = list(ways)
        self.random.shuffle(order)
        for way in order:
            try:
                return way()
            except NoWay:
                continue
        raise NoWay

    # ------------------------------------------------------------ reads

    def paths(self, accepts: Callable[[Ty], bool]) -> list[tuple[Var, str, Ty]]:
        """Variables and the fields under them whose type is accepted."""
        out: list[tuple[Var, str, Ty]] = []
        for v in self.variables:
            if v.name not in self.hidden:
                out.extend((v, f, t) for f, t in fields_of(v.type) if accepts(t))
        return out

    def path(self, v: Var, below: str, scope: Scope, d: int, prime: bool | None = None) -> str:
        primed = self.primes and (self.chance(45) if prime is None else prime)
        indices = "".join(f"[{self.expr(i, scope, min(d, 1) - 1)}]" for i in v.indices)
        return f"{v.name}{chr(39) if primed else ''}{indices}{v.suffix}{below}"

    def read(self, t: Ty, scope: Scope, d: int) -> str:
        v, below, _ = self.some(self.paths(lambda found: found == t))
        return self.path(v, below, scope, d)

    def some(self, items: Sequence[T]) -> T:
        if not items:
            raise NoWay
        return self.random.choice(items)

    # ------------------------------------------------------------ expressions

    def expr(self, t: Ty, scope: Scope, d: int) -> str:
        """An expression of this type; anything but a plain read or literal stands in parentheses.  Raises NoWay."""
        if t.kind == "int":
            return self.integer(scope, d)
        if t.kind == "place":
            return self.literal(t)
        if t.kind == "bool" and d > 0 and self.chance(80):
            return self.boolean(scope, d)
        ways: list[Callable[[], str]] = [lambda n=n: n for n, has in scope.items() if has == t]  # type: ignore[misc]
        ways *= 2
        ways += [lambda n=n: n for n, has in self.params if has == t]  # type: ignore[misc]
        if d >= 0 or (d == -1 and (not ways or self.chance(30))):
            ways += [lambda: self.read(t, scope, d)] * 2
        if d <= 0:
            return self.first_then(ways, [lambda: self.literal(t)])
        ways.append(lambda: self.literal(t))
        deep = self.deep(t, scope, d - 1)
        if self.chance(50):
            ways += deep
        try:
            return self.first(ways)
        except NoWay:
            return self.first(deep)

    def first_then(self, ways: Sequence[Callable[[], str]], else_: Sequence[Callable[[], str]]) -> str:
        if self.chance(65):
            try:
                return self.first(ways)
            except NoWay:
                pass
        return self.first([*ways, *else_])

    def literal(self, t: Ty) -> str:
        match t.kind:
            case "bool":
                return self.random.choice(("true", "false"))
            case "range":
                return str(self.number(t.low, t.high))
            case "enum" | "place":
                return self.random.choice(t.words)
            case "union":
                return self.first([lambda m=m: self.literal(m) for m in t.parts])  # type: ignore[misc]
            case "optional" if self.chance(50):
                return self.literal(t.parts[0])
            case "record":
                values = [self.literal(f) for f in t.parts]
                return f"{t.text}({', '.join(f'{n} = {v}' for n, v in zip(t.words, values, strict=True))})"
            case _:
                pass
        found = literal_of(t)
        if found is None:
            raise NoWay
        return found

    def deep(self, t: Ty, scope: Scope, d: int) -> list[Callable[[], str]]:
        """Ways that need other expressions."""
        out: list[Callable[[], str]] = [
            lambda: f"(if {self.boolean(scope, d)} then {self.whole(t, scope, d)} else {self.expr(t, scope, d)})"
        ]
        out += [lambda f=f: self.apply(f, scope, d) for f in self.defines if f.type == t]  # type: ignore[misc]
        if self.risky():
            # What may be null, or another member.
            out.append(lambda: self.wider(t, scope, d))
            if any(v.type.kind == "queue" and v.type.parts[0] == t for v in self.variables):
                out.append(lambda: f"head({self.read_kind('queue', t, scope, d)})")
        match t.kind:
            case "bool":
                out = [lambda: self.boolean(scope, d + 1)]
            case "range" if self.risky():
                out += [lambda: f"({self.integer(scope, d)})"] * 3
            case "range":
                out.append(lambda: f"max({t.low}, min({self.integer(scope, d)}, {t.high}))")
                if t.low == 0:
                    out.append(lambda: f"({self.integer(scope, d)} % {t.high + 1})")
                    # Down, and round again from below.
                    out.append(lambda: f"(({self.read_number(scope, d)} - {self.number(1, 3)}) % {t.high + 1})")
            case "set":
                out += self.sets(t, scope, d) * 2
            case "record":
                out += [lambda: self.record(t, scope, d)] * 3
            case "optional":
                out += [lambda: self.expr(t.parts[0], scope, d)] * 3
            case "union":
                out += [lambda m=m: self.expr(m, scope, d) for m in t.parts] * 2
            case _:
                pass
        return out

    def wider(self, t: Ty, scope: Scope, d: int) -> str:
        """A value of a type that has more than this one."""
        v, below, _ = self.some(self.paths(lambda w: w.kind in ("optional", "union") and t in w.parts))
        return self.path(v, below, scope, d)

    def read_kind(self, kind: str, element: Ty, scope: Scope, d: int) -> str:
        v, below, _ = self.some(self.paths(lambda w: w.kind == kind and w.parts[0] == element))
        return self.path(v, below, scope, d)

    def record(self, t: Ty, scope: Scope, d: int) -> str:
        fields = [f"{n} = {self.expr(f, scope, d)}" for n, f in zip(t.words, t.parts, strict=True)]
        self.random.shuffle(fields)
        return f"{t.text}({', '.join(fields)})"

    def apply(self, f: Define, scope: Scope, d: int) -> str:
        prime = "'" if self.primes and self.chance(40) else ""
        if not f.params:
            return f.name + prime
        return f"{f.name}{prime}({', '.join(self.expr(p, scope, d - 1) for p in f.params)})"

    def sets(self, t: Ty, scope: Scope, d: int) -> list[Callable[[], str]]:
        element = t.parts[0]

        def listed() -> str:
            return "{" + ", ".join(self.expr(element, scope, d) for _ in range(self.number(1, 2))) + "}"

        def comprehension(over: str) -> Callable[[], str]:
            def make() -> str:
                x = self.fresh("e")
                domain = f": {element.text}" if over == "type" else f" in {self.read(t, scope, d)}"
                return f"{{{x}{domain} | {self.boolean({**scope, x: element}, min(d, 1))}}}"

            return make

        out = [listed, listed, comprehension("set"), comprehension("set")]
        if element in self.binder_types:
            out += [comprehension("type")] * 8
        sign = self.random.choice("+-")
        out.append(lambda: f"({self.whole(t, scope, d)} {sign} {listed()})")
        return out

    # ------------------------------------------------------------ numbers

    def integer(self, scope: Scope, d: int) -> str:
        leaves: list[Callable[[], str]] = [
            lambda: str(self.number(0, 3)),
            lambda: self.read_number(scope, d),
            lambda: self.read_number(scope, d),
        ]
        leaves += [lambda n=n: n for n, t in [*scope.items(), *self.params] if t.kind in ("range", "int")]  # type: ignore[misc]
        if d <= 0 or self.chance(30):
            return self.first(leaves)

        def sub() -> str:
            return self.integer(scope, d - 1)

        def by() -> str:
            return sub() if self.risky() else str(self.number(2, 3))

        ways: list[Callable[[], str]] = [
            *leaves,
            lambda: f"({sub()} {self.random.choice('+-*')} {sub()})",
            lambda: f"({sub()} {self.random.choice('/%')} {by()})",
            lambda: (
                f"(({self.read_number(scope, d)} - {self.number(1, 3)}) {self.random.choice('/%')} {self.number(2, 3)})"
            ),
            lambda: f"(-{sub()})",
            lambda: f"{self.random.choice(('min', 'max'))}({sub()}, {sub()})",
            lambda: f"size({self.container(scope, d)})",
            lambda: f"size({self.container(scope, d)})",
            lambda: self.counted(scope, d),
            lambda: self.counted(scope, d),
            lambda: self.summed(scope, d),
            lambda: f"(if {self.boolean(scope, d - 1)} then {sub()} else {sub()})",
        ]
        ways += [lambda f=f: self.apply(f, scope, d) for f in self.defines if f.type == INT]  # type: ignore[misc]
        return self.first(ways)

    def read_number(self, scope: Scope, d: int) -> str:
        v, below, _ = self.some(self.paths(lambda t: t.kind == "range"))
        return self.path(v, below, scope, d)

    def container(self, scope: Scope, d: int) -> str:
        v, below, _ = self.some(self.paths(lambda t: t.kind in ("set", "queue")))
        return self.path(v, below, scope, d)

    def counted(self, scope: Scope, d: int) -> str:
        heads, inner = self.binders(scope, d)
        return f"count({heads} | {self.boolean(inner, min(d - 1, 1))})"

    def summed(self, scope: Scope, d: int) -> str:
        kind = self.random.choice(("sum", "sum", "min", "max"))
        if kind != "sum" and not self.risky():
            # Never over nothing.
            x = self.fresh("i")
            return f"{kind}({self.integer({**scope, x: INT}, 1)} for {x}: 0..{self.number(0, 2)})"
        heads, inner = self.binders(scope, d)
        filter_ = f" | {self.boolean(inner, 1)}" if self.chance(50) else ""
        return f"{kind}({self.integer(inner, min(d - 1, 1))} for {heads}{filter_})"

    # ------------------------------------------------------------ binders

    def binders(self, scope: Scope, d: int, needed: Sequence[Ty] = ()) -> tuple[str, dict[str, Ty]]:
        """`p, q: Page, i: 0..2, x in S` and the scope inside."""
        inner = dict(scope)
        out: list[str] = []
        for t in needed:
            x = self.fresh("b")
            inner[x] = t
            out.append(f"{x}: {t.text}")
        for _ in range(self.number(0, 1) if needed else 1 + self.chance(25)):
            kind = self.number(0, 9)
            x = self.fresh("b")
            if kind < 5 and self.binder_types:
                t = self.random.choice(self.binder_types)
                if kind == 0 and t.size <= 3:
                    y = self.fresh("b")
                    out.append(f"{x}, {y}: {t.text}")
                    inner[y] = t
                else:
                    out.append(f"{x}: {t.text}")
                inner[x] = t
            elif kind < 8:
                high = self.integer(inner, 0) if self.chance(30) else str(self.number(0, 2))
                out.append(f"{x}: 0..{high}" if high.isdigit() else f"{x} in 0..{high}")
                inner[x] = INT
            else:
                found = self.paths(lambda t: t.kind == "set")
                if not found:
                    out.append(f"{x}: bool")
                    inner[x] = BOOL
                    continue
                v, below, s = self.random.choice(found)
                try:
                    out.append(f"{x} in {self.path(v, below, inner, 0)}")
                except NoWay:
                    out.append(f"{x}: bool")
                    inner[x] = BOOL
                    continue
                inner[x] = s.parts[0]
        return ", ".join(out), inner

    # ------------------------------------------------------------ conditions

    def boolean(self, scope: Scope, d: int) -> str:
        if d <= 0:
            return self.first_then([lambda: self.atom(scope, d)] * 3, [lambda: self.literal(BOOL)])
        ways: list[Callable[[], str]] = [lambda: self.atom(scope, d)] * 4
        ways += [
            lambda: f"(!{self.boolean(scope, d - 1)})",
            *[lambda: self.logic(scope, d)] * 3,
            *[lambda: self.quantified(scope, d)] * 2,
            lambda: f"(if {self.atom(scope, d)} then {self.boolean(scope, d - 1)} else {self.boolean(scope, d - 1)})",
            *[lambda: self.guarded(scope, d)] * 2,
        ]
        return self.first([*ways, lambda: self.literal(BOOL)])

    def logic(self, scope: Scope, d: int) -> str:
        op = self.random.choice(("&&", "&&", "||", "||", "=>", "<=>"))
        return f"({self.boolean(scope, d - 1)} {op} {self.boolean(scope, d - 1)})"

    def quantified(self, scope: Scope, d: int, needed: Sequence[Ty] = ()) -> str:
        heads, inner = self.binders(scope, d, needed)
        if self.risky():
            # Decided by one value, it may still err for another.
            x = self.fresh("b")
            inner[x] = INT
            test = f"{self.perilous(inner)} {self.random.choice(('<', '=='))} {self.number(0, 2)}"
            return f"({self.random.choice(('forall', 'exists'))} {heads}, {x}: 0..2 {{ {test} }})"
        filter_ = f" | {self.boolean(inner, 0)}" if self.chance(35) else ""
        return f"({self.random.choice(('forall', 'exists'))} {heads}{filter_} {{ {self.boolean(inner, d - 1)} }})"

    def guarded(self, scope: Scope, d: int) -> str:
        """A part that may not be there, asked for only where it is."""
        v, below, t = self.some(self.paths(lambda t: t.kind in ("optional", "union", "queue")))
        x = self.path(v, below, scope, d)
        if t.kind == "queue":
            return f"({x} != [] && head({x}) == {self.expr(t.parts[0], scope, 0)})"
        if t.kind == "optional":
            inside = t.parts[0]
            if inside.kind == "record":
                n = self.number(0, len(inside.words) - 1)
                return f"({x} != null && {x}.{inside.words[n]} == {self.expr(inside.parts[n], scope, 0)})"
            return f"({x} != null && {self.about(x, inside, scope, d)})"
        member = self.random.choice(t.parts)
        if member not in self.binder_types:
            raise NoWay
        return f"({x} in {member.text} {self.random.choice(('&&', '=>'))} {self.about(x, member, scope, d)})"

    def about(self, x: str, t: Ty, scope: Scope, d: int) -> str:
        """A condition on an expression of this type: as an index, if there is such an array."""
        found = [v for v in self.variables if len(v.indices) == 1 and v.indices[0] == t and v.name not in self.hidden]
        if found and self.chance(60):
            v = self.random.choice(found)
            below, inner = self.random.choice(list(fields_of(v.type)))
            return f"{v.name}[{x}]{v.suffix}{below} == {self.expr(inner, scope, 0)}"
        if t.kind == "range":
            return f"{x} {self.random.choice(('<', '>=', '=='))} {self.integer(scope, 0)}"
        return f"{x} == {self.expr(t, scope, 0)}"

    def atom(self, scope: Scope, d: int) -> str:
        """A comparison or a test."""
        ways: list[Callable[[], str]] = [lambda: self.equal(scope, d)] * 5
        ways += [
            lambda: (
                f"({self.integer(scope, min(d, 2))} {self.some(['<', '<=', '>', '>='])} {self.integer(scope, min(d, 1))})"
            ),
            lambda: f"({self.integer(scope, min(d, 1))} in {self.number(0, 1)}..{self.number(1, 3)})",
            lambda: self.member(scope, d),
            lambda: self.member(scope, d),
            lambda: self.lock_test(scope),
            lambda: self.read(BOOL, scope, d),
            *[lambda f=f: self.apply(f, scope, d) for f in self.defines if f.type == BOOL],
            *[lambda n=n: n for n, t in [*scope.items(), *self.params] if t == BOOL],
        ]
        if self.risky():
            ways.append(lambda: f"({self.perilous(scope)} {self.some(['<', '==', '>'])} {self.number(0, 2)})")
        return self.first(ways)

    def perilous(self, scope: Scope) -> str:
        """A number that cannot always be had."""
        x = self.fresh("i")

        def operand() -> str:
            bound = [n for n, t in scope.items() if t.kind in ("range", "int")]
            return self.random.choice(bound) if bound and self.chance(75) else self.read_number(scope, 0)

        few = [
            lambda: f"(6 {self.random.choice('/%')} ({operand()} - {self.number(0, 1)}))",
            lambda: f"{self.random.choice(('min', 'max'))}({x} for {x}: 0..2 | {x} > {self.read_number(scope, 0)})",
        ]
        numbers = self.paths(lambda t: t.kind == "set" and t.parts[0].kind == "range")
        if numbers:
            v, below, _ = self.random.choice(numbers)
            few.append(lambda: f"{self.random.choice(('min', 'max'))}({x} for {x} in {self.path(v, below, scope, 0)})")
        return self.first(few)

    def equal(self, scope: Scope, d: int) -> str:
        v, below, t = self.some(self.paths(lambda _: True))
        op = self.random.choice(("==", "==", "==", "!="))
        left = self.path(v, below, scope, d)
        if self.primes and self.chance(60):
            # The same place before and after.
            indices = left.partition("[")[2]
            tail = f"[{indices}" if indices else v.suffix + below
            return f"({v.name}' {op} {v.name})" if not tail else f"({v.name}'{tail} {op} {v.name}{tail})"
        right = self.expr(t, scope, max(0, min(d, 2)) - 1)
        if right == left:
            right = self.literal(t)
        return f"({left} {op} {right})"

    def whole(self, t: Ty, scope: Scope, d: int) -> str:
        """Of a set or queue only what is in the state: the empty one has no type of its own."""
        return self.read(t, scope, d) if t.kind in ("set", "queue") else self.expr(t, scope, d)

    def member(self, scope: Scope, d: int) -> str:
        v, below, t = self.some(self.paths(lambda t: t.kind in ("enum", "place", "union", "optional", "set", "range")))
        if t.kind == "set":
            return f"({self.expr(t.parts[0], scope, d - 1)} in {self.path(v, below, scope, d)})"
        x = self.path(v, below, scope, d)
        if t.kind in ("union", "optional"):
            found = [m for m in t.parts if m in self.binder_types]
            return f"({x} in {self.some(found).text})"
        if t.kind in ("enum", "place"):
            few = self.random.sample(t.words, min(len(t.words), self.number(1, 2)))
            return f"({x} in {{{', '.join(few)}}})"
        return f"({x} in {{{self.literal(t)}, {self.literal(t)}}})"

    def lock_test(self, scope: Scope) -> str:
        lock = self.some(self.locks)
        indices = "".join(f"[{self.expr(i, scope, -1)}]" for i in lock.indices)
        word = "mine" if self.mine and self.chance(40) else "held"
        read = " read" if lock.rw and self.chance(50) else ""
        return f"{word}{read}({lock.name}{indices})"
