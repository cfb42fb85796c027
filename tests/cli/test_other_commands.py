"""fmt, show, draw, replay, walk and version; and what all commands share."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hmmspec.cli import args, check, engines, files, limits, main
from hmmspec.diagnostics import InternalError, Limit, SpecError

# ------------------------------------------------------------ what all share


def test_help_names_every_command(hmmspec) -> None:
    result = hmmspec("--help")
    assert result.code == 0
    for name in main.COMMANDS:
        assert f"  {name} " in result.out
        with pytest.raises(SystemExit, match="0"):
            hmmspec(name, "--help")
    assert all(len(line) <= 100 for line in result.out.splitlines())


def test_help_does_not_load_the_checker() -> None:
    program = (
        "import sys; from hmmspec.cli.main import main; main(['--help']);"
        "print([m for m in sys.modules if m.split('.')[0] in ('lark', 'networkx', 'rich')"
        " or m.startswith('hmmspec.checker')], file=sys.stderr)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_no_command_and_unknown_commands_are_2(hmmspec) -> None:
    assert hmmspec().code == 2
    result = hmmspec("chek")
    assert result.code == 2
    assert "did you mean 'check'?" in result.err
    assert json.loads(hmmspec("chek", "--json").out)["exit_code"] == 2


def test_version(hmmspec) -> None:
    for way in ("version", "--version"):
        assert hmmspec(way).out.startswith("hmmspec ")


@pytest.mark.parametrize("error", [InternalError("two and two are five"), ZeroDivisionError("by zero")])
def test_a_defect_is_told_as_ours(hmmspec, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(check, "run", fail)
    monkeypatch.delenv("HMMSPEC_DEBUG", raising=False)
    result = hmmspec("check", "pins.hmm")
    assert result.code == 70
    assert "this is a defect in hmmspec" in result.err
    assert str(error) in result.err
    assert "Traceback" not in result.err
    monkeypatch.setenv("HMMSPEC_DEBUG", "1")
    assert "Traceback" in hmmspec("check", "pins.hmm").err


@pytest.mark.parametrize("error", [Limit("the state is too large"), MemoryError()])
def test_a_limit_of_one_instance_does_not_lose_the_others(
    hmmspec, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    whole = engines.ENGINES["auto"]

    def sometimes(system, options, progress):
        if system.instance == "good":
            raise error
        return whole(system, options, progress)

    monkeypatch.setitem(engines.ENGINES, "auto", sometimes)
    result = hmmspec("check", "pins.hmm")
    assert result.code == 3
    assert "not searched: " in result.out
    assert "violated as expected" in result.out
    assert "INCOMPLETE: good" in result.out.splitlines()[-1]
    assert json.loads(hmmspec("check", "pins.hmm", "--json").out)["exit_code"] == 3


@pytest.mark.parametrize("error", [Limit("stopped after 5 states"), MemoryError()])
def test_a_limit_outside_a_search_is_3(hmmspec, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(check, "run", fail)
    result = hmmspec("check", "pins.hmm")
    assert result.code == 3
    assert "(incomplete)" in result.err


def test_amounts() -> None:
    assert [args.duration(x) for x in ("90", "90s", "10m", "1.5h", "1h30m")] == [90, 90, 600, 5400, 5400]
    assert [args.size(x) for x in ("512M", "2g", "2GiB", "1.5k", "7")] == [512 << 20, 2 << 30, 2 << 30, 1536, 7]
    for text in ("", "x", "-1s", "10 apples", "0"):
        with pytest.raises(Exception, match="time"):
            args.duration(text)
    for text in ("", "G", "-1G", "2X"):
        with pytest.raises(Exception, match="memory"):
            args.size(text)


def test_default_memory_is_less_than_the_machine_has() -> None:
    total = next(int(x.split()[1]) << 10 for x in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in x)
    chosen = limits.default_memory()
    assert chosen is not None
    assert chosen < total


def disk_full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_files_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "deep" / "er" / "x.txt"
    files.write_whole(target, "one")
    files.write_whole(target, "two")
    assert target.read_text() == "two"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", disk_full)
        with pytest.raises(SpecError, match="No space left"):
            files.write_whole(target, "three")
    assert target.read_text() == "two"
    assert [p.name for p in target.parent.iterdir()] == ["x.txt"]
    with pytest.raises(SpecError, match="HMM087"):
        files.write_whole(tmp_path, "a folder")
    link = tmp_path / "link"
    link.symlink_to(target)
    files.write_whole(link, "three")
    assert link.is_symlink()
    assert target.read_text() == "three"


def test_file_names_hold_nothing_odd() -> None:
    assert files.file_name("a/b", "..", "x y") == "a_b-_-x_y"


# ------------------------------------------------------------ fmt


def test_fmt(hmmspec, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ugly = "spec a\nvar x :bool=false;   // note\ntransition t when !x {x:=true;}\n"
    (folder / "a.hmm").write_text(ugly)
    checked = hmmspec("fmt", "--check", "a.hmm")
    assert (checked.code, checked.err) == (1, "a.hmm: would change\n")
    diff = hmmspec("fmt", "--diff", "a.hmm")
    assert diff.code == 1
    assert "+var x: bool = false;  // note" in diff.out
    assert (folder / "a.hmm").read_text() == ugly
    assert hmmspec("fmt", "a.hmm").code == 0
    text = (folder / "a.hmm").read_text()
    assert "var x: bool = false;" in text
    assert hmmspec("fmt", "--check", "a.hmm").code == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO(ugly))
    assert hmmspec("fmt", "-").out == text


def test_fmt_changes_nothing_if_one_file_is_wrong(hmmspec, folder: Path) -> None:
    (folder / "a.hmm").write_text("spec a\nvar x :bool=false;\n")
    (folder / "b.hmm").write_text("spec b\nvar\n")
    result = hmmspec("fmt", "a.hmm", "b.hmm")
    assert result.code == 2
    assert "b.hmm" in result.err
    assert "x :bool" in (folder / "a.hmm").read_text()


# ------------------------------------------------------------ show, draw


def test_show_spells_out_the_first_instance(hmmspec) -> None:
    result = hmmspec("show", "pins.hmm")
    assert result.code == 0
    assert "swap_out" in result.out
    assert hmmspec("show", "pins.hmm", "-i", "good", "-i", "bad").code == 2
    assert "did you mean 'good'?" in hmmspec("show", "pins.hmm", "-i", "godo").err


def test_draw_machines(hmmspec, folder: Path) -> None:
    result = hmmspec("draw", "pins.hmm")
    assert result.code == 0
    assert result.out.startswith('digraph "pins" {')
    assert '"0.system" -> "0.swapped" [label="swap_out\\n[pins[p] == 0 || BUG]"];' in result.out
    assert '"0.system" [label="system", peripheries=2];' in result.out
    assert hmmspec("draw", "pins.hmm", "-o", "m.dot").code == 0
    assert (folder / "m.dot").read_text() == result.out
    assert "did you mean 'place'?" in hmmspec("draw", "pins.hmm", "--machine", "plce").err
    assert hmmspec("draw", "pins.hmm", "-o", "m.png").code == 2
    assert "HMM088" in hmmspec("draw", "counter.hmm").err


def test_draw_threads_by_their_labels(hmmspec, folder: Path) -> None:
    (folder / "t.hmm").write_text(
        """spec t
