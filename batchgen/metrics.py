"""The figures of a job's last run as a Prometheus textfile, for node_exporter's collector.

Every figure is a gauge: it tells of one run, and the next one puts another in its place. So no name
ends in `_total`, and no sample has a time of its own, which the collector would refuse. What is not
known is absent, never 0; HELP is the same for all jobs, as it must be where their files lie in one
directory.

The label that names the job is `batch`. Prometheus sets `job` itself, to the name of what it
scrapes, and would rename ours to `exported_job`.

Source: https://prometheus.io/docs/practices/naming/,
https://prometheus.io/docs/instrumenting/exposition_formats/, and the textfile collector's part of
https://github.com/prometheus/node_exporter.
"""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import msgspec

from batchgen.errors import StoreError
from batchgen.model import Outcome
from batchgen.report.earlier import read_summaries
from batchgen.report.summary import Summary
from batchgen.sanitize import paired
from batchgen.store.replace import replaced

_MAX_RUNS: Final = 1000
_MAX_FILE_BYTES: Final = 1 << 20
_JOB: Final = re.compile(r'^batchgen_exit_code\{batch="((?:[^"\\]|\\.)*)"\} ', re.MULTILINE)
_SUCCESS: Final = re.compile(
    r"^batchgen_last_success_timestamp_seconds\{.*\} ([0-9]{1,11}(?:\.[0-9]+)?)$", re.MULTILINE
)
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPED: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

_Figure: TypeAlias = int | float | Decimal | None
_Moment: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]


@dataclass(frozen=True, slots=True)
class _Gauge:
    """One metric of a job.

    Attributes:
        name: Without the prefix; it ends in the unit, if there is one.
        help: A line without a backslash.
        figures: One figure; or one for each value of a label.
        label: That label's name.
    """

    name: str
    help: str
    figures: _Figure | Mapping[str, _Figure]
    label: str = ""

    def lines(self, job: str) -> list[str]:
        """What is known of it; nothing if nothing is."""
        figures = self.figures if isinstance(self.figures, Mapping) else {"": self.figures}
        name = f"batchgen_{self.name}"
        samples = [
            f"{name}{{{_labels(job, self.label, value)}}} {_number(figure)}"
            for value, figure in figures.items()
            if figure is not None and math.isfinite(figure)
        ]
        head = [f"# HELP {name} {self.help}", f"# TYPE {name} gauge"]
        return [*head, *samples] if samples else []


def metrics_text(
    summary: Summary | None,
    *,
    job: str,
    exit_code: int,
    ended_at: datetime,
    last_success_at: datetime | None,
) -> str:
    """Write what a run came to in Prometheus' text format.

    Args:
        summary: None where the run failed before it had any; then only the rest is told.
        job: Its name.
        exit_code: Of the run.
        ended_at: When it ended.
        last_success_at: When one last ended with exit code 0 before this one; None if none did.
    """
    success_at = ended_at if exit_code == 0 else last_success_at
    gauges = [
        _Gauge("exit_code", "Exit code of the last run; 0 is success.", exit_code),
        _Gauge(
            "last_run_timestamp_seconds",
            "When the last run ended, in seconds since 1970.",
            ended_at.timestamp(),
        ),
        _Gauge(
            "last_success_timestamp_seconds",
            "When a run last ended with exit code 0, in seconds since 1970.",
            success_at.timestamp() if success_at else None,
        ),
        *(_of_summary(summary) if summary else ()),
    ]
    return "".join(f"{line}\n" for gauge in gauges for line in gauge.lines(job))


def write_metrics(path: Path, text: str) -> None:
    """Put the text in the place of a metrics file, as a whole; others may read it, by the umask.

    The directory is not made: a collector would not look into a new one. Behind a link, the file
    is replaced that it leads to.

    Raises:
        StoreError: It cannot be written, or something lies there that is no file.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and not target.is_file():
            raise StoreError(f"{path} is no regular file: metrics are written to a file")
        with replaced(target) as file:
            file.write(text.encode())
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error  # and not of the draft


def last_success(runs: Path) -> datetime | None:
    """When a run last ended with exit code 0; None if none of the last thousand did.

    Args:
        runs: `runs/` of a job's directory; it need not exist. What cannot be read is passed over.
    """
    ends = islice(read_summaries(runs, _Ended), _MAX_RUNS)
    return next((one.finished_at for one in ends if one.exit_code == 0 and one.finished_at), None)


def recall(path: Path) -> tuple[str, datetime | None] | None:
    """The job of a metrics file, and when a run of it last succeeded; None if it tells of none."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
    if (job := _JOB.search(text)) is None:
        return None
    name = _ESCAPE.sub(lambda found: "\n" if found[1] == "n" else found[1], job[1])
    told = _SUCCESS.search(text)
    return name, datetime.fromtimestamp(float(told[1]), UTC) if told else None


