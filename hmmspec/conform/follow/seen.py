"""Events of a log as plain names and fields: from our own commands, or from anybody's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from hmmspec.conform.commands import Command
from hmmspec.conform.follow.values import UNKNOWN
from hmmspec.conform.results import Result
from hmmspec.conform.target import Event
from hmmspec.diagnostics import Span

Fields = Mapping[str, object]


class Seen(NamedTuple):
    """One event: call number `call` of `thread` begins, doing `name` with `fields`, or returns with `fields`.

    origin: the command or result itself, which people read by `str`; span: its place in a log file, if it has one.
    """

    call: int
    thread: str
    is_call: bool
    name: str
    fields: Fields
    origin: object
    span: Span | None = None


_NAMES: dict[type, tuple[str, ...]] = {}


def _fields(value: Command | Result) -> dict[str, object]:
    names = _NAMES.get(type(value))
    if names is None:
        names = _NAMES[type(value)] = tuple(f.name for f in dataclasses.fields(value))
    return {n: getattr(value, n) for n in names}


def seen(event: Event, span: Span | None = None) -> Seen:
    """An event of a target.  What it could not see of a result (None, an empty list) is unknown."""
    if event.command is not None:
        return Seen(event.call, event.thread, True, event.command.word, _fields(event.command), event.command, span)
    result = event.result if event.result is not None else Result()
    return Seen(event.call, event.thread, False, "", result_fields(_fields(result)), result, span)


def result_fields(fields: Fields) -> dict[str, object]:
    """The fields of a result: None and what is empty is unknown, but an empty error is `ok`."""
    out = {n: UNKNOWN if v is None or (not v and isinstance(v, (tuple, list))) else v for n, v in fields.items()}
    if isinstance(out.get("counts"), tuple):
        out["counts"] = dict(out["counts"])  # type: ignore[call-overload]
    error = fields.get("error")
    out["error"] = "" if error in (None, 0, "", "ok") else error
    return out
