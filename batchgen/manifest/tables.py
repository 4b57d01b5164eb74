"""Tables: the rows of a CSV, TSV or JSON Lines file, or of a list in the job itself, as a stream.

A row is a mapping of names to texts. JSON may hold more than text: a list or a mapping can set an
item field, and cannot be put into a template.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, Protocol

from batchgen.manifest.fields import NO_UTF8, is_encodable, shown
from batchgen.manifest.files import found_file, open_text
from batchgen.manifest.json_lines import (
    BOM,
    MAX_LINE_BYTES,
    TOO_DEEP,
    TOO_LONG,
    DuplicateKeyError,
    duplicate,
    lines_of,
    once,
    skip_line,
)
from batchgen.manifest.nodes import Place, is_deeper
from batchgen.manifest.origins import InJson, InTable, Origin, cell_starts
from batchgen.manifest.versions import Version
from batchgen.objects import is_address

DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
JSON_LINES: Final = frozenset({".jsonl", ".ndjson"})
MAX_CELL_CHARS: Final = 1 << 20

# Fields that are sent as they are written, numbers included.
AS_WRITTEN: Final = ("extra", "request")

# What the reader says of a bad row, and what that means to whoever wrote it.
_CSV_FAULTS: Final = (
    ("expected after", "text after a cell's last quote: a quote inside a cell is written twice"),
    ("unexpected end", "a quote opens a cell and none ends it"),
    ("new-line", "a carriage return outside quotes: save the table with other line ends"),
    (TOO_LONG, TOO_LONG),
    ("larger than", f"a cell of more than {MAX_CELL_CHARS:,} characters: is a quote not closed?"),
)


class RowError(ValueError):
    """A row, or a header, that cannot be read; the message is for the user."""

    def __init__(self, message: str, path: Path, place: Place) -> None:
        """Set what is wrong, and where."""
        super().__init__(message)
        self.message = message
        self.path = path
        self.place = place


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its cells by column, and where it stands."""

    cells: Mapping[str, Any]
    origin: Origin


class Table(Protocol):
    """Rows that can be read as often as needed."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names that every row has; None if only the rows tell."""

    def rows(self) -> Iterator[Row | RowError]:
        """Yield the rows in order, or what is wrong with one; the next one is read all the same."""


