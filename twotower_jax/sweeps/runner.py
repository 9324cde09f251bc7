"""Runs side by side: one process, its data, programs and cores shared.

The program of a small step does not fill the cores of a machine, and JAX releases the
interpreter lock while it runs. So each core has a thread that takes the next run. The
runs share the compiled programs (numbers are arguments) and the data. Each run has the
bits of a run alone, for it is the same program.

With `hydra.launcher.processes=true` a thread hands its runs to a process of its own
(`processes`), which shares neither interpreter nor data.

On an accelerator the runs that differ in numbers train as one program over all of them
(`training/together.py`), each still in a thread of its own.
"""

import io
import math
import threading
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import jax
from rich.console import Console

from twotower_jax.config import Config
from twotower_jax.errors import BusyError
from twotower_jax.progress import SweepProgress, make_console
from twotower_jax.run.checks import check_names
from twotower_jax.run.execute import Sharing, run
from twotower_jax.run.folder import RunFolder, run_folder
from twotower_jax.run.loader import (
    Loaded,
    cached_loader,
    check_sizes,
    load_data,
    trains,
)
from twotower_jax.run.problem import finds_length, make_problem
from twotower_jax.signals import Stopped, StopRequest
from twotower_jax.sweeps.options import FusedOptions
from twotower_jax.sweeps.processes import WorkerPool, own_cores
from twotower_jax.training.together import Together

# Runs at a time on an accelerator, where each holds its tables.
ARMS = 16
# Runs one after the other, each with all the memory.
IN_TURN = FusedOptions(workers=1)

Load = Callable[[Config], Loaded]


class Outcome(NamedTuple):
    """The result of a run, or the error that ended it."""

    config: Config
    result: dict[str, Any] | None
    error: BaseException | None
    text: str  # that the run has printed

    def get(self) -> dict[str, Any]:
        """The result, or raise the error."""
        if self.result is None:
            raise self.error or AssertionError("a run ends with a result or an error")
        return self.result

    def show(self, console: Console) -> None:
        """Print what the run has printed."""
        text = self.text
        console.print(text, end="", markup=False, highlight=False, soft_wrap=True)


def run_many(
    configs: Sequence[Config],
    *,
    console: Console | None = None,
    command: str = "twotower_jax.sweeps.runner.run_many",
    options: FusedOptions | None = None,
    load: Load | None = None,
    pool: WorkerPool | None = None,
) -> Generator[Outcome, None, None]:
    """Train configurations side by side, and yield the outcomes in their order.

    A finished run is returned, an unfinished one goes on from its checkpoint, and one
    that another process works on comes last. After a signal no run begins; those that
    train save their state, and all of these have the error `Stopped`.
    """
    console = console or make_console(io.StringIO())
    jobs = [_Job(config, console.width) for config in configs]
    beside: dict[Path, _Job] = {}
    for job in jobs:
        # Devices that wait for each other belong to one run.
        if math.prod(job.config.training.mesh_shape) == 1:
            beside.setdefault(run_folder(job.config), job)
    own, facts = pool or WorkerPool(), set[str]()
    progress = closing(SweepProgress(console, len(jobs)))
    with StopRequest() as request, progress as lines:
        team, interrupted = _Team(command, request, lines, load or load_data), False
        try:
            team.start(list(beside.values()), options or FusedOptions(), own)
            for job in jobs:
                if beside.get(run_folder(job.config)) is not job:
                    team.join()
                    team.finish(job, Sharing(team.load, wait=True), run)
                yield job.outcome(facts)
        except (KeyboardInterrupt, GeneratorExit) as end:
            # The second Ctrl-C, here or in the caller's loop: nothing is waited for.
            interrupted = KeyboardInterrupt in (type(end), type(end.__context__))
            raise
        finally:
            if not interrupted:
                team.join()
                if pool is None:
                    own.end()


def cores() -> int:
    """The number of cores that this process may use."""
    return len(own_cores())


class _Job:
    """A run whose output is kept until its result is waited for."""

    def __init__(self, config: Config, width: int):
        self.config, self._text = config, io.StringIO()
        self.console = make_console(self._text, width)
        self.future: Future[dict[str, Any]] = Future()

    def outcome(self, facts: set[str]) -> Outcome:
        """Wait for the end of the run; add its ``facts``, and print none of them again.

        Facts are lines about data and samples, which the runs of a sweep share.
        """
        error = self.future.exception()
        result = self.future.result() if error is None else None
        lines = self._text.getvalue().splitlines(keepends=True)
        text = "".join(line for line in lines if line not in facts)
        facts.update(line for line in lines if line.startswith(("data ", "  ")))
        return Outcome(self.config, result, error, text)


