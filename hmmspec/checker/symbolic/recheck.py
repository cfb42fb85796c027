"""Is a certificate still right?  Everything is made anew from the spec and invariant.hmm, compared, and asked again.

A file that differs from what it should be is named, and so is whatever in the spec has changed.  What is asked of the
solvers are the texts made anew.  Where no solver finds that a step is possible at all, a run of a small instance that
takes it will do.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal

from hmmspec import __version__
from hmmspec.checker.symbolic import solvers as ask
from hmmspec.checker.symbolic.certificate import obligations, read_lemmas
from hmmspec.checker.symbolic.header import (
    HEADER,
    INVARIANT,
    Header,
    digest_of,
    digests,
    header_text,
    kind_of,
    read_header,
    sizes_of,
    system_of,
)
from hmmspec.checker.symbolic.obligations import Obligation
from hmmspec.checker.symbolic.samples import Instances, Sampler
from hmmspec.checker.symbolic.smt import separate
from hmmspec.diagnostics import Limit, Source, SpecError
from hmmspec.lang import syntax as S
from hmmspec.lang.load import load
from hmmspec.lang.parser import parse
from hmmspec.system.build import build, instance_names
from hmmspec.system.identity import difference
from hmmspec.system.system import System

LARGEST = 2  # identities of each type in instances whose runs are looked at
STATES = 50_000  # of each of these


@dataclass(frozen=True)
class RecheckOptions:
    """solvers: which are asked; seconds: for each question; jobs: processes at once; spec: where the spec is, if not
    where the certificate says."""

    solvers: tuple[str, ...]
    seconds: float = 10.0
    jobs: int = 1
    spec: str | None = None


@dataclass(frozen=True)
class Checked:
    """One obligation.  by: which solvers (or 'a run') showed it; told: why it is not shown."""

    obligation: Obligation
    status: Literal["shown", "failed", "undecided"]
    by: tuple[str, ...]
    told: str = ""


@dataclass(frozen=True)
class Rechecked:
    """What came of a certificate.

    stale: what has changed in the spec; wrong: what is not as it was written; never: steps that are possible in no
    state with the invariant, so that what is proved of them says nothing.
    """

    folder: str
    spec: str
    header: Header
    solvers: tuple[str, ...]
    stale: str = ""
    wrong: tuple[str, ...] = ()
    checked: tuple[Checked, ...] = ()
    never: tuple[str, ...] = ()
    questions: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether the certificate shows nothing."""
        return bool(self.stale or self.wrong) or any(c.status == "failed" for c in self.checked)

    @property
    def exit_code(self) -> int:
        """0 everything is shown again, 1 something is wrong, 3 something is not decided."""
        if self.failed:
            return 1
        return 3 if any(c.status == "undecided" for c in self.checked) else 0


class NotACertificate(ValueError):
    """The folder holds none, or one that cannot be read; the message says why."""


def certificates_in(folder: Path) -> list[Path]:
    """The folder itself, or those in it.  Raises NotACertificate where there are none."""
    if (folder / HEADER).is_file():
        return [folder]
    if not folder.is_dir():
        raise NotACertificate(f"'{folder}' is no folder" if folder.exists() else f"'{folder}' does not exist")
    found = sorted(p.parent for p in folder.glob(f"*/{HEADER}") if not p.parent.name.startswith("."))
    if not found:
        raise NotACertificate(f"'{folder}' holds no {HEADER}")
    return found


