"""A machine as JSON, so that what was fitted once is used by every later run."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any

from hmmspec.diagnostics import Diagnostic, Source, Span, SpecError, did_you_mean
from hmmspec.ref.cost.dma import DmaEngine
from hmmspec.ref.cost.faults import FaultCosts
from hmmspec.ref.cost.link import PcieLink, RateLink
from hmmspec.ref.cost.machine import Machine, Requests
from hmmspec.ref.cost.memory import Memory
from hmmspec.ref.cost.migration import Flush, Migration
from hmmspec.ref.cost.units import Impossible

FORMAT, VERSION = "hmmspec-machine", 1
_PARTS = {
    "dma": DmaEngine,
    "migration": Migration,
    "faults": FaultCosts,
    "device": Memory,
    "system": Memory,
    "device_requests": Requests,
    "cpu_requests": Requests,
    "flush": Flush,
}
_LINKS: dict[str, type[PcieLink] | type[RateLink]] = {"pcie": PcieLink, "rates": RateLink}


def machine_to_json(machine: Machine) -> str:
    """The machine as text that `machine_from_json` reads."""
    body = dataclasses.asdict(machine)
    kind = next(name for name, cls in _LINKS.items() if isinstance(machine.link, cls))
    body["link"] = {"kind": kind, **body["link"]}
    return json.dumps({"format": FORMAT, "version": VERSION, **body}, indent=2) + "\n"


def machine_from_json(source: Source) -> Machine:
    """Raises SpecError: HMM144 for a file that is no description of a machine, HMM140 and HMM141 for its numbers."""
    try:
        told = json.loads(source.text)
    except (json.JSONDecodeError, RecursionError) as error:
        at = getattr(error, "pos", 0)
        what = getattr(error, "msg", "nested too deep")
        raise _wrong(Span(source, at, at), f"not a JSON document: {what}") from None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        fix = "`hmmspec cost presets --json NAME` writes one to start from"
        raise _wrong(Span(source, 0, 0), f'not a machine: it has no "format": "{FORMAT}"', fix)
    if told.get("version") != VERSION:
        raise _wrong(_place(source, "version"), f"version {told.get('version')!r} of the format is not known")
    body = {name: value for name, value in told.items() if name not in ("format", "version")}
    try:
        made: Machine = _made(source, Machine, body, "the machine")
    except Impossible as error:
        # The message names the field; the first place where that stands is the likely one.
        named = next((w for w in error.message.replace("'", " ").split() if f'"{w}"' in source.text), "")
        raise SpecError([Diagnostic(error.code, error.message, _place(source, named), fix=error.fix)]) from None
    return made


def _made(source: Source, cls: Any, told: object, what: str) -> Any:
    if not isinstance(told, dict):
        raise _wrong(_place(source, what), f"{what} must be an object with fields")
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in told:
        if name not in fields:
            fix = did_you_mean(name, fields) or f"the fields are {', '.join(fields)}"
            raise _wrong(_place(source, name), f"{what} has no field '{name}'", fix)
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in told:
            raise _wrong(_place(source, what), f"{what} lacks the field '{name}'")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _value(source, hints[name], name, value) for name, value in told.items()})


def _value(source: Source, hint: Any, name: str, value: object) -> Any:
    if name == "link":
        kind = value.get("kind") if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(kind, str) or kind not in _LINKS:
            raise _wrong(_place(source, "link"), f'a link has a "kind": {" or ".join(_LINKS)}')
        return _made(source, _LINKS[kind], {n: v for n, v in value.items() if n != "kind"}, "link")
    if name in _PARTS:
        return _made(source, _PARTS[name], value, name)
    if name == "sources":
        if not isinstance(value, list) or not all(isinstance(line, str) for line in value):
            raise _wrong(_place(source, name), "sources must be a list of lines")
        return tuple(value)
    allowed = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(value) not in allowed and not (value is None and types.NoneType in allowed):
        words = {int: "a whole number", bool: "true or false", str: "a text", types.NoneType: "null"}
        wanted = " or ".join(words[one] for one in allowed)
        raise _wrong(_place(source, name), f"{name} must be {wanted}, not {json.dumps(value)[:40]}")
    return value


def _place(source: Source, name: str) -> Span:
    at = source.text.find(f'"{name}"') if name else -1
    return Span(source, at, at + len(name) + 2) if at >= 0 else Span(source, 0, 0)


def _wrong(span: Span, message: str, fix: str | None = None) -> SpecError:
    return SpecError([Diagnostic("HMM144", message, span, fix=fix)])
