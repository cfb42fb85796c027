"""A System as a Murphi model for Rumur: one rule for each way through a step, a ruleset for its parameters.

With `symmetry`, symmetric types are scalarsets, and Rumur stores one state of each orbit.  A scalarset has no numbers:
what needs them (a union or a thread's identity with a symmetric part, a `for` over the type) is refused then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from hmmspec.export.actions import Actions
from hmmspec.export.context import Choice, Spread
from hmmspec.export.each import OneByOne
from hmmspec.export.model import Claim, Language, Model, Open, described, model_of
from hmmspec.export.murphi_types import Shapes
from hmmspec.export.names import Literals, Names, identifier, within
from hmmspec.export.places import Places
from hmmspec.export.terms import Bound, Bounds, FoldKind, Item, Num, Syntax, Truth, Value
from hmmspec.export.ways import Chooser, Failure, Way
from hmmspec.system.convert import span_of
from hmmspec.system.system import System, Variable
from hmmspec.system.types import BOOL, Type, cardinality, is_scalar


class _Murphi(Syntax):
    def __init__(self, names: Names) -> None:
        super().__init__(" & ", " | ", "=", "!=", "({} ? {} : {})", (-(2**31), 2**31 - 1))
        self.names = names
        self.functions: list[str] = []
        self.bound: dict[str, Bound] = {}

    def bind(self, wanted: str, type_text: str, size: int) -> Bound:
        """A new name for a quantifier, a loop or a ruleset."""
        made = Bound(self.names.fresh(wanted), type_text, size)
        self.bound[made.name] = made
        return made

    def quantify(self, kind: Literal["forall", "exists"], bounds: Bounds, body: Truth) -> Truth:
        if body.known is not None:
            return body
        text = body.text
        for b in reversed(bounds):
            text = f"({kind} {b.name}: {b.type} do {text} end{kind})"
        return self._truth(text)

    def fold(self, kind: FoldKind, items: Sequence[Item]) -> Num:
        """A function that goes through the values; names bound around it are its parameters."""
        items = [i for i in items if i.when.known is not False]
        if not any(i.bounds for i in items):
            return self.written_out(kind, items)
        low, high = self._reach(kind, items)
        first = {"min": high, "max": low}.get(kind, 0)
        own = {b.name for i in items for b in i.bounds}
        used = {word for i in items for word in re.findall(r"\w+", f"{i.when.text} {i.value.text}")}
        outer = [b for name, b in self.bound.items() if name in used - own]
        name, total = self.names.fresh(kind), self.names.fresh("total")
        out = [f"function {name}({'; '.join(f'{b.name}: {b.type}' for b in outer)}): {low}..{high};"]
        out += [f"var {total}: {low}..{high};", "begin", f"  {total} := {first};"]
        for i in items:
            condition = i.when
            change = f"{total} := {total} + {i.value.text};"
            if kind in ("min", "max"):
                sign = "<" if kind == "min" else ">"
                condition = self.both(i.when, self._truth(f"({i.value.text} {sign} {total})"))
                change = f"{total} := {i.value.text};"
            line = change if condition.known else f"if {condition.text} then {change} endif;"
            for b in reversed(i.bounds):
                line = f"for {b.name}: {b.type} do {line} endfor;"
            out.append(f"  {line}")
        self.functions.append("\n".join([*out, f"  return {total};", "endfunction;"]))
        return self.number(f"{name}({', '.join(b.name for b in outer)})", low, high)

    @staticmethod
    def _reach(kind: FoldKind, items: Sequence[Item]) -> tuple[int, int]:
        """The numbers that the result, or a part of the sum, can be."""
        if kind in ("min", "max"):
            return min(i.value.low for i in items), max(i.value.high for i in items)
        low = high = 0
        for i in items:
            times = 1
            for b in i.bounds:
                times *= b.size
            low, high = low + min(0, times * i.value.low), high + max(0, times * i.value.high)
        return low, high


class _Quantified(Spread, Chooser):
    """Murphi binds names itself."""

    def __init__(self, shapes: Shapes, syntax: _Murphi, each: OneByOne) -> None:
        self.shapes, self.syntax, self.each = shapes, syntax, each

    def over(self, t: Type, name: str) -> Sequence[Choice]:
        if cardinality(t) == 0:
            return []
        bound = self.syntax.bind(name, self.shapes.text(t), cardinality(t))
        if t == BOOL:
            return [(Truth(bound.name), (bound,))]
        low, high = span_of(t) or (0, 0)
        # Even of one value: the name is what has the type.
        return [(Num(bound.name, low, high), (bound,))]

    def numbers(self, low: int, high: int, name: str) -> Sequence[Choice]:
        if high < low:
            return []
        bound = self.syntax.bind(name, f"{low}..{high}", high - low + 1)
        return [(Num(bound.name, low, high), (bound,))]

    def options(self, t: Type, name: str) -> Sequence[tuple[Value, Bounds]]:
        return self.over(t, name) if is_scalar(t) else self.each.options(t, name)


def murphi_of(system: System, *, symmetry: bool = False) -> str:
    """The model's text.  Raises SpecError (HMM078) for what Murphi cannot say."""
    names = Names()
    syntax, literals = _Murphi(names), Literals(names)
    shapes = Shapes(system, syntax, names, symmetry)
    places = Places(syntax, shapes.spot, literals, shapes.numbered)
    each = OneByOne(places)
    quantified = _Quantified(shapes, syntax, each)
    variables = [_variable(shapes, v) for v in system.variables]
    model = model_of(system, Language(places, quantified, quantified, each))
    rules = [line for way, actions in model.ways for line in _rule(way, _body(actions))]
    rules += [line for f in model.failures for line in _failure(f)]
    starts = [line for n, values in enumerate(model.starts) for line in _start(shapes, n, values, model.open, places)]
    if model.erred:
        starts = ["startstate", "begin", '  error "spec_error: a first value";', "endstartstate;"]
    constants = [f"  {name}: {number};" for (_, number), name in literals.given.items()]
    out = [*_header(system, model, symmetry)]
    out += ["const", *constants, ""] if constants else []
    out += ["type", *(f"  {t}" for t in shapes.declared), ""] if shapes.declared else []
    out += [
        "var",
        *variables,
        "",
        *syntax.functions,
        "",
        *starts,
        "",
        *rules,
        *_rest(model),
        "",
        *_claims(model, syntax),
    ]
    return "\n".join(out) + "\n"


