"""Reads files line by line, and knows each line for what it is.

Lines end at a newline alone: JSON Lines may hold a raw U+2028. What cannot be read is counted, and
the first of it is told with its place. A gzip file is known by its first bytes.
"""

import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, cast

import msgspec

from batchgen.errors import store_errors
from batchgen.sanitize import printable
from batchgen.spending.foreign import Assumed, Counts, Foreign, NoCallError, each_of
from batchgen.spending.plain import Plain
from batchgen.spending.pricing import Pricer
from batchgen.spending.sources import STDIN
from batchgen.spending.tally import Tally
from batchgen.store.inside import open_inside

if TYPE_CHECKING:
    from batchgen.spending.ledgers import Ledgers

MAX_TOLD: Final = 10
# A longer line, or a longer document of many lines, is not held in memory.
MAX_LINE_BYTES: Final = 64 << 20
READ_BYTES: Final = 1 << 16
_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_EVENT: Final = b'"event"'
_EVENTS: Final = ("run", "sent", "attempt", "filed", "end")
_HEAD_BYTES: Final = 64
_TORN: Final = "cut off at its end"
_BLANK: Final = re.compile(r"\s*")
_decode = msgspec.json.Decoder().decode


class Unreadable(NamedTuple):
    """A line that is none of those that are known; a whole file without a number."""

    path: Path
    number: int | None
    why: str

    def __str__(self) -> str:
        """`FILE:LINE: what`."""
        name = "standard input" if self.path == STDIN else str(self.path)
        return f"{name}{'' if self.number is None else f':{self.number}'}: {self.why}"


@dataclass(slots=True)
class Spending:
    """What files came to, and what there is to tell of them.

    Attributes:
        reprices: Whether lines of our ledgers are priced anew as well.
        n_recorded: Calls of our own ledgers.
        n_lines: Lines that were known for something, calls or not.
        unreadable: The first lines that were not.
        n_ours: Lines of our own ledgers among those that were known.
    """

    tally: Tally
    pricer: Pricer
    reprices: bool = False
    counts: Counts = field(default_factory=Counts)
    n_recorded: int = 0
    n_double: int = 0
    n_under_way: int = 0
    n_lines: int = 0
    n_ours: int = 0
    n_unreadable: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)

    def refuse(self, path: Path, number: int | None, why: str) -> None:
        """Note what cannot be read."""
        self.n_unreadable += 1
        if len(self.unreadable) < MAX_TOLD:
            self.unreadable.append(Unreadable(path, number, printable(why)))

    def merge(self, other: "Spending", n_lines_before: int) -> None:
        """Take over what came of a part of a file, which so many lines stand before."""
        self.tally.merge(other.tally)
        self.counts.merge(other.counts)
        self.pricer.used.update(other.pricer.used)
        self.n_lines += other.n_lines
        self.n_unreadable += other.n_unreadable
        for one in other.unreadable[: MAX_TOLD - len(self.unreadable)]:
            number = None if one.number is None else n_lines_before + one.number
            self.unreadable.append(one._replace(number=number))


@dataclass(slots=True)
class Reader:
    """Reads one file after the other."""

    spending: Spending
    assumed: Assumed = Assumed()
    _ledgers: "Ledgers | None" = None

    def read(self, path: Path) -> None:
        """Read a file.

        Raises:
            StoreError: It cannot be read, or a newer batchgen wrote it.
        """
        spending = self.spending
        n_before = spending.n_lines + spending.n_unreadable
        with store_errors(path), opened(path) as file:
            try:
                self.read_lines(path, file)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                spending.refuse(path, None, f"the gzip file is cut off or damaged: {error}")
        if n_before == spending.n_lines + spending.n_unreadable:
            spending.refuse(path, None, "an empty file")

    def read_lines(self, path: Path, file: BinaryIO, *, is_beginning: bool = True) -> int:
        """Read a file that is open, or a part of it; how many lines there are."""
        first, n_blank = _first_line(file)
        if is_beginning and _is_begun(first):
            head = first + file.read(MAX_LINE_BYTES)
            if (documents := _documents(head)) is not None:
                log = _Log(self, path, file)
                for number, document in documents:
                    log.take(n_blank + number, document)
                return n_blank + head.count(b"\n")
            file = io.BufferedReader(_Joined(head, file), READ_BYTES)
            first = file.readline(MAX_LINE_BYTES)
        return n_blank + _Log(self, path, file).read(first, n_blank)

    @property
    def ledgers(self) -> "Ledgers":
        """Takes lines of our own."""
        if self._ledgers is None:
            # Most logs hold none of ours, and much would have to be imported for them.
            from batchgen.spending.ledgers import Ledgers  # noqa: PLC0415

            pricer = self.spending.pricer if self.spending.reprices else None
            self._ledgers = Ledgers(self.spending.tally, pricer)
        return self._ledgers

    def end(self) -> Spending:
        """Count what is known only at the end, and return all of it."""
        if self._ledgers is not None:
            self._ledgers.end()
            self.spending.n_recorded = self._ledgers.n_calls
            self.spending.n_double = self._ledgers.n_double
            self.spending.n_under_way = self._ledgers.n_under_way
        return self.spending


