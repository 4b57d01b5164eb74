"""An item as the body of a request: what the user set, in camelCase, and nothing else."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from batchgen.errors import MissingReference
from batchgen.model import Item, Reference, ReferenceFile, SafetySetting, Turn
from batchgen.references import ReferenceLibrary, read_reference
from batchgen.wire.request import (
    READ_BYTES,
    ModelContent,
    RequestBody,
    asked_size,
    asks_for_thoughts,
    build_body,
    endpoint_path,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def item(**known: Any) -> Item:
    base: dict[str, Any] = {"id": "a", "model": "m", "prompt": "p"}
    return Item(**(base | known))


async def body_of(one: Item, *files: ReferenceFile) -> Any:
    return await read(build_body(one, files))


async def read(body: RequestBody) -> Any:
    raw = b"".join([chunk async for chunk in body.chunks(read_reference)])
    assert len(raw) == body.length_bytes
    return json.loads(raw)


def contents(*parts: Any) -> list[Any]:
    return [{"role": "user", "parts": list(parts)}]


async def test_nothing_is_sent_that_the_user_did_not_set() -> None:
    assert await body_of(item(prompt="A vase")) == {"contents": contents({"text": "A vase"})}


@pytest.mark.parametrize(
    ("known", "settings"),
    [
        ({"modalities": ("IMAGE",)}, {"responseModalities": ["IMAGE"]}),
        ({"modalities": ("TEXT", "IMAGE")}, {"responseModalities": ["TEXT", "IMAGE"]}),
        ({"aspect_ratio": "16:9"}, {"imageConfig": {"aspectRatio": "16:9"}}),
        ({"image_size": "2K"}, {"imageConfig": {"imageSize": "2K"}}),
        (
            {"modalities": ("IMAGE",), "aspect_ratio": "4:5", "image_size": "512"},
            {
                "responseModalities": ["IMAGE"],
                "imageConfig": {"aspectRatio": "4:5", "imageSize": "512"},
            },
        ),
    ],
)
async def test_settings_are_sent_under_their_camel_case_names(
    known: dict[str, Any], settings: dict[str, Any]
) -> None:
    assert await body_of(item(**known)) == {
        "contents": contents({"text": "p"}),
        "generationConfig": settings,
    }


@pytest.mark.parametrize(
    ("known", "rest"),
    [
        (
            {"thinking_level": "high"},
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH"}}},
        ),
        (
            {"thinking_level": "MINIMAL", "include_thoughts": False},
            {
                "generationConfig": {
                    "thinkingConfig": {"thinkingLevel": "MINIMAL", "includeThoughts": False}
                }
            },
        ),
        ({"temperature": 0.0}, {"generationConfig": {"temperature": 0.0}}),
        ({"top_p": 0.9}, {"generationConfig": {"topP": 0.9}}),
        ({"top_k": 40}, {"generationConfig": {"topK": 40}}),
        ({"seed": 0}, {"generationConfig": {"seed": 0}}),
        ({"store": False}, {"store": False}),
        ({"google_search": True}, {"tools": [{"googleSearch": {}}]}),
        ({"google_search": False}, {}),
        (
            {"google_search": ("web",)},
            {"tools": [{"googleSearch": {"searchTypes": {"webSearch": {}}}}]},
        ),
        (
            {"google_search": ("web", "image")},
            {"tools": [{"googleSearch": {"searchTypes": {"webSearch": {}, "imageSearch": {}}}}]},
        ),
        (
            {"system_instruction": "Be calm"},
            {"systemInstruction": {"parts": [{"text": "Be calm"}]}},
        ),
        (
            {"safety_settings": (SafetySetting(category="HARM_X", threshold="OFF"),)},
            {"safetySettings": [{"category": "HARM_X", "threshold": "OFF"}]},
        ),
        ({"extra": {"serviceTier": "flex"}}, {"serviceTier": "flex"}),
        ({"extra": {"service_tier": "flex"}}, {"service_tier": "flex"}),
        ({"extra": {"labels": None}}, {"labels": None}),
        # what has no field of its own
        *(
            ({"extra": body}, body)
            for body in (
                {"toolConfig": {"retrievalConfig": {"languageCode": "en"}}},
                {"cachedContent": "cachedContents/abc"},
                {"labels": {"team": "a"}},
                {"continuationToken": "abc"},
                {"tools": [{"functionDeclarations": [{"name": "f"}]}]},
                {
                    "safetySettings": [
                        {"category": "HARM_X", "threshold": "OFF", "method": "SEVERITY"}
                    ]
                },
                {"generationConfig": {"thinkingConfig": {"thinkingBudget": 512}}},
                {"generationConfig": {"maxOutputTokens": 8192, "candidateCount": 1}},
                {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_HIGH"}},
                {"generationConfig": {"responseMimeType": "text/plain"}},
                {"generationConfig": {"imageConfig": {"prominentPeople": "X"}}},
                {
                    "generationConfig": {
                        "imageConfig": {
                            "imageOutputOptions": {"mimeType": "m", "compressionQuality": 90}
                        }
                    }
                },
            )
        ),
        ({"copy": 3, "reference_max_px": 512}, {}),
    ],
)
async def test_every_field_has_its_place_in_the_body(
    known: dict[str, Any], rest: dict[str, Any]
) -> None:
    assert await body_of(item(**known)) == {"contents": contents({"text": "p"}), **rest}


async def test_extra_is_merged_last_maps_deeply_and_lists_replaced() -> None:
    got = await body_of(
        item(
            image_size="1K",
            aspect_ratio="1:1",
            google_search=True,
            modalities=("IMAGE",),
            extra={
                "generationConfig": {
                    "imageConfig": {"imageSize": "8K", "personGeneration": "ALLOW_NONE"},
                    "responseModalities": ["TEXT"],
                    "stopSequences": ["x"],
                },
                "tools": [{"codeExecution": {}}],
            },
        )
    )
    assert got == {
        "contents": contents({"text": "p"}),
        "generationConfig": {
            "imageConfig": {
                "imageSize": "8K",
                "aspectRatio": "1:1",
                "personGeneration": "ALLOW_NONE",
            },
            "responseModalities": ["TEXT"],
            "stopSequences": ["x"],
        },
        "tools": [{"codeExecution": {}}],
    }


async def test_extra_is_merged_into_a_copy() -> None:
    one = item(image_size="1K", extra={"generationConfig": {"imageConfig": {"a": {"b": 1}}}})
    assert await body_of(one) == await body_of(one)
    assert one.extra == {"generationConfig": {"imageConfig": {"a": {"b": 1}}}}


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        ({"contents": [{"parts": [{"text": "p"}]}]}, {"contents": contents({"text": "p"})}),
        ({"contents": {"parts": [{"text": "p"}]}}, {"contents": contents({"text": "p"})[0]}),
        (
            {"contents": [{"role": "model", "parts": []}, {"role": None}], "labels": {"a_b": "c"}},
            {
                "contents": [{"role": "model", "parts": []}, {"role": "user"}],
                "labels": {"a_b": "c"},
            },
        ),
        (
            {"contents": contents({"fileData": {"fileUri": "u", "mimeType": "image/png"}})},
            {"contents": contents({"fileData": {"fileUri": "u", "mimeType": "image/png"}})},
        ),
        (
            {"contents": contents({"text": "a", "thoughtSignature": "c2ln"})},
            {"contents": contents({"text": "a", "thoughtSignature": "c2ln"})},
        ),
        (
            {"contents": contents({"text": "a", "mediaResolution": {"level": "L"}})},
            {"contents": contents({"text": "a", "mediaResolution": {"level": "L"}})},
        ),
        ({"contents": "odd", "seed": 1.5}, {"contents": "odd", "seed": 1.5}),
        ({}, {}),
    ],
)
async def test_a_raw_request_is_sent_as_it_is_with_a_role(
    request_: dict[str, Any], sent: dict[str, Any]
) -> None:
    assert await body_of(Item(id="a", model="m", request=request_)) == sent


@pytest.mark.parametrize("label", ["image/jpg", "IMAGE/JPG"])
async def test_a_label_that_no_service_takes_is_put_right_in_a_raw_request(label: str) -> None:
    def message(of: str) -> dict[str, Any]:
        return {
            "role": "user",
            "parts": [
                {"text": "image/jpg"},
                {"inlineData": {"mimeType": of, "data": "QQ=="}},
                {"fileData": {"mimeType": of, "fileUri": "https://a.example.com/image/jpg"}},
            ],
        }

    extra = {"systemInstruction": message(label)}
    sent = await body_of(item(extra=extra))
    assert sent["systemInstruction"] == message("image/jpeg")
    assert extra == {"systemInstruction": message(label)}
    for wrap in (lambda one: [one], lambda one: one):
        request = {"contents": wrap(message(label)), "labels": {"mimeType": "image/jpg"}}
        sent = await body_of(Item(id="a", model="m", request=request))
        assert sent == {**request, "contents": wrap(message("image/jpeg"))}
        assert request["contents"] == wrap(message(label))


@pytest.mark.parametrize(
    ("known", "size"),
    [
        ({}, None),
        ({"image_size": "2K"}, "2K"),
        ({"image_size": "2K", "extra": {"generationConfig": {"imageConfig": None}}}, None),
        ({"extra": {"generationConfig": {"imageConfig": {"imageSize": "4K"}}}}, "4K"),
        ({"prompt": None, "request": {"generationConfig": {"imageConfig": {}}}}, None),
        (
            {"prompt": None, "request": {"generationConfig": {"imageConfig": {"imageSize": "4K"}}}},
            "4K",
        ),
        ({"prompt": None, "request": {"generationConfig": ["odd"]}}, None),
    ],
)
def test_the_size_is_found_wherever_an_item_says_it(
    known: dict[str, Any], size: str | None
) -> None:
    assert asked_size(item(**known)) == size


# --- conversations ------------------------------------------------------------------------------


def a_file(path: Path, data: bytes, mime: str = "image/png") -> ReferenceFile:
    path.write_bytes(data)
    seen = path.stat()
    return ReferenceFile(
        path=str(path),
        mime=mime,
        size_bytes=len(data),
        sha256="",
        mtime_ns=seen.st_mtime_ns,
        inode=seen.st_ino,
    )


def conversation(*n_references: int) -> Item:
    turns = tuple(
        Turn(prompt=f"turn {n}", references=(Reference(path="x", label=f"label {n}"),) * count)
        for n, count in enumerate(n_references, 1)
    )
    return Item(id="a", model="m", turns=turns, image_size="1K")


def inline(data: bytes, mime: str = "image/png") -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}}


async def test_a_turn_is_sent_with_all_that_came_before_it(tmp_path: Path) -> None:
    first = {"role": "model", "parts": [{"text": "\u4e2d", "thoughtSignature": "c2ln"}]}
    second = {"parts": [{**inline(PNG), "thoughtSignature": "c2ln"}]}
    files = [a_file(tmp_path / f"{n}.png", PNG + bytes([n])) for n in range(3)]
    body = build_body(
        conversation(1, 0, 2),
        files,
        turn=3,
        contents=(
            ModelContent(a_file(tmp_path / "a.1.json", json.dumps(first).encode())),
            ModelContent(
                a_file(tmp_path / "a.2.json", json.dumps(second).encode()), has_role=False
            ),
        ),
    )
    labelled = [{"text": "label 3"}, inline(PNG + b"\1"), {"text": "label 3"}, inline(PNG + b"\2")]
    assert await read(body) == {
        "contents": [
            *contents({"text": "turn 1"}, {"text": "label 1"}, inline(PNG + b"\0")),
            first,
            *contents({"text": "turn 2"}),
            {**second, "role": "model"},
            *contents({"text": "turn 3"}, *labelled),
        ],
        "generationConfig": {"imageConfig": {"imageSize": "1K"}},
    }


async def test_what_the_model_said_is_sent_byte_for_byte(tmp_path: Path) -> None:
    said = b'{"role" : "model","x":1.50,"parts":[ {"text":"\\u0041"} ]}'
    body = build_body(
        conversation(0, 0), [], turn=2, contents=[ModelContent(a_file(tmp_path / "a", said))]
    )
    assert said in [chunk async for chunk in body.chunks(read_reference)]


async def test_a_picture_stands_in_for_what_cannot_be_sent(tmp_path: Path) -> None:
    said = {"role": "model", "parts": []}
    body = build_body(
        conversation(1, 1, 0),
        [a_file(tmp_path / "b.png", PNG + b"b")],
        turn=3,
        contents=[ModelContent(a_file(tmp_path / "a.2.json", json.dumps(said).encode()))],
        picture=a_file(tmp_path / "a.1.jpg", b"jpeg", "image/jpeg"),
    )
    assert (await read(body))["contents"] == [
        *contents(
            {"text": "turn 2"},
            inline(b"jpeg", "image/jpeg"),
            {"text": "label 2"},
            inline(PNG + b"b"),
        ),
        said,
        *contents({"text": "turn 3"}),
    ]


async def test_thirty_megabytes_of_an_earlier_answer_are_never_held_whole(tmp_path: Path) -> None:
    said = b'{"parts":[{"text":"' + b"x" * (30 << 20) + b'"}]}'
    content = ModelContent(a_file(tmp_path / "a.1.json", said), has_role=False)
    body = build_body(conversation(0, 0), [], turn=2, contents=[content])
    sizes = [len(chunk) async for chunk in body.chunks(read_reference)]
    assert sum(sizes) == body.length_bytes > len(said)
    assert max(sizes) <= READ_BYTES


async def test_an_answer_that_changed_on_disk_is_not_sent(tmp_path: Path) -> None:
    content = ModelContent(a_file(tmp_path / "a.1.json", b"{}"))
    (tmp_path / "a.1.json").write_bytes(b"{ }")
    body = build_body(conversation(0, 0), [], turn=2, contents=[content])
    with pytest.raises(MissingReference):
        await read(body)


async def test_names_and_tags_stay_at_home() -> None:
    raw = json.dumps(await body_of(item(id="secret-id", tags={"sku": "A-17"}, key="k" * 64)))
    assert "secret" not in raw
    assert "A-17" not in raw
    assert "kkk" not in raw


@pytest.mark.parametrize(
    "prompt",
    ['quotes " and \\', "line\nbreak\x00", "\u4e2d\u6587 \U0001f600\u2028", "{a}", "x" * 10**6],
)
async def test_any_prompt_arrives_as_it_was_written(prompt: str) -> None:
    assert await body_of(item(prompt=prompt)) == {"contents": contents({"text": prompt})}


async def test_references_follow_the_text_in_order_each_after_its_label(tmp_path: Path) -> None:
    library = ReferenceLibrary()
    sizes = (1, 2, 3, 0, READ_BYTES - 8, READ_BYTES, 2 * READ_BYTES + 1)
    datas = [PNG + os.urandom(size) for size in sizes]
    references, files = [], []
    for number, data in enumerate(datas):
        path = tmp_path / f"{number}.png"
        path.write_bytes(data)
        label = f'Image "{number}":' if number % 2 else None
        references.append(Reference(path=str(path), label=label))
        files.append(library.open(str(path)))
    expected: list[Any] = [{"text": "p"}]
    for reference, data in zip(references, datas, strict=True):
        if reference.label is not None:
            expected.append({"text": reference.label})
        encoded = base64.b64encode(data).decode()
        expected.append({"inlineData": {"mimeType": "image/png", "data": encoded}})
    got = await body_of(item(references=tuple(references), image_size="1K"), *files)
    assert got["contents"] == contents(*expected)
    assert got["generationConfig"] == {"imageConfig": {"imageSize": "1K"}}


async def test_a_body_without_references_is_one_piece_and_can_be_sent_again() -> None:
    body = build_body(item(), [])
    assert len(body.pieces) == 1
    first = [chunk async for chunk in body.chunks(read_reference)]
    assert first == [chunk async for chunk in body.chunks(read_reference)]


async def test_a_reference_that_is_gone_is_said_while_sending() -> None:
    file = ReferenceFile(
        path="/nowhere.png", mime="image/png", size_bytes=9, sha256="", mtime_ns=0, inode=0
    )
    with pytest.raises(MissingReference):
        await body_of(item(references=(Reference(path="/nowhere.png"),)), file)


async def test_a_reference_is_never_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(PNG + bytes(5 * READ_BYTES))
    file = ReferenceLibrary().open(str(path))
    body = build_body(item(references=(Reference(path=str(path)),)), [file])
    assert max([len(chunk) async for chunk in body.chunks(read_reference)]) <= READ_BYTES // 3 * 4


def test_as_many_files_as_references_are_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        build_body(item(references=(Reference(path="a"),)), [])


async def test_only_what_is_read_is_encoded() -> None:
    async def read(_: ReferenceFile, step_bytes: int) -> AsyncIterator[bytes]:
        assert step_bytes % 3 == 0
        yield b"abc"

    file = ReferenceFile(path="x", mime="image/webp", size_bytes=3, sha256="", mtime_ns=0, inode=0)
    body = build_body(item(references=(Reference(path="x"),)), [file])
    raw = b"".join([chunk async for chunk in body.chunks(read)])
    (_, part) = json.loads(raw)["contents"][0]["parts"]
    assert part == {"inlineData": {"mimeType": "image/webp", "data": "YWJj"}}


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-3-pro-image", "/v1beta/models/gemini-3-pro-image:generateContent"),
        ("models/gemini-3-pro-image", "/v1beta/models/gemini-3-pro-image:generateContent"),
        ("a/b", "/v1beta/models/a%2Fb:generateContent"),
        ("../x?y#z", "/v1beta/models/..%2Fx%3Fy%23z:generateContent"),
        ("\u00e9 x", "/v1beta/models/%C3%A9%20x:generateContent"),
    ],
)
def test_a_model_is_one_component_of_the_path(model: str, path: str) -> None:
    assert endpoint_path(model) == path


@pytest.mark.parametrize(
    ("asked", "is_true"),
    [
        ({"prompt": "p"}, False),
        ({"prompt": "p", "include_thoughts": True}, True),
        ({"prompt": "p", "include_thoughts": False, "image_size": "2K"}, False),
        ({"prompt": "p", "extra": {"generationConfig": {"seed": 1}}}, False),
        (
            {
                "prompt": "p",
                "extra": {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}},
            },
            True,
        ),
        ({"request": {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}}, True),
        ({"request": {"generationConfig": {"thinkingConfig": "none"}}}, False),
        ({"request": {"generationConfig": None}}, False),
    ],
)
def test_thoughts_are_asked_for_wherever_an_item_says_so(
    asked: dict[str, Any], *, is_true: bool
) -> None:
    assert asks_for_thoughts(Item(id="a", model="m", **asked)) is is_true
