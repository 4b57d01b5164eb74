"""What may be shown: secrets taken out by value, text made fit for a terminal and a log line.

A service quotes a key back as it stands, or inside a URL, JSON, HTML or base64, or spread over two
lines. So a text is searched twice: as it is written, and as it is meant.
"""

import mmap
import re
from binascii import b2a_base64
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

_REDACTED: Final = "[key]"
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")

# A character as URLs, JSON and HTML write it, several times over if need be; and what stands
# between the characters of a text in UTF-16, or of one that is spread over lines.
_WRITTEN: Final = re.compile(
    rb"%(?:25)*(?P<url>[0-9a-f]{2})"
    rb"|\\\\*(?:u00(?P<json>[0-9a-f]{2})|(?P<slash>/)|[nr]|(?P<back>))"
    rb"|&(?:amp;)*(?:#0*(?P<decimal>[0-9]{1,3})|#x0*(?P<hex>[0-9a-f]{1,2})"
    rb"|(?P<name>amp|lt|gt|quot|apos));"
    rb"|[\0\r\n]+",
    re.IGNORECASE,
)
# What these begin with, as one byte: to find that is many times quicker than to try them all.
_MARK: Final = b"%"
_TO_MARKS: Final = bytes.maketrans(b"%\\&\0\r\n", _MARK * 6)
_NAMED: Final = {b"amp": b"&", b"lt": b"<", b"gt": b">", b"quot": b'"', b"apos": b"'"}
# Less of base64 than this may be anything.
_MIN_BASE64_CHARS: Final = 10
_STEP_BYTES: Final = 1 << 20
# A JSON escape that has begun: what is cut out begins before it, so that a text stays JSON.
_BEGUN_ESCAPE: Final = re.compile(rb"(?<!\\)(?:\\\\)*(\\(?:u[0-9a-fA-F]{0,3})?)\Z")
_ESCAPE_BYTES: Final = 64
_TO_URL_ALPHABET: Final = bytes.maketrans(b"+/", b"-_")

_Span: TypeAlias = tuple[int, int]


class Hidden(str):
    """A secret text whose `repr()` does not show it, in a traceback or in what a library prints."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Say that there is one."""
        return f"'{_REDACTED}'"


class Secrets:
    """The values that must not leave the process, and the way to take them out of a text.

    Redaction is by value, not by field name: a service quotes keys back in places that nobody
    listed. Capitals or not makes no difference, as some of what it says is written in capitals.
    `repr()` never shows them.
    """

    __slots__ = ("_needles", "_values")

    def __init__(self, values: Iterable[str]) -> None:
        """Keep the non-empty values in each of their spellings, in lower case."""
        self._values = frozenset(Hidden(value) for value in values if value)
        found = {spelling for value in self._values for spelling in _spellings(value)}
        self._needles = tuple(found - {b""})

    def redact(self, text: str) -> str:
        """Replace every secret in a text; what is clean comes back as the same object."""
        data = text.encode("utf-8", "surrogatepass")
        redacted = self.redact_bytes(data)
        return text if redacted is data else redacted.decode("utf-8", "surrogatepass")

    def redact_bytes(self, data: bytes) -> bytes:
        """Replace every secret in encoded text; what is clean comes back as the same object."""
        if not self._needles:
            return data
        if spans := _merged(self._places(data)):
            data = _without(data, spans)
        meant, where = _meaning(data)
        spans = _merged(self._places(meant)) if meant is not data else []
        if spans:
            data = _without(data, [(where(start), where(end)) for start, end in spans])
        return data

    def mask(self, path: Path) -> bool:
        """Write over every secret in a file, byte for byte; whether there was any.

        It is for what came as a picture and cannot be taken for one: nothing is moved in it.
        """
        longest = max(map(len, self._needles), default=0)
        found = False
        if not longest or not path.stat().st_size:
            return found
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
            for begins in range(0, len(data), _STEP_BYTES):
                window = data[begins : begins + _STEP_BYTES + longest]
                for start, end in _merged(self._places(window)):
                    data[begins + start : begins + end] = b"*" * (end - start)
                    found = True
            if found:
                data.flush()
        return found

    def scrub(self, error: BaseException) -> None:
        """Take every secret out of the words of an exception, and of those behind it."""
        known: set[int] = set()
        left: list[BaseException | None] = [error]
        while left:
            one = left.pop()
            if one is None or id(one) in known:
                continue
            known.add(id(one))
            one.args = tuple(map(self._shown, one.args))
            left += [one.__cause__, one.__context__]
            left += one.exceptions if isinstance(one, BaseExceptionGroup) else ()

    def _shown(self, value: object) -> object:
        """A value that may be printed; where a secret is inside of it, it becomes a text."""
        if isinstance(value, str):
            return self.redact(value)
        written = repr(value)
        redacted = self.redact(written)
        return value if redacted is written else redacted

    def _places(self, data: bytes) -> Iterator[_Span]:
        """Where any of them stands."""
        lower = data.lower()
        for needle in [needle for needle in self._needles if needle in lower]:
            at = lower.find(needle)
            while at >= 0:
                yield at, at + len(needle)
                at = lower.find(needle, at + 1)

    def are_in(self, data: bytes) -> bool:
        """Whether encoded text holds any of them.

        Cost: a microsecond for a short line, for there are millions.
        """
        lower = data.lower()
        if any(map(lower.__contains__, self._needles)):
            return True
        return bool(self._needles) and _has_marks(data) and self.redact_bytes(data) is not data

    def __repr__(self) -> str:
        """Say how many there are and nothing else."""
        return f"<{type(self).__name__} of {len(self._values)}>"


