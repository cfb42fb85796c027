"""Systems from text, and what is settled of them."""

from __future__ import annotations

from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.encoding import Encoding, Shown
from hmmspec.checker.symbolic.settle import prove_instance
from hmmspec.checker.verdict import InstanceReport, Status, Verdict
from hmmspec.diagnostics import Source
from hmmspec.lang.load import load_source
from hmmspec.system.build import build_all
from hmmspec.system.run import Interpreter
from hmmspec.system.system import System

OPTIONS = CheckOptions(engine="z3", expectations=False)


def system_of(text: str) -> System:
    """The only instance of a spec given as text (its header is added)."""
    return build_all(load_source(Source("test.hmm", f"spec test\n{text}")))[0]


def encoding_of(text: str) -> Encoding:
    return Encoding(Interpreter(system_of(text)))


def shown(encoding: Encoding, name: str) -> Shown:
    return next(s for s in encoding.shown() if s.name == name)


def settled(text: str) -> tuple[InstanceReport, dict[str, Verdict]]:
    """The report, and its verdicts by name."""
    report = prove_instance(system_of(text), OPTIONS)
    return report, {v.property: v for v in report.verdicts}


def how(v: Verdict) -> str:
    """`holds by k-induction (2)`, `violated in 3`, `unknown`."""
    if v.proof is not None:
        return f"{v.status.value} by {v.proof.method} ({v.proof.depth})"
    run = v.witness if v.kind == "reachable" else v.trace
    if run is not None and v.status is not Status.UNKNOWN:
        return f"{v.status.value} in {run.length}"
    return v.status.value
