"""A small spec, its proof by hand, and the certificate of that."""

from __future__ import annotations

from pathlib import Path

from hmmspec.checker.symbolic import solvers
from hmmspec.checker.symbolic.induction import Claim
from hmmspec.checker.symbolic.prover import Goal, Proved
from hmmspec.checker.symbolic.recheck import Rechecked, RecheckOptions, recheck
from hmmspec.checker.verdict import Level, Status, Verdict
from hmmspec.diagnostics import Source
from hmmspec.lang import syntax as S
from hmmspec.lang.load import load, load_source
from hmmspec.system.build import build_all
from hmmspec.system.system import StepProperty, System

HAVE_CVC5 = "cvc5" in solvers.installed()

TYPES = """\
spec pages
param PAGES = 2;
param CPUS = 2;
type Page = symmetric[PAGES];
type Cpu = symmetric[CPUS];
type Place = enum { system, device };
var place[Page]: Place = system;
var pinned[Page]: bool = false;
var owner[Page]: Cpu? = null;
"""
PINS = """\
lock lru;
transition pin(p: Page) when place[p] == system && owner[p] == null { pinned[p] := true; }  // not while it moves
transition unpin(p: Page) when pinned[p] { pinned[p] := false; }
"""
MOVE = """\
transition move(c: Cpu, p: Page) when owner[p] == c { place[p] := device; }
"""
WORKER = """\
thread worker[Cpu] { get: acquire lru; put: release lru; restart; }
"""
PAGES = f"""\
{TYPES}param DEPTH = 3;
var depth: 0..DEPTH = 0;
{PINS}transition take(c: Cpu, p: Page) when owner[p] == null && !pinned[p] {{ owner[p] := c; }}
{MOVE}transition back(p: Page) when owner[p] != null {{ owner[p] := null; place[p] := system; }}
transition odd(p: Page) when pinned[p] && place[p] == device {{ place[p] := system; }}
{WORKER}invariant stays "pinned pages stay": forall p: Page | pinned[p] {{ place[p] == system }};
step no_move: forall p: Page | pinned[p] && pinned'[p] {{ place'[p] == place[p] }};
invariant false_one: forall p: Page {{ owner[p] == null }};
reachable away: exists p: Page {{ place[p] == device }};
"""
LEMMAS = {
    "alone": "forall p: Page | pinned[p] { owner[p] == null }",
    "by_owner": "forall c: Cpu { worker[c] == put <=> holder(lru) == worker[c] }",
}
PROVED = ("stays", "no_move", "foreign_release", "double_acquire")


def claim(system: System, name: str) -> Claim:
    found = next((p for p in system.properties if p.name == name), None)
    return Claim(name, getattr(found, "body", None), isinstance(found, StepProperty))


def by_hand(
    path: Path,
    names: tuple[str, ...] = PROVED,
    lemmas: dict[str, str] = LEMMAS,
    every: tuple[str, ...] = ("Page", "Cpu"),
) -> tuple[S.Spec, Proved]:
    """What a prover would have found."""
    spec = load(str(path))
    added = "".join(f"invariant {n}: {e};\n" for n, e in lemmas.items())
    more = load_source(Source(str(path), path.read_text() + added))
    (system,), (strengthened,) = build_all(spec), build_all(more)
    verdicts = tuple(Verdict(n, "", "", Status.HOLDS, Level.INDUCTIVE) for n in names)
    claims = tuple(claim(system, n) for n in names)
    return spec, Proved(Goal(names, every), system, verdicts, claims, tuple(claim(strengthened, n) for n in lemmas))


def checked(folder: Path, *names: str) -> Rechecked:
    return recheck(folder, RecheckOptions(names or ("z3",), jobs=2))
