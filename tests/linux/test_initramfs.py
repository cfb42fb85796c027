"""The archive has /init, its two nodes, and nothing else; another program reads it too."""

from __future__ import annotations

import gzip
import shutil
import subprocess

import pytest

from hmmspec.linux.initramfs import initramfs


def entries(data: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """Name -> mode, data, device, read by what the format says."""
    out = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        numbers = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        length, size = numbers[11], numbers[6]
        name = data[at + 110 : at + 110 + length - 1].decode()
        at = (at + 110 + length + 3) // 4 * 4
        if name == "TRAILER!!!":
            return out
        out[name] = (numbers[1], data[at : at + size], (numbers[9], numbers[10]))
        at = (at + size + 3) // 4 * 4


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5000])
def test_init_and_its_nodes(size: int) -> None:
    init = bytes(i % 251 for i in range(size))
    assert entries(gzip.decompress(initramfs(init))) == {
        "dev": (0o040755, b"", (0, 0)),
        "dev/console": (0o020600, b"", (5, 1)),
        "init": (0o100755, init, (0, 0)),
    }


def test_the_same_program_gives_the_same_bytes() -> None:
    assert initramfs(b"program") == initramfs(b"program")
    assert initramfs(b"program") != initramfs(b"Program")


@pytest.mark.skipif(shutil.which("cpio") is None, reason="no cpio")
def test_cpio_reads_it() -> None:
    done = subprocess.run(["cpio", "-it"], input=gzip.decompress(initramfs(b"x" * 77)), capture_output=True, check=True)
    assert done.stdout.decode().split() == ["dev", "dev/console", "init"]
