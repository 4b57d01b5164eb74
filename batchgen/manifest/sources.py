"""Job files as they lie there: the settings at the head, and what is written for each item.

One class a format. All of them stream their items, and can do so again; YAML alone is parsed whole.
"""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import msgspec

from batchgen.errors import JobError, Problem
from batchgen.manifest.batch_lines import as_item, is_batch_line
from batchgen.manifest.expand import TAGS, Draft, fields_of
from batchgen.manifest.fields import NO_UTF8, Checker
from batchgen.manifest.files import open_text
from batchgen.manifest.items import FIELDS, TYPED
from batchgen.manifest.json_lines import (
    BOM,
    MAX_LINE_BYTES,
    TOO_LONG,
    decoded,
    lines_of,
    problem,
    skip_line,
)
from batchgen.manifest.nodes import (
    MAX_YAML_BYTES,
    Place,
    YamlError,
    children,
    compose,
    emptied,
)
from batchgen.manifest.origins import InDocument, InJson, Origin, Part
from batchgen.manifest.problems import Problems, dotted
from batchgen.manifest.settings import Settings, read_head
from batchgen.manifest.shapes import Line, usual_line
from batchgen.manifest.tables import DELIMITERS, JSON_LINES, DelimitedTable, RowError
from batchgen.manifest.versions import Version
from batchgen.objects import address_of, as_written
from batchgen.objects.spool import spooled

STDIN: Final = Path("-")
STDIN_NAME: Final = "stdin"

_START: Final = Place(1, 1)
_FIELDS: Final = frozenset({*FIELDS, "each", "matrix", "exclude", "count"})


@dataclass(frozen=True, slots=True)
class Written:
    """What is written for one item, or why it cannot be read."""

    value: Any
    origin: Origin


