"""Data on stdout, everything else on stderr; a reader that has gone is no error.

What was done is done, and the exit code tells of it.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TextIO

import click


def print_json(value: Any) -> None:
    """Print one JSON object on one line of stdout."""
    import msgspec

    print_text(msgspec.json.encode(value).decode() + "\n")


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


@dataclass
class _Reader:
    """Whoever reads what is printed."""

    is_gone: bool = False


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


def say(line: str) -> None:
    """Print a line on stderr."""
    try:
        click.echo(line, err=True)
    except OSError:
        _lead_nowhere(sys.stderr)


def _lead_nowhere(stream: TextIO) -> None:
    """Let the rest go nowhere, which Python would otherwise try to write when it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
