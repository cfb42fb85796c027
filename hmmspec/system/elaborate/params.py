"""Parameters: the value each one has in an instance."""

from __future__ import annotations

from collections.abc import Mapping

from hmmspec.diagnostics import Diagnostic, Source, Span, SpecError, did_you_mean
from hmmspec.lang import syntax as S
from hmmspec.system import expr as E
from hmmspec.system.elaborate.names import ERROR, Names, accepts, is_int
from hmmspec.system.elaborate.scope import Symbol
from hmmspec.system.types import INT, Range, Type, show_type


def settle(spec: S.Spec, instance: str, overrides: Mapping[str, S.Expr | E.Const], names: Names) -> None:
    """Fill `names.params`: an override beats the instance's setting, which beats the default.

    Reports params without a value, settings of unknown params, values of a wrong type; raises SpecError for an
    instance that does not exist.
    """
    params = {d.name.name: d for d in spec.declarations if isinstance(d, S.ParamDecl)}
    settings = _settings(spec, instance, params, names)
    for name, value in overrides.items():
        if name not in params:
            span = value.span if value.span.source.text else _command_line(name)
            names.diagnostics.error("HMM071", span, f"there is no param '{name}'", fix=did_you_mean(name, params))
    open_: list[str] = []

    def value_of(name: str) -> None:
        decl = params[name]
        if name in names.params:
            return
        if name in open_:
            chain = " -> ".join([*open_[open_.index(name) :], name])
            names.diagnostics.error("HMM072", decl.span, f"the default of '{name}' depends on itself ({chain})")
            names.params[name] = E.Const(0, ERROR)
            return
        open_.append(name)
        given = overrides.get(name, settings.get(name, decl.default))
        for other in _names_in((given, decl.type), names.symbols, set()):
            if other in params:
                value_of(other)
        if given is None:
            names.diagnostics.error(
                "HMM070",
                decl.name.span,
                f"the param '{name}' has no value in the instance '{instance}'",
                fix=f"give it a default, set it in the instance, or use -p {name}=VALUE",
            )
            names.params[name] = E.Const(0, ERROR)
        elif isinstance(given, E.Const):
            names.params[name] = _fit(decl, given, None, names)
        else:
            wanted = names.type_of(decl.type, "") if decl.type is not None else None
            typed = names.constant(given, f"the value of '{name}'", wanted)
            names.params[name] = _fit(decl, typed, wanted, names) if typed is not None else E.Const(0, ERROR)
        open_.pop()

    for name in params:
        value_of(name)


def _settings(spec: S.Spec, instance: str, params: Mapping[str, S.ParamDecl], names: Names) -> dict[str, S.Expr]:
    declared = {d.name.name: d for d in spec.declarations if isinstance(d, S.Instance)}
    out: dict[str, S.Expr] = {}
    for d in declared.values():  # mistakes in any instance are worth saying, whichever is built
        seen: set[str] = set()
        for s in d.settings:
            if s.name.name not in params:
                names.diagnostics.error(
                    "HMM071",
                    s.name.span,
                    f"there is no param '{s.name.name}'",
                    fix=did_you_mean(s.name.name, params),
                )
            elif s.name.name in seen:
                names.diagnostics.error("HMM076", s.name.span, f"'{s.name.name}' is set twice in '{d.name.name}'")
            elif d.name.name == instance:
                out[s.name.name] = s.value
            seen.add(s.name.name)
    if instance not in declared and instance != "default":
        known = [*declared, "default"]
        raise SpecError(
            [
                Diagnostic(
                    "HMM071",
                    f"'{spec.name}' has no instance '{instance}' (it has {', '.join(known)})",
                    _command_line(instance),
                    fix=did_you_mean(instance, known),
                )
            ]
        )
    return out


def _fit(decl: S.ParamDecl, value: E.Const, wanted: Type | None, names: Names) -> E.Const:
    """The value as the declared type; its own type where none is declared."""
    if wanted is None:
        wanted = names.type_of(decl.type, "") if decl.type is not None else None
    if ERROR in (value.type, wanted):
        return E.Const(0, ERROR)
    if wanted is None:
        # With a default, the default's kind is the param's kind: a number or a truth value.
        if decl.default is not None and isinstance(decl.default, S.BoolLit | S.IntLit):
            number = isinstance(decl.default, S.IntLit)
            if number != is_int(value.type):
                kind = "a number" if number else "true or false"
                names.diagnostics.error(
                    "HMM072",
                    _span(value, decl),
                    f"the param '{decl.name.name}' wants {kind}, not {show_type(value.type)}",
                )
                return E.Const(0, ERROR)
        return value
    if not accepts(wanted, value.type):
        names.diagnostics.error(
            "HMM072",
            _span(value, decl),
            f"the param '{decl.name.name}' wants {show_type(wanted)}, and this is {show_type(value.type)}",
        )
        return E.Const(0, ERROR)
    if isinstance(wanted, Range) and isinstance(value.value, int) and not wanted.low <= value.value <= wanted.high:
        names.diagnostics.error(
            "HMM072",
            _span(value, decl),
            f"the param '{decl.name.name}' is {wanted.low}..{wanted.high}, and {value.value} is outside",
        )
        return E.Const(0, ERROR)
    return value if wanted == INT or is_int(wanted) else E.Const(value.value, wanted, span=value.span)


def _span(value: E.Const, decl: S.ParamDecl) -> Span:
    return value.span if value.span.source.text else decl.span


def _command_line(text: str) -> Span:
    return Span(Source("<command line>", text), 0, len(text))


def _names_in(e: object, symbols: Mapping[str, Symbol], seen: set[str]) -> list[str]:
    """The names that a value or type speaks of, by way of defines and types too."""
    out: list[str] = []
    match e:
        case S.Name(name) | S.NamedType(name) | S.Call(S.Ident(name)):
            out.append(name)
            symbol = symbols.get(name)
            if name not in seen and isinstance(symbol, S.Define | S.TypeDecl):
                seen.add(name)
                out += _names_in(symbol.body if isinstance(symbol, S.Define) else symbol.type, symbols, seen)
        case _:
            pass
    if isinstance(e, S.Node):
        e = tuple(vars(e).values())
    if isinstance(e, tuple):
        out += [n for v in e for n in _names_in(v, symbols, seen)]
    return out