class UsualLine(msgspec.Struct, gc=False):
    """A line of JSON that may be like others, see `shapes`.

    Attributes:
        raw: The text, should the whole of it be asked for.
    """

    path: Path
    number: int
    raw: bytes
    line: Line

    @property
    def home(self) -> Origin:
        """Where it stands."""
        return InJson(self.path, self.number, self.raw)

    def draft(self) -> Draft:
        """The same as any other item."""
        return Draft(decoded(self.raw), self.home)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An item whose text cannot be read.

    Attributes:
        owner: What the message names, where a line alone does not say enough.
    """

    message: str
    path: Path
    place: Place
    owner: str = ""


class Source(Protocol):
    """An opened job file.

    Attributes:
        path: As the user named it.
        version: Which it is of the files that its path may have named.
        settings: What its head says.
        head: Where the head stands; None if there is none.
    """

    path: Path
    version: Version
    settings: Settings
    head: Origin | None

    def items(self) -> Iterator[Written | UsualLine | Unreadable]:
        """Yield what is written for each item, in order; may be called again."""


class YamlSource:
    """A YAML job: one document, parsed whole."""

    def __init__(self, version: Version, text: str, problems: Problems) -> None:
        """Parse the document and read its head."""
        path = version.shown_path
        self.path, self.version, self._problems = path, version, problems
        self.settings = Settings()
        self.head: Origin | None = None
        try:
            self._document = compose(text)
            head = emptied(self._document.root, "items")
            value = self._document.value(head, typed={"defaults": TYPED})
        except YamlError as error:
            # Nothing is known of it, not even whose key it takes.
            raise _unreadable(path, error.message, error.place) from error
        check = Checker()
        self.settings = read_head(check, value)
        self.head = InDocument(path, self._document)
        report_head(problems, check, self.head)

    def items(self) -> Iterator[Written | Unreadable]:
        """Yield the nodes under `items`."""
        if self._document.root is None:
            return
        self._document.restart()
        nodes = children(self._document.root, "items")
        if nodes is None:
            place = self._document.place(("items",))
            self._problems.error(self.path, place, "items", "expected a list of items")
            return
        for n, node in enumerate(nodes):
            try:
                value = self._document.value(node, typed=TYPED)
            except YamlError as error:
                yield Unreadable(error.message, self.path, error.place, f"items[{n + 1}]")
            else:
                yield Written(value, InDocument(self.path, self._document, ("items", n)))


class JsonLinesSource:
    """A JSONL job: one item a line; line 1 may hold the head."""

    def __init__(self, version: Version, problems: Problems) -> None:
        """Read the head, if line 1 is one; `problems` takes what is wrong with it."""
        self.path, self.version = version.shown_path, version
        self.settings = Settings()
        self.head: Origin | None = None
        with version.opened() as file:
            first = file.readline(MAX_LINE_BYTES + 1).removeprefix(BOM)
        written = decoded(first)
        self._has_head = isinstance(written, dict) and "job" in written
        if self._has_head:
            check = Checker()
            check.mapping(written, (), ("job",))
            self.settings = read_head(check, written["job"], ("job",))
            line = InJson(self.path, 1, first)
            report_head(problems, check, line, ("job",))
            self.head = Part(line, ("job",))

    def items(self) -> Iterator[Written | UsualLine | Unreadable]:
        """Yield the lines but the head and blank ones."""
        with self.version.opened(whole=True) as file:
            if self._has_head:
                file.readline()
            for number, raw in enumerate(lines_of(file), 1 + self._has_head):
                if (usual := usual_line(raw)) is not None:
                    yield UsualLine(self.path, number, raw, usual)
                    continue
                if len(raw) > MAX_LINE_BYTES:
                    skip_line(file, raw)
                    yield Unreadable(TOO_LONG, self.path, Place(number, 1))
                    continue
                line = raw.removeprefix(BOM) if number == 1 else raw
                if line.strip():
                    yield self._read(line, number)

    def _read(self, line: bytes, number: int) -> Written | Unreadable:
        """Read a line that is no usual one."""
        value = decoded(line)
        if isinstance(value, Exception):
            place, message = problem(value, line, number)
            return Unreadable(message, self.path, place)
        if isinstance(value, dict) and "job" in value:
            message = "a job's settings can only be on line 1"
            return Unreadable(message, self.path, Place(number, 1))
        if is_batch_line(value):
            value = as_item(value, number, _FIELDS)
        return Written(value, InJson(self.path, number, line))


class TableSource:
    """A CSV or TSV job: one item a row; the header names item fields, `tags.NAME` makes tags."""

    def __init__(self, version: Version, problems: Problems) -> None:
        """Read the header."""
        self.path, self.version = version.shown_path, version
        self.settings = Settings()
        self.head: Origin | None = None
        self._table: DelimitedTable | None = None
        try:
            self._table = DelimitedTable(version)
        except RowError as error:
            problems.error(error.path, error.place, "", error.message)
            return
        check = Checker()
        for name in self._table.columns:
            if name == TAGS:
                check.wrong((name,), f"a tag needs a name: {TAGS}NAME")
            elif name not in FIELDS and not name.startswith(TAGS):
                near = check.near(name, FIELDS)
                message = f"unknown column{near or ';'} for a tag, write {TAGS}{name}"
                check.wrong((name,), message)
        report_head(problems, check, self._table.header)

    def items(self) -> Iterator[Written | Unreadable]:
        """Yield the rows."""
        if self._table is None:
            return
        for row in self._table.rows():
            if isinstance(row, RowError):
                yield Unreadable(row.message, row.path, row.place)
            else:
                known = {
                    name: cell
                    for name, cell in row.cells.items()
                    if name in FIELDS or name.startswith(TAGS)
                }
                yield Written(fields_of(known), row.origin)


def open_source(path: Path, problems: Problems) -> Source:
    """Open a job file by its ending; `-` is JSON Lines from standard input, the rest is YAML.

    Raises:
        JobError: It cannot be read at all.
    """
    try:
        return _open(path, problems)
    except OSError as error:
        raise _unreadable(path, f"cannot read the job file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start]
        last = before.rpartition(b"\n")[2]
        place = Place(before.count(b"\n") + 1, len(last.decode("utf-8-sig")) + 1)
        raise _unreadable(path, NO_UTF8, place) from error


def _open(path: Path, problems: Problems) -> Source:
    if path == STDIN:
        if sys.stdin is None:
            raise _unreadable(Path(STDIN_NAME), "standard input is closed")
        return JsonLinesSource(_spooled(sys.stdin.buffer, Path(STDIN_NAME)), problems)
    suffix = path.suffix.lower()
    if suffix in JSON_LINES:
        return JsonLinesSource(_version(path), problems)
    if suffix in DELIMITERS:
        return TableSource(replace(_version(path), open_file=open_text), problems)
    version = _version(path)
    with version.opened(whole=True) as file:
        size_bytes = os.fstat(file.fileno()).st_size  # before that much is held
        raw = b"" if size_bytes > MAX_YAML_BYTES else file.read(MAX_YAML_BYTES + 1)
    if max(size_bytes, len(raw)) > MAX_YAML_BYTES:
        raise _unreadable(path, "YAML of more than 64 MiB: write it as JSONL")
    return YamlSource(version, raw.decode("utf-8-sig"), problems)


def _version(path: Path) -> Version:
    """A job file that can be read again: a pipe is copied first, up to its end."""
    if (address := address_of(path)) is not None:
        return Version(spooled(address), path)
    if path.is_fifo():
        with path.open("rb") as stream:
            return _spooled(stream, path)
    return Version(path, path)


def _spooled(stream: BinaryIO, shown_path: Path) -> Version:
    """Copy a stream to a file, because a job is read more than once; it goes with the process.

    Raises:
        JobError: It is no pipe but a file, and changed meanwhile.
    """
    file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed at exit
        prefix="batchgen-", suffix=shown_path.suffix
    )
    atexit.register(file.close)
    with Version(shown_path, shown_path).held(stream):
        shutil.copyfileobj(stream, file)
    file.flush()
    return Version(Path(file.name), shown_path)


def report_head(
    problems: Problems, check: Checker, origin: Origin, steps: tuple[str, ...] = ()
) -> None:
    """Turn the mistakes of a head into problems with places."""
    for mistake in check.mistakes:
        if problems.is_full:
            problems.n_errors += 1
            continue
        inside = mistake.steps[: len(steps)] == steps
        place = origin.place(mistake.steps, key=mistake.at_key)
        name = dotted(mistake.steps[len(steps) :] if inside else mistake.steps)
        problems.error(origin.path, place, name, mistake.message)
    for warning in check.warnings:
        place = origin.place(warning.steps)
        name = dotted(warning.steps[len(steps) :])
        problems.warning(origin.path, place, name, warning.message)


def _unreadable(path: Path, message: str, place: Place = _START) -> JobError:
    return JobError((Problem(as_written(path), place.line, place.column, "", message),))
