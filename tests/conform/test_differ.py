"""Two targets held against each other; targets that are not deterministic, and targets that die."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hmmspec.cli.main import main
from hmmspec.conform import commands as c
from hmmspec.conform.commands import Command
from hmmspec.conform.differ import Pair
from hmmspec.conform.difference import compare, differences
from hmmspec.conform.generate import shape_for
from hmmspec.conform.known import Entry, Kernels, Known
from hmmspec.conform.program import Program, Race, length
from hmmspec.conform.racing import DataJudge
from hmmspec.conform.reference import ReferenceTarget
from hmmspec.conform.results import Result
from hmmspec.conform.session import Explorer, Plan, Session
from hmmspec.conform.target import Event, Finding, Target
from hmmspec.conform.telling import document, told
from hmmspec.report.style import PLAIN
from tests.conform.fake import FakeTarget
from tests.conform.flaky import Flaky, Sometimes, skips

MOVE: Program = (
    c.Open("p0", "dev0"),
    c.Mmap("p0", 0, 2),
    c.Store("p0", 0, 2, 5),
    c.MigrateToDevice("p0", "dev0", 0, 2),
    c.Snapshot("p0", "dev0", 0, 2),
    c.Load("p0", 0, 2),
)


def pair(second: Target, known: Known | None = None) -> Pair:
    return Pair(FakeTarget(), second, [DataJudge()], known)


def session(
    second: Target, steps: int = 1500, known: Known | None = None, race: bool = False, **more: object
) -> Session:
    both = pair(second, known)
    shapes = (shape_for(both.targets[0], race=race),)
    plan = Plan(steps, 1, shapes, shrinking=4.0, deterministic=both.deterministic, **more)  # type: ignore[arg-type]
    explorer = Explorer(both.targets[0], both.judges, plan, None, both.run)
    explorer.session.target = both.name
    return explorer.explore()


def text(s: Session) -> str:
    """The report, as one line."""
    return " ".join(" ".join(told(s, PLAIN)).split())


# ---------------------------------------------------------------- results


@pytest.mark.parametrize(
    ("one", "two", "fields", "pages"),
    [
        (Result(), Result(), (), ()),
        (Result("ENOENT"), Result(), ("error",), ()),
        (Result("ENOENT", cpages=1), Result("EBUSY"), ("error",), ()),
        (Result(cpages=1), Result(cpages=2), ("cpages",), ()),
        (Result(cpages=1), Result(), (), ()),
        (Result("SIGSEGV", cpages=1), Result("SIGSEGV", cpages=2), ("cpages",), ()),
        (Result(faults=1, stamps=(1, 2)), Result(faults=2, stamps=(1, 3)), ("faults", "stamps"), (1,)),
        (Result(stamps=(1, 2)), Result(), (), ()),
        (Result(stamps=(1, 2)), Result(stamps=(1,)), ("stamps",), (1,)),
        (Result(snapshot=(1, 2, 3)), Result(snapshot=(0, 2, 0)), ("snapshot",), (0, 2)),
        (Result(pagemap=(1,)), Result(pagemap=(3,)), ("pagemap",), (0,)),
        (Result(counts=(("rss", 1), ("swap", 2))), Result(counts=(("rss", 2), ("huge", 9))), ("counts.rss",), ()),
    ],
)
def test_what_both_see_must_be_equal(one: Result, two: Result, fields: tuple[str, ...], pages: tuple[int, ...]) -> None:
    assert compare(one, two) == (fields, pages)
    assert compare(two, one)[1] == pages


def test_logs_are_compared_as_far_as_both_go() -> None:
    def log(*results: Result | None) -> list[Event]:
        out: list[Event] = []
        for n, result in enumerate(results):
            out.append(Event(n, "main", command=c.Load("p0", n)))
            if result is not None:
                out.append(Event(n, "main", result=result))
        return out

    names = "a", "b"
    one, two = log(Result(), Result("SIGBUS"), Result(cpages=1)), log(Result(), Result(), None)
    found = list(differences(names, one, two))
    assert [(d.call, d.fields) for d in found] == [(1, ("error",))]
    assert "a and b differ in error" in str(found[0].finding())
    assert "a: load p0 page=1 count=1 -> SIGBUS" in found[0].finding().details


# ---------------------------------------------------------------- pairs


def test_equal_targets_do_not_differ() -> None:
    s = session(FakeTarget())
    assert s.found is None
    assert s.comparison is not None
    assert s.comparison.compared >= s.commands  # what is read back at the end is compared, too
    assert s.comparison.repeated == 0
    assert "results of fake and fake' compared" in text(s)
    assert "nothing found" in text(s)


def test_only_what_both_can_do_is_asked() -> None:
    both = Pair(ReferenceTarget(), FakeTarget(), [])
    assert both.targets[0].capabilities == FakeTarget.capabilities
    assert set(both.targets[0].devices) == {"dev0", "dev1"}
    assert both.targets[0].run(c.Open("p0", "dev2")).error == "ENOSYS"
    assert both.name == "ref,fake"
    assert ReferenceTarget().devices.keys() >= {"dev2", "dev3"}


def test_a_difference_is_found_and_made_small() -> None:
    s = session(Flaky(Sometimes(lambda x: isinstance(x, c.Snapshot), Result(cpages=1, snapshot=(9,)), lambda _: True)))
    assert s.found is not None
    (finding, *_) = s.found.findings
    assert (finding.check, finding.name) == ("difference", "snapshot")
    assert length(s.found.program) <= 3
    assert s.found.again == s.found.repeats
    said = text(s)
    assert "fake and flaky differ in" in said
    assert "flaky: snapshot" in said
    assert "09" in said
    data = json.loads(json.dumps(document(s, 1)))
    assert data["comparison"]["targets"] == ["fake", "flaky"]
    assert set(data["found"]["logs"]) == {"fake", "flaky"}


def test_the_report_says_whom_the_judges_explain() -> None:
    wrong = Sometimes(lambda x: isinstance(x, c.Load), Result(cpages=2, stamps=(5, 7)), lambda _: True)
    outcome = pair(Flaky(wrong)).run(MOVE)
    details = "\n".join(outcome.findings[0].details)
    assert "(fake) they explain what was seen on fake" in details
    assert "(flaky) load p0 page=0 count=2: page 1 of p0 was read as 7; it must hold 6" in details


def test_experts_are_asked_only_about_a_difference() -> None:
    made: list[DataJudge] = []

    def experts() -> list[DataJudge]:
        made.append(DataJudge())
        return made

    wrong = Flaky(lambda x, r: Result(cpages=2, stamps=(1, 1)) if isinstance(x, c.Load) else r)
    assert not Pair(FakeTarget(), Flaky(), [], experts=experts).run(MOVE).findings
    assert not made
    differing = Pair(FakeTarget(), wrong, [], experts=experts)
    for _ in range(2):
        (found,) = differing.run(MOVE).findings
        assert any("page 0 of p0 was read as 1; it must hold 5" in line for line in found.details)
    assert len(made) == 1


def test_what_is_lost_only_when_all_is_read_back_is_a_difference() -> None:
    """The last command of the program is right on both; the page is wrong afterwards."""
    wrong = Sometimes(lambda x: isinstance(x, c.Load), Result(cpages=2, stamps=(5, 7)), lambda n: n == 2)
    outcome = pair(Flaky(wrong)).run(MOVE)
    assert outcome.findings[0].check == "difference"
    assert "(flaky)" in "\n".join(outcome.findings[0].details)


def test_a_skipped_page_is_tried_again() -> None:
    second = Flaky(skips(lambda n: n == 1))
    outcome = pair(second).run(MOVE)
    assert outcome.findings == []
    assert outcome.comparison is not None
    assert outcome.comparison.repeated == 1
    assert outcome.commands == length(MOVE)


def test_a_page_that_is_skipped_again_and_again_is_a_difference() -> None:
    outcome = pair(Flaky(skips(lambda _: True))).run(MOVE)
    assert outcome.findings[0].check == "difference"
    assert outcome.comparison is not None
    assert outcome.comparison.repeated == 3
    tried = [e for e in outcome.log if isinstance(e.command, c.MigrateToDevice)]
    assert len(tried) == 4


def test_what_is_no_skip_is_not_tried_again() -> None:
    wrong = Sometimes(lambda x: isinstance(x, c.MigrateToDevice), Result("EINVAL"), lambda n: n == 1)
    outcome = pair(Flaky(wrong)).run(MOVE)
    assert outcome.findings[0].check == "difference"
    assert outcome.comparison is not None
    assert outcome.comparison.repeated == 0


def test_races_are_judged_on_each_and_not_compared() -> None:
    racing: Program = (*MOVE[:3], Race(((c.Load("p0", 0),), (c.MigrateToDevice("p0", "dev0", 0),)), 1))
    both = pair(Flaky(skips(lambda _: True)))
    outcome = both.run(racing)
    assert outcome.findings == []
    assert outcome.comparison is not None
    assert outcome.comparison.compared == 0
    wrong = Sometimes(lambda x: isinstance(x, c.Load), Result(cpages=1, stamps=(77,)), lambda _: True)
    outcome = pair(Flaky(wrong)).run(racing)
    assert outcome.findings[0].check == "data"
    assert outcome.seen_on == "flaky"


def test_a_target_that_says_something_is_wrong() -> None:
    def says(command: Command) -> Finding | None:
        return Finding("kernel", "WARN: x.c:1", "WARN do_it") if isinstance(command, c.Snapshot) else None

    outcome = pair(Flaky(says=says)).run(MOVE)
    assert [f.check for f in outcome.findings] == ["kernel"]
    assert outcome.findings[0].message == "flaky: WARN: x.c:1"
    assert outcome.seen_on == "flaky"
    entry = Entry("warns", "", Kernels(), "it does", target="flaky", check="kernel", says="WARN do_it")
    outcome = pair(Flaky(says=says), Known("", (entry,))).run(MOVE)
    assert outcome.findings == []
    assert outcome.comparison is not None
    assert outcome.comparison.explained == {"warns": 1}


# ---------------------------------------------------------------- known differences


def known(apart: bool, **more: object) -> Known:
    results = {"fake": {"error": ("",)}, "flaky": {"error": ("ENOENT",)}}
    entry = Entry("never-moves", "place", Kernels(), "it does not", apart, command={"do": ("migrate_to_device",)},
                  results=results, **more)  # type: ignore[arg-type]  # fmt: skip
    return Known("", (entry,))


def test_a_known_difference_is_none() -> None:
    both = pair(Flaky(skips(lambda _: True)), known(True))
    outcome = both.run(MOVE)
    assert outcome.findings == []
    assert outcome.comparison is not None
    assert outcome.comparison.explained == {"never-moves": 1}
    # Where the states are the same afterwards the rest is compared.
    wrong = Flaky(skips(lambda _: True))
    wrong.twist = lambda x, r: Result("ENOENT") if isinstance(x, c.MigrateToDevice) else (
        Result(cpages=2, stamps=(1, 1)) if isinstance(x, c.Load) else r)  # fmt: skip
    assert pair(wrong, known(False)).run(MOVE[:4] + MOVE[5:]).findings
    assert not pair(wrong, known(True)).run(MOVE[:4] + MOVE[5:]).findings


def test_an_entry_that_nothing_needs_is_told() -> None:
    both = pair(Flaky(), known(True))
    assert [e.name for e in both.not_needed(both.run(MOVE).comparison.explained)] == ["never-moves"]  # type: ignore[union-attr]
    shown = pair(Flaky(skips(lambda _: True)), known(True, program=MOVE))
    assert shown.not_needed(shown.run(()).comparison.explained) == []  # type: ignore[union-attr]
    gone = pair(Flaky(), known(True, program=MOVE))
    assert [e.name for e in gone.not_needed(gone.run(()).comparison.explained)] == ["never-moves"]  # type: ignore[union-attr]
    other = Pair(FakeTarget(), FakeTarget(), [], known(True))
    assert other.not_needed(other.run(MOVE).comparison.explained) == []  # type: ignore[union-attr]


# ---------------------------------------------------------------- targets that are not deterministic


def test_what_never_recurs_is_a_finding_all_the_same() -> None:
    once = Sometimes(lambda x: isinstance(x, c.Snapshot), Result(cpages=1, snapshot=(9,)), lambda n: n == 10)
    s = session(Flaky(once))
    assert s.found is not None
    assert s.found.again == 0
    assert s.found.repeats == 3
    assert s.found.program == s.found.first
    assert s.found.log == s.found.first_log
    assert any(e.result is not None and e.result.snapshot == (9,) for e in s.found.comparison.logs["flaky"])  # type: ignore[union-attr]
    assert "which did not show it again" in text(s)
    assert "seen again in 0 of 3 repeats" in text(s)


def test_what_recurs_now_and_then_is_made_small_with_repeats() -> None:
    """Every second unmapping goes wrong: in a program with one of them, every second run."""
    wrong = Sometimes(lambda x: isinstance(x, c.Munmap), Result("EIO"), lambda n: n % 2 == 0 and n > 10)
    both = pair(Flaky(wrong))
    plan = Plan(1500, 1, (shape_for(both.targets[0], steps=12),), shrinking=1000, deterministic=False, repeats=4)
    s = Explorer(both.targets[0], both.judges, plan, None, both.run).explore()
    assert s.found is not None
    assert 0 < s.found.again < s.found.repeats
    assert s.found.repeats == 4
    assert length(s.found.program) < length(s.found.first)


def test_a_target_that_dies_is_started_again() -> None:
    second = Flaky(deaths=(300, 700))
    s = session(second)
    assert s.found is None
    assert len(s.lost) == 2
    assert second.restarts == 2
    assert s.commands >= 1500
    assert s.lost[0].findings[0].check == "crash"
    assert "the guest does not answer any more" in str(s.lost[0].findings[0])
    assert s.lost[0].repeats == 3
    said = text(s)
    assert "killed it again in none of 3 repeats" in said
    assert "nothing found" not in said
    assert len(document(s, 1)["lost"]) == 2  # type: ignore[arg-type]


def test_a_target_that_dies_too_often_ends_the_session() -> None:
    s = session(Flaky(deaths=tuple(range(100, 5000, 100))), restarts=2)
    assert s.commands < 1500
    assert s.found is not None or len(s.lost) == 3


def test_what_kills_it_again_is_found_and_made_small() -> None:
    s = session(Flaky(kills=lambda x: isinstance(x, c.CheckExclusive)))
    assert s.found is not None
    assert s.lost == []
    assert s.found.findings[0].check == "crash"
    assert isinstance(s.found.program[-1], c.CheckExclusive)
    assert length(s.found.program) <= 3


# ---------------------------------------------------------------- the command

PAIR = ["conform", "--no-spec", "--quiet", "--steps", "600", "--target"]


def test_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmmspec.cli.conform.SHRINKING", 2.0)
    fake, flaky = "tests.conform.fake:make", "tests.conform.flaky:make"
    assert main([*PAIR, f"{fake},{flaky}"]) == 0
    assert "results of fake and flaky compared" in capsys.readouterr().out
    assert main([*PAIR, f"{fake},{flaky}@death=100", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["exit_code"] == 1
    assert data["found"] is None
    assert len(data["lost"]) == 1
    assert main([*PAIR, f"{fake},{flaky}@skips=on", "--save", str(tmp_path)]) == 1
    assert "differ in error" in capsys.readouterr().out
    assert (tmp_path / "finding.json").is_file()
    path = tmp_path / "known.toml"
    path.write_text("""[[difference]]
name = "never-moves"
kernel = ">=6.12"
command = { do = "migrate_to_device" }
results.fake = { error = "" }
results.flaky = { error = "ENOENT" }
reason = "it is made so"
[[difference]]
name = "stale"
kernel = ""
command = { do = "load" }
results.fake = { error = "" }
results.flaky = { error = "SIGBUS" }
reason = "it was so"
""")
    assert main([*PAIR, f"{fake},{flaky}@skips=on", "--known", str(path)]) == 0
    said = capsys.readouterr().out
    assert "known difference never-moves" in said
    assert "nothing shows any more: stale" in " ".join(said.split())


@pytest.mark.parametrize("targets", ["ref,", ",ref", "ref,ref,ref", "ref,ref@profile", "ref,nothing", "ref,ref@=x"])
def test_wrong_targets_are_told(targets: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PAIR, targets]) == 2
    assert "HMM088" in capsys.readouterr().err


def test_two_reference_kernels() -> None:
    assert main([*PAIR, "ref,ref", "--profile", "6.12", "--steps", "150"]) == 0
