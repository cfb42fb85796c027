"""The exact words of verdicts.  Every reporter takes them from here, so that none claims more than another."""

from __future__ import annotations

import re

from hmmspec.checker.verdict import InstanceReport, Level, Status, Verdict
from hmmspec.report.phrases import plural, steps_of
from hmmspec.report.proof_words import found_in, proof_sentence, subject, unproved

# These name what went wrong: "deadlock holds" would say the opposite of what was shown.
FINDINGS = (
    "spec_error",
    "deadlock",
    "double_acquire",
    "foreign_release",
    "held_at_stop",
    "lock_cycle",
    "lock_order",
)


def searched(report: InstanceReport) -> str:
    """What the search counted: `133 states`, `2705 orbits`, `310 representatives`, `9 random runs of up to 5 steps`."""
    if report.simulation is not None:
        runs = plural(report.simulation.runs, "random run")
        return f"{runs} of up to {plural(report.simulation.depth, 'step')}"
    if report.bounded is not None:
        return f"all runs of up to {plural(report.bounded, 'step')}"
    if report.states is not None:
        return plural(report.states, "state")
    return plural(report.orbits or 0, unit(report))


def reachable_states(report: InstanceReport) -> str:
    """`all 133 reachable states of instance tiny`, as exact as the counts allow."""
    count = f"{report.states} " if report.states is not None else ""
    return f"all {count}reachable states of instance {report.instance}"


def hashes(report: InstanceReport) -> str:
    """How sure a search is that kept hashes: the chance of a missed state and its formula; '' if it kept states."""
    h = report.hashed
    if h is None:
        return ""
    formula = f"{plural(h.compared, 'comparison')} / 2^{h.bits}"
    return f"{h.bits} bits kept of each state: chance of a missed state <= {formula} = {h.missed:.2g}"


def counts(report: InstanceReport) -> str:
    """States, orbits, transitions and depth on one line."""
    if report.simulation is not None:
        taken = plural(report.simulation.steps, "step")
        return f"{searched(report)}, {taken} taken, {report.transitions} judged, longest run {report.depth}"
    if report.bounded is not None:
        return searched(report)
    reduced = report.reduction and report.orbits is not None
    if reduced and report.states is not None:
        first = f"{plural(report.states, 'state')} in {plural(report.orbits or 0, unit(report))}"
    elif reduced:
        first = f"{plural(report.orbits or 0, unit(report))} (states not counted)"
    else:
        first = searched(report)
    of_these = f" out of the {unit(report)}s" if reduced else ""
    return f"{first}, {plural(report.transitions, 'transition')}{of_these}, depth {report.depth}"


def sentence(report: InstanceReport, verdict: Verdict) -> str:
    """What was shown of one property, in the words of the contract and without its name."""
    if report.every is not None or (verdict.status is Status.HOLDS and verdict.proof is not None):
        return proof_sentence(report, verdict)
    match verdict.status:
        case Status.VIOLATED:
            return _violated(report, verdict)
        case Status.WARNING:
            return "warning, not judged as a violation"
        case Status.UNKNOWN:
            return _incomplete(report, verdict)
        case Status.HOLDS:
            return _holds(report, verdict)


def remarks(verdict: Verdict) -> str:
    """What must be known besides the sentence: a witness' length, a missed expectation, the checker's own remark."""
    parts = []
    if verdict.kind == "reachable" and verdict.status is Status.HOLDS and verdict.witness is not None:
        parts.append(f"reached in {plural(verdict.witness.length, 'step')}")
    if verdict.others:
        parts.append(f"{plural(len(verdict.others), 'further trace')}")
    if not verdict.expected and verdict.status is Status.HOLDS:
        parts.append("but the file expects a violation")
    if verdict.remark and not (verdict.kind == "reachable" and verdict.status is Status.VIOLATED):
        parts.append(verdict.remark)
    return "; ".join(parts)


def is_quiet_finding(verdict: Verdict) -> bool:
    """Whether this is a built-in finding that was looked for and not found."""
    return verdict.property in FINDINGS and verdict.kind == "built-in" and verdict.status is not Status.VIOLATED