class _Ended(msgspec.Struct):
    """What a run's summary says of its end."""

    exit_code: int | None = None
    finished_at: _Moment | None = None


def _of_summary(summary: Summary) -> Iterator[_Gauge]:
    """The figures of a run that has some, by the names of `summary.json`."""
    yield _Gauge("run_duration_seconds", "How long the last run took, in seconds.", summary.wall_s)
    yield from _of_items(summary)
    yield _Gauge(
        "attempts",
        "Calls of the last run by what they came to.",
        {**dict.fromkeys(Outcome, 0), **summary.attempts.by_outcome},
        "outcome",
    )
    yield _Gauge("images", "Pictures that the last run made.", summary.images)
    yield _Gauge(
        "tokens",
        "Tokens that the last run used, by direction and modality.",
        msgspec.structs.asdict(summary.tokens),
        "modality",
    )
    yield from _of_money(summary)
    yield from _of_speed(summary)


def _of_items(summary: Summary) -> Iterator[_Gauge]:
    items, diff = summary.items, summary.diff
    statuses = ("done", "failed", "skipped", "pending")
    yield _Gauge(
        "items",
        "Items of the last run by where they stand after it.",
        {status: getattr(items, status) for status in statuses},
        "status",
    )
    # A part of those that are done: as a status of its own it would be counted twice in a sum.
    yield _Gauge(
        "reused_items", "Items among those done that were done before the last run.", items.reused
    )
    yield _Gauge(
        "new_failures",
        "Items that failed in the last run and not in the one before.",
        None if diff is None else diff.count("new_failures"),
    )
    yield _Gauge(
        "fixed_items",
        "Items that are done and had failed in the run before.",
        None if diff is None else diff.count("fixed"),
    )
    yield _Gauge(
        "still_failing_items",
        "Items that failed in the last run and in the one before.",
        None if diff is None else diff.count("still_failing"),
    )


def _of_money(summary: Summary) -> Iterator[_Gauge]:
    planned_usd = summary.planned_usd
    yield _Gauge(
        "cost_usd",
        "US dollars that were billed for the last run, waste included, as far as they are known.",
        summary.cost_usd,
    )
    yield _Gauge(
        "cost_waste_usd",
        "US dollars of these that were billed for calls without a picture.",
        summary.cost_waste_usd,
    )
    yield _Gauge(
        "cost_maybe_usd",
        "US dollars that may have been billed on top of these.",
        summary.cost_maybe_usd,
    )
    yield _Gauge(
        "cost_unknown_attempts",
        "Calls of the last run whose cost is not known.",
        summary.cost_unknown_attempts,
    )
    yield _Gauge(
        "planned_usd",
        "US dollars that the last run was expected to cost.",
        None if isinstance(planned_usd, msgspec.UnsetType) else planned_usd,
    )


def _of_speed(summary: Summary) -> Iterator[_Gauge]:
    latency_s = summary.latency_s
    calls = "of the calls that brought a picture, in seconds."
    yield _Gauge("latency_p50_seconds", f"Median latency {calls}", latency_s.p50)
    yield _Gauge("latency_p95_seconds", f"95th percentile of the latency {calls}", latency_s.p95)
    yield _Gauge("latency_max_seconds", f"Longest latency {calls}", latency_s.max)
    yield _Gauge("peak_concurrency", "The most calls in flight at once.", summary.concurrency.peak)


def _labels(job: str, label: str, value: str) -> str:
    pairs = {"batch": paired(job), **({label: value} if label else {})}
    return ",".join(f'{name}="{text.translate(_ESCAPED)}"' for name, text in pairs.items())


def _number(figure: float | Decimal) -> str:
    return f"{figure:f}" if isinstance(figure, Decimal) else repr(figure)
