"""What building a kernel takes: programs and headers, each with its package, and which compiler it is."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from hmmspec.linux.errors import wrong

# Program -> package of Debian and Ubuntu.
PROGRAMS = {
    "make": "make",
    "ld": "binutils",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "gzip": "gzip",
    "awk": "mawk",
}
HEADERS = {"stdio.h": "libc6-dev", "libelf.h": "libelf-dev"}
_COMPILER = "gcc"


@dataclass(frozen=True)
class Toolchain:
    """cc: the compiler as make takes it; version: what it and the linker say of themselves."""

    cc: str
    version: str

    @property
    def name(self) -> str:
        """One line for people."""
        return self.version.splitlines()[0] if self.version else self.cc


def find_toolchain(environment: Mapping[str, str] | None = None) -> Toolchain:
    """The machine's tools.  Raises SpecError that names all that is missing, with the line that installs it."""
    env = os.environ if environment is None else environment
    if platform.machine() not in {"x86_64", "AMD64"}:
        raise wrong("HMM157", f"kernel images are built on x86_64 only, and this machine is {platform.machine()}")
    path = env.get("PATH")
    cc = env.get("CC") or _COMPILER
    words = shlex.split(cc)
    packages: dict[str, str] = {}  # what is missing -> its package
    program = shutil.which(words[0], path=path) if words else None
    if program is None:
        packages[f"the compiler '{cc}'"] = _COMPILER if words[:1] == [_COMPILER] else ""
    for name, package in PROGRAMS.items():
        if shutil.which(name, path=path) is None:
            packages[f"'{name}'"] = package
    if program is not None:
        # Where there is no compiler nobody knows which headers it would find: both are named then.
        for header in _missing_headers(words, env):
            packages[f"<{header}>"] = HEADERS[header]
    else:
        packages |= {f"<{header}>": package for header, package in HEADERS.items() if not _usual_place(header)}
    if packages:
        names = [package for package in dict.fromkeys(packages.values()) if package]
        fix = f"apt-get install {' '.join(names)}" if names else "CC names the compiler"
        raise wrong("HMM157", f"building a kernel takes what is not installed: {', '.join(packages)}", fix)
    return Toolchain(cc, "\n".join(_says([*command, "--version"], env) for command in (words, ["ld"])))


def _missing_headers(cc: list[str], env: Mapping[str, str]) -> list[str]:
    return [header for header in HEADERS if not _compiles(cc, f"#include <{header}>\n", env)]


def _compiles(cc: list[str], text: str, env: Mapping[str, str]) -> bool:
    try:
        command = [*cc, "-E", "-x", "c", "-o", os.devnull, "-"]
        done = subprocess.run(
            command, check=False, input=text, capture_output=True, text=True, env=dict(env), timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _usual_place(header: str) -> bool:
    return os.access(f"/usr/include/{header}", os.R_OK)


def _says(command: list[str], env: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, errors="replace", env=dict(env), timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise wrong("HMM157", f"'{command[0]}' does not run: {error}") from None
    return (done.stdout.strip().splitlines() or [""])[0]
