"""The kinds of load that are measured; `benchmarks.scenarios` lists those that there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

MB: Final = 1_000_000
GB: Final = 1_000_000_000
CONTENDERS: Final = ("batchgen", "usual_script", "orjson_pybase64", "google_genai")
TRAFFIC_CONTENDERS: Final = ("batchgen_told", "batchgen_auto", "patient_script")
ROUNDS: Final = 3


class Column(NamedTuple):
    """A figure besides time and memory: its name, and how a table shows it."""

    key: str
    title: str
    form: str = "{:,.0f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Calls:
    """One load, put on each contender in turn.

    Attributes:
        n: Requests of one run.
        concurrency: How many of them are under way at once.
        image_bytes: The size of the image in each reply, before base64.
        held: Whether the server answers only when `concurrency` requests wait for it; the first
            request is answered at once, so `n` is one more than a multiple of `concurrency`.
        n_references: How many images each request carries.
        reference_bytes: The size of each.
        on_disk: Whether the output goes to a disk, though there may be a tmpfs.
        until_told: Whether a held server goes on waiting until the directory has been looked at.
    """

    name: str
    title: str
    n: int
    concurrency: int
    image_bytes: int
    held: bool = False
    n_references: int = 0
    reference_bytes: int = 0
    contenders: tuple[str, ...] = CONTENDERS
    on_disk: bool = False
    until_told: bool = False
    columns: tuple[Column, ...] = ()
    rounds: int = ROUNDS

    @property
    def bytes_a_call(self) -> int:
        """The image bytes of one call, sent and received: what its MB/s count."""
        return self.image_bytes + self.n_references * self.reference_bytes

    @property
    def disk_bytes(self) -> int:
        """What one run needs on disk."""
        return self.n * self.image_bytes + self.n_references * self.reference_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """What lies on disk, read by a command, and by another way to do the same if there is one.

    Attributes:
        n: Items that it stands for.
        write: Writes so many items, and what they name, into a directory.
        script: The contender beside the command; None for none.
        command: The contender that is the command.
        bytes_each: The most that an item takes on disk.
    """

    name: str
    title: str
    n: int
    write: Callable[[Path, int], Path]
    script: str | None = None
    command: str = "validate"
    bytes_each: int = 200
    columns: tuple[Column, ...] = ()
    rounds: int = ROUNDS

    @property
    def contenders(self) -> tuple[str, ...]:
        """The command, and the script if there is one."""
        return (self.command,) if self.script is None else (self.command, self.script)

    @property
    def disk_bytes(self) -> int:
        """What the file needs at most."""
        return self.n * self.bytes_each


@dataclass(frozen=True, kw_only=True, slots=True)
class Limited:
    """Requests to a server with a limit of its own.

    All contenders run side by side, each against a server of its own: they wait far more than they
    work.

    Attributes:
        n: Requests of one run.
        rule: The limit, as `benchmarks.rules` reads it.
        tells: Whether a refusal says how long to wait.
        seconds: What a request takes, at least and at most.
        limits: What the job of the contender that is told sets.
        concurrency: How many requests the script has under way at once, refused ones included.
    """

    name: str
    title: str
    rule: tuple[str, ...]
    tells: bool
    limits: Mapping[str, object]
    seconds: tuple[float, float] = (0.2, 1.0)
    n: int = 2000
    concurrency: int = 64
    image_bytes: int = 2000
    contenders: tuple[str, ...] = TRAFFIC_CONTENDERS
    columns: tuple[Column, ...] = ()
    rounds: int = 1  # one takes more than a minute, and it is hardly a matter of the machine

    @property
    def disk_bytes(self) -> int:
        """What the runs of all contenders need on disk."""
        return len(self.contenders) * self.n * self.image_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Viewed:
    """A run whose pictures people look at, and the same without them.

    Attributes:
        n: Requests of one run, each answered with a picture of its own.
        concurrency: How many of them are under way at once.
        seconds: What one takes, at least and at most.
    """

    name: str
    title: str
    n: int
    concurrency: int
    seconds: tuple[float, float] = (0.2, 1.0)
    contenders: tuple[str, ...] = ("batchgen", "batchgen_viewed")
    columns: tuple[Column, ...] = ()
    rounds: int = ROUNDS

    @property
    def disk_bytes(self) -> int:
        """What one run needs on disk."""
        return self.n * 2 * MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Beginning:
    """`batchgen run` of a large job until its first request has come, and then a Ctrl-C.

    Attributes:
        n: Lines of the job.
        goes_on_s: How long it goes on sending before the Ctrl-C.
    """

    name: str
    title: str
    n: int
    goes_on_s: float = 2.0
    contenders: tuple[str, ...] = ("run",)
    columns: tuple[Column, ...] = (
        Column("first_request_s", "first request s", "{:.2f}"),
        Column("requests", "requests"),
    )
    rounds: int = 1

    @property
    def disk_bytes(self) -> int:
        """What the job and its directory need at most."""
        return self.n * 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Finished:
    """`batchgen run` of a job of which everything is done.

    Attributes:
        n: Items of the job.
        is_sealed: Nobody has touched anything since; else the whole ledger is read.
    """

    name: str
    title: str
    n: int
    is_sealed: bool = True
    contenders: tuple[str, ...] = ("run",)
    columns: tuple[Column, ...] = ()
    rounds: int = ROUNDS

    @property
    def disk_bytes(self) -> int:
        """What the job and its directory need at most; its pictures are one file."""
        return self.n * 4000


@dataclass(frozen=True, kw_only=True, slots=True)
class Starts:
    """A command that does hardly anything, and `python -c pass` beside it.

    Attributes:
        contenders: What follows `batchgen` on the command line.
    """

    name: str
    title: str
    contenders: tuple[str, ...]
    n: int = 1
    columns: tuple[Column, ...] = (
        Column("pass_ms", "`python -c pass` ms", "{:.0f}"),
        Column("beyond_ms", "beyond that ms", "{:.0f}"),
    )
    rounds: int = 20

    @property
    def disk_bytes(self) -> int:
        """Nothing is written."""
        return 0


Scenario: TypeAlias = Calls | Readings | Limited | Viewed | Beginning | Finished | Starts
