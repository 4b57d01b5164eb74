"""The content key: what is asked for, and nothing besides. It decides what is paid again."""

import hashlib
import json
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.model import (
    ASPECT_RATIOS,
    IMAGE_SIZES,
    THINKING_LEVELS,
    Item,
    Modality,
    Reference,
    SafetySetting,
    SearchKind,
    Turn,
    content_key,
)

DIGESTS: Final = [hashlib.sha256(bytes((n,))).hexdigest() for n in range(4)]
SOME_MODALITIES: Final[list[tuple[Modality, ...] | None]] = [None, ("IMAGE",), ("TEXT", "IMAGE")]
SOME_SEARCHES: Final[list[bool | tuple[SearchKind, ...] | None]] = [
    *(None, True, ("web",), ("image",), ("web", "image")),
]
# What an item says besides what it asks for.
NOT_ASKED: Final = {"id", "key", "tags", "file", "variant", "reference_max_px"}


def canonical(value: Any) -> str:
    """Written without the code: sorted keys, no spaces, characters as they are."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def vase(**more: Any) -> Item:
    """An item that asks for a vase, and for these things besides."""
    return Item(**{"id": "a", "model": "m", "prompt": "A vase", **more})


def asked(*references: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What the key of a vase is made of."""
    turn = {"prompt": "A vase", "references": list(references)}
    return {"v": 1, "model": "m", "turns": [turn], "settings": {}, "copy": 1, **more}


CONTROLS: Final = "".join(map(chr, range(0x20))) + "\x7f\u2028\u2029\ufeff"
SAFETY: Final = (
    SafetySetting(category="HARM_CATEGORY_HARASSMENT", threshold="BLOCK_NONE"),
    SafetySetting(category="HARM_CATEGORY_HATE_SPEECH", threshold="OFF"),
)
BODY: Final = {
    "generationConfig": {"imageConfig": {"aspectRatio": "1:1"}, "temperature": 1},
    "contents": [{"role": "user", "parts": [{"text": "A vase"}]}],
}