lock l;
var n: 0..3 = 0;
thread worker {
  take: acquire l;
        if (n == 3) { release l; stop; }
  work: while (n < 2) { n += 1; again: skip; }
  done: release l; restart;
}
procedure p() { one: n := 0; if (n == 1) { return; } two: n := 2; }
"""
    )
    out = hmmspec("draw", "t.hmm", "--machine", "worker").out
    assert '"0.take" [label="take\\nacquire l", peripheries=2];' in out
    for edge in (
        '"0.take" -> "0.stopped" [label="n == 3"]',
        '"0.again" -> "0.again" [label="n < 2"]',
        '"0.done" -> "0.take"',
    ):
        assert edge in out
    assert '"0.work" -> "0.again"' in out
    assert '"0.again" -> "0.done"' in out
    assert '"0.one" -> "0.return" [label="n == 1"]' in hmmspec("draw", "t.hmm", "--machine", "p").out


def test_draw_the_graph_of_a_small_instance(hmmspec) -> None:
    out = hmmspec("draw", "pins.hmm", "--graph").out
    assert out.count("tooltip=") == 9
    assert '[label="swap_in (p = page0)"]' in out
    bad = hmmspec("draw", "pins.hmm", "--graph", "-i", "bad").out
    assert bad.count("#f4c7c3") == 7  # the states in which a pinned page is swapped out
    result = hmmspec("draw", "pins.hmm", "--graph", "--max-states", "5")
    assert result.code == 3
    assert "more than 5 states" in result.err
    assert result.out == ""


def test_svg_needs_graphviz_and_says_so(hmmspec, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    result = hmmspec("draw", "pins.hmm", "-o", "m.svg")
    assert result.code == 2
    assert "Graphviz" in result.err
    assert not (folder / "m.svg").exists()


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_svg(hmmspec, folder: Path) -> None:
    assert hmmspec("draw", "pins.hmm", "-o", "m.svg").code == 0
    assert "</svg>" in (folder / "m.svg").read_text()


# ------------------------------------------------------------ replay


def saved(hmmspec) -> str:
    hmmspec("check", "pins.hmm", "-i", "bad", "--save-traces", "saved", "--quiet")
    return "saved/pins-bad-pinned_stay.json"


def test_replay_fits(hmmspec) -> None:
    result = hmmspec("replay", saved(hmmspec))
    assert result.code == 0
    assert "place[page0]: system -> swapped" in result.out
    assert result.out.endswith("every step fits: 2 steps\n")


def test_replay_names_the_first_step_that_does_not_fit(hmmspec, folder: Path) -> None:
    path = saved(hmmspec)
    text = (folder / "pins.hmm").read_text()
    (folder / "pins.hmm").write_text(text.replace(" || BUG", ""))
    result = hmmspec("replay", path)
    assert result.code == 1
    assert "the text of the spec has changed" in result.out
    assert "step 2, swap_out (p = page0), is not possible here" in result.out
    assert "pins[page0]: 0 -> 1" in result.out
    (folder / "pins.hmm").write_text(text.replace("pins[p] += 1", "pins[p] += 0"))
    assert "step 1, pin (p = page0), leads elsewhere: pins[page0] is 0, the trace has 1" in " ".join(
        hmmspec("replay", path).out.split()
    )
    (folder / "pins.hmm").write_text(text.replace("Page]: 0..1 = 0", "Page]: 0..1 = 1"))
    assert "no start state is the trace's" in hmmspec("replay", path).out
    (folder / "pins.hmm").write_text(text.replace("by swap_out", "by swapped_out"))
    assert "step 2, swap_out (p = page0), does not exist" in hmmspec("replay", path).out


def test_replay_says_when_the_property_holds_now(hmmspec, folder: Path) -> None:
    path = saved(hmmspec)
    text = (folder / "pins.hmm").read_text()
    (folder / "pins.hmm").write_text(text.replace("=> place[p] == system }", "=> true }"))
    result = hmmspec("replay", path)
    assert result.code == 1
    assert "every step fits, but pinned_stay holds now" in result.out


def test_replay_keeps_params_set_by_hand(hmmspec) -> None:
    hmmspec("check", "pins.hmm", "-p", "BUG=true", "-p", "PAGES=3", "--save-traces", "saved", "--quiet")
    result = hmmspec("replay", "saved/pins-default-pinned_stay.json")
    assert result.code == 0


def test_replay_of_a_failing_step_and_of_a_lasso(hmmspec, folder: Path) -> None:
    (folder / "e.hmm").write_text(
        """spec e
