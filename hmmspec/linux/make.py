"""Running the kernel's make: output to a log, steps counted, interrupted as a whole, and what went wrong picked out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from hmmspec.linux.errors import wrong
from hmmspec.linux.source import full
from hmmspec.linux.toolchain import Toolchain

# Whoever runs hmmspec from a Makefile, or has built for another machine, must not be heard by the kernel's make.
_NOT_INHERITED = re.compile(
    r"(MAKE|MFLAGS|KBUILD_|KCONFIG_|KCFLAGS|KAFLAGS|KCPPFLAGS|HOST|LOCALVERSION|ARCH$|CROSS_COMPILE|LLVM|O$|V$|W$|C$)"
)
_STEP = re.compile(r"^  [A-Z][A-Z0-9_]*(?: \[M\])? +\S")
_TELLING = re.compile(r"error:|undefined reference|multiple definition|\*\*\*|: fatal|No such file|No rule to make")
_GRACE = 10.0  # seconds that make has to end once it is asked to

# The same source gives the same image, whoever builds it and whenever.
_SAME = (
    "ARCH=x86_64",
    "LOCALVERSION=",
    "KBUILD_BUILD_USER=hmmspec",
    "KBUILD_BUILD_HOST=hmmspec",
    "KBUILD_BUILD_VERSION=1",
    "KBUILD_BUILD_TIMESTAMP=Thu Jan  1 00:00:00 UTC 1970",
)


def make(
    tree: Path,
    objects: Path,
    targets: Sequence[str],
    tools: Toolchain,
    jobs: int,
    log: Path,
    step: Callable[[], object],
) -> None:
    """Run make in `tree` with its output folder `objects`; `step` is called for each command that make tells of.

    Raises SpecError where it fails, with the lines that say why; KeyboardInterrupt after all of it has ended.
    """
    command = ["make", "-C", str(tree), f"O={objects}", f"-j{jobs}", f"CC={tools.cc}", *_SAME, *targets]
    env = {name: value for name, value in os.environ.items() if not _NOT_INHERITED.match(name)}
    with log.open("ab", buffering=0) as written, ended_by_sigterm():
        written.write(f"$ {' '.join(command)}\n".encode(errors="replace"))
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**env, "LC_ALL": "C"},
                start_new_session=True,
            )
        except OSError as error:
            raise wrong("HMM157", f"make does not run: {error.strerror}", "apt-get install make") from None
        lines: list[str] = []
        try:
            assert process.stdout is not None
            for raw in process.stdout:
                written.write(raw)
                line = raw.decode(errors="replace").rstrip()
                if _STEP.match(line):
                    step()
                else:
                    lines.append(line)
            code = process.wait()
        except OSError:
            _end(process)
            raise full(objects) from None
        except BaseException:
            _end(process)
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()
    if code:
        raise _failed(lines, code, tree, objects, log)


def _failed(lines: list[str], code: int, tree: Path, objects: Path, log: Path) -> Exception:
    text = "\n".join(lines)
    if "No space left on device" in text or "error writing to" in text:
        return full(objects)
    if "source tree is not clean" in text:
        told = f"'{tree}' was built in place, and make builds no such tree into another folder"
        return wrong("HMM153", told, "run 'make mrproper' in it (that removes its .config: keep a copy)")
    telling = [_shorter(line, tree) for line in lines if _TELLING.search(line)]
    # What make says of its own failure comes last, floor by floor; the compiler's words are what helps.
    first = [line for line in telling if "***" not in line] or telling or lines[-5:]
    shown = list(dict.fromkeys(first))[:12]
    more = f"{len(first) - len(shown)} more lines like these" if len(first) > len(shown) else ""
    message = shown[0] if shown else f"make ended with exit code {code}"
    notes = [*shown[1:], *([more] if more else []), f"all that make said: {log}"]
    return wrong("HMM158", f"the kernel does not compile: {message}", None, notes)


def _shorter(line: str, tree: Path) -> str:
    """A line with paths from the top of the tree."""
    return re.sub(r"(?:\.\./)+(?=\w)", "", line.replace(f"{tree}/", "")).strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End make and all that it started, in order first and by force then."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends what runs here as Control-C does: make runs in a process group of its own and would go on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