# A name, the item, what its key is made of, and the key. None of them may ever change: a finished
# picture is found by its key, and would be made and paid for again under another.
PINNED: Final[list[tuple[str, Item, dict[str, Any], str]]] = [
    (
        "plain",
        Item(id="a", model="gemini-3-pro-image", prompt="A vase"),
        asked(model="gemini-3-pro-image"),
        "55c1034b8f13d1aded57a7e8193740badbd2e5e873a57170a93f41ec22b00ca7",
    ),
    (
        "full",
        Item(
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
        ),
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
        "empty-label",
        Item(
            id="c",
            model="m",
            prompt="",
            references=(Reference(path="x", label="", sha256=DIGESTS[2]),),
        ),
        {
            "v": 1,
            "model": "m",
            "turns": [{"prompt": "", "references": [{"sha256": DIGESTS[2], "label": ""}]}],
            "settings": {},
            "copy": 1,
        },
        "c32e8264ec9d1016453aac7444dd7e4d369c6791eaec8280b364f2aca603b260",
    ),
    (
        "odd-characters",
        vase(prompt=CONTROLS, system_instruction="e\u0301 \u00e9 </script> \uffff"),
        asked(
            turns=[{"prompt": CONTROLS, "references": []}],
            system_instruction="e\u0301 \u00e9 </script> \uffff",
        ),
        "12089b81ca24226cfcf8d6ca7b3e23f7dd4da2578b1724495eda8b04844565bf",
    ),
    (
        "smallest-strip",
        vase(modalities=("IMAGE",), aspect_ratio="1:8", image_size="512"),
        asked(settings={"modalities": ["IMAGE"], "aspect_ratio": "1:8", "image_size": "512"}),
        "16ec54eddc7306c3cc368f42da6fca30d089a4f14819306516c8ae6053ac320b",
    ),
    (
        "thinking",
        vase(thinking_level="HIGH", include_thoughts=True),
        asked(settings={"thinking_level": "HIGH", "include_thoughts": True}),
        "504941d0e1a6af044f4f12c6b6bdcada7aa59a047b3f82bab798fdd67a4d994e",
    ),
    (
        "switched-off",
        vase(include_thoughts=False, store=False),
        asked(settings={"include_thoughts": False, "store": False}),
        "c4a23c9f6a1c909b3913601c9487d08c9fb6029caa89531752d3f63d3066de0c",
    ),
    (
        "search",
        vase(google_search=True),
        asked(google_search=True),
        "36cff0a24287bd370c38f110aec96a3eab36c23a5e3e847fae54139f1d384e73",
    ),
    (
        "web-search",
        vase(google_search=("web",)),
        asked(google_search=["web"]),
        "60b82782271e7505c78736692f492760ed1bd7563e9199fc1c6ea0c5493c2cd8",
    ),
    (
        "web-and-image-search",
        vase(google_search=("web", "image")),
        asked(google_search=["web", "image"]),
        "a884e334f739aceefddabf9193f7437164f347bda8e079c9fc26cd7efb4f5bd1",
    ),
    (
        "system-instruction",
        vase(system_instruction="Warm light."),
        asked(system_instruction="Warm light."),
        "11bd8ad5b2a429884ba4fe4305e21c2b213a6238131e47098456506b0a54394c",
    ),
    (
        "safety",
        vase(safety_settings=SAFETY),
        asked(
            safety_settings=[
                {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"},
                {"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "OFF"},
            ]
        ),
        "bcaaf50e865904c568926498d2af0fed74a8b71bbaf1923717653f1dda45384b",
    ),
    (
        "sampling",
        vase(temperature=1.0, top_p=0.95, top_k=40),
        asked(settings={"temperature": 1.0, "top_p": 0.95, "top_k": 40}),
        "3137ec5a5cae94303222896098a3ec0918313a2deb53d127032746e4fa6a0e0f",
    ),
    (
        "seed-and-store",
        vase(seed=-1, store=True),
        asked(settings={"seed": -1, "store": True}),
        "ad685871eedfe534f365014181f67907eedfd4fd5b57416a60ae65c69429d6d9",
    ),
    (
        "extra",
        vase(
            extra={
                "z": [1, 1.5, None, True],
                "ä": {"b": "x", "B": {}},
                "\U0001f600": "",
                "\uffff": 0,
            }
        ),
        asked(
            extra={
                "z": [1, 1.5, None, True],
                "\uffff": 0,
                "\U0001f600": "",
                "ä": {"B": {}, "b": "x"},
            }
        ),
        "99c50b919b76f694c273fc698a62b4b2b59a606be40aac677e14a93d1f48c8f6",
    ),
    (
        "turns",
        Item(
            id="a",
            model="m",
            turns=(
                Turn(prompt="A vase"),
                Turn(
                    prompt="Make it blue",
                    references=(Reference(path="s.png", sha256=DIGESTS[3], label="Style:"),),
                ),
            ),
        ),
        asked(
            turns=[
                {"prompt": "A vase", "references": []},
                {
                    "prompt": "Make it blue",
                    "references": [{"sha256": DIGESTS[3], "label": "Style:"}],
                },
            ]
        ),
        "d9d1b0eee486dd6fbd8d508bee6464289ca104b59d7af48eb360d1ea7143cf03",
    ),
    (
        "request",
        Item(id="a", model="m", request=BODY),
        asked(turns=[], request=BODY),
        "8e962422e049bee4a8f13c349cddec9f9f63d6a8e26d0b7c7f3808a31a4d6d08",
    ),
    (
        "second-copy",
        vase(id="a#2", copy=2),
        asked(copy=2),
        "24f9e6b9612b7ae0e64f276df3966e15e2724cb9b653f6df864aa22c700278bf",
    ),
    (
        "references-of-all-kinds",
        vase(
            references=(
                Reference(url="https://example.com/a.png"),
                Reference(url="https://example.com/b.png", sha256=DIGESTS[0]),
                Reference(item="hero", label="Image C:"),
                Reference(item="hero", sha256=DIGESTS[1]),
                Reference(path="large.png", sha256=DIGESTS[2], max_px=1024),
            ),
            reference_max_px=1024,
        ),
        asked(
            {"url": "https://example.com/a.png"},
            {"sha256": DIGESTS[0]},
            {"item": "hero", "label": "Image C:"},
            {"sha256": DIGESTS[1]},
            {"sha256": DIGESTS[2], "max_px": 1024},
        ),
        "ed8fddb51eeb1d819b90a74a3e5dc7edb8e1395c91cda9a7fc94d83a4e0c963a",
    ),
    (
        "everything",
        Item(
            id="Größe 16:9 #2",
            key="is not read",
            model="models/tunedModels/vase",
            turns=(
                Turn(prompt="Eine Vase", references=(Reference(path="x", sha256=DIGESTS[0]),)),
                Turn(prompt="再び"),
            ),
            modalities=("TEXT", "IMAGE"),
            aspect_ratio="16:9",
            image_size="4K",
            thinking_level="MINIMAL",
            include_thoughts=True,
            google_search=("image",),
            system_instruction="Kurz.",
            safety_settings=SAFETY[:1],
            temperature=0.0,
            top_p=1.0,
            top_k=1,
            seed=2147483647,
            store=False,
            extra={"labels": {"team": "a"}},
            reference_max_px=512,
            copy=100,
            tags={"ü": ""},
        ),
        {
            "v": 1,
            "model": "tunedModels/vase",
            "turns": [
                {"prompt": "Eine Vase", "references": [{"sha256": DIGESTS[0]}]},
                {"prompt": "再び", "references": []},
            ],
            "settings": {
                "modalities": ["TEXT", "IMAGE"],
                "aspect_ratio": "16:9",
                "image_size": "4K",
                "thinking_level": "MINIMAL",
                "include_thoughts": True,
                "temperature": 0.0,
                "top_p": 1.0,
                "top_k": 1,
                "seed": 2147483647,
                "store": False,
            },
            "google_search": ["image"],
            "system_instruction": "Kurz.",
            "safety_settings": [
                {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}
            ],
            "extra": {"labels": {"team": "a"}},
            "copy": 100,
        },
        "b781f5753c2fe2c61f5a342bfd7333ef1ff1ce80a780940c2fd7b2b753c1166f",
    ),
]


@pytest.mark.parametrize(
    ("item", "made_of", "pinned"), [case[1:] for case in PINNED], ids=[case[0] for case in PINNED]
)
def test_the_algorithm_is_frozen(item: Item, made_of: dict[str, Any], pinned: str) -> None:
    assert content_key(item) == canonical(made_of) == pinned


def test_twenty_keys_are_pinned_over_every_field_that_is_asked_for() -> None:
    assert len({case[3] for case in PINNED}) == 20
    plain = vase()
    pinned = {
        name
        for _, item, _, _ in PINNED
        for name in Item.__struct_fields__
        if getattr(item, name) != getattr(plain, name)
    }
    assert pinned >= set(Item.__struct_fields__) - NOT_ASKED


json_values = st.recursive(
    st.none() | st.integers(-2, 2) | st.text(max_size=2),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=2), below),
    max_leaves=4,
)
bodies = st.dictionaries(st.text(max_size=2), json_values, min_size=1, max_size=2)
labels = st.none() | st.text(max_size=3)
references = st.one_of(
    st.builds(
        Reference,
        path=st.just("p"),
        label=labels,
        sha256=st.sampled_from(DIGESTS),
        max_px=st.sampled_from([None, 512]),
    ),
    st.builds(Reference, url=st.sampled_from(["https://x/a", "https://x/b"]), label=labels),
    st.builds(Reference, item=st.sampled_from(["a", "https://x/a"]), label=labels),
)
reference_lists = st.lists(references, max_size=3).map(tuple)
turns = st.builds(Turn, prompt=st.text(max_size=5), references=reference_lists)

