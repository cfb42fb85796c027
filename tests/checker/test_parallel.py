"""Jobs in processes: results in order, and every way to fail is told, at once and by name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from hmmspec.checker.parallel import Job, Told, cores, in_parallel
from hmmspec.diagnostics import Diagnostic, InternalError, Limit, Source, Span, SpecError

WRONG = Diagnostic("HMM087", "cannot write 'x'", Span(Source("a.hmm", "spec a"), 0, 4))


def job(run: object, name: str = "a job", seconds: float = 20) -> Job[object]:
    return Job(name, run, seconds, lambda why, _: f"late: {why}")  # type: ignore[arg-type]


def slow(value: object, seconds: float, told: Told) -> object:
    told(f"{value} begins")
    time.sleep(seconds)
    return value


def test_results_come_in_the_order_of_the_jobs() -> None:
    heard: list[tuple[int, object]] = []
    jobs = [job(partial(slow, n, 0.3 if n == 0 else 0.0)) for n in range(5)]
    results = list(in_parallel(jobs, 3, lambda n, x: heard.append((n, x))))
    assert results == [0, 1, 2, 3, 4]
    # Progress comes as it is made: what jobs under way at once tell is in no order.
    assert sorted((n, str(x)) for n, x in heard if x is not None) == [(n, f"{n} begins") for n in range(5)]


def meet(barrier: Barrier, _: Told) -> bool:
    barrier.wait(60)  # raises BrokenBarrierError if not all are here at once
    return True


def test_jobs_run_at_once() -> None:
    barrier = get_context("fork").Barrier(4)
    assert list(in_parallel([job(partial(meet, barrier), seconds=100)] * 4, 4)) == [True] * 4
    assert cores() >= 1


def test_a_large_result_comes_whole() -> None:
    (result,) = in_parallel([job(lambda _: "x" * 5_000_000)], 1)
    assert result == "x" * 5_000_000


def test_a_job_without_an_end_is_ended() -> None:
    begin = time.monotonic()
    jobs = [job(partial(slow, 0, 600), seconds=0.5), job(lambda _: 1)]
    assert list(in_parallel(jobs, 1)) == ["late: the time limit is reached", 1]
    assert time.monotonic() - begin < 10


def fail(error: BaseException, _: Told) -> object:
    raise error


@pytest.mark.parametrize("error", [SpecError([WRONG]), Limit("too many")])
def test_the_errors_of_the_house_come_as_they_are(error: Exception) -> None:
    results = in_parallel([job(lambda _: 1), job(partial(fail, error))], 2)
    assert next(results) == 1
    with pytest.raises(type(error)) as caught:
        next(results)
    assert str(caught.value) == str(error)
    if isinstance(caught.value, SpecError):
        assert caught.value.diagnostics == (WRONG,)


def test_any_other_error_names_the_job_and_the_place() -> None:
    with pytest.raises(
        InternalError, match=r"KeyError: 'x'\n.*at fail, line \d+ of test_parallel.py \(fits of a.hmm\)"
    ):
        list(in_parallel([job(partial(fail, KeyError("x")), "fits of a.hmm")], 1))


def test_a_defect_does_not_take_the_others_with_it() -> None:
    results = in_parallel([job(partial(fail, KeyError("x")), "fits of a.hmm"), job(lambda _: 1)], 1)
    assert next(results) == "late: a defect in hmmspec: KeyError: 'x'"
    assert next(results) == 1
    with pytest.raises(InternalError, match=r"fits of a\.hmm"):
        next(results)


def test_too_little_memory_is_no_defect() -> None:
    assert list(in_parallel([job(partial(fail, MemoryError()))], 1)) == ["late: out of memory"]


@pytest.mark.parametrize(
    ("death", "words"),
    [
        (
            lambda _: os.kill(os.getpid(), signal.SIGKILL),
            r"ended by SIGKILL: was there too little memory\? \(fits of a",
        ),
        (lambda _: os.kill(os.getpid(), signal.SIGTERM), r"ended by SIGTERM \(fits of a"),
        (lambda _: os._exit(7), r"without a result, with exit code 7 \(fits of a"),
    ],
)
def test_a_process_that_dies_is_told(death: object, words: str) -> None:
    begin = time.monotonic()
    with pytest.raises(InternalError, match=words):
        list(in_parallel([job(death, "fits of a.hmm")], 1))
    assert time.monotonic() - begin < 10


def test_what_cannot_be_sent_is_told() -> None:
    with pytest.raises(InternalError, match=r"fits of a\.hmm"):
        list(in_parallel([job(lambda _: lambda: 1, "fits of a.hmm")], 1))


def test_nothing_runs_on_when_the_results_are_no_longer_wanted(tmp_path: Path) -> None:
    def write_pid(name: str, _: Told) -> object:
        (tmp_path / name).write_text(str(os.getpid()))
        time.sleep(600)
        return None

    with closing(in_parallel([job(lambda _: 0), *(job(partial(write_pid, n)) for n in "ab")], 3)) as results:
        assert next(results) == 0
        while not all((tmp_path / n).exists() and (tmp_path / n).read_text() for n in "ab"):
            time.sleep(0.02)
    for name in "ab":
        with suppress(ProcessLookupError):
            os.kill(int((tmp_path / name).read_text()), 0)
            pytest.fail("a process is still there")


WAITING = """
import os, sys, time
from hmmspec.checker.parallel import Job, in_parallel

def wait(told):
    print(os.getpid(), flush=True)
    time.sleep(600)

list(in_parallel([Job("a", wait, 600, lambda why, seconds: None)], 1))
"""


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_the_process_that_asked(sent: signal.Signals) -> None:
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    parent = subprocess.Popen([sys.executable, "-c", WAITING], env=env, text=True, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert int(parent.stdout.readline()) != parent.pid
    begin = time.monotonic()
    parent.send_signal(sent)
    parent.wait(20)
    # The child holds the pipe open as long as it lives.
    assert parent.stdout.read() == ""
    assert time.monotonic() - begin < 30
    parent.stdout.close()
