"""Data on stdout, everything else on stderr; a reader that has gone is no error.

What was done is done, and the exit code tells of it. What people read is laid out for the terminal
that it goes to, and for 80 columns elsewhere: a mail, a log, a pipe. Colours are for terminals.
"""

import codecs
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TextIO, TypeAlias

import click

if TYPE_CHECKING:
    from batchgen.paper import Paper

Colour: TypeAlias = Literal["red", "green", "yellow"]

_SPELLING: Final = "batchgen.spelling"
_MIN_WIDTH: Final = 40
_A_WIDTH: Final = re.compile("[1-9][0-9]{0,3}")


def prepare() -> None:
    """Let both streams take any text: what their encoding lacks is told by what it has."""
    codecs.register_error(_SPELLING, _spelled)
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors=_SPELLING)


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    from batchgen.paper import substitute

    return "".join(map(substitute, error.object[error.start : error.end])), error.end


def paper(stream: TextIO) -> "Paper":
    """What lines for a stream are laid out for."""
    from batchgen.paper import WIDTH, Paper

    width = (_columns_of(stream) if _is_terminal(stream) else None) or WIDTH
    encoding = getattr(stream, "encoding", None) or "ascii"
    return Paper(max(width, _MIN_WIDTH), encoding)


def _columns_of(stream: TextIO) -> int | None:
    """The width of a terminal, as COLUMNS has it or the terminal itself; None if neither does."""
    if _A_WIDTH.fullmatch(told := os.environ.get("COLUMNS", "")):
        return int(told)
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed
        return False


def paint(line: str, words: str, colour: Colour, stream: TextIO) -> str:
    """The line with the first of these words in a colour, if it goes to a terminal that has some.

    NO_COLOR and TERM=dumb say that none are wanted. Source: https://no-color.org.
    """
    is_wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    if not is_wanted or not _is_terminal(stream):
        return line
    return line.replace(words, click.style(words, fg=colour), 1)


def print_json(value: Any) -> None:
    """Print one JSON object on one line of stdout; JSON is UTF-8, whatever the terminal is."""
    import msgspec

    print_bytes([msgspec.json.encode(value), b"\n"])


def print_text(text: str) -> None:
    """Print text as it stands on stdout.

    Raises:
        StoreError: It goes to a file, and the disk could not take it.
    """
    with _to_a_reader():
        sys.stdout.write(text)
        sys.stdout.flush()


def print_bytes(pieces: Iterable[bytes]) -> None:
    """Print encoded text as it comes on stdout, as long as there is somebody who reads.

    Raises:
        StoreError: It goes to a file, and the disk could not take it.
    """
    for piece in pieces:
        with _to_a_reader() as reader:
            sys.stdout.buffer.write(piece)
        if reader.is_gone:
            return
    with _to_a_reader():
        sys.stdout.buffer.flush()


class _Reader:
    """Whoever reads what is printed."""

    is_gone = False


@contextmanager
def _to_a_reader() -> Iterator[_Reader]:
    """Write to stdout inside; that its reader has gone is told, and no error."""
    reader = _Reader()
    try:
        yield reader
    except BrokenPipeError:
        reader.is_gone = True
        _lead_nowhere(sys.stdout)
    except OSError as error:
        from batchgen.errors import StoreError

        _lead_nowhere(sys.stdout)
        raise StoreError(f"standard output: {error.strerror}; nothing else is lost") from error


def leave_at_once(code: int) -> NoReturn:
    """End the process without waiting for its threads; what was said is said."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
    os._exit(code)


def say(line: str, *, end: str = "\n") -> None:
    """Print a line on stderr."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(line + end)
        sys.stderr.flush()
    except OSError:
        _lead_nowhere(sys.stderr)


def _lead_nowhere(stream: TextIO) -> None:
    """Let the rest go nowhere, which Python would otherwise try to write when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
