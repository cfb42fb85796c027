"""Commands and results from JSON, checked field by field: what a trace from elsewhere or a person may write."""

from __future__ import annotations

import dataclasses
import errno
import re
import signal
from collections.abc import Iterable
from typing import Any

from hmmspec.conform.commands import ADVICE, ARENA_PAGES, COMMANDS, KINDS, POINTS, PROTS, Command
from hmmspec.conform.results import STAMPS, Result
from hmmspec.diagnostics import did_you_mean


class CommandError(ValueError):
    """A JSON object that is no command or no result: the message says what is wrong with it."""


_PROCESS = re.compile(r"p[0-9]{1,4}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_CHOICES = {"prot": PROTS, "kind": KINDS, "advice": ADVICE, "point": POINTS}
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "str | None": (str, type(None)),
}
_KINDS = {"str": "a text", "int": "a whole number", "bool": "true or false", "str | None": "a text or null"}
_ERRORS = frozenset({*errno.errorcode.values(), *(s.name for s in signal.Signals)})
_NUMBER = re.compile(r"(E[0-9]{3,4})?")  # an errno without a name


def command_from_json(data: object) -> Command:
    """The command of a JSON object.  Raises CommandError, whose message names the field."""
    if not isinstance(data, dict):
        raise CommandError(f"a command is a JSON object, not {data!r:.60}")
    word = data.get("do")
    cls = COMMANDS.get(word) if isinstance(word, str) else None
    if cls is None:
        told = _unknown("unknown command", word, COMMANDS)
        raise CommandError(told if "do" in data else 'a command has a field "do"')
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for name in data:
        if name != "do" and name not in fields:
            raise CommandError(_unknown(f"'{word}' has no field", name, fields.keys() - data.keys()))
    for name, f in fields.items():
        if name in data:
            _check(str(word), name, str(f.type), data[name])
        elif f.default is dataclasses.MISSING:
            raise CommandError(f"'{word}' needs the field '{name}'")
    return cls(**{name: value for name, value in data.items() if name != "do"})


def _check(word: str, name: str, type_: str, value: object) -> None:
    if not isinstance(value, _TYPES[type_]) or (isinstance(value, bool) and type_ != "bool"):
        raise CommandError(f"'{name}' of '{word}' is {_KINDS[type_]}, not {value!r:.60}")
    if choices := _CHOICES.get(name):
        if value not in choices:
            raise CommandError(f"'{name}' of '{word}' is one of {', '.join(choices)}, not {value!r:.60}")
    elif isinstance(value, str):
        if name in {"process", "child"}:
            if not _PROCESS.fullmatch(value):
                raise CommandError(f"'{name}' of '{word}' is p0, p1, .., not {value!r:.60}")
        elif not _NAME.fullmatch(value):
            raise CommandError(f"'{name}' of '{word}' is a name, not {value!r:.60}")
    elif isinstance(value, int) and not isinstance(value, bool):
        least, most = (
            (1, ARENA_PAGES) if name in {"count", "times"} else (0, STAMPS if name == "stamp" else ARENA_PAGES)
        )
        if not least <= value < most + (name == "count"):
            raise CommandError(f"'{name}' of '{word}' is from {least} to {most}, not {value}")


_RESULT_LISTS = ("stamps", "snapshot", "pagemap")


def result_from_json(data: object) -> Result:
    """The result of a JSON object.  Raises CommandError."""
    if not isinstance(data, dict):
        raise CommandError(f"a result is a JSON object, not {data!r:.60}")
    out: dict[str, Any] = {}
    known = [f.name for f in dataclasses.fields(Result)]
    for name, value in data.items():
        if name == "error" and isinstance(value, str) and value not in _ERRORS and not _NUMBER.fullmatch(value):
            raise CommandError(_unknown("no errno and no signal:", value, _ERRORS))
        if (name == "error" and isinstance(value, str)) or (
            name in {"cpages", "faults"} and (value is None or _whole(value))
        ):
            out[name] = value
        elif name in _RESULT_LISTS and isinstance(value, list) and all(_whole(v) for v in value):
            out[name] = tuple(value)
        elif name == "counts" and isinstance(value, dict) and all(_whole(v) for v in value.values()):
            out[name] = tuple(sorted(value.items()))
        elif name in known:
            raise CommandError(f"'{name}' of a result cannot be {value!r:.60}")
        else:
            raise CommandError(_unknown("a result has no field", name, known))
    return Result(**out)


def _unknown(told: str, name: object, known: Iterable[str]) -> str:
    """`unknown command 'lod'; did you mean 'load'?`"""
    return "; ".join([f"{told} {name!r:.60}", *filter(None, [did_you_mean(str(name), known)])])


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
