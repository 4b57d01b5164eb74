"""What the caller of a run decides, and what becomes of it beside what the job says."""

import math
import os
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypedDict

import msgspec

from batchgen.budget import Budget, next_time
from batchgen.clock import Clock
from batchgen.ending import FailOn, read_fail_on
from batchgen.errors import UsageError
from batchgen.hook import Hook, clean_hook
from batchgen.limits import Concurrency, Limits, max_in_flight, read_concurrency
from batchgen.manifest.settings import Settings
from batchgen.mirror.place import mirror_of
from batchgen.objects import AddressError, ObjectAddress, address_of
from batchgen.plan import Redo
from batchgen.review import read_redo
from batchgen.sanitize import Hidden
from batchgen.selection import Selection, Shard
from batchgen.store.layout import Layout
from batchgen.wording import read_duration

FAILED: Final = "failed.jsonl"
# Windows has drives of one letter.
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
IGNORABLE: Final = frozenset({"model"})


class RunOptions(TypedDict, total=False):
    """What the caller of a run decides; what is left out, or None, is left to the job."""

    output: str | Path | None
    """The parent of the job's directory; `output` by default. `s3://…` and the like are stores."""
    provider: str | None
    base_url: str | None
    """The address alone; key and auth stay the provider's."""
    model: str | None
    """For items that name none; wins over the job's default."""
    concurrency: int | str | None
    """A number, `auto`, or `MIN-MAX`."""
    rpm: float | None
    tpm: float | None
    ipm: float | None
    rpd: int | None
    max_cost_usd: float | Decimal | None
    max_duration: float | str | None
    """Seconds, or a time such as `5h` or `1h30m`."""
    prices: str | Path | None
    """A price file, whose prices win over the job's and the user's."""
    yes: bool
    """Go on though the run should cost more than `budget.confirm_above_usd`."""
    deadline: str | None
    """`HH:MM` on clocks here: no new attempts after the next time that they show it."""
    api_key_file: str | Path | None
    """Holds the key, instead of the environment."""
    ca_file: str | Path | None
    proxy: str | None
    redo: Redo
    """What to send besides what is not done."""
    selection: Selection
    """The part of the job that the run is about."""
    marked: bool
    """Only what `review.jsonl` marks to be made again; the old pictures are kept in quarantine."""
    ignore_change: Collection[str]
    """What may change without an item being made again: `model`."""
    limit: int | None
    """So many items that need work, in order; the others wait for another run."""
    fail_on: str | None
    """Which failures, with skipped items, end the run with 4: `any`, `new`, `none`, `N`, `N%`."""
    notify: str | None
    """The address of a web hook, in place of the one that the job's `notify` names."""
    metrics_file: str | Path | None
    """Replaced at the end with the figures of the run, for Prometheus."""
    thumbnails: bool
    """Make small pictures for the report, for at most a minute; it is done unless told not to."""


def choose_output(option: str | Path | None, job: Path, name: str) -> Path:
    """The parent of the job's directory; what a run wrote there runs into the same directory."""
    if option is not None:
        return Path(option)
    home = job.resolve().parent
    is_own = job.name == FAILED and home.name == name and (home / "ledger").is_dir()
    return home.parent if is_own else Path("output")


def choose_place(
    option: str | Path | None, job: Path, name: str
) -> tuple[Path, ObjectAddress | None]:
    """The job's directory, and where its files belong if that is an object store.

    Raises:
        UsageError: It is meant as the address of a store, and is none.
    """
    try:
        address = _place_of_own(job, name) if option is None else address_of(option)
    except AddressError as error:
        raise UsageError(f"-o {option} {error}") from None
    if address is None:
        if option is not None and (scheme := _SCHEME.match(str(option))) is not None:
            raise UsageError(
                f"-o {option}: {scheme[1]} is no store; expected a directory, s3://, gs:// or "
                f"az://; a directory of that name is ./{option}"
            )
        return choose_output(option, job, name) / name, None
    return mirror_of(address / name), address / name


def _place_of_own(job: Path, name: str) -> ObjectAddress | None:
    """Where what a run wrote into a store runs into; None for any other job."""
    address = address_of(job) if job.name == FAILED else None
    return None if address is None or address.parent.name != name else address.parent.parent


def read_choice(options: RunOptions, layout: Layout) -> tuple[Redo, Selection]:
    """What to send besides what is not done, and of which part of the job.

    Raises:
        UsageError: The marks of the job's directory were asked for, and cannot be read.
        StoreError: The disk failed.
    """
    redo, selection = options.get("redo", Redo()), options.get("selection", Selection())
    if not options.get("marked"):
        return redo, selection
    marked = read_redo(layout.review)
    return (
        replace(redo, marked=marked),
        msgspec.structs.replace(selection, ids=frozenset(marked)),
    )


def check_options(options: RunOptions) -> None:
    """Refuse what no option takes, rather than leave it unheard.

    Raises:
        TypeError: An option that there is none of.
        UsageError: A value that an option does not take.
    """
    if unknown := sorted(set(options) - set(RunOptions.__annotations__)):
        known = ", ".join(RunOptions.__annotations__)
        raise TypeError(f"unknown options {', '.join(unknown)}; expected some of {known}")
    read_limits(Limits(), options)
    read_budget(Budget(), options, Clock())
    if unknown := sorted(set(options.get("ignore_change", ())) - IGNORABLE):
        raise UsageError(f"ignore_change {', '.join(unknown)}: expected model")
    read_fail_on_option(options)
    if (notify := options.get("notify")) is not None:
        clean_hook(notify, "notify", allow_http=True)  # whether it may, only the job tells
    limit = options.get("limit")
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}: expected a number of at least 1")


