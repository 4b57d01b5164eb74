"""Base64 decoded a piece at a time equals base64 decoded at once."""

from __future__ import annotations

import base64
import binascii
import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchgen.wire.base64_stream import Base64Error, Base64Stream

SPACES = " \t\r\n\v\f"
WHITE = st.text(SPACES, max_size=3)


def at_once(text: str) -> bytes | None:
    """The same rules written a second time, on the whole text; None where it is no base64."""
    text = "".join(text.split())
    if text[:5].lower() == "data:":
        prefix, comma, text = text.partition(",")
        if not comma or len(prefix) > 255:
            return None
    text = text.replace("-", "+").replace("_", "/")
    bare = text.rstrip("=")
    if len(bare) % 4 == 1:
        return None
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def in_pieces(pieces: list[bytes]) -> bytes | None:
    stream = Base64Stream()
    try:
        return b"".join([stream.feed(piece) for piece in pieces]) + stream.close()
    except Base64Error:
        return None


def cut(text: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(bounds)]


@st.composite
def encodings(draw: st.DrawFn) -> tuple[bytes, str]:
    """Bytes and one of the ways in which services have been seen to write them."""
    data = draw(st.binary(max_size=60))
    text = base64.b64encode(data).decode()
    if draw(st.booleans()):
        text = text.replace("+", "-").replace("/", "_")
    if draw(st.booleans()):
        text = text.rstrip("=")
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(WHITE) + text[place:]
    if draw(st.booleans()):
        text = draw(WHITE) + draw(st.sampled_from(["data:", "DATA:image/png;base64"])) + "," + text
        text = text.replace("data:,", "data:image/png;base64,")
    return data, text


@given(encodings(), st.lists(st.integers(0, 200), max_size=8))
@example((b"\xfb", "-w"), [])
@example((b"abc", "YWJj\n"), [])
@example((b"a", "YQ==\n"), [])
@example((b"ab\xff", "YWL_"), [1])
def test_every_seen_spelling_gives_the_bytes_however_it_is_cut(
    written: tuple[bytes, str], places: list[int]
) -> None:
    data, text = written
    assert at_once(text) == data
    assert in_pieces(cut(text.encode(), places)) == data
    assert in_pieces([bytes((byte,)) for byte in text.encode()]) == data


ODD = st.text("QUFBabcdt:,-_+/=. \n;" + "\u00e9", max_size=24)


@given(ODD, st.lists(st.integers(0, 30), max_size=6))
def test_any_text_gives_the_same_bytes_or_the_same_refusal(text: str, places: list[int]) -> None:
    assert in_pieces(cut(text.encode(), places)) == at_once(text)


@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_odd_texts_agree(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(5_000):
        text = "".join(
            rng.choices("QUFB-_+/=\n" if rng.random() < 0.9 else "dat:,Q=.", k=rng.randrange(14))
        )
        places = [rng.randrange(20) for _ in range(rng.randrange(5))]
        assert in_pieces(cut(text.encode(), places)) == at_once(text), (text, places)


def test_white_space_before_a_prefix_may_be_long_and_cut_anywhere() -> None:
    text = b" " * 300 + b"data:image/png;base64,QUFB"
    assert in_pieces([text]) == in_pieces([bytes((byte,)) for byte in text]) == b"AAA"


def test_a_prefix_without_an_end_is_refused_wherever_it_is_cut() -> None:
    text = b"data:" + b"x" * 400 + b",QUFB"
    assert in_pieces([text]) is None
    assert in_pieces([text[:300], text[300:]]) is None
