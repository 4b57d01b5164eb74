"""What may be shown: secrets taken out by value, text made fit for a terminal and a log line."""

import json
import re
from collections.abc import Iterable

_REDACTED = "[key]"
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class Secrets:
    """The values that must not leave the process, and the way to take them out of a text.

    Redaction is by value, not by field name: a service quotes keys back in places that nobody
    listed. `repr()` never shows them.
    """

    def __init__(self, values: Iterable[str]) -> None:
        """Keep the non-empty values, longest first, so that none leaves a rest behind."""
        given = {value for value in values if value}
        # A quote or a backslash in a key looks different inside JSON.
        written = given | {json.dumps(value)[1:-1] for value in given}
        self._values = sorted(written, key=len, reverse=True)
        self._encoded = [value.encode() for value in self._values]

    def redact(self, text: str) -> str:
        """Replace every secret in a text."""
        for value in self._values:
            text = text.replace(value, _REDACTED)
        return text

    def redact_bytes(self, data: bytes) -> bytes:
        """Replace every secret in encoded text; what is clean comes back as the same object."""
        for value in self._encoded:
            if value in data:
                data = data.replace(value, _REDACTED.encode())
        return data

    def are_in(self, data: bytes) -> bool:
        """Whether encoded text holds any of them."""
        return any(value in data for value in self._encoded)

    def __repr__(self) -> str:
        """Say how many there are and nothing else."""
        return f"<{type(self).__name__} of {len(self._values)}>"


def printable(text: str, max_chars: int = 300) -> str:
    """Make text from outside safe to print on one line.

    Control codes, line breaks and direction overrides become a space, a lone surrogate becomes
    U+FFFD, and what is longer than `max_chars` ends in an ellipsis.
    """
    text = _SURROGATE.sub("\ufffd", text[: max_chars * 4])
    text = _UNSAFE.sub(" ", text).strip()
    return text if len(text) <= max_chars else text[: max_chars - 1].rstrip() + "…"
