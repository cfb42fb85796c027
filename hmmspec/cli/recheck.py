"""`hmmspec recheck DIR...`: is a certificate of `hmmspec prove --certificate` still right?"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hmmspec.checker.parallel import cores
from hmmspec.checker.symbolic import solvers
from hmmspec.checker.symbolic.header import INVARIANT
from hmmspec.checker.symbolic.recheck import NotACertificate, Rechecked, RecheckOptions, certificates_in, recheck
from hmmspec.checker.verdict import Progress
from hmmspec.cli.args import Parser, count, duration, mistake
from hmmspec.diagnostics import Diagnostic, Limit, SpecError
from hmmspec.report.phrases import plural, seconds
from hmmspec.report.progress import ProgressLine
from hmmspec.report.style import Style, Tone, style_for

SHOWN = 10  # of things that are wrong, in text
_NAMES = {"z3": "Z3", "cvc5": "cvc5"}


def parser() -> Parser:
    """The options of `recheck`."""
    p = Parser(
        "recheck",
        "Check certificates of 'prove --certificate': whether they are of the spec as it is now, whether their files\n"
        "are what the spec and the strengthened invariant make, and whether Z3 and cvc5 show all of it again.",
        "exit codes: 0 everything is shown again; 1 the spec or a file has changed, or something does not hold;\n"
        "2 a certificate, the spec or the command line is wrong; 3 a solver did not decide something",
    )
    p.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="a certificate, or a folder of certificates")
    p.add_argument("--spec", metavar="FILE", help="the spec, if it is not where it was")
    p.add_argument(
        "--solver",
        choices=("z3", "cvc5", "both"),
        help="who is asked (default: both, or Z3 where cvc5 is not installed)",
    )
    p.add_argument("--time", type=duration, default=10.0, metavar="TIME", help="for each question (default: 10s)")
    p.add_argument("--jobs", type=count, default=0, metavar="N", help="solvers at once (default: one on each core)")
    p.add_argument("--quiet", action="store_true", help="one line for each certificate, and in full what is wrong")
    p.add_argument("--json", action="store_true", help="one JSON document on standard output (docs/certificates.md)")
    return p


def run(args: argparse.Namespace) -> int:
    """Check, print.  Raises SpecError when the input is wrong."""
    options = RecheckOptions(_solvers(args.solver), args.time, args.jobs or cores(), args.spec)
    folders = [f for folder in args.folders for f in _certificates(folder)]
    progress = None if args.quiet else ProgressLine(sys.stderr)
    style = style_for(sys.stdout)
    found: list[Rechecked] = []
    undecided: list[tuple[Path, str]] = []
    for folder in folders:
        try:
            one = _recheck(folder, options, progress)
        except Limit as limit:
            undecided.append((folder, str(limit)))
            continue
        finally:
            if progress is not None:
                progress.clear()
        found.append(one)
        if not args.json:
            for line in _told(one, style, args.quiet):
                print(line, flush=True)
    codes = [one.exit_code for one in found] + [3] * bool(undecided)
    code = 1 if 1 in codes else max(codes)
    if args.json:
        print(json.dumps(_document(found, code), indent=2))
    for folder, why in undecided:
        print(f"{folder}: {why} (incomplete)", file=sys.stderr)
    if "cvc5" not in options.solvers and args.solver is None:
        print(f"only Z3 was asked: cvc5 is not installed ({solvers.INSTALL})", file=sys.stderr)
    return code


def _solvers(wanted: str | None) -> tuple[str, ...]:
    there = solvers.installed()
    asked = there if wanted is None else ("z3", "cvc5") if wanted == "both" else (wanted,)
    missing = [s for s in asked if s not in there]
    if missing:
        raise mistake("HMM103", f"{missing[0]} is not installed", f"install it: {solvers.INSTALL}")
    return asked


def _certificates(folder: Path) -> Sequence[Path]:
    try:
        return certificates_in(folder)
    except NotACertificate as error:
        raise mistake("HMM102", str(error), "'hmmspec prove SPEC --certificate DIR' writes certificates") from None


def _recheck(folder: Path, options: RecheckOptions, progress: ProgressLine | None) -> Rechecked:
    begin = time.monotonic()

    def told(done: int, of: int) -> None:
        if progress is not None:
            phase = f"proof: question {done} of {of}"
            progress(Progress("recheck", folder.name, phase, 0, 0, 0, 0, time.monotonic() - begin))

    try:
        return recheck(folder, options, told)
    except NotACertificate as error:
        raise mistake("HMM102", str(error)) from None
    except SpecError as error:
        if any(d.code == "HMM080" for d in error.diagnostics):
            fix = "name the spec: --spec FILE"
            wrong = [Diagnostic(d.code, d.message, d.span, fix=d.fix or fix) for d in error.diagnostics]
            raise SpecError(wrong) from None
        raise


# ---------------------------------------------------------------- text


def _told(one: Rechecked, style: Style, quiet: bool) -> Iterator[str]:
    header = one.header
    if not quiet or one.exit_code:
        yield style.paint(f"{one.folder}: {header.spec}{_every(header.every)}", "strong")
        free = ", ".join(f"{n} = {v}" for n, v in header.params.items() if n not in header.sizes)
        yield from style.wrap(f"spec {one.spec}" + (f", with {free}" if free else ""), "  ")
        yield from style.wrap(f"proved: {', '.join(header.proved)}", "  ", "    ")
        if header.uses:
            yield from style.wrap(f"which rests on {', '.join(header.uses)}", "  ", "    ")
        if header.lemmas:
            found = plural(len(header.lemmas), "invariant")
            yield f"  with {found} that {'was' if len(header.lemmas) == 1 else 'were'} found ({INVARIANT})"
        if header.order:
            yield from style.wrap(f"locks are taken in this order: {', '.join(header.order)}", "  ", "    ")
        if header.left_out:
            yield from style.wrap(f"left out of guards: {', '.join(header.left_out)}", "  ", "    ")
        yield from _wrong(one, style)
    tone: Tone = "good" if one.exit_code == 0 else "bad" if one.exit_code == 1 else "warn"
    told = f"{one.folder}: {_summary(one)}"
    for line in style.wrap(told, "", "  "):
        yield style.paint(line, tone)


def _wrong(one: Rechecked, style: Style) -> Iterator[str]:
    problems = [f"the spec has changed: {one.stale}"] if one.stale else []
    problems += one.wrong
    problems += [f"{c.obligation.file}: {c.told}" for c in one.checked if c.status == "failed"]
    problems += [f"{c.obligation.file}: {c.told}" for c in one.checked if c.status == "undecided"]
    for p in problems[:SHOWN]:
        yield from style.wrap(p, "  ", "    ")
    if len(problems) > SHOWN:
        yield f"  and {len(problems) - SHOWN} more"
    if one.never and not one.stale:
        yield from style.wrap(
            f"never possible, so that what is proved of it says nothing: {', '.join(one.never)}", "  ", "    "
        )


def _summary(one: Rechecked) -> str:
    by = " and ".join(f"{_NAMES[s]} {solvers.version(s)}" for s in one.solvers)
    if one.stale:
        return "STALE: the spec has changed"
    failed = [c for c in one.checked if c.status == "failed"]
    if failed:
        return f"FAILED: {plural(len(failed), 'obligation')} of {len(one.checked)} " + (
            "does not hold" if len(failed) == 1 else "do not hold"
        )
    if one.wrong:
        return "CHANGED: it is not as it was written, though what the spec and invariant.hmm make holds"
    open_ = sum(c.status == "undecided" for c in one.checked)
    if open_:
        return f"INCOMPLETE: {open_} of {plural(len(one.checked), 'obligation')} not decided by {by}"
    asked = f"{plural(len(one.checked), 'obligation')}, {plural(one.questions, 'question')}"
    return f"ok: {asked}, shown by {by} in {seconds(one.seconds)}"


def _every(every: Sequence[str]) -> str:
    return f", every number of {', '.join(every)}" if every else ""


# ---------------------------------------------------------------- JSON


def _document(found: Sequence[Rechecked], code: int) -> dict[str, object]:
    return {"format": "hmmspec recheck", "version": 1, "exit_code": code, "certificates": [_one(r) for r in found]}


def _one(one: Rechecked) -> dict[str, object]:
    h = one.header
    return {
        "folder": one.folder,
        "path": one.spec,
        "spec": h.spec,
        "instance": h.instance,
        "params": {n: v for n, v in h.params.items() if n not in h.sizes},
        "every": list(h.every),
        "proved": list(h.proved),
        "uses": list(h.uses),
        "lemmas": list(h.lemmas),
        "order": list(h.order),
        "left_out": list(h.left_out),
        "verdict": ("rechecked", "failed", "", "undecided")[one.exit_code],
        "stale": one.stale or None,
        "changed": list(one.wrong),
        "never_possible": list(one.never),
        "solvers": {s: solvers.version(s) for s in one.solvers},
        "obligations": [
            {
                "file": c.obligation.file,
                "kind": c.obligation.kind,
                "about": c.obligation.about,
                "expected": c.obligation.expected,
                "status": c.status,
                "by": list(c.by),
                "told": c.told or None,
            }
            for c in one.checked
        ],
        "questions": one.questions,
        "wall_seconds": round(one.seconds, 3),
    }