@dataclass(frozen=True, slots=True)
class InlineTable:
    """A list of mappings in the job itself."""

    cells: Sequence[Mapping[str, Any]]
    origins: Sequence[Origin]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every name of every row, in order of appearance."""
        return tuple(dict.fromkeys(name for row in self.cells for name in row))

    def rows(self) -> Iterator[Row]:
        """Yield the mappings."""
        for cells, origin in zip(self.cells, self.origins, strict=True):
            yield Row(cells, origin)


class DelimitedTable:
    """A CSV or TSV file, whose first row names the columns."""

    def __init__(self, version: Version) -> None:
        """Read the header.

        Raises:
            OSError: It cannot be read.
            RowError: It has no header, or one that cannot be used.
            JobError: It is another version by now.
        """
        self.version, self.shown_path = version, version.shown_path
        self.delimiter = DELIMITERS[version.path.suffix.lower()]
        with version.opened() as file:
            first = next(self._records(file), None)
        if first is None:
            raise self._error("the table is empty: its first row names the columns", 1)
        if isinstance(first, RowError):
            raise first
        self.columns = tuple(name.strip() for name in first.cells)
        self.header = self._origin(first)
        self._check_header(first)

    def rows(self) -> Iterator[Row | RowError]:
        """Yield the rows below the header; blank lines are skipped."""
        with self.version.opened(whole=True) as file:
            records = self._records(file)
            next(records, None)
            for record in records:
                yield record if isinstance(record, RowError) else self._row(record)

    def _row(self, record: "_Record") -> Row | RowError:
        cells = record.cells
        if len(cells) != len(self.columns):
            plural = "" if len(cells) == 1 else "s"
            message = (
                f"{len(cells)} cell{plural}, and the header names {len(self.columns)} columns; "
                "quote cells that hold a delimiter"
            )
            return self._error(message, record.line)
        return Row(dict(zip(self.columns, cells, strict=True)), self._origin(record))

    def _error(self, message: str, line: int, column: int = 1) -> RowError:
        return RowError(message, self.shown_path, Place(line, column))

    def _origin(self, record: "_Record") -> InTable:
        return InTable(self.shown_path, record.line, record.raw, self.columns, self.delimiter)

    def _records(self, file: BufferedReader) -> Iterator["_Record | RowError"]:
        csv.field_size_limit(MAX_CELL_CHARS)
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        while True:
            lines.begin_row()
            try:
                cells = next(reader, None)
            except UnicodeDecodeError as error:
                column = len(error.object[: error.start].decode()) + 1
                yield self._error(NO_UTF8, lines.line, column)
                continue
            except csv.Error as error:
                yield self._error(_why(error), lines.first)
                continue
            if cells is None:
                return
            # A row of delimiters alone is what a spreadsheet makes of a blank one.
            if cells and lines.text.strip(f"{self.delimiter}\r\n"):
                yield _Record(cells, lines.text, lines.first)

    def _check_header(self, header: "_Record") -> None:
        starts = cell_starts(header.raw, self.delimiter)
        known: set[str] = set()
        for n, name in enumerate(self.columns):
            if not name:
                raise self._error(f"column {n + 1} has no name", header.line, starts[n] + 1)
            if name in known:
                message = f"two columns are named '{name}'"
                raise self._error(message, header.line, starts[n] + 1)
            known.add(name)
        if len(self.columns) == 1 and ";" in self.columns[0]:
            message = "the columns are separated by ';': write ',' between them, or save as TSV"
            raise self._error(message, header.line)


@dataclass(frozen=True, slots=True)
class _Record:
    """A row of a delimited file: its cells, its text, and its first line."""

    cells: list[str]
    raw: str
    line: int


class JsonTable:
    """A JSON Lines file, an object a line. Numbers stay the text that was written."""

    columns: None = None

    def __init__(self, version: Version) -> None:
        """Set the file.

        Raises:
            OSError: It cannot be read.
            JobError: It is another version by now.
        """
        self.version, self.shown_path = version, version.shown_path
        with version.opened():
            pass

    def rows(self) -> Iterator[Row | RowError]:
        """Yield a row a line; blank lines are skipped."""
        with self.version.opened() as file:
            for number, raw in enumerate(lines_of(file), 1):
                line = raw.removeprefix(BOM) if number == 1 else raw
                if len(raw) > MAX_LINE_BYTES:
                    skip_line(file, raw)
                    yield self._error(TOO_LONG, number)
                elif line.strip():
                    yield self._row(line, number)

    def _error(self, message: str, line: int, column: int = 1) -> RowError:
        return RowError(message, self.shown_path, Place(line, column))

    def _row(self, line: bytes, number: int) -> Row | RowError:
        try:
            cells = _json_cells(line.decode())
        except UnicodeDecodeError as error:
            return self._error(NO_UTF8, number, len(line[: error.start].decode()) + 1)
        except json.JSONDecodeError as error:
            return self._error(f"this line is no JSON: {error.msg}", number, error.colno)
        except DuplicateKeyError:
            place, message = duplicate(line, number)
            return RowError(message, self.shown_path, place)
        except RecursionError:
            return self._error(TOO_DEEP, number)
        except ValueError as error:
            return self._error(str(error), number)
        if is_deeper(cells):
            return self._error(TOO_DEEP, number)
        if not isinstance(cells, dict):
            message = f"expected a row (an object), found {shown(cells)}"
            return self._error(message, number)
        return Row(cells, InJson(self.shown_path, number, line))


class Tables:
    """The tables that a job names: all its items read the same version of one.

    Attributes:
        base: The directory that paths start from.
    """

    def __init__(self, base: Path) -> None:
        """None is known yet."""
        self.base = base
        self._versions: dict[Path, Version] = {}

    def open(self, written: str, shown_path: Path) -> Table:
        """Open a table by its ending.

        Args:
            written: The path as it stands in the job.
            shown_path: How messages name it.

        Raises:
            OSError: It cannot be read.
            RowError: Its header cannot be used.
            ValueError: Its ending is none of a table.
            JobError: It is not what another item has read, or changed while it was.
        """
        path = shown_path if is_address(written) else self.base / written
        suffix = path.suffix.lower()
        if suffix not in DELIMITERS and suffix not in JSON_LINES:
            raise ValueError(f"{path.name} is no table; expected .csv, .tsv, .jsonl or .ndjson")
        version = self._versions.get(path)
        if version is None:
            found = found_file(self.base, written)
            version = self._versions[path] = Version(found, shown_path, open_text)
        return DelimitedTable(version) if suffix in DELIMITERS else JsonTable(version)


class _Lines:
    """The lines of a file as text, and those that the row in hand took."""

    def __init__(self, file: BufferedReader) -> None:
        self._file = file
        self._taken: list[str] = []
        self.line = 0
        self.first = 1

    def begin_row(self) -> None:
        self._taken.clear()
        self.first = self.line + 1

    @property
    def text(self) -> str:
        return "".join(self._taken)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._file.readline(MAX_LINE_BYTES + 1)
        if not raw:
            raise StopIteration
        self.line += 1
        if len(raw) > MAX_LINE_BYTES:
            skip_line(self._file, raw)
            raise csv.Error(TOO_LONG)
        text = (raw.removeprefix(BOM) if self.line == 1 else raw).decode()
        self._taken.append(text)
        return text


def _why(error: csv.Error) -> str:
    """What is wrong with a row, and what to do about it."""
    said = str(error)
    return next((why for part, why in _CSV_FAULTS if part in said), f"a row that is none: {said}")


def _json_cells(text: str) -> Any:
    cells = _json_texts.decode(text)
    if "\\u" in text and not is_encodable(json.dumps(cells, ensure_ascii=False)):
        raise ValueError("it holds half a character (a lone surrogate)")
    if isinstance(cells, dict) and not cells.keys().isdisjoint(AS_WRITTEN):
        typed = json.loads(text)
        return {**cells, **{name: typed[name] for name in AS_WRITTEN if name in typed}}
    return cells


def _no_number(word: str) -> float:
    raise ValueError(f"this line is no JSON: {word} is no number")


_json_texts = json.JSONDecoder(
    object_pairs_hook=once, parse_int=str, parse_float=str, parse_constant=_no_number
)