class _Log:
    """One file, read by lines."""

    def __init__(self, reader: Reader, path: Path, file: BinaryIO) -> None:
        self._reader, self._path, self._file = reader, path, file
        self._spending = reader.spending
        self._foreign = Foreign(reader.spending.pricer, reader.assumed, reader.spending.counts)

    def read(self, first: bytes, n_before: int) -> int:
        """Read all lines; how many there are."""
        others = iter(partial(self._file.readline, MAX_LINE_BYTES), b"")
        lines = chain([first], others) if first else others
        if _EVENT in first[:_HEAD_BYTES]:
            number = 0
            for number, line in enumerate(lines, 1):
                self._read_line(n_before + number, line)
            return number
        return self._read_plain(lines, n_before)

    def _read_plain(self, lines: Iterator[bytes], n_before: int) -> int:
        """Read lines of which most are plain answers; how many there are."""
        plain = Plain(self._spending.tally, self._foreign)
        n_odd = 0
        try:
            for number, line in plain.odd_lines(lines):
                n_odd += 1
                self._read_line(n_before + number, line)
        finally:  # what came before a file broke off counts
            plain.end()
            self._spending.n_lines += plain.n_lines - n_odd
            self._spending.counts.n_calls += plain.n_lines - n_odd
        return plain.n_lines

    def _read_line(self, number: int, line: bytes) -> None:
        if line.isspace():
            return
        if len(line) == MAX_LINE_BYTES and not line.endswith(b"\n"):
            self._refuse(number, f"longer than {MAX_LINE_BYTES >> 20} MiB")
            while (rest := self._file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            return
        if _EVENT in line[:_HEAD_BYTES]:
            self._read_ours(number, line)
            return
        try:
            document = loads(line)
        except ValueError as error:
            if b"\0" in line:  # a power cut may leave them in a ledger
                self._read_ours(number, line)
            else:
                self._refuse(number, _why(error, line))
            return
        if isinstance(document, dict) and document.get("event") in _EVENTS:
            self._read_ours(number, line)
        else:
            self.take(number, document)

    def take(self, number: int, document: Any) -> None:
        """Count the calls of a document."""
        odd: list[str] = []
        is_known = False
        for one in each_of(document):
            try:
                self._spending.tally.add(self._foreign.call(one))
                is_known = True
            except NoCallError as error:
                odd.append(str(error))
        if odd:
            self._refuse(
                number, odd[0] + (f"; {len(odd) - 1:,} more of the list" if odd[1:] else "")
            )
        self._spending.n_lines += is_known

    def _read_ours(self, number: int, text: bytes) -> None:
        is_known, why = self._reader.ledgers.read(self._path, number, text)
        if why is not None:
            self._refuse(number, why if text.endswith(b"\n") else f"{_TORN}: {why}")
        self._spending.n_lines += is_known
        self._spending.n_ours += is_known

    def _refuse(self, number: int, why: str) -> None:
        self._spending.refuse(self._path, number, why)


def loads(text: bytes) -> Any:
    """Read JSON, by the most patient way if the quick one does not.

    Raises:
        ValueError: It is none.
    """
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        try:
            return json.loads(text.decode("utf-8", "replace"), strict=False)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def _why(error: ValueError, line: bytes) -> str:
    what = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
    return f"no JSON ({what})" if line.endswith(b"\n") else f"{_TORN} ({what})"


def _first_line(file: BinaryIO) -> tuple[bytes, int]:
    """The first line that is not blank, without a byte order mark; and how many are before it."""
    n_blank = 0
    for written in iter(partial(file.readline, MAX_LINE_BYTES), b""):
        line = written if n_blank else written.removeprefix(_BOM)
        if line and not line.isspace():
            return line, n_blank
        n_blank += 1
    return b"", n_blank


def is_plain_line(line: bytes) -> bool:
    """Whether a line is a whole document, and none of our ledger's."""
    if _EVENT in line[:_HEAD_BYTES] or line.startswith(_GZIP):
        return False
    try:
        loads(line.removeprefix(_BOM))
    except ValueError:
        return False
    return True


def _is_begun(line: bytes) -> bool:
    """Whether a line begins a JSON document that goes on in the next."""
    if line.lstrip()[:1] not in {b"{", b"["} or not line.endswith(b"\n"):
        return False
    try:
        loads(line)
    except ValueError as error:
        at = error.pos if isinstance(error, json.JSONDecodeError) else 0
        return at >= len(line.decode("utf-8", "replace").rstrip())
    return False


def _documents(text: bytes) -> list[tuple[int, Any]] | None:
    """The documents that a text consists of, with their lines; None if it does not."""
    decoder, written = json.JSONDecoder(strict=False), text.decode("utf-8", "replace")
    found: list[tuple[int, Any]] = []
    at = n_lines = 0
    try:
        while rest := _BLANK.match(written, at):
            n_lines += written.count("\n", at, rest.end())
            if (at := rest.end()) == len(written):
                return found
            document, end = decoder.raw_decode(written, at)
            found.append((n_lines + 1, document))
            n_lines += written.count("\n", at, end)
            at = end
    except (ValueError, RecursionError):
        return None
    return None


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, or standard input, and unpack it if it is gzip."""
    with ExitStack() as closing:
        if path == STDIN:
            file: BinaryIO = sys.stdin.buffer
        elif path.is_file():
            file = closing.enter_context(open_inside(path))
        else:
            file = closing.enter_context(path.open("rb"))  # a pipe, on whose writer it may wait
        buffered = io.BufferedReader(cast("io.RawIOBase", file), READ_BYTES)
        closing.callback(buffered.detach)
        if buffered.peek(len(_GZIP))[: len(_GZIP)] == _GZIP:
            unpacked = closing.enter_context(gzip.GzipFile(fileobj=buffered))
            buffered = io.BufferedReader(cast("io.RawIOBase", unpacked), READ_BYTES)
        yield buffered


class _Joined(io.RawIOBase):
    """What was read already, and the rest of its file."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        super().__init__()
        self._parts = (io.BytesIO(head), file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        for part in self._parts:
            if data := part.read(len(buffer)):
                buffer[: len(data)] = data
                return len(data)
        return 0
