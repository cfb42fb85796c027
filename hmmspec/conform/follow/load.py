"""A binding and its spec from their files, for every setting of the spec's params that a target's profile asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hmmspec.conform.follow import syntax as s
from hmmspec.conform.follow.bind import Bound, bind
from hmmspec.conform.follow.parser import parse
from hmmspec.conform.follow.seen import Seen
from hmmspec.conform.follow.values import EventError
from hmmspec.conform.target import Behaviour
from hmmspec.diagnostics import Diagnostic, Diagnostics, Note, Severity, Source, Span, SpecError, did_you_mean
from hmmspec.lang import syntax as lang
from hmmspec.lang.load import load
from hmmspec.system.build import build_with_warnings
from hmmspec.system.system import System

SUFFIX = ".bind"

Settings = tuple[tuple[str, str], ...]


class Loaded:
    """A binding with its spec.  name: the spec's; path: of the binding; warnings: what is odd about it."""

    def __init__(self, binding: s.Binding, path: str, spec: lang.Spec) -> None:
        self.binding = binding
        self.path = path
        self.spec = spec
        self.name = spec.name
        self._bound: dict[Settings, Bound] = {}
        diagnostics = Diagnostics()
        self._check_settings(diagnostics)
        diagnostics.raise_if_errors()
        bind(binding, self.system({}), diagnostics)
        diagnostics.raise_if_errors()
        self.warnings = tuple(diagnostics.items)

    @property
    def event_names(self) -> tuple[str, ...]:
        """The events of a log that the binding speaks of."""
        return tuple(n.name for on in self.binding.ons for n in on.names) + tuple(n.name for n in self.binding.ignored)

    def bound(self, profile: Mapping[str, Behaviour]) -> Bound:
        """The binding of the spec as this profile wants it.  Raises SpecError."""
        key = tuple(sorted((n, str(v)) for n, v in self._settings(profile).items()))
        if key not in self._bound:
            diagnostics = Diagnostics()
            self._bound[key] = bind(self.binding, self.system(profile), diagnostics)
            diagnostics.raise_if_errors()
        return self._bound[key]

    def system(self, profile: Mapping[str, Behaviour]) -> System:
        """The spec with the params that the binding and the profile set.  Raises SpecError."""
        overrides: dict[str, lang.Expr] = {}
        for setting in self.binding.settings:
            value = self._value(setting, profile)
            if value is not None:
                overrides[setting.param.name] = _expression(value, setting.span)
        return build_with_warnings(self.spec, ["default"], overrides)[0].system

    def _settings(self, profile: Mapping[str, Behaviour]) -> dict[str, Behaviour]:
        found = {x.param.name: self._value(x, profile) for x in self.binding.settings}
        return {n: v for n, v in found.items() if v is not None}

    def _value(self, setting: s.Setting, profile: Mapping[str, Behaviour]) -> Behaviour | None:
        """What a param is set to; None: as the spec says, since the profile does not tell."""
        match setting.value:
            case s.Number(value):
                return value
            case s.Name("true" | "false" as word):
                return word == "true"
            case s.Name(name):
                return name
            case s.Profile(name):
                return profile.get(name)
            case _:
                return None

    def _check_settings(self, diagnostics: Diagnostics) -> None:
        known = {d.name.name for d in self.spec.declarations if isinstance(d, lang.ParamDecl)}
        for setting in self.binding.settings:
            if setting.param.name not in known:
                diagnostics.error(
                    "HMM131",
                    setting.param.span,
                    f"the spec {self.spec.name} has no param '{setting.param.name}'",
                    fix=did_you_mean(setting.param.name, known),
                )
            if not isinstance(setting.value, (s.Number, s.Name, s.Profile)):
                diagnostics.error(
                    "HMM130", setting.value.span, "a param is set to a number, a literal or 'profile.NAME'"
                )


def _expression(value: Behaviour, span: Span) -> lang.Expr:
    """A value as the language reads it, told to stand where the binding has it."""
    if isinstance(value, bool):
        return lang.BoolLit(value, span=span)
    if isinstance(value, int):
        return lang.IntLit(value, span=span)
    return lang.Name(value, span=span)


def load_binding(path: str, spec: str | None = None) -> Loaded:
    """The binding at `path`; `spec`: another spec than the one that it names.  Raises SpecError."""
    binding = parse(_read(path))
    named = str(Path(path).parent / binding.spec.value)
    if spec is None and not Path(named).exists():
        diagnostics = Diagnostics()
        diagnostics.error("HMM080", binding.spec.span, f"there is no file '{named}'")
        raise SpecError(diagnostics.items)
    return Loaded(binding, path, load(spec or named))


def load_for(path: str, binding: str | None = None) -> Loaded:
    """What a user names: a binding, or a spec whose binding lies beside it (`x.bind` beside `x.hmm`).

    binding: the binding to use in place of that.  Raises SpecError.
    """
    if path.endswith(SUFFIX) and binding is None:
        return load_binding(path)
    if binding is not None:
        return load_binding(binding, path)
    beside = Path(path).with_suffix(SUFFIX)
    if not Path(path).exists():
        load(path)  # says what is wrong with it
    if not beside.exists():
        told = f"'{path}' has no binding: there is no '{beside}'"
        raise SpecError([Diagnostic("HMM080", told, Span(Source("<command line>", ""), 0, 0), fix="see --binding")])
    return load_binding(str(beside), path)


def _read(path: str) -> Source:
    nowhere = Span(Source("<command line>", ""), 0, 0)
    try:
        return Source(path, Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError([Diagnostic("HMM080", f"there is no file '{path}'", nowhere)]) from None
    except UnicodeDecodeError:
        raise SpecError([Diagnostic("HMM083", f"'{path}' is not a UTF-8 text", nowhere)]) from None
    except OSError as error:
        raise SpecError([Diagnostic("HMM082", f"cannot read '{path}': {error.strerror or error}", nowhere)]) from None


# ---------------------------------------------------------------- events that a binding does not know


def unknown_event(event: Seen, loaded: Loaded) -> SpecError:
    """The log has an event that the binding says nothing of, or a return without its call."""
    nowhere = Span(Source("<log>", ""), 0, 0)
    if not event.is_call:
        return SpecError(
            [Diagnostic("HMM137", f"call {event.call} returns, but it was never made", event.span or nowhere)]
        )
    told = f"unknown event '{event.name}': the binding '{loaded.path}' says nothing of it"
    fix = (
        did_you_mean(event.name, loaded.event_names)
        or f"add 'on {event.name}(..) {{ .. }}' or 'ignore {event.name};' to it"
    )
    return SpecError([Diagnostic("HMM137", told, event.span or nowhere, fix=fix)])


def wrong_event(error: EventError, event: Seen) -> SpecError:
    """An event that the binding cannot be worked out for."""
    notes = () if event.span is None else (Note("for this event", event.span),)
    return SpecError([Diagnostic("HMM137", error.message, error.span, Severity.ERROR, notes)])
