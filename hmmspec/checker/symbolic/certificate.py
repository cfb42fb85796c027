"""A proof written down: a folder with the strengthened invariant and everything that has to be shown of it.

    certificate.json            of which System it is, what is proved, digests of the files
    invariant.hmm               the invariants that were found, as a patch of the spec: one can read and check it
    KIND-NAME.smt2              the obligations, see `obligations`

The same certificate comes out of the same System and invariants, byte for byte.  Whoever checks it (`recheck`) needs
the spec and invariant.hmm alone: all else is made anew and compared.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import z3

from hmmspec import __version__
from hmmspec.checker.symbolic.formulas import Formula
from hmmspec.checker.symbolic.header import (
    BUILT_IN,
    HEADER,
    INVARIANT,
    Header,
    claim_of,
    digest_of,
    digests,
    header_text,
    kind_of,
    plain_system,
    read_header,
    sizes_of,
    value_of,
)
from hmmspec.checker.symbolic.induction import Claim
from hmmspec.checker.symbolic.obligations import LOCK_CYCLE, Obligation, Obligations
from hmmspec.checker.symbolic.prover import Proved
from hmmspec.checker.symbolic.ranks import NoRank, rank
from hmmspec.checker.symbolic.smt import separate
from hmmspec.checker.symbolic.translate import Translation
from hmmspec.checker.verdict import Status
from hmmspec.diagnostics import Diagnostic, Limit, Source, Span, SpecError
from hmmspec.lang import syntax as S
from hmmspec.lang.formatter import format_text
from hmmspec.lang.parser import parse
from hmmspec.system.build import build
from hmmspec.system.spelling import spelled
from hmmspec.system.system import AssertProperty, Invariant, StepProperty, System
from hmmspec.system.types import show_value

SECONDS = 5.0  # for each question whether a step is ever possible

# ---------------------------------------------------------------- writing


def write_certificate(folder: Path, spec: S.Spec, proved: Proved) -> Path:
    """Write what was proved into a folder of its own below `folder`; the path of that.

    Raises SpecError (HMM087) where it cannot be written, Limit where the invariant has no words in hmm.
    """
    target = folder / "-".join((proved.system.name, proved.system.instance, *proved.goal.every))
    texts = certificate(spec, proved, Path(os.path.relpath(proved.system.path, target)))
    try:
        _replace(target, texts)
    except OSError as error:
        raise _cannot(target, error.strerror or str(error)) from None
    return target


def certificate(spec: S.Spec, proved: Proved, path: Path) -> dict[str, str]:
    """The files of a certificate: name and text.  path: of the spec, from where they will be.

    Raises Limit where the invariant has no words in hmm.
    """
    system = plain_system(spec, proved.system)
    wanted = [v.property for v in proved.verdicts if v.status is Status.HOLDS]
    claims = [c.name for c in proved.claims if _is_declared(c, proved.system)]
    found = [c for c in (*proved.claims, *proved.lemmas) if c.expr is not None and c.name not in claims]
    if not any(n in claims for n in wanted):
        raise Limit(f"there are no certificates for {', '.join(wanted)}")
    invariant = _invariant_text(spec, proved, claims, found, path)
    lemmas = read_lemmas(spec, system, invariant, INVARIANT)
    header = Header(
        hmmspec=__version__,
        spec=system.name,
        path=system.path,
        instance=system.instance,
        params={name: show_value(t, value) for name, value, t in system.params},
        every=proved.goal.every,
        sizes=sizes_of(spec, proved.goal.every),
        proved={n: kind_of(system, n) for n in wanted if n in claims},
        uses=[n for n in claims if n not in wanted],
        lemmas=[c.name for c in lemmas],
        order=(),
        left_out=(),
        never=(),
        system="",
        parts=digests(system, claims),
        files={},
    )
    header = replace(header, order=_order(system, header, lemmas))
    made = obligations(system, header, lemmas)
    files = {o.file: o for o in made.all()}
    made.never = {o.rule for o in files.values() if o.kind == "enabled" and o.rule is not None and _never(o)}
    files |= {o.file: o for o in map(made.enabled, sorted(made.never))}
    texts = {INVARIANT: invariant} | {o.file: o.text for o in files.values()}
    header = replace(
        header,
        left_out=made.encoding.left_out,
        never=[o.file for o in files.values() if o.kind == "enabled" and o.rule in made.never],
        system=digest_of(json.dumps(header.parts)),
        files={name: digest_of(text) for name, text in texts.items()},
    )
    return {HEADER: header_text(header), **texts}


def _invariant_text(spec: S.Spec, proved: Proved, claims: Sequence[str], found: Sequence[Claim], path: Path) -> str:
    """invariant.hmm: a patch that adds what was found to the spec."""
    system = proved.system
    taken = names_in(spec)
    lines = [
        f"// With these invariants every step of {system.name} keeps",
        f"//   {', '.join(claims)}",
        f"// for every number of {', '.join(proved.goal.every)}." if proved.goal.every else "//.",
        f'spec {_new(f"{system.name}_with_lemmas", taken)} patches "{path.as_posix()}" {{',
    ]
    for number, c in enumerate(found, 1):
        if c.expr is None or c.step:
            raise Limit(f"{c.name} is no invariant of states: it cannot be written down")
        lines.append(f"add invariant {_new(f'lemma_{number}', taken)}: {spelled(system, c.expr, taken)};")
    text = "\n".join([*lines, "}"]) + "\n"
    return format_text(Source(INVARIANT, text))


def _order(system: System, header: Header, lemmas: Sequence[Claim]) -> tuple[str, ...]:
    """The order of locks that shows that there is no cyclic wait.  Raises Limit where Z3 finds none."""
    if LOCK_CYCLE not in header.claims:
        return ()
    known = [claim_of(system, n) for n in header.claims if n != LOCK_CYCLE]
    made = Obligations(system, header.every, known, lemmas)
    translation = Translation(made.f)

    def satisfiable(formulas: Sequence[Formula]) -> bool | None:
        solver = z3.Solver()
        solver.set("timeout", round(1000 * SECONDS))
        solver.add(*(translation.term(f) for f in (made.encoding.axioms, *formulas)))
        answer = solver.check()
        return None if answer == z3.unknown else bool(answer == z3.sat)

    found = rank(made.encoding, [a.formula for a in made.states], satisfiable)
    if isinstance(found, NoRank):
        raise Limit(f"the locks have no order that the invariant shows: {found.reason}")
    return found.order


def _new(name: str, taken: frozenset[str]) -> str:
    while name in taken:
        name += "_"
    return name


def names_in(spec: S.Spec) -> frozenset[str]:
    """Names and literals that mean something everywhere in a spec: no bound name may be one of them."""
    out: set[str] = set()
    todo: list[object] = list(spec.declarations)
    while todo:
        node = todo.pop()
        if isinstance(node, tuple):
            todo += node
        if not isinstance(node, S.Node):
            continue
        if isinstance(node, S.EnumType):
            out |= {n.name for n in node.literals}
        elif isinstance(node, S.Machine):
            out |= {n.name for n in (node.name, *node.states)}
        elif not isinstance(node, S.VarDecl | S.Parameter | S.Binder | S.IndexDecl):
            name = getattr(node, "name", None)
            if isinstance(name, S.Ident):
                out.add(name.name)
        todo += [getattr(node, f.name) for f in fields(node) if f.name != "span"]
    return frozenset(out | {d.name.name for d in spec.declarations if isinstance(d, S.VarDecl)})


def _never(o: Obligation) -> bool:
    """Whether Z3 says that a step is never possible; where it does not know, that is for `recheck` to show."""
    for _, text in separate(o.text):
        solver = z3.Solver()
        solver.set("timeout", round(1000 * SECONDS))
        solver.from_string(text)
        if solver.check() != z3.unsat:
            return False
    return True


def _replace(target: Path, texts: Mapping[str, str]) -> None:
    """Write a folder whole or not at all.  Raises OSError."""
    if target.exists() and any(target.iterdir()):
        try:
            old = read_header((target / HEADER).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise OSError(0, "it is a folder with other things in it") from None
        mine = read_header(texts[HEADER])
        if Path(old.path).resolve() != Path(mine.path).resolve():
            raise OSError(0, f"a certificate of '{old.path}' is there already")
    target.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.", dir=target.parent))
    try:
        for name, text in texts.items():
            (new / name).write_text(text, encoding="utf-8", newline="")
        new.chmod(0o777 & ~_umask())
        if target.exists():
            gone = Path(tempfile.mkdtemp(prefix=f".{target.name[:100]}.", dir=target.parent))
            target.replace(gone / "old")
            new.replace(target)
            shutil.rmtree(gone)
        else:
            new.replace(target)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _cannot(path: Path, why: str) -> SpecError:
    span = Span(Source("<command line>", ""), 0, 0)
    return SpecError([Diagnostic("HMM087", f"cannot write '{path}': {why}", span)])


# ---------------------------------------------------------------- reading


def read_lemmas(spec: S.Spec, system: System, text: str, path: str) -> list[Claim]:
    """The invariants of invariant.hmm.  Raises SpecError (what does not parse or has no meaning in the spec)."""
    file = parse(Source(path, text))
    items = file.header.items if isinstance(file.header, S.Patches) else ()
    added = [i.declaration for i in items if isinstance(i, S.Add)]
    lemmas = [d for d in added if isinstance(d, S.Property) and d.kind == "invariant"]
    if len(lemmas) < len(items) or file.declarations or not isinstance(file.header, S.Patches):
        told = "it must be a patch of the spec that adds invariants, and nothing else"
        raise SpecError([Diagnostic("HMM102", told, Span(Source(path, text), 0, 0))])
    values = {name: value_of(show_value(t, value)) for name, value, t in system.params}
    strengthened = build(replace(spec, declarations=(*spec.declarations, *lemmas)), values, "default")
    known = {p.name: p for p in strengthened.properties}
    found = [known[d.name.name] for d in lemmas]
    return [Claim(p.name, p.body) for p in found if isinstance(p, Invariant)]


def obligations(system: System, header: Header, lemmas: Sequence[Claim]) -> Obligations:
    """What has to be shown.  Raises Limit, and ValueError where the header claims what no certificate shows."""
    claims = [claim_of(system, n) for n in header.claims]
    made = Obligations(system, header.every, claims, lemmas, header.order)
    made.never = made.rules(header.never)
    return made


def _is_declared(c: Claim, system: System) -> bool:
    """Whether a claim is a property of the spec or a built-in finding, not something that was found."""
    found = next((p for p in system.properties if p.name == c.name), None)
    if c.expr is None:
        return isinstance(found, AssertProperty) or c.name in BUILT_IN
    return isinstance(found, Invariant | StepProperty) and found.body == c.expr
