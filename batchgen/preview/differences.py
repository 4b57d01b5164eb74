"""What makes an item ask for something else than it did, in the words of the job file. Pure.

prompt                                  turns 2: prompt
image_size 1K → 2K                      turns 2 → 3
references 1: other bytes               references 2: item:hero made anew
references 1: another file              references: 1 more
"""

import json
from collections.abc import Container, Iterator, Sequence
from itertools import takewhile
from typing import Any, Final

from batchgen.model import Item, Reference, Turn

_SETTINGS: Final = (
    *("modalities", "aspect_ratio", "image_size", "thinking_level", "include_thoughts"),
    *("google_search", "temperature", "top_p", "top_k", "seed", "store"),
)
_LONG: Final = ("system_instruction", "safety_settings", "extra", "request")  # told by name alone
_MAX_VALUE_CHARS: Final = 40


def differences(before: Item, now: Item, remade: Container[str] = ()) -> Iterator[str]:
    """Say what an item asks for that it did not ask for before, field by field.

    What is in no content key is not compared: ids, tags, names and places of files. Of a reference
    whose bytes are not known, on either side, it is taken that they are what they were.

    Args:
        before: The item as an earlier run had it.
        now: The same as it is now.
        remade: Names of items that have another picture than they had then.
    """
    if (old := before.model.removeprefix("models/")) != (new := now.model.removeprefix("models/")):
        yield _changed("model", old, new)
    yield from _conversation(before.conversation, now.conversation, remade)
    for name in _SETTINGS:
        if (was := getattr(before, name)) != (is_now := getattr(now, name)):
            yield _changed(name, was, is_now)
    yield from (name for name in _LONG if getattr(before, name) != getattr(now, name))
    if _are_scaled_otherwise(before, now):
        yield _changed("reference_max_px", before.reference_max_px, now.reference_max_px)
    if before.copy != now.copy:
        yield "count"


def _changed(name: str, before: Any, now: Any) -> str:
    """`image_size 1K → 2K`; the name alone where a value is long."""
    values = _written(before), _written(now)
    if max(map(len, values)) > _MAX_VALUE_CHARS:
        return name
    return f"{name} {values[0]} → {values[1]}"


def _written(value: Any) -> str:
    match value:
        case None:
            return "unset"
        case str():
            return value
        case tuple():
            return f"[{', '.join(map(str, value))}]"
        case _:
            return json.dumps(value)


def _conversation(
    before: Sequence[Turn], now: Sequence[Turn], remade: Container[str]
) -> Iterator[str]:
    is_single = len(before) <= 1 and len(now) <= 1
    for number, (old, new) in enumerate(zip(before, now, strict=False), 1):
        prefix = "" if is_single else f"turns {number}: "
        if old.prompt != new.prompt:
            yield f"{prefix}prompt"
        for word in _references(old.references, new.references, remade):
            yield prefix + word
    if len(before) != len(now) and min(len(before), len(now)):
        yield _changed("turns", len(before), len(now))
    elif len(before) != len(now):  # a raw request has no turns, and tells so itself
        yield "prompt" if is_single else "turns"


def _references(
    before: Sequence[Reference], now: Sequence[Reference], remade: Container[str]
) -> Iterator[str]:
    """Compare what lies between those, at both ends, that are the same."""
    n_first = _n_same(before, now)
    n_last = _n_same(before[n_first:][::-1], now[n_first:][::-1])
    old = before[n_first : len(before) - n_last]
    new = now[n_first : len(now) - n_last]
    if len(old) > 1 and sorted(map(_identity, old)) == sorted(map(_identity, new)):
        yield "references: order"
    else:
        for number, (was, is_now) in enumerate(zip(old, new, strict=False), n_first + 1):
            yield from (f"references {number}: {word}" for word in _reference(was, is_now))
        if (n_more := len(new) - len(old)) != 0:
            yield f"references: {abs(n_more)} {'more' if n_more > 0 else 'fewer'}"
    for number, reference in enumerate(now, 1):
        if reference.item is not None and reference.item in remade:
            yield f"references {number}: item:{reference.item} made anew"


def _n_same(before: Sequence[Reference], now: Sequence[Reference]) -> int:
    """How many at the beginning are the same."""
    pairs = zip(before, now, strict=False)
    return sum(1 for _ in takewhile(lambda pair: not any(_reference(*pair)), pairs))


def _identity(reference: Reference) -> tuple[str, ...]:
    named = (reference.item, reference.sha256, reference.url, reference.path)
    return (next(name for name in named if name is not None), reference.label or "")


def _reference(before: Reference, now: Reference) -> Iterator[str]:
    """Say what one reference has become, another picture or another label."""
    if before.item is not None or now.item is not None:
        if before.item != now.item:
            yield f"{_kind(before)} → {_kind(now)}"
    elif before.sha256 is None or now.sha256 is None or before.sha256 != now.sha256:
        yield from _bytes(before, now)
    if before.label != now.label:
        yield "another label"


def _bytes(before: Reference, now: Reference) -> Iterator[str]:
    """Say what has become of a picture whose bytes are others, or are not known."""
    if _kind(before) != _kind(now):
        yield f"{_kind(before)} → {_kind(now)}"
    elif before.url != now.url:
        yield "another address"
    elif before.url is None and before.path != now.path:
        yield "another file"
    elif before.sha256 is not None and now.sha256 is not None:
        yield "other bytes"


def _kind(reference: Reference) -> str:
    if reference.item is not None:
        return f"item:{reference.item}"
    return "a file" if reference.url is None else "an address"


def _are_scaled_otherwise(before: Item, now: Item) -> bool:
    """Whether another `reference_max_px` makes another picture of any reference, or may."""
    if before.reference_max_px == now.reference_max_px:
        return False
    return any(
        ref.max_px is not None or ref.item is not None
        for ref in (*before.all_references, *now.all_references)
    )
