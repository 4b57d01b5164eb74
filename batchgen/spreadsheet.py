"""Results as a table for a spreadsheet: CSV in which no cell can be taken for a formula.

UTF-8 with a byte order mark, without which Excel takes it for something else; a line an item, and
no line break inside one; text in quotes, numbers bare (RFC 4180). A text that a spreadsheet would
run begins with an apostrophe, also behind a semicolon, at which some of them split.

Source: OWASP, CSV Injection (CWE-1236). Memory: one line, and the names of tags.
"""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

from batchgen.dependencies import read_lineage
from batchgen.errors import UsageError, store_errors
from batchgen.model import Result
from batchgen.report.standing import result_of
from batchgen.sanitize import printable
from batchgen.store.expanded import read_items
from batchgen.store.history import final_image, read_history
from batchgen.store.layout import Layout
from batchgen.store.ledger import segments
from batchgen.store.shards import gather_items

Cell: TypeAlias = str | int | Decimal | None

_BOM: Final = b"\xef\xbb\xbf"
_MAX_CELL_CHARS: Final = 32_000  # Excel takes 32,767
_TOKENS: Final = ("input_text", "input_image", "output_text", "output_image", "thoughts")
COLUMNS: Final = (
    *("id", "status", "picture", "model", "outcome", "attempts", "cost_usd"),
    *(f"tokens.{name}" for name in _TOKENS),
    *("error", "run_id", "finished_at"),
)


@cache
def _formula() -> re.Pattern[str]:
    """Where a formula may begin: looking for all that looks like `=` takes a few milliseconds."""
    # Every character that is one of = + - @ to a spreadsheet, in whatever width; and the minus.
    triggers = "".join(
        character
        for character in map(chr, range(0x10000))
        if unicodedata.normalize("NFKC", character) in {"=", "+", "-", "@"} or character == "\u2212"
    )
    return re.compile(rf"(^|;)(?=[\s\"]*[{re.escape(triggers)}])")


def safe_cell(text: str) -> str:
    """A text as a cell that is shown, and never run; control codes become a space."""
    shown = _formula().sub(r"\1'", printable(text, _MAX_CELL_CHARS))
    # What stood behind a tab, a line end or a NUL was meant to slip through.
    is_odd = text[:1] != "" and unicodedata.category(text[0]) == "Cc"
    return f"'{shown}" if is_odd and not shown.startswith("'") else shown


def results_as_csv(place: Path | Layout) -> Iterator[bytes]:
    """Yield the lines of a job's directory: the header, then each item in the order of the job.

    Raises:
        UsageError: There is no run in the directory.
        StoreError: It cannot be read.
    """
    layout = Layout.at(place)
    history = read_history(segments(layout.ledger))
    if not history.runs:
        raise UsageError(f"{layout.root} holds no run: its ledger is empty")
    gather_items(layout)
    lineage = read_lineage(layout, history)
    with store_errors(layout.root):
        tags = sorted({name for item in read_items(layout.items) for name in item.tags})
        yield _BOM + csv_line([*COLUMNS, *(f"tags.{name}" for name in tags)])
        for item in read_items(layout.items):
            resolved = lineage.resolved(item)
            result = result_of(resolved, history.standing(resolved))
            yield csv_line([*_cells(result), *(result.tags.get(name) for name in tags)])


def _cells(result: Result) -> Iterator[Cell]:
    """What the columns say of one item."""
    picture = final_image(result.images)
    yield from (result.id, result.status, picture.path if picture else None, result.model)
    yield result.outcome.value if result.outcome else None
    yield from (result.attempts, result.cost_usd)
    yield from (getattr(result.tokens, name, None) for name in _TOKENS)
    yield result.error.message if result.error else None
    yield from (result.run_id, result.finished_at)


def csv_line(cells: list[Cell]) -> bytes:
    """A line of a table, in which no text can be taken for a formula."""
    written = io.StringIO()
    writer = csv.writer(written, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow([safe_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return written.getvalue().encode()
