"""Compiled specs on disk: only what this user wrote whole is loaded; without a compiler the Python engine runs."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hmmspec.checker.native.engine import check_auto, check_native
from hmmspec.checker.options import CheckOptions
from hmmspec.clib import cache as entries
from hmmspec.clib import compile as compiling
from hmmspec.clib.compile import CannotCompile, TooSlow, build
from hmmspec.system.system import System
from tests.checker.helpers import system_of

TEXT = "int answer(void) { return 42; }\n"
COUNTER = "var x: 0..9 = 0; transition up when x < 9 { x += 1; } transition down when x > 0 { x -= 1; }"
FULL = CheckOptions(symmetry=False)


@pytest.fixture
def folder(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    assert cache.is_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "hmmspec" / "native"


@pytest.fixture
def counter() -> System:
    return system_of(COUNTER)


def test_what_was_compiled_is_found_again(folder: Path) -> None:
    first, second = build(TEXT), build(TEXT)
    assert not first.cached
    assert second.cached
    assert first.path == second.path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [p.name for p in folder.iterdir()] == [first.path.name]


def test_another_text_or_other_options_are_another_entry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {build(TEXT).path.name, build(TEXT + "/* more */").path.name}
    monkeypatch.setenv("HMMSPEC_CFLAGS", "-O1")
    names.add(build(TEXT).path.name)
    assert len(names) == 3
    assert folder.is_dir()


@pytest.mark.parametrize("change", ["flip a bit", "cut", "empty"])
def test_a_damaged_entry_is_compiled_anew(folder: Path, change: str) -> None:
    path = build(TEXT).path
    good = path.read_bytes()
    bad = {"flip a bit": bytes([good[0] ^ 1]) + good[1:], "cut": good[: len(good) // 2], "empty": b""}[change]
    path.write_bytes(bad)
    again = build(TEXT)
    assert not again.cached
    assert again.path.read_bytes() != bad
    assert folder.is_dir()


def test_a_folder_that_others_can_write_to_is_not_used(folder: Path, counter: System) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    report = check_native(counter, FULL)
    assert report.engine == "native"
    assert report.states == 10
    assert "open to other users (mode 777)" in report.remark
    assert list(folder.iterdir()) == []


def test_nor_one_in_a_folder_that_others_can_write_to(folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o775)
    with pytest.raises(entries.Refused, match="open to other users"):
        entries.cache_folder()


def test_nor_a_link_to_one(folder: Path, tmp_path: Path) -> None:
    folder.parent.mkdir(mode=0o700)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(entries.Refused, match="is not a folder"):
        entries.cache_folder()


def test_nor_that_of_another_user(folder: Path, counter: System, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True, mode=0o700)
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    report = check_native(counter, FULL)
    assert "belongs to another user" in report.remark
    assert report.states == 10


def test_a_file_in_place_of_the_folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache.is_dir()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(entries.Refused):
        entries.cache_folder()


def test_old_entries_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = build(TEXT).path
    os.utime(old, (1000, 1000))
    monkeypatch.setattr(entries, "LARGEST", old.stat().st_size + 100)
    new = build(TEXT + "/* new */").path
    assert new.exists()
    assert not old.exists()
    (folder / "new-dead.part").write_text("")
    os.utime(folder / "new-dead.part", (1000, 1000))
    build(TEXT + "/* newer */")
    assert not (folder / "new-dead.part").exists()


def test_without_a_compiler_the_python_engine_runs(
    folder: Path, counter: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    report = check_native(counter, FULL)
    assert (report.engine, report.states) == ("python", 10)
    assert report.remark == "the native engine did not run: there is no C compiler 'no-such-compiler'"
    assert check_auto(counter, FULL).remark == ""  # too small for it anyway
    assert not folder.exists()


def compiler_that(folder: Path, does: str) -> str:
    path = folder / "cc"
    path.write_text(f'#!/bin/sh\ncase "$*" in *--version) echo "cc 1"; exit 0;; esac\n{does}\n')
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("echo 'x.c:1: error: it is raining' >&2; exit 1", "fails with exit code 1: x.c:1: error: it is raining"),
        ("exit 0", "fails to write its output"),
        ("kill -9 $$", "fails with exit code -9"),
        ("printf 'error: \\033[31m\\n' >&2; exit 4", "fails with exit code 4: error: ?[31m"),
    ],
)
def test_a_compiler_that_fails(
    folder: Path, tmp_path: Path, counter: System, monkeypatch: pytest.MonkeyPatch, does: str, told: str
) -> None:
    monkeypatch.setenv("CC", compiler_that(tmp_path, does))
    report = check_native(counter, FULL)
    assert (report.engine, report.states) == ("python", 10)
    assert told in report.remark
    assert list(folder.iterdir()) == []


def test_what_is_no_library_is_not_loaded(
    folder: Path, tmp_path: Path, counter: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    does = 'while [ "$1" != -o ]; do shift; done; echo nonsense > "$2"'
    monkeypatch.setenv("CC", compiler_that(tmp_path, does))
    report = check_native(counter, FULL)
    assert (report.engine, report.states) == ("python", 10)
    assert "cannot be loaded" in report.remark
    assert folder.is_dir()


def test_a_compiler_that_does_not_end(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", compiler_that(tmp_path, "exec sleep 20"))
    with pytest.raises(TooSlow):
        build(TEXT, seconds=0.2)
    assert list(folder.iterdir()) == []


def test_a_compiler_that_is_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "'")
    with pytest.raises(CannotCompile, match="CC is not a command"):
        compiling.compiler()
