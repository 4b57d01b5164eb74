"""The sums as a table for people, and as JSON and CSV for programs."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

import msgspec

from batchgen.sanitize import printable
from batchgen.spending.tally import TOKENS, Sums, Tally
from batchgen.spreadsheet import Cell, csv_line
from batchgen.wording import usd

Money: TypeAlias = Callable[[Decimal], str]

_MAX_NAME_CHARS: Final = 60
MISSING: Final = "–"
# Below it, a hundredth of a cent counts.
_LARGE_USD: Final = 100
_FIGURES: Final = (
    *("attempts", "images", "text in", "image in", "text out", "image out", "thoughts"),
    *("cost", "per image", "waste", "maybe"),
)


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


def as_table(tally: Tally) -> Iterator[str]:
    """Aligned columns, and the total below; a group that has nothing of something shows a dash."""
    groups = tally.ordered()
    whole = tally.total()
    money = _precise if (whole.cost_usd or 0) < _LARGE_USD else usd
    rows = [(*map(_name, key), *_cells(sums, money)) for key, sums in groups]
    total = ("total", *("" for _ in tally.by[1:]), *_cells(whole, money))
    lines = list(aligned([(*tally.by, *_FIGURES), *rows, total], len(tally.by)))
    yield from lines[:-1]
    yield "─" * max(map(len, lines))
    yield lines[-1]


def _name(value: str | None) -> str:
    return MISSING if value is None else printable(value, _MAX_NAME_CHARS)


def _cells(sums: Sums, money: Money) -> tuple[str, ...]:
    counts = (sums.attempts, sums.images, *(getattr(sums, name) for name in TOKENS))
    an_image = sums.cost_per_accepted_image_usd
    return (
        *(f"{count:,}" for count in counts),
        _bill(sums, money),
        MISSING if an_image is None else f"${an_image:,.4f}",
        *(money(one) if one else MISSING for one in (sums.waste_usd, sums.maybe_usd)),
    )


def _bill(sums: Sums, money: Money) -> str:
    """What is known of a bill, marked `+?` where calls of unknown cost come on top of it."""
    known = sums.cost_usd
    return "unknown" if known is None else money(known) + ("+?" if sums.n_unknown else "")


def _precise(amount: Decimal) -> str:
    return f"${amount:,.4f}"


def aligned(rows: Sequence[Sequence[str]], n_left: int) -> Iterator[str]:
    """Rows as lines of columns, the first few of which begin at the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if at < n_left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
