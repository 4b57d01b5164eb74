"""The sums as a table for people, and as JSON and CSV for programs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec

from batchgen.paper import Paper, columns
from batchgen.sanitize import printable
from batchgen.spending.tally import TOKENS, Sums, Tally
from batchgen.spreadsheet import Cell, csv_line
from batchgen.wording import fine_usd, usd

Money: TypeAlias = Callable[[Decimal], str]

_MAX_NAME_CHARS: Final = 300
MISSING: Final = "–"
# Below it, a hundredth of a cent counts.
_LARGE_USD: Final = 100
_TOKENS: Final = ("text in", "img in", "text out", "img out", "thoughts")
_FIGURES: Final = ("calls", "images", *_TOKENS, "cost", "per image", "waste", "maybe")
_ALWAYS: Final = frozenset({"calls", "images", "cost"})
_UNITS: Final = {1_000_000_000: "G", 1_000_000: "M", 10_000: "k"}


def as_json(tally: Tally) -> Iterator[bytes]:
    """`{"groups": […], "total": {…}}`, group by group, on one line."""
    yield b'{"groups":['
    for n, (key, sums) in enumerate(tally.ordered()):
        by = dict(zip(tally.by, key, strict=True))
        yield b"," * bool(n) + msgspec.json.encode({"by": by, **sums.figures()})
    yield b'],"total":' + msgspec.json.encode(tally.total().figures()) + b"}\n"


def as_csv(tally: Tally) -> Iterator[bytes]:
    """A header, and a line for each group; there is no line of totals, which would be added up."""
    figures = flat(Sums().figures())
    yield csv_line([*tally.by, *figures])
    for key, sums in tally.ordered():
        yield csv_line([*key, *flat(sums.figures()).values()])


def flat(figures: Mapping[str, Any]) -> dict[str, Cell]:
    """The figures without nesting: `tokens.input_text`."""
    cells: dict[str, Cell] = {}
    for name, value in figures.items():
        if isinstance(value, Mapping):
            cells |= {f"{name}.{inner}": one for inner, one in value.items()}
        else:
            cells[name] = value
    return cells


def as_table(tally: Tally, paper: Paper) -> Iterator[str]:
    """Aligned columns, and the total below; a group that has nothing of something shows a dash.

    Columns of which nobody has anything are left out. What is too wide for one table is told in
    two: money, then tokens, whose counts are shortened if they must be.
    """
    groups, whole = tally.ordered(), tally.total()
    money = fine_usd if (whole.cost_usd or 0) < _LARGE_USD else usd
    names = [(*tally.by,), *(tuple(map(_name, key)) for key, _ in groups)]
    names.append(("total", *("" for _ in tally.by[1:])))
    rows = [_FIGURES, *(_cells(sums, money) for _, sums in groups), _cells(whole, money)]
    told = [n for n, column in enumerate(zip(*rows, strict=True)) if _is_told(*column)]
    tokens = [n for n in told if _FIGURES[n] in _TOKENS]
    together = _joined(names, rows, told)
    if paper.fits(together):
        yield from _ruled(paper.table(together, len(tally.by)))
        return
    apart = _joined(names, rows, [n for n in told if n not in tokens])
    yield from _ruled(paper.table(apart, len(tally.by)))
    if tokens:
        yield ""
        counts = _joined(names, rows, tokens)
        if not paper.fits(counts, len(tally.by)):
            counts = _joined(names, [tuple(map(_short, row)) for row in rows], tokens)
        yield from _ruled(paper.table(counts, len(tally.by)))


def _is_told(head: str, *cells: str) -> bool:
    return head in _ALWAYS or not {*cells} <= {MISSING, "0"}


def _joined(
    names: Sequence[Sequence[str]], rows: Sequence[Sequence[str]], told: Sequence[int]
) -> list[tuple[str, ...]]:
    """Rows of names with some of their figures."""
    return [(*name, *(row[n] for n in told)) for name, row in zip(names, rows, strict=True)]


def _short(cell: str) -> str:
    """A count in three digits: `1.2M`; what is none stays as it is."""
    digits = cell.replace(",", "")
    if not digits.isdigit():
        return cell
    for power, unit in _UNITS.items():
        if int(digits) >= power:
            return f"{int(digits) / power:.1f}{unit}"
    return cell


def _ruled(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:-1]
    yield "-" * max(map(columns, lines))
    yield lines[-1]


def _name(value: str | None) -> str:
    return MISSING if value is None else printable(value, _MAX_NAME_CHARS)


def _cells(sums: Sums, money: Money) -> tuple[str, ...]:
    counts = (sums.attempts, sums.images, *(getattr(sums, name) for name in TOKENS))
    an_image = sums.cost_per_accepted_image_usd
    return (
        *(f"{count:,}" for count in counts),
        _bill(sums, money),
        MISSING if an_image is None else fine_usd(an_image),
        *(money(one) if one else MISSING for one in (sums.waste_usd, sums.maybe_usd)),
    )


def _bill(sums: Sums, money: Money) -> str:
    """What is known of a bill, marked `+?` where calls of unknown cost come on top of it."""
    known = sums.cost_usd
    return "unknown" if known is None else money(known) + ("+?" if sums.n_unknown else "")
