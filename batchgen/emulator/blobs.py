"""The base64 strings of a request: decoded once, named by their hash, never kept in a log."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import pybase64

_URL_SAFE = str.maketrans("-_", "+/")
_CANONICAL = re.compile(r"[A-Za-z0-9+/]*\Z")


@dataclass(frozen=True)
class Blob:
    """One inlineData.data string. `content` is None if it is not base64."""

    content: bytes | None
    sha256: str
    n_bytes: int


def decode(data: str) -> bytes | None:
    """The bytes, or None. Both alphabets and missing padding pass, as in protobuf's JSON."""
    bare = data.translate(_URL_SAFE).rstrip("=")
    if not _CANONICAL.match(bare) or len(bare) % 4 == 1:
        return None
    return pybase64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)


def collect(body: object) -> dict[str, Blob]:
    """Every inlineData.data string of a request, decoded."""
    return {data: _blob(data) for data in _strings(body)}


def redacted(body: object, blobs: Mapping[str, Blob]) -> object:
    """The request as it was sent, with a hash and a length in place of each data string."""
    if isinstance(body, dict):
        return {
            name: _named(value["data"], blobs, value)
            if _is_inline_data(name, value)
            else redacted(value, blobs)
            for name, value in body.items()
        }
    if isinstance(body, list):
        return [redacted(value, blobs) for value in body]
    return body


def _named(data: str, blobs: Mapping[str, Blob], inline_data: dict[str, Any]) -> dict[str, Any]:
    blob = blobs[data]
    return {**inline_data, "data": {"sha256": blob.sha256, "bytes": blob.n_bytes}}


def _blob(data: str) -> Blob:
    content = decode(data)
    raw = data.encode("utf-8", "surrogatepass") if content is None else content
    return Blob(content, sha256(raw).hexdigest(), len(raw))


def _strings(body: object) -> Iterator[str]:
    if isinstance(body, dict):
        for name, value in body.items():
            if _is_inline_data(name, value):
                yield value["data"]
            else:
                yield from _strings(value)
    elif isinstance(body, list):
        for value in body:
            yield from _strings(value)


def _is_inline_data(name: object, value: Any) -> bool:
    return (
        name in {"inlineData", "inline_data"}
        and isinstance(value, dict)
        and isinstance(value.get("data"), str)
    )
