"""Input that is missing, broken or far too large: a clear message, the right exit code, no stack trace, in time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hmmspec.cli.main import main


def check(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `hmmspec check ARGUMENTS`."""
    code = main(["check", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    assert "defect" not in err
    return code, out, err


def write(folder: Path, **files: str) -> Path:
    """Files by name (without .hmm); the first of them."""
    for name, text in files.items():
        (folder / f"{name}.hmm").write_text(text)
    return folder / f"{next(iter(files))}.hmm"


@pytest.mark.parametrize("text", ["", "\n\n", "// nothing but a comment\n"])
def test_empty_file(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = check(capsys, write(tmp_path, a=text))
    assert (code, out) == (2, "")
    assert "HMM010" in err
    assert "a.hmm" in err
    assert "the file is empty" in err


def test_missing_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, device="spec device\n")
    code, out, err = check(capsys, tmp_path / "devise.hmm")
    assert (code, out) == (2, "")
    assert "HMM080" in err
    assert "devise.hmm' does not exist" in err
    assert "did you mean 'device.hmm'" in err


def test_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = check(capsys, tmp_path)
    assert (code, out) == (2, "")
    assert "HMM081" in err
    assert "is a directory" in err


def test_all_bad_files_are_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path, good="spec good\nvar x: bool = false;\nterminal any_state: true;\n")
    code, out, err = check(capsys, good, tmp_path / "gone.hmm", tmp_path)
    assert (code, out) == (2, "")
    assert "HMM080" in err
    assert "HMM081" in err


def test_import_cycle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write(
        tmp_path,
        a='spec a\nimport "b.hmm";\n',
        b='spec b\nimport "c.hmm";\n',
        c='spec c\nimport "a.hmm";\n',
    )
    code, _, err = check(capsys, first)
    assert code == 2
    assert "HMM061" in err
    assert "a.hmm -> b.hmm -> c.hmm -> a.hmm" in err


def test_import_of_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = check(capsys, write(tmp_path, a='spec a\nimport "./a.hmm";\n'))
    assert code == 2
    assert "HMM061" in err


def test_unreachable_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = check(capsys, write(tmp_path, a='spec a\nimport "folios.hmm";\n', folio="spec folio\n"))
    assert code == 2
    assert "HMM060" in err
    assert '"folios.hmm" was not found' in err
    assert "a.hmm:2:" in err
    assert "did you mean 'folio.hmm'" in err


def test_mistake_in_an_imported_file_is_shown_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = check(capsys, write(tmp_path, a='spec a\nimport "b.hmm";\n', b="spec b\nvar x: bool = ;\n"))
    assert code == 2
    assert "b.hmm:2:" in err


def test_name_defined_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "spec a\nvar pins: bool = false;\nlock pins;\ntransition t { pins := true; }\n"
    code, _, err = check(capsys, write(tmp_path, a=text))
    assert code == 2
    assert "'pins' is defined twice" in err
    assert "a.hmm:3:" in err
    assert "a.hmm:2:" in err


def test_name_defined_twice_by_an_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"a": 'spec a\nimport "b.hmm";\nvar pins: bool = false;\n', "b": "spec b\nvar pins: bool = true;\n"}
    code, _, err = check(capsys, write(tmp_path, **files))
    assert code == 2
    assert "'pins' is defined twice" in err
    assert "b.hmm:2:" in err


# 10^30 states: a hundred switches that flip one at a time, or that may stand anyhow at the start.
FLIPS = """spec flips
type Switch = 1..100;
var on[Switch]: bool = false;
transition flip(s: Switch) { on[s] := !on[s]; }
invariant not_all "never all at once": exists s: Switch { !on[s] };
"""
STARTS = FLIPS.replace("= false;", "= any;").replace("not_all", "fine").replace("exists s: Switch { !on[s] }", "true")
COUNTERS = """spec counters
var n: 0..1_000_000_000_000_000 = 0;
var m: 0..1_000_000_000_000_000 = 0;
transition up   { n += 1; }
transition jump { m += 2; }
transition back when m > 0 { choose k: 1..9 | k <= m; m -= k; }
invariant fine: n >= 0;
"""


@pytest.mark.parametrize("text", [FLIPS, STARTS, COUNTERS], ids=["flips", "starts", "counters"])
def test_time_limit(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    code, out, err = check(capsys, write(tmp_path, a=text), "--time", "1s")
    assert code == 3, out + err
    assert time.monotonic() - start < 15
    assert "limit --time 1s reached (incomplete)" in " ".join(out.split())
    assert "no violation found in" in " ".join(out.split())
    assert "exhaustive" not in out
    assert "ok" not in out.split()


@pytest.mark.parametrize("text", [FLIPS, STARTS], ids=["flips", "starts"])
def test_state_limit(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = check(capsys, write(tmp_path, a=text), "--states", "500", "--time", "60s")
    assert code == 3
    assert "limit --states 500 reached (incomplete)" in " ".join(out.split())


def test_a_violation_before_the_limit_is_still_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = FLIPS.replace("exists s: Switch { !on[s] }", "!on[7]")
    code, out, _ = check(capsys, write(tmp_path, a=text), "--states", "500")
    assert code == 1
    assert "violated, shortest trace of 1 step" in " ".join(out.split())
