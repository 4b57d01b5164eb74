"""summary.md: the figures of a run as a person pastes them into a ticket."""

import html
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from msgspec import UNSET

from batchgen.model import Outcome
from batchgen.report.remedies import remedy
from batchgen.report.summary import MAX_LISTED, FailureGroup, Summary
from batchgen.sanitize import printable
from batchgen.wording import bill, counted, duration, fine_usd, usd

_MAX_CAUSES: Final = 5
_MAX_MODELS: Final = 5
_MAX_SLOW: Final = 5
_MAX_NAMED: Final = 10


def summary_markdown(summary: Summary) -> str:
    """The summary as Markdown that is read in twenty seconds, also where nobody renders it.

    What came of the run and what it cost; then, where there is any, what failed and what to do
    about it, the slowest items, what is different from the run before, and what was searched for.
    There are no tables: a chat shows them as bars.
    """
    return "\n".join(_lines(summary)) + "\n"


def _lines(summary: Summary) -> Iterator[str]:
    items = summary.items
    failed = f", {items.failed:,} failed" if items.failed else ""
    yield f"# {_words(summary.job)}: {items.done:,}/{items.total:,} done{failed}"
    yield ""
    ended = _words(summary.stop_reason or "unfinished")
    yield f"Run {summary.run_id}, {duration(summary.wall_s)}, {ended}."
    yield ""
    yield from (f"- {line}" for line in _figures(summary))
    yield from _section("What failed, and what to do", _failures(summary.failures))
    yield from _section("Slowest items", _slowest(summary))
    yield from _section("Since the run before", _differences(summary))
    yield from _section("Found by searching", _searches(summary))


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    """A heading with its lines; nothing where there are none."""
    for number, line in enumerate(lines):
        if number == 0:
            yield from ("", f"## {title}", "")
        yield line


def _figures(summary: Summary) -> Iterator[str]:
    items = summary.items
    others = (("failed", items.failed), ("skipped", items.skipped), ("left", items.pending))
    told = [f"{items.done:,} done" + (f" ({items.reused:,} reused)" if items.reused else "")]
    yield "items: " + ", ".join(told + [f"{n:,} {what}" for what, n in others if n])
    yield f"cost: {_cost(summary)}"
    yield from _each(summary)
    yield from _calls(summary)
    if summary.wrong_size is not UNSET:
        yield f"pictures of another ratio or size than asked for: {summary.wrong_size:,}"


def _cost(summary: Summary) -> str:
    """`$61.12 of $60.40 planned (+1.2 %), of it $0.40 without a picture; …`."""
    told = bill(summary.cost_usd, summary.cost_unknown_attempts)
    planned, cost = summary.planned_usd, summary.cost_usd
    if planned is not UNSET:
        told += f" of {usd(planned)} planned"
        # What was left makes no run cheap.
        if planned and cost is not None and not summary.items.pending:
            told += f" ({(cost / planned - 1) * 100:+.1f} %)"
    if summary.cost_waste_usd:
        told += f", of it {usd(summary.cost_waste_usd)} without a picture"
    if summary.cost_unknown_attempts:
        told += f"; {counted(summary.cost_unknown_attempts, 'call')} of unknown cost"
    if summary.maybe_billed.count:
        calls = counted(summary.maybe_billed.count, "call")
        told += f"; {calls} may have been billed besides, up to {usd(summary.cost_maybe_usd)}"
    return told


def _each(summary: Summary) -> Iterator[str]:
    """What an accepted picture cost, over all runs; without a review, what one of this run did."""
    review = summary.review
    if review is not UNSET:
        marks = f"{review.kept:,} marked keep, {review.redo:,} redo"
        told = f"{review.accepted:,} in all runs; {marks}"
        yield f"cost per accepted picture: {fine_usd(review.cost_per_accepted_usd)} ({told})"
    elif summary.images and summary.cost_usd is not None:
        yield f"cost per picture: {fine_usd(summary.cost_usd / summary.images)}"
    if len(summary.cost_by_model) > 1:
        told = ", ".join(f"{_code(name)} {usd(cost)}" for name, cost in _first(summary))
        n_more = len(summary.cost_by_model) - _MAX_MODELS
        yield f"cost by model: {told}" + (f" and {n_more:,} more" if n_more > 0 else "")


