"""Event logs as files: what is malformed is said with its line, and `hmmspec follow` tells what came of a log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hmmspec.cli.main import main
from hmmspec.conform import commands as c
from hmmspec.conform.follow.log import read_log, write_log
from hmmspec.diagnostics import SpecError, render
from tests.conform.fake import FakeTarget
from tests.conform.small import REGISTER, REGISTER_BINDING, Writer, files

HEADER = '{"log": "hmmspec", "version": 1}'
CALL = '{"event": "call", "call": 0, "thread": "t", "command": {"do": "exit", "process": "p0"}}'
BACK = '{"event": "return", "call": 0, "thread": "t", "result": {}}'

# The lines of a log -> the code, the line that is blamed, a word of the message.
WRONG = {
    (): ("HMM136", 1, "is empty"),
    (CALL,): ("HMM136", 1, "header"),
    ('{"log": "hmmspec", "version": 9}',): ("HMM136", 1, "version 9"),
    ('{"log": "hmmspec", "version": 1, "profile": []}',): ("HMM136", 1, "'profile'"),
    (HEADER, "no json", CALL): ("HMM136", 2, "no JSON"),
    (HEADER, '{"call": ' + "9" * 5000 + "}", CALL): ("HMM136", 2, "too long a number"),
    (HEADER, "[" * 100_000, CALL): ("HMM136", 2, "no JSON"),
    (HEADER, "[1, 2]"): ("HMM136", 2, "one JSON object"),
    (HEADER, '{"call": 0}'): ("HMM136", 2, '"event"'),
    (HEADER, '{"event": "begin", "call": 0}'): ("HMM136", 2, "'begin'"),
    (HEADER, '{"event": "call", "call": "first"}'): ("HMM136", 2, "number of the call"),
    (HEADER, '{"event": "call", "call": 0, "thread": "t"}'): ("HMM136", 2, "'command'"),
    (HEADER, '{"event": "call", "call": 0, "command": {"process": "p0"}}'): ("HMM136", 2, "'do'"),
    (HEADER, CALL.replace("exit", "exot")): ("HMM137", 2, "did you mean 'exit'"),
    (HEADER, CALL.replace('"p0"', "7")): ("HMM136", 2, "'process'"),
    (HEADER, CALL.replace('"p0"', '"p0", "page": 1')): ("HMM136", 2, "no field 'page'"),
    (HEADER, BACK): ("HMM136", 2, "never made"),
    (HEADER, CALL, BACK, BACK): ("HMM136", 4, "returned already"),
    (HEADER, CALL, BACK, CALL): ("HMM136", 4, "after call 0"),
    (HEADER, CALL, CALL.replace('"call": 0', '"call": 1')): ("HMM136", 3, "has not returned"),
    (HEADER, CALL, BACK.replace('"t"', '"u"')): ("HMM136", 3, "of thread 't'"),
    (HEADER, CALL, BACK.replace("{}", '{"colour": 1}')): ("HMM136", 3, "no field 'colour'"),
    (HEADER, CALL, BACK.replace("{}", '{"cpages": "x"}')): ("HMM136", 3, "'cpages'"),
}


@pytest.mark.parametrize("lines", WRONG, ids=lambda lines: WRONG[lines][2])
def test_what_is_malformed_is_said_with_its_line(lines: tuple[str, ...], tmp_path: Path) -> None:
    code, line, word = WRONG[lines]
    path = tmp_path / "log.jsonl"
    path.write_text("".join(x + "\n" for x in lines))
    with pytest.raises(SpecError) as error:
        read_log(str(path))
    (found,) = error.value.diagnostics
    assert (found.code, found.span.line) == (code, line), render(found)
    assert word in render(found)


@pytest.mark.parametrize("end", [CALL[:30], '{"event', '{"event": "call", "call": 1, "thread": "\\u12'])
def test_a_torn_last_line(end: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f"{HEADER}\n{CALL}\n{BACK}\n{end}")
    log = read_log(str(path))
    assert len(log.events) == 2
    assert log.torn is not None
    assert log.torn.code == "HMM138"
    assert log.torn.span.line == 4


def test_a_last_line_without_its_newline_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(f"{HEADER}\n{CALL}\n{BACK}")
    log = read_log(str(path))
    assert len(log.events) == 2
    assert log.torn is None


@pytest.mark.parametrize(("content", "code"), [(None, "HMM080"), (b"\xff\xfe", "HMM083")])
def test_files_that_cannot_be_read(content: bytes | None, code: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SpecError) as error:
        read_log(str(path))
    assert error.value.diagnostics[0].code == code
    with pytest.raises(SpecError, match="folder"):
        read_log(str(tmp_path))


def test_what_a_target_logged_is_read_again(tmp_path: Path) -> None:
    target = FakeTarget()
    target.reset()
    target.run_all([c.Mmap("p0", 0, 4), c.Store("p0", 0, 4, stamp=3), c.Load("p0", 0, 4), c.Load("p0", 90)])
    path = str(tmp_path / "log.jsonl")
    write_log(path, target, target.log)
    log = read_log(path)
    assert log.target == target.name
    assert log.devices == dict(target.devices)
    assert [e.origin for e in log.events] == [e.command if e.command is not None else e.result for e in target.log]


# ---------------------------------------------------------------- the command


def follow(*args: str) -> int:
    return main(["follow", *args])


def test_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = files(tmp_path, REGISTER, REGISTER_BINDING)
    log = Writer()
    log.run("write", value=1)
    log.run("read", {"value": 1})
    assert follow(log.write(tmp_path / "log.jsonl"), spec) == 0
    out = capsys.readouterr().out
    assert "register: explained, 4 events" in out
    assert "never: refuse\n" in out
    assert follow(str(tmp_path / "log.jsonl"), spec, "--coverage") == 0
    assert "maybe  1 times" in capsys.readouterr().out


def test_not_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = files(tmp_path, REGISTER, REGISTER_BINDING)
    log = Writer()
    log.run("write", value=1)
    log.run("read", {"value": 2})
    path = log.write(tmp_path / "log.jsonl")
    assert follow(path, spec) == 1
    out = capsys.readouterr().out
    assert "register does not explain line 4, call 1 of main: read -> value=2" in out
    assert "the spec allows: else: read(1)" in out
    assert follow(path, spec, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 1
    assert told["specs"][0]["verdict"] == "not explained"
    assert told["specs"][0]["findings"][0]["call"] == 1


def test_incomplete(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = files(tmp_path, REGISTER, REGISTER_BINDING)
    log = Writer()
    for n in range(6):
        log.call("write", thread=f"t{n}", value=n + 1)
    log.run("read", {"value": 6})
    assert follow(log.write(tmp_path / "log.jsonl"), spec) == 3
    assert "incomplete: more than 4 members of Value" in capsys.readouterr().out


def test_torn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = files(tmp_path, REGISTER, REGISTER_BINDING)
    log = Writer()
    log.run("write", value=1)
    path = tmp_path / "log.jsonl"
    path.write_text(log.text() + '{"event": "ca')
    assert follow(str(path), spec) == 2
    assert "log.jsonl:4:" in capsys.readouterr().err
    assert follow("--torn", str(path), spec) == 0
    told = capsys.readouterr()
    assert "explained" in told.out
    assert "warning HMM138" in told.err
    assert "--torn" not in told.err


def test_unknown_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = files(tmp_path, REGISTER, REGISTER_BINDING)
    log = Writer()
    log.run("write", value=1)
    log.run("wrte", value=2)
    assert follow(log.write(tmp_path / "log.jsonl"), spec) == 2
    err = capsys.readouterr().err
    assert "log.jsonl:4:1: error HMM137: unknown event 'wrte'" in err
    assert "did you mean 'write'?" in err
    # One of ours, which this binding says nothing of.
    log = Writer()
    log.run("exit", process="p0")
    assert follow(log.write(tmp_path / "log.jsonl"), spec) == 2
    assert "says nothing of it" in capsys.readouterr().err
    # And one without a field that the binding reads.
    log = Writer()
    log.run("write", valu=1)
    assert follow(log.write(tmp_path / "log.jsonl"), spec) == 2
    err = capsys.readouterr().err
    assert "'write' has no field 'value' here" in err
    assert "log.jsonl:2" in err


def test_binding_by_name(tmp_path: Path) -> None:
    spec = files(tmp_path, REGISTER, REGISTER_BINDING)
    (tmp_path / "other.bind").write_text(REGISTER_BINDING.replace("else: read(data(value))", "else: nothing"))
    log = Writer()
    log.run("read", {"value": 2})
    path = log.write(tmp_path / "log.jsonl")
    assert follow(path, spec) == 1
    assert follow(path, spec, "--binding", str(tmp_path / "other.bind")) == 0
    assert follow(path, str(tmp_path / "other.bind")) == 0
    assert follow(path, str(tmp_path / "none.hmm")) == 2
