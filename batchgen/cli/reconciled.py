"""What a comparison of ledger and bill came to, as lines of text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from batchgen.sanitize import printable
from batchgen.wording import counted, usd

if TYPE_CHECKING:
    from batchgen.paper import Paper
    from batchgen.reconcile.findings import (
        CallClass,
        CallExample,
        Drift,
        Multiplier,
        Reconciliation,
        RowClass,
        RowExample,
        Span,
    )

_WIDTH: Final = 26
_FIRST: Final = 3
# Of these there is nothing to do about, so their calls are only counted.
_AGREED: Final = frozenset({"billed_image", "not_billed"})
_CALLS: Final = {
    "billed_image": "billed, with a picture",
    "billed_without_image": "billed without a picture",
    "double_billed": "paid twice",
    "logged_free": "in the log, and free",
    "maybe_not_billed": "maybe, and not billed",
    "not_in_log": "billed, not in the log",
    "beyond_log": "outside of the log",
    "not_billed": "not billed",
}
_CALL_NOTES: Final = {
    "double_billed": "billed without an answer, made and billed again",
    "logged_free": "an error, or paid back",
    "maybe_not_billed": "as far as the log reaches",
    "not_in_log": "the ledger says that they were billed",
    "beyond_log": "before its first row or after its last: an export of more days would tell",
}
_ROWS: Final = {
    "by_id": "joined by request id",
    "by_time": "joined by model and time",
    "unknown": "of no call in the ledger",
    "unknown_outside": "the same, at other times",
    "unknown_free": "the same, free",
    "no_calls": "about no call",
    "odd": "not to be read",
}
_ROW_NOTES: Final = {"unknown": "other programs with the same key?", "no_calls": "top-ups"}


def reconciled(found: "Reconciliation") -> Iterator[str]:
    """Yield the lines of a report: drift, then every call, every row, and what to set."""
    yield from _span("usage log", found.log, "row", "billed")
    yield from _span("ledger", found.ledger, "call", "by the book")
    yield from _drift("book and bill", found.drift)
    if len(found.drift_by_model) > 1:
        for model, one in found.drift_by_model.items():
            yield from _drift(f"  {printable(model, 60)}", one)
    yield ""
    yield f"{counted(found.ledger.n, 'call')} of the ledger, each in one line:"
    for name, label in _CALLS.items():
        yield from _call_class(name, label, getattr(found.calls, name))
    yield ""
    yield f"{counted(found.log.n, 'row')} of the log, each in one line:"
    for name, label in _ROWS.items():
        yield from _row_class(label, getattr(found.rows, name), _ROW_NOTES.get(name, ""))
    yield from _warnings(found)
    yield ""
    yield from _multiplier(found)


def folded(line: str, paper: "Paper") -> Iterator[str]:
    """A line that is too long as several, the later ones below what it tells."""
    told = line.lstrip(" ")
    before = line[: len(line) - len(told)]
    has_label = 0 <= line.find("  ", len(before)) <= _WIDTH
    if has_label and line[_WIDTH : _WIDTH + 2] == "  ":
        before = line[: _WIDTH + 2]
    yield from paper.wrapped(line[len(before) :], before)


def _line(label: str, told: str) -> str:
    return f"{label:<{_WIDTH}}  {told}"


def _span(label: str, span: "Span", what: str, money: str) -> Iterator[str]:
    told = f"{counted(span.n, what)}, {usd(span.usd)} {money}"
    if span.first_at is not None and span.last_at is not None:
        told += f", {_at(span.first_at)[:16]} to {_at(span.last_at)[:16]} UTC"
    yield _line(label, told)


def _drift(label: str, one: "Drift") -> Iterator[str]:
    told = f"{counted(one.n, 'call')} that both have: {usd(one.book_usd)} by the book"
    told += f", {usd(one.billed_usd)} billed"
    if one.drift is not None:
        told += f", × {one.drift:.3f}"
    if one.n_unknown:
        told += f"; {one.n_unknown:,} more of unknown cost"
    yield _line(label, told)


def _call_class(name: str, label: str, one: "CallClass") -> Iterator[str]:
    if not one.n:
        return
    told = f"{one.n:,}, {usd(one.billed_usd)}"
    if name in {"not_in_log", "beyond_log"}:
        told = f"{one.n:,}, {usd(one.book_usd)} by the book"
    notes = [_said(name, one), f"{one.by_time:,} by time" if one.by_time else ""]
    notes.append(_CALL_NOTES.get(name, ""))
    told_notes = "; ".join(filter(None, notes))
    yield _line(f"  {label}", told + (f" ({told_notes})" if told_notes else ""))
    if name not in _AGREED:
        for example in one.examples[:_FIRST]:
            yield f"    {_call(example)}"


def _said(name: str, one: "CallClass") -> str:
    """What the ledger thought of calls on which it and the log need not agree."""
    if name not in {"billed_without_image", "logged_free", "beyond_log"}:
        return ""
    said = ", ".join(f"{n:,} {word}" for word, n in one.ledger_said.items() if n)
    return f"billed by the ledger: {said}"


def _call(one: "CallExample") -> str:
    words = [printable(one.item, 60), _at(one.at), one.outcome]
    if one.usd is not None:
        words.append(usd(one.usd))
    if one.request_id is not None:
        words.append(printable(one.request_id, 80))
    if one.by == "time":
        words.append("by time")
    return "  ".join(words)


def _row_class(label: str, one: "RowClass", note: str) -> Iterator[str]:
    if not one.n:
        return
    told = f"{one.n:,}, {usd(one.usd)}" if one.requests else f"{one.n:,}"
    yield _line(f"  {label}", told + (f" ({note})" if note else ""))
    for example in one.examples[:_FIRST]:
        yield f"    {_row(example)}"


def _row(one: "RowExample") -> str:
    words = [f"row {one.row:,}", _at(one.at or "–"), printable(one.model or "–", 60), usd(one.usd)]
    return "  ".join([*words, printable(one.request_id or "no request id", 80)])


def _warnings(found: "Reconciliation") -> Iterator[str]:
    if found.undated:
        yield f"  {counted(found.undated, 'row')} without a time that can be read"
    for told in found.odd[:_FIRST]:
        yield f"    {printable(told)}"
    for told in found.unreadable[:_FIRST]:
        yield f"  the ledger has a line that cannot be read: {printable(told)}"


def _multiplier(found: "Reconciliation") -> Iterator[str]:
    one = found.multiplier
    if one.pricing != "by_model":
        yield _line("multiplier", _pricing(one))
        if one.yaml is not None:
            as_it_is = one.value == found.multiplier_set
            yield _line("", "as it is set" if as_it_is else one.yaml)
        return
    yield _line("multiplier", f"one for each model, × {one.ratio:.3f} over all; a job of")
    for model, each in found.multiplier_by_model.items():
        yield _line(f"  {printable(model, 60)}", _pricing(each))
        if each.yaml is not None:
            yield _line("", each.yaml)


def _pricing(one: "Multiplier") -> str:
    """What fits, and how well."""
    of = f"{counted(one.n, 'picture')} joined by id"
    match one.pricing:
        case "multiplier":
            return f"{one.value}, from {of}; {_nine_of_ten(one)}"
        case "per_request":
            told = f"none: each request cost {usd(one.per_request_usd)}, whatever its tokens"
            return f"{told}, over {of}"
        case "too_few":
            return f"none yet: it takes 5 pictures joined by id, and there are {one.n}"
        case _:
            return f"none: the bill is no constant times the list, over {of}; {_nine_of_ten(one)}"


def _nine_of_ten(one: "Multiplier") -> str:
    if one.low == one.high:
        return "all alike"
    return f"nine of ten from × {one.low:.3f} to × {one.high:.3f}"


def _at(at: str) -> str:
    return at[:19].replace("T", " ")
