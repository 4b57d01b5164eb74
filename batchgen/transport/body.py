"""The body of an answer as it arrives: not too much, not too slow, and undone if compressed."""

import zlib
from collections.abc import Iterator
from typing import Final

from batchgen.errors import BadReply, NoAnswer, TooLarge
from batchgen.timeouts import Timeouts

MAX_ANSWER_BYTES: Final = 512 << 20
_INFLATE_STEP_BYTES: Final = 256 << 10
# A checksum and a length, as gzip has them at its end.
_TRAILER_BYTES: Final = 8


class Rate:
    """Whether an answer that has begun still comes fast enough, by the time it was waited for.

    Judged as bytes arrive: how long there may be none at all is for `timeouts.idle` to say, which
    a job sets.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        """Start with nothing heard."""
        self._least_bytes_s = timeouts.min_rate_bytes_s
        self._over_s = timeouts.min_rate_over_s
        self._has_begun = False
        self._start()

    def _start(self) -> None:
        self._n_bytes = 0
        self._waited_s = 0.0

    def count(self, chunk: bytes, waited_s: float) -> None:
        """Take in a chunk, and how long it was waited for."""
        if not self._has_begun:
            # Gateways keep a connection awake with white space while the image is being made.
            self._has_begun = not chunk.isspace()
            return
        self._n_bytes += len(chunk)
        # One pause alone is no verdict: what follows it may come fast.
        self._waited_s += min(waited_s, self._over_s / 2)
        if self._n_bytes >= self._least_bytes_s * self._over_s:
            self._start()

    def check(self) -> None:
        """Raise NoAnswer, which may be billed, if the least that must come took too long."""
        if self._waited_s >= self._over_s:
            raise NoAnswer(
                f"the answer came at less than {self._least_bytes_s / 1024:g} KiB/s "
                f"for {self._over_s:g} s"
            )


class Inflater:
    """Undo gzip or deflate in bounded steps, and know whether the stream really ended."""

    def __init__(self, window_bits: int) -> None:
        """Set the form, as zlib numbers them."""
        self._stream = zlib.decompressobj(window_bits)

    def __call__(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the pieces that a chunk inflates to, before a checksum at its end is looked at.

        zlib keeps back what it inflated in the step that finds the checksum wrong.
        """
        try:
            for part in (chunk[:-_TRAILER_BYTES], chunk[-_TRAILER_BYTES:]):
                piece = self._stream.decompress(part, _INFLATE_STEP_BYTES)
                while piece:
                    yield piece
                    rest = self._stream.unconsumed_tail
                    piece = self._stream.decompress(rest, _INFLATE_STEP_BYTES)
        except zlib.error as error:
            raise BadReply(f"the compressed answer is damaged ({error})") from error

    def check_end(self) -> None:
        """Raise unless the compressed stream is whole, checksum included."""
        if not self._stream.eof:
            raise BadReply("the compressed answer was cut")


def inflater(encoding: str) -> Inflater | None:
    """What undoes an encoding; None where there is nothing to undo.

    Raises:
        BadReply: Nobody asked for it, and it is none that is known here.
    """
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Inflater(zlib.MAX_WBITS | 16)
        case "deflate":
            return Inflater(zlib.MAX_WBITS)
        case other:
            name = other if other in {"br", "zstd", "compress"} else "an unknown one"
            raise BadReply(f"an answer in a compression that nobody asked for ({name})")


def check_size(n_bytes: int) -> None:
    """Raise TooLarge if an answer is larger than any sane one."""
    if n_bytes > MAX_ANSWER_BYTES:
        raise TooLarge(f"an answer of more than {MAX_ANSWER_BYTES >> 20} MiB", tries=0)
