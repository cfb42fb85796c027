"""Types, variables and start states of a Murphi model: records, arrays and ranges as they are in the spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hmmspec.diagnostics import InternalError
from hmmspec.export.names import Names, identifier, refuse, within
from hmmspec.export.places import Path, Places, Step, scalar
from hmmspec.export.terms import Bound, Num, Scalar, Syntax, Truth
from hmmspec.system.convert import span_of
from hmmspec.system.system import System
from hmmspec.system.types import (
    BOOL,
    Array,
    Bool,
    Enum,
    Queue,
    Record,
    Set,
    Symmetric,
    ThreadId,
    Type,
    Union,
    cardinality,
    from_ordinal,
    is_scalar,
    show_type,
)
from hmmspec.system.types import values as values_of

_FIX = "without --symmetry everything is a number; all states are stored then"


def _symmetric(t: Type) -> bool:
    match t:
        case Symmetric():
            return True
        case ThreadId(_, parts) | Union(parts):
            return any(map(_symmetric, parts))
        case _:
            return False


class Shapes:
    """How the types of one System are written."""

    def __init__(self, system: System, syntax: Syntax, names: Names, symmetry: bool) -> None:
        self._system, self._syntax, self._names, self._symmetry = system, syntax, names, symmetry
        self.declared: list[str] = []
        self._named: dict[tuple[str, Type], str] = {}
        self._fields: dict[Record, list[str]] = {}
        self._variables = {v.name: names.fresh(v.name) for v in system.variables}

    def name(self, variable: str) -> str:
        return self._variables[variable]

    # ------------------------------------------------------------ types

    def text(self, t: Type) -> str:
        """The type; enums, symmetric types and records are declared and named."""
        self._check(t)
        match t:
            case Bool():
                return "boolean"
            case Symmetric(name, size):
                return self._declare(name, t, f"scalarset({size})" if self._symmetry else f"0..{size - 1}")
            case Enum(name, literals) if name:
                told = ", ".join(identifier(literal) for literal in literals)
                return self._declare(name, t, f"0..{len(literals) - 1}", f"  -- {told}")
            case Record(name, fields):
                inside = " ".join(f"{n}: {self.text(f)};" for n, (_, f) in zip(self.fields(t), fields, strict=True))
                return self._declare(name or "record", t, f"record {inside} endrecord")
            case Array(index, element):
                return f"array [{self._index(index)}] of {self.text(element)}"
            case Set(element):
                return f"array [{self._index(element)}] of boolean"
            case Queue(capacity, element):
                items = f"array [0..{max(0, capacity - 1)}] of {self.text(element)}"
                return f"record length: 0..{capacity}; item: {items}; endrecord"
            case Union(members) if not is_scalar(t):
                inside = " ".join(f"m{k}: {self.text(m)};" for k, m in enumerate(members))
                return f"record kind: 0..{len(members) - 1}; {inside} endrecord"
            case _:
                low, high = span_of(t) or (0, 0)
                return f"{low}..{max(low, high)}"

    def _declare(self, name: str, t: Type, text: str, told: str = "") -> str:
        if (name, t) not in self._named:
            self._named[name, t] = self._names.fresh(name)
            self.declared.append(f"{self._named[name, t]}: {text};{told}")
        return self._named[name, t]

    def fields(self, t: Record) -> list[str]:
        if t not in self._fields:
            own = Names()
            self._fields[t] = [own.fresh(n) for n, _ in t.fields]
        return self._fields[t]

    def _index(self, t: Type) -> str:
        return self.text(t) if cardinality(t) else "0..0"

    def _check(self, t: Type) -> None:
        """Raises SpecError where a scalarset would have to be a number."""
        parts: tuple[Type, ...] = ()
        if isinstance(t, Union):
            parts = t.members
        elif isinstance(t, ThreadId):
            parts = t.index
        if self._symmetry and any(map(_symmetric, parts)):
            what = identifier(show_type(t))
            raise refuse(f"{what}, a union or thread identity with a symmetric part, with --symmetry", fix=_FIX)

    def numbered(self, t: Type) -> None:
        """Called where values of the type are numbers.  Raises SpecError where a scalarset would have to be one."""
        self._check(t)
        if isinstance(t, Symmetric) and self._symmetry:
            raise refuse(
                f"a 'for', a whole assignment or a number over {identifier(t.name)}, with --symmetry", fix=_FIX
            )

    # ------------------------------------------------------------ cells

    def spot(self, variable: str, path: Path, t: Type) -> Scalar:
        text = self._variables[variable]
        for step in path:
            text += self._step(step)
        limits = span_of(t)
        return Truth(text) if t == BOOL or limits is None else Num(text, *limits)

    def _step(self, step: Step) -> str:
        match step.kind, step.key, step.type:
            case "field", int(k), Record():
                return f".{self.fields(step.type)[k]}"
            case "length", _, _:
                return ".length"
            case "item", k, _:
                return f".item[{k}]"
            case "tag", _, _:
                return ".kind"
            case "member", k, _:
                return f".m{k}"
            case _, (Num() | Truth()) as key, _:
                if key.known is None:
                    return f"[{key.text}]"
                # A name for one value, as in a quantifier, stays: of a scalarset there is no number.
                plain = key.text if key.text in self._syntax_names() else str(key.known).lower()
                return f"[{plain}]"
            case _:
                raise InternalError(f"a step that is no place: {step.kind}")

    def _syntax_names(self) -> Mapping[str, object]:
        bound: Mapping[str, object] = getattr(self._syntax, "bound", {})
        return bound

    # ------------------------------------------------------------ start states

    def start(self, number: int, values: Mapping[str, object], places: Places) -> list[str]:
        """A start state; equal elements of an array are set by one loop."""
        out = [f'startstate "start {number}"', "begin"]
        for v in self._system.variables:
            with within(v.span):
                out += [f"  {line}" for line in self._set(self._variables[v.name], v.type, values[v.name], places)]
        return [*out, "endstartstate;"]

    def choice(
        self, variable: str, index: Sequence[int], t: Type, allowed: Sequence[object], places: Places
    ) -> tuple[Bound, list[str]]:
        """A parameter that stands for one of these first values of an element, and the statements that set it."""
        place, of = self._variables[variable], self._system.variable(variable).type
        for i in index:
            assert isinstance(of, Array)
            places.numbered(of.index)
            place, of = f"{place}[{str(scalar(places.constant(of.index, i)).known).lower()}]", of.element
        bound = Bound(self._names.fresh("start"), f"0..{len(allowed) - 1}", len(allowed))
        out = []
        for n, value in enumerate(allowed):
            out.append(f"{'elsif' if n else 'if'} {bound.name} = {n} then")
            out += [f"  {line}" for line in self._set(place, t, value, places)]
        return bound, [*out, "endif;"]

    def _set(self, place: str, t: Type, value: object, places: Places) -> list[str]:
        match t, value:
            case Set(element), int():
                bits = tuple(bool(value >> n & 1) for n in range(cardinality(element)))
                return self._set(place, Array(element, BOOL), bits, places)
            case Array(index, element), tuple():
                return self._elements(place, index, element, value, places)
            case Record(_, fields), tuple():
                names = self.fields(t)
                parts = [self._set(f"{place}.{names[k]}", f, value[k], places) for k, (_, f) in enumerate(fields)]
                return [line for part in parts for line in part]
            case _:
                pass
        whole = places.constant(t, value)
        return [
            f"{place}{''.join(map(self._step, path))} := {scalar(places.inside(whole, path)).text};"
            for path, _ in places.cells(t)
        ]

    def _elements(self, place: str, index: Type, element: Type, value: tuple[object, ...], places: Places) -> list[str]:
        if not value:
            return self._set(f"{place}[0]", element, next(values_of(element)), places)
        if (len(value) > 1 and len(set(value)) == 1) or (isinstance(index, Symmetric) and self._symmetry):
            if len(set(value)) > 1:
                raise refuse(f"start values that differ between {identifier(show_type(index))}s, with --symmetry")
            i = self._names.fresh("i")
            inner = self._set(f"{place}[{i}]", element, value[0], places)
            return [f"for {i}: {self._index(index)} do", *(f"  {line}" for line in inner), "endfor;"]
        parts = []
        for n, v in enumerate(value):
            key = scalar(places.constant(index, from_ordinal(index, n)))
            parts += self._set(f"{place}[{str(key.known).lower()}]", element, v, places)
        return parts
