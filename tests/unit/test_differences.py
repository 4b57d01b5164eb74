"""What makes an item ask for something else, in the words of the job file."""

from typing import Any

import msgspec
import pytest

from batchgen.model import Item, Reference, SafetySetting, Turn, content_key
from batchgen.preview.differences import differences

Json = dict[str, Any]
A, B, C = (Reference(path=f"/job/{name}.png", sha256=name * 64, label=f"{name}:") for name in "abc")
HERO, WIDE = Reference(item="hero"), Reference(item="wide")
WEB = Reference(url="https://x.invalid/a", sha256="d" * 64)
ONE, TWO, THREE = Turn(prompt="one"), Turn(prompt="two"), Turn(prompt="three")
LONG = "a-model-with-a-name-of-more-than-forty-letters"


def item(**fields: Any) -> Item:
    asked = {} if {"turns", "request"} & fields.keys() else {"prompt": "x"}
    return Item(**{"id": "hero", "model": "m", **asked, **fields})


def references(*of: Reference) -> Json:
    return {"references": of}


def turns(*of: Turn) -> Json:
    return {"turns": of}


def changed(one: Reference | Turn, **fields: Any) -> Any:
    return msgspec.structs.replace(one, **fields)


BLOCKS = (SafetySetting(category="A", threshold="NONE"),)
CASES: list[tuple[Json, Json, list[str]]] = [
    # settings
    ({"prompt": "x"}, {"prompt": "y"}, ["prompt"]),
    ({"model": "m"}, {"model": "n"}, ["model m → n"]),
    ({"model": "m"}, {"model": LONG}, ["model"]),
    ({"image_size": "1K"}, {"image_size": "2K"}, ["image_size 1K → 2K"]),
    ({}, {"aspect_ratio": "4:5"}, ["aspect_ratio unset → 4:5"]),
    ({"aspect_ratio": "4:5"}, {}, ["aspect_ratio 4:5 → unset"]),
    (
        {"modalities": ("IMAGE",)},
        {"modalities": ("TEXT", "IMAGE")},
        ["modalities [IMAGE] → [TEXT, IMAGE]"],
    ),
    ({}, {"thinking_level": "HIGH"}, ["thinking_level unset → HIGH"]),
    ({"include_thoughts": True}, {"include_thoughts": False}, ["include_thoughts true → false"]),
    ({"google_search": True}, {"google_search": ("web",)}, ["google_search true → [web]"]),
    ({"temperature": 0.5}, {"temperature": 1.0}, ["temperature 0.5 → 1.0"]),
    ({}, {"top_p": 0.5}, ["top_p unset → 0.5"]),
    ({"top_k": 1}, {"top_k": 2}, ["top_k 1 → 2"]),
    ({}, {"seed": 0}, ["seed unset → 0"]),
    ({}, {"store": False}, ["store unset → false"]),
    ({}, {"system_instruction": "Be brief."}, ["system_instruction"]),
    ({}, {"safety_settings": BLOCKS}, ["safety_settings"]),
    ({"extra": {"a": 1}}, {"extra": {"a": 2}}, ["extra"]),
    ({"request": {"a": 1}}, {"request": {"a": 2}}, ["request"]),
    ({}, {"request": {"contents": []}}, ["prompt", "request"]),
    ({"copy": 1}, {"copy": 2}, ["count"]),
    (
        {"prompt": "x", "image_size": "1K", "seed": 1},
        {"prompt": "y", "image_size": "4K", "seed": 1},
        ["prompt", "image_size 1K → 4K"],
    ),
    # references
    (references(A), references(changed(A, sha256="e" * 64)), ["references 1: other bytes"]),
    (
        references(A, B),
        references(A, C),
        ["references 2: another file", "references 2: another label"],
    ),
    (references(A), references(changed(A, label=None)), ["references 1: another label"]),
    (references(), references(A), ["references: 1 more"]),
    (references(A, B, C), references(A), ["references: 2 fewer"]),
    (references(B, C), references(A, B, C), ["references: 1 more"]),
    (references(A, B, C), references(A, C), ["references: 1 fewer"]),
    (references(A, B), references(B, A), ["references: order"]),
    (references(HERO), references(WIDE), ["references 1: item:hero → item:wide"]),
    (references(changed(A, label=None)), references(HERO), ["references 1: a file → item:hero"]),
    (references(WEB), references(changed(A, label=None)), ["references 1: an address → a file"]),
    (references(WEB), references(changed(WEB, sha256="e" * 64)), ["references 1: other bytes"]),
    (
        references(WEB),
        references(Reference(url="https://x.invalid/b", sha256="e" * 64)),
        ["references 1: another address"],
    ),
    (
        {**references(changed(A, max_px=100)), "reference_max_px": 100},
        {**references(A)},
        ["reference_max_px 100 → unset"],
    ),
    # turns
    (turns(ONE, TWO), turns(ONE, THREE), ["turns 2: prompt"]),
    (turns(ONE, TWO), turns(ONE), ["turns 2 → 1"]),
    (turns(ONE, TWO), turns(TWO, TWO, THREE), ["turns 1: prompt", "turns 2 → 3"]),
    (
        turns(ONE, changed(TWO, references=(A,))),
        turns(ONE, changed(TWO, references=(A, B))),
        ["turns 2: references: 1 more"],
    ),
    ({"request": {"contents": []}}, turns(ONE, TWO), ["turns", "request"]),
]


