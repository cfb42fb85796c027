"""The exact words of verdicts on proofs: for how many of what, by which means, and what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hmmspec.checker.verdict import InstanceReport, Proof, Status, Verdict
from hmmspec.report.phrases import plural, steps_of


def subject(report: InstanceReport) -> str:
    """What a report is about: `instance tiny`, `every number of Page, Frame`."""
    if report.every:
        return f"every number of {', '.join(report.every)}"
    return f"instance {report.instance}"


def in_short(report: InstanceReport) -> str:
    """The same where there is little room, as prove lines have it: `every Page, Frame`."""
    return f"every {', '.join(report.every)}" if report.every else subject(report)


def settings(pairs: Sequence[tuple[str, str]]) -> str:
    """`PINS = 1, FRAMES = 2`."""
    return ", ".join(f"{name} = {value}" for name, value in pairs)


def proof_sentence(report: InstanceReport, verdict: Verdict) -> str:
    """What was shown of one property by an attempt to prove it."""
    proof = verdict.proof or Proof(report.every or (), report.params)
    match verdict.status:
        case Status.HOLDS:
            return f"holds {scope(report, proof)} ({', '.join(_how(proof))})"
        case Status.VIOLATED:
            head = "violated as expected" if verdict.expected else "violated"
            run = f", {steps_of(verdict.trace, verdict.level)}" if verdict.trace is not None else ""
            return f"{head}{found_in(proof)}{run}"
        case _:
            return f"not proved {scope(report, proof)} (incomplete)"


def scope(report: InstanceReport, proof: Proof) -> str:
    """`for every number of Page with PINS = 1`, `in all reachable states of instance tiny`."""
    if not proof.every:
        return f"in all reachable states of instance {report.instance}"
    fixed = f" with {settings(proof.fixed)}" if proof.fixed else ""
    return f"for every number of {', '.join(proof.every)}{fixed}"


def found_in(proof: Proof) -> str:
    """Where a trace is: ` in an instance with PAGES = 2`; nothing where it is the instance at hand."""
    return f" in an instance with {settings(proof.sizes)}" if proof.sizes else ""


def unproved(*reports: InstanceReport) -> str:
    """How much is missing: `2 of 5 properties not proved`."""
    tried = {v.property for r in reports for v in r.verdicts}
    missing = {v.property for r in reports for v in r.verdicts if v.status is Status.UNKNOWN}
    return f"{len(missing)} of {plural(len(tried), 'property', 'properties')} not proved"


def lemmas(report: InstanceReport) -> list[str]:
    """The invariants that were found, of all proofs of the report, each once."""
    return _each(report, lambda p: p.lemmas)


def left_out(report: InstanceReport) -> list[str]:
    """The conjuncts of guards that were left out."""
    return _each(report, lambda p: p.left_out)


def helpers(report: InstanceReport) -> list[str]:
    """Properties of the spec that the proofs need, besides those of the report itself."""
    own = {v.property for v in report.verdicts}
    return [name for name in _each(report, lambda p: p.uses) if name not in own]


def _each(report: InstanceReport, of: Callable[[Proof], tuple[str, ...]]) -> list[str]:
    found = [text for v in report.verdicts if v.proof is not None and v.status is Status.HOLDS for text in of(v.proof)]
    return list(dict.fromkeys(found))


def _how(proof: Proof) -> list[str]:
    """`inductive`, `strengthened by 3 found invariants`."""
    match proof.method:
        case "induction":
            out = ["inductive"]
        case "k-induction":
            out = ["inductive" if proof.depth <= 1 else f"inductive over {plural(proof.depth, 'step')}"]
        case "pdr":
            out = ["inductive, found by PDR"]
        case other:
            out = [f"inductive, by {other}"]
    if proof.lemmas:
        out.append(f"strengthened by {plural(len(proof.lemmas), 'found invariant')}")
    return out
