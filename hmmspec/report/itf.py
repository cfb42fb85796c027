"""Traces in the Informal Trace Format that Apalache and Quint write, for the viewers and test drivers that read it.

Format: https://apalache-mc.org/docs/adr/015adr-trace.html.  The names of steps and their arguments stand where Quint
puts them (`mbt::actionTaken`, `mbt::nondetPicks`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hmmspec.checker.verdict import InstanceReport, Trace, TraceStep
from hmmspec.report.plain import Json
from hmmspec.report.trace_text import split_cell

_ACTION = "mbt::actionTaken"
_PICKS = "mbt::nondetPicks"


@dataclass
class _Table:
    """A map under construction: ITF writes it as a list of pairs."""

    entries: dict[str, _Table | Json]


def trace_to_itf(report: InstanceReport, property_name: str, trace: Trace) -> str:
    """One trace, ending in a newline.

    A cell `pte[mm0][page1].kind` becomes the entry mm0, page1 of the map `pte.kind`.  Where the last step fails
    (an assert, a spec error) it adds no state and stands in `#meta` alone.
    """
    names = list(dict.fromkeys(_variable(cell) for cell in trace.initial))
    picks = sorted({name for step in trace.steps for name, _ in step.args})
    states = [_state(0, trace.initial, None, picks)]
    states += [_state(i, step.cells, step, picks) for i, step in enumerate(trace.steps, 1)]
    meta: dict[str, Json] = {
        "format": "ITF",
        "format-description": "https://apalache-mc.org/docs/adr/015adr-trace.html",
        "source": report.path,
        "status": "violation",
        "description": f"{property_name} of instance {report.instance}, written by hmmspec",
    }
    if trace.final is not None:
        meta["failing-step"] = {"action": trace.final.rule, "args": dict(trace.final.args), "message": trace.message}
    document: dict[str, Json] = {"#meta": meta, "params": [], "vars": [*names, _ACTION, _PICKS], "states": list(states)}
    if trace.loop is not None:
        document["loop"] = trace.loop
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _state(index: int, cells: Mapping[str, str], step: TraceStep | None, picks: list[str]) -> dict[str, Json]:
    top = _Table({})
    for cell, value in cells.items():
        path = [_variable(cell), *split_cell(cell)[1]]
        table = top
        for key in path[:-1]:
            below = table.entries.setdefault(key, _Table({}))
            assert isinstance(below, _Table)
            table = below
        table.entries[path[-1]] = _value(value)
    state: dict[str, Json] = {"#meta": {"index": index}}
    state.update({name: _written(below) for name, below in top.entries.items()})
    given = dict(step.args) if step else {}
    state[_ACTION] = step.rule if step else "init"
    state[_PICKS] = {name: _pick(given.get(name)) for name in picks}
    return state


def _variable(cell: str) -> str:
    return split_cell(cell)[0].replace("[*]", "")


def _written(entry: _Table | Json) -> Json:
    if isinstance(entry, _Table):
        return {"#map": [[_value(key), _written(below)] for key, below in entry.entries.items()]}
    return entry


def _pick(value: str | None) -> Json:
    if value is None:
        return {"tag": "None", "value": {"#tup": []}}
    return {"tag": "Some", "value": _value(value)}


def _value(shown: str) -> Json:
    if shown in {"true", "false"}:
        return shown == "true"
    if shown.removeprefix("-").isdecimal():
        return {"#bigint": shown}
    return shown
