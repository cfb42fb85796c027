"""What a generated spec must have in it, by its seed: parts that chance alone brings too rarely.

Each seed has one of SHAPES, a part of the language, and one of OUTCOMES, something that a check can end in (or a way to
split the spec into files, or nothing).  Their numbers have no common divisor, so that each meets each.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd, prod
from typing import TYPE_CHECKING

from tests.native.gentypes import BOOL, Ty, Var, literal_of, optional, queue_of, range_type, set_of

if TYPE_CHECKING:
    from tests.native.specgen import Maker

SHAPES = (
    "nested array", "start by index", "comprehensions", "over a set", "mine", "moved index", "queue order",
    "below zero", "set minus", "choices", "primes", "thread",
)  # fmt: skip
FILES = ("import", "replace", "remove", "refines holds", "refines violated")
ENDS = ("deadlock", "stuck", "unknown")
LOCKS = ("double_acquire", "foreign_release", "held_at_stop", "lock_cycle", "lock_order")
ERRORS = ("range", "null", "member", "queue", "empty", "division")
OUTCOMES = (*FILES, "", *ENDS, "", *LOCKS, "", *ERRORS, "")
assert gcd(len(SHAPES), len(OUTCOMES)) == 1


def wanted(seed: int) -> frozenset[str]:
    """What the spec of a seed must have."""
    return frozenset((SHAPES[seed % len(SHAPES)], OUTCOMES[seed % len(OUTCOMES)])) - {""}


class Shapes:
    """Writes these parts into a spec whose types are known."""

    def __init__(self, maker: Maker) -> None:
        self.m, self.e = maker, maker.e

    def variable(self, t: Ty, indices: tuple[Ty, ...] = (), start: str = "", index: str = "") -> Var:
        """Declares it.  index: a name for the index, where `start` uses it."""
        name = self.e.fresh("v")
        heads = f"[{index}: {indices[0].text}]" if index else "".join(f"[{i.text}]" for i in indices)
        self.m.declarations.append(f"var {name}{heads}: {t.text} = {start or literal_of(t) or 'any'};")
        v = Var(name, indices, t)
        self.e.variables.append(v)
        # What is wanted is written even where there is no room for it; there is less for the rest then.
        self.m.room /= t.size ** prod(i.size for i in indices)
        return v

    def number(self, low: int, high: int) -> Var:
        """A number that goes round."""
        v = self.variable(range_type(low, high))
        body = f"if ({v.name} == {high}) {{ {v.name} := {low}; }} else {{ {v.name} += 1; }}"
        self.m.add_step({}, self.sometimes(), body)
        return v

    def sometimes(self) -> str:
        """A condition, or none."""
        return self.m.guarded({}) if self.m.chance(30) else ""

    def make(self, want: str) -> None:
        """Write one of SHAPES, an error or a lock finding; what else can be wanted is done elsewhere."""
        ways: dict[str, Callable[[], None]] = {
            "nested array": self.nested,
            "start by index": self.own_index,
            "comprehensions": self.comprehensions,
            "over a set": self.over_a_set,
            "moved index": self.moved_index,
            "queue order": self.queue_order,
            "below zero": self.below_zero,
            "set minus": self.set_minus,
            "choices": self.choices,
            "primes": self.primes,
        }
        if want in ways:
            ways[want]()
        elif want in ERRORS:
            self.error(want)

    def small(self) -> Ty:
        """Something to index by."""
        return self.m.random.choice([*(t for t in self.m.symmetric if t.size <= 2), self.m.slot, self.m.kind, BOOL])

    # ------------------------------------------------------------ parts of the language

    def nested(self) -> None:
        m, e = self.m, self.e
        a, b = self.small(), range_type(0, 1)
        v = self.variable(BOOL, (a, b) if m.chance(50) else (b, a))
        x, y = e.fresh("x"), e.fresh("x")
        target = f"{v.name}[{x}][{y}]"
        scope = dict(zip((x, y), v.indices, strict=True))
        m.add_step(
            dict(scope), self.sometimes(), f"{target} := {m.random.choice((f'!{target}', e.boolean(scope, 1)))};"
        )

    def own_index(self) -> None:
        m = self.m
        a = self.small()
        t = m.random.choice((a, optional(a), set_of(a)))
        x = self.e.fresh("x")
        v = self.variable(t, (a,), f"{{{x}}}" if t.kind == "set" else x, x)
        m.driver(v)

    def set_variable(self) -> tuple[Var, Ty]:
        t = self.m.random.choice([*self.m.symmetric, self.m.slot, self.m.kind])
        v = self.variable(set_of(t))
        x = self.e.fresh("x")
        body = f"if ({x} in {v.name}) {{ {v.name} -= {{{x}}}; }} else {{ {v.name} += {{{x}}}; }}"
        self.m.add_step({x: t}, self.sometimes(), body)
        return v, t

    def comprehensions(self) -> None:
        m, e = self.m, self.e
        v, t = self.set_variable()
        x, y, name = e.fresh("x"), e.fresh("x"), e.fresh("p")
        m.add_step({}, self.sometimes(), f"{v.name} := {{{x}: {t.text} | {e.boolean({x: t}, 1)}}};")
        size = f"size({{{y} in {v.name} | {e.boolean({y: t}, 1)}}})"
        m.declarations.append(f"invariant {name}: {size} * {m.number(2, 3)} < {m.number(2, 5)};")
        m.properties.append(name)

    def over_a_set(self) -> None:
        m, e = self.m, self.e
        v, t = self.set_variable()
        x, y, z, name = e.fresh("x"), e.fresh("x"), e.fresh("x"), e.fresh("p")
        word = m.random.choice(("forall", "exists"))
        m.declarations.append(f"reachable {name}: {word} {x} in {v.name} {{ {e.boolean({x: t}, 1)} }};")
        m.properties.append(name)
        n = self.variable(range_type(0, 3))
        amount = f"count({y} in {v.name} | {e.boolean({y: t}, 1)}) + sum({m.number(1, 2)} for {z} in {v.name})"
        m.add_step({}, f"{n.name} == 0 || {e.boolean({}, 0)}", f"{n.name} := ({amount}) % 4;")

    def moved_index(self) -> None:
        """The index of a target is assigned in the same step."""
        m, e = self.m, self.e
        i = self.small()
        at = self.variable(i, start=literal_of(i) or "any")
        t = m.random.choice((BOOL, m.slot, m.kind))
        array = self.variable(t, (i,))
        x = e.fresh("x")
        place = f"{array.name}[{at.name}]"
        value = e.expr(t, {x: i}, 1) if m.chance(40) else e.literal(t)
        change = f"{place} := {value};" if t.kind == "enum" else m.turn(place, t, {})
        m.add_step({x: i}, self.sometimes(), f"{at.name} := {x}; {change}")

    def queue_order(self) -> None:
        """A queue of several things.  They go in by turns: were they to come out otherwise, there would be other states."""
        m = self.m
        n = m.number(2, 3)
        t = m.random.choice((BOOL, range_type(0, n - 1)))
        q, out, turn = self.variable(queue_of(m.number(2, 3), t)), self.variable(t), self.variable(t)
        after = f"!{turn.name}" if t is BOOL else f"({turn.name} + 1) % {n}"
        m.add_step({}, f"size({q.name}) < {q.type.high}", f"push({q.name}, {turn.name}); {turn.name} := {after};")
        m.add_step({}, f"{q.name} != []", f"{out.name} := head({q.name}); pop({q.name});")

    def below_zero(self) -> None:
        """Numbers under zero, divided."""
        m = self.m
        low, high = -m.number(2, 3), m.number(0, 2)
        v = self.number(low, high)
        w = self.variable(range_type(low, 2), start="0")
        n = v.name
        by, less = m.number(2, 3), m.number(0, 2)
        text = m.random.choice((f"({n} - {less}) / {by}", f"(-{n}) / {-by}", f"({n} * {n} * {n}) / {by}"))
        m.add_step({}, self.sometimes(), f"{w.name} := max({low}, min(2, {text}));")
        m.add_step({}, self.sometimes(), f"{w.name} := ({n} - {less}) % {by};")

    def set_minus(self) -> None:
        m, e = self.m, self.e
        v, t = self.set_variable()
        other = self.variable(v.type)
        x = e.fresh("x")
        value = m.random.choice((f"{v.name} - {{{x}}}", f"({v.name} + {{{x}}}) - {other.name}"))
        m.add_step({x: t}, self.sometimes(), f"{other.name} := {value};")

    def choices(self) -> None:
        """A choice from a set, by a filter, and another after it."""
        m, e = self.m, self.e
        v, t = self.set_variable()
        x = e.fresh("c")
        n = self.variable(range_type(0, 2))
        either = f"either {{ {n.name} := ({n.name} + 1) % 3; }} or {{ {v.name} -= {{{x}}}; }} or {{ skip; }}"
        filter_ = f" | {e.boolean({x: t}, 1)}" if m.chance(60) else ""
        m.add_step({}, self.sometimes(), f"choose {x} in {v.name}{filter_}; {either}")

    def primes(self) -> None:
        """A step property that compares two states, and one that calls a define of both."""
        m, e = self.m, self.e
        v, f = self.number(0, 2), e.fresh("f")
        m.declarations.append(f"define {f}: bool = {v.name} > {m.number(0, 1)};")
        a, b = e.fresh("p"), e.fresh("p")
        m.declarations.append(f"step {a}: {v.name}' == {v.name} || {v.name}' != {m.number(0, 2)};")
        m.declarations.append(f"step {b}: {f} => {f}' || {v.name}' == {m.number(0, 1)};")
        m.properties += [a, b]

    # ------------------------------------------------------------ errors

    def error(self, kind: str) -> None:
        """Something that errs in some states, in one of the places where an expression can stand."""
        m, e = self.m, self.e
        condition, statement = self.bad(kind)
        when = ""
        if m.chance(50):
            clock = self.number(0, 2)
            when = m.random.choice((f"{clock.name} == {m.number(1, 2)}", f"{clock.name} > 0"))
        done = self.variable(BOOL)
        then = f"{done.name} := !{done.name};"
        ways = [
            lambda: m.add_step({}, when, f"{done.name} := {condition};"),
            lambda: m.add_step({}, when, f"if ({condition}) {{ {then} }}"),
            lambda: m.add_step({}, f"{when} && {condition}" if when else condition, then),
            lambda: m.add_step({}, when, f"for {e.fresh('i')}: 0..1 | {condition} {{ {then} }}"),
            lambda: self.judged(f"{when} => {condition}" if when else condition),
            lambda: self.several(when, condition),
        ]
        if statement:
            ways = [lambda: m.add_step({}, when, statement), lambda: m.add_step({}, when, f"{then} {statement}"), *ways]
        m.random.choice(ways)()

    def judged(self, condition: str) -> None:
        kind, name = self.m.random.choice(("invariant", "step", "reachable")), self.e.fresh("p")
        self.m.declarations.append(f"{kind} {name}: {condition};")
        self.m.properties.append(name)

    def several(self, when: str, condition: str) -> None:
        """Decided by one value, it may still err for another."""
        m = self.m
        x, t = self.e.fresh("x"), self.m.kind
        word = m.random.choice(("forall", "exists"))
        decided = f"{x} == {t.words[0]}" if word == "exists" else f"{x} != {t.words[0]}"
        sign = "||" if word == "exists" else "&&"
        body = f"({word} {x}: {t.text} {{ {decided} {sign} {condition} }})"
        m.add_step({}, when, f"if ({body}) {{ skip; }} else {{ skip; }}")

    def indexed(self, t: Ty, by: str) -> str:
        """A test of an element of an array over t."""
        array = self.variable(BOOL, (t,))
        x = self.e.fresh("x")
        if self.m.chance(40):
            self.m.add_step({x: t}, self.sometimes(), f"{array.name}[{x}] := !{array.name}[{x}];")
        return f"{array.name}[{by}]"

    def bad(self, kind: str) -> tuple[str, str]:
        """A condition that cannot be judged in some states, and a statement (or nothing) that fails there."""
        m, e = self.m, self.e
        match kind:
            case "range":
                slot = m.slot
                v = self.variable(slot)
                m.driver(v)
                sign = m.random.choice("+-")
                return self.indexed(slot, f"{v.name} {sign} 1"), f"{v.name} {sign}= {m.number(1, 2)};"
            case "null":
                t = m.random.choice([*m.symmetric, m.slot, m.kind])
                v, w = self.variable(optional(t)), self.variable(t)
                m.driver(v)
                return self.indexed(t, v.name), f"{w.name} := {v.name};"
            case "member":
                t, other = m.random.sample([*m.symmetric, m.slot, m.kind], 2)
                name = e.fresh("U")
                m.declarations.append(f"type {name} = {t.text} | {other.text};")
                v, w = self.variable(Ty(name, "union", t.size + other.size, (t, other))), self.variable(t)
                x, y = e.fresh("x"), e.fresh("x")
                m.add_step({x: t}, "", f"{v.name} := {x};")
                m.add_step({y: other}, self.sometimes(), f"{v.name} := {y};")
                return self.indexed(t, v.name), f"{w.name} := {v.name};"
            case "queue":
                t = m.random.choice((BOOL, m.slot, m.kind))
                q = self.variable(queue_of(m.number(1, 2), t))
                m.driver(q)
                push, pop = f"push({q.name}, {e.literal(t)});", f"pop({q.name});"
                return f"head({q.name}) == {e.literal(t)}", m.random.choice((push, pop))
            case "empty":
                x, word, n = e.fresh("i"), m.random.choice(("min", "max")), self.number(0, 2)
                return f"{word}({x} for {x}: 0..2 | {x} > {n.name}) == {m.number(1, 2)}", ""
            case _:
                n = self.number(0, 2)
                return f"{m.number(3, 6)} {m.random.choice('/%')} {n.name} == {m.number(0, 2)}", ""
