"""The rows of a gateway's usage log, in whatever form it was exported.

It is the API's answer (`{"success": true, "data": {"items": […]}}` or `{"data": […]}`), several of
them one after the other, an array, JSON Lines, or a table of CSV or TSV whose header has the same
names; plain or gzip. What cannot be read is told and passed over.

Source: docs/cost.md; the `Log` of new-api (QuantumNous/new-api, model/log.go), whose rows are
written when a call has ended: `quota` / 500,000 is USD, `created_at` Unix seconds, `type` one of
1 top-up, 2 consume, 3 manage, 4 system, 5 error, 6 refund. A refund's quota is positive.
Memory: one row, and up to a mebibyte of text around it.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO, TypeAlias

from batchgen.errors import UsageError
from batchgen.sanitize import printable

NANO: Final = 10**9
_QUOTA_PER_USD: Final = 500_000
# No call costs so much: whatever has such a figure is none.
MAX_USD: Final = 10_000
# No row is larger; what is, is a document of many.
_MAX_ROW_CHARS: Final = 1 << 20
_STEP_CHARS: Final = 1 << 16
_MAX_NESTED: Final = 4
# Unix time in milliseconds is above it, in seconds below: it is the year 5138.
_MAX_SECONDS: Final = 10**11

_ID: Final = ("requestid", "cometapirequestid", "xcometapirequestid", "xoneapirequestid")
_AT: Final = ("createdat", "created", "timestamp", "createdtime", "time", "date")
_MODEL: Final = ("modelname", "model")
_USD: Final = ("costusd", "usd", "cost", "amountusd", "amount", "totalcost")
_HOLDERS: Final = ("data", "items", "logs", "rows", "records")
_KINDS: Final = {
    word: kind
    for kind, words in {
        1: "topup recharge 充值",
        3: "manage 管理",
        4: "system 系统",
        5: "error 错误",
        6: "refund 退款",
        7: "login",
    }.items()
    for word in words.split()
}
_NO_CALLS: Final = frozenset({1, 3, 4, 7})
_ERROR, _REFUND = 5, 6

# The beginning of a document that is too large to be read at once, up to its first row.
_HOLDER: Final = re.compile(r'\s*(?:\{[^{}\[\]]*(?:"\s*:\s*\{[^{}\[\]]*)?)?\[\s*(?=[{\]])')
_NAME: Final = re.compile(r"[^\w]|_")
_THOUSANDS: Final = re.compile(r"-?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")


class Row(NamedTuple):
    """A row about a call.

    Attributes:
        number: Which row of the log it is, from 1.
        nano_usd: What was paid, in billionths of a dollar; of a refund, less than nothing.
        at_s: Unix time, when the gateway wrote it; None if it does not say.
    """

    number: int
    request_id: str | None
    nano_usd: int
    at_s: int | None
    model: str | None


class Besides(NamedTuple):
    """A row about something else: a top-up, a change of settings."""

    number: int


class Odd(NamedTuple):
    """A row that cannot be read, where it stands and why."""

    number: int
    message: str


AnyRow: TypeAlias = Row | Besides | Odd
_Found: TypeAlias = tuple[int, Any]  # a line, and what stands there: fields, or why there are none


def read_rows(path: Path) -> Iterator[AnyRow]:
    """Yield the rows of a log, oldest or newest first as it has them.

    Raises:
        UsageError: It cannot be read, or is a table without a column of money.
    """
    line = 0
    number = 0
    try:
        with _opened(path) as file:
            for line, found in _values(file, path):
                number += 1
                yield _row(found, number, f"{path.name}:{line}: row {number}")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield Odd(number + 1, f"{path.name}:{line}: broken off after row {number}: {error}")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """A log as text: unpacked, its byte order mark told apart."""
    with path.open("rb") as raw:
        packed = raw.peek(2)[:2] == b"\x1f\x8b"
        data = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if packed else raw
        is_utf16 = data.peek(2)[:2] in {b"\xff\xfe", b"\xfe\xff"}
        encoding = "utf-16" if is_utf16 else "utf-8-sig"
        with io.TextIOWrapper(data, encoding, "replace", newline="") as file:
            yield file


def _values(file: TextIO, path: Path) -> Iterator[_Found]:
    """Each row's fields by their plain names, with its line."""
    n_blank = 0
    first = file.readline(_MAX_ROW_CHARS)
    while first and not first.strip():
        n_blank += 1
        first = file.readline(_MAX_ROW_CHARS)
    if first.lstrip()[:1] in {"{", "["}:
        for line, value in _documents(_Text(file, first, n_blank + 1)):
            for fields in _rows_in(value):
                yield line, fields
    elif first:
        for line, fields in _table(chain([first], file), path):
            yield n_blank + line, fields


# --- JSON ---------------------------------------------------------------------------------------


class _Text:
    """A text of any length, and how far it has been read."""

    def __init__(self, file: TextIO, first: str, line: int) -> None:
        self._file = file
        self.ahead, self.at, self.line = first, 0, line

    def more(self) -> bool:
        """Read on, unless there is enough for a row ahead already; whether anything came."""
        if len(self.ahead) - self.at >= _MAX_ROW_CHARS:
            return False
        step = self._file.read(_STEP_CHARS)
        self.ahead, self.at = self.ahead[self.at :] + step, 0
        return bool(step)

    def go(self, to: int) -> None:
        self.line += self.ahead.count("\n", self.at, to)
        self.at = to

    def find(self, wanted: re.Pattern[str]) -> bool:
        """Go to what is wanted, however far ahead."""
        while (found := wanted.search(self.ahead, self.at)) is None:
            self.go(len(self.ahead))
            if not self.more():
                return False
        self.go(found.start())
        return True


