"""How an entry is written: a JSON object for programs, or a sentence for people. One line each."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from batchgen.clock import stamp
from batchgen.journal.entries import Entry
from batchgen.sanitize import paired, printable
from batchgen.wording import bill, counted, duration, usd

Format: TypeAlias = Literal["text", "json"]
Fields: TypeAlias = Mapping[str, Any]

VERSION: Final = 1
_MAX_CHARS: Final = 2000
_SURROGATE: Final = "\\ud"  # as JSON escapes it


def as_json(at: str, run_id: str | None, job: str | None, entry: Entry) -> bytes:
    """One JSON object and a line feed, in ASCII: nothing in it means anything to a terminal."""
    head = {"v": VERSION, "at": at, "level": entry.level, "event": entry.event}
    line = {**head, "run_id": run_id, "job": job, **entry.fields}
    text = _ENCODER.encode(line)
    if _SURROGATE in text:  # which a pair may be, or a lone one, which not every reader takes
        text = _ENCODER.encode(_paired(line))
    return text.encode() + b"\n"


def as_text(at: str, entry: Entry) -> bytes:
    """The moment, the event and a sentence: `2026-11-28T02:00:04.120Z item hero: image, done`."""
    said = printable(f"{entry.event}{_SENTENCES[entry.event](entry.fields)}", _MAX_CHARS)
    return f"{at} {said}\n".encode()


def _written(value: object) -> str:
    """Money and moments as texts."""
    match value:
        case Decimal():
            return f"{value:.6f}"
        case datetime():
            return stamp(value)
        case _:
            raise TypeError(f"no field of a log: {value!r}")


def _paired(value: Any) -> Any:
    """A value without lone surrogates in its texts."""
    match value:
        case str():
            return paired(value)
        case dict():
            return {name: _paired(inner) for name, inner in value.items()}
        case _:
            return value


_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), default=_written)


# --- sentences ------------------------------------------------------------------------------------


def _run_began(of: Fields) -> str:
    left = of["n_items"] - of["n_reused"] - of["n_settled"]
    cost = "cost unknown" if of["planned_usd"] is None else f"about {usd(of['planned_usd'])}"
    return (
        f" {of['directory']}: {left} of {of['n_items']} to make, {of['n_reused']} done already, "
        f"at most {of['concurrency']} at once, {of['provider']}, {cost}"
    )


def _call(of: Fields) -> str:
    """Which call: `hero #2`, of a conversation `poster turn 2 #1`."""
    turn = f" turn {of['turn']}" if of["turn"] > 1 else ""
    return f" {of['item']}{turn} #{of['attempt']}: "


def _sent(of: Fields) -> str:
    return f"{_call(of)}{of['model']}, about {usd(of['est_usd'])}"


def _attempt(of: Fields) -> str:
    maybe = " maybe" if of["billed"] == "maybe" else ""
    words = [of["outcome"], of["decision"], usd(of["cost_usd"]) + maybe]
    if of["latency_s"] is not None:
        words.append(duration(of["latency_s"]))
    return _call(of) + ", ".join(words) + _why(of)


def _item(of: Fields) -> str:
    words = [of["outcome"] or "not sent", of["status"], usd(of["cost_usd"])]
    if of["latency_s"] is not None:
        words.append(duration(of["latency_s"]))
    return f" {of['item']}: " + ", ".join(words) + _why(of)


def _why(of: Fields) -> str:
    return f": {of['error']['message']}" if of["error"] else ""


def _cooling(of: Fields) -> str:
    if of["state"] == "end":
        return f" {of['model']}: over"
    return f" {of['model']}: nothing leaves until {stamp(of['until'])}, {of['why']}"


def _stopping(of: Fields) -> str:
    return f": {of['reason']}; {of['n_in_flight']} under way"


def _warning(of: Fields) -> str:
    return f": {of['message']}"


def _progress(of: Fields) -> str:
    words = [
        f"{of['n_done']}/{of['n_items']} done",
        f"{of['n_failed']} failed",
        bill(of["cost_usd"], of["cost_unknown_attempts"]),
        f"{of['n_in_flight']} under way",
    ]
    if of["eta_s"] is not None:
        words.append(f"{duration(of['eta_s'])} left")
    return ": " + ", ".join(words)


def _run_ended(of: Fields) -> str:
    items = of["items"]
    left = ("failed", "skipped", "pending")
    words = [
        f"exit code {of['exit_code']}",
        of["stop_reason"] or "finished",
        f"{items['done']}/{items['total']} done",
        *(f"{items[name]} {name}" for name in left if items[name]),
        counted(of["attempts"]["total"], "call"),
        f"{bill(of['cost_usd'], of['cost_unknown_attempts'])} (planned {usd(of['planned_usd'])})",
        duration(of["wall_s"]),
    ]
    return ": " + ", ".join(words)


def _error(of: Fields) -> str:
    return f": exit code {of['exit_code']}: {of['message']}"


_SENTENCES: Final[Mapping[str, Callable[[Fields], str]]] = {
    "run_began": _run_began,
    "sent": _sent,
    "attempt": _attempt,
    "item": _item,
    "cooling": _cooling,
    "stopping": _stopping,
    "warning": _warning,
    "progress": _progress,
    "run_ended": _run_ended,
    "error": _error,
}
