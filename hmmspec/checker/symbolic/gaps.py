"""What stands in the way of a proof: the smallest step that breaks a claim, where nothing known excludes it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from hmmspec.checker.symbolic.candidates import Cube
from hmmspec.checker.symbolic.grounded import Grounded, Known
from hmmspec.checker.symbolic.samples import Instances, Sizes
from hmmspec.checker.symbolic.strengthen import Strengthener
from hmmspec.checker.trace import blame_for, trace_of
from hmmspec.checker.verdict import Blame, Trace
from hmmspec.diagnostics import Limit
from hmmspec.system.expr import Expr
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State
from hmmspec.system.spelling import in_words

LARGEST = 3
NAMED = 5  # conjuncts that would exclude the state


@dataclass(frozen=True)
class Obstacle:
    """trace: a state and the step out of it; blocked_by: what would exclude the state, in hmm syntax."""

    trace: Trace
    sizes: Sizes
    blocked_by: tuple[str, ...]


def smallest(
    instances: Instances,
    search: Strengthener,
    claim: Known,
    grounded: Callable[[Sizes], Grounded],
    unsure: Collection[Known] = (),
) -> Obstacle | None:
    """The obstacle with the fewest identities; None: none in small instances, or no time to find it.

    unsure: what some step may break.  Where nothing is in the way with all of it, it is not relied on.
    """
    claims = [*search.active(), *([claim] if claim not in search.claims else [])]
    sure = [c for c in claims if c == claim or not any(x in unsure for x in search.needed([c]))]
    try:
        for known in (claims, sure) if len(sure) < len(claims) else (claims,):
            for sizes in instances.sizes(LARGEST):
                g = grounded(sizes)
                if g.needed(known, claim) is None:
                    return _obstacle(instances, search, claim, g)
    except (TimeoutError, Limit):
        pass
    return None


def _obstacle(instances: Instances, search: Strengthener, claim: Known, g: Grounded) -> Obstacle | None:
    hole = g.lifted(g.hole(claim))
    rule = hole.rule
    interp = g.interp
    steps, failures = interp.expand(hole.state)
    e = claim.expr(interp.system)
    trace: Trace | None = None
    if e is None:
        for number, args, _ in failures:
            if number == rule:
                trace = trace_of(interp, hole.state, [], final=(number, args))
                break
    else:
        for step in steps:
            if step[0] != rule:
                continue
            after = step[2]
            of = (hole.state, after) if claim.is_step(interp.system) else (after, None)
            fine, blame = _judged(interp, e, *of)
            if not fine:
                trace = trace_of(interp, hole.state, [step], blame=blame)
                break
    if trace is None:
        return None
    cube = Cube(hole.state, [g.slots[i] for i in hole.cells], search.samples)
    named = (
        []
        if cube.reached
        else [in_words(instances.system, c.lemma.expr(instances.system)) for c in cube.candidates()[:NAMED]]
    )
    return Obstacle(trace, g.sizes, tuple(named))


def _judged(interp: Interpreter, e: Expr, state: State, after: State | None) -> tuple[bool, Blame | None]:
    """Whether it holds, and why not.  What cannot be judged does not hold."""
    try:
        holds = interp.truth(e, step=after is not None)
        fine = holds(state, after) if after is not None else holds(state)
        return bool(fine), None if fine else blame_for(interp, e, state, after)
    except SpecFault:
        return False, None
