"""summary.md: the figures of a run as a person pastes them into a ticket."""

import html
import re
from collections.abc import Iterator

import msgspec

from batchgen.report.summary import Summary
from batchgen.sanitize import printable
from batchgen.wording import bill, counted, duration, usd


def summary_markdown(summary: Summary) -> str:
    """The summary as Markdown: counts, money, causes of failure with an example each."""
    return "\n".join(_lines(summary)) + "\n"


def _lines(summary: Summary) -> Iterator[str]:
    items, tokens = summary.items, summary.tokens
    yield f"# {_words(summary.job)}: {items.done}/{items.total} done"
    yield ""
    ended = _words(summary.stop_reason or "unfinished")
    yield f"Run {summary.run_id}, {duration(summary.wall_s)}, {ended}."
    yield ""
    yield "| what | figure |"
    yield "|---|---|"
    yield f"| done | {items.done} ({items.reused} from earlier runs) |"
    yield f"| failed | {items.failed} |"
    yield f"| skipped, pending | {items.skipped}, {items.pending} |"
    yield f"| calls in this run | {summary.attempts.total} |"
    yield f"| cost of this run | {bill(summary.cost_usd, summary.cost_unknown_attempts)} |"
    yield f"| – of it without a picture | {usd(summary.cost_waste_usd)} |"
    yield f"| may have been billed besides | {usd(summary.cost_maybe_usd)} |"
    if summary.cost_unknown_attempts:
        yield f"| calls of unknown cost | {summary.cost_unknown_attempts} |"
    yield f"| tokens in (text, image) | {tokens.input_text:,}, {tokens.input_image:,} |"
    yield (
        f"| tokens out (text, image, thoughts) | {tokens.output_text:,}, "
        f"{tokens.output_image:,}, {tokens.thoughts:,} |"
    )
    if summary.wrong_size is not msgspec.UNSET:
        yield f"| pictures of another ratio or size than asked for | {summary.wrong_size} |"
    latency = summary.latency_s
    yield f"| a picture takes (p50, p95) | {duration(latency.p50)}, {duration(latency.p95)} |"
    found = summary.concurrency
    yield f"| calls in flight (most, allowed at the end) | {found.peak}, {found.final} |"
    yield from _failures(summary)
    yield from _searches(summary)


def _failures(summary: Summary) -> Iterator[str]:
    if not summary.failures:
        return
    yield ""
    yield "## What failed"
    yield ""
    for group in summary.failures:
        example = f"for example {_code(group.item)}: {_words(group.example)}"
        yield f"- **{group.outcome}** × {group.count}, {example}"


def _searches(summary: Summary) -> Iterator[str]:
    found = summary.searches
    if found is msgspec.UNSET:
        return
    yield ""
    yield "## Found by searching"
    yield ""
    queries = counted(found.n_queries, "query", "queries")
    images = f" and {found.n_image_queries:,} for images" if found.n_image_queries else ""
    yield f"{counted(found.answers, 'answer')} went by {queries} on the web{images}."
    yield ""
    for query in found.queries:
        where = "the web" if query.kind == "web" else "images"
        yield f"- searched {where} for “{_words(query.words)}”, for {_code(query.item)}"
    for page in found.sources:
        yield f"- [{_words(page.title)}](<{page.uri}>), for {_code(page.item)}"


def _words(text: str) -> str:
    """Words from outside: nothing in them is markup, and no address in them becomes a link."""
    plain = re.sub(r"([\\\[\]*_`|])", r"\\\1", html.escape(printable(text), quote=False))
    return re.sub(r"(?<=:)/(?=/)|(?<=www)\.", r"\\\g<0>", plain, flags=re.IGNORECASE)


def _code(identity: str) -> str:
    return f"`{printable(identity).replace('`', '_')}`"
