"""Sessions: what is wrong is found and made small, what is right is left alone, and what never happened is told."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from hmmspec.cli.main import main
from hmmspec.conform import commands as c
from hmmspec.conform.generate import Generator, RandomChooser, shape_for
from hmmspec.conform.guided import Guide
from hmmspec.conform.judging import run_program
from hmmspec.conform.program import Program, Race, from_json, length
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.session import Explorer, Plan, Session
from hmmspec.conform.shrink import shrink
from hmmspec.conform.target import Event, Finding, Target
from hmmspec.conform.targets import NoTarget, open_target
from tests.conform.fake import FakeTarget


def session(bug: str, steps: int = 3000, seed: int = 1, race: bool = True, shrinking: float = 4.0) -> Session:
    target = FakeTarget(bug)
    plan = Plan(steps, seed, (shape_for(target), shape_for(target, race=race)), shrinking=shrinking)
    explorer = Explorer(target, [DataJudge()], plan)
    explorer.explore()
    return explorer.session


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    s = session("")
    assert s.found is None
    assert s.commands >= 3000
    assert s.races
    assert s.results["load", ""]
    assert s.results["load", "SIGSEGV"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "check", "most"),
    [("lost_on_fault", "data", 5), ("fork_shares", "data", 4), ("leak", "leak", 5), ("dies", "crash", 5)],
)
def test_what_is_wrong_is_found_and_made_small(bug: str, check: str, most: int) -> None:
    s = session(bug)
    assert s.found is not None
    assert s.found.findings[0].check == check
    assert length(s.found.program) <= most
    assert length(s.found.first) >= length(s.found.program)
    assert s.found.again == s.found.repeats
    # The smallest program shows it on a fresh target, too.
    assert run_program(FakeTarget(bug), s.found.program, [DataJudge()]).findings
    assert not run_program(FakeTarget(), s.found.program, [DataJudge()]).findings


@pytest.mark.slow
def test_the_same_seed_finds_the_same() -> None:
    one, two = session("leak", shrinking=2.0), session("leak", shrinking=2.0)
    assert one.found is not None
    assert two.found is not None
    assert one.found.first == two.found.first
    assert one.found.after == two.found.after


def test_shrinking_keeps_what_it_is_asked_to_keep() -> None:
    """Programs that fail when they hold a store and, later, a fork; in a race or not."""

    def fails(program: Program) -> bool:
        flat = [
            x for step in program for x in ([y for t in step.threads for y in t] if isinstance(step, Race) else [step])
        ]
        stores = [n for n, x in enumerate(flat) if isinstance(x, c.Store)]
        forks = [n for n, x in enumerate(flat) if isinstance(x, c.Fork)]
        return bool(stores and forks and stores[0] < forks[-1])

    shape = shape_for(FakeTarget(), race=True, steps=20)
    tried = 0
    for seed in range(60):
        program = Generator(shape, RandomChooser(seed)).program()
        if fails(program):
            tried += 1
            small = shrink(program, fails, seconds=5)
            assert fails(small)
            assert length(small) == 2
            assert isinstance(small[0], c.Store)
            assert (small[0].page, small[0].count, small[0].stamp) == (0, 1, 1)
            assert not any(isinstance(step, Race) for step in small)
    assert tried > 5


def test_shrinking_of_what_fails_now_and_then_keeps_a_failure() -> None:
    rng = random.Random(5)
    program = Generator(shape_for(FakeTarget()), RandomChooser(3)).program()

    def fails(candidate: Program) -> bool:
        return any(isinstance(x, c.Store) for x in candidate) and rng.random() < 0.5

    assert any(isinstance(x, c.Store) for x in shrink(program, fails, seconds=3))


class Counting:
    """A judge that knows transitions: pairs of commands that follow one another on one page."""

    name = "pairs"

    def __init__(self, wanted: Sequence[str]) -> None:
        self.seen: dict[str, int] = {}
        self.wanted = wanted
        self._last = ""

    def begin(self, target: Target) -> None:
        self._last = ""

    def feed(self, event: Event) -> Sequence[Finding]:
        if event.command is not None:
            pair = f"{self._last}-{event.command.word}"
            self.seen[pair] = self.seen.get(pair, 0) + 1
            self._last = event.command.word
        return ()

    def finish(self) -> Sequence[Finding]:
        return ()

    def covered(self) -> Mapping[str, int]:
        return self.seen

    def all_transitions(self) -> Sequence[str]:
        return self.wanted


@pytest.mark.slow
def test_the_guided_search_reaches_what_is_missing_and_stops() -> None:
    judge = Counting(["fork-exclusive", "kill-file_write", "close-increment"])
    target = FakeTarget()
    explorer = Explorer(target, [DataJudge(), judge], Plan(100, 1, (shape_for(target),)))
    explorer.search(100)
    guide = Guide(explorer, 1)
    assert guide.missing()
    guide.search(60_000)
    assert not guide.missing()
    assert explorer.session.commands < 60_000
    assert explorer.finish().missing == {"pairs": []}


def test_transitions_that_cannot_happen_are_told() -> None:
    judge = Counting(["mmap-open", "open-never"])
    target = FakeTarget()
    explorer = Explorer(target, [judge], Plan(300, 1, (shape_for(target),)))
    assert explorer.explore().missing == {"pairs": ["open-never"]}


# ---------------------------------------------------------------- the command

FAKE = ["conform", "--target", "tests.conform.fake:make", "--no-spec", "--quiet"]


def test_the_command_finds_writes_and_replays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmmspec.cli.conform.SHRINKING", 3.0)
    assert main([*FAKE, "--steps", "300", "--seed", "3"]) == 0
    assert "nothing found" in capsys.readouterr().out
    assert main([*FAKE, "--steps", "3000", "--defect", "fork_shares", "--save", str(tmp_path)]) == 1
    assert "FOUND by data lost" in capsys.readouterr().out
    data = json.loads((tmp_path / "finding.json").read_text())
    program = from_json(data["program"])
    assert any(isinstance(step, c.Fork) for step in program)
    assert "fork" in (tmp_path / "finding.scn").read_text()
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) > 2 * length(program)
    assert main([*FAKE, "--replay", str(tmp_path / "finding.json"), "--defect", "fork_shares"]) == 1
    capsys.readouterr()
    assert main([*FAKE, "--replay", str(tmp_path / "finding.json")]) == 0


def test_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmmspec.cli.conform.SHRINKING", 2.0)
    assert main([*FAKE, "--steps", "2000", "--defect", "dies", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 1
    assert told["found"]["findings"][0]["check"] == "crash"
    assert told["commands"] > 0


def test_too_little_time_is_incomplete() -> None:
    assert main([*FAKE, "--steps", "1000000", "--time", "1"]) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "nothing"], "there is no target 'nothing'"),
        (["--target", "nowhere.at.all:make"], "cannot be loaded"),
        (["--target", "json:dumps"], "no hmmspec.conform.target.Target"),
        (["--profile", "2.4"], "no profile '2.4'"),
        (["--defect", "no-such-thing"], "there is no defect 'no-such-thing'"),
        (["--seeded", "--defect", "fork-keeps-wrote"], "did you mean 'fork-keeps-write'?"),
        (["--replay", "/nowhere/x.json"], "cannot read"),
        (["--spec", "/nowhere/x.bind"], "/nowhere/x.bind"),
        (["--steps", "0"], "not a number from 1"),
    ],
)
def test_wrong_input_is_told(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conform", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["", "[", "{}", '{"program": 3}', '[{"do": "jump"}]', '[{"race": 3}]', '[{"race": [], "x": 1}]']
)
def test_a_program_file_that_is_none_is_told(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "program.json"
    path.write_text(text)
    assert main([*FAKE, "--replay", str(path)]) == 2
    assert "program.json is no" in capsys.readouterr().err


def test_targets_by_name() -> None:
    with pytest.raises(NoTarget, match="ref"):
        open_target("linus")
    assert open_target("ref", {"profile": "6.12"}).profile["device_thp"] is False


def test_the_plugin_costs_nothing_where_it_is_not_used() -> None:
    code = "import sys, hmmspec.cli.pytest_plugin; print([m for m in sys.modules if m.startswith('hmmspec')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "conform" not in loaded
    assert "checker" not in loaded


class Impatient(FakeTarget):
    """Ctrl-C comes at its Nth program, so many times."""

    def __init__(self, at: int, bug: str = "", times: int = 2) -> None:
        super().__init__(bug)
        self.at = at
        self.times = times

    def reset(self, seed: int = 0) -> None:
        self.at -= 1
        if not self.at:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)
        super().reset(seed)


def test_an_interrupted_session_tells_what_was_done() -> None:
    target = Impatient(20)
    explorer = Explorer(target, [DataJudge()], Plan(3000, 1, (shape_for(target),)))
    s = explorer.explore()
    assert s.interrupted
    assert s.programs == 19
    assert s.commands
    assert s.found is None
    # It is over: nothing is run any more.
    explorer.search(3000)
    assert s.programs == 19


def test_the_first_interrupt_lets_the_program_end() -> None:
    """Nothing is raised in the middle of Hypothesis."""
    target = Impatient(20, times=1)
    before = signal.getsignal(signal.SIGINT)
    s = Explorer(target, [DataJudge()], Plan(3000, 1, (shape_for(target),))).explore()
    assert s.interrupted
    assert s.programs == 20
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupted_session_keeps_what_was_found() -> None:
    """Ctrl-C while the finding is made small: what was smallest by then is told."""
    target = Impatient(0, "fork_shares")

    def after(_: Session) -> None:
        if explorer.failed and target.at < 0:
            target.at = 3  # two programs more

    explorer = Explorer(target, [DataJudge()], Plan(3000, 1, (shape_for(target),)), after)
    s = explorer.explore()
    assert s.interrupted
    assert s.found is not None
    assert s.found.findings
    assert length(s.found.program) <= length(s.found.first)


def test_the_command_line_says_130_when_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("hmmspec.cli.conform.target_of", lambda name, args: Impatient(5))
    assert main(["conform", "--no-spec", "--quiet", "--steps", "500"]) == 130
    assert "interrupted: 500 commands were asked for" in capsys.readouterr().out