class _Team:
    """Threads that take jobs from one queue."""

    def __init__(
        self, command: str, request: StopRequest, progress: SweepProgress, load: Load
    ):
        self._command, self._request, self._progress = command, request, progress
        self.load, self._lock = load, threading.Lock()
        # Jobs that another process works on; they come last.
        self._busy: list[tuple[_Job, Sharing]] = []
        self._threads: list[threading.Thread] = []

    def start(
        self, jobs: Sequence[_Job], options: FusedOptions, pool: WorkerPool
    ) -> None:
        """Start a thread for each run at a time."""
        on_cpu = jax.default_backend() == "cpu"
        together = not on_cpu if options.together is None else options.together
        number = options.workers or (cores() if on_cpu else ARMS)
        queue = self._in_order(jobs, number if together else 0)
        number = min(number, len(jobs))
        makers: list[Callable[..., dict[str, Any]]] = [run] * number
        if options.processes and on_cpu and not together:
            makers = [worker.run for worker in pool.of_size(number)]
        # Daemons: a second Ctrl-C leaves without waiting for them.
        self._threads = [
            threading.Thread(target=self._work, args=(queue, make), daemon=True)
            for make in makers
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until every thread has ended."""
        for thread in self._threads:
            thread.join()

    def _in_order(
        self, jobs: Sequence[_Job], together: int
    ) -> Iterator[tuple[_Job, Sharing]]:
        """Yield the jobs, those on the same data next to each other.

        A data set is kept as long as jobs read it. A job that waits for others of its
        program has them right behind it, and there is a thread for each.
        """
        by_data: dict[str, list[_Job]] = {}
        for job in jobs:
            by_data.setdefault(repr(job.config.data), []).append(job)
        for alike in by_data.values():
            shared = Sharing(cached_loader(self.load))
            if not together:
                yield from ((job, shared) for job in alike)
                continue
            groups: dict[Hashable, list[_Job]] = {}
            for job in alike:
                key = _program_key(job.config, shared.load)
                groups.setdefault(job if key is None else key, []).append(job)
            for group in groups.values():
                lanes = min(together, len(group))
                meeting = Together(lanes) if lanes > 1 else None
                for arm, job in enumerate(group):
                    steps = meeting and meeting.steps(arm)
                    yield job, shared._replace(together=steps)

    def _work(
        self,
        queue: Iterator[tuple[_Job, Sharing]],
        make: Callable[..., dict[str, Any]],
    ) -> None:
        """Run jobs until none is left."""
        while True:
            with self._lock:
                entry, waits = next(queue, None), False
                if entry is None and self._busy:
                    entry, waits = self._busy.pop(0), True
            if entry is None:
                return
            job, shared = entry
            # Arms of one program meet at its steps: none can come later.
            waits = waits or shared.together is not None
            try:
                self.finish(job, shared._replace(wait=waits), make)
            except BusyError:
                with self._lock:
                    self._busy.append(entry)
            finally:
                if shared.together is not None:
                    shared.together.leave()

    def finish(
        self, job: _Job, shared: Sharing, make: Callable[..., dict[str, Any]]
    ) -> None:
        """Make the run of a job and show its progress; BusyError unless it waits."""
        line = self._progress.add_run()
        shared = shared._replace(progress=line, request=self._request)
        options = {"console": job.console, "command": self._command, "shared": shared}
        try:
            if self._request.number is not None:
                raise Stopped(self._request.number, 0)
            if RunFolder(run_folder(job.config)).is_done():
                line.found_finished()
            result = make(job.config, **options)
        except BaseException as error:
            if isinstance(error, BusyError):
                if self._request.number is not None:
                    error = Stopped(self._request.number, 0)
                elif not shared.wait:
                    raise
            line.end()
            job.future.set_exception(error)
        else:
            line.end()
            job.future.set_result(result)


def _program_key(config: Config, read: Load) -> Hashable | None:
    """The key of a run's compiled program; None where it trains alone.

    Runs of one program differ in numbers only. A run that has nothing to train, is
    finished or has wrong input is alone.
    """
    if not trains(config) or RunFolder(run_folder(config)).is_done():
        return None
    try:
        check_names(config)
        data = read(config)
        check_sizes(config, data)
        if finds_length(config, data.split):
            return None  # the schedule is that of another run
        problem = make_problem(config, data)
    except Exception:
        return None  # the run itself reports the error
    arrays = (problem.program, problem.data, jax.eval_shape(problem.start))
    leaves, tree = jax.tree.flatten(arrays)
    return (
        tree,
        tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves),
        config.training.batch_size,
        problem.schedule._replace(steps=0),
        tuple((renewal.name, renewal.when) for renewal in problem.memories),
    )
