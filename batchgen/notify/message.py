"""What is told of a run, in words that are read on a phone."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from msgspec import UNSET

from batchgen.model import Outcome
from batchgen.notify.occasion import Ended, changes
from batchgen.report.remedies import remedy
from batchgen.report.summary import Summary
from batchgen.sanitize import printable
from batchgen.wording import bill, duration, usd

Level: TypeAlias = Literal["fine", "warning", "failure"]

_MAX_CAUSES: Final = 3
_MAX_CHARS: Final = 300
_MAX_TITLE_CHARS: Final = 120


@dataclass(frozen=True, slots=True)
class Message:
    """One line above, some below; plain text, each line without a break in it.

    Attributes:
        level: How bad it is: `failure` for a run that ended with another code than 0.
    """

    title: str
    lines: tuple[str, ...]
    level: Level


def message_of(ended: Ended) -> Message:
    """The words about a run: what changed first, then what failed and what to do, then figures."""
    summary = ended.summary
    title = f"{ended.job}: stopped, " if ended.is_stopped else f"{ended.job}: "
    if summary is not None:
        title += summary.items.in_words
    else:
        title += "what came is in the ledger" if ended.has_begun else "nothing was sent"
    level: Level = "fine" if ended.exit_code == 0 else "failure"
    if level == "fine" and summary is not None and summary.items.failed:
        level = "warning"
    lines = (printable(line, _MAX_CHARS) for line in _lines(ended))
    return Message(printable(title, _MAX_TITLE_CHARS), tuple(lines), level)


def _lines(ended: Ended) -> Iterator[str]:
    yield from changes(ended)
    run = ended.job_file
    if ended.summary is not None:
        yield from _causes(ended.summary)
        yield _figures(ended.summary)
        run = f"run {ended.summary.run_id}"
    has_place = ended.summary is not None or ended.has_begun
    where = f" in {ended.place}" if ended.place and has_place else ""
    yield f"{run} on {socket.gethostname()}{where}".lstrip()


def _causes(summary: Summary) -> Iterator[str]:
    for group in summary.failures[:_MAX_CAUSES]:
        yield f"{group.outcome} × {group.count}, such as {group.item}: {group.example}"
        yield f"→ {remedy(Outcome(group.outcome))}"


def _figures(summary: Summary) -> str:
    told = bill(summary.cost_usd, summary.cost_unknown_attempts)
    if summary.planned_usd is not UNSET:
        told += f" (planned {usd(summary.planned_usd)})"
    if summary.cost_maybe_usd:
        told += f", and up to {usd(summary.cost_maybe_usd)} that may be billed"
    return f"{told} · {duration(summary.wall_s)}"
