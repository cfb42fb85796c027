"""The kernel's own program for HMM (tools/testing/selftests/mm/hmm-tests.c) on an image: how many of its cases pass.

    python tests/linux/selftest.py --tree TREE IMAGE..

compiles the program from the tree, boots each image (its folder) with nothing else in it, and prints what came of it.
This is what hmmspec is measured against: a breakage that passes all of these cases is one that they do not see.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hmmspec.linux.initramfs import initramfs

# Mounts what the program looks for, runs it, says how it ended, and switches the machine off.
INIT = r"""
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
int selftest(int argc, char **argv);
int main(void)
{
	char *arguments[] = { "hmm-tests", NULL };
	int status = -1, fd;
	mkdir("/proc", 0755); mkdir("/sys", 0755); mkdir("/tmp", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("tmp", "/tmp", "tmpfs", 0, NULL);
	fd = open("/proc/sys/vm/nr_hugepages", O_WRONLY);
	if (fd >= 0 && write(fd, "8", 1) == 1)
		close(fd);
	pid_t child = fork();
	if (child == 0) {
		setpgid(0, 0);
		_exit(selftest(1, arguments));
	}
	waitpid(child, &status, 0);
	printf("\nselftest ended with %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
	fflush(stdout);
	sync();
	reboot(RB_POWER_OFF);
	return 0;
}
"""
QEMU = "qemu-system-x86_64 -accel tcg -cpu max -m 3072 -smp 2 -nographic -no-reboot".split()
WORDS = "console=ttyS0 panic=-1 quiet mem=2048M test_hmm.spm_addr_dev0=0x80000000 test_hmm.spm_addr_dev1=0x90000000"


@dataclass(frozen=True)
class Outcome:
    """failed: the names of the cases that failed; warnings: what the kernel complained about; whole: it came to its end."""

    passed: int
    failed: tuple[str, ...]
    skipped: int
    warnings: tuple[str, ...]
    whole: bool
    seconds: float
    text: str

    def __str__(self) -> str:
        told = f"{self.passed} passed, {len(self.failed)} failed, {self.skipped} skipped, {self.seconds:.0f} s"
        told += "" if self.whole else ", not whole"
        told += f"; failed: {', '.join(self.failed)}" if self.failed else ""
        return told + (f"; console: {'; '.join(self.warnings[:3])}" if self.warnings else "")


def program(tree: Path, folder: Path) -> bytes:
    """The kernel's program as an init.  Raises CalledProcessError where it does not compile."""
    (folder / "init.c").write_text(INIT)
    source = tree / "tools/testing/selftests/mm/hmm-tests.c"
    common = ["gcc", "-O1", "-w", "-D_GNU_SOURCE", f"-I{tree}", f"-I{tree}/tools/testing/selftests", "-c"]
    subprocess.run([*common, "-Dmain=selftest", str(source), "-o", str(folder / "tests.o")], check=True)
    subprocess.run([*common, str(folder / "init.c"), "-o", str(folder / "init.o")], check=True)
    objects = [str(folder / name) for name in ("tests.o", "init.o")]
    subprocess.run(["gcc", "-static", *objects, "-lpthread", "-o", str(folder / "init")], check=True)
    return (folder / "init").read_bytes()


def run(kernel: Path, init: bytes, limit: float = 180.0) -> Outcome:
    """Boot a kernel with this init and read what its program says."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        first = Path(name) / "initramfs"
        first.write_bytes(initramfs(init))
        command = [*QEMU, "-kernel", str(kernel), "-initrd", str(first), "-append", WORDS]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False)
            text = done.stdout.decode(errors="replace")
        except subprocess.TimeoutExpired as late:
            text = (late.stdout or b"").decode(errors="replace")
    return outcome(text, time.monotonic() - began)


def outcome(text: str, seconds: float) -> Outcome:
    """What the program's lines say; it numbers its cases, and each ends in one line `ok` or `not ok`."""
    text = text.replace("\r", "")
    results = re.findall(r"^(ok|not ok) \d+ (\S+)(.*)$", text, re.MULTILINE)
    skipped = [name for word, name, rest in results if word == "ok" and "SKIP" in rest]
    failed = tuple(name for word, name, _ in results if word == "not ok")
    passed = sum(word == "ok" for word, _, _ in results) - len(skipped)
    complaints = re.findall(r"\] (WARNING: .*|BUG: .*|Oops.*|Kernel panic.*)", text)
    return Outcome(
        passed, failed, len(skipped), tuple(dict.fromkeys(complaints)), "selftest ended" in text, seconds, text
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program on images; 0 if all cases pass on all of them."""
    p = argparse.ArgumentParser(description="The kernel's own HMM tests on kernel images.")
    p.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="folders with a bzImage")
    p.add_argument("--tree", type=Path, required=True, help="the kernel tree with the program")
    p.add_argument("--log", type=Path, metavar="DIR", help="keep the console of each there")
    args = p.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        init = program(args.tree.resolve(), Path(name))
    fine = True
    for image in args.images:
        found = run(image / "bzImage", init)
        fine = fine and found.whole and not found.failed
        print(f"{image.name}: {found}", flush=True)
        if args.log is not None:
            args.log.mkdir(parents=True, exist_ok=True)
            (args.log / f"{image.name}.txt").write_text(found.text)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
