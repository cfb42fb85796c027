"""A System as a Promela model for SPIN: one process, whose every step is one option of one loop.

NOTE(promela-states): a stored state of SPIN is a full state here: the process stands at its loop in every one, and
all that is temporary is `hidden`, which SPIN keeps out of the state.  Several start states add one, from which they
are chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from hmmspec.export.actions import Action
from hmmspec.export.each import OneByOne
from hmmspec.export.model import Claim, Language, Model, described, model_of, path_to
from hmmspec.export.names import Literals, Names, identifier
from hmmspec.export.places import Path, Places, fields_of, indices_of, scalar
from hmmspec.export.terms import Bounds, FoldKind, Item, Num, Scalar, Syntax, Truth
from hmmspec.system.convert import span_of
from hmmspec.system.system import Reachable, System
from hmmspec.system.types import Array, Range, Set, Type, cardinality, show_type


class _Promela(Syntax):
    def __init__(self) -> None:
        super().__init__(" && ", " || ", "==", "!=", "({} -> {} : {})", (-(2**31), 2**31 - 1))

    def quantify(self, kind: Literal["forall", "exists"], bounds: Bounds, body: Truth) -> Truth:
        assert not bounds
        return body

    def fold(self, kind: FoldKind, items: Sequence[Item]) -> Num:
        return self.written_out(kind, items)


class Variables:
    """Each variable as one array (or one plain variable) for each kind of cell in it."""

    def __init__(self, system: System, syntax: Syntax, names: Names) -> None:
        self._syntax, self._names = syntax, names
        self._given: dict[tuple[str, ...], str] = {}
        for v in system.variables:
            self._name((v.name,))

    def _name(self, parts: tuple[str, ...]) -> str:
        if parts not in self._given:
            self._given[parts] = self._names.fresh("_".join(parts))
        return self._given[parts]

    def spot(self, variable: str, path: Path, t: Type) -> Scalar:
        """The text of a cell: nested indices become one, counted row by row."""
        name, syntax = self._name((variable, *fields_of(path))), self._syntax
        at, dimensions = syntax.num(0), self.dimensions(path)
        for key, low, size in dimensions:
            # The bounds of a key may be wider than the type; where it is outside, this is never looked at.
            inside = Num(key.text, max(key.low, low), min(key.high, low + size - 1)) if key.known is None else key
            at = syntax.add(syntax.mul(at, syntax.num(size)), syntax.sub(inside, syntax.num(low)))
        text = f"{name}[{at.text if at.known is None else at.known}]" if dimensions else name
        limits = span_of(t)
        return Truth(text) if limits is None or cardinality(t) == 0 or _is_bool(t) else Num(text, *limits)

    def dimensions(self, path: Path) -> list[tuple[Num, int, int]]:
        """For each index: the index as a number, the first number, how many there are."""
        out = []
        for step in path:
            if step.kind == "item":
                assert isinstance(step.key, int) and not isinstance(step.type, (Array, Set))
                out.append((self._syntax.num(step.key), 0, max(1, getattr(step.type, "capacity", 1))))
            elif step in indices_of((step,)) and isinstance(step.key, (Num, Truth)):
                t = step.type.index if isinstance(step.type, Array) else getattr(step.type, "element", None)
                assert t is not None
                low = t.low if isinstance(t, Range) else 0
                out.append((self._syntax.as_number(step.key), low, max(1, cardinality(t))))
        return out


def _is_bool(t: Type) -> bool:
    return span_of(t) == (0, 1) and show_type(t) == "bool"


def promela_of(system: System) -> str:
    """The model's text.  Raises SpecError (HMM078) for what Promela cannot say."""
    syntax, names = _Promela(), Names()
    variables, literals = Variables(system, syntax, names), Literals(names)
    places = Places(syntax, variables.spot, literals)
    each = OneByOne(places)
    model = model_of(system, Language(places, each, each, each))
    starts = [_start(system, places, values) for values in model.starts]
    body = [
        *_declarations(system, places, model, starts),
        "",
        *_process(model, starts, _choices(system, places, model)),
    ]
    macros = [f"#define {name} {number}" for (_, number), name in literals.given.items()]
    return "\n".join([*_header(system, model), *macros, "", *body]) + "\n"


def _header(system: System, model: Model) -> list[str]:
    more = (
        ""
        if len(model.starts) == 1 and not model.open
        else "\n * The first state is no state of the spec: a start state is chosen from it. Stored states: one more."
    )
    several = [
        f" *   {identifier(p.name)}: -DREACH_{identifier(p.name)}"
        for p in system.properties
        if isinstance(p, Reachable)
    ]
    out = ["/*", *(f" * {line}" for line in described(system)), " *"]
    out += [
        " *     spin -a -o2 FILE && cc -O2 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -E -m10000000",
        " *",
        " * Every stored state is one state of the spec, without symmetry reduction." + more,
        " * Transitions: one for each option below that is possible; a step that can be made in two ways counts twice.",
        " * An option that ends in assert(false) is a finding; the comment beside it names it. With ./pan -E -c0 the",
        " * search goes on behind findings.",
        " *",
        " * Deadlocks: spin -DDEADLOCK -a -o2 FILE, and ./pan without -E (then the states where it is right that",
        " * nothing moves have a step to themselves).",
    ]
    if several:
        out += [
            " *",
            " * Is a state reachable? Give spin one of these; an assertion that fails is a way there:",
            *several,
        ]
    if model.left_out:
        out += [" *", *(f" * not exported: {line}" for line in model.left_out)]
    return [*out, " */"]


