"""The agent that runs in the guest: its C text, and the program that the machine's compiler makes of it.

Environment: CC names the compiler (with options, if need be).  What was compiled is kept in the user's cache folder,
under a name that says what it was made from.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

FLAGS = ("-static", "-O2", "-std=gnu11", "-pthread", "-w")
_KEPT = 8  # programs in the cache folder


class NoAgent(Exception):
    """The agent cannot be made: the message says why, and what to do."""


def sources() -> list[Path]:
    """The agent's C text, headers included."""
    folder = Path(__file__).parent / "guest"
    return sorted([*folder.glob("*.c"), *folder.glob("*.h")])


def agent() -> Path:
    """The agent as a static program, compiled if it has not been.  Raises NoAgent."""
    command = _compiler()
    key = hashlib.sha256()
    for word in (*command, *FLAGS):
        key.update(word.encode() + b"\0")
    for path in sources():
        key.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    folder = cache_folder()
    made = folder / f"agent-{key.hexdigest()[:32]}"
    if made.is_file() and made.stat().st_size:
        return made
    handle, name = tempfile.mkstemp(prefix="new-", dir=folder)
    os.close(handle)
    part = Path(name)
    try:
        _compile(command, part)
        part.chmod(0o700)
        part.replace(made)
    finally:
        part.unlink(missing_ok=True)
    for old in sorted(folder.glob("agent-*"), key=lambda p: p.stat().st_mtime)[:-_KEPT]:
        old.unlink(missing_ok=True)
    return made


def clock_rate() -> int | None:
    """The rate of this machine's processor clock in kHz, if it can be had: an emulated machine's runs as fast."""
    try:
        done = subprocess.run([str(agent()), "--tsc"], check=False, capture_output=True, text=True, timeout=20)
        return int(done.stdout)
    except (NoAgent, OSError, ValueError, subprocess.TimeoutExpired):
        return None


def _compiler() -> tuple[str, ...]:
    words = shlex.split(os.environ.get("CC", "")) or ["cc"]
    found = shutil.which(words[0]) or (shutil.which("gcc") if words == ["cc"] else None)
    if found is None:
        raise NoAgent(f"the guest's agent needs a C compiler, and there is no '{words[0]}': apt install gcc libc6-dev")
    return (found, *words[1:])


def _compile(command: tuple[str, ...], made: Path) -> None:
    texts = [str(path) for path in sources() if path.suffix == ".c"]
    try:
        done = subprocess.run(
            [*command, *FLAGS, "-o", str(made), *texts],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise NoAgent(f"the compiler '{command[0]}' does not run: {error.strerror}") from None
    if done.returncode:
        told = next((line for line in done.stderr.splitlines() if "error" in line or "cannot" in line), "")
        fix = "a static C library is needed: apt install libc6-dev" if "-lc" in done.stderr else told[:200]
        raise NoAgent(f"the compiler '{Path(command[0]).name}' cannot make the guest's agent: {fix}")


def cache_folder() -> Path:
    """Where the agent is kept, and what was found out about this machine.  Raises NoAgent."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = (Path(base) if base else Path.home() / ".cache") / "hmmspec" / "guest"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise NoAgent(f"there is no folder to keep the guest's agent in: {error}") from None
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise NoAgent(f"{folder} is open to other users")
    return folder
