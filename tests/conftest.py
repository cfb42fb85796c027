"""What is compiled here is kept for the session alone, and compiled fast: meaning is tested, not speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmmspec.clib.compile import CannotCompile, compiler


def has_compiler() -> bool:
    try:
        compiler()
    except CannotCompile:
        return False
    return True


@pytest.fixture(scope="session")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def cache(_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for what is compiled; a test that asks for it has a C compiler."""
    if not has_compiler():
        pytest.skip("there is no C compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(_folder))
    monkeypatch.setenv("HMMSPEC_CFLAGS", "-O0")
    return _folder
