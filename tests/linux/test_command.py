"""`hmmspec linux`: what is printed, written and returned."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from hmmspec.cli import linux
from hmmspec.cli.main import main
from hmmspec.linux.build import Step
from hmmspec.linux.image import Image
from hmmspec.linux.toolchain import Toolchain
from tests.linux.fake_tree import make_tree


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(linux, "find_toolchain", lambda: Toolchain("cc", "cc 1.0"))
    return make_tree(tmp_path / "tree", without=frozenset({"GUP_TEST"}))


def test_build_list_remove(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["linux", "build", "--source", str(tree), "--out", str(tmp_path / "out")]) == 0
    image = Image.load(tmp_path / "out")
    out, err = capsys.readouterr()
    first, folder, has, lacking = out.splitlines()
    assert first.startswith(f"Linux 6.12.7, plain, {image.hash[:12]}: 4 steps in 0:")
    assert Image.load(Path(folder.strip())).hash == image.hash
    assert has == "  the source has: close_evicts, coherent, gup_longterm, private, release"
    assert lacking == "  without GUP_TEST: this tree has no such option"
    assert err.splitlines()[:3] == [f"looking at {tree}", "plain: configuring", "plain: building"]

    assert main(["linux", "build", "--source", str(tree), "--kind", "all", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(t["kind"], t["cached"], t["version"]) for t in told] == [
        ("plain", True, "6.12.7"),
        ("debug", False, "6.12.7"),
    ]

    assert main(["linux", "list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{t['hash'][:12]}  {t['kind']}" in listed for t in told) and str(tree) in listed
    assert main(["linux", "rm", told[0]["hash"][:10]]) == 0
    capsys.readouterr()
    assert main(["linux", "list", "--json"]) == 0
    assert [t["hash"] for t in json.loads(capsys.readouterr().out)] == [told[1]["hash"]]
    assert main(["linux", "rm", "--all"]) == 0
    assert main(["linux", "list"]) == 0
    assert "no images" in capsys.readouterr().out


def test_more_options(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more").write_text("CONFIG_NR_CPUS=4\n")
    command = ["linux", "build", "--source", str(tree), "--config-add", str(tmp_path / "more"), "--kind", "all"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    assert Image.load(tmp_path / "out/plain").options["NR_CPUS"] == "4"
    assert Image.load(tmp_path / "out/debug").kind == "debug"
    (tmp_path / "more").write_text("CONFIG_NOT_THERE=y\n")
    assert main(command) == 2
    assert "error HMM155" in capsys.readouterr().err


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "linux wants one of build, list, rm"),
        (["bulid"], "invalid choice"),
        (["build", "--source", "nowhere"], "there is no 'nowhere'"),
        (["build", "--kind", "fast"], "invalid choice"),
        (["rm"], "rm wants images or --all"),
        (["rm", "--all", "x"], "rm wants images or --all"),
        (["rm", "0123"], "no image begins with '0123'"),
    ],
)
def test_wrong_use(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["linux", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_what_is_not_in_the_cache_is_not_removed(tree: Path, tmp_path: Path) -> None:
    assert main(["linux", "build", "--source", str(tree), "--out", str(tmp_path / "out")]) == 0
    assert main(["linux", "rm", str(tmp_path / "out")]) == 2
    assert Image.load(tmp_path / "out").kernel.is_file()


@pytest.mark.usefixtures("tree")
def test_an_error_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["linux", "build", "--source", "nowhere", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["diagnostics"][0]["code"] == "HMM151"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(linux.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    show = linux.BuildProgress(stream)
    for second in range(100):
        now[0] = float(second)
        show(Step("plain", "building", 10 * second, 700))
    show(Step("debug", "configuring"))
    assert stream.getvalue().splitlines() == [
        "plain: building",
        "plain: building, 200 of about 700 steps, 0:20",
        "plain: building, 400 of about 700 steps, 0:40",
        "plain: building, 600 of about 700 steps, 1:00",
        "plain: building, 800 steps, 1:20",
        "debug: configuring",
    ]
    terminal = Terminal()
    show = linux.BuildProgress(terminal)
    show(Step("plain", "building", 5, None))
    show.clear()
    shown = terminal.getvalue()
    assert "plain: building, 5 steps, 0:00" in shown and shown.endswith("\r") and "\n" not in shown
