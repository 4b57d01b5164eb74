"""The price book as it applies on a day: for people as a table, for programs as JSON and CSV."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import msgspec

from batchgen.cost import PriceBook
from batchgen.known_models import KnownModels
from batchgen.sanitize import printable
from batchgen.spending.tables import MISSING, aligned
from batchgen.spreadsheet import Cell, csv_line

_MAX_CHARS: Final = 60
_COLUMNS: Final = (
    *("model", "tier", "input", "text_output", "image_output", "search_1k_queries"),
    *("search_1k_prompts", "valid_from", "checked", "source", "origin", "multiplier"),
)
_SHOWN: Final = _COLUMNS[:-1]  # the multiplier is one for all


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


def prices_as_table(book: PriceBook, day: str) -> Iterator[str]:
    """Aligned columns; other ids of a model, with the same price, are named below."""
    rows = price_rows(book, day)
    aliases = {
        name: known.name
        for name in book.models
        if (known := KnownModels.shipped().find(name)) is not None
        and known.name != name
        and book.find(known.name, at=day) == book.find(name, at=day)
    }
    head = tuple(name.replace("_", " ") for name in _SHOWN)
    shown = [
        tuple(_cell(row[name]) for name in _SHOWN) for row in rows if row["model"] not in aliases
    ]
    times = "" if book.multiplier == 1 else f", times {book.multiplier.normalize():f}"
    yield f"USD per million tokens (searches: per thousand) on {day}{times}"
    yield from aligned([head, *shown], len(_SHOWN))
    for alias, name in aliases.items():
        yield f"{alias}: as {name}"


def _cell(value: Cell) -> str:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return MISSING if value is None else printable(str(value), _MAX_CHARS)
