"""Single lines of a ledger, read again from where they stand."""

import os
import threading
import weakref
from collections import OrderedDict
from pathlib import Path
from typing import Final

import msgspec

from batchgen.errors import StoreError
from batchgen.model import Attempt
from batchgen.store.ledger import Filed, decode_line

_OFFSET_BITS: Final = 40
_OFFSET: Final = (1 << _OFFSET_BITS) - 1
_NOWHERE: Final = 1 << 22  # the segment of lines that are kept in memory
_READ_BYTES: Final = 4096
_MAX_OPEN: Final = 16


class Places:
    """Where lines stand, as numbers in the order of the ledger; may be used from any thread.

    A number says which segment it is, and where in it. Lines that stand in none are kept.
    """

    def __init__(self) -> None:
        """Start with no segment."""
        self._paths: list[Path] = []
        self._numbers: dict[Path, int] = {}
        self._kept: list[Attempt | Filed] = []
        self._latest: tuple[int, Attempt | Filed | None] = (-1, None)
        self._open: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._open)

    def place_in(self, segment: Path, begins: int) -> int:
        """The place of the line that begins so many bytes into a segment.

        Those of a segment are as far apart as the lines are.
        """
        if segment not in self._numbers:
            self._numbers[segment] = len(self._paths)
            self._paths.append(segment)
        return self._numbers[segment] << _OFFSET_BITS | begins

    def keep(self, line: Attempt | Filed) -> int:
        """Keep a line, and name its place."""
        self._kept.append(line)
        return _NOWHERE << _OFFSET_BITS | len(self._kept) - 1

    def note(self, place: int, line: Attempt | Filed) -> None:
        """Have the line that was taken last at hand: it is asked for at once."""
        self._latest = (place, line)

    def read(self, place: int) -> Attempt | Filed:
        """The line at a place.

        Raises:
            StoreError: It is not there any more.
        """
        noted, latest = self._latest
        if noted == place and latest is not None:
            return latest
        number, begins = place >> _OFFSET_BITS, place & _OFFSET
        if number == _NOWHERE:
            return self._kept[begins]
        path = self._paths[number]
        try:
            line = decode_line(self._text(number, begins))
        except OSError as error:
            raise StoreError.of(error, path) from error
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise StoreError(f"{path} was changed by another program: {error}") from error
        if not isinstance(line, Attempt | Filed):
            raise StoreError(f"{path} was changed by another program")
        return line

    def _text(self, number: int, begins: int) -> bytes:
        with self._lock:
            descriptor = self._opened(number)
            text = os.pread(descriptor, _READ_BYTES, begins)
            while (end := text.find(b"\n")) < 0:
                # Grows, as of a line with very long words there is more than one step.
                step = os.pread(descriptor, max(_READ_BYTES, len(text)), begins + len(text))
                if not step:
                    return text
                text += step
        return text[:end]

    def _opened(self, number: int) -> int:
        """A descriptor of a segment; those that were used last stay open."""
        if (descriptor := self._open.get(number)) is None:
            if len(self._open) >= _MAX_OPEN:
                os.close(self._open.popitem(last=False)[1])
            descriptor = os.open(self._paths[number], os.O_RDONLY | os.O_CLOEXEC)
            self._open[number] = descriptor
        self._open.move_to_end(number)
        return descriptor


def _close(descriptors: OrderedDict[int, int]) -> None:
    while descriptors:
        os.close(descriptors.popitem()[1])
