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
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

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
    return Building(text).wait(seconds)


class Building:
    """A library that is being made while other work goes on; it is there at once if it was made before.

    options: for the compiler, behind FLAGS.  Raises CannotCompile.
    """

    def __init__(self, text: str, options: Sequence[str] = (), *, only_cached: bool = False) -> None:
        command, version = compiler()
        flags = (*FLAGS, *options, *shlex.split(os.environ.get("HMMSPEC_CFLAGS", "")))
        self._name = Path(command[0]).name
        self._folder: Path | None = None
        self._temporary: Path | None = None
        self._built: Built | None = None
        self._key = _key(text, (*command, version, *flags, _cpu()))
        self._remark = ""
        try:
            self._folder = store.cache_folder()
        except store.Refused as refused:
            self._remark = f"compiled specs are not kept: {refused}"
        if self._folder is not None:
            found = store.find(self._folder, self._key)
            self._built = None if found is None else Built(found, cached=True)
        self._run: _Run | None = None
        if self._built is None and not only_cached:
            self._start(command, flags, text)

    @property
    def running(self) -> bool:
        """Whether a compiler is at work, or was."""
        return self._run is not None or self._built is not None

    def ready(self) -> Built | None:
        """The library, None while the compiler is at work.  Raises CannotCompile."""
        if self._built is None and self._run is not None and self._run.process.poll() is not None:
            self._finish(self._run)
        return self._built

    def wait(self, seconds: float | None = None) -> Built:
        """The library, as soon as it is there.  Raises CannotCompile, and TooSlow after so many seconds."""
        if self._run is not None:
            try:
                self._run.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.cancel()
                raise TooSlow from None
            except BaseException:
                self.cancel()
                raise
        found = self.ready()
        if found is None:
            raise CannotCompile("it was not compiled")
        return found

    def cancel(self) -> None:
        """Stop the compiler; what it has made is thrown away."""
        if self._run is not None:
            self._run.clean()
            self._run = None

    def _start(self, command: tuple[str, ...], flags: tuple[str, ...], text: str) -> None:
        try:
            if self._folder is None:
                self._temporary = Path(tempfile.mkdtemp(prefix="hmmspec-"))
                made = self._temporary / "spec.so"
            else:
                made = store.scratch(self._folder)
        except OSError as e:
            raise CannotCompile(f"{self._folder}: {e.strerror or e}") from None
        try:
            self._run = _Run(command, flags, text, made, self._temporary)
        except OSError as e:
            _remove(made, self._temporary)
            raise CannotCompile(f"the C compiler '{self._name}' does not run: {e.strerror or e}") from None

    def _finish(self, run: _Run) -> None:
        try:
            run.result(self._name)
            if self._folder is None:
                self._built = Built(run.made, self._remark, self._temporary)
                run.keep()
            else:
                self._built = Built(store.store(self._folder, self._key, run.made))
        except OSError as e:
            raise CannotCompile(f"{self._folder}: {e.strerror or e}") from None
        finally:
            self.cancel()


class _Run:
    """A compiler at work.  It is stopped, and its files are removed, when nobody waits for it any more."""

    def __init__(
        self, command: tuple[str, ...], flags: tuple[str, ...], text: str, made: Path, temporary: Path | None
    ) -> None:
        self.made = made
        with tempfile.TemporaryFile() as source:
            source.write(text.encode())
            source.seek(0)
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115  open until the compiler has ended
            self.process = subprocess.Popen(
                [*command, *flags, "-x", "c", "-o", str(made), "-"],
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                cwd=made.parent,
                env={**os.environ, "LC_ALL": "C"},
                start_new_session=True,  # so that all of it can be stopped: it has processes of its own
            )
        self._cleaning = weakref.finalize(self, _stop, self.process, self._errors, made, temporary)

    def result(self, name: str) -> None:
        """Raises CannotCompile if it failed."""
        if not self.process.returncode and self.made.stat().st_size:
            return
        self._errors.seek(0)
        told = self._errors.read().decode(errors="replace")
        lines = [line for line in told.splitlines() if "error" in line] or told.splitlines() or [""]
        # Never the line of code that compilers quote below: this is for a line of a report.
        short = re.sub(r"[^ -~]", "?", lines[0]).strip()[:160]
        how = f" with exit code {self.process.returncode}" if self.process.returncode else " to write its output"
        raise CannotCompile(f"the C compiler '{name}' fails{how}" + (f": {short}" if short else ""))

    def keep(self) -> None:
        """What it has made stays where it is."""
        if self._cleaning.detach() is not None:
            self._errors.close()

    def clean(self) -> None:
        self._cleaning()


def _stop(process: subprocess.Popen[bytes], errors: IO[bytes], made: Path, temporary: Path | None) -> None:
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    errors.close()
    _remove(made, temporary)


def _remove(made: Path, temporary: Path | None) -> None:
    with suppress(OSError):
        made.unlink(missing_ok=True)
    if temporary is not None:
        shutil.rmtree(temporary, ignore_errors=True)


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