def recheck(folder: Path, options: RecheckOptions, told: Callable[[int, int], None] | None = None) -> Rechecked:
    """Check a certificate.

    Raises NotACertificate; SpecError where the spec, or invariant.hmm, is wrong; Limit where something has no
    first-order meaning.
    """
    begin = time.monotonic()
    texts = _read(folder)
    try:
        header = read_header(texts[HEADER])
    except ValueError as error:
        raise NotACertificate(f"'{folder}' is not a usable certificate: {error}") from None
    if INVARIANT not in texts:
        raise NotACertificate(f"'{folder}' is not a usable certificate: {INVARIANT} is missing")
    path = options.spec or _spec_path(folder, header, texts[INVARIANT])
    spec = load(path)
    out = Rechecked(str(folder), path, header, options.solvers)
    system, stale = _system(spec, header)
    stale = stale or (difference(header.parts, digests(system, header.claims)) if system is not None else "")
    if stale or system is None:
        return replace(out, stale=stale, seconds=time.monotonic() - begin)
    lemmas = read_lemmas(spec, system, texts[INVARIANT], str(folder / INVARIANT))
    try:
        made = obligations(system, header, lemmas)
    except ValueError as error:
        raise NotACertificate(f"'{folder}' is not a usable certificate: {error}") from None
    todo = list(made.all())
    anew = replace(
        header,
        proved={n: kind_of(system, n) for n in header.proved},
        sizes=sizes_of(spec, header.every),
        lemmas=[c.name for c in lemmas],
        left_out=list(made.encoding.left_out),
        never=[o.file for o in todo if o.kind == "enabled" and o.rule in made.never],
        parts=digests(system, header.claims),
        files={INVARIANT: digest_of(texts[INVARIANT]), **{o.file: digest_of(o.text) for o in todo}},
    )
    anew = replace(anew, system=digest_of(json.dumps(anew.parts)))
    wrong = (*_sizes(spec, system, header), *_differences(texts, header, anew, todo))
    checked, questions = _asked(todo, spec, system, header, options, told)
    return replace(
        out,
        wrong=wrong,
        checked=tuple(checked),
        never=tuple(o.about for o in todo if o.kind == "enabled" and o.rule in made.never),
        questions=questions,
        seconds=time.monotonic() - begin,
    )


# ---------------------------------------------------------------- what it is of


def _read(folder: Path) -> dict[str, str]:
    out: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        try:
            out[path.name] = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            out[path.name] = "\0"  # no text: not as it was written, whatever it was
        except OSError as error:
            raise NotACertificate(f"'{path}' cannot be read: {error.strerror or error}") from None
    if HEADER not in out:
        raise NotACertificate(f"'{folder}' holds no {HEADER}")
    return out


def _spec_path(folder: Path, header: Header, invariant: str) -> str:
    """The spec as it was given, seen from here, or as invariant.hmm names it."""
    if Path(header.path).exists():
        return header.path
    try:
        patches = parse(Source(INVARIANT, invariant)).header
        beside = folder / patches.path if isinstance(patches, S.Patches) else None
    except SpecError:
        beside = None  # told when it is read for what is in it
    return header.path if beside is None or not beside.exists() else os.path.normpath(beside)


def _system(spec: S.Spec, header: Header) -> tuple[System | None, str]:
    """The System, or why there is none with these params any more.  Raises SpecError where the spec itself is wrong."""
    try:
        return system_of(spec, header), ""
    except SpecError as error:
        build(spec, None, instance_names(spec)[0])
        return None, error.diagnostics[0].message


# ---------------------------------------------------------------- is it what it should be


def _differences(texts: Mapping[str, str], header: Header, anew: Header, todo: Sequence[Obligation]) -> Iterator[str]:
    expected = {o.file: o.text for o in todo}
    other = "" if header.hmmspec == __version__ else f" (written by hmmspec {header.hmmspec}, this is {__version__})"
    for name, text in expected.items():
        if name not in texts:
            yield f"{name} is missing"
        elif texts[name] != text:
            yield f"{name} is not what the spec and {INVARIANT} make{other}"
    if header.files.get(INVARIANT) != anew.files[INVARIANT]:
        yield f"{INVARIANT} has been changed"
    yield from (f"{name} does not belong to it" for name in texts if name not in (*expected, HEADER, INVARIANT))
    for f in fields(Header):
        if _plain(getattr(header, f.name)) != _plain(getattr(anew, f.name)) and (f.name != "files" or not other):
            if f.name == "files":
                names = [n for n in {**header.files, **anew.files} if header.files.get(n) != anew.files.get(n)]
                if all(texts.get(n) != expected.get(n) for n in names):
                    continue  # told already
            yield f"{HEADER} has another '{f.name}' than the spec and {INVARIANT} make"
    if not other and texts[HEADER] != header_text(header):
        yield f"{HEADER} has been changed"