var n: 0..2 = 0;
var on: bool = false;
transition up { n += 1; }
transition flip { on := !on; }
leads_to gets_on: n == 0 ~> n == 2;
"""
    )
    hmmspec("check", "e.hmm", "--save-traces", "saved", "--quiet")
    error = hmmspec("replay", "saved/e-default-spec_error.json")
    assert error.code == 0
    assert "fails here" in error.out
    lasso = hmmspec("replay", "saved/e-default-gets_on.json")
    assert lasso.code == 0
    assert "for ever" in lasso.out
    text = (folder / "e.hmm").read_text()
    (folder / "e.hmm").write_text(text.replace("up {", "up when n < 2 {"))
    result = hmmspec("replay", "saved/e-default-spec_error.json")
    assert result.code == 1
    assert "the last step, up, does not fail any more" in result.out


def test_replay_refuses_what_is_no_trace(hmmspec, folder: Path) -> None:
    (folder / "x.json").write_text("{}")
    for name in ("x.json", "nowhere.json", "."):
        result = hmmspec("replay", name)
        assert result.code == 2
        assert "HMM086" in result.err


# ------------------------------------------------------------ walk


def walk(hmmspec, monkeypatch: pytest.MonkeyPatch, *lines: str, options: tuple[str, ...] = ()) -> list[str]:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    result = hmmspec("walk", "pins.hmm", *options)
    assert result.code == 0
    assert result.err == ""
    return result.out.splitlines()


def test_walk_forth_and_back(hmmspec, monkeypatch: pytest.MonkeyPatch) -> None:
    out = walk(hmmspec, monkeypatch, "3", "s", "u", "s", "q")
    assert "  3  pin (p = page0)       pins[page0]: 0 -> 1" in out
    assert "step 1: pin (p = page0)" in out
    first, second = (i for i, line in enumerate(out) if line == "> s")
    assert "  pins[page0] = 1, pins[page1] = 0" in out[first:second]
    assert "  pins[*] = 0" in out[second:]


def test_walk_says_when_a_property_breaks(hmmspec, monkeypatch: pytest.MonkeyPatch) -> None:
    out = walk(hmmspec, monkeypatch, "3", "1", options=("-i", "bad"))
    assert 'pinned_stay is violated here: "pinned pages never migrate"' in out


def test_walk_is_the_same_for_the_same_seed(hmmspec, monkeypatch: pytest.MonkeyPatch) -> None:
    one = walk(hmmspec, monkeypatch, "r 20", options=("--seed", "5"))
    assert one == walk(hmmspec, monkeypatch, "r 20", options=("--seed", "5"))
    assert one[1:] != walk(hmmspec, monkeypatch, "r 20", options=("--seed", "6"))[1:]


def test_walk_goes_to_counterexamples(hmmspec, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(hmmspec)
    for target in (path, "pinned_stay"):
        out = walk(hmmspec, monkeypatch, f"g {target}", f"g {target} 1", options=("-i", "bad"))
        assert "after step 2 of 2" in out
        assert "after step 1 of 2" in out
        assert any("violated here" in line for line in out)
    assert "there is no trace file and no property 'pined_stay': did you mean 'pinned_stay'?" in walk(
        hmmspec, monkeypatch, "g pined_stay"
    )


def test_walk_tells_what_keeps_a_step_from_being_possible(hmmspec, monkeypatch: pytest.MonkeyPatch) -> None:
    out = walk(hmmspec, monkeypatch, "why swap_in", "why pin", "why nothing")
    assert "  swap_in (p = page0): needs place[p] == swapped" in out
    assert "  pin (p = page1): possible" in out
    assert any("why wants the name of a step" in line for line in out)


def test_walk_prints_expressions(hmmspec, monkeypatch: pytest.MonkeyPatch) -> None:
    out = walk(
        hmmspec,
        monkeypatch,
        "3",
        "p count(p: Page | pins[p] > 0) + 1",
        "p pinz",
        "p (",
        "p pins[page0]",
        "p 1 / 0",
        "p",
    )
    at = out.index("> p count(p: Page | pins[p] > 0) + 1")
    assert out[at + 1] == "  2"
    assert out[out.index("> p pins[page0]") + 1] == "  1"
    assert any("HMM020" in line and "pinz" in line for line in out)
    assert any(line.startswith("error of the spec") for line in out)


def test_walk_saves_what_replay_reads(hmmspec, monkeypatch: pytest.MonkeyPatch) -> None:
    walk(hmmspec, monkeypatch, "r 4", "w w.json")
    result = hmmspec("replay", "w.json")
    assert result.code == 0
    assert "every step fits: 4 steps" in result.out


def test_walk_survives_nonsense(hmmspec, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "",
        "0",
        "999",
        "u",
        "u x",
        "r x",
        "r -1",
        "i 7",
        "i x",
        "g",
        "g . x",
        "w",
        "w .",
        "why",
        "foo",
        "l all",
        "?",
        "\t",
    ]
    out = walk(hmmspec, monkeypatch, *lines)
    assert sum(line.startswith("> ") for line in out) >= len(lines)
