"""Both engines show the same of every small spec in the repository, with any number of threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from hmmspec.checker.check import check
from hmmspec.checker.native.engine import check_native
from hmmspec.checker.native.orbits import reduced_types
from hmmspec.checker.options import CheckOptions
from hmmspec.checker.verdict import InstanceReport
from hmmspec.checker.verify import verify
from hmmspec.lang.load import load
from hmmspec.system.build import build_all
from hmmspec.system.system import System
from tests.checker.helpers import traces
from tests.native.agree import differences

ROOT = Path(__file__).resolve().parents[2]
SPECS = sorted((ROOT / "specs").glob("**/*.hmm"))
FILES = [*sorted((ROOT / "tests/specs").glob("*.hmm")), *SPECS]
SMALL = 3000  # states
LARGE = 300_000  # of the instances in specs/ that are compared in the long run


def shown(r: InstanceReport) -> dict[str, Any]:
    """What must be the same: everything but times, and which of several shortest traces it is."""
    return {
        "states": r.states,
        "orbits": r.orbits,
        "reduction": r.reduction,
        "transitions": r.transitions,
        "depth": r.depth,
        "problems": r.problems,
        "coverage": {c.rule: c.fired for c in r.coverage},
        "warnings": sorted((w.code, w.message) for w in r.warnings),
        "verdicts": {
            v.property: (
                v.status,
                v.level,
                v.expected,
                len(v.others),
                v.trace.length if v.trace and v.kind != "leads_to" else v.trace is not None,
                v.witness.length if v.witness else None,
            )
            for v in r.verdicts
        },
    }


def exactly(r: InstanceReport) -> dict[str, Any]:
    return asdict(replace(r, wall_seconds=0, explore_seconds=0))


def compare(path: Path, system: System, options: CheckOptions, python: InstanceReport) -> None:
    native = check_native(system, replace(options, threads=1))
    where = f"{path.name}, instance {system.instance}"
    assert native.engine == "native", f"{where}: {native.remark}"
    assert shown(native) == shown(python), where
    assert exactly(check_native(system, replace(options, threads=2))) == exactly(native), where
    for verdict, trace in traces(native):
        assert verify(system, trace, verdict.property) == [], (where, verdict.property)


def comparable(path: Path, options: CheckOptions) -> Iterator[System]:
    """Its instances; with symmetry those that have symmetric types and that both engines reduce by all of them."""
    for system in build_all(load(str(path))):
        types = tuple(t for t in system.symmetric if t.size >= 2)
        # Where identities are told apart the native engine looks at all states, the Python engine at the quotient.
        if not options.symmetry or (types and reduced_types(system, options) == types):
            yield system


@pytest.mark.parametrize("symmetry", [False, True], ids=["states", "orbits"])
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_engines_agree(cache: Path, path: Path, symmetry: bool) -> None:
    assert cache.is_dir()
    looked = 0
    options = CheckOptions(symmetry=symmetry, states=SMALL, seed=3)
    for system in comparable(path, options):
        python = check(system, options)
        if not python.limit:
            compare(path, system, options, python)
            looked += 1
    if not looked:
        pytest.skip("no instance is small enough" if not symmetry else "no small instance has a symmetric type")


@pytest.mark.slow
@pytest.mark.parametrize("symmetry", [False, True], ids=["states", "orbits"])
@pytest.mark.parametrize("path", SPECS, ids=lambda p: p.stem)
def test_the_engines_agree_on_what_is_larger(cache: Path, path: Path, symmetry: bool) -> None:
    """The instances in specs/ that take the Python engine long."""
    assert cache.is_dir()
    looked = 0
    options = CheckOptions(symmetry=symmetry, states=LARGE, seed=3)
    for system in comparable(path, options):
        if check(system, replace(options, states=SMALL)).limit:
            python = check(system, options)
            looked += 1
            if not python.limit:
                compare(path, system, options, python)
                continue
            # Too many for the Python engine, but for its orbits.
            python = check(system, replace(options, symmetry=True))
            native = check_native(system, replace(options, states=None))
            assert (native.engine, python.limit) == ("native", ""), f"{path.name}, instance {system.instance}"
            assert differences(python, native, counted=False) == [], f"{path.name}, instance {system.instance}"
    if not looked:
        pytest.skip("no instance is larger")
