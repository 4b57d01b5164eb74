"""Charts of amounts: what was paid for which model and tag, waste, and tokens by modality."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Final

from batchgen.model import Outcome
from batchgen.report.charts import draw, scales
from batchgen.report.charts.draw import Chart
from batchgen.report.charts.series import Series, usable
from batchgen.report.summary import MAX_LISTED, NO_USD, OTHER, Summary
from batchgen.wording import counted

_MAX_TAGS: Final = 3
_MAX_VALUES: Final = 12
_ROW: Final = 36


@dataclass(frozen=True, slots=True)
class _Row:
    """One bar: what it is of, how much, and its class."""

    name: str
    usd: Decimal
    classes: str = "c-1"


def cost_by_model(summary: Summary) -> Chart | None:
    """A bar for each model."""
    rows = _rows(summary.cost_by_model)
    return _cost_chart("cost-by-model", "Cost by model", rows) if rows else None


def cost_by_tag(summary: Summary) -> list[Chart]:
    """A chart for each of the tags with the fewest values; one of a single value tells least."""
    telling = sorted(
        (len(costs) == 1, len(costs), name)
        for name, costs in summary.cost_by_tag.items()
        if not _is_a_name(costs, summary.images)
    )
    found = ((name, _rows(summary.cost_by_tag[name])) for _, _, name in telling)
    shown = islice((pair for pair in found if pair[1]), _MAX_TAGS)
    return [
        _cost_chart(f"cost-by-tag-{n}", f"Cost by {draw.isolated(name)}", rows)
        for n, (name, rows) in enumerate(shown, 1)
    ]


def waste(summary: Summary, series: Series) -> Chart | None:
    """What was paid for pictures, and what for calls that brought none, by outcome."""
    paid = {outcome: usable(usd) for outcome, usd in series.usd_by_outcome.items()}
    for_pictures = paid.pop(Outcome.IMAGE, NO_USD)
    without = sorted(paid.items(), key=lambda pair: (-pair[1], pair[0]))
    maybe = usable(summary.cost_maybe_usd)
    rows = [
        _Row("pictures", for_pictures, "c-ok"),
        *(_Row(outcome, usd, "c-bad") for outcome, usd in without if usd),
        *([_Row("may be billed besides", maybe, "hollow c-wait")] if maybe else []),
    ]
    wasted = sum((usd for _, usd in without), NO_USD)
    if not (for_pictures or wasted or maybe):
        return None
    of = for_pictures + wasted
    told = f"Of {scales.money(of)}, nothing was paid for calls without a picture."
    if wasted:
        share = scales.percent(_share(wasted, of))
        told = f"{scales.money(wasted)} of {scales.money(of)} ({share}) brought no picture."
    if maybe:
        told += f" {scales.money(maybe)} may be billed besides."
    return _bars("waste", "Waste", told, rows, "what came of it")


def tokens(summary: Summary) -> Chart | None:
    """One bar of all tokens, cut by modality."""
    of = summary.tokens
    parts = [
        ("text in", of.input_text, "c-1"),
        ("images in", of.input_image, "c-2"),
        ("text out", of.output_text, "c-3"),
        ("images out", of.output_image, "c-4"),
        ("thoughts", of.thoughts, "c-5"),
    ]
    parts = [part for part in parts if part[1] > 0]
    total = sum(n for _, n, _ in parts)
    if not total:
        return None
    marks, x = [], 0.0
    for n, (name, count, classes) in enumerate(parts):
        width, y = count / total, 48 + n * 24
        told = f"{name}: {count:,}, {scales.percent(width)}"
        marks += [
            draw.bar((x, 2), width, 22, f"part {classes}", told),
            draw.swatch(y, classes),
            draw.text((0, y), name, dx=18),
            draw.text((0.7, y), scales.number(count), anchor="end"),
            draw.text((1, y), scales.percent(width), "quiet", "end"),
        ]
        x += width
    name, most, _ = max(parts, key=lambda part: part[1])
    title = "Tokens by modality"
    desc = f"{total:,} tokens, {scales.percent(most / total)} of them {name}."
    height = 48 + len(parts) * 24 - 12
    return Chart(
        key="tokens",
        title=title,
        svg=draw.picture("tokens", title, desc, height=height, marks=marks, axes=False),
        summary=desc,
        head=("tokens", "count", "share"),
        rows=tuple((name, f"{n:,}", scales.percent(n / total)) for name, n, _ in parts),
    )


def _cost_chart(key: str, title: str, rows: Sequence[_Row]) -> Chart:
    total = sum((row.usd for row in rows), NO_USD)
    first, *others = rows
    told = f"{draw.isolated(first.name)} cost {scales.money(first.usd)}"
    if others:
        share = scales.percent(_share(first.usd, total))
        told += f", {share} of {scales.money(total)}"
    return _bars(key, title, f"{told}.", rows, "of")


def _is_a_name(costs: Mapping[str, Decimal], n_images: int) -> bool:
    """Whether a tag has nearly a value for each picture, or more than a summary lists."""
    return len(costs) >= MAX_LISTED or (len(costs) > _MAX_VALUES and len(costs) * 2 > n_images)


def _rows(costs: Mapping[str, Decimal]) -> list[_Row]:
    """The highest ones, and the rest as one."""
    ranked = sorted(
        ((name, usable(usd)) for name, usd in costs.items() if name != OTHER),
        key=lambda pair: (-pair[1], pair[0]),
    )
    ranked = [pair for pair in ranked if pair[1]]
    shown = ranked if len(ranked) <= _MAX_VALUES else ranked[: _MAX_VALUES - 1]
    rest = ranked[len(shown) :]
    rest_usd = sum((usd for _, usd in rest), usable(costs.get(OTHER)))
    rows = [_Row(name, usd) for name, usd in shown]
    if rest_usd:
        words = f"…({counted(len(rest), 'other')})" if rest else OTHER
        rows.append(_Row(words, rest_usd, "hollow c-5"))
    return rows


def _bars(key: str, title: str, desc: str, rows: Sequence[_Row], what: str) -> Chart:
    """Bars from the left, each under its name and its amount."""
    most = max(row.usd for row in rows)
    total = sum((row.usd for row in rows), NO_USD)
    marks = []
    for n, row in enumerate(rows):
        y, width = n * _ROW, _share(row.usd, most)
        marks += [
            draw.clipped(y + 15, draw.foreign(row.name), 0.74),
            draw.text((1, y + 15), scales.money(row.usd), anchor="end"),
            draw.rule(y + 25, "grid"),
            draw.bar((0, y + 21), max(width, 0.004), 8, row.classes),
        ]
    return Chart(
        key=key,
        title=title,
        svg=draw.picture(key, title, desc, height=len(rows) * _ROW, marks=marks, axes=False),
        summary=desc,
        head=(what, "cost", "share"),
        rows=tuple(
            (
                draw.foreign(row.name, 300),
                scales.money(row.usd),
                scales.percent(_share(row.usd, total)),
            )
            for row in rows
        ),
    )


def _share(part: Decimal, whole: Decimal) -> float:
    return float(part / whole) if whole else 0.0