_OPENING: Final = re.compile(r"[{\[]")
_LINE_END: Final = re.compile(r"\n|\},")
_no_constant: Final = json.JSONDecoder(parse_float=Decimal, parse_constant=str)


def _documents(text: _Text) -> Iterator[_Found]:
    """Each value with its line, in step with the text: a page of rows, or a single one.

    Of a document that is larger than any row, the rows are read one by one.
    """
    while text.find(_OPENING):
        line = text.line
        try:
            value, end = _no_constant.raw_decode(text.ahead, text.at)
        except (ValueError, RecursionError) as error:
            if text.more():
                continue
            if holder := _HOLDER.match(text.ahead, text.at):
                text.go(holder.end())
                continue
            yield line, f"no JSON: {error}"
            text.go(text.at + 1)
            text.find(_LINE_END)
        else:
            yield line, value
            text.go(end)


def _rows_in(value: Any, n_nested: int = 0) -> Iterator[Any]:
    """The rows that a value holds: an answer of the API, an array, or a row itself."""
    if isinstance(value, list) and n_nested < _MAX_NESTED:
        for one in value:
            yield from _rows_in(one, n_nested + 1)
    elif isinstance(value, dict) and n_nested < _MAX_NESTED:
        held = (value.get(name) for name in _HOLDERS)
        inside = next((one for one in held if isinstance(one, dict | list)), None)
        if inside is not None:
            yield from _rows_in(inside, n_nested + 1)
        else:
            yield {_plain(name): of for name, of in value.items()}
    else:
        yield value if isinstance(value, str) else "no object"


# --- CSV and TSV --------------------------------------------------------------------------------


def _table(lines: Iterable[str], path: Path) -> Iterator[_Found]:
    """The rows of a table, by the plain names of its columns."""
    lines = iter(lines)
    header = next(lines)
    delimiter = max("\t;,", key=header.count)
    reader = csv.reader(chain([header], lines), delimiter=delimiter)
    columns = [_plain(name) for name in next(reader)]
    if not {"quota", *_USD} & set(columns):
        told = ", ".join(printable(name, 40) for name in columns[:10])
        raise UsageError(
            f"{path} is no usage log: no column is named quota, cost, usd or amount ({told})"
        )
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield reader.line_num, f"no row of a table: {error}"
            continue
        if cells is None:
            return
        if len(cells) > len(columns):
            told = f"{len(cells)} cells, and the header names {len(columns)} columns"
            yield reader.line_num, told
        elif any(cells):
            yield reader.line_num, dict(zip(columns, cells, strict=False))


# --- one row ------------------------------------------------------------------------------------


@lru_cache(1000)
def _plain(name: str) -> str:
    """`Request ID`, `request_id`, `requestId`: all the same."""
    return _NAME.sub("", name).lower()


def _row(fields: Any, number: int, where: str) -> AnyRow:
    if isinstance(fields, str):
        return Odd(number, printable(f"{where}: {fields}"))
    try:
        kind = _kind(fields.get("type"))
        if kind in _NO_CALLS:
            return Besides(number)
        return Row(
            number,
            _word(fields, _ID),
            _nano_usd(fields, kind),
            _at_s(_first(fields, _AT)),
            _word(fields, _MODEL),
        )
    except (ValueError, OverflowError, DecimalException) as error:
        return Odd(number, printable(f"{where}: {error}"))


def _first(fields: Mapping[str, Any], names: Iterable[str]) -> Any:
    """The first of some names that has a value."""
    for name in names:
        value = fields.get(name)
        if value is not None and value != "":
            return value
    return None


def _word(fields: Mapping[str, Any], names: Iterable[str]) -> str | None:
    value = _first(fields, names)
    return str(value).strip() or None if isinstance(value, str | int) else None


def _kind(value: Any) -> int:
    """What a row is about; whatever is not known to be no call is one, so that no money is lost."""
    text = str(value).strip().lower()
    return int(text) if text.isdecimal() else _KINDS.get(_plain(text), 0)


def _nano_usd(fields: Mapping[str, Any], kind: int) -> int:
    quota, usd = _first(fields, ("quota",)), _first(fields, _USD)
    if quota is not None:
        amount = _number(quota) / _QUOTA_PER_USD
    elif usd is not None:
        amount = _number(usd)
    elif kind == _ERROR:
        amount = Decimal(0)
    else:
        raise ValueError("neither quota nor cost")
    if abs(amount) > MAX_USD:
        raise ValueError(f"{amount:.6g} USD are no price of a call")
    nano_usd = int((amount * NANO).to_integral_value())
    return -abs(nano_usd) if kind == _REFUND else nano_usd


def _number(value: Any) -> Decimal:
    """A number, also as a text, with a currency sign before it or commas between its thousands.

    Other commas are no number: who knows whether `0,138` is less than a dollar?
    """
    text = str(value).strip().lower().removeprefix("$").removeprefix("us$").removesuffix("usd")
    text = text.strip()
    try:
        number = Decimal(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
    except DecimalException as error:
        raise ValueError(f"{str(value)[:40]!r} is no number") from error
    if not number.is_finite():
        raise ValueError(f"{str(value)[:40]!r} is no number")
    return number


def _at_s(value: Any) -> int | None:
    """Unix seconds, of seconds, milliseconds or an ISO stamp; None for what is no time.

    A stamp without a zone is taken for UTC.
    """
    text = str(value).strip()
    try:
        number = Decimal(text)
    except DecimalException:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            return None
        at_s = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
        return at_s if at_s > 0 else None
    if not number.is_finite() or not 0 < number < _MAX_SECONDS * 1000:
        return None
    return int(number if number < _MAX_SECONDS else number / 1000)
