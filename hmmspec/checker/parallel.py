"""Work that takes long, in processes of its own: on every core at once, and with an end that does not depend on it.

Each job gets a process, made by `fork`: it finds everything that this one has loaded, and what it allocates or spoils
goes with it.  A job that dies, or that does not end, is told; it never makes anyone wait.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Generic, TypeVar

from hmmspec.diagnostics import InternalError, Limit, SpecError

T = TypeVar("T")
Told = Callable[[object], None]

_LOOK = 0.25  # seconds between two looks at clocks


@dataclass(frozen=True)
class Job(Generic[T]):
    """name: for messages; run: what it does, given a function for its progress; seconds: it is ended then, and `late`
    tells what came of it (given why, and how long it took)."""

    name: str
    run: Callable[[Told], T]
    seconds: float
    late: Callable[[str, float], T]


@dataclass
class _Running(Generic[T]):
    number: int
    process: BaseProcess
    pipe: Connection
    since: float


def cores() -> int:
    """How many processes make sense."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parallel(
    jobs: Sequence[Job[T]], most: int, told: Callable[[int, object], None] | None = None
) -> Generator[T, None, None]:
    """The results in the order of the jobs, each as soon as it and all before it are there; `most` at once.

    told: gets the number of a job and its progress, and now and then (None) that of the one waited for.
    What a job raises is raised here at its turn if it is a SpecError or a Limit.  All else is a defect: `late` tells
    what comes of that job, and when all are done the first defect is raised, as an InternalError that names its job.
    Close the iterator to end what still runs.
    """
    running: list[_Running[T]] = []
    results: dict[int, T | BaseException] = {}
    took: dict[int, float] = {}
    defects: list[InternalError] = []
    waiting = list(range(len(jobs)))
    try:
        for number in range(len(jobs)):
            while number not in results:
                for n in waiting[: most - len(running)]:
                    waiting.remove(n)
                    running.append(_start(n, jobs[n]))
                wait([r.pipe for r in running], _LOOK)
                if told is not None:
                    told(number, None)
                for r in list(running):
                    found = _look(r, jobs[r.number], told)
                    if found is not None:
                        results[r.number] = found[0]
                        took[r.number] = time.monotonic() - r.since
                        running.remove(r)
                        _end(r)
            result = results.pop(number)
            if isinstance(result, InternalError):
                defects.append(result)
                yield jobs[number].late(f"a defect in hmmspec: {str(result).splitlines()[0]}", took[number])
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result
        if defects:
            raise defects[0]
    finally:
        for r in running:
            _end(r)


def _start(number: int, job: Job[T]) -> _Running[T]:
    here, there = get_context("fork").Pipe(duplex=False)
    process = get_context("fork").Process(target=_work, args=(job, there, os.getpid()), daemon=True)
    with warnings.catch_warnings():
        # Newer Pythons warn when a process with threads forks.  The child touches none of what these may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    there.close()
    return _Running(number, process, here, time.monotonic())


def _look(r: _Running[T], job: Job[T], told: Callable[[int, object], None] | None) -> tuple[T | BaseException] | None:
    """The result, once it is there; hands progress on."""
    try:
        while r.pipe.poll():
            kind, value = r.pipe.recv()
            if kind == "done":
                return (value,)
            if kind == "wrong":
                return (SpecError(value),)
            if kind == "limit":
                return (Limit(value),)
            if kind == "failed":
                return (_failure(job, *value),)
            if told is not None:
                told(r.number, value)
    except (EOFError, OSError):
        return (_death(r, job),)
    if time.monotonic() - r.since > job.seconds:
        return (job.late("the time limit is reached", time.monotonic() - r.since),)
    return None


def _failure(job: Job[T], what: str, trace: str) -> InternalError:
    error = InternalError(f"{what} ({job.name})")
    error.add_note(trace)
    return error


def _death(r: _Running[T], job: Job[T]) -> BaseException:
    r.process.join(5)
    code = r.process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        hint = ": was there too little memory?" if -code == signal.SIGKILL else ""
        return InternalError(f"a process was ended by {name}{hint} ({job.name})")
    return InternalError(f"a process ended without a result, with exit code {code} ({job.name})")


def _end(r: _Running[T]) -> None:
    if r.process.is_alive():
        r.process.kill()
    r.process.join()
    r.pipe.close()
    r.process.close()


# ---------------------------------------------------------------- in the process of a job


def _work(job: Job[T], pipe: Connection, parent: int) -> None:
    begin = time.monotonic()
    gc.freeze()  # what was loaded before is not looked through again and again
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this decides
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()

    def told(value: object) -> None:
        with suppress(BrokenPipeError):
            pipe.send(("told", value))

    try:
        message: tuple[str, object] = ("done", job.run(told))
        pickle.dumps(message)
    except SpecError as error:
        message = ("wrong", error.diagnostics)
    except Limit as error:
        message = ("limit", str(error))
    except MemoryError:
        message = ("done", job.late("out of memory", time.monotonic() - begin))
    except BaseException as error:  # noqa: BLE001  (it is told where somebody sees it)
        what = str(error) if isinstance(error, InternalError) else f"{type(error).__name__}: {error}"
        where = traceback.extract_tb(error.__traceback__)[-1]
        what = f"{what}\n  at {where.name}, line {where.lineno} of {Path(where.filename).name}"
        message = ("failed", (what, "".join(traceback.format_exception(error))))
    with suppress(BrokenPipeError):
        pipe.send(message)


def _watch(parent: int) -> None:
    """End with the process that wants the result, even if that is killed."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
