"""Pieces of generated Python: an expression's text with what is known of it, the names in scope, and the module."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from hmmspec.system.analyse import Analysis
from hmmspec.system.faults import Fault, Site, SpecFault
from hmmspec.system.slots import Layout, flat, load
from hmmspec.system.system import System
from hmmspec.system.types import values

# How tightly Python operators bind; the numbers only need to be in order.
TERNARY, OR, AND, NOT, COMPARE, BIT_OR, BIT_AND, SHIFT, SUM, PRODUCT, UNARY, ATOM = range(12)

# Python's parser takes some 200 nested brackets and its compiler recurses; deeper expressions become functions.
MAX_DEPTH = 24


@dataclass(frozen=True)
class Code:
    """An expression: its text, how tightly it binds, whether writing it twice costs nothing, and its value if fixed."""

    text: str
    binds: int = ATOM
    simple: bool = False
    fixed: bool = False
    value: object = None
    depth: int = 0

    def at(self, level: int) -> str:
        """The text as an operand of an operator that binds this tightly."""
        return self.text if self.binds >= level else f"({self.text})"

    def is_(self, value: object) -> bool:
        return self.fixed and self.value == value


def constant(value: object) -> Code:
    """An int or bool (others: `Unit.value`)."""
    text = repr(value)
    return Code(text, UNARY if text.startswith("-") else ATOM, True, True, value)


TRUE = constant(True)
FALSE = constant(False)


def deeper(*parts: Code) -> int:
    return 1 + max((p.depth for p in parts), default=0)


def infix(op: str, left: Code, right: Code, level: int, right_level: int | None = None) -> Code:
    text = f"{left.at(level)} {op} {right.at(level + 1 if right_level is None else right_level)}"
    return Code(text, level, depth=deeper(left, right))


def call(function: str, *args: Code) -> Code:
    return Code(f"{function}({', '.join(a.text for a in args)})", depth=deeper(*args))


def both(parts: Iterable[Code], droppable: bool = True) -> Code:
    """All hold.  droppable: what stands before a part that is surely false need not be evaluated (it cannot fault)."""
    kept: list[Code] = []
    for p in parts:
        if p.is_(True):
            continue
        if p.is_(False):
            if droppable or not kept:
                return FALSE
            kept.append(p)
            break
        kept.append(p)
    return _chain("and", kept, AND, TRUE)


def either(parts: Iterable[Code], droppable: bool = True) -> Code:
    """One holds; `droppable` as for `both`."""
    kept: list[Code] = []
    for p in parts:
        if p.is_(False):
            continue
        if p.is_(True):
            if droppable or not kept:
                return TRUE
            kept.append(p)
            break
        kept.append(p)
    return _chain("or", kept, OR, FALSE)


def _chain(op: str, parts: Sequence[Code], level: int, empty: Code) -> Code:
    if not parts:
        return empty
    if len(parts) == 1:
        return parts[0]
    return Code(f" {op} ".join(p.at(level + 1) for p in parts), level, depth=deeper(*parts))


def negation(c: Code) -> Code:
    if c.fixed:
        return constant(not c.value)
    if c.binds == NOT and c.text.startswith("not "):
        return Code(c.text.removeprefix("not "), NOT, depth=c.depth)
    return Code(f"not {c.at(NOT)}", NOT, depth=deeper(c))


def python_name(name: str) -> str:
    """A Python name for a name of the spec; the underscore keeps it apart from keywords and our own names."""
    return re.sub(r"\W", "_", name) + "_"


@dataclass(frozen=True)
class Scope:
    """What names mean at one place: `state` and `after` are the Python names of the states that are read."""

    state: str = "s"
    after: str | None = None
    names: Mapping[str, Code] = field(default_factory=lambda: MappingProxyType({}))
    variables: tuple[str, ...] = ()

    def bind(self, name: str, code: Code) -> Scope:
        return replace(self, names={**self.names, name: code})

    def declare(self, name: str) -> tuple[Scope, str]:
        """A new Python variable for the name, unlike all others in scope."""
        wanted = unique = python_name(name)
        number = 1
        while unique in self.variables:
            number += 1
            unique = f"{wanted}{number}"
        scope = replace(
            self, names={**self.names, name: Code(unique, simple=True)}, variables=(*self.variables, unique)
        )
        return scope, unique


class Unit:
    """The generated module of one System.  Functions are added as they are needed and compiled when first used."""

    def __init__(self, system: System, layout: Layout) -> None:
        self.system = system
        self.layout = layout
        self.analysis = Analysis(system)
        self.sites: list[Site] = []
        self.checks: list[Fault] = []
        self.chunks: list[str] = []
        self._pending: list[str] = []
        self._numbers: dict[str, int] = {}
        self._constants: dict[object, str] = {}
        self.defined: set[str] = set()
        self.namespace: dict[str, object] = runtime(self)

    def number(self, prefix: str) -> str:
        """A new name: prefix_0, prefix_1, .."""
        n = self._numbers.get(prefix, 0)
        self._numbers[prefix] = n + 1
        return f"{prefix}_{n}"

    def function(self, header: str, lines: Sequence[str], remark: str = "") -> None:
        """Add `def header:` with these lines."""
        text = f"def {header}:{'  # ' + ' '.join(remark.split()) if remark else ''}\n" + "\n".join(indent(lines)) + "\n"
        self.chunks.append(text)
        self._pending.append(text)

    def named(self, prefix: str, value: object) -> str:
        """The name under which generated code finds a value."""
        key = (prefix, value)
        if key not in self._constants:
            name = self._constants[key] = self.number(prefix)
            self.namespace[name] = value
        return self._constants[key]

    def value(self, value: object) -> Code:
        """A constant of any type."""
        if isinstance(value, int):
            return constant(value)
        return Code(self.named("const", value), simple=True, fixed=True, value=value)

    def site(self, site: Site) -> Code:
        self.sites.append(site)
        return constant(len(self.sites) - 1)

    def check(self, fault: Fault) -> Code:
        self.checks.append(fault)
        return constant(len(self.checks) - 1)

    def flush(self) -> None:
        """Compile what was added since the last time."""
        if self._pending:
            text = "\n".join(self._pending)
            self._pending.clear()
            exec(compile(text, f"<steps of {self.system.name}>", "exec"), self.namespace)

    def get(self, name: str) -> Callable[..., object]:
        """A generated function."""
        self.flush()
        return self.namespace[name]  # type: ignore[return-value]

    def lift(self, code: Code, scope: Scope) -> Code:
        """The same expression as a call of a function of its own."""
        words = set(re.findall(r"\w+", code.text))
        state = [v for v in (scope.state, scope.after) if v is not None]
        needed = [v for v in dict.fromkeys((*state, *scope.variables)) if v in words]
        name = self.number("part")
        self.function(f"{name}({', '.join(needed)})", [f"return {code.text}"])
        return Code(f"{name}({', '.join(needed)})", depth=1)


def indent(lines: Sequence[str]) -> list[str]:
    return ["    " + line for line in lines]


def runtime(unit: Unit) -> dict[str, object]:
    """What generated code calls.  A number `k` is a site (or a check): where in the spec this is."""
    sites, checks = unit.sites, unit.checks

    def fail_cast(k: int, value: object) -> object:
        raise sites[k].cast(value)

    def fail_store(k: int, value: object, *indices: object) -> None:
        raise sites[k].store(value, indices)

    def fail_check(k: int) -> None:
        raise SpecFault(checks[k])

    def div(a: int, b: int, k: int) -> int:
        if b == 0:
            raise sites[k].division()
        return a // b

    def mod(a: int, b: int, k: int) -> int:
        if b == 0:
            raise sites[k].division()
        return a % b

    def head(queue: tuple[object, ...], k: int) -> object:
        if not queue:
            raise sites[k].queue("head of an empty queue")
        return queue[0]

    def popped(queue: tuple[object, ...], k: int) -> tuple[object, ...]:
        if not queue:
            raise sites[k].queue("pop of an empty queue")
        return queue[1:]

    def pushed(queue: tuple[object, ...], value: object, capacity: int, k: int) -> tuple[object, ...]:
        if len(queue) >= capacity:
            raise sites[k].queue(f"push on a full queue of {capacity}")
        return (*queue, value)

    def least(found: list[int], k: int) -> int:
        if not found:
            raise sites[k].empty("min")
        return min(found)

    def most(found: list[int], k: int) -> int:
        if not found:
            raise sites[k].empty("max")
        return max(found)

    def within(value: int, low: int, high: int) -> bool:
        return low <= value <= high

    def holds(element: int, mask: int) -> int:
        return mask >> element & 1

    def bits(masks: Iterable[int]) -> int:
        out = 0
        for m in masks:
            out |= m
        return out

    def elements(mask: int, low: int = 0) -> list[int]:
        out = []
        while mask:
            bit = mask & -mask
            out.append(bit.bit_length() - 1 + low)
            mask ^= bit
        return out

    def row(slots: Sequence[object], base: int, size: int) -> tuple[object, ...]:
        return tuple(slots[base : base + size])

    def several(rule: int, args: tuple[object, ...], faults: list[Fault], bad: list[object]) -> None:
        seen: set[tuple[str, str]] = set()
        for f in faults:
            if (f.finding, f.name) not in seen:
                seen.add((f.finding, f.name))
                bad.append((rule, args, f))

    helpers = (fail_cast, fail_store, fail_check, div, mod, head, popped, pushed, least, most, within, holds, bits)
    out: dict[str, object] = {f.__name__: f for f in (*helpers, elements, row, several, load, flat, values)}
    out["SpecFault"] = SpecFault
    return out