def _sizes(spec: S.Spec, system: System, header: Header) -> Iterator[str]:
    """Whether instances differ in nothing but how many identities there are: else one of them stands for no other."""
    try:
        instances = Instances(spec, system, tuple(header.every))
        instances.check_sizes()
        for p in system.properties:
            if p.name in header.claims:
                instances.check_property(p)
    except Limit as limit:
        yield f"it is of the instance alone, not of every number of {', '.join(header.every)}: {limit}"


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


# ---------------------------------------------------------------- does it hold


def _asked(
    todo: Sequence[Obligation],
    spec: S.Spec,
    system: System,
    header: Header,
    options: RecheckOptions,
    told: Callable[[int, int], None] | None,
) -> tuple[list[Checked], int]:
    """What the solvers say of each obligation, and how many questions that took."""
    remarks: dict[tuple[str, int], str] = {}
    questions: list[ask.Question] = []
    for o in todo:
        if not o.empty:
            for number, (remark, text) in enumerate(separate(o.text)):
                questions.append(ask.Question(o.file, number, text, o.expected))
                remarks[o.file, number] = remark
    answers: dict[str, list[ask.Answered]] = {}
    for a in ask.ask_all(questions, options.solvers, options.seconds, options.jobs, told):
        answers.setdefault(a.question.file, []).append(a)
    out = [_judged(o, answers.get(o.file, []), remarks, options) for o in todo]
    open_ = [c.obligation for c in out if c.status == "undecided" and c.obligation.expected == "sat"]
    runs = _runs(spec, system, header.every, {o.rule for o in open_}) if open_ else set()
    return [
        Checked(c.obligation, "shown", ("a run",)) if c.obligation in open_ and c.obligation.rule in runs else c
        for c in out
    ], len(questions)


def _judged(
    o: Obligation,
    answers: Sequence[ask.Answered],
    remarks: Mapping[tuple[str, int], str],
    options: RecheckOptions,
) -> Checked:
    if o.empty:
        return Checked(o, "shown", options.solvers)
    other = "sat" if o.expected == "unsat" else "unsat"
    for a in answers:
        if a.answer == other:
            remark = remarks[o.file, a.question.number]
            return Checked(o, "failed", (), _failure(o, a.solver, remark))
    by = {s: [a for a in answers if a.solver == s] for s in options.solvers}
    sure = tuple(s for s, some in by.items() if some and all(a.answer == o.expected for a in some))
    if (sure and o.expected == "sat") or sure == options.solvers:
        return Checked(o, "shown", sure)
    silent = [s for s in options.solvers if s not in sure]
    unknown = [a for a in answers if a.answer == "unknown" and a.solver == silent[0]]
    what = f" whether {remarks[o.file, unknown[0].question.number]}" if o.expected == "unsat" and unknown else ""
    return Checked(o, "undecided", sure, f"{' and '.join(silent)} did not decide in {options.seconds:g} s{what}")


def _failure(o: Obligation, solver: str, remark: str) -> str:
    if o.expected == "unsat" and o.kind == "enabled":
        return f"{solver} finds a state in which {o.about} is possible, and the certificate says that there is none"
    if o.kind == "enabled":
        return f"{o.about} is possible in no state with the invariant ({solver}): what is proved of it says nothing"
    if o.kind == "start":
        return f"there is no start state ({solver}): what is proved says nothing"
    return f"{remark}, {solver} finds" if remark else f"{solver} finds a state that breaks it"


def _runs(spec: S.Spec, system: System, every: Sequence[str], rules: Collection[int | None]) -> set[int | None]:
    """Which of these rules some run of a small instance takes; None: whether one begins."""
    found: set[int | None] = set()
    try:
        instances = Instances(spec, system, tuple(every))
        for sizes in instances.sizes(LARGEST):
            if found >= set(rules):
                break
            interp = instances.interpreter(sizes)
            for s in Sampler(interp).sample(sizes, STATES).states:
                found.add(None)
                steps, faults = interp.expand(s)
                found |= {rule for rule, *_ in (*steps, *faults)}
                if found >= set(rules):
                    break
    except Limit:
        pass  # then it stays undecided
    return found
