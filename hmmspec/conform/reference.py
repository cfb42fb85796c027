"""The reference kernel as a target.

Sequential commands are driven straight through, each on a CPU that the seed chooses; races are interleaved by the
kernel's scheduler at every point where a real kernel can be interrupted.  With `checks` the invariants are looked at
after every command, now and then in the middle of one, and every few yields of a race (`yields`: at every yield of
all); without them only what a real kernel would show is reported.  Whether they are looked at changes nothing of what
happens.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random

from hmmspec.conform.commands import Command
from hmmspec.conform.refcalls import System
from hmmspec.conform.results import Result
from hmmspec.conform.target import CAPABILITIES, DeviceKind, Finding, Target, TargetLost, register
from hmmspec.ref.bulk.driver import install
from hmmspec.ref.checks import check, check_empty, check_quiet
from hmmspec.ref.cost.timeline import FREE, TimeLine
from hmmspec.ref.orders import order_from
from hmmspec.ref.pagemap import drop_caches
from hmmspec.ref.profile import BEHAVIOURS, profile
from hmmspec.ref.schedule import Scheduler, Stuck, run_through
from hmmspec.ref.state import Config, Kernel, known
from hmmspec.ref.tasks import Misuse, Steps, Task
from hmmspec.ref.testdev import add_device

DEVICES: Mapping[str, DeviceKind] = {"dev0": "private", "dev1": "private", "dev2": "coherent", "dev3": "coherent"}
# Room for all pages of hugetlb and a few 2 MiB areas more; scenarios with large buffers want `LARGE`.
SMALL = Config(cpus=4, system_pages=10240, device_pages=4096, swap_pages=2048, page_tables=128)
LARGE = Config(cpus=4, system_pages=32768, device_pages=32768, swap_pages=8192, page_tables=1024)
CHUNK = 512  # pages of device memory that are added at a time
WITHIN = 0.4  # share of sequential commands in the middle of which the invariants are looked at
CHECK_EVERY = 12  # yields of a race between two looks at the invariants
PATIENCE = 400_000  # yields of a race after which it is said to hang
ALONE = 100_000, 2_000  # the same for one command, and for each of its pages

# What a real kernel shows too: warnings in its log, tasks that never end.
VISIBLE = frozenset({"warning", "L1", "deadlock", "hang"})


class ReferenceTarget(Target):
    """The reference kernel with four test devices, two with private memory and two with coherent memory.

    profile: which kernel it is (`6.12`, `latest`, `latest-device_thp`); defects: seeded ones; checks: debug checks,
    with yields at every yield (slow); driver: `stepped` or `bulk` (then sequential only); one_cpu: sequential commands
    all on one CPU, so that no page waits in the lists of another; one_long_hold: there is room for one long-term hold
    only, another is ENOSYS.  Raises ValueError for names that do not exist.
    """

    name = "ref"
    atomic = True
    devices = DEVICES

    def __init__(
        self,
        profile_name: str = "latest",
        *,
        defects: Sequence[str] = (),
        checks: bool = True,
        yields: bool = False,
        driver: str = "stepped",
        one_cpu: bool = False,
        one_long_hold: bool = False,
        config: Config = SMALL,
        line: TimeLine = FREE,
    ) -> None:
        super().__init__()
        self._profile = profile(profile_name)
        self.profile = {b: b in self._profile for b in BEHAVIOURS}
        missing = {"fair"} if "fail_alloc" in self._profile else {"fair", "fail_alloc"}
        if driver == "bulk":
            missing |= {"race"}
        self.capabilities = frozenset(CAPABILITIES) - missing
        self.checks, self.config, self.line, self.driver = checks, config, line, driver
        self.yields = checks and yields
        self.one_cpu, self.one_long_hold = one_cpu, one_long_hold
        self.defects = known(defects)
        self._made: list[Finding] = []
        self._restart(0)

    def _restart(self, seed: int) -> None:
        self.k = Kernel(
            self.config,
            profile_name=self._profile,
            defects=self.defects,
            seed=seed,
            checks=self.checks,
            line=self.line,
        )
        each = self.config.device_pages // len(DEVICES)
        made = {n: add_device(self.k, n, kind == "private", each, CHUNK) for n, kind in DEVICES.items()}
        if self.driver == "bulk":
            install(self.k)
        self.system = System(self.k, made)
        self.system.one_long_hold = self.one_long_hold
        self._random = Random(seed)
        self._looks = Random(~seed)  # when the invariants are looked at
        self._tasks = [self.k.task(f"cpu{n}", n) for n in range(self.config.cpus)]
        self._threads: dict[int, Task] = {}
        self._free = self._counts()
        self._made = []
        self._dead = ""

    # ---- one after the other

    def _run(self, commands: Sequence[Command]) -> Iterator[Result]:
        for command in commands:
            self._alive()
            if not self.supports(command):
                yield Result("ENOSYS")
                continue
            task = self._tasks[0 if self.one_cpu else self._random.randrange(len(self._tasks))]
            patience = ALONE[0] + ALONE[1] * getattr(command, "count", 0)
            result = self._through(self.system.call(task, command), str(command), patience, self._glance())
            if self.checks:
                check_quiet(self.k)
            yield result

    def _glance(self) -> Callable[[], None] | None:
        """The invariants once in the middle of a command, perhaps."""
        if self.yields:
            return lambda: check(self.k)
        if not self.checks or self._looks.random() >= WITHIN:
            return None
        left = self._looks.randrange(1, self._looks.choice((8, 32, 128)))

        def after() -> None:
            nonlocal left
            left -= 1
            if not left:
                check(self.k)

        return after

    def _through(
        self, steps: Steps[Result], told: str, patience: int = 1 << 60, after: Callable[[], None] | None = None
    ) -> Result:
        try:
            return run_through(steps, after, patience)
        except Stuck as stuck:
            raise self._die("hang", f"{told}: {stuck}") from stuck
        except Misuse as misuse:
            raise self._die("kernel", f"{told}: {misuse}") from misuse
        except Exception as error:
            raise self._die("crash", f"{told}: {_where(error)}") from error

    def _alive(self) -> None:
        if self._dead:
            raise TargetLost(self._dead)

    def _die(self, check_: str, message: str) -> TargetLost:
        self._dead = message
        self._made.append(Finding(check_, message))
        return TargetLost(message)

    # ---- at once

    def _race(self, threads: Sequence[Sequence[Command]], seed: int) -> list[list[Result | None]]:
        self._alive()
        rng = Random(seed)
        out: list[list[Result | None]] = [[None] * len(thread) for thread in threads]
        scheduler = Scheduler(
            rng.getrandbits(32),
            stay=rng.choice((0.0, 0.5, 0.9, 0.98)),
            order=order_from(Random(rng.getrandbits(32)), len(threads), seed),
            after=self._look(Random(rng.getrandbits(32))) if self.checks else None,
        )
        self.k.workers = scheduler
        jobs = []
        for number, thread in enumerate(threads):
            task = self._threads.get(number)
            if task is None:
                task = self._threads[number] = self.k.task(f"t{number}", number % self.config.cpus)
            jobs.append(scheduler.spawn(task, self._thread(task, number, thread, out[number])))
        try:
            if not scheduler.run(PATIENCE):
                raise self._die("hang", f"a race did not end within {PATIENCE} steps")
        except Stuck as stuck:
            raise self._die("hang", str(stuck)) from stuck
        finally:
            scheduler.abandon()
            self.k.workers = None
        for job in jobs:
            if isinstance(job.error, Misuse):
                raise self._die("kernel", str(job.error)) from job.error
            if job.error is not None:
                raise self._die("crash", _where(job.error)) from job.error
        if self.checks:
            check_quiet(self.k)
        return out

    def _thread(self, task: Task, number: int, thread: Sequence[Command], out: list[Result | None]) -> Steps[None]:
        name = f"t{number}"
        for at, command in enumerate(thread):
            yield "user"
            call = self.called(name, command)
            if self.supports(command):
                yield "enter"
                result = yield from self.system.call(task, command)
                yield "leave"
            else:
                result = Result("ENOSYS")
            out[at] = result
            self.returned(call, name, result)

    def _look(self, rng: Random) -> Callable[[], None]:
        """The invariants now and then: where in the race is for the seed."""
        if self.yields:
            return lambda: check(self.k)
        left = rng.randrange(1, CHECK_EVERY)

        def after() -> None:
            nonlocal left
            left -= 1
            if not left:
                left = rng.randrange(1, 2 * CHECK_EVERY)
                check(self.k)

        return after

    # ---- the end

    def findings(self) -> tuple[Finding, ...]:
        """Invariants that broke, warnings, deadlocks."""
        out = list(self._made)
        for found in self.k.findings:
            if self.checks or found.check in VISIBLE:
                kind = (
                    "hang" if found.check in {"L1", "deadlock"} else "kernel" if found.check in VISIBLE else "invariant"
                )
                out.append(Finding(kind, found.text, found.check))
        return tuple(out)

    def _finish(self) -> tuple[Finding, ...]:
        """All processes end, caches are dropped; then nothing may be left.

        Without checks only amounts are compared, as /proc/meminfo tells them; with checks each frame is looked at.
        """
        self._alive()
        before = len(self.k.findings)
        try:
            self._through(self._end(), "the end of all processes")
        except TargetLost:
            return self.findings()
        out: list[Finding] = []
        if self.checks:
            check_quiet(self.k)
            check_empty(self.k)
        shown = [f for f in self.k.findings[before:] if self.checks or f.check in VISIBLE]
        out += [Finding("leak", f.text, f.check) for f in shown]
        for name, (was, now) in {n: (self._free[n], v) for n, v in self._counts().items()}.items():
            if was != now:
                out.append(Finding("leak", f"{name}: {was} before, {now} after everything ended"))
        return tuple(out)

    def _end(self) -> Steps[Result]:
        task = self._tasks[0]
        yield from self.system.end_all(task)
        for file in self.system.files.values():
            file.unlinked = True
        yield from drop_caches(self.k, task)
        return Result()

    def _counts(self) -> dict[str, int]:
        """Amounts that come back to what they were."""
        pages = [head for f in self.k.files.values() for head in f.pages.values()]
        cached, charged = len(pages), sum(self.k.frames.memcg[head] != 0 for head in pages)
        return {
            "free pages": len(self.k.pool.free()) + cached,
            "free swap slots": int((self.k.swap.count == 0).sum()),
            "device pages in use": sum(d.memory.live for d in self.system.devices.values()),
            "free huge pages": self.k.huge_pages.available,
            "charged pages": sum(group.charged for group in self.k.memcgs.values()) - charged,
        }


def _where(error: BaseException) -> str:
    """An error of the kernel's own code: what, and where."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.name}, line {frame.lineno} of {frame.filename.rsplit('/', 1)[-1]})"


def make(options: Mapping[str, object]) -> ReferenceTarget:
    """From the options of the command line: profile, defect, checks (`steps`, `yields`, `off`; or a truth value),
    driver, one_cpu, one_long_hold, size.  Raises ValueError."""
    defects = options.get("defect") or ()
    checks = options.get("checks")
    return ReferenceTarget(
        str(options.get("profile") or "latest"),
        defects=tuple(map(str, defects)) if isinstance(defects, list | tuple) else (str(defects),),
        checks=checks is None or (bool(checks) and checks != "off"),
        yields=checks == "yields",
        driver=str(options.get("driver") or "stepped"),
        one_cpu=bool(options.get("one_cpu")),
        one_long_hold=bool(options.get("one_long_hold")),
        config=LARGE if options.get("size") == "large" else SMALL,
    )


register("ref", make)
