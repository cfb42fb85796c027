"""Transitions and statements of generated specs: changes that do something, and changes that may err."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.native.genexpr import Exprs
from tests.native.genshapes import ERRORS
from tests.native.gentypes import BOOL, INT, NoWay, Ty, Var, literal_of, range_type


@dataclass
class Steps:
    """The part of a maker of specs that writes steps.  wants: what must be in the spec (genshapes.py)."""

    random: Random
    wants: frozenset[str] = frozenset()
    attempt: int = 0  # the later, the smaller
    declarations: list[str] = field(default_factory=list)
    transitions: list[str] = field(default_factory=list)  # names
    steps: list[str] = field(default_factory=list)  # what can be fair or an event: transitions, arrows, threads, labels
    room: float = 0.0  # how many times the states may still be multiplied
    quiet: bool = False  # few steps
    fuel: bool = False  # runs end
    symmetric: list[Ty] = field(default_factory=list)
    made: list[Ty] = field(default_factory=list)  # records, unions, optionals, sets and queues

    def __post_init__(self) -> None:
        r = self.random
        # Where one kind of error is wanted there is no other.
        self.e = Exprs(r, 0 if self.wants & set(ERRORS) else r.choice((0, 0, 0, 6, 15, 40)))
        self.room = 10 ** (r.uniform(2.6, 4.4) - 0.6 * self.attempt)
        self.tame = self.e.risk == 0
        self.asserted: list[str] = []
        self.slot = range_type(0, 1, "Slot")
        self.kind = Ty("Kind", "enum", 1, words=("none",))

    # ------------------------------------------------------------ drawing

    def number(self, low: int, high: int) -> int:
        return self.random.randint(low, high)

    def chance(self, percent: float) -> bool:
        return self.random.random() * 100 < percent

    def take(self, values: float) -> bool:
        """Whether there is room for something of so many values; then it is taken."""
        if values > self.room:
            return False
        self.room /= values
        return True

    # ------------------------------------------------------------ steps

    def transition(self, name: str) -> str:
        e = self.e
        scope: dict[str, Ty] = {}
        for _ in range(self.random.choice((0, 1, 1, 1, 2))):
            t = self.random.choice([*self.symmetric, *self.symmetric, self.slot, self.kind, BOOL])
            scope[e.fresh("x")] = t
        when = self.e.boolean(scope, self.number(1, 2)) if self.chance(75) else ""
        params = dict(scope)
        return self.step(name, params, when, self.block(scope, self.number(1, 3)))

    def step(self, name: str, scope: dict[str, Ty], when: str, body: str) -> str:
        """A transition with these parameters: its text.  when: empty, or a condition."""
        params = ", ".join(f"{n}: {t.text}" for n, t in scope.items())
        if self.fuel:
            when = f"fuel > 0 && ({when})" if when else "fuel > 0"
            body = f"fuel -= 1; {body}"
        if name not in self.transitions:
            self.transitions.append(name)
            self.steps.append(name)
        return f"transition {name}{f'({params})' if params else ''}{f' when {when}' if when else ''} {{ {body} }}"

    def add_step(self, scope: dict[str, Ty], when: str, body: str, name: str = "") -> None:
        """One more transition."""
        self.declarations.append(self.step(name or self.e.fresh("t"), scope, when, body))

    def drivers(self) -> None:
        """Most variables are changed by something that does little else."""
        for v in list(self.e.variables):
            if v.writable and not v.suffix and not v.type.text.startswith("states of") and not self.chance(15):
                self.driver(v)

    def driver(self, v: Var) -> None:
        """A transition that changes this variable and little else."""
        if v.type.kind == "queue" and self.chance(75):
            self.relay(v)
            return
        scope = {self.e.fresh("x"): i for i in v.indices}
        target = v.name + "".join(f"[{x}]" for x in scope)
        try:
            body = self.turn(target, v.type, scope)
            when = self.e.boolean(scope, 1) if self.chance(30) else ""
        except NoWay:
            return
        self.add_step(scope, when, body)

    def guarded(self, scope: dict[str, Ty]) -> str:
        """A condition, if there is one to be had."""
        try:
            return self.e.boolean(scope, 1)
        except NoWay:
            return ""

    def relay(self, v: Var) -> None:
        """A queue that is filled with what is in the state, and emptied into it: order matters."""
        e = self.e
        scope = {e.fresh("x"): i for i in v.indices}
        q = v.name + "".join(f"[{x}]" for x in scope)
        t = v.type.parts[0]
        try:
            source, below, _ = e.some(e.paths(lambda found: found == t))
            value = e.path(source, below, scope, 0)
        except NoWay:
            value = ""
        into = [
            p for p in e.paths(lambda found: t == found or t in found.parts) if p[0].writable and p[2].kind != "queue"
        ]
        for part in ("put", "get"):
            when = f"{q} != []"
            try:
                if part == "put":
                    when, body = f"size({q}) < {v.type.high}", f"push({q}, {value or e.literal(t)});"
                else:
                    target, below, kind = e.some(into)
                    place = e.path(target, below, scope, 0)
                    taken = f"{place} += {{head({q})}};" if kind.kind == "set" else f"{place} := head({q});"
                    body = f"{taken} pop({q});"
            except NoWay:
                body = f"pop({q});"
            self.add_step(scope, when, body)

    def turn(self, target: str, t: Ty, scope: dict[str, Ty]) -> str:
        """A statement that brings a value to its next one, or to that of a new parameter."""

        def given(of: Ty) -> str:
            y = self.e.fresh("y")
            if of not in self.e.binder_types:
                raise NoWay
            scope[y] = of
            return y

        match t.kind:
            case "bool":
                return f"{target} := !{target};"
            case "range":
                if self.tame or self.chance(70):
                    return f"if ({target} == {t.high}) {{ {target} := {t.low}; }} else {{ {target} += 1; }}"
                return f"{target} += 1;"
            case "enum" | "symmetric":
                return f"{target} := {given(t)};"
            case "set":
                y = given(t.parts[0])
                return f"if ({y} in {target}) {{ {target} -= {{{y}}}; }} else {{ {target} += {{{y}}}; }}"
            case "queue":
                y = given(t.parts[0])
                return f"if (size({target}) < {t.high}) {{ push({target}, {y}); }} else {{ pop({target}); }}"
            case "record":
                n = self.number(0, len(t.words) - 1)
                return self.turn(f"{target}.{t.words[n]}", t.parts[n], scope)
            case "optional" if t.parts[0].kind != "record":
                return f"if ({target} == null) {{ {target} := {given(t.parts[0])}; }} else {{ {target} := null; }}"
            case "union":
                return f"{target} := {given(self.random.choice([m for m in t.parts if m.kind != 'record']))};"
            case _:
                pass
        return self.change(target, t, scope)

    def block(self, scope: dict[str, Ty], n: int, asserts: bool = True) -> str:
        """Statements; names of `let` and `choose` are known to those behind them."""
        inner = dict(scope)
        return " ".join(self.statement(inner, asserts) for _ in range(n))

    def statement(self, scope: dict[str, Ty], asserts: bool = True, depth: int = 1) -> str:
        """One statement; the scope gets the names that it binds."""
        ways: list[Callable[[], str]] = [lambda: self.assign(scope)] * 9
        ways.append(lambda: self.let(scope))
        ways += [lambda: self.choose(scope)] * 2
        ways += [lambda: self.moved(scope)] * 2
        if asserts:
            ways.append(lambda: self.assertion(scope))
        if self.e.risky():
            ways += [lambda: self.hazard(scope)] * 6
        if depth > 0:
            ways += [lambda: self.branch(scope, asserts, depth)] * 3
            ways += [lambda: self.either(scope, asserts, depth)] * 2
            ways += [lambda: self.loop(scope, depth)] * 2
        try:
            return self.e.first(ways)
        except NoWay:
            return "skip;"

    def hazard(self, scope: dict[str, Ty]) -> str:
        """What errs in some states."""
        e = self.e
        x = e.fresh("l")

        def wider(kind: str) -> str:
            v, below, t = e.some([p for p in e.paths(lambda _: True) if p[0].writable])
            w, under, _ = e.some(e.paths(lambda w: w.kind == kind and t in w.parts))
            return f"{e.path(v, below, scope, 0)} := {e.path(w, under, scope, 0)};"

        def part(kind: str) -> str:
            v, below, t = e.some(e.paths(lambda t: t.kind == kind))
            whole = e.path(v, below, scope, 0)
            inside = self.random.choice(t.parts)
            if inside.kind == "record":
                return f"let {x} = {whole}.{self.random.choice(inside.words)};"
            array = e.some([w for w in e.variables if w.indices == (inside,) and w.name not in e.hidden])
            return f"let {x} = {array.name}[{whole}]{array.suffix} == {array.name}[{whole}]{array.suffix};"

        def queue() -> str:
            v, below, t = e.some([p for p in e.paths(lambda t: t.kind == "queue") if p[0].writable])
            q = e.path(v, below, scope, 0)
            return self.random.choice(
                (f"push({q}, {e.expr(t.parts[0], scope, 0)});", f"pop({q});", f"let {x} = head({q});")
            )

        def number() -> str:
            v, below, _ = e.some([p for p in e.paths(lambda t: t.kind == "range") if p[0].writable])
            return f"{e.path(v, below, scope, 0)} {self.random.choice('+-')}= 1;"

        ways = [*(lambda k=k, f=f: f(k) for k in ("optional", "union", "union", "union") for f in (wider, part)), queue]
        ways += [queue, number]
        if self.chance(35):
            # These need several things at once to be possible at all.
            kind = self.random.choice(("union", "optional"))
            try:
                return e.first([lambda: wider(kind), lambda: part(kind)])
            except NoWay:
                pass
        return e.first([*ways, *[lambda: f"let {x} = {e.perilous(scope)};"] * 2])

    def danger(self) -> None:
        """A transition that errs in some states."""
        scope = {self.e.fresh("x"): t for t in self.random.sample(self.e.binder_types, 1)}
        inner = dict(scope)
        before = self.block(inner, self.number(0, 1), False)
        body = f"{before} {self.hazard(inner)}"
        self.add_step(scope, self.rare(scope) if self.chance(60) else "", body)

    def moved(self, scope: dict[str, Ty]) -> str:
        """An index that has just been changed."""
        e = self.e
        arrays = [v for v in e.variables if v.writable and len(v.indices) == 1 and not v.suffix]
        places = [p for p in e.paths(lambda _: True) if p[0].writable]
        v, n, below, t = e.some(
            [(v, n, b, t) for v in arrays for n, b, t in places if t == v.indices[0] and n is not v]
        )
        index = e.path(n, below, scope, 0)
        return f"{index} := {e.expr(t, scope, 1)}; {v.name}[{index}] := {e.expr(v.type, scope, 1)};"

    def let(self, scope: dict[str, Ty]) -> str:
        t = self.random.choice([INT, BOOL, self.slot, *self.made])
        x = self.e.fresh("l")
        text = f"let {x} = {self.e.whole(t, scope, 2)};"
        if t.kind in ("int", "bool"):
            scope[x] = t  # of another type it may be inferred narrower
        return text

    def choose(self, scope: dict[str, Ty]) -> str:
        x = self.e.fresh("c")
        sets = self.e.paths(lambda t: t.kind == "set")
        if sets and self.chance(45):
            v, below, s = self.random.choice(sets)
            text, t = f"{x} in {self.e.path(v, below, scope, 0)}", s.parts[0]
        else:
            t = self.random.choice([*self.symmetric, *self.symmetric, self.slot, self.kind, BOOL])
            text = f"{x}: {t.text}"
            if self.chance(20):
                y = self.e.fresh("c")
                text = f"{x}, {y}: {t.text}"
        filter_ = f" | {self.e.boolean({**scope, x: t}, 1)}" if self.chance(50) else ""
        scope[x] = t
        return f"choose {text}{filter_};"

    def assertion(self, scope: dict[str, Ty]) -> str:
        if self.asserted and self.chance(30):
            return f"assert {self.random.choice(self.asserted)}: {self.e.boolean(scope, 1)};"
        name = self.e.fresh("as")
        condition = f"!({self.rare(scope)})" if self.chance(70) else self.e.boolean(scope, 2)
        self.asserted.append(name)
        return f"assert {name}: {condition};"

    def branch(self, scope: dict[str, Ty], asserts: bool, depth: int) -> str:
        def inside() -> str:
            inner = dict(scope)
            return " ".join(self.statement(inner, asserts, depth - 1) for _ in range(self.number(1, 2)))

        condition = self.e.boolean(scope, self.number(1, 2))
        otherwise = f" else {{ {inside()} }}" if self.chance(45) else ""
        if self.chance(20):
            otherwise = f" else if ({self.e.boolean(scope, 1)}) {{ {inside()} }}{otherwise}"
        return f"if ({condition}) {{ {inside()} }}{otherwise}"

    def either(self, scope: dict[str, Ty], asserts: bool, depth: int) -> str:
        branches: list[str] = []
        for _ in range(self.number(2, 3)):
            inner = dict(scope)
            branches.append(self.statement(inner, asserts, depth - 1) if self.chance(80) else "skip;")
        return "either " + " or ".join(f"{{ {b} }}" for b in branches)

    def loop(self, scope: dict[str, Ty], depth: int) -> str:
        x = self.e.fresh("i")
        if self.symmetric and self.chance(50):
            # A pass writes at its own index and reads nothing that another one writes.
            t = self.random.choice(self.symmetric)
            own = [v for v in self.e.variables if v.writable and v.indices == (t,) and not v.suffix]
            v = self.e.some(own)
            inner = {**scope, x: t}
            self.e.hidden.add(v.name)
            hidden, defines = self.e.hidden, self.e.defines
            self.e.defines = []
            try:
                filter_ = (
                    f" | {v.name}[{x}] != {self.e.literal(v.type)}" if literal_of(v.type) and self.chance(40) else ""
                )
                return f"for {x}: {t.text}{filter_} {{ {v.name}[{x}] := {self.e.expr(v.type, inner, 1)}; }}"
            finally:
                hidden.discard(v.name)
                self.e.defines = defines
        t, text = self.random.choice(((self.slot, "Slot"), (BOOL, "bool"), (INT, "0..1"), (self.kind, "Kind")))
        inner = {**scope, x: t}
        filter_ = f" | {self.e.boolean(inner, 0)}" if self.chance(40) else ""
        body = self.statement(inner, False, depth - 1)
        return f"for {x}: {text}{filter_} {{ {body} }}"

    # ------------------------------------------------------------ assignments

    def assign(self, scope: dict[str, Ty]) -> str:
        e = self.e
        v, below, t = e.some([p for p in e.paths(lambda _: True) if p[0].writable])
        return self.change(e.path(v, below, scope, 1), t, scope)

    def change(self, target: str, t: Ty, scope: dict[str, Ty]) -> str:
        """A statement that changes something of this type."""
        e = self.e
        value = e.expr(t, scope, 2)
        plain = f"{target} := {e.literal(t) if value == target and t.kind != 'symmetric' else value};"
        match t.kind:
            case "range" if self.chance(60):
                up = self.chance(60)
                step = f"{target} {'+' if up else '-'}= 1;"
                if e.risky():
                    return step
                other = f"{target} := {t.low if up else t.high};"
                test = f"{target} < {t.high}" if up else f"{target} > {t.low}"
                return f"if ({test}) {{ {step} }} else {{ {other if self.chance(60) else 'skip;'} }}"
            case "set" if self.chance(75):
                return f"{target} {self.random.choice('+-')}= {{{e.expr(t.parts[0], scope, 1)}}};"
            case "queue" if self.chance(85):
                x = e.expr(t.parts[0], scope, 1)
                push, pop = f"push({target}, {x});", f"pop({target});"
                if e.risky():
                    return push if self.chance(60) else pop
                room = f"if (size({target}) < {t.high}) {{ {push} }}"
                return (
                    f"{room} else {{ {pop} }}"
                    if self.chance(60)
                    else f"if ({target} != []) {{ {pop} }} else {{ {push} }}"
                )
            case "optional" if t.parts[0].kind == "record" and self.chance(50):
                inside = t.parts[0]
                n = self.number(0, len(inside.words) - 1)
                part = f"{target}.{inside.words[n]} := {e.expr(inside.parts[n], scope, 1)};"
                return part if e.risky() else f"if ({target} != null) {{ {part} }} else {{ {plain} }}"
        return plain

    def closed(self, make: Callable[[dict[str, Ty]], str], word: str = "exists") -> str:
        """A condition of which some parts are about bound identities."""
        if self.symmetric and self.chance(60):
            heads, inner = self.e.binders({}, 1, self.random.sample(self.symmetric, 1))
            return f"({word} {heads} {{ {make(inner)} }})"
        try:
            return make({})
        except NoWay:
            heads, inner = self.e.binders({}, 1, self.symmetric)
            return f"({word} {heads} {{ {make(inner)} }})"

    def rare(self, scope: dict[str, Ty] | None = None) -> str:
        """What is true in few states: several comparisons at once."""
        n = self.random.choice((1, 2, 2, 3))

        def make(inner: dict[str, Ty]) -> str:
            return " && ".join(self.e.atom(inner, 1) for _ in range(n))

        return make(scope) if scope else self.closed(make)
