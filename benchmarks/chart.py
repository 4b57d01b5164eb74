"""The picture of the growth: a panel a series, both axes logarithmic, beside a straight proportion.

Figures are shown relative to those of the middle size, so that a line below the diagonal, right of
the middle, grows slower than the load does. SVG by hand; the colours follow the reader's scheme.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from math import copysign, floor, log10
from typing import Final

from benchmarks.growth import Grown

_PANEL_PX: Final = (280, 250)
_N_ACROSS: Final = 3
_LINE_PX: Final = 14
_PLOT: Final = (46, 40, 176, 160)  # of a panel: left, top, width, height
_STYLE: Final = """\
svg{background:#fff;font:12px system-ui,sans-serif}
text{fill:#24292f}
.quiet{fill:#57606a;font-size:11px}
.title{font-weight:600;font-size:13px}
.grid{stroke:#d8dee4;stroke-width:1}
.straight{stroke:#8c959f;stroke-width:1.5;stroke-dasharray:4 4}
.time{stroke:#0969da;fill:none;stroke-width:2.5}
.memory{stroke:#bc4c00;fill:none;stroke-width:2.5}
text.time{stroke:none;fill:#0969da}
text.memory{stroke:none;fill:#bc4c00}
circle.time{fill:#0969da;stroke:none}
circle.memory{fill:#bc4c00;stroke:none}
@media(prefers-color-scheme:dark){
svg{background:#0d1117}
text{fill:#e6edf3}
.quiet{fill:#9198a1}
.grid{stroke:#30363d}
.straight{stroke:#768390}
.time{stroke:#58a6ff}
.memory{stroke:#f0883e}
text.time,circle.time{fill:#58a6ff}
text.memory,circle.memory{fill:#f0883e}
}"""


def picture(all_grown: Sequence[Grown]) -> str:
    """An SVG document of all series."""
    width_px = _PANEL_PX[0] * _N_ACROSS
    n_rows = -(-(len(all_grown) + 1) // _N_ACROSS)
    height_px = _PANEL_PX[1] * n_rows
    marks = [
        mark
        for at, panel in enumerate([*map(_panel, all_grown), _legend()])
        for mark in _placed(at, panel)
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width_px} {height_px}" '
        f'width="{width_px}" height="{height_px}" role="img" '
        'aria-label="Time and memory at a tenth, at one and at ten times of each load">'
    )
    return "\n".join([head, f"<style>{_STYLE}</style>", *marks, "</svg>\n"])


def _placed(at: int, marks: Iterable[str]) -> Iterator[str]:
    row, column = divmod(at, _N_ACROSS)
    yield f'<g transform="translate({column * _PANEL_PX[0]} {row * _PANEL_PX[1]})">'
    yield from marks
    yield "</g>"


def _panel(one: Grown) -> Iterator[str]:
    yield _text((10, 20), one.series.title, "title")
    for power in (-1, 0, 1):
        (x, _), (_, y) = _point(10.0**power, 1), _point(1, 10.0**power)
        yield _line((x, _PLOT[1]), (x, _PLOT[1] + _PLOT[3]), "grid")
        yield _line((_PLOT[0], y), (_PLOT[0] + _PLOT[2], y), "grid")
        yield _text((_PLOT[0] - 6, y + 4), f"{10.0**power:g}×", "quiet", "end")
    for size, power in zip(one.sizes, (-1, 0, 1), strict=True):
        x, _ = _point(10.0**power, 1)
        yield _text((x, _PLOT[1] + _PLOT[3] + 16), _short(size), "quiet", "middle")
    middle = (_PLOT[0] + _PLOT[2] / 2, _PLOT[1] + _PLOT[3] + 32)
    yield _text(middle, one.series.unit, "quiet", "middle")
    yield _line(_point(0.1, 0.1), _point(10, 10), "straight")
    memory = _points(one.sizes, one.peak_mb)
    time = _points(one.sizes, one.wall_s) if one.series.is_timed else []
    # Words beside two ends that lie close together make way for each other.
    is_close = bool(time) and abs(time[-1][1] - memory[-1][1]) < _LINE_PX
    first_dy = copysign(is_close * _LINE_PX / 2, memory[-1][1] - time[-1][1]) if time else 0.0
    yield from _curve(memory, "memory", f"{_rounded(one.peak_mb[-1])} MB", first_dy)
    if time:
        yield from _curve(time, "time", f"{_rounded(one.wall_s[-1])} s", -first_dy)


def _points(sizes: Sequence[float], figures: Sequence[float]) -> list[tuple[float, float]]:
    return [
        _point(size / sizes[1], figure / figures[1])
        for size, figure in zip(sizes, figures, strict=True)
    ]


def _curve(points: Sequence[tuple[float, float]], of: str, last: str, dy: float) -> Iterator[str]:
    """A line through the figures, and the last of them in words."""
    yield f'<polyline class="{of}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'
    yield from (f'<circle class="{of}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points)
    x, y = points[-1]
    yield _text((x + 7, y + 4 + dy), last, of)


def _legend() -> Iterator[str]:
    yield _text((10, 20), "How to read it", "title")
    told = (
        ("time", "wall time, relative to the middle size"),
        ("memory", "peak RSS, likewise"),
        ("straight", "what grows as the load does"),
    )
    for row, (of, words) in enumerate(told):
        y = 48 + 24 * row
        yield _line((10, y), (34, y), of)
        yield _text((42, y + 4), words)
    yield _text((10, 128), "Both axes are logarithmic. Above the dashed", "quiet")
    yield _text((10, 144), "line at 10×: worse than linear.", "quiet")


def _point(size: float, figure: float) -> tuple[float, float]:
    """Where a size and a figure lie, both relative to the middle; a decade is half a plot."""
    left, top, width, height = _PLOT
    y = min(max(log10(figure), -1.1), 1.1)
    return left + width * (1 + log10(size)) / 2, top + height * (1 - y) / 2


def _line(begin: tuple[float, float], end: tuple[float, float], of: str) -> str:
    (x1, y1), (x2, y2) = begin, end
    return f'<line class="{of}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(at: tuple[float, float], words: str, of: str = "", anchor: str = "start") -> str:
    x, y = at
    return (
        f'<text class="{of}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
    )


def _short(size: int) -> str:
    for unit, name in ((1_000_000, "M"), (1000, "k")):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{name}"
    return str(size)


def _rounded(figure: float) -> str:
    n_digits = max(0, 1 - floor(log10(figure)))
    return f"{figure:,.{n_digits}f}"
