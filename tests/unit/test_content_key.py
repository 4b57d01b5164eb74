"""The content key: what is asked for, and nothing besides. It decides what is paid again."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.model import ASPECT_RATIOS, IMAGE_SIZES, Item, Modality, Reference, content_key

SOME_MODALITIES: list[tuple[Modality, ...] | None] = [None, ("IMAGE",), ("TEXT", "IMAGE")]
DIGESTS = [hashlib.sha256(bytes((n,))).hexdigest() for n in range(4)]


def canonical(value: Any) -> str:
    """Written without the code: sorted keys, no spaces, characters as they are."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


PLAIN = Item(id="a", model="gemini-3-pro-image", prompt="A vase")
FULL = Item(
    id="b",
    model="models/gemini-3-pro-image",
    prompt='Umlaut \u00fc, emoji \U0001f600, "quotes" \\ and\nlines',
    references=(
        Reference(path="/x/1.png", label="Image A:", sha256=DIGESTS[0]),
        Reference(path="/x/2.png", sha256=DIGESTS[1]),
    ),
    modalities=("TEXT", "IMAGE"),
    aspect_ratio="4:5",
    image_size="2K",
    tags={"sku": "A-17"},
)
EMPTY_LABEL = Item(
    id="c",
    model="m",
    prompt="",
    references=(Reference(path="x", label="", sha256=DIGESTS[2]),),
)


@pytest.mark.parametrize(
    ("item", "asked", "pinned"),
    [
        (
            PLAIN,
            {
                "v": 1,
                "model": "gemini-3-pro-image",
                "turns": [{"prompt": "A vase", "references": []}],
                "settings": {},
                "copy": 1,
            },
            "55c1034b8f13d1aded57a7e8193740badbd2e5e873a57170a93f41ec22b00ca7",
        ),
        (
            FULL,
            {
                "v": 1,
                "model": "gemini-3-pro-image",
                "turns": [
                    {
                        "prompt": 'Umlaut \u00fc, emoji \U0001f600, "quotes" \\ and\nlines',
                        "references": [
                            {"sha256": DIGESTS[0], "label": "Image A:"},
                            {"sha256": DIGESTS[1]},
                        ],
                    }
                ],
                "settings": {
                    "modalities": ["TEXT", "IMAGE"],
                    "aspect_ratio": "4:5",
                    "image_size": "2K",
                },
                "copy": 1,
            },
            "bc9748aa8992f93273833cb9c7085dc2557da9cc2d0214f864475f7ed2762c88",
        ),
        (
            EMPTY_LABEL,
            {
                "v": 1,
                "model": "m",
                "turns": [{"prompt": "", "references": [{"sha256": DIGESTS[2], "label": ""}]}],
                "settings": {},
                "copy": 1,
            },
            "c32e8264ec9d1016453aac7444dd7e4d369c6791eaec8280b364f2aca603b260",
        ),
    ],
    ids=["plain", "full", "empty-label"],
)
def test_the_algorithm_is_frozen(item: Item, asked: dict[str, Any], pinned: str) -> None:
    assert content_key(item) == canonical(asked) == pinned


@st.composite
def asked_items(draw: st.DrawFn) -> Item:
    digests = draw(st.lists(st.sampled_from(DIGESTS), max_size=3))
    labels = draw(
        st.lists(st.none() | st.text(max_size=3), min_size=len(digests), max_size=len(digests))
    )
    return Item(
        id="i",
        model=draw(st.sampled_from(["m", "n"])),
        prompt=draw(st.text(max_size=5)),
        references=tuple(
            Reference(path="p", label=label, sha256=digest)
            for label, digest in zip(labels, digests, strict=True)
        ),
        modalities=draw(st.sampled_from(SOME_MODALITIES)),
        aspect_ratio=draw(st.none() | st.sampled_from(ASPECT_RATIOS)),
        image_size=draw(st.none() | st.sampled_from(IMAGE_SIZES)),
    )


@given(
    asked_items(), st.text(max_size=9), st.dictionaries(st.text(max_size=3), st.text(max_size=3))
)
def test_ids_tags_keys_and_file_names_do_not_matter(
    item: Item, name: str, tags: dict[str, str]
) -> None:
    references = tuple(msgspec.structs.replace(one, path=name) for one in item.references)
    renamed = msgspec.structs.replace(
        item, id=name, key=name, tags=tags, references=references, model=f"models/{item.model}"
    )
    assert content_key(renamed) == content_key(item)


@given(asked_items(), asked_items())
def test_items_share_a_key_only_if_they_ask_for_the_same(one: Item, other: Item) -> None:
    assert (content_key(one) == content_key(other)) == (one == other)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "gemini-3.1-flash-image"},
        {"prompt": "A vase."},
        {"prompt": "a vase"},
        {"modalities": ("IMAGE",)},
        {"aspect_ratio": "1:1"},
        {"image_size": "1K"},
    ],
    ids=str,
)
def test_any_one_thing_that_is_asked_for_changes_the_key(change: dict[str, Any]) -> None:
    changed = msgspec.structs.replace(PLAIN, **change)
    assert content_key(changed) != content_key(PLAIN)


def test_order_bytes_and_labels_of_references_change_the_key() -> None:
    def key(labels: list[str | None], digests: list[str]) -> str:
        references = tuple(
            Reference(path="p", label=label, sha256=digest)
            for label, digest in zip(labels, digests, strict=True)
        )
        return content_key(msgspec.structs.replace(PLAIN, references=references))

    keys = [
        key([None, None], DIGESTS[:2]),
        key([None, None], DIGESTS[1::-1]),
        key([None, None], [DIGESTS[0], DIGESTS[2]]),
        key(["x", None], DIGESTS[:2]),
        key([None, "x"], DIGESTS[:2]),
        key(["", None], DIGESTS[:2]),
        key([None], DIGESTS[:1]),
        key([], []),
    ]
    assert len(set(keys)) == len(keys)
    assert all(len(one) == 64 and int(one, 16) >= 0 for one in keys)