def read_fail_on_option(options: RunOptions) -> FailOn:
    """Which failures end the run with 4; any, unless it is told.

    Raises:
        UsageError: A value that the option does not take.
    """
    asked = options.get("fail_on")
    fail_on = FailOn() if asked is None else read_fail_on(str(asked))
    if fail_on is None:
        raise UsageError(f"fail_on {asked}: expected any, new, none, a number of items, or N%")
    return fail_on


def hook_without_job(options: RunOptions) -> Hidden | None:
    """The address that is told of a job which cannot be read; none that only a job allows."""
    try:
        return read_hook(Hook(), options, lambda _: None)
    except UsageError:
        return None


def read_hook(job: Hook, options: RunOptions, warn: Callable[[str], None]) -> Hidden | None:
    """The address of the hook that is told how the run ends; None if nobody is.

    One that the environment lacks, or that is no address, costs no picture: that is told.

    Raises:
        UsageError: That of the option is none, or plain http which the job does not allow.
    """
    if (asked := options.get("notify")) is not None:
        return Hidden(clean_hook(asked, "notify", allow_http=job.allow_http))
    if job.url_env is None:
        return None
    if not (url := os.environ.get(job.url_env)):
        warn(f"nobody will be told how this run ends: {job.url_env}, of notify.url_env, is not set")
        return None
    try:
        return Hidden(clean_hook(url, job.url_env, allow_http=job.allow_http))
    except UsageError as error:
        warn(f"nobody will be told how this run ends: {error}")
        return None


def chosen_shard(options: RunOptions) -> Shard | None:
    """The part of the job that the run is; None if it is the whole of it."""
    return options.get("selection", Selection()).shard


def read_limits(job: Limits, options: RunOptions) -> Limits:
    """The job's limits, with those that the caller set in their place; a shard has its share.

    Raises:
        UsageError: A value that an option does not take.
    """
    limits = job
    if (asked := options.get("concurrency")) is not None:
        concurrency = read_concurrency(str(asked))
        if concurrency is None:
            raise UsageError(
                f"concurrency {asked}: expected auto, a number of at least 1, or MIN-MAX"
            )
        limits = replace(limits, concurrency=concurrency)
    rates = {name: _above_0(name, options.get(name)) for name in ("rpm", "tpm", "ipm", "rpd")}
    rpd = rates["rpd"]
    if rpd is not None and not rpd.is_integer():
        raise UsageError(f"rpd {rpd}: expected a whole number")
    limits = replace(
        limits,
        rpm=limits.rpm if rates["rpm"] is None else rates["rpm"],
        tpm=limits.tpm if rates["tpm"] is None else rates["tpm"],
        ipm=limits.ipm if rates["ipm"] is None else rates["ipm"],
        rpd=limits.rpd if rpd is None else int(rpd),
    )
    shard = chosen_shard(options)
    return limits if shard is None else limits.share(shard)


def _above_0(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise UsageError(f"{name} {value}: expected a number above 0")
    return float(value)


def read_budget(job: Budget, options: RunOptions, clock: Clock) -> Budget:
    """The job's budget, with what the caller set in its place; the earlier of two ends counts.

    A shard has its share of the money.

    Raises:
        UsageError: A value that an option does not take.
    """
    budget = job
    if (cost := options.get("max_cost_usd")) is not None:
        budget = replace(budget, max_cost_usd=_usd("max_cost_usd", cost))
    if (asked := options.get("max_duration")) is not None:
        seconds = read_duration(asked) if isinstance(asked, str) else asked
        if not isinstance(seconds, int | float) or not seconds >= 0:
            raise UsageError(
                f"max_duration {asked}: expected seconds, or a time such as 30m or 1h30m"
            )
        budget = replace(budget, max_duration_s=float(seconds))
    if (deadline := options.get("deadline")) is not None:
        budget = replace(budget, deadline_at=next_time(str(deadline), clock.now()))
    shard = chosen_shard(options)
    return budget if shard is None else budget.share(shard)


def needs_prices(job: Settings, options: RunOptions, clock: Clock) -> bool:
    """Whether a run with these options would refuse a model without a price."""
    limits = read_limits(job.limits, options)
    budget = read_budget(job.budget, options, clock)
    return replace(job, limits=limits, budget=budget).needs_prices


def _usd(name: str, value: Any) -> Decimal:
    if not isinstance(value, int | float | Decimal) or not (math.isfinite(value) and value >= 0):
        raise UsageError(f"{name} {value}: expected a number of at least 0")
    return Decimal(str(value))


def bearable(asked: Concurrency) -> Concurrency:
    """What was asked for, if the system gives that many open files; a search takes what it can.

    Raises:
        UsageError: More requests at once than open files allow.
    """
    most = max_in_flight()
    if asked.lowest > most or (asked.start == asked.highest > most):
        raise UsageError(
            f"concurrency {asked.highest} needs more open files than this process may have: "
            f"at most {most}, or raise the limit (ulimit -n)"
        )
    return asked.within(most)