def _spellings(value: str) -> Iterator[bytes]:
    """How a secret may be written, in lower case: itself, in JSON, undone, in base64."""
    import json  # noqa: PLC0415 - `printable` is wanted where there is no secret, and no JSON

    plain = value.encode("utf-8", "surrogatepass")
    quoted = json.dumps(value)[1:-1].encode()  # a quote or a backslash looks different there
    for spelling in (plain, quoted, _meaning(plain)[0], plain.hex().encode()):
        yield spelling.lower()
    for n_before in range(3):
        encoded = b2a_base64(bytes(n_before) + plain, newline=False)
        # Without the characters that hold bits of what stands before and after it.
        core = encoded[-(-n_before * 4 // 3) : (n_before + len(plain)) * 4 // 3]
        if len(core) >= _MIN_BASE64_CHARS:
            yield core.lower()
            yield core.translate(_TO_URL_ALPHABET).lower()


def _meaning(data: bytes) -> tuple[bytes, Callable[[int], int]]:
    """A text with its encoded characters undone, and where in the given one a place of it is.

    Where there is nothing to undo, it is the same object.
    """
    if not _has_marks(data):
        return data, int
    meant = bytearray()
    passed: list[int] = []
    added: list[int] = []
    end = 0
    for written in _encoded(data):
        meant += data[end : written.start()]
        meant += _character(written)
        end = written.end()
        passed.append(len(meant))
        added.append(end - len(meant))

    def where(place: int) -> int:
        n = bisect_right(passed, place)
        return place + (added[n - 1] if n else 0)

    return (bytes(meant + data[end:]) if passed else data), where


def _has_marks(data: bytes) -> bool:
    """Whether there may be anything to undo."""
    return _MARK in data.translate(_TO_MARKS)


def _encoded(data: bytes) -> Iterator[re.Match[bytes]]:
    """Find what there is to undo.

    A quote with a backslash before it is not among it: JSON is full of them, and a secret with a
    quote is looked for in that spelling too.
    """
    marked = data.replace(b'\\"', b'""').translate(_TO_MARKS)
    at = marked.find(_MARK)
    while at >= 0:
        if written := _WRITTEN.match(data, at):
            yield written
        at = marked.find(_MARK, written.end() if written else at + 1)


def _character(written: re.Match[bytes]) -> bytes:
    """What an encoded character is; nothing for what only stands between two."""
    kind = written.lastgroup
    if kind is None:
        return b""
    text = written[kind]
    match kind:
        case "slash":
            return text
        case "back":
            return b"\\"
        case "name":
            return _NAMED[text.lower()]
        case "url":
            return bytes.fromhex(text.decode()).strip(b"\0")
        case _:
            return chr(int(text, 10 if kind == "decimal" else 16)).strip("\0").encode()


def _merged(spans: Iterable[_Span]) -> list[_Span]:
    """The same places in order, those that overlap as one."""
    merged: list[_Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _without(data: bytes, spans: Iterable[_Span]) -> bytes:
    """The text with a word in place of each span."""
    kept, at = bytearray(), 0
    for start, end in spans:
        begun = _BEGUN_ESCAPE.search(data[max(at, start - _ESCAPE_BYTES) : start])
        kept += data[at : start - len(begun[1]) if begun else start]
        kept += _REDACTED.encode()
        at = end
    return bytes(kept + data[at:])


def paired(text: str) -> str:
    """A text that UTF-8 can hold: a lone surrogate, as of a file's odd name, becomes U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def printable(text: str, max_chars: int = 300) -> str:
    """Make text from outside safe to print on one line.

    Control codes, line breaks and direction overrides become a space, a lone surrogate becomes
    U+FFFD, and what is longer than `max_chars` ends in an ellipsis.
    """
    text = _UNSAFE.sub(" ", paired(text[: max_chars * 4])).strip()
    return text if len(text) <= max_chars else text[: max_chars - 1].rstrip() + "…"
