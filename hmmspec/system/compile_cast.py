"""`Cast` as Python text: nothing where the types say it cannot fail and the values are the same, else a shift, a
comparison, or a helper function for the pair of types."""

from __future__ import annotations

from collections.abc import Callable

from hmmspec.system.analyse import uncovered
from hmmspec.system.code import ATOM, COMPARE, SUM, TERNARY, Code, Unit, call, constant, deeper
from hmmspec.system.convert import Mismatch, Piece, converter, pieces, span_of
from hmmspec.system.expr import Cast
from hmmspec.system.faults import Site, is_integer
from hmmspec.system.show import text_of
from hmmspec.system.types import INT


def shifted(c: Code, by: int) -> Code:
    """The int plus a constant."""
    if by == 0:
        return c
    if c.fixed:
        assert isinstance(c.value, int)
        return constant(c.value + by)
    sign = "+" if by > 0 else "-"
    return Code(f"{c.at(SUM)} {sign} {abs(by)}", SUM, depth=deeper(c))


def inside(c: Code, low: int, high: int, limits: tuple[int, int] | None) -> str:
    """A test that the int is in low..high, as short as what is known of it allows."""
    above = limits is not None and limits[0] >= low
    below = limits is not None and limits[1] <= high
    if above and below:
        return "True"
    if low == high:
        return f"{c.at(COMPARE + 1)} == {low}"
    if above:
        return f"{c.at(COMPARE + 1)} <= {high}"
    if below:
        return f"{c.at(COMPARE + 1)} >= {low}"
    return f"{low} <= {c.at(COMPARE + 1)} <= {high}"


def compile_cast(unit: Unit, e: Cast, operand: Code) -> Code:
    """The operand converted; the text raises the fault itself."""
    source, target = e.operand.type, e.type
    if source == target or (is_integer(source) and target == INT):
        return operand

    def site() -> Code:
        return unit.site(Site(e.operand.span, text_of(e.operand), source, target))

    convert = converter(source, target)
    if operand.fixed:
        try:
            return unit.value(convert(operand.value))
        except Mismatch:
            return call("fail_cast", site(), operand)
    parts = pieces(source, target)
    if parts is None:
        return _by_function(unit, e, operand, convert, site)
    limits = unit.analysis.bounds(e.operand)
    if len(parts) == 1:
        return _one_piece(unit, operand, parts[0], limits, site, f"{source!r} -> {target!r}")
    if not parts:
        return call("fail_cast", site(), operand)
    span = span_of(source)
    if span is not None and span[1] - span[0] < 256 and limits is not None and not uncovered(parts, limits):
        # Every value has its place: a table.
        table = tuple(
            next((v + p.shift for p in parts if p.low <= v <= p.high), 0) for v in range(span[0], span[1] + 1)
        )
        return Code(f"{unit.named('table', table)}[{shifted(operand, -span[0]).text}]", depth=deeper(operand))
    return _by_function(unit, e, operand, convert, site)


def _one_piece(
    unit: Unit, operand: Code, p: Piece, limits: tuple[int, int] | None, site: Callable[[], Code], remark: str
) -> Code:
    v = operand if operand.simple else Code("v", simple=True)
    test = inside(v, p.low, p.high, limits)
    if test == "True":
        return shifted(operand, p.shift)
    if operand.simple:
        if p.low == 1 and limits is not None and limits[0] == 0 and test.endswith(">= 1"):
            test = v.at(TERNARY + 1)  # the usual case: not null
        text = f"{shifted(v, p.shift).text} if {test} else {call('fail_cast', site(), v).text}"
        return Code(text, TERNARY, depth=deeper(operand))
    name = f"cast_{p.low}_{p.high}_{p.shift}".replace("-", "m")
    if name not in unit.defined:
        unit.defined.add(name)
        full = inside(v, p.low, p.high, None)
        unit.function(f"{name}(v, k)", [f"return {shifted(v, p.shift).text} if {full} else fail_cast(k, v)"], remark)
    return call(name, operand, site())


def _by_function(
    unit: Unit, e: Cast, operand: Code, convert: Callable[[object], object], site: Callable[[], Code]
) -> Code:
    """Any conversion: by the Python function that defines it."""
    sites = unit.sites

    def convert_at(value: object, k: int) -> object:
        try:
            return convert(value)
        except Mismatch:
            raise sites[k].cast(value) from None

    key = f"convert {e.operand.type!r} {e.type!r}"
    if key not in unit.namespace:
        unit.namespace[key] = name = unit.number("convert")
        unit.namespace[name] = convert_at
    return Code(f"{unit.namespace[key]}({operand.text}, {site().text})", ATOM, depth=deeper(operand))
