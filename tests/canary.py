"""A key that is easy to find again, the ways in which a service may quote it, and the search.

The search undoes encodings with the standard library and nothing of the product. It finds parts of
the key as well: fourteen characters in a row of it, or of its base64, are a hit.
"""

import base64
import gzip
import html
import json
import re
import secrets
import string
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

PART_CHARS = 12
STEP_CHARS = 3
# What looks different in a URL, in JSON as some write it, or in HTML, and may be in a header.
SPECIAL = "+/=&<%'"


def new_key() -> str:
    """A key that no run had before."""
    word = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(20))
    return f"sk-CANARY{SPECIAL}{word[:10]}%41-{word[10:]}"


@dataclass(frozen=True)
class Canary:
    """A key, and what to look for."""

    key: str = field(default_factory=new_key)

    def spellings(self) -> dict[str, str]:
        """How a service may write it, each fit to stand in a JSON string."""
        key = self.key
        escaped = "".join(f"\\u{ord(ch):04x}" for ch in key)
        return {
            "as it is": key,
            "spelt out": escaped,
            "as Go writes JSON": re.sub("[&<]", lambda ch: f"\\u{ord(ch[0]):04x}", key),
            "with escaped slashes": key.replace("/", "\\/"),
            "in JSON in a string": escaped.replace("\\", "\\\\"),
            "in a URL": quote(key, safe=""),
            "in a URL, in small letters": quote(key, safe="").lower(),
            "in a URL in a URL": quote(quote(key, safe=""), safe=""),
            "every character in a URL": "".join(f"%{ord(ch):02X}" for ch in key),
            "in HTML": html.escape(key),
            "in numbers of HTML": "".join(f"&#{ord(ch)};" for ch in key),
            "in hexadecimal numbers of HTML": "".join(f"&#x{ord(ch):X};" for ch in key),
            "in HTML in HTML": html.escape(html.escape(key)),
            "in capitals": key.upper(),
            "in small letters": key.lower(),
            "in two lines": f"{key[:9]}\\n{key[9:]}",
            "in UTF-16": "".join(f"{ch}\\u0000" for ch in key),
            **{f"in base64 after {n}": self._base64(n).decode() for n in range(3)},
            **{f"in base64 for URLs after {n}": self._for_urls(n).decode() for n in range(3)},
        }

    def _base64(self, n_before: int) -> bytes:
        return base64.b64encode(b"xyz"[:n_before] + self.key.encode() + b"z")

    def _for_urls(self, n_before: int) -> bytes:
        return self._base64(n_before).translate(bytes.maketrans(b"+/", b"-_"))

    @cached_property
    def parts(self) -> set[bytes]:
        """What must not be found, in small letters."""
        plain = self.key.encode()
        whole = [plain, plain[::-1], unquote_to_bytes(plain)]
        for n in range(3):
            whole += [encoded(n)[4:-6] for encoded in (self._base64, self._for_urls)]
        return {
            text[at : at + PART_CHARS].lower()
            for text in whole
            for at in range(0, len(text) - PART_CHARS + 1, STEP_CHARS)
        }

    def found_in(self, data: bytes | str) -> list[bytes]:
        """What of it is in a text, however it is written."""
        data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        return sorted({part for view in _views(data) for part in self._found(view.lower())})

    def _found(self, view: bytes) -> Iterator[bytes]:
        return (part for part in self.parts if part in view)

    def found_below(self, directory: Path, *, but: str | None = None) -> dict[str, list[bytes]]:
        """What of it is in the files of a directory, and in their names; `but` is left out."""
        found = {}
        for path in directory.rglob("*"):
            named = str(path.relative_to(directory))
            if hits := self.found_in(named):
                found[f"name {named}"] = hits
            if path.is_file() and not (but and path.match(but)):
                hits = self.found_in(path.read_bytes())
                if hits:
                    found[named] = hits
        return found


def _views(data: bytes) -> Iterator[bytes]:
    """A text as it is, and with what may be undone undone: each alone, then one after the other."""
    yield data
    for undo in (_json, unquote_to_bytes, _html, _together):
        yield undo(data)
    yield _together(_json(data))
    yield _together(_html(unquote_to_bytes(unquote_to_bytes(_json(data)))))
    for at in (found.start() for found in re.finditer(rb"\x1f\x8b\x08", data)):
        try:
            yield zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data[at:])
        except zlib.error:
            continue


def _json(data: bytes) -> bytes:
    undone = re.sub(rb"\\+u00([0-9a-fA-F]{2})", lambda hex_: bytes.fromhex(hex_[1].decode()), data)
    return re.sub(rb"\\+/", b"/", re.sub(rb"\\+[nr]", b"\n", undone))


def _html(data: bytes) -> bytes:
    text = html.unescape(html.unescape(data.decode("utf-8", "replace")))
    return text.encode("utf-8", "surrogatepass")


def _together(data: bytes) -> bytes:
    return data.translate(None, b"\0\r\n")


# --- putting it into answers ----------------------------------------------------------------------

_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(?!\s*:)', re.DOTALL)
_OBJECT = re.compile(r"\{(\s*\})?")
_MOST_BYTES = 200_000
_LONGEST_CHARS = 1000  # longer strings are pictures


def put_into(answer: bytes, written: str) -> bytes:
    """An answer of a server with the key in its headers, its objects and its texts."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"HTTP/"):
        return answer.replace(b"\r\n", f" {written}\r\n".encode())
    if b"chunked" not in head:
        is_zipped = b"Content-Encoding: gzip" in head
        longer = _in_gzip(body, written) if is_zipped else _in_body(body, written)
        head = re.sub(
            rb"Content-Length: ([0-9]+)",
            lambda told: b"Content-Length: %d" % (int(told[1]) + len(longer) - len(body)),
            head,
        )
        body = longer
    first, _, rest = head.partition(b"\r\n")
    as_header = json.loads(f'"{written}"').translate({0: None, 10: None})
    quoting = "".join(
        f"\r\n{name}: {as_header}" for name in ("x-request-id", "cf-ray", "Location", "x-echo")
    )
    return first + quoting.encode() + (b"\r\n" if rest else b"") + rest + blank + body


def _in_gzip(body: bytes, written: str) -> bytes:
    try:
        plain = gzip.decompress(body)
        return body if len(plain) > _MOST_BYTES else gzip.compress(_in_body(plain, written))
    except (OSError, EOFError, zlib.error):
        return body


def _in_body(body: bytes, written: str) -> bytes:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body
    if "{" not in text:
        return body + f" {written}".encode()

    def in_string(found: re.Match[str]) -> str:
        is_word = re.fullmatch("[A-Z_0-9]*", found[1])  # such as a status, which others read
        if is_word or len(found[1]) > _LONGEST_CHARS or found[1].startswith("image/"):
            return found[0]
        return f'"{found[1]} {written}"'

    text = _STRING.sub(in_string, text)
    return _OBJECT.sub(
        lambda found: f'{{"echo": "{written}"' + ("}" if found[1] else ", "), text
    ).encode()
