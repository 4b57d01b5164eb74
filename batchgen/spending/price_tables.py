"""The price book as it applies on a day: for people as a table, for programs as JSON and CSV."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import msgspec

from batchgen.cost import PriceBook
from batchgen.known_models import KnownModels
from batchgen.paper import Paper
from batchgen.sanitize import printable
from batchgen.spending.tables import MISSING
from batchgen.spreadsheet import Cell, csv_line

_MAX_CHARS: Final = 300
_COLUMNS: Final = (
    *("model", "tier", "input", "text_output", "image_output", "search_1k_queries"),
    *("search_1k_prompts", "valid_from", "checked", "source", "origin", "multiplier"),
)
_SHOWN: Final = ("model", "tier", "input", "text_output", "image_output")
_HEAD: Final = ("model", "tier", "input", "text", "image", "searches", "from")


def price_rows(book: PriceBook, day: str) -> list[dict[str, Cell]]:
    """The prices that apply on a day, the multiplier included: a row for each model and tier."""
    rows: list[dict[str, Cell]] = []
    for model in book.models:
        price, origin = book.find(model, at=day), book.origin(model, at=day)
        if price is None or origin is None:
            continue
        for tier, rates in price.tiers.items():
            rates_of = (rates.input, rates.text_output, rates.image_output)
            searches = (price.search_1k_queries, price.search_1k_prompts)
            source = rates.source or price.source
            where = (price.valid_from or None, price.checked, source, origin.origin)
            cells = (model, tier, *rates_of, *searches, *where, book.multiplier)
            rows.append(dict(zip(_COLUMNS, cells, strict=True)))
    return rows


def prices_as_json(book: PriceBook, day: str) -> Iterator[bytes]:
    """`{"prices": [{"model", "tier", "input", …}]}`; money is text, USD per million tokens."""
    yield msgspec.json.encode({"day": day, "prices": price_rows(book, day)}) + b"\n"


def prices_as_csv(book: PriceBook, day: str) -> Iterator[bytes]:
    """A header, and a line for each model and tier."""
    yield csv_line([*_COLUMNS])
    for row in price_rows(book, day):
        yield csv_line([*row.values()])


def prices_as_table(book: PriceBook, day: str, paper: Paper) -> Iterator[str]:
    """Aligned columns; below them where prices are from, and other ids with the same price."""
    rows = price_rows(book, day)
    aliases = {
        name: known.name
        for name in book.models
        if (known := KnownModels.shipped().find(name)) is not None
        and known.name != name
        and book.find(known.name, at=day) == book.find(name, at=day)
    }
    shown = [row for row in rows if row["model"] not in aliases]
    notes = list(dict.fromkeys(map(_note, shown)))
    cells = [
        (*(_cell(row[name]) for name in _SHOWN), _searches(row), f"[{notes.index(_note(row)) + 1}]")
        for row in shown
    ]
    times = "" if book.multiplier == 1 else f", times {book.multiplier.normalize():f}"
    yield f"USD per million tokens (searches: per thousand) on {day}{times}"
    yield from paper.table([_HEAD, *cells], 2)
    for number, note in enumerate(notes, 1):
        yield from paper.wrapped(note, f"[{number}] ")
    for alias, name in aliases.items():
        yield from paper.wrapped(f"{alias}: as {name}")


def _note(row: dict[str, Cell]) -> str:
    """Where a price is from: `since 2026-01-05, checked 2026-11-21: …`."""
    when = ((word, row[name]) for word, name in (("since", "valid_from"), ("checked", "checked")))
    told = ", ".join(f"{word} {day}" for word, day in when if day is not None)
    origin = f"{_cell(row['source'])} ({_cell(row['origin'])})"
    return f"{told}: {origin}" if told else origin


def _searches(row: dict[str, Cell]) -> str:
    """What a thousand searches cost: of queries, or of prompts that search."""
    for what in ("queries", "prompts"):
        if (price := row[f"search_1k_{what}"]) is not None:
            return f"{_cell(price)} {what}"
    return MISSING


def _cell(value: Cell) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return MISSING if value is None else printable(str(value), _MAX_CHARS)
