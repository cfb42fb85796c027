"""What is judged when the native search is over: lock order, `recoverable`, `leads_to`."""

from __future__ import annotations

import ctypes

from hmmspec.checker.explicit.engine import Explored
from hmmspec.checker.explicit.findings import Finding
from hmmspec.checker.explicit.locks import LockOrder
from hmmspec.checker.native.bindings import NONE
from hmmspec.checker.native.graph import GraphCalls
from hmmspec.checker.native.search import Search


def judge_locks(search: Search, explored: Explored) -> None:
    """The pairs of locks that the engine saw taken one while the other was held, in the words of the Python engine."""
    order = LockOrder(search.interp, search.findings)
    explored.lock_order = order
    n = search.compiled.elements
    if not n:
        return
    call = search.engine.dll.engine_lock_order
    call.restype, call.argtypes = ctypes.c_uint32, (ctypes.c_void_p, ctypes.c_int, ctypes.c_int)
    seen = {call(search.engine.pointer, held, acquired) for held in range(n) for acquired in range(n)} - {NONE}
    stored = search.states()
    # In an order that does not depend on which thread found which state first.
    for number in sorted(seen, key=lambda v: (search.level(v), stored.words(v)[::-1])):
        s = explored.states[number]
        steps, faults = search.interp.expand(s)
        order.see(number, s, steps, faults)
    search.trace({f.number for f in order.both_orders()})


def judge_whole_runs(search: Search, explored: Explored) -> None:
    """`recoverable`, where the search is complete, and `leads_to`, whatever was searched."""
    runs, graph = search.compiled.runs, explored.graph
    if graph.start_erred or graph.interrupted or not graph.stored or (not graph.complete and not runs.leads):
        return
    explored.units = runs.units

    def path(number: int) -> list[int]:
        search.trace({number})
        return graph.path(number)

    calls = GraphCalls(
        search.engine.dll,
        search.engine.pointer,
        runs,
        search.interp,
        explored.states,
        path,
        search.meter,
        search.memory - search.engine.counted().bytes,
        search.options.memory,
    )
    wanted = search.options.max_traces
    try:
        calls.store_edges()
        for r in runs.recoverables if graph.complete else ():
            lost = calls.recoverable(r, explored.findings, wanted)
            search.trace(set(lost))
            for number in lost:
                explored.findings.add(r.name, Finding(number))
            explored.pending.discard(r.name)
        for p in runs.leads:
            explored.broken[p.name] = calls.leads_to(p, explored.findings, wanted)
            if graph.complete:
                explored.pending.discard(p.name)
    finally:
        calls.close()
        search.trace({f.number for f in explored.findings.of("spec_error") if f.number >= 0})