# One turn is the same as a prompt, so a conversation has two at least.
ASKED: Final = st.one_of(
    st.fixed_dictionaries({"prompt": st.text(max_size=5), "references": reference_lists}),
    st.fixed_dictionaries({"turns": st.lists(turns, min_size=2, max_size=3).map(tuple)}),
    st.fixed_dictionaries({"request": bodies}),
)
FIELDS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "model": st.sampled_from(["m", "n"]),
    "modalities": st.sampled_from(SOME_MODALITIES),
    "aspect_ratio": st.none() | st.sampled_from(ASPECT_RATIOS),
    "image_size": st.none() | st.sampled_from(IMAGE_SIZES),
    "thinking_level": st.none() | st.sampled_from(THINKING_LEVELS),
    "include_thoughts": st.none() | st.booleans(),
    "google_search": st.sampled_from(SOME_SEARCHES),
    "system_instruction": st.none() | st.text(max_size=3),
    "safety_settings": st.sampled_from([None, SAFETY, SAFETY[:1], SAFETY[1:]]),
    "temperature": st.sampled_from([None, 0.0, 0.5, 1.0]),
    "top_p": st.sampled_from([None, 0.0, 0.5, 1.0]),
    "top_k": st.none() | st.integers(1, 3),
    "seed": st.none() | st.integers(-1, 1),
    "store": st.none() | st.booleans(),
    "extra": st.none() | bodies,
    "copy": st.integers(1, 3),
}


