"""Traces and diagnostics as plain JSON values, and traces back from them: what every machine format is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeGuard

from hmmspec.checker.verdict import Blame, Change, Trace, TraceStep
from hmmspec.diagnostics import Diagnostic, Span

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


class BadTrace(ValueError):
    """A JSON value that is not a trace; the message says where it differs."""


def in_file(span: Span | None) -> TypeGuard[Span]:
    """Whether the span is in a file, not in the command line or what is built in."""
    return span is not None and not span.path.startswith("<")


def span_to_plain(span: Span | None) -> Json:
    """Where something is written: file, 1-based line and column, and the end; None for what is built in."""
    if not in_file(span):
        return None
    end_line, end_column = span.source.position(span.end)
    return {
        "path": span.path,
        "line": span.line,
        "column": span.column,
        "end_line": end_line,
        "end_column": end_column,
    }


def diagnostic_to_plain(d: Diagnostic) -> dict[str, Json]:
    """A diagnostic with its place, notes and repair."""
    return {
        "code": d.code,
        "severity": d.severity.value,
        "message": d.message,
        "location": span_to_plain(d.span),
        "notes": [{"message": n.message, "location": span_to_plain(n.span)} for n in d.notes],
        "fix": d.fix,
    }


def trace_to_plain(trace: Trace) -> dict[str, Json]:
    """A trace; the whole state after each step stands in `cells`."""
    return {
        "length": trace.length,
        "initial": dict(trace.initial),
        "steps": [_step(s) for s in trace.steps],
        "loop": trace.loop,
        "final": None if trace.final is None else _step(trace.final),
        "blame": None if trace.blame is None else _blame(trace.blame),
        "message": trace.message,
    }


def trace_from_plain(value: object) -> Trace:
    """The trace that `trace_to_plain` wrote (places in the source are not read back).  Raises BadTrace."""
    top = _object(value, "the trace")
    steps = tuple(_step_from(s, f"step {i}") for i, s in enumerate(_list(top, "steps"), 1))
    loop = top.get("loop")
    if loop is not None and not (isinstance(loop, int) and 0 <= loop <= len(steps)):
        msg = f"'loop' must be the number of a state, 0 to {len(steps)}"
        raise BadTrace(msg)
    final = top.get("final")
    return Trace(
        initial=_strings(top.get("initial"), "'initial'"),
        steps=steps,
        loop=loop,
        final=None if final is None else _step_from(final, "'final'"),
        blame=None if top.get("blame") is None else _blame_from(top["blame"]),
        message=_text(top, "message"),
    )


def _step(step: TraceStep) -> dict[str, Json]:
    return {
        "rule": step.rule,
        "actor": step.actor,
        "args": [[n, v] for n, v in step.args],
        "outcome": step.outcome,
        "changes": [{"cell": c.cell, "before": c.before, "after": c.after} for c in step.changes],
        "cells": dict(step.cells),
        "location": span_to_plain(step.span),
    }


def _step_from(value: object, what: str) -> TraceStep:
    top = _object(value, what)
    actor, outcome = top.get("actor"), top.get("outcome", 0)
    if actor is not None and not isinstance(actor, str):
        raise BadTrace(f"'actor' of {what} must be text or null")
    if not isinstance(outcome, int):
        raise BadTrace(f"'outcome' of {what} must be a number")
    changes = [_object(c, f"a change of {what}") for c in _list(top, "changes")]
    return TraceStep(
        rule=_text(top, "rule"),
        actor=actor,
        args=_pairs(_list(top, "args"), f"'args' of {what}"),
        changes=tuple(Change(_text(c, "cell"), _text(c, "before"), _text(c, "after")) for c in changes),
        cells=_strings(top.get("cells"), f"'cells' of {what}"),
        outcome=outcome,
    )


def _blame(blame: Blame) -> dict[str, Json]:
    return {
        "conjunct": blame.conjunct,
        "bindings": [[n, v] for n, v in blame.bindings],
        "parts": [[n, v] for n, v in blame.parts],
        "location": span_to_plain(blame.span),
    }


def _blame_from(value: object) -> Blame:
    top = _object(value, "'blame'")
    return Blame(
        _text(top, "conjunct"),
        _pairs(_list(top, "bindings"), "'bindings'"),
        _pairs(_list(top, "parts"), "'parts'"),
    )


def _object(value: object, what: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise BadTrace(f"{what} must be a JSON object")
    return value


def _list(top: Mapping[str, object], key: str) -> list[object]:
    value = top.get(key)
    if not isinstance(value, list):
        raise BadTrace(f"'{key}' must be a list")
    return value


def _text(top: Mapping[str, object], key: str) -> str:
    value = top.get(key, "")
    if not isinstance(value, str):
        raise BadTrace(f"'{key}' must be text")
    return value


def _strings(value: object, what: str) -> dict[str, str]:
    top = _object(value, what)
    if not all(isinstance(v, str) for v in top.values()):
        raise BadTrace(f"{what} must map cells to text")
    return {k: str(v) for k, v in top.items()}


def _pairs(items: list[object], what: str) -> tuple[tuple[str, str], ...]:
    out = []
    for item in items:
        if not (isinstance(item, list) and len(item) == 2 and all(isinstance(x, str) for x in item)):
            raise BadTrace(f"{what} must be pairs of text")
        out.append((str(item[0]), str(item[1])))
    return tuple(out)
