"""File names from ids: readable, the same on every system, and never outside the directory."""

import hashlib
import re
import unicodedata

MAX_NAME_BYTES = 180
# What is its own name on every system: no name of a device has so many characters.
_PLAIN = re.compile(r"[A-Za-z0-9_-]{5,180}")
_BETWEEN_DIGITS = re.compile(r"(?<=[0-9]):(?=[0-9])")
# What some system refuses, a terminal obeys, or turns round the words around it.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069<>:"/\\|?*]')
_DEVICE = re.compile(r"^(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?=\.|$)", re.IGNORECASE)


def file_stem(text: str) -> str:
    """Turn an id (or a value put into an output name) into one safe path component.

    `:` becomes `x` between digits (so `16:9` stays legible), else `_`; leading and trailing dots
    and spaces and Windows device names get a `_`; a name over 180 bytes of UTF-8 is cut at a
    character and ends in `~` and the first 8 hex digits of the SHA-256 of the whole text.
    """
    if _PLAIN.fullmatch(text):
        return text
    text = unicodedata.normalize("NFC", text)
    name = _UNSAFE.sub("_", _BETWEEN_DIGITS.sub("x", text))
    name = re.sub(r"^[. ]", "_", name)
    name = re.sub(r"[. ]$", "_", name)
    if _DEVICE.match(name):
        name = "_" + name
    if len(name.encode()) > MAX_NAME_BYTES:
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        head = name.encode()[: MAX_NAME_BYTES - 9].decode("utf-8", "ignore")
        name = f"{head}~{digest}"
    return name or "_"


def collision_key(name: str) -> str:
    """What two names share when a case-insensitive, normalising disk takes them for one."""
    folded = unicodedata.normalize("NFC", name).casefold()
    return unicodedata.normalize("NFC", folded)
