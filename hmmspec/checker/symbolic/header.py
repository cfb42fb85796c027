"""What a certificate says it is of: certificate.json, and the System that is meant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

from hmmspec.checker.symbolic.induction import Claim
from hmmspec.diagnostics import Source
from hmmspec.lang import syntax as S
from hmmspec.lang.parser import parse_expression
from hmmspec.system.build import build
from hmmspec.system.identity import parts
from hmmspec.system.system import AssertProperty, Invariant, StepProperty, System
from hmmspec.system.types import show_value

FORMAT, VERSION = "hmmspec certificate", 1
HEADER, INVARIANT = "certificate.json", "invariant.hmm"

# Parts of a System that no proof speaks of.
_SILENT = ("reachable ", "recoverable ", "leads_to ", "what is terminal", "fairness", "the refinement")
# Findings that can be proved never to be.
BUILT_IN = ("spec_error", "double_acquire", "foreign_release", "held_at_stop", "lock_cycle")
# .. but for what is an error, while they are judged.
_EVALUATED = ("invariant ", "step property ", "reachable ", "recoverable ", "leads_to ", "what is terminal")
_JUDGED = ("invariant ", "step property ", "assert ")


@dataclass(frozen=True)
class Header:
    """certificate.json.

    hmmspec: the version that wrote it; spec, path, instance: what was proved, where, in which instance the params are
    set so; params: all of them, as shown; every: types without bounds; sizes: the params that are their sizes, whose
    values say nothing; proved: properties and built-in findings, each
    with its kind; uses: other properties that the proof rests on; lemmas: names of the invariants in invariant.hmm;
    order: the locks in an order that every thread keeps, where lock_cycle was proved;
    left_out: conjuncts of guards that were left out since they count; never: steps that are possible in no state with
    the invariant, by file; parts: digests of the System's parts; system: a digest of these; files: digests of the
    files.
    """

    hmmspec: str
    spec: str
    path: str
    instance: str
    params: Mapping[str, str]
    every: Sequence[str]
    sizes: Sequence[str]
    proved: Mapping[str, str]
    uses: Sequence[str]
    lemmas: Sequence[str]
    order: Sequence[str]
    left_out: Sequence[str]
    never: Sequence[str]
    system: str
    parts: Mapping[str, str]
    files: Mapping[str, str]

    @property
    def claims(self) -> tuple[str, ...]:
        """All properties that the proof speaks of."""
        return (*self.proved, *self.uses)


def header_text(header: Header) -> str:
    """certificate.json."""
    return json.dumps({"format": FORMAT, "version": VERSION, **asdict(header)}, indent=2) + "\n"


def read_header(text: str) -> Header:
    """certificate.json.  Raises ValueError, which says what is wrong."""
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{HEADER} is not JSON: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"{HEADER} is not the header of a certificate")
    if data.get("version") != VERSION:
        raise ValueError(f"it has version {data.get('version')!r} of the format, and this hmmspec knows {VERSION}")
    wrong = [f.name for f in fields(Header) if not _fits(data.get(f.name), f.type)]
    if wrong:
        raise ValueError(f"{HEADER} has no usable '{wrong[0]}'")
    return Header(**{f.name: data[f.name] for f in fields(Header)})


def _fits(value: object, t: object) -> bool:
    match t:
        case "str":
            return isinstance(value, str)
        case "Sequence[str]":
            return isinstance(value, list) and all(isinstance(x, str) for x in value)
        case _:
            return isinstance(value, dict) and all(isinstance(x, str) for x in value.values())


def system_of(spec: S.Spec, header: Header) -> System:
    """The System that a certificate speaks of, as the spec says now.  Raises SpecError."""
    values = {name: value_of(text) for name, text in header.params.items()}
    return build(spec, values, "default")


def plain_system(spec: S.Spec, system: System) -> System:
    """A System made as `system_of` makes it; it keeps the name of its instance."""
    values = {name: value_of(show_value(t, value)) for name, value, t in system.params}
    return replace(build(spec, values, "default"), instance=system.instance)


def value_of(text: str) -> S.Expr:
    return parse_expression(Source("certificate.json", text))


def sizes_of(spec: S.Spec, every: Collection[str]) -> list[str]:
    """The params that are the sizes of these types."""
    out = []
    for d in spec.declarations:
        match d:
            case S.TypeDecl(S.Ident(name), S.SymmetricType(S.Name(param))) if name in every:
                out.append(param)
            case _:
                pass
    return out


def claim_of(system: System, name: str) -> Claim:
    """The property of this name as something to show.  Raises ValueError where no certificate shows it."""
    match next((p for p in system.properties if p.name == name), None):
        case Invariant(body=body):
            return Claim(name, body)
        case StepProperty(body=body):
            return Claim(name, body, step=True)
        case AssertProperty():
            return Claim(name, None)
        case None if name in BUILT_IN:
            return Claim(name, None)
        case _:
            raise ValueError(f"{name} is nothing that a certificate shows")


def kind_of(system: System, name: str) -> str:
    kinds = {Invariant: "invariant", StepProperty: "step", AssertProperty: "assert"}
    found = next((p for p in system.properties if p.name == name), None)
    return kinds.get(type(found), "built-in")


def digests(system: System, claims: Sequence[str]) -> dict[str, str]:
    """Of the parts of a System that a proof of these properties speaks of."""
    out = {}
    for name, digest in parts(system).items():
        judged = "spec_error" in claims and name.startswith(_EVALUATED)
        if not judged and (name.startswith(_SILENT) or (name.startswith(_JUDGED) and name.split("'")[1] not in claims)):
            continue
        out[name] = digest
    return out


def digest_of(text: str) -> str:
    """As in `Header.files`."""
    return hashlib.sha256(text.encode()).hexdigest()
