"""From C text to a shared library: the machine's compiler, or what was compiled before.

Environment: CC names the compiler (with options, if need be); HMMSPEC_CFLAGS is added to its options.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hmmspec.clib import cache as store

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fPIC", "-shared", "-pthread", "-w")


class CannotCompile(Exception):
    """There is no compiler, or it fails; the message says so in a few words."""


class TooSlow(Exception):
    """The compiler took longer than there was time."""


@dataclass(frozen=True)
class Built:
    """A library, and what a reader should know of how it came about ('' if nothing).  temporary: a folder to remove
    once it is loaded."""

    path: Path
    remark: str = ""
    temporary: Path | None = None
    cached: bool = False

    def loaded(self) -> None:
        """The file is not needed any more."""
        if self.temporary is not None:
            shutil.rmtree(self.temporary, ignore_errors=True)


def build(text: str, seconds: float | None = None) -> Built:
    """The library of this C text.  Raises CannotCompile, and TooSlow after so many seconds."""
    command, version = compiler()
    flags = (*FLAGS, *shlex.split(os.environ.get("HMMSPEC_CFLAGS", "")))
    try:
        folder = store.cache_folder()
    except store.Refused as refused:
        temporary = Path(tempfile.mkdtemp(prefix="hmmspec-"))
        made = temporary / "spec.so"
        try:
            _compile(command, flags, text, made, seconds)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return Built(made, f"compiled specs are not kept: {refused}", temporary)
    key = _key(text, (*command, version, *flags, _cpu()))
    found = store.find(folder, key)
    if found is not None:
        return Built(found, cached=True)
    try:
        made = store.scratch(folder)
        try:
            _compile(command, flags, text, made, seconds)
            return Built(store.store(folder, key, made))
        finally:
            made.unlink(missing_ok=True)
    except OSError as e:
        raise CannotCompile(f"{folder}: {e.strerror or e}") from None


def compiler() -> tuple[tuple[str, ...], str]:
    """The command and the version of the compiler.  Raises CannotCompile where there is none."""
    return _compiler(os.environ.get("CC", ""), os.environ.get("PATH", ""))


@cache
def _compiler(wanted: str, path: str) -> tuple[tuple[str, ...], str]:
    try:
        words = shlex.split(wanted) or ["cc"]
    except ValueError:
        raise CannotCompile(f"CC is not a command: {wanted}") from None
    program = shutil.which(words[0], path=path)
    if program is None:
        raise CannotCompile(f"there is no C compiler '{words[0]}'")
    command = (program, *words[1:])
    try:
        done = subprocess.run(
            [*command, "--version"], check=False, capture_output=True, text=True, errors="replace", timeout=20
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        raise CannotCompile(f"the C compiler '{words[0]}' does not run: {e}") from None
    return command, done.stdout


def _compile(command: tuple[str, ...], flags: tuple[str, ...], text: str, made: Path, seconds: float | None) -> None:
    arguments = [*command, *flags, "-x", "c", "-o", str(made), "-"]
    try:
        done = subprocess.run(
            arguments,
            check=False,
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            cwd=made.parent,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise TooSlow from None
    except OSError as e:
        raise CannotCompile(f"the C compiler '{Path(command[0]).name}' does not run: {e.strerror or e}") from None
    if done.returncode or not made.stat().st_size:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or [""]
        # Never the line of code that compilers quote below: this is for a line of a report.
        told = re.sub(r"[^ -~]", "?", lines[0]).strip()[:160]
        how = f" with exit code {done.returncode}" if done.returncode else " to write its output"
        name = Path(command[0]).name
        raise CannotCompile(f"the C compiler '{name}' fails{how}" + (f": {told}" if told else ""))


def _key(text: str, parts: tuple[str, ...]) -> str:
    whole = hashlib.sha256()
    for part in (text, *parts):
        data = part.encode()
        whole.update(b"%d:" % len(data))
        whole.update(data)
    return whole.hexdigest()[:40]


@cache
def _cpu() -> str:
    """What `-march=native` depends on."""
    found = [platform.machine()]
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
        found += re.findall(r"^(?:model name|flags|Features|CPU (?:part|implementer))\s*:.*", text, re.MULTILINE)
    return "\n".join(found)
