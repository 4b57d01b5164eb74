"""Lines of other tools' batch files as items of ours, so that such a file runs as it stands.

    Gemini  {"key": "a", "request": {"contents": […]}}
    OpenAI  {"custom_id": "a", "method": "POST", "url": …, "body": {"contents": […]}}
    Vertex  {"request": {"contents": […], "labels": {…}}}

Source: docs/api-notes.md, section 7.
"""

import unicodedata
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from batchgen.manifest.fields import MAX_ID_CHARS, NOT_IN_ID, nearest_word
from batchgen.model import Item

_ID_NAMES: Final = ("key", "custom_id", "id")
# What may stand beside a request.
_BESIDE: Final = ("id", "model", "tags", "count", "copy", "request")
# Members of a line that say nothing of the request.
_ASIDE: Final = frozenset({"key", "custom_id", "method", "url", "body", "metadata"})


def is_batch_line(written: Any) -> bool:
    """Whether a line holds a whole request."""
    return isinstance(written, dict) and (
        "request" in written or isinstance(written.get("body"), dict)
    )


def as_item(written: Mapping[str, Any], number: int, fields: Collection[str]) -> dict[str, Any]:
    """The same as an item.

    Its id is `key`, `custom_id` or `id`, with `_` for what an id may not hold; the original is then
    kept as the tag `key`. A line that names none is `line-N`. Columns of its own, as Vertex lets
    a line have, become tags; a list or a mapping among them says nothing to us.

    Args:
        written: A line for which `is_batch_line` holds.
        number: Of the line in its file, from 1.
        fields: What an item may have; what is like one that may stand here is left, to be told.
    """
    named = next((written[name] for name in _ID_NAMES if _is_name(written.get(name))), None)
    original = f"line-{number}" if named is None else str(named)
    identity = _id_of(original)
    item = {name: value for name, value in written.items() if name not in _ASIDE}
    columns = {
        name: item.pop(name)
        for name in list(item)
        if name not in fields and nearest_word(name, _BESIDE) is None
    }
    item.setdefault("request", written.get("body"))
    item["id"] = identity
    if identity != original and isinstance(tags := item.get("tags") or {}, dict):
        item["tags"] = {**tags, "key": original}
    if columns and isinstance(tags := item.get("tags") or {}, dict):
        item["tags"] = {**_as_tags(columns), **tags}
    return item


def _as_tags(columns: Mapping[str, Any]) -> dict[str, str]:
    plain = {name: one for name, one in columns.items() if isinstance(one, str | int | float)}
    return {
        name: one if isinstance(one, str) else msgspec.json.encode(one).decode()
        for name, one in plain.items()
    }


def written_key(item: Item) -> str:
    """What an item was called in the batch file that it came from; else its id."""
    original = item.tags.get("key")
    is_original = original is not None and item.request is not None and _id_of(original) == item.id
    return original if original is not None and is_original else item.id


def _id_of(original: str) -> str:
    return NOT_IN_ID.sub("_", unicodedata.normalize("NFC", original))[:MAX_ID_CHARS]


def _is_name(value: Any) -> bool:
    return (isinstance(value, str) and bool(value)) or type(value) is int