def _variable(shapes: Shapes, v: Variable) -> str:
    with within(v.span):
        return f"  {shapes.name(v.name)}: {shapes.text(v.type)};"


def _header(system: System, model: Model, symmetry: bool) -> list[str]:
    option = "--symmetry-reduction exhaustive " if symmetry else ""
    told = "one state of each orbit of the spec's states" if symmetry else "one state of the spec, without symmetry"
    out = [
        *described(system),
        "",
        f"    rumur --deadlock-detection off --value-type int32_t {option}-o verify.c FILE",
        "    cc -O2 -march=native -o verify verify.c -lpthread && ./verify",
        "",
        f"Every stored state is {told}.",
        "Rules fired: one for each rule below that is possible, so a step that can be made in two ways counts twice,",
        "and in states where it is right that nothing moves one rule fires and changes nothing.",
        "A rule that ends in an error is a finding, which its text names.",
        "Deadlocks: the same with --deadlock-detection stuck.",
    ]
    if model.left_out:
        out += ["", *(f"not exported: {line}" for line in model.left_out)]
    return [f"-- {line}".rstrip() for line in out] + [""]


def _start(
    shapes: Shapes, number: int, values: Mapping[str, object], free: Sequence[Open], places: Places
) -> list[str]:
    """A start state, or one for each combination of the values that elements may start with."""
    bounds, lines = [], list[str]()
    for place in free:
        bound, told = shapes.choice(place.variable, place.index, place.type, place.values, places)
        bounds.append(bound)
        lines += [f"  {line}" for line in told]
    start = shapes.start(number, values, places)
    return _ruleset(tuple(bounds), [*start[:-1], *lines, start[-1]])


def _ruleset(bounds: Bounds, rule: list[str]) -> list[str]:
    if not bounds:
        return rule
    over = "; ".join(f"{b.name}: {b.type}" for b in bounds)
    return [f"ruleset {over} do", *(f"  {line}" for line in rule), "endruleset;"]


def _rule(way: Way, body: tuple[list[str], list[str]]) -> list[str]:
    variables, lines = body
    head = [f'rule "{identifier(way.rule.name)}"', f"  {way.when.text}", "==>", *variables, "begin"]
    return _ruleset(way.bounds, [*head, *lines, "endrule;"])


def _failure(f: Failure) -> list[str]:
    told = f"{identifier(f.finding)}{f' ({f.kind})' if f.kind else ''} in {identifier(f.rule.name)}"
    return _ruleset(f.bounds, [f'rule "{told}"', f"  {f.when.text}", f'==> begin error "{told}"; endrule;'])


def _body(actions: Actions) -> tuple[list[str], list[str]]:
    """The declarations of the temporaries, and the statements."""
    kept = actions.temporaries
    variables = [f"var {t.cell}: {'boolean' if isinstance(t.value, Truth) else _range(t.value)};" for t in kept]
    lines = []
    for a in (*kept, *actions.actions):
        assign = f"{a.cell} := {a.value.text};"
        lines.append(f"  {assign}" if a.when.known else f"  if {a.when.text} then {assign} endif;")
    return variables, lines


def _range(v: Num) -> str:
    return f"{v.low}..{v.high}"


def _rest(model: Model) -> list[str]:
    """Steps to itself for a state where it is right that nothing moves."""
    out: list[str] = []
    rest: Claim = model.rest
    if rest.holds.known is not False:
        holds = rest.holds.text if rest.sound.known else f"({rest.sound.text} & {rest.holds.text})"
        out += [f'rule "{rest.name}: nothing needs to move"', f"  {holds}", "==> begin endrule;"]
    if rest.sound.known is not True:
        told = "spec_error in a terminal"
        out += [f'rule "{told}"', f"  !{rest.sound.text}", f'==> begin error "{told}"; endrule;']
    for way in model.dropped:
        told = f"{identifier(way.rule.name)}: dropped by an assume"
        out += _ruleset(way.bounds, [f'rule "{told}"', f"  {way.when.text}", "==> begin endrule;"])
    return out


def _claims(model: Model, syntax: Syntax) -> list[str]:
    out = []
    for c in model.invariants:
        if c.sound.known is not True:
            out.append(f'invariant "spec_error in {c.name}" {c.sound.text};')
        out.append(f'invariant "{c.name}" {syntax.implies(c.sound, c.holds).text};')
    out += [f'cover "{c.name}" {syntax.both(c.sound, c.holds).text};' for c in model.reachable]
    return out
