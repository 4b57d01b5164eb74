"""One line of JSON: its value, or why it cannot be read and where."""

import json
import re
from collections.abc import Iterator
from functools import partial
from io import BufferedReader
from typing import Any, Final

import msgspec

from batchgen.manifest.fields import NO_UTF8, is_encodable
from batchgen.manifest.nodes import Place, YamlError, compose, is_deeper
from batchgen.manifest.origins import as_yaml

BOM: Final = b"\xef\xbb\xbf"
MAX_LINE_BYTES: Final = 64 << 20
TOO_LONG: Final = "a line of more than 64 MiB"
TOO_DEEP: Final = "this line is nested too deeply"

_JSON_PLACE: Final = re.compile(r"\(byte (\d+)\)")


class DuplicateKeyError(ValueError):
    """An object has a name twice, of which JSON readers take one or the other."""


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its members.

    Raises:
        DuplicateKeyError: A name is there twice.
    """
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DuplicateKeyError
    return members


# msgspec takes the last of two equal names without a word: a second reading looks for them.
_names = json.JSONDecoder(object_pairs_hook=once, parse_int=str, parse_float=str)


def lines_of(file: BufferedReader) -> Iterator[bytes]:
    """The lines of a file; one that is longer than `MAX_LINE_BYTES` comes cut behind that."""
    return iter(partial(file.readline, MAX_LINE_BYTES + 1), b"")


def skip_line(file: BufferedReader, begun: bytes) -> None:
    """Go to the end of a line that came cut."""
    while begun and not begun.endswith(b"\n"):
        begun = file.readline(MAX_LINE_BYTES)


def decoded(line: bytes) -> Any:
    """The line's value, or the error that kept it from being read."""
    try:
        value = msgspec.json.decode(line)
        _names.decode(line.decode())
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return error
    return RecursionError() if is_deeper(value) else value


def problem(error: Exception, line: bytes, number: int) -> tuple[Place, str]:
    """Where and why a line cannot be read.

    Args:
        error: What `decoded` returned.
        line: What it was given.
        number: Of the line in its file, from 1.
    """
    found = _JSON_PLACE.search(str(error))
    at = int(found.group(1)) if found else 0
    place = Place(number, len(line[:at].decode("utf-8", "replace")) + 1)
    match error:
        case UnicodeDecodeError():
            return Place(number, _column_of_bad_byte(line)), NO_UTF8
        case RecursionError():
            return place, TOO_DEEP
        case DuplicateKeyError():
            return duplicate(line, number)
        case _ if _has_half_a_character(line):
            return place, "it holds half a character (a lone surrogate)"
        case _ if "truncated" in str(error):
            end = len(line.rstrip().decode("utf-8", "replace")) + 1
            return Place(number, end), "this line is no JSON: it ends too early"
        case _:
            return place, f"this line is no JSON: {_JSON_PLACE.sub('', str(error)).strip()}"


def _column_of_bad_byte(line: bytes) -> int:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return len(line[: error.start].decode()) + 1
    return 1


def _has_half_a_character(line: bytes) -> bool:
    try:
        return not is_encodable(json.dumps(json.loads(line), ensure_ascii=False))
    except (ValueError, RecursionError):
        return False


def duplicate(line: bytes, number: int) -> tuple[Place, str]:
    """Which key it is, and where: YAML's reader knows places."""
    try:
        document = compose(as_yaml(line), first_line=number)
    except YamlError:  # JSON that YAML does not take, such as a key of 1,024 characters
        return Place(number, 1), "duplicate key"
    try:
        document.value()
    except YamlError as error:
        return error.place, error.message
    return Place(number, 1), "duplicate key"
