"""Where searches of an instance begin, if there are more start states than can be looked at."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from hmmspec.checker.explicit.chance import Chance, Starts, some_starts
from hmmspec.checker.symbolic.encoding import Encoding
from hmmspec.checker.symbolic.sat import Circuit, Sat, Undecided
from hmmspec.diagnostics import Limit
from hmmspec.system.run import Interpreter, State

TRIES = 4  # candidates, for each start state that is wanted
FEW = 40  # that Z3 finds
THIN = 16  # states that are wanted, for each of the start states, where these are too many


def starts_of(interp: Interpreter) -> Starts:
    """All start states, or many of them.  Where an assume excludes nearly everything, Z3 finds some."""
    found = some_starts(interp, Chance(0), tries=TRIES)
    if found.whole or found.states or found.fault is not None:
        return found
    try:
        return Starts(list(starts_by_formulas(interp, FEW)), False)
    except (Limit, Undecided):
        return found


def thinned(starts: Starts, most: int) -> Starts:
    """About so many of them, if there are more."""
    every = -(-len(starts.states) // max(1, most))
    return Starts(starts.states[::every], False) if every > 1 else starts


def starts_by_formulas(interp: Interpreter, most: int) -> Iterator[State]:
    """Start states as Z3 finds them, each near to one drawn at random.  Raises Limit, Undecided."""
    encoding = Encoding(interp)
    sat = Sat(easy=True)
    circuit = Circuit(sat, encoding.f)
    if sat.solve([circuit.literal(encoding.start_error())]):
        return  # an assume errs at the start: no run counts
    sat.clause([circuit.literal(encoding.start())])
    atoms = [circuit.literal(encoding.f.atom(a)) for a in encoding.atoms]
    random, known = Random(0), set[State]()
    for _ in range(most):
        wanted = {x ^ random.randrange(2) for x in atoms}
        while not sat.solve(sorted(wanted)):
            core = sat.core()
            if not core:
                return
            wanted -= core
        keys: list[object] = list(encoding.atoms)
        state = interp.build(encoding.plain(dict(zip(keys, sat.values(atoms), strict=True))))
        if state not in known:
            known.add(state)
            yield state