def _first(summary: Summary) -> list[tuple[str, Decimal]]:
    return list(summary.cost_by_model.items())[:_MAX_MODELS]


def _calls(summary: Summary) -> Iterator[str]:
    if not summary.attempts.total:
        return
    latency, tokens = summary.latency_s, summary.tokens
    told = f"calls: {summary.attempts.total:,}, at most {summary.concurrency.peak:,} at once"
    if latency.p50 is not None:
        told += f"; a picture takes {duration(latency.p50)} (p50), {duration(latency.p95)} (p95)"
    yield told
    n_in = tokens.input_text + tokens.input_image
    n_out = tokens.output_text + tokens.output_image + tokens.thoughts
    yield (
        f"tokens: {n_in:,} in, {n_out:,} out ({tokens.output_image:,} of pictures, "
        f"{tokens.thoughts:,} of thoughts)"
    )


def _failures(groups: Sequence[FailureGroup]) -> Iterator[str]:
    for group in groups[:_MAX_CAUSES]:
        yield f"- {group.count:,} × {group.outcome}, for example {_code(group.item)}"
        if group.example:
            yield f"  - {_words(group.example)}"
        yield f"  - → {_words(remedy(Outcome(group.outcome)))}"
    if more := groups[_MAX_CAUSES:]:
        n_items = sum(group.count for group in more)
        yield f"- and {counted(len(more), 'more cause')}, of {counted(n_items, 'item')}"


def _slowest(summary: Summary) -> Iterator[str]:
    if summary.slowest is UNSET or summary.attempts.total <= _MAX_SLOW:
        return
    for slow in summary.slowest[:_MAX_SLOW]:
        calls = f", {slow.calls} calls" if slow.calls > 1 else ""
        outcome = "" if slow.outcome == Outcome.IMAGE else f", {slow.outcome}"
        yield f"- {duration(slow.latency_s)}: {_code(slow.item)}{calls}{outcome}"


def _differences(summary: Summary) -> Iterator[str]:
    diff = summary.diff
    if diff is None:
        return
    for what, ids in (
        ("newly failing", diff.new_failures),
        ("fixed", diff.fixed),
        ("still failing", diff.still_failing),
    ):
        if ids:
            yield f"- {what}: {_named(ids)}"
    if diff.cost_delta_usd:
        sign = "+" if diff.cost_delta_usd > 0 else ""
        yield f"- cost: {sign}{usd(diff.cost_delta_usd)}"


def _named(ids: Sequence[str]) -> str:
    """`a`, `b`, … and how many more; of a list that is full nobody knows how many there were."""
    n_more = len(ids) - _MAX_NAMED
    at_least = "at least " if len(ids) >= MAX_LISTED else ""
    more = f" and {at_least}{n_more:,} more" if n_more > 0 else ""
    return ", ".join(map(_code, ids[:_MAX_NAMED])) + more


def _searches(summary: Summary) -> Iterator[str]:
    found = summary.searches
    if found is UNSET:
        return
    queries = counted(found.n_queries, "query", "queries")
    images = f" and {found.n_image_queries:,} for images" if found.n_image_queries else ""
    yield f"{counted(found.answers, 'answer')} went by {queries} on the web{images}."
    yield ""
    for query in found.queries[:_MAX_NAMED]:
        where = "the web" if query.kind == "web" else "images"
        yield f"- searched {where} for “{_words(query.words)}”, for {_code(query.item)}"
    for page in found.sources[:_MAX_NAMED]:
        yield f"- [{_words(page.title)}](<{page.uri}>), for {_code(page.item)}"
    if max(len(found.queries), len(found.sources)) > _MAX_NAMED:
        yield "- and more, in summary.json"


def _words(text: str) -> str:
    """Words from outside: nothing in them is markup, and no address in them becomes a link."""
    plain = re.sub(r"([\\\[\]*_`|])", r"\\\1", html.escape(printable(text), quote=False))
    return re.sub(r"(?<=:)/(?=/)|(?<=www)\.", r"\\\g<0>", plain, flags=re.IGNORECASE)


def _code(identity: str) -> str:
    return f"`{printable(identity).replace('`', '_')}`"
