"""Base64 as services really send it, decoded a piece at a time."""

import binascii
import re

import pybase64

_SOUND = re.compile(rb"[A-Za-z0-9+/]*")
_CLEAN = bytes.maketrans(b"-_", b"+/")
_WHITESPACE = b" \t\r\n\v\f"
_DATA = b"data:"
_MAX_PREFIX_CHARS = 256


class Base64Error(ValueError):
    """The text is not base64; what was decoded before it stands.

    Attributes:
        decoded: What of the last piece stands before the fault.
    """

    def __init__(self, what: str, decoded: bytes = b"") -> None:
        """Keep what is wrong, and what was right before it."""
        super().__init__(what)
        self.decoded = decoded


class Base64Stream:
    """Decode base64 whose pieces may be cut anywhere.

    Standard and url-safe alphabets, missing padding, white space and a `data:…;base64,` prefix
    are all taken, because each has been seen around an image that was paid for. Anything else
    raises `Base64Error`.

    Cost: one pass over plain standard base64; a second one over a piece that is not plain.
    """

    def __init__(self) -> None:
        """Start before the first character."""
        self._rest = b""
        self._ended = False
        self._prefix: bytes | None = b""

    def feed(self, text: bytes) -> bytes:
        """Decode as much as is whole; up to three characters wait for the next piece."""
        if self._prefix is not None:
            text = self._without_prefix(text)
        if self._rest:
            text = self._rest + text
        whole = len(text) & ~3
        view = memoryview(text)
        try:
            if self._ended:
                return self._tail(text)
            decoded = pybase64.b64decode(view[:whole], validate=True)
        except (binascii.Error, ValueError):
            return self._feed_unclean(text)
        self._rest = bytes(view[whole:])
        self._ended = whole > 0 and text[whole - 1 : whole] == b"="
        return decoded

    def close(self) -> bytes:
        """Decode what is left, padded if the sender did not pad; raise if a character is over."""
        prefix, self._prefix = self._prefix, None
        head = self.feed(prefix) if prefix else b""
        rest = self._rest.translate(_CLEAN, _WHITESPACE).rstrip(b"=")
        if self._ended or not rest:
            if rest:
                raise Base64Error("characters after the padding")
            return head
        if len(rest) == 1:
            raise Base64Error("one character too many")
        return head + self._decode(rest + b"=" * (4 - len(rest)))

    def _feed_unclean(self, text: bytes) -> bytes:
        """Take the piece again with white space and the other alphabet put right."""
        text = text.translate(_CLEAN, _WHITESPACE)
        stripped = text.rstrip(b"=")
        if self._ended or (len(stripped) < len(text) and len(stripped) & 3):
            return self._padded_tail(stripped)
        whole = len(stripped) & ~3
        decoded = self._decode(stripped[:whole])
        self._rest = stripped[whole:]
        self._ended = len(stripped) < len(text) or stripped[:whole].endswith(b"=")
        return decoded

    def _padded_tail(self, stripped: bytes) -> bytes:
        if self._ended:
            return self._tail(stripped)
        if len(stripped) & 3 == 1:
            raise Base64Error("one character too many")
        decoded = self._decode(stripped + b"=" * (-len(stripped) % 4))
        self._rest, self._ended = b"", True
        return decoded

    def _tail(self, text: bytes) -> bytes:
        """After the padding nothing but more padding and white space may come."""
        if text.strip(_WHITESPACE + b"="):
            raise Base64Error("characters after the padding")
        self._rest = b""
        return b""

    def _without_prefix(self, text: bytes) -> bytes:
        """Drop a `data:` prefix, which may itself arrive in pieces."""
        text = ((self._prefix or b"") + text).lstrip(_WHITESPACE)
        start = text[: len(_DATA)].lower()
        if start != _DATA[: len(start)]:
            self._prefix = None
            return text
        comma = text.find(b",", 0, _MAX_PREFIX_CHARS)
        if comma >= 0 and start == _DATA:
            self._prefix = None
            return text[comma + 1 :]
        if len(text) >= _MAX_PREFIX_CHARS:
            self._prefix = None
            raise Base64Error("a data: prefix without an end")
        self._prefix = text
        return b""

    @staticmethod
    def _decode(text: bytes) -> bytes:
        try:
            return pybase64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            sound = _SOUND.match(text)
            whole = (sound.end() if sound else 0) & ~3
            decoded = pybase64.b64decode(text[:whole], validate=True)
            raise Base64Error("a character outside the alphabet", decoded) from error
