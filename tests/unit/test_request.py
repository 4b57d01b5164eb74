"""An item as the body of a request: what the user set, in camelCase, and nothing else."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from batchgen.errors import MissingReference
from batchgen.model import Item, Reference, ReferenceFile
from batchgen.references import ReferenceLibrary, read_reference
from batchgen.wire.request import READ_BYTES, build_body, endpoint_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PNG = b"\x89PNG\r\n\x1a\n"


def item(**known: Any) -> Item:
    base: dict[str, Any] = {"id": "a", "model": "m", "prompt": "p"}
    return Item(**(base | known))


async def body_of(one: Item, *files: ReferenceFile) -> Any:
    body = build_body(one, files)
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
