"""What the caller of a run decides, and what becomes of it beside what the job says."""

from pathlib import Path
from typing import Final, Literal, TypedDict

from batchgen.errors import UsageError
from batchgen.limits import AUTO_CONCURRENCY, max_in_flight
from batchgen.plan import Redo
from batchgen.selection import Selection

FAILED: Final = "failed.jsonl"


class RunOptions(TypedDict, total=False):
    """What the caller of a run decides; what is left out, or None, is left to the job."""

    output: str | Path | None
    """The parent of the job's directory; `output` by default."""
    provider: str | None
    base_url: str | None
    """The address alone; key and auth stay the provider's."""
    model: str | None
    """For items that name none; wins over the job's default."""
    concurrency: int | Literal["auto"] | None
    rpm: float | None
    api_key_file: str | Path | None
    """Holds the key, instead of the environment."""
    ca_file: str | Path | None
    proxy: str | None
    redo: Redo
    """What to send besides what is not done."""
    selection: Selection
    """The part of the job that the run is about."""
    limit: int | None
    """So many items that need work, in order; the others wait for another run."""


def choose_output(option: str | Path | None, job: Path, name: str) -> Path:
    """The parent of the job's directory; what a run wrote there runs into the same directory."""
    if option is not None:
        return Path(option)
    home = job.resolve().parent
    is_own = job.name == FAILED and home.name == name and (home / "ledger").is_dir()
    return home.parent if is_own else Path("output")


def check_options(options: RunOptions) -> None:
    """Refuse what no option takes, rather than leave it unheard.

    Raises:
        TypeError: An option that there is none of.
        UsageError: A value that an option does not take.
    """
    if unknown := sorted(set(options) - set(RunOptions.__annotations__)):
        known = ", ".join(RunOptions.__annotations__)
        raise TypeError(f"unknown options {', '.join(unknown)}; expected some of {known}")
    concurrency, rpm, limit = (options.get("concurrency"), options.get("rpm"), options.get("limit"))
    if concurrency is not None and concurrency != "auto" and concurrency < 1:
        raise UsageError(f"concurrency {concurrency}: expected auto or a number of at least 1")
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: expected a number of at least 1")
    if rpm is not None and rpm <= 0:
        raise UsageError(f"rpm {rpm}: expected a number above 0")


def choose_concurrency(option: int | Literal["auto"] | None, job: int | None) -> int:
    """What was asked for, if the system gives that many open files; `auto` takes what it can.

    Raises:
        UsageError: More requests at once than open files allow.
    """
    asked = job if option is None else option
    bearable = max_in_flight()
    if asked is None or asked == "auto":
        return min(AUTO_CONCURRENCY, bearable)
    if asked > bearable:
        raise UsageError(
            f"concurrency {asked} needs more open files than this process may have: "
            f"at most {bearable}, or raise the limit (ulimit -n)"
        )
    return asked
