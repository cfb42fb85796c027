"""benchmarks/gpu_copy.py, on a stand-in for CUDA's driver: what it writes is what `hmmspec cost fit` reads."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hmmspec.diagnostics import Source
from hmmspec.ref.cost.fit import fit_series
from hmmspec.ref.cost.measured import read_csv

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu_copy.py"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, env=environment)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("cuda") / "libfake.so"
    source = Path(__file__).with_name("fake_cuda.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", made, source], check=True)
    return str(made)


def test_a_machine_without_cuda_is_told_so() -> None:
    done = run("--library", "libnothing-of-this-name.so")
    assert done.returncode == 2
    assert done.stdout == ""
    expected = "gpu_copy: no CUDA machine to measure: CUDA's driver is not installed here"
    assert done.stderr.startswith(expected) and len(done.stderr.splitlines()) == 1


def test_a_driver_without_a_gpu_is_told_so(library: str) -> None:
    done = run("--library", library, FAKE_CUDA_NONE="1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "it knows of no GPU" in done.stderr


def test_a_call_that_fails_is_named(library: str) -> None:
    done = run("--library", library, FAKE_CUDA_BROKEN="1")
    assert done.returncode == 2
    assert "cuMemAlloc_v2 failed with CUDA error 2 (out of memory)" in done.stderr


def test_there_is_no_second_gpu(library: str) -> None:
    assert "there is no GPU 1" in run("--library", library, "--device", "1").stderr


def test_what_it_writes_can_be_fitted(library: str, tmp_path: Path) -> None:
    """The stand-in's events say 1 us and 10 GB/s: that is what comes out."""
    made = tmp_path / "copies.csv"
    done = run("--library", library, "--largest", "1", "--repeat", "3", "-o", str(made))
    assert done.returncode == 0, done.stderr
    series = read_csv(Source(str(made), made.read_text())).series
    by_words = {(s.words["memory"], s.words["direction"], s.words["series"]): s for s in series}
    assert set(by_words) == {
        ("pinned", "to_device", "engine"),
        ("pinned", "to_device", "call"),
        ("pinned", "to_system", "engine"),
        ("pinned", "to_system", "call"),
        ("device", "on_device", "engine"),
        ("device", "on_device", "call"),
        ("pageable", "to_device", "call"),
        ("pageable", "to_system", "call"),
    }
    for words, one in by_words.items():
        assert len(one.points) == 9  # 4 KiB to 1 MiB
        assert one.words["device"] == "Fake GPU"
        if words[2] == "engine":
            constants = fit_series(one).constants
            assert constants.call_ps == pytest.approx(1_000_000, rel=0.01)
            assert constants.rate == pytest.approx(10_000_000_000, rel=0.01)