def _start(system: System, places: Places, values: Mapping[str, object]) -> dict[str, str]:
    """The cells of a start state."""
    out: dict[str, str] = {}
    for v in system.variables:
        whole = places.constant(v.type, values[v.name])
        for path, leaf in places.cells(v.type):
            out[places.spot(v.name, path, leaf).text] = scalar(places.inside(whole, path)).text
    return out


def _choices(system: System, places: Places, model: Model) -> list[str]:
    """For each element that starts with any value: the choice."""
    out: list[str] = []
    for place in model.open:
        at = path_to(places, system, place)
        out.append("    if")
        for value in place.values:
            whole = places.constant(place.type, value)
            cells = [
                f"{places.spot(place.variable, (*at, *path), leaf).text} = {scalar(places.inside(whole, path)).text}"
                for path, leaf in places.cells(place.type)
            ]
            out.append(f"    :: {'; '.join(cells) or 'skip'}")
        out.append("    fi;")
    return out


def _declarations(system: System, places: Places, model: Model, starts: list[dict[str, str]]) -> list[str]:
    """Variables with the first start state's values, and the temporaries."""
    cells: dict[str, tuple[Type, list[str]]] = {}
    arrays: set[str] = set()
    first = starts[0] if starts else {}
    for v in system.variables:
        for path, leaf in places.cells(v.type):
            text = places.spot(v.name, path, leaf).text
            if "[" in text:
                arrays.add(text.split("[")[0])
            cells.setdefault(text.split("[")[0], (leaf, []))[1].append(first.get(text, "0"))
    out = []
    for name, (leaf, held) in cells.items():
        values_ = held[0] if len(set(held)) == 1 else "{ " + ", ".join(held) + " }"
        size = f"[{len(held)}]" if name in arrays else ""
        out.append(f"{_stored(leaf)} {name}{size} = {values_};")
    temporaries = {t.cell: isinstance(t.value, Truth) for _, actions in model.ways for t in actions.temporaries}
    return [*out, *(f"hidden {'byte' if truth else 'int'} {name};" for name, truth in sorted(temporaries.items()))]


def _stored(t: Type) -> str:
    low, high = span_of(t) or (0, 1)
    if _is_bool(t):
        return "bool"
    if low >= 0 and high <= 255:
        return "byte"
    return "short" if low >= -(2**15) and high < 2**15 else "int"


def _process(model: Model, starts: list[dict[str, str]], choices: list[str]) -> list[str]:
    out = ["init {"]
    if model.erred:
        return [*out, "  assert(false)  /* spec_error: a first value */", "}"]
    if len(starts) > 1:
        out.append("  if")
        for start in starts:
            changed = [f"{cell} = {value}" for cell, value in start.items() if starts[0][cell] != value]
            out.append(f"  :: d_step {{ {'; '.join(changed) or 'skip'} }}")
        out.append("  fi;")
    if choices:
        # SPIN stores nothing between the choices of one atomic.
        out += ["  atomic {", *choices, "  };"]
    out.append("  do")
    for way, actions in model.ways:
        lines = [_action(a) for a in (*actions.temporaries, *actions.actions)]
        out += [f"  :: d_step {{ {way.when.text} ->  /* {identifier(way.rule.name)} */"]
        out += [f"       {line}" for line in lines or ["skip"]]
        out[-1] = out[-1].rstrip(";")
        out.append("     }")
    for f in model.failures:
        told = f"{identifier(f.finding)}{f' ({f.kind})' if f.kind else ''} in {identifier(f.rule.name)}"
        out += _bad(f.when, told)
    for claim in model.invariants:
        out += _bad(_not(claim.sound), f"spec_error in invariant {claim.name}")
        out += _bad(_and(claim.sound, _not(claim.holds)), f"invariant {claim.name}")
    if not any(line.startswith("  ::") for line in out[out.index("  do") :]):
        out.append("  :: false  /* nothing can move */")
    for claim in model.reachable:
        out += _only(f"REACH_{claim.name}", _bad(_and(claim.sound, claim.holds), f"reachable {claim.name}: here it is"))
    out += _only("DEADLOCK", _resting(model))
    return [*out, "  od", "}"]


def _resting(model: Model) -> list[str]:
    rest: Claim = model.rest
    out = _bad(_not(rest.sound), "spec_error in a terminal")
    steps = [("it is right that nothing moves", _and(rest.sound, rest.holds))]
    steps += [("an assume excludes this step's result", way.when) for way in model.dropped]
    return out + [
        f"  :: d_step {{ {when.text} -> skip }}  /* {told} */" for told, when in steps if when.known is not False
    ]


def _only(macro: str, lines: list[str]) -> list[str]:
    return [f"#ifdef {macro}", *lines, "#endif"] if lines else []


def _bad(when: Truth, told: str) -> list[str]:
    return [f"  :: d_step {{ {when.text} -> assert(false) }}  /* {told} */"] if when.known is not False else []


def _action(a: Action) -> str:
    assign = f"{a.cell} = {a.value.text}"
    return f"{assign};" if a.when.known else f"if :: {a.when.text} -> {assign} :: else fi;"


def _not(a: Truth) -> Truth:
    return _Promela().no(a)


def _and(a: Truth, b: Truth) -> Truth:
    return _Promela().both(a, b)
