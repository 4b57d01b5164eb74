"""What the model said: taken out of an answer, put together again, judged before it is sent."""

import base64
import hashlib
import json
from typing import Any

import pytest

from batchgen.wire.content import (
    content_of,
    read_stored,
    split_content,
    why_unusable,
)

SIGNED = {"thoughtSignature": "c2ln"}


def inline(data: str = "0", **beside: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": data}, **beside}


def said(*parts: Any, **members: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts), **members}


def joined(content: dict[str, Any], images: list[bytes]) -> bytes:
    pieces = split_content(content)
    return b"".join(
        piece if isinstance(piece, bytes) else base64.b64encode(images[piece]) for piece in pieces
    )


@pytest.mark.parametrize(
    "document",
    [
        {"candidates": [{"content": said({"text": "a"})}]},
        [{"candidates": [{"content": said({"text": "a"})}, {"content": {}}]}],
    ],
)
def test_the_content_of_the_first_candidate_is_found(document: Any) -> None:
    assert content_of(json.dumps(document).encode()) == said({"text": "a"})


@pytest.mark.parametrize(
    "skeleton",
    [
        *(b"", b"{", b"null", b"[]", b"[1, 2]", b'"x"', b"{}", b'{"candidates": null}'),
        *(b'{"candidates": []}', b'{"candidates": {}}', b'{"candidates": [null]}'),
        *(b'{"candidates": [{"content": null}]}', b'{"candidates": [{"content": []}]}'),
        b'{"a":' * 10_000,
    ],
)
def test_an_answer_without_a_content_that_can_be_read_has_none(skeleton: bytes) -> None:
    assert content_of(skeleton) is None


def test_a_number_beyond_all_bounds_costs_a_content_only_if_it_stands_in_it() -> None:
    long = b"9" * 5000
    beside = b'{"n": ' + long + b', "candidates": [{"content": {"parts": []}}]}'
    assert content_of(beside) == {"parts": []}
    inside = content_of(b'{"candidates": [{"content": {"n": ' + long + b"}}]}")
    assert inside is not None
    with pytest.raises(ValueError, match="digits"):
        split_content(inside)


@pytest.mark.parametrize(
    "content",
    [
        {},
        said(),
        said({"text": 'a "b" \\ \n \u2028 \ud800 \U0001f600'}, {"n": [1, 2.5, None, True, [], {}]}),
        said({"thought": True, "text": "hm"}, {"text": "x", **SIGNED}),
    ],
)
def test_a_content_without_images_is_one_piece_and_equal(content: dict[str, Any]) -> None:
    [text] = split_content(content)
    assert isinstance(text, bytes)
    assert json.loads(text) == content


def test_images_go_back_into_their_places_beside_their_signatures() -> None:
    snake = {"inline_data": {"data": "1", "mime_type": "image/jpeg"}, "thought_signature": "s"}
    content = said(inline("0", **SIGNED), {"text": "0"}, snake, inline("2", thought=True))
    images = [b"first", b"", b"third"]
    got = json.loads(joined(content, images))
    assert got["parts"][0] == inline(base64.b64encode(b"first").decode(), **SIGNED)
    assert got["parts"][1] == {"text": "0"}
    assert got["parts"][2]["inline_data"]["data"] == ""
    assert got["parts"][2]["thought_signature"] == "s"
    assert got["parts"][3] == inline(base64.b64encode(b"third").decode(), thought=True)


def test_a_number_is_an_image_only_where_an_image_stands() -> None:
    content = said({"text": "0", "data": "0"}, {"inlineData": [{"data": "0"}]}, {"data": "0"})
    assert [piece for piece in split_content(content) if isinstance(piece, int)] == []


def test_a_number_that_no_json_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        split_content({"n": float("inf")})


def test_a_stored_content_is_read_back_with_the_names_of_its_images() -> None:
    content = said(inline("0", **SIGNED), inline("1", thought=True))
    data = joined(content, [b"a" * 1000, b"b"])
    chunks = (data[at : at + 7] for at in range(0, len(data), 7))
    stored = read_stored(chunks)
    assert stored is not None
    assert stored.content == content
    assert stored.images == tuple(hashlib.sha256(one).hexdigest() for one in (b"a" * 1000, b"b"))
    assert stored.has_role


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{", b'{"parts": [', b"[]", b"null", b"<html>", b" {}", b"\xef\xbb\xbf{}"),
        b'{"a": "' + b"x" * (2 << 20) + b'"}',
    ],
)
def test_a_file_that_is_no_content_of_ours_is_not_read(data: bytes) -> None:
    assert read_stored([data]) is None


def test_a_content_without_a_role_says_so() -> None:
    stored = read_stored([b'{"parts":[]}'])
    assert stored is not None
    assert not stored.has_role


@pytest.mark.parametrize(
    ("content", "is_usable"),
    [
        (said(inline(**SIGNED)), True),
        (said(inline(thought_signature="s")), True),
        (said({"text": "a", **SIGNED}, inline(**SIGNED), {"text": "b"}), True),
        (said(inline(thought=True), {"text": "hm", "thought": True}, inline(**SIGNED)), True),
        ({"parts": [inline(**SIGNED)]}, True),
        (said(inline()), False),
        (said(inline(thoughtSignature="")), False),
        (said({"text": "a"}, inline(**SIGNED)), False),
        (said({"text": "a", **SIGNED}, inline()), False),
        (said(inline(**SIGNED), inline()), False),
        (said(), False),
        ({"role": "model"}, False),
        ({"role": "model", "parts": ["odd", inline(**SIGNED)]}, True),
        ({"role": "user", "parts": [inline(**SIGNED)]}, False),
        ({"role": None, "parts": [inline(**SIGNED)]}, False),
    ],
)
def test_signatures_are_due_on_the_first_part_shown_and_on_every_image(
    content: dict[str, Any], *, is_usable: bool
) -> None:
    assert (why_unusable(content, needs_signatures=True) is None) == is_usable


def test_a_model_that_does_not_sign_needs_no_signatures() -> None:
    assert why_unusable(said(inline()), needs_signatures=False) is None
