"""Hunts for seeded defects: what is found, what is not, how they are told, and how they go on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from hmmspec.cli.main import main
from hmmspec.conform import commands as c
from hmmspec.conform.judging import run_program
from hmmspec.conform.program import Program, Race
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.reference import ReferenceTarget
from hmmspec.conform.scenario.expand import Choice, plans
from hmmspec.conform.scenario.parser import parse
from hmmspec.conform.scenario.runner import facts_of, run_plan
from hmmspec.conform.seeded import SOUND, Caught, Hunt, hunt_all, hunt_one, one_stage, shipped_scenarios
from hmmspec.conform.seeded_report import document, page, results_from
from hmmspec.lang.load import read_source
from hmmspec.ref.defects import DEFECTS

SCENARIOS = Path(__file__).resolve().parents[2] / "scenarios"
QUICK = Hunt(steps=400)  # stages of 20 and 380 commands; neither scenarios nor specs

MAP, OPEN = c.Mmap("p0", 0, 4), c.Open("p0", "dev0")
STORE, SEND, LOAD = c.Store("p0", 0, 4, 10), c.MigrateToDevice("p0", "dev0", 0, 4), c.Load("p0", 0, 4)
UNMAP, MINE = c.Munmap("p0", 0, 4), c.Exclusive("p0", "dev0", 0, 4)


def checks_of(defect: str, program: Program, checks: bool = True, yields: bool = False) -> set[str]:
    """What finds a defect: `check name` of every finding."""
    target = ReferenceTarget(defects=[defect] if defect else [], checks=checks, yields=yields)
    found = run_program(target, program, [DataJudge(target.atomic)]).findings
    return {f"{f.check} {f.name}".strip() for f in found}


# Programs and what is seen when they run with a defect.
CAUGHT: dict[str, tuple[Program, str]] = {
    "zap-flushes-late": ((MAP, STORE, c.Drain(), UNMAP), "invariant I4"),
    "free-keeps-charge": ((MAP, OPEN, STORE, SEND, UNMAP), "invariant I10"),
    "free-keeps-mapping": ((MAP, OPEN, STORE, SEND, LOAD), "invariant I10"),
    "exclusive-no-notifier": ((MAP, OPEN, STORE, MINE, LOAD), "invariant I6"),
    "zap-forgets-rss": ((MAP, OPEN, STORE, SEND, UNMAP), "invariant I2"),
}


@pytest.mark.parametrize("defect", CAUGHT)
def test_a_check_sees_it_and_nothing_is_seen_without_it(defect: str) -> None:
    program, seen = CAUGHT[defect]
    assert seen in checks_of(defect, program)
    assert checks_of(SOUND, program) == set()


def test_a_window_between_two_locks_is_looked_into() -> None:
    """The translations are wrong only until the flush, in the middle of one command."""
    program = (MAP, OPEN, STORE, SEND)
    assert "invariant StaleTLB" in checks_of("collect-flushes-late", program, yields=True)
    assert checks_of(SOUND, program, yields=True) == set()


def test_who_is_told_must_still_be_there() -> None:
    closing = Race(((c.Close("p0", "dev0"), OPEN) * 6, (c.Mprotect("p0", 0, 4, "r"), c.Mprotect("p0", 0, 4)) * 6))
    programs = [(MAP, OPEN, STORE, replace(closing, seed=seed)) for seed in range(40)]
    assert any("invariant uaf" in checks_of("notifier-remove-early", program) for program in programs)
    assert not any(checks_of(SOUND, program) for program in programs[:10])


def test_a_command_that_never_ends_is_a_finding_without_any_checks() -> None:
    """The page is in use again, with the mapping of before: a walk waits for a migration that nobody does."""
    program: Program = (MAP, OPEN, SEND, MAP, SEND, c.DevRead("p0", "dev1", 0, 4))
    program = (*program[:2], c.Open("p0", "dev1"), *program[2:])
    assert "hang" in checks_of("free-keeps-mapping", program, checks=False)
    assert checks_of(SOUND, program, checks=False) == set()


# scenario file, scenario, defect, with checks, seeds
SHOWN = [
    ("gup", "held_on_device", "check-off-by-one", False, 1),
    ("gup", "pinned_for_long", "longterm-stays-on-device", False, 1),
    ("leaks", "close_evicts", "close-without-eviction", False, 1),
    ("windows", "exclusive_flushes", "exclusive-no-flush", False, 3),
    ("windows", "killed_and_reaped", "notifier-counter-leak", False, 20),
    ("windows", "killed_and_reaped", "notifier-ignores-failure", True, 20),
    ("windows", "fault_and_fetch", "collect-ignores-lock", True, 12),
    ("windows", "huge_hole_races", "huge-insert-leaks-table", False, 8),
]


@pytest.mark.parametrize(("file", "name", "defect", "checks", "seeds"), SHOWN, ids=str)
def test_a_scenario_shows_it(file: str, name: str, defect: str, checks: bool, seeds: int) -> None:
    parsed = parse(read_source(str(SCENARIOS / f"{file}.scn")))
    scenario = next(s for s in parsed.scenarios if s.name == name)

    def status(defects: list[str], most: int) -> str:
        with ReferenceTarget(defects=defects, checks=checks) as target:
            plan = plans(parsed, scenario, facts_of(target), Choice(seeds=most))[0]
            return run_plan(plan, target).status

    assert status([defect], seeds) == "failed"
    assert status([], min(seeds, 4)) == "passed"


def test_a_hunt_has_one_account_of_commands_for_all_stages() -> None:
    found = hunt_one("cow-copies-nothing", True, QUICK)
    assert found.by
    assert 0 < found.commands <= QUICK.steps + 60
    sound = hunt_one(SOUND, True, QUICK)
    assert not sound.by
    assert QUICK.steps <= sound.commands <= QUICK.steps + 60
    assert sound.over
    first = one_stage(Caught(SOUND, True), QUICK)
    assert first.stage == 0
    assert first.programs > 0
    assert not first.over


def test_all_of_some_and_the_report() -> None:
    told: list[Caught] = []
    names = ["cow-copies-nothing", "swap-loses-soft-dirty"]
    found = hunt_all(names, QUICK, 2, told.append)
    assert set(found) == {(n, checks) for n in names for checks in (True, False)}
    assert all(caught.over for caught in found.values())
    assert set(found.values()) <= set(told)
    alone = hunt_one("cow-copies-nothing", False, QUICK)
    assert replace(found["cow-copies-nothing", False], seconds=0.0) == replace(alone, seconds=0.0)
    text = "\n".join(page(found, QUICK))
    assert "| cow-copies-nothing | the copy that a write makes is an empty page | data lost |" in text
    assert "400 at most" in text
    again = results_from(json.dumps(document(found, QUICK)), QUICK)
    assert again == found
    quiet: list[Caught] = []
    assert hunt_all(names, QUICK, 2, quiet.append, again) == found
    assert quiet == []


def test_what_was_missed_and_what_was_not_done_is_named() -> None:
    name = "restore-loses-uffd"
    missed, half = Caught(name, True, stage=2, commands=20_000), Caught(name, False, commands=900, stage=0)
    text = "\n".join(page({(name, True): missed, (name, False): half}, QUICK))
    assert "**missed** | 20,000 | not done | 900" in text
    assert f"`{name}` (with checks): " in text
    assert f"The run was ended before it was done with: `{name}`." in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "no results of --seeded"),
        ('{"format": "hmmspec seeded defects", "version": 1}', "no results of --seeded"),
        (json.dumps({**document({}, QUICK), "seed": 2}), "of a hunt with seed 2, and this one has 1"),
        (json.dumps({**document({}, QUICK), "defects": [{"defect": 3}]}), "a result in it is none"),
    ],
)
def test_results_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        results_from(text, QUICK)


def test_the_command_keeps_its_results_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, written = tmp_path / "results.json", tmp_path / "defects.md"
    args = ["conform", "--seeded", "--steps", "400", "--no-scenarios", "--no-spec", "--seed", "1"]
    args += ["--results", str(results), "--defect", "cow-copies-nothing"]
    assert main([*args, "--page", str(written)]) == 0
    assert "4 of" not in capsys.readouterr().err
    first = results.read_text()
    assert json.loads(first)["defects"][0]["by"]
    assert "# Seeded defects" in written.read_text()
    assert main(args) == 0
    assert results.read_text() == first
    assert "commands" not in capsys.readouterr().err
    results.write_text("nothing")
    assert main(args) == 2
    assert "cannot go on from" in capsys.readouterr().err


def test_every_reason_is_of_a_defect_and_a_whole_sentence() -> None:
    assert all(not d.hidden.endswith(".") for d in DEFECTS.values())
    assert shipped_scenarios()
