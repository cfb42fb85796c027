"""Whole runs on the native engine: C for fairness and for the conditions of `recoverable` and `leads_to`, and the calls
into graph.c and fair.c.

The meaning is that of `hmmspec.checker.explicit.temporal`; what is found is given back as numbers of states, and Python
makes runs of them (each is run again in the interpreter).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

from hmmspec.checker.explicit.edges import Units
from hmmspec.checker.explicit.findings import Finding, Findings
from hmmspec.checker.explicit.limits import LimitReached, Meter, show_bytes
from hmmspec.checker.explicit.liveness import Lasso
from hmmspec.checker.explicit.temporal import Broken, bindings, sides
from hmmspec.checker.native.exprs import Exprs, Scope
from hmmspec.diagnostics import InternalError, Limit
from hmmspec.system import expr as e
from hmmspec.system.analyse import Analysis
from hmmspec.system.faults import SpecFault
from hmmspec.system.run import Interpreter, State
from hmmspec.system.system import LeadsTo, Recoverable, System
from hmmspec.system.types import Int, cardinality, values

GRAPH = tuple(Path(__file__).with_name(name) for name in ("graph.c", "fair.c"))
MOST_ARGUMENTS = 1 << 20  # combinations of arguments of one rule that fairness tells apart
MOST_VALUES = 1 << 16  # of a binder over a range
NONE = 0xFFFFFFFF
_HOLDS, _VIOLATED, _NO_MEMORY, _STOPPED = range(4)

PathTo = Callable[[int], Sequence[int]]


@dataclass(frozen=True)
class WholeRuns:
    """What graph.c was compiled for: the C text (empty if nothing asks for it), the numbering of fairness units that
    its labels follow, and the properties by the numbers that the calls take."""

    text: str
    units: Units
    recoverables: tuple[Recoverable, ...]
    leads: tuple[LeadsTo, ...]


# ---------------------------------------------------------------- C for one system


def whole_runs(system: System, exprs: Exprs) -> WholeRuns:
    """C for the properties of whole runs.  Raises Limit where a `leads_to` ranges over numbers without known bounds."""
    units = Units(system)
    recoverables = tuple(p for p in system.properties if isinstance(p, Recoverable))
    leads = tuple(p for p in system.properties if isinstance(p, LeadsTo))
    if not recoverables and not leads:
        return no_runs(system)
    for p in leads:
        for b in p.binders:
            _bounded(exprs, b)
    lines = [*_labels(system, units), *_conditions(exprs, recoverables, leads)]
    text = "\n".join([*lines, *(path.read_text(encoding="utf-8") for path in GRAPH)])
    return WholeRuns(text, units, recoverables, leads)


def no_runs(system: System) -> WholeRuns:
    """Where nothing of whole runs is judged."""
    return WholeRuns("", Units(system), (), ())


def _labels(system: System, units: Units) -> list[str]:
    """Sets of units by label, and the label of each step."""
    cases: list[str] = []
    for r in system.rules:
        prefix = max((system.fairness[n].prefix for n in units.entries[r.number]), default=None)
        if prefix is None:
            continue
        told, rest = r.params[:prefix], r.params[prefix:]
        if prod(cardinality(p.type) for p in told) > MOST_ARGUMENTS:
            raise Limit(f"fairness tells too many arguments of {r.name} apart for the native engine")
        table = [units.set_of(r.number, args) for args in product(*(tuple(values(p.type)) for p in told))]
        divisor = prod(cardinality(p.type) for p in rest)
        numbers = ", ".join(str(n) for n in table)
        cases.append(
            f"  case {r.number}: {{ static const Label of[] = {{ {numbers} }}; return of[number / {divisor}]; }}"
        )
    count = len(units.keys)
    words = max(1, -(-count // 64))
    strong = frozenset(u for u in range(count) if units.strong(u))
    label = "uint8_t" if len(units.sets) <= 1 << 8 else "uint16_t" if len(units.sets) <= 1 << 16 else "uint32_t"
    return [
        "/* fairness: units, and the sets of them that steps belong to */",
        f"#define N_UNITS {count}",
        f"#define UNIT_WORDS {words}",
        f"typedef {label} Label;",
        "typedef struct { uint64_t w[UNIT_WORDS]; } Units;",
        f"static const Units label_units[] = {{ {', '.join(_bits(s, words) for s in units.sets)} }};",
        f"static const Units strong_units = {_bits(strong, words)};",
        "static inline Label label_of(int rule, V number) {",
        "  (void)number;",
        "  switch (rule) {",
        *cases,
        "  default: return 0;",
        "  }",
        "}",
    ]


def _bits(members: frozenset[int], words: int) -> str:
    number = sum(1 << u for u in members)
    return "{ { " + ", ".join(f"{number >> 64 * w & 2**64 - 1:#x}ull" for w in range(words)) + " } }"


def _conditions(exprs: Exprs, recoverables: Sequence[Recoverable], leads: Sequence[LeadsTo]) -> list[str]:
    goals = [exprs.expr(p.body, Scope()) for p in recoverables]
    left: list[str] = []
    right: list[str] = []
    for p in leads:
        scope = Scope()
        for i, b in enumerate(p.binders):
            scope = scope.bind(b.name, f"b[{i}]")
        here, there = sides(p, {b.name: e.Local(b.name, b.type) for b in p.binders})
        left.append(exprs.expr(here, scope))
        right.append(exprs.expr(there, scope))
    return [
        *_switch("graph_goal(Ctx *c, const St *s, int p)", goals),
        *_switch("graph_left(Ctx *c, const St *s, int p, const V *b)", left),
        *_switch("graph_right(Ctx *c, const St *s, int p, const V *b)", right),
    ]


def _switch(head: str, cases: Sequence[str]) -> list[str]:
    unused = "".join(f" (void){x};" for x in ("c", "s", *(["b"] if head.endswith("*b)") else [])))
    body = [f"  case {i}: return {text};" for i, text in enumerate(cases)]
    return [f"static V {head} {{", f" {unused}", "  switch (p) {", *body, "  default: return 0;", "  }", "}"]


def _bounded(exprs: Exprs, b: e.Binder) -> None:
    if not isinstance(b.type, Int):
        return
    assert isinstance(b.domain, e.OverRange)
    ends = (b.domain.low, b.domain.high)
    if (
        any(isinstance(x, (e.Var, e.Apply)) for side in ends for x in e.walk(side))
        and _span(exprs.analysis, *ends) is None
    ):
        raise Limit(f"the values of {b.name} are not bounded for the native engine")


def _span(analysis: Analysis, low: e.Expr, high: e.Expr) -> range | None:
    """All numbers that can be between the two in some state."""
    first, last = analysis.bounds(low), analysis.bounds(high)
    if first is None or last is None or last[1] - first[0] >= MOST_VALUES:
        return None
    return range(first[0], last[1] + 1)


# ---------------------------------------------------------------- calls


class GraphCalls:
    """The graph of what an engine found, asked about whole runs.

    lib, engine: the loaded library and its engine; runs: what it was compiled for; states, path: a stored state by its
    number, and the numbers of the states on a shortest run to it; memory: bytes for edges and for work on them;
    limit: the whole of the memory, for messages.
    Raises LimitReached from every call where time or memory do not suffice; KeyboardInterrupt passes through.
    """

    def __init__(
        self,
        lib: ctypes.CDLL,
        engine: int | None,
        runs: WholeRuns,
        interp: Interpreter,
        states: Sequence[State],
        path: PathTo,
        meter: Meter,
        memory: int,
        limit: int | None = None,
    ) -> None:
        self.lib, self.runs, self.interp, self.meter = lib, runs, interp, meter
        self.states, self.path, self.limit = states, path, limit
        self.analysis = Analysis(interp.system)
        numbers = ctypes.POINTER(ctypes.c_uint32)
        lib.graph_new.restype = ctypes.c_void_p
        lib.graph_new.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
        for name in ("graph_done", "graph_bytes"):
            getattr(lib, name).restype = ctypes.c_uint64
        lib.graph_erred.restype = ctypes.c_uint32
        for name in ("graph_found", "graph_tail", "graph_loop"):
            getattr(lib, name).restype = numbers
        made = lib.graph_new(engine, max(0, memory))
        if not made:
            raise self._no_memory()
        self.graph = ctypes.c_void_p(made)
        self.stored = False

    def close(self) -> None:
        """Give the memory back; no call after it."""
        self.lib.graph_free(self.graph)
        self.graph = ctypes.c_void_p(None)

    @property
    def bytes(self) -> int:
        """What is allocated now."""
        return int(self.lib.graph_bytes(self.graph))

    def _no_memory(self) -> LimitReached:
        told = f"memory limit of {show_bytes(self.limit)}" if self.limit is not None else "memory"
        return LimitReached(f"{told}, too little to judge whole runs")

    def _call(self, phase: str, name: str, *args: object) -> int:
        """Call in a thread of its own, so that time, progress and the user's interrupt are looked at meanwhile."""
        result: list[int] = []
        function = getattr(self.lib, name)
        thread = threading.Thread(target=lambda: result.append(function(self.graph, *args)), daemon=True)
        thread.start()
        try:
            thread.join(0.002)
            while thread.is_alive():
                thread.join(0.1)
                self.meter.tick(phase, int(self.lib.graph_done(self.graph)))
        except BaseException:
            while thread.is_alive():
                self.lib.graph_stop(self.graph)
                thread.join(0.01)
            raise
        if not result:
            raise InternalError(f"{name} did not return")
        return result[0]

    def store_edges(self) -> bool:
        """Keep the edges if they fit; else they are made again whenever they are asked for."""
        self.stored = self._call("edges", "graph_edges") == 1
        return self.stored

    # ------------------------------------------------------------ recoverable

    def recoverable(self, p: Recoverable, findings: Findings, wanted: int) -> list[int]:
        """Up to `wanted` states, those nearest to a start, from which no path leads to a state where the body holds."""
        status = self._call("recoverable", "graph_recoverable", self.runs.recoverables.index(p), ctypes.c_int(wanted))
        self._judge(status)
        self._erred((p.body,), p.name, f"in recoverable '{p.name}'", findings)
        return self._numbers("graph_found")

    def _judge(self, status: int) -> None:
        if status == _NO_MEMORY:
            raise self._no_memory()
        if status == _STOPPED:
            raise InternalError("a fair component has no fair loop")

    def _numbers(self, name: str) -> list[int]:
        n = ctypes.c_uint32()
        at = getattr(self.lib, name)(self.graph, ctypes.byref(n))
        return [at[i] for i in range(n.value)]

    def _erred(self, sides_: Iterable[e.Expr], name: str, message: str, findings: Findings) -> None:
        """Where some state could not be judged: the nearest one, and its fault."""
        number = self.lib.graph_erred(self.graph)
        if number == NONE:
            return
        findings.unjudged.add(name)
        for x in sides_:
            try:
                self.interp.predicate(x)(self.states[number])
            except SpecFault as fault:
                findings.add("spec_error", Finding(number, error=fault.fault, message=message))
                return
        raise InternalError(f"the engines do not agree on an error {message}")

    # ------------------------------------------------------------ leads_to

    def leads_to(self, p: LeadsTo, findings: Findings, wanted: int) -> list[Broken]:
        """Up to `wanted` values of the binders for which the property fails."""
        broken: list[Broken] = []
        for binding in self._bindings(p):
            left, right = sides(p, binding)
            given = (ctypes.c_int64 * max(1, len(binding)))(*(_number(binding[b.name].value) for b in p.binders))
            status = self._call("leads_to", "graph_leads_to", self.runs.leads.index(p), given)
            self._judge(status)
            self._erred((left, right), p.name, f"in leads_to '{p.name}'", findings)
            if status == _VIOLATED:
                broken.append(Broken(tuple(binding.items()), left, right, self._lasso()))
                if len(broken) >= wanted:
                    break
        return broken

    def _bindings(self, p: LeadsTo) -> Iterator[dict[str, e.Const]]:
        return bindings(self.interp, p, [self.states[0]], between=self._between)

    def _between(self, low: e.Expr, high: e.Expr) -> Iterable[int]:
        found = _span(self.analysis, low, high)
        if found is None:
            raise InternalError("a binder without bounds")
        return found

    def _lasso(self) -> Lasso:
        tail = self._numbers("graph_tail")
        n, labels = ctypes.c_uint32(), ctypes.POINTER(ctypes.c_uint32)()
        targets = self.lib.graph_loop(self.graph, ctypes.byref(n), ctypes.byref(labels))
        loop = tuple((int(labels[i]), int(targets[i])) for i in range(n.value))
        stem = tuple(self.path(tail[0]))
        return Lasso((*stem, *tail[1:]), len(stem) - 1, loop)


def _number(value: object) -> int:
    assert isinstance(value, int)
    return int(value)
