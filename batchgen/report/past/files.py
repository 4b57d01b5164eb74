"""The summaries under `runs/`: of older and newer versions, broken, or none at all."""

import os
from contextlib import suppress
from datetime import datetime
from decimal import Decimal, InvalidOperation
from itertools import chain, islice
from math import isfinite
from pathlib import Path
from typing import Any, Final

import msgspec

from batchgen.report.earlier import MAX_BYTES, UNREADABLE, read_summaries, read_summary
from batchgen.report.past.point import CallCount, RunItems, RunPoint
from batchgen.report.summary import MAX_LISTED, Latency, Summary
from batchgen.store.inside import open_inside

MAX_RUNS: Final = 60
_VERSION: Final = 1
_MAX_COUNT: Final = 10**9
_MAX_USD: Final = Decimal(10) ** 9
_MAX_S: Final = 10 * 365 * 86_400.0
_MAX_DIGITS: Final = 40
_MAX_CODE: Final = 255
_MAX_CHARS: Final = 1000
_LAST_YEAR: Final = 9000


class NoSummary(Exception):
    """A file under `runs/` that is no summary of a run, and why not."""


class _Told(msgspec.Struct):
    """What is wanted of a summary; the rest, which may be long, is passed over."""

    v: Any = None
    run_id: Any = None
    started_at: Any = None
    finished_at: Any = None
    wall_s: Any = None
    stop_reason: Any = None
    exit_code: Any = None
    items: Any = None
    attempts: Any = None
    images: Any = None
    cost_usd: Any = None
    cost_waste_usd: Any = None
    cost_maybe_usd: Any = None
    cost_unknown_attempts: Any = None
    planned_usd: Any = None
    latency_s: Any = None
    diff: Any = None

    @property
    def is_newer(self) -> bool:
        """Whether a newer batchgen wrote it."""
        return isinstance(self.v, int) and self.v > _VERSION


_decoder: Final = msgspec.json.Decoder(_Told)


def file_names(directory: Path) -> list[str]:
    """The runs that have a summary, by its name; oldest first.

    Raises:
        OSError: The directory is there and cannot be listed.
    """
    try:
        return sorted(path.stem for path in directory.iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return []


def read_point(path: Path) -> tuple[RunPoint, bool]:
    """What the summary of a run tells, as far as it can be understood.

    Returns:
        The point, and whether a newer batchgen wrote it.

    Raises:
        NoSummary: It is none of that run.
        OSError: It cannot be read, or is no regular file.
    """
    with open_inside(path) as file:
        n_bytes = os.fstat(file.fileno()).st_size
        if n_bytes > MAX_BYTES:
            raise NoSummary("it is too large")
        data = file.read(n_bytes)
    try:
        told = _decoder.decode(data)
    except UNREADABLE as error:
        raise NoSummary(str(error) or "it is nested too deeply") from error
    if told.run_id != path.stem:
        raise NoSummary("it does not tell of a run of that name")
    return _point(told, path.stem), told.is_newer


def last_with_calls(directory: Path, summary: Summary, run_id: str) -> Summary:
    """The last run that sent anything, of which there is something to draw.

    Args:
        directory: `runs/` of a job's directory.
        summary: Of the last run, which is returned if there is no other.
        run_id: Which one it is by the ledger; where that has no summary, it is looked for.
    """
    if summary.attempts.total:
        return summary
    named = read_summary(directory / f"{Path(run_id).name}.json", Summary)
    told = chain(named, islice(read_summaries(directory, Summary), MAX_RUNS))
    return next((one for one in told if one.attempts.total), summary)


def _point(told: _Told, run_id: str) -> RunPoint:
    exit_code = _count(told.exit_code, _MAX_CODE)
    diff, latency_s = _map(told.diff), _map(told.latency_s)
    return RunPoint(
        run_id=run_id,
        started_at=_moment(told.started_at) or "",
        finished_at=_moment(told.finished_at),
        wall_s=_seconds(told.wall_s),
        state="unfinished" if exit_code is None else "ended",
        stop_reason=told.stop_reason[:_MAX_CHARS] if isinstance(told.stop_reason, str) else None,
        exit_code=exit_code,
        items=_items(_map(told.items)),
        attempts=CallCount(total=_count(_map(told.attempts).get("total"))),
        images=_count(told.images),
        cost_usd=_amount(told.cost_usd),
        cost_waste_usd=_amount(told.cost_waste_usd),
        cost_maybe_usd=_amount(told.cost_maybe_usd),
        cost_unknown_attempts=_count(told.cost_unknown_attempts),
        planned_usd=_amount(told.planned_usd),
        latency_s=Latency(
            **{name: _seconds(latency_s.get(name)) for name in ("p50", "p95", "max")}
        ),
        n_new_failures=_n_listed(diff, "new_failures"),
        n_fixed=_n_listed(diff, "fixed"),
        n_still_failing=_n_listed(diff, "still_failing"),
    )


def _items(counts: dict[str, Any]) -> RunItems:
    found = {name: _count(counts.get(name)) for name in RunItems.__struct_fields__}
    done, reused = found["done"], found["reused"]
    if done is not None and reused is not None:
        found["reused"] = min(done, reused)
    return RunItems(**found)


def _n_listed(diff: dict[str, Any], name: str) -> int | None:
    """How many items there are in a list, or were before it was cut, if that is told."""
    if (n_all := _count(diff.get(f"n_{name}"))) is not None:
        return n_all
    listed = diff.get(name)
    return len(listed) if isinstance(listed, list) and len(listed) < MAX_LISTED else None


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any, most: int = _MAX_COUNT) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
    return value if is_count else None


def _seconds(value: Any) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if isfinite(value) and 0 <= value <= _MAX_S else None


def _amount(value: Any) -> Decimal | None:
    if not isinstance(value, str) or len(value) > _MAX_DIGITS:
        return None
    with suppress(InvalidOperation, ValueError):
        usd = Decimal(value)
        return usd if usd.is_finite() and 0 <= usd < _MAX_USD else None
    return None


def _moment(value: Any) -> str | None:
    """A stamp that can be reckoned with."""
    if not isinstance(value, str):
        return None
    with suppress(ValueError):
        at = datetime.fromisoformat(value)
        return value if at.tzinfo is not None and 1 < at.year < _LAST_YEAR else None
    return None