@st.composite
def asked_items(draw: st.DrawFn) -> Item:
    return Item(id="i", **draw(ASKED), **draw(st.fixed_dictionaries(FIELDS)))


def renamed(one: Reference, name: str) -> Reference:
    """The same picture, found by another name."""
    return one if one.sha256 is None else msgspec.structs.replace(one, path=name)


@given(
    asked_items(),
    st.text(max_size=9),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
    st.none() | st.integers(16, 4096),
)
def test_ids_tags_keys_and_file_names_do_not_matter(
    item: Item, name: str, tags: dict[str, str], max_px: int | None
) -> None:
    other = msgspec.structs.replace(
        item,
        id=name,
        key=name,
        tags=tags,
        reference_max_px=max_px,
        model=f"models/{item.model}",
        references=tuple(renamed(one, name) for one in item.references),
        turns=tuple(
            Turn(
                prompt=turn.prompt, references=tuple(renamed(one, name) for one in turn.references)
            )
            for turn in item.turns
        ),
    )
    assert content_key(other) == content_key(item)


@given(asked_items(), asked_items())
def test_items_share_a_key_only_if_they_ask_for_the_same(one: Item, other: Item) -> None:
    assert (content_key(one) == content_key(other)) == (one == other)


@pytest.mark.parametrize("name", FIELDS)
@given(st.data())
def test_any_one_setting_that_is_asked_for_changes_the_key(name: str, data: st.DataObject) -> None:
    item = data.draw(asked_items())
    changed = msgspec.structs.replace(item, **{name: data.draw(FIELDS[name])})
    assert (content_key(item) == content_key(changed)) == (item == changed)


def test_every_field_of_an_item_is_in_the_key_or_known_not_to_be() -> None:
    asked_for = {"prompt", "references", "turns", "request", *FIELDS}
    assert asked_for | NOT_ASKED == set(Item.__struct_fields__)
    assert not asked_for & NOT_ASKED


@given(asked_items())
def test_an_item_that_was_written_to_disk_and_read_again_keeps_its_key(item: Item) -> None:
    again = msgspec.json.decode(msgspec.json.encode(item), type=Item)
    assert content_key(again) == content_key(item)


@given(asked_items(), st.integers(1, 3))
def test_the_key_of_a_turn_is_that_of_an_item_which_ends_with_it(item: Item, turn: int) -> None:
    shorter = msgspec.structs.replace(item, turns=item.turns[:turn])
    assert content_key(item, turn=turn) == content_key(shorter)


@given(asked_items())
def test_the_key_of_the_last_turn_is_the_items(item: Item) -> None:
    n_turns = len(item.conversation)
    assert content_key(item, turn=max(n_turns, 1)) == content_key(item)
    earlier = {content_key(item, turn=turn) for turn in range(1, n_turns)}
    assert content_key(item) not in earlier
    assert len(earlier) == max(n_turns - 1, 0)


def test_a_conversation_of_one_turn_asks_for_what_a_prompt_does() -> None:
    [reference] = (Reference(path="p", sha256=DIGESTS[0]),)
    with_prompt = vase(references=(reference,))
    turn = Turn(prompt="A vase", references=(reference,))
    assert content_key(with_prompt) == content_key(Item(id="a", model="m", turns=(turn,)))


def test_a_bound_that_scales_no_reference_changes_nothing() -> None:
    small = Reference(path="p", sha256=DIGESTS[0])
    bound = vase(references=(small,), reference_max_px=1024)
    scaled = vase(references=(msgspec.structs.replace(small, max_px=1024),), reference_max_px=1024)
    assert content_key(bound) == content_key(vase(references=(small,)))
    assert content_key(scaled) != content_key(bound)


def test_a_reference_counts_by_its_bytes_once_they_are_known() -> None:
    def key(**where: Any) -> str:
        return content_key(vase(references=(Reference(**where),)))

    known = {key(**{kind: "x"}, sha256=DIGESTS[0]) for kind in ("path", "url", "item")}
    unknown = {key(url="x"), key(item="x"), key(url="y")}
    assert len(known) == 1
    assert len(unknown) == 3
    assert not known & unknown


def test_order_bytes_and_labels_of_references_change_the_key() -> None:
    def key(labels: list[str | None], digests: list[str]) -> str:
        given = tuple(
            Reference(path="p", label=label, sha256=digest)
            for label, digest in zip(labels, digests, strict=True)
        )
        return content_key(vase(references=given))

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
