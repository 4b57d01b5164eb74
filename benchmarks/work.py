"""What a contender is asked to do, and the same words for all of them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

MODEL: Final = "gemini-3-pro-image"
API_KEY: Final = "bench-key-that-opens-nothing"  # it never leaves loopback


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One run of one contender; travels to its process as JSON.

    Attributes:
        base_url: The server, without a path.
        n: Requests to send.
        concurrency: How many of them at once.
        directory: Where the images go; empty.
        references: Image files to send along with each request.
        limits: What the server allows, as a job says it; for the contender that is told.
    """

    base_url: str
    n: int
    concurrency: int
    directory: str
    references: tuple[str, ...] = ()
    limits: Mapping[str, object] = field(default_factory=dict)

    @property
    def endpoint(self) -> str:
        """The address that a bare HTTP client posts to."""
        return f"{self.base_url}/v1beta/models/{MODEL}:generateContent"

    def prompt(self, number: int) -> str:
        """What request `number` asks for."""
        return f"Picture {number} of a benchmark: a plain grey square."

    def target(self, number: int) -> Path:
        """Where a script writes picture `number`."""
        return Path(self.directory) / f"{number:05d}.png"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """One reading of a job file; travels likewise.

    Attributes:
        job: The file.
        n: Items in it.
    """

    job: str
    n: int


Task: TypeAlias = Work | Reading


def dumps(task: Task) -> str:
    """A task as JSON."""
    return json.dumps(asdict(task))


def loads(text: str) -> Task:
    """The task that was dumped."""
    told = json.loads(text)
    return Reading(**told) if "job" in told else Work(**told)
