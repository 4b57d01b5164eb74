"""A run in this process: one event loop, and what signals mean to it."""

import asyncio
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Unpack

from batchgen.errors import ClusterError, StoreError
from batchgen.events import Event
from batchgen.executors.choice import Executor, ExecutorOptions, choose_hands
from batchgen.options import RunOptions
from batchgen.report.summary import Summary
from batchgen.runner import Runner

GRACE_S: Final = 120.0


def run_local(runner: Runner, *, grace_s: float = GRACE_S, ends_process: bool = False) -> Summary:
    """Run to the end and return the summary.

    The first SIGINT or SIGTERM asks the run to stop: nothing new is sent, and what is under way
    may end within `grace_s`. The second gives up at once. Either way everything is recorded.

    Args:
        runner: Has not been entered.
        grace_s: Seconds.
        ends_process: The process ends with the run. A signal that comes after that is let pass:
            it would stop nothing, and take away the last words and the exit code.
    """
    raise_file_limit()
    return asyncio.run(_run(runner, grace_s, ends_process=ends_process))


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: each call in flight needs a socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        # macOS names no limit as the hard one, and refuses it as the soft one.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _run(runner: Runner, grace_s: float, *, ends_process: bool) -> Summary:
    with _signals(runner, grace_s, ends_process=ends_process):
        try:
            async with runner:
                async for _ in runner.results():
                    pass
        except (StoreError, ClusterError):
            # What was sent before the disk or the cluster failed has its figures all the same.
            if runner.written_summary is None:
                raise
    return runner.summary


@contextmanager
def _signals(runner: Runner, grace_s: float, *, ends_process: bool) -> Iterator[None]:
    """First signal asks, second insists; the handlers that were there come back afterwards.

    Unless the process ends with the run, and nothing is left for them to stop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's, and whoever runs it looks after them
        return
    loop = asyncio.get_running_loop()
    asked: list[asyncio.TimerHandle] = []

    def handle(number: signal.Signals) -> None:
        if asked:
            runner.cancel()
            return
        runner.request_stop(number.name.lower())
        asked.append(loop.call_later(grace_s, runner.cancel))

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        loop.add_signal_handler(number, handle, number)
    try:
        yield
    finally:
        for timer in asked:
            timer.cancel()
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN if ends_process else before[number])


def run(
    job: str | Path,
    *,
    on_event: Callable[[Event], None] | None = None,
    executor: Executor | None = None,
    ray_address: str | None = None,
    ray_workers: int | None = None,
    **options: Unpack[RunOptions],
) -> Summary:
    """Make what a job asks for and is not done yet; block until it is.

    Args:
        job: The job file.
        on_event: Told of everything that happens, on the event loop; must not block.
        executor: Who makes the calls: this process (`local`), or workers on a cluster (`ray`).
        ray_address: `auto`, or `HOST:PORT` of a cluster; without it one is started here.
        ray_workers: How many of them; one for each node unless told.
        **options: As in `RunOptions`; what is left out is the job's to say.

    Returns:
        The figures of the run. A failed item is no exception: see `Summary.failures`.

    Raises:
        UsageError: Wrong usage or a missing key. Nothing was sent.
        JobError: The job has errors; all of them are in `problems`. Nothing was sent.
        OutputHeld: Another run writes to the same directory. Nothing was sent.
        StoreError: The disk failed before anything was sent. Afterwards it is told by the
            summary's `exit_code` 12 and `stop_reason`.
        ClusterError: There is no cluster. Nothing was sent. Afterwards it is told as above, with 5.
    """
    chosen = ExecutorOptions(executor=executor, ray_address=ray_address, ray_workers=ray_workers)
    hands = choose_hands(chosen, options)
    return run_local(Runner(job, on_event=on_event, hands=hands, **options))
