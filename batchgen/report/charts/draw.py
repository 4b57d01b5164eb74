"""The few marks of a chart, as SVG.

A chart is as wide as its place and never scaled: x is a share of the width, y is in pixels, so that
text and lines have the same size on any screen. What needs a path lies in an inner `<svg>` that is
stretched, with lines that are not. Everything is escaped here; colours are classes.

Source: https://www.w3.org/TR/SVG2/coords.html
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from markupsafe import Markup

from batchgen.sanitize import printable

# Width of the inner drawing, which is stretched to any.
_INNER: Final = 1000
MAX_NAME_CHARS: Final = 40

# A chart with axes: the room for values on its left, as charts.css has it; its height, where the
# plot begins, how high that is, and its bottom line. Above the plot are the key and what is marked
# at its top.
MARGIN: Final = 40
HEIGHT: Final = 212
TOP: Final = 44
PLOT: Final = 144
BASE: Final = TOP + PLOT

Anchor: TypeAlias = Literal["start", "middle", "end"]
# x as a share of the width from 0 to 1, y in pixels.
Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: a picture, and the same in words and figures.

    Attributes:
        key: A word of [a-z0-9-], different for each chart of a page.
        title: A heading; it may hold foreign words, and is not escaped.
        svg: The picture, whole and safe.
        summary: What it shows, in a sentence or two; not escaped.
        head, rows: Its figures as a table; not escaped. The first column names the row.
        is_wide: It tells of time, and gains from the whole width.
    """

    key: str
    title: str
    svg: Markup
    summary: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    is_wide: bool = False


def picture(
    key: str, title: str, desc: str, *, height: float, marks: Iterable[Markup], axes: bool = True
) -> Markup:
    """The whole drawing, with its name and its description for those who do not see it.

    Args:
        key: The chart's.
        title: What it is called.
        desc: What it shows.
        height: In pixels.
        marks: What it is made of, the lowest first.
        axes: Whether there is room for an axis on its left.
    """
    name = f"chart-{key}"
    return Markup(
        '<svg class="{}" width="100%" height="{}" role="img" '
        'aria-labelledby="{}-title" aria-describedby="{}-desc" focusable="false">'
        '<title id="{}-title">{}</title><desc id="{}-desc">{}</desc>{}</svg>'
    ).format(
        "chart-svg plotted" if axes else "chart-svg",
        px(height),
        name,
        name,
        name,
        title,
        name,
        desc,
        Markup("").join(marks),
    )


def text(
    at: Point, words: str, classes: str = "", anchor: Anchor = "start", dx: float = 0
) -> Markup:
    """Words at a place, moved by some pixels."""
    shift = Markup(' dx="{}"').format(px(dx)) if dx else ""
    return Markup('<text x="{}" y="{}"{} class="{}" text-anchor="{}">{}</text>').format(
        share(at[0]), px(at[1]), shift, classes, anchor, words
    )


def clipped(y: float, words: str, width: float) -> Markup:
    """A foreign name that ends where its place does."""
    return Markup('<svg y="{}" width="{}" height="20"><text x="0" y="15">{}</text></svg>').format(
        px(y - 15), share(width), words
    )


def key_row(y: float, entries: Sequence[tuple[str, str, str]]) -> Markup:
    """What the marks mean: of each a sign in its own shape, its class, and words."""
    spans = Markup("").join(
        Markup('<tspan class="{}"{}>{}</tspan> {}').format(
            classes, Markup(' dx="12"') if n else "", sign, words
        )
        for n, (sign, classes, words) in enumerate(entries)
    )
    return Markup('<text x="0" y="{}" dx="{}">{}</text>').format(px(y), px(-MARGIN), spans)


def bar(at: Point, width: float, height: float, classes: str, told: str = "") -> Markup:
    """A rectangle, which says what it is when it is pointed at."""
    title = Markup("<title>{}</title>").format(told) if told else ""
    return Markup(
        '<rect x="{}" y="{}" width="{}" height="{}" rx="1.5" class="{}">{}</rect>'
    ).format(share(at[0]), px(at[1]), share(width), px(max(0.0, height)), classes, title)


def swatch(y: float, classes: str) -> Markup:
    """A small square before a line of text."""
    return Markup('<rect x="0" y="{}" width="10" height="10" rx="2" class="{}"/>').format(
        px(y - 10), classes
    )


def marker(at: Point, classes: str) -> Markup:
    """A small triangle that points down to a place."""
    return Markup(
        '<svg x="{}" y="{}" overflow="visible"><path d="M-4 -6H4L0 0Z" class="{}"/></svg>'
    ).format(share(at[0]), px(at[1]), classes)


def rule(y: float, classes: str) -> Markup:
    """A line across the whole width."""
    return stretched(y, 1, [path([(0, 0), (1, 0)], classes)])


def upright(x: float, y: float, height: float, classes: str) -> Markup:
    """A line upwards."""
    return Markup(
        '<svg x="{}" y="{}" overflow="visible"><path d="M0 0V{}" class="{}"/></svg>'
    ).format(share(x), px(y), px(height), classes)


def stretched(y: float, height: float, paths: Iterable[Markup]) -> Markup:
    """A drawing over the whole width, for `path`."""
    return Markup(
        '<svg y="{}" width="100%" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" '
        'overflow="visible">{}</svg>'
    ).format(px(y), px(height), _INNER, px(height), Markup("").join(paths))


def path(points: Sequence[Point], classes: str, *, closed: bool = False) -> Markup:
    """A line through some points, or what it encloses."""
    steps = "L".join(f"{px(x * _INNER)} {px(y)}" for x, y in points)
    return Markup('<path d="M{}{}" class="{}" vector-effect="non-scaling-stroke"/>').format(
        steps, "Z" if closed else "", classes
    )


def stairs(values: Sequence[tuple[float, float]], until: float) -> list[Point]:
    """The corners of a line that keeps each value until the next one begins."""
    points: list[Point] = []
    for x, y in values:
        if points:
            points.append((x, points[-1][1]))
        points.append((x, y))
    return [*points, (until, points[-1][1])] if points else []


def x_axis(y: float, labels: Sequence[tuple[float, str]]) -> Markup:
    """The line at the bottom, ticks, and their labels, of which the last one stays within."""
    marks = [rule(y, "axis")]
    for x, words in labels:
        anchor: Anchor = "end" if x > 0.93 else "middle"  # noqa: PLR2004
        marks += [upright(x, y, 4, "axis"), text((x, y + 18), words, "tick", anchor)]
    return Markup("").join(marks)


def y_axis(top: float, height: float, labels: Sequence[tuple[float, str]]) -> Markup:
    """Lines across, each with its value on the left; values are shares of the height."""
    marks = []
    for value, words in labels:
        y = top + height * (1 - value)
        marks += [rule(y, "grid"), text((0, y + 4), words, "tick", "end", dx=-8)]
    return Markup("").join(marks)


def foreign(words: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """A name from outside, on one line and of a sensible length."""
    return printable(words, max_chars) or "(empty)"


def isolated(words: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """The same inside a sentence, whose direction it does not change."""
    return f"\u2068{foreign(words, max_chars)}\u2069"


def px(value: float) -> str:
    """A length as SVG has it, to a hundredth."""
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"


def share(value: float) -> str:
    """A share of the width."""
    return f"{px(value * 100)}%"
