"""A run in this process against a scripted server, with waits that take no time."""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

from batchgen import Event, Runner, RunOptions, Summary
from batchgen.clock import Clock
from tests import ledgers
from tests.servers import FaultServer

Json: TypeAlias = dict[str, Any]

MODEL = "gemini-3-pro-image"
KEY = "a-key-of-the-tests"


def write_job(
    path: Path, items: Iterable[str | Json], *, model: str = MODEL, **head: object
) -> Path:
    """Write a JSON Lines job; an item that is only a word has it as its id and its prompt."""
    written = [{"id": item, "prompt": item} if isinstance(item, str) else item for item in items]
    lines = [{"job": {"name": "job", "defaults": {"model": model}, **head}}, *written]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@dataclass(kw_only=True)
class Ran:
    """What a run came to."""

    directory: Path
    summary: Summary
    waits_s: list[float] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    @property
    def attempts(self) -> list[Json]:
        return ledgers.attempts(self.directory)

    @property
    def told(self) -> list[tuple[str, str, str]]:
        """Outcome, decision and billing of every attempt, in order."""
        return [(a["outcome"], a["decision"], a["billed"]) for a in self.attempts]

    @property
    def exit_code(self) -> int | None:
        return self.summary.exit_code

    @property
    def quarantined(self) -> list[Path]:
        return sorted((self.directory / "quarantine").glob("*"))


class QuickTime:
    """A clock on which every wait is over at once, and has passed all the same.

    It begins now, or at a moment for tests that must not meet a midnight.
    """

    def __init__(self, begins: datetime | None = None) -> None:
        self.waits_s: list[float] = []
        self._skipped_s = 0.0
        self._ahead = timedelta(0) if begins is None else begins - datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic() + self._skipped_s

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead + timedelta(seconds=self._skipped_s)

    async def sleep(self, wait_s: float) -> None:
        self.waits_s.append(wait_s)
        until_s = self.monotonic_s() + wait_s
        await asyncio.sleep(0)
        self._skipped_s += max(0.0, until_s - self.monotonic_s())

    def clock(self) -> Clock:
        return Clock(now=self.now, monotonic_s=self.monotonic_s, sleep=self.sleep)


async def run_job(
    job: Path,
    server: FaultServer | str,
    *,
    patient: bool = False,
    quick: QuickTime | None = None,
    whole: bool = True,
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> Ran:
    """Run to the end, and check what every run must leave behind.

    Args:
        job: The job file; output lies beside it.
        server: Where to send to.
        patient: Waits between attempts take their time.
        quick: The clock of the run, for a server that tells the time by it.
        whole: The run is about the whole job, so that all that lies there is its own.
        on_event: Told of what happens, where the run may not live to return it.
        options: As for a run.
    """
    events: list[Event] = []
    quick = quick or QuickTime()
    quietly = {"output": job.parent / "output", "thumbnails": False}
    chosen: RunOptions = {**quietly, **options}  # type: ignore[typeddict-item]
    if "provider" not in options and _has_no_provider(job):
        chosen["base_url"] = server if isinstance(server, str) else server.url
    clock = Clock() if patient else quick.clock()
    rng = random.Random(1)
    tell = on_event or events.append
    async with Runner(job, on_event=tell, clock=clock, rng=rng, **chosen) as runner:
        async for _ in runner.results():
            pass
    if whole:
        ledgers.check_directory(runner.directory)
    return Ran(
        directory=runner.directory, summary=runner.summary, waits_s=quick.waits_s, events=events
    )


def _has_no_provider(job: Path) -> bool:
    with job.open(encoding="utf-8") as file:
        return "provider" not in json.loads(file.readline()).get("job", {})
