"""How much memory a process took."""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path


def peak_of(process: subprocess.Popen[str] | subprocess.Popen[bytes], program: bytes = b"hmmspec") -> int:
    """Bytes at most, once it runs the program and until it ends.

    Not what `wait4` tells: that has in it what this process was when it forked.
    """
    peak = 0
    while process.poll() is None:
        with suppress(OSError):
            found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text(encoding="ascii"))
            if found and program in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                peak = max(peak, int(found[1]) * 1024)
        time.sleep(0.01)
    return peak