def limit_text(report: InstanceReport) -> str:
    """Why the search ended early: `limit --time 90s reached` (as one would set it), `interrupted`."""
    if report.interrupted:
        return "interrupted"
    if found := re.fullmatch(r"(?:(time|memory|state) )?limit of (\S+)(?: states)?", report.limit):
        option = found[1] if found[1] in {"time", "memory"} else "states"
        return f"limit --{option} {found[2]} reached"
    if report.simulation is not None and not report.limit:
        return plural(report.simulation.runs, "random run")
    if report.bounded is not None and not report.limit:
        return f"not all is shown by runs of up to {plural(report.bounded, 'step')}"
    if report.hashed is not None and not report.limit:
        return "not all is judged on hashed states"
    if report.every is not None and not report.limit:
        return unproved(report)
    return report.limit or "search not complete"


def place(report: InstanceReport, verdict: Verdict) -> str:
    """Where a verdict is about, after its name: `in instance tiny`, `for every number of Page`."""
    if report.every and verdict.status is not Status.VIOLATED:
        return f"for {subject(report)}"
    if report.every and verdict.proof is not None and verdict.proof.sizes:
        return found_in(verdict.proof).strip()
    return f"in instance {report.instance}"


def unit(report: InstanceReport) -> str:
    """What a reduced search stores: an orbit once, or several representatives of it."""
    return "representative" if report.reduction == "representatives" else "orbit"


def _violated(report: InstanceReport, verdict: Verdict) -> str:
    head = "violated as expected" if verdict.expected else "violated"
    if verdict.trace is not None:
        return f"{head}, {steps_of(verdict.trace, verdict.level)}"
    if verdict.kind == "reachable":
        if verdict.level is Level.HASHED:
            return f"{head}, reached in none of {searched(report)}, {_hashed(report)}"
        how = "inductive" if verdict.level is Level.INDUCTIVE else "exhaustive"
        return f"{head}, reached in none of {reachable_states(report)} ({how})"
    return head


def _hashed(report: InstanceReport) -> str:
    missed = report.hashed.missed if report.hashed is not None else 1.0
    return f"hashed states, chance of a missed state <= {missed:.2g}"


def _incomplete(report: InstanceReport, verdict: Verdict) -> str:
    if report.hashed is not None and not report.limit and not report.interrupted:
        return "not judged, since states are hashed (incomplete)"
    found = "not reached" if verdict.kind == "reachable" else "no violation found"
    if report.simulation is not None:
        if verdict.kind in {"recoverable", "leads_to"}:
            return "not judged by random runs (incomplete)"
        ended = f", {limit_text(report)}" if report.limit or report.interrupted else ""
        return f"{found} in {searched(report)}, {plural(report.simulation.steps, 'step')} taken{ended} (incomplete)"
    if report.bounded is not None and not report.limit and not report.interrupted:
        looked = verdict.kind == "reachable" or verdict.level is Level.BOUNDED
        engine = "engine z3" if any(v.level is Level.INDUCTIVE for v in report.verdicts) else "bounded search"
        return f"{found} in {searched(report)} (incomplete)" if looked else f"not judged by {engine} (incomplete)"
    return f"{found} in {searched(report)}, {limit_text(report)} (incomplete)"


def _holds(report: InstanceReport, verdict: Verdict) -> str:
    match verdict.level:
        case Level.INDUCTIVE:
            return proof_sentence(report, verdict)
        case Level.BOUNDED:
            return f"no violation within {plural(report.depth, 'step')} (bounded)"
        case Level.HASHED:
            return f"no violation in {searched(report)}, {_hashed(report)}"
        case Level.INCOMPLETE if verdict.kind != "reachable":
            return _incomplete(report, verdict)
        case _ if verdict.kind == "reachable":
            return f"reached in instance {report.instance} (a witness was found)"
        case _:
            how = f", {plural(report.orbits or 0, unit(report))}" if report.reduction else ""
            return f"holds in {reachable_states(report)} (exhaustive{how})"
