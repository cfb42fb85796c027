"""`hmmspec scenario`: files, options, exit codes.  And the reference: its examples are read, its tables are true."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from hmmspec.cli.main import main
from hmmspec.conform.scenario.expand import Choice, plans
from hmmspec.conform.scenario.forms import BYTES, ERRNOS, FORMS, MAPS, RESERVED
from hmmspec.conform.scenario.layout import format_text
from hmmspec.conform.scenario.parser import parse
from hmmspec.conform.scenario.runner import facts_of, run_plan
from hmmspec.conform.target import Target
from hmmspec.diagnostics import Source
from tests.scenario.fake import Fake

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "scenarios.md").read_text()
EXAMPLES = re.findall(r"```scn\n(.*?)```", PAGE, re.DOTALL)
FAKE = "tests.scenario.test_command:fake"
GOOD = 'scenario good "it works" {\n  param N in {2, 3}\n  device gpu private\n  gpu.open\n  mmap [0, N) rw\n  load [0, N) -> data zero\n}\n'
BAD = "scenario bad {\n  mmap [0] rw\n  load [0] -> data 7\n}\n"


def fake(options: Mapping[str, object]) -> Target:
    assert set(options) >= {"profile"}
    return Fake()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.scn"
    path.write_text(GOOD)
    return path


def run(*args: object) -> int:
    return main(["scenario", "--target", FAKE, *map(str, args)])


def test_all_is_well(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(file),
        "  good [N=2]: ok",
        "  good [N=3]: ok",
        "1 scenario: 2 ok; 6 commands",
    ]


def test_a_folder_and_a_failure(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file.parent / "y.scn").write_text(BAD)
    assert run(file.parent, "--quiet") == 1
    out = capsys.readouterr().out.splitlines()
    assert out[1] == "  bad: FAILED"
    assert out[2].endswith("y.scn:3:3: load [0] -> data 7")
    assert "data of page 0: 7 expected, zero seen" in out[4]
    assert f"--only bad --target {FAKE}" in out[5]
    assert out[-1] == "2 scenarios: 2 ok, 1 failed; 8 commands"


def test_options(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "-p", "N=9") == 0
    assert "good [N=9]: ok" in capsys.readouterr().out
    assert run(file, "--list", "--only", "good") == 0
    assert "  good [N=2]: it works\n" in capsys.readouterr().out
    assert run("--behaviours") == 0
    assert "device_thp" in capsys.readouterr().out


def test_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(file, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == 0
    assert document["target"]["name"] == "fake"
    assert [(s["scenario"], s["params"], s["status"]) for s in document["scenarios"]] == [
        ("good", {"N": 2}, "passed"),
        ("good", {"N": 3}, "passed"),
    ]
    told = PAGE.split("`--json` gives")[1].split("From Python")[0]
    for name in (*document, *document["target"], *document["scenarios"][0]):
        assert f"`{name}`" in told, f"docs/scenarios.md does not tell '{name}'"


def test_nothing_could_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.scn"
    path.write_text("scenario s {\n  needs device_thp\n  mmap [0] rw\n}\n")
    assert run(path) == 3
    assert "s: skipped, it needs device_thp" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--only", "god"], "HMM129"),
        (["-p", "M=1"], "HMM129"),
        (["-p", "N=many"], "HMM129"),
        (["--target", "reff"], "HMM129"),
        (["-p", "N"], "HMM084"),
        (["--seeds", "0"], "HMM089"),
        (["--variant", "public"], "HMM089"),
        (["-p", "N=0"], "HMM125"),
        (["missing.scn"], "HMM080"),
    ],
)
def test_mistakes(file: Path, capsys: pytest.CaptureFixture[str], args: list[str], code: str) -> None:
    assert run(file, *args) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert f"error {code}: " in told.err
    assert "Traceback" not in told.err


def test_no_file_and_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert run(tmp_path) == 2
    assert "there is no .scn file in" in capsys.readouterr().err


def test_fmt(file: Path) -> None:
    file.write_text("scenario s{\n mmap [0]rw\n}")
    assert main(["fmt", str(file)]) == 0
    assert file.read_text() == "scenario s {\n  mmap [0] rw\n}\n"


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_of_the_reference_run(text: str) -> None:
    source = Source("example.scn", text)
    assert format_text(source) == text
    found = parse(source)
    for scenario in found.scenarios:
        for plan in plans(found, scenario, facts_of(Fake()), Choice()):
            # The fake target does not bring pages back when the CPU touches them: its bytes are wrong there.
            report = run_plan(plan, Fake())
            assert all("byte of page" in problem.message for problem in report.problems)


def test_the_reference_tells_every_command() -> None:
    rows = re.findall(
        r"^\| `((?:[^`]|``)+)` \|", PAGE.split("<!-- commands -->")[1].split("<!-- end -->")[0], re.MULTILINE
    )
    assert {row.replace("\\|", "|") for row in rows} == {form.written for form in FORMS.values()}


@pytest.mark.parametrize("word", [*BYTES, *MAPS, "LOCAL", "REMOTE", "none"])
def test_the_reference_tells_every_word(word: str) -> None:
    assert re.search(rf"[`+ ]{word}`", PAGE)


def test_errors_have_their_names() -> None:
    import errno

    assert [name for name in ERRNOS if not hasattr(errno, name)] == ["EHWPOISON"]  # newer than Python's list


def test_the_reference_tells_what_cannot_be_a_name_and_every_file() -> None:
    told = PAGE.split("cannot be names:")[1].split(".\n")[0]
    assert set(re.findall(r"`(\w+)`", told)) == set(RESERVED)
    assert set(re.findall(r"`scenarios/(\w+)\.scn`", PAGE)) == {p.stem for p in (ROOT / "scenarios").glob("*.scn")}
