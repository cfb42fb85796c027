"""Random specs for the symbolic engines: what tests/native/specgen.py makes, but small, shallow, and of a wanted kind.

Of four seeds two give specs in which nothing is violated, one gives a spec whose first violation or spec error is one to
three steps away, and one gives a spec where it is four steps away or more; every state is at most DIAMETER steps away.
Each has a symmetric type or two, whose sizes are params, so that properties can be claimed for any of them.

Depth does not come by chance: the last kind has a stair, steps that must be taken one after the other and whose guards
and bodies are drawn as everything else is; on top of it something is violated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from itertools import count
from random import Random

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport, Status
from hmmspec.diagnostics import Source, SpecError
from hmmspec.lang import syntax as S
from hmmspec.lang.load import load_source
from hmmspec.system.build import build
from hmmspec.system.system import System
from tests.native.genshapes import SHAPES
from tests.native.gentypes import BOOL, NoWay, Ty
from tests.native.specgen import Maker

DIAMETER = 10
MOST_STATES = 400
LEAST_STATES = 8
KINDS = ("clean", "shallow", "clean", "deep")
FINDINGS = ("double_acquire", "foreign_release", "held_at_stop", "deadlock")
FULL = CheckOptions(symmetry=False, expectations=False, states=MOST_STATES)
# What bounded search does not look for.
NOT_BOUNDED = ("lock_cycle", "lock_order", "refines")


def kind_of(seed: int) -> str:
    """One of KINDS."""
    return KINDS[seed % len(KINDS)]


def wanted(seed: int) -> frozenset[str]:
    """What the spec must have in it: a part of the language."""
    return frozenset((SHAPES[seed // len(KINDS) % len(SHAPES)],))


@dataclass
class Small(Maker):
    """Makes one spec in one file.  quietly: nothing may err; stairs: how many, if any."""

    quietly: bool = False
    stairs: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.room = 10 ** self.random.uniform(*((0.7, 1.6) if self.stairs else (1.4, 2.5)))
        if self.quietly:
            self.e.risk, self.tame = 0, True

    def identities(self, name: str, n: int) -> Ty:
        n = min(n, 2)
        self.types.append(f"param {name.upper()}S = {n};")
        self.types.append(f"type {name} = symmetric[{name.upper()}S];")
        return Ty(name, "symmetric", n)

    def assertion(self, scope: dict[str, Ty]) -> str:
        """Asserts of conditions drawn by chance fail soon."""
        if self.quietly:
            raise NoWay
        return super().assertion(scope)

    def wide(self) -> None:
        """Nothing: words of state without number are not for small specs."""

    def instances(self) -> None:
        """The default one only."""

    def lists(self) -> None:
        """No fairness, no anchors: they do not change what is looked for here."""

    def judged(self) -> None:
        if self.stairs:
            self.climb()
        super().judged()

    def climb(self) -> None:
        """The stair, and what is violated on top."""
        self.declarations.append(f"var stair: 0..{self.stairs} = 0;")
        for n in range(self.stairs):
            scope: dict[str, Ty] = {}
            if self.chance(60):
                scope[self.e.fresh("x")] = self.random.choice(self.symmetric or [BOOL])
            guard = f" && {self.e.boolean(scope, 1)}" if self.chance(40) else ""
            body = self.statement(dict(scope), False) if self.chance(60) else ""
            self.add_step(scope, f"stair == {n}{guard}", f"stair := {n + 1}; {body}")
        condition = f"(stair == {self.stairs})"
        if self.chance(50):
            condition = f"(stair == {self.stairs} && {self.e.boolean({}, 1)})"
        self.declarations.append(self.random.choice(TRAPS).replace("CONDITION", condition))

    def text(self) -> str:
        """The spec."""
        self.make()
        return "\n".join(["spec main", *self.types, *self.declarations]) + "\n"


# What goes wrong where a condition holds.
TRAPS = (
    "invariant trap: !CONDITION;",
    "transition spring when CONDITION { assert trap: false; }",
    "invariant trap: 3 / (if CONDITION then 0 else 3) == 1;",
    "step trap: !CONDITION;",
    "var sprung: 0..1 = 0;\ntransition spring when CONDITION { sprung := sprung + 2; }",
    "var sprung: Slot? = null;\ntransition spring when CONDITION { let x = sprung == 0 && sprung + 1 > 0; }",
)


@dataclass(frozen=True)
class Case:
    """A spec of a seed, and what the explicit engine shows of its default instance."""

    seed: int
    attempt: int
    text: str
    spec: S.Spec
    system: System
    report: InstanceReport

    @property
    def name(self) -> str:
        return f"seed {self.seed}, attempt {self.attempt} ({kind_of(self.seed)})"


def shown(report: InstanceReport) -> dict[str, int]:
    """By name: the length of the run that shows it.  Of what bounded search looks for: what a run of states shows."""
    out: dict[str, int] = {}
    for v in report.verdicts:
        run = v.witness if v.kind == "reachable" else v.trace
        judged = v.status in (Status.VIOLATED, Status.HOLDS)  # being stuck by an assume is a warning
        if run is not None and judged and v.kind not in ("leads_to", "recoverable") and v.property not in NOT_BOUNDED:
            out[v.property] = run.length
    return out


def violations(report: InstanceReport) -> dict[str, int]:
    """As `shown`, without what is reached as it should be."""
    violated = {v.property for v in report.verdicts if v.status is Status.VIOLATED and v.kind != "reachable"}
    return {name: length for name, length in shown(report).items() if name in violated}


def of_text(text: str) -> tuple[S.Spec, System]:
    """Raises SpecError."""
    spec = load_source(Source("main.hmm", text))
    return spec, build(spec)


def without(text: str, names: set[str]) -> str:
    """The spec without these properties (asserts stay)."""
    pattern = rf"^(?:invariant|step|reachable|recoverable|leads_to) (?:{'|'.join(sorted(names))})\b"
    return "\n".join(line for line in text.splitlines() if not re.match(pattern, line)) + "\n" if names else text


def explored(text: str, options: CheckOptions = FULL) -> tuple[S.Spec, System, InstanceReport] | None:
    """What the explicit engine shows of a text, if it is a spec and small."""
    try:
        spec, system = of_text(text)
    except SpecError:
        return None
    report = check(system, options)
    ok = not report.limit and (report.depth or 0) <= DIAMETER and (report.states or 0) >= LEAST_STATES
    return (spec, system, report) if ok else None


def attempt_of(seed: int, attempt: int) -> Case | None:
    """One attempt at a spec of the seed's kind."""
    random = Random(f"symbolic {seed}.{attempt}")
    kind = kind_of(seed)
    quietly = kind != "shallow" and random.random() < 0.9
    try:
        text = Small(random, wanted(seed), quietly=quietly, stairs=random.randint(4, 6) if kind == "deep" else 0).text()
    except NoWay:
        return None
    found = explored(text) if " = symmetric[" in text else None
    if found is None:
        return None
    # Properties that are violated where nothing, or nothing so near, is wanted are left out.
    far = {"clean": DIAMETER + 2, "shallow": 0, "deep": 4}[kind]
    near = {name for name, length in violations(found[2]).items() if length < far}
    if near:
        text = without(text, near)
        found = explored(text)
    if found is None:
        return None
    lengths = violations(found[2]).values()
    good = {"clean": not lengths, "shallow": 1 <= min(lengths, default=0) <= 3, "deep": min(lengths, default=0) >= 4}
    return Case(seed, attempt, text, *found) if good[kind] else None


@cache
def case(seed: int) -> Case:
    """The first attempt of a seed that is of its kind."""
    return next(c for attempt in count() if (c := attempt_of(seed, attempt)) is not None)


def sized(c: Case, sizes: dict[str, int]) -> System:
    """The spec with other sizes of its symmetric types.  Raises SpecError."""
    return build(c.spec, {f"{name.upper()}S": n for name, n in sizes.items()})
