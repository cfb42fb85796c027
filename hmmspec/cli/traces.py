"""Traces to files and back: every one that a report holds, named after spec, instance and property."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from hmmspec.checker.verdict import InstanceReport, Trace, Verdict
from hmmspec.cli.args import mistake
from hmmspec.cli.files import file_name, write_whole
from hmmspec.report.itf import trace_to_itf
from hmmspec.report.plain import BadTrace
from hmmspec.report.saved import SavedTrace, saved_from_json, saved_to_json


def save_traces(folder: Path, report: InstanceReport, digest: str, overrides: Mapping[str, str]) -> list[Path]:
    """Write each trace of the report.  Returns the paths; raises SpecError if one cannot be written."""
    written = []
    for name, verdict, trace in _found(report):
        saved = SavedTrace(
            spec=report.spec,
            path=report.path,
            instance=report.instance,
            params=(*report.params, *_sizes(verdict)),
            overrides={**overrides, **dict(_sizes(verdict))},
            property=verdict.property,
            text=verdict.text,
            seed=report.seed,
            digest=digest,
            trace=trace,
        )
        written.append(folder / f"{name}.json")
        write_whole(written[-1], saved_to_json(saved))
    return written


def save_itf(folder: Path, report: InstanceReport) -> list[Path]:
    """The same in ITF."""
    written = []
    for name, verdict, trace in _found(report):
        written.append(folder / f"{name}.itf.json")
        write_whole(written[-1], trace_to_itf(report, verdict.property, trace))
    return written


def read_trace(path: str) -> SavedTrace:
    """A saved trace.  Raises SpecError for a file that cannot be read or is none."""
    try:
        return saved_from_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise mistake("HMM086", f"cannot read '{path}': {error.strerror}") from None
    except UnicodeError:
        raise mistake("HMM086", f"'{path}' is not a UTF-8 text") from None
    except BadTrace as error:
        fix = "traces are written by 'hmmspec check --save-traces DIR'"
        raise mistake("HMM086", f"'{path}' is not a usable saved trace: {error}", fix) from None


def _sizes(verdict: Verdict) -> tuple[tuple[str, str], ...]:
    """The params that a proof has no value for, as the trace has them."""
    return verdict.proof.sizes if verdict.proof is not None else ()


def _found(report: InstanceReport) -> Iterator[tuple[str, Verdict, Trace]]:
    for verdict in report.verdicts:
        traces = [t for t in (verdict.trace, *verdict.others) if t is not None]
        for number, trace in enumerate(traces, 1):
            every = ("for_every", *report.every) if report.every else ()
            name = file_name(report.spec, report.instance, *every, verdict.property)
            yield name if number == 1 else f"{name}-{number}", verdict, trace
