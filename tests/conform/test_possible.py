"""Transitions that cannot happen on a target are told apart from those that were only never seen, and not looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.conform.follow.follower import Follower
from hmmspec.conform.follow.load import load_for
from hmmspec.conform.guided import Guide
from hmmspec.conform.possible import cannot_happen
from hmmspec.conform.reference import ReferenceTarget
from hmmspec.conform.session import Explorer, Plan
from hmmspec.conform.shipped import shipped
from hmmspec.conform.telling import told
from hmmspec.report.style import Style

from .small import files

PAGE_LIFE = next(p for p in shipped() if "page_life" in p)

SPEC = """spec jar
var full: bool = false;
var broken: bool = false;
var cracks: 0..3 = 0;
define weak: bool = broken || cracks == 3;
transition fill { full := true; }
transition empty { full := false; }
transition smash { broken := true; }
transition crack when cracks < 3 { cracks := cracks + 1; }
transition shout { skip; }
transition leak when full && weak { full := false; }
transition mend when broken { broken := false; }
event fill, empty, smash, crack, shout;
"""
BINDING = """binding for "jar.hmm";
on store() returns (error) { else: fill(); }
on load() returns (error) { else: empty(); }
on madvise(advice) returns (error) {
  when advice in {pageout, collapse}: smash();
  when advice == dofork && error == ok: crack();
  else: nothing;
}
on inject() returns (error) { when profile.fail_alloc: shout(); else: nothing; }
"""


def names(tmp_path: Path, *capabilities: str, fail_alloc: bool = True) -> tuple[str, ...]:
    loaded = load_for(files(tmp_path, SPEC, BINDING, "jar"))
    return cannot_happen(loaded, {"fail_alloc": fail_alloc}, frozenset(capabilities))


@pytest.mark.parametrize(
    ("capabilities", "missing"),
    [
        (("inject", "swap", "dontfork"), ()),
        (("inject", "collapse", "dontfork"), ()),
        (("inject", "collapse"), ("crack",)),
        # nothing breaks the jar, but cracks make it weak, too; with neither nothing leaks, and there is nothing to mend
        (("inject", "dontfork"), ("smash", "mend")),
        (("swap", "dontfork"), ("shout",)),
        (("inject",), ("smash", "crack", "leak", "mend")),
    ],
)
def test_what_follows_from_commands_that_are_not_there(
    tmp_path: Path, capabilities: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    assert names(tmp_path, *capabilities) == missing


def test_what_follows_from_the_profile(tmp_path: Path) -> None:
    """`profile.x` in a condition."""
    assert names(tmp_path, "inject", "swap", "dontfork", fail_alloc=False) == ("shout",)


@pytest.mark.parametrize("path", shipped())
def test_the_newest_kernel_can_do_all(path: str) -> None:
    target = ReferenceTarget("latest")
    assert cannot_happen(load_for(path), target.profile, target.capabilities) == ()


def test_no_flags_command_arms_no_device() -> None:
    target = ReferenceTarget("6.12")
    assert cannot_happen(load_for(PAGE_LIFE), target.profile, target.capabilities) == ("arm", "failed_once")


def test_they_are_told_apart_and_not_looked_for() -> None:
    explorer = Explorer(ReferenceTarget("6.12", checks=False), [Follower(load_for(PAGE_LIFE))], Plan(0, 0, ()))
    missing = {name for _, name in Guide(explorer, 0).missing()}
    assert "load" in missing
    assert not missing & {"arm", "failed_once"}
    session = explorer.finish()
    assert session.ruled_out == {"page_life": ["arm", "failed_once"]}
    assert not set(session.missing["page_life"]) & {"arm", "failed_once"}
    lines = list(told(session, Style()))
    assert any("cannot happen on this target: arm, failed_once" in line for line in lines)