@pytest.mark.parametrize(("before", "now", "words"), CASES)
def test_what_has_changed_is_told_in_the_words_of_the_job(
    before: Json, now: Json, words: list[str]
) -> None:
    old, new = item(**before), item(**now)
    assert list(differences(old, new)) == words
    assert content_key(old) != content_key(new)


SAME: list[tuple[Json, Json]] = [
    ({"id": "a", "tags": {"a": "b"}, "file": "x"}, {"id": "b", "variant": {"scene": 1}}),
    ({"prompt": "one"}, turns(ONE)),
    ({"model": "m"}, {"model": "models/m"}),
    (references(A), references(changed(A, path="/elsewhere/z.png"))),
    (references(WEB), references(changed(WEB, url="https://x.invalid/b"))),
    (references(changed(A, label=None)), references(Reference(url="https://y", sha256="a" * 64))),
    ({**references(A), "reference_max_px": 100}, {**references(A), "reference_max_px": 200}),
]


@pytest.mark.parametrize(("before", "now"), SAME)
def test_nothing_has_changed_that_no_content_key_tells(before: Json, now: Json) -> None:
    old, new = item(**before), item(**now)
    assert list(differences(old, new)) == []
    assert content_key(old) == content_key(new)


def test_bytes_that_nobody_knows_are_taken_for_what_they_were() -> None:
    unknown = changed(WEB, sha256=None)
    assert not list(differences(item(**references(WEB)), item(**references(unknown))))
    assert not list(differences(item(**references(unknown)), item(**references(WEB))))


def test_a_picture_of_an_item_that_is_another_one_now_is_told_where_it_is_referred_to() -> None:
    filled = changed(HERO, path="/job/images/hero.png", sha256="a" * 64)
    before, now = item(**references(A, HERO, B)), item(**references(A, filled, B))
    assert list(differences(before, now)) == []
    assert list(differences(before, now, {"hero"})) == ["references 2: item:hero made anew"]
    talk = item(**turns(ONE, changed(TWO, references=(HERO,))))
    assert list(differences(talk, talk, {"hero"})) == ["turns 2: references 1: item:hero made anew"]


def test_what_another_item_makes_may_be_scaled_otherwise() -> None:
    before = item(**references(HERO), reference_max_px=100)
    now = item(**references(HERO), reference_max_px=200)
    assert list(differences(before, now)) == ["reference_max_px 100 → 200"]


def test_each_field_that_a_content_key_tells_is_compared() -> None:
    """A field that is new to items, and to their keys, must not go untold."""
    samples: Json = {
        **{name: fields[name] for _, fields, _ in CASES for name in fields},
        "references": (A,),
    }
    told = {name for name in Item.__struct_fields__ if name not in {"prompt", "turns", "request"}}
    for name in sorted(told & samples.keys()):
        old, new = item(), item(**{name: samples[name]})
        assert bool(list(differences(old, new))) == (content_key(old) != content_key(new)), name
    left = set(Item.__struct_fields__) - samples.keys()
    assert left == {"id", "key", "tags", "variant", "file", "reference_max_px"}
