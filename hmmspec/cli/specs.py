"""From the command line's SPEC, -i and -p to Systems: all files first, the mistakes of all of them at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from hmmspec.cli.args import mistake
from hmmspec.diagnostics import Diagnostic, Source, Span, SpecError
from hmmspec.lang.load import load
from hmmspec.lang.syntax import Define, Expr, Ident, Instance, IntLit, Spec
from hmmspec.report.saved import digest_of
from hmmspec.system import expr as core
from hmmspec.system.build import build_with_warnings
from hmmspec.system.system import System


@dataclass(frozen=True)
class Loaded:
    """One spec file with the Systems of the instances asked for; `warnings`: what elaboration says about the spec."""

    path: str
    spec: Spec
    systems: tuple[System, ...]
    warnings: tuple[Diagnostic, ...]
    digest: str


def load_all(paths: Sequence[str], instances: Sequence[str], overrides: Mapping[str, str]) -> list[Loaded]:
    """Load and elaborate every spec.  Raises SpecError with the mistakes of all."""
    out: list[Loaded] = []
    wrong: list[Diagnostic] = []
    for path in paths:
        try:
            out.append(load_one(path, instances, overrides))
        except SpecError as error:
            wrong += error.diagnostics
    if wrong:
        raise SpecError(wrong)
    return out


def load_one(path: str, instances: Sequence[str], overrides: Mapping[str, str]) -> Loaded:
    """One spec.  `-p` without `-i` means the instance `default` with those parameters.  Raises SpecError."""
    spec = load(path)
    wanted = list(dict.fromkeys(instances)) or (["default"] if overrides else None)
    built = build_with_warnings(spec, wanted, _values(overrides))
    warnings = tuple(dict.fromkeys(w for b in built for w in b.warnings))
    return Loaded(path, spec, tuple(b.system for b in built), warnings, spec_digest(spec))


def load_system(path: str, instances: Sequence[str], overrides: Mapping[str, str]) -> tuple[Loaded, System]:
    """For commands that work on one instance: the one asked for, or the first of the file.  Raises SpecError."""
    if len(instances) > 1:
        raise mistake("HMM089", "this command works on one instance: give -i once")
    if not instances and not overrides:
        spec = load(path)
        declared = [d.name.name for d in spec.declarations if isinstance(d, Instance)]
        instances = declared[:1]
    loaded = load_one(path, instances, overrides)
    return loaded, loaded.systems[0]


def expression(loaded: Loaded, system: System, overrides: Mapping[str, str], text: str) -> core.Expr:
    """An expression over the state, as the spec's own names and types read it.  Raises SpecError."""
    tree = _parsed(text)
    # As the body of one more define it is resolved and typed like everything else in the file.
    name = "value_" + "_" * max((len(d.name) for d in system.defines), default=0)
    define = Define(Ident(name), (), None, tree, span=tree.span)
    spec = replace(loaded.spec, declarations=(*loaded.spec.declarations, define))
    (built,) = build_with_warnings(spec, [system.instance], _values(overrides))
    return built.system.define(name).body


def spec_digest(spec: Spec) -> str:
    """Of the texts of the spec and all that it imports, so that a saved trace knows when they have changed."""
    texts = []
    for name in spec.files:
        try:
            texts.append(Path(name).read_text(encoding="utf-8"))
        except (OSError, UnicodeError):
            texts.append("")  # gone since it was loaded: any later digest differs, as it should
    return digest_of(texts)


def _parsed(text: str) -> Expr:
    """An expression on the command line."""
    # Only where there is one, since this loads the parser generator.
    found: Expr = import_module("hmmspec.lang.parser").parse_expression(Source("<command line>", text))
    return found


def _values(overrides: Mapping[str, str]) -> dict[str, Expr]:
    """The values of `-p` as the language reads them; a mistake in one points into `NAME=VALUE`."""
    out = {}
    for name, value in overrides.items():
        text = f"{name}={value}"
        tree: Expr = IntLit(int(value)) if re.fullmatch("0|[1-9][0-9]{0,8}", value) else _parsed(value)
        span = Span(Source("<command line>", text), 0, len(text))
        out[name] = replace(tree, span=span)
    return out
