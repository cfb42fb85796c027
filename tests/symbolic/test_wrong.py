"""Properties that are nearly true are refuted, by a run.

Each is a property of a spec in specs/ with one thing changed that a person may well get wrong: a bound that is off by
one pin, another lock, a disjunct or a condition that was left out.  The explicit engine finds each violated in an
instance with at most LARGEST identities of each type, so `prove` must show a run: not prove it, and not leave it open.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.symbolic.prover import Goal, ProveOptions, prove
from hmmspec.checker.verdict import Level, Status
from hmmspec.checker.verify import verify
from hmmspec.diagnostics import Source
from hmmspec.lang import syntax as S
from hmmspec.lang.load import load, load_source
from hmmspec.system.build import build
from hmmspec.system.system import Invariant, StepProperty

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 4


@dataclass(frozen=True)
class Wrong:
    """body: of the changed property; of: the spec and the property that it is made from; every: type -> param."""

    of: str
    what: str
    body: str
    every: tuple[tuple[str, str], ...]
    kind: str = "invariant"
    instance: str = "default"

    @property
    def spec(self) -> str:
        return self.of.split(".")[0]


PAGE = (("Page", "PAGES"),)
LIFE = (("Frame", "FRAMES"), ("Page", "PAGES"))
CPU = (("Cpu", "CPUS"),)
DEVICES = (("Device", "DEVICES"), ("Frame", "FRAMES"), ("Page", "PAGES"))
PINS = (("Mover", "MOVERS"), ("Page", "PAGES"), ("Task", "TASKS"))
WRONG = (
    Wrong(
        "device_private.pinned_stay", "off by one pin", "forall p: Page { pins[p] >= 0 => place[p] != device }",
        PAGE, instance="tiny",
    ),
    Wrong(
        "page_life.pinned_stay", "off by one pin: the last one is still to come",
        "forall p: Page { pte[p] != present => pins[p] == PINS }", LIFE,
    ),
    Wrong(
        "page_life.dirty_kept", "a missing disjunct: it may be the folio that is dirty",
        """forall p: Page | slot[p] == stale && pins[p] == 0 && pte[p] in {present, swapped, to_device} {
          pte_dirty[p] }""", LIFE,
    ),
    Wrong(
        "page_life.dirty_kept", "a missing condition: who has pinned the page will say it later",
        """forall p: Page | slot[p] == stale && pte[p] in {present, swapped, to_device} {
          pte_dirty[p] || folio_dirty[p] }""", LIFE,
    ),
    Wrong(
        "page_life.migrates_alone", "a missing disjunct: it may be zapped",
        "forall p: Page | pte[p] in {to_device, to_system} { pte'[p] in {pte[p], present, device} }", LIFE, "step",
    ),
    Wrong("cpu_fault.migr_locked", "the wrong lock", "pte == migr => held(ptl)", CPU, instance="v3"),
    Wrong(
        "cpu_fault.entry_reference", "a missing case: the migration entry has no reference",
        "pte != system <=> mapping in holds", CPU, instance="v2",
    ),
    Wrong(
        "two_devices.only_owner_maps", "a missing disjunct: a page of system memory is everybody's",
        "forall d: Device, p: Page | mirror[d][p] != none { owned(place[p], d) }", DEVICES,
    ),
    Wrong(
        "two_devices.told", "a missing condition: the one that migrates may map it until it copies",
        "forall d: Device, p: Page | !still(p) { mirror[d][p] == none }", DEVICES,
    ),
    Wrong(
        "migrate_dirty.no_stale_tlb", "a missing disjunct: until the page-table lock is dropped",
        "forall p: Page | tlb[p] { pte[p].kind == pres }", PAGE, instance="small",
    ),
    Wrong(
        "migrate_vma.migr_locked", "the wrong lock: that of the new folio",
        "forall p: Page | pte[p].kind == migr { held(folio[p][dst]) }", PAGE, instance="small",
    ),
    Wrong(
        "pin_migrate.migr_locked", "the wrong lock: that of the folio in system memory",
        "forall p: Page { pte[p] == migr => held(folio[p][system]) }", PINS, instance="small",
    ),
    Wrong(
        "exclusive.folio_to_convert", "the wrong lock",
        "forall d: Device { dev[d] in {convert, map} => held(driver[d]) }",
        (("Cpu", "CPUS"), ("Device", "DEVICES")), instance="small",
    ),
    Wrong(
        "mirror.told_all", "a missing condition: a mirror that is off the list is not told",
        "forall c: Core | core[c] in {change, finish} { core[c].told }", (("Core", "CORES"), ("Page", "PAGES")),
        instance="small",
    ),
)  # fmt: skip
EXPLORED = CheckOptions(expectations=False, states=60_000)


@cache
def spec_of(wrong: Wrong) -> S.Spec:
    """The spec with the property added, and a clause that wants it proved."""
    clause = f"add prove wrong for every {', '.join(name for name, _ in wrong.every)};"
    text = f'spec wrong patches "{wrong.spec}.hmm" {{ add {wrong.kind} wrong: {wrong.body};\n {clause} }}'
    return load_source(Source(str(ROOT / "specs" / "wrong.hmm"), text))


@cache
def shortest(wrong: Wrong) -> tuple[dict[str, int], int]:
    """The smallest instance that violates it, and in how many steps, says the explicit engine."""
    params = [param for _, param in wrong.every]
    for sizes in sorted(product(range(1, LARGEST + 1), repeat=len(params)), key=lambda n: (sum(n), n)):
        overrides = dict(zip(params, sizes, strict=True))
        report = check(build(spec_of(wrong), overrides, wrong.instance), EXPLORED)
        (v,) = (v for v in report.verdicts if v.property == "wrong")
        if v.status is Status.VIOLATED and v.trace is not None:
            return overrides, v.trace.length
    raise AssertionError(f"{wrong.of} is not violated in any small instance: {wrong.body}")


def name(wrong: Wrong) -> str:
    return f"{wrong.of}, {wrong.what.partition(':')[0]}"


@pytest.mark.parametrize("wrong", WRONG, ids=name)
def test_what_it_is_made_from(wrong: Wrong) -> None:
    """A property of the spec that holds (its file says so), of the same kind, and not the same."""
    spec, _, original = wrong.of.partition(".")
    system = build(load(str(ROOT / f"specs/{spec}.hmm")), {}, wrong.instance)
    (p,) = (p for p in system.properties if p.name == original)
    assert isinstance(p, StepProperty if wrong.kind == "step" else Invariant)
    assert original not in (system.expectation.violates or ())
    changed = next(p for p in build(spec_of(wrong), {}, wrong.instance).properties if p.name == "wrong")
    assert changed.body != p.body


@pytest.mark.parametrize("wrong", WRONG, ids=name)
def test_is_refuted(wrong: Wrong) -> None:
    smallest, steps = shortest(wrong)
    system = build(spec_of(wrong), {}, wrong.instance)
    goal = Goal(("wrong",), tuple(name for name, _ in wrong.every))
    (v,) = prove(spec_of(wrong), system, goal, ProveOptions(seconds=60)).verdicts
    assert v.status is Status.VIOLATED, (v.status, v.proof)
    assert v.trace is not None
    assert v.proof is not None
    found = {param: int(n) for param, n in v.proof.sizes}
    assert set(found) == set(smallest)
    assert max(found.values()) <= LARGEST
    assert verify(build(spec_of(wrong), found, wrong.instance), v.trace, "wrong") == []
    if found == smallest and v.level is Level.VIOLATED_SHORTEST:
        assert v.trace.length == steps
