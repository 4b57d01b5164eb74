"""Parsing an answer as it arrives equals parsing it whole: `json.loads` and `b64decode`.

The reference below is written from the public description of the answer, not from the code. The
generator writes documents as text, so that every spelling of the same value occurs: escapes in
keys and values, either case of hex digits, white space, duplicate members, either member name.
"""

from __future__ import annotations

import base64
import binascii
import json
import random
import re
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.errors import AttemptError
from batchgen.sanitize import printable
from batchgen.wire import stream as wire_stream
from batchgen.wire.reply import ReplyImage, read_reply, why_no_image
from batchgen.wire.stream import ReplyStream

if TYPE_CHECKING:
    from collections.abc import Callable

# --- the reference: the whole document at once --------------------------------------------------


@dataclass(frozen=True)
class Meaning:
    """What an answer says; an image that is no base64 is None, `final` its last that is shown."""

    images: tuple[tuple[bytes | None, bool], ...]
    final: bytes | None
    text: str | None
    finish_reason: str | None
    model_version: str | None


def decode_at_once(text: str) -> bytes | None:
    text = "".join(ch for ch in text if ch not in " \t\r\n\v\f")
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    text = text.replace("-", "+").replace("_", "/")
    bare = text.rstrip("=")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def without_lone_surrogates(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case list():
            return [without_lone_surrogates(one) for one in value]
        case dict():
            return {
                without_lone_surrogates(key): without_lone_surrogates(one)
                for key, one in value.items()
            }
        case _:
            return value


def integer(digits: str) -> int | None:
    return int(digits) if len(digits) < 4000 else None


def at_once(body: bytes) -> Meaning | None:
    """The meaning of a whole body; None where it is refused."""
    try:
        document = json.loads(
            body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"),
            strict=False,
            parse_int=integer,
        )
    except (ValueError, RecursionError):
        return None
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if not isinstance(document, dict):
        return None

    def at(value: Any, *names: str) -> Any:
        """The first of these members that is there and not null."""
        found = [value[name] for name in names if name in value] if isinstance(value, dict) else []
        return next((one for one in found if one is not None), None)

    def words(value: Any) -> str | None:
        return without_lone_surrogates(value) if isinstance(value, str) and value else None

    def name(value: Any) -> str | None:
        return printable(words(value) or "", 120) or None

    def is_thought(part: dict[str, Any]) -> bool:
        return str(part.get("thought")).lower() == "true"

    def parts_of(candidate: Any) -> list[dict[str, Any]]:
        parts = at(at(candidate, "content"), "parts")
        return [one for one in parts if isinstance(one, dict)] if isinstance(parts, list) else []

    def images_of(candidate: Any) -> list[tuple[bytes | None, bool]]:
        found = [
            (at(at(part, "inlineData", "inline_data"), "data"), is_thought(part))
            for part in parts_of(candidate)
        ]
        return [(decode_at_once(data), flag) for data, flag in found if isinstance(data, str)]

    candidates = at(document, "candidates")
    candidates = candidates if isinstance(candidates, list) else []
    shown = [one for one in candidates if any(not flag for _, flag in images_of(one))]
    if document.get("error") and not shown:
        return None
    candidate = (*shown, *(one for one in candidates if isinstance(one, dict)), None)[0]
    others = [one for one in candidates if one is not candidate]
    parts = parts_of(candidate)
    images = [image for one in (candidate, *others) for image in images_of(one)]
    texts = [words(part.get("text")) for part in parts if not is_thought(part)]
    usage = at(document, "usageMetadata", "usage_metadata")
    return Meaning(
        images=tuple(images),
        final=next((data for data, flag in reversed(images_of(candidate)) if not flag), None),
        text="\n".join(text for text in texts if text)[: 64 << 10] or None,
        finish_reason=name(at(candidate, "finishReason", "finish_reason")),
        model_version=name(at(document, "modelVersion", "model_version"))
        or name(at(usage, "modelVersion", "model_version")),
    )


# --- the code under test, from chunks -----------------------------------------------------------


@dataclass
class Sink:
    """Keeps what is written, and that it is closed once."""

    data: bytearray = field(default_factory=bytearray)
    faults: list[str | None] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        assert not self.faults
        self.data += data

    def close(self, fault: str | None) -> None:
        assert not self.faults
        self.faults.append(fault)


def stream_of(chunks: list[bytes]) -> tuple[ReplyStream, list[Sink]]:
    sinks: list[Sink] = []

    def open_sink(n: int) -> Sink:
        assert n == len(sinks)
        sinks.append(Sink())
        return sinks[n]

    stream = ReplyStream(open_sink)
    for chunk in chunks:
        stream.feed(chunk)
    return stream, sinks


def as_it_arrives(chunks: list[bytes]) -> Meaning | None:
    """The meaning of a body that comes in chunks; None where it is refused."""
    try:
        stream, sinks = stream_of(chunks)
        stream.end()
        reply = read_reply(stream.skeleton())
        if reply.final is None:
            assert isinstance(why_no_image(reply), AttemptError)
    except AttemptError:
        return None
    assert stream.is_whole
    assert all(len(sink.faults) == 1 for sink in sinks)

    def data(image: ReplyImage | None) -> bytes | None:
        sink = None if image is None else sinks[image.index]
        return None if sink is None or sink.faults != [None] else bytes(sink.data)

    images = tuple((data(image), image.role == "thought") for image in reply.images)
    return Meaning(images, data(reply.final), reply.text, reply.finish_reason, reply.model_version)


def cut(body: bytes, rng: random.Random) -> list[bytes]:
    """Chunks with random borders: a few, many, or one a byte."""
    match rng.randrange(4):
        case 0:
            return [body]
        case 1:
            return [bytes((byte,)) for byte in body]
        case 2:
            places = sorted(rng.randrange(len(body) + 1) for _ in range(rng.randrange(1, 6)))
        case _:
            places = sorted(rng.randrange(len(body) + 1) for _ in range(len(body) // 7))
    bounds = [0, *places, len(body)]
    return [body[start:end] for start, end in pairwise(bounds)]


# --- the generator ------------------------------------------------------------------------------


@dataclass
class Members:
    """An object as its members in order, so that a name may stand twice."""

    pairs: list[tuple[str, Any]]


SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", '"': '\\"', "\\": "\\\\"}
ALPHABETS = (
    'abc xyz0,:{}[]"\\/',
    "\n\t\r\b\f\x00\x1f\x7f",
    "\u00e9\u4e2d\u2028\ufeff",
    "\U0001f600\U0010ffff",
    "\ud800\udfff",
)


def write_string(text: str, rng: random.Random, escapes: float) -> str:
    return '"' + "".join(_write_character(ch, rng, escapes) for ch in text) + '"'


def _write_character(ch: str, rng: random.Random, escapes: float) -> str:
    surrogate = "\ud800" <= ch <= "\udfff"
    if not surrogate and ch not in '"\\' and rng.random() > escapes:
        return ch
    if rng.random() < 0.5 and (ch in SHORT or ch == "/"):
        return SHORT.get(ch, "\\/")
    units = ch.encode("utf-16-be", "surrogatepass")
    form = "\\u%04x" if rng.random() < 0.5 else "\\u%04X"
    return "".join(form % int.from_bytes(units[n : n + 2], "big") for n in range(0, len(units), 2))


def write(value: Any, rng: random.Random) -> str:
    space = rng.choice(("", "", "", " ", "\n\t", "\r\n"))
    match value:
        case Members():
            written = [
                write_string(key, rng, rng.choice((0, 0, 0, 0.3))) + space + ":" + write(one, rng)
                for key, one in value.pairs
            ]
            return space + "{" + ",".join(written) + space + "}" + space
        case list():
            return space + "[" + ",".join(write(one, rng) for one in value) + space + "]" + space
        case str():
            return space + write_string(value, rng, rng.choice((0, 0.02, 0.3, 1))) + space
        case _:
            return space + json.dumps(value) + space


def some_text(rng: random.Random) -> str:
    alphabet = rng.choice(ALPHABETS)
    return "".join(rng.choices(alphabet, k=rng.randrange(12)))


def some_base64(rng: random.Random) -> str:
    text = base64.b64encode(rng.randbytes(rng.choice((0, 1, 2, 3, 20, 61, 120)))).decode()
    if rng.random() < 0.3:
        text = text.replace("+", "-").replace("/", "_")
    if rng.random() < 0.3:
        text = text.rstrip("=")
    while rng.random() < 0.25:
        place = rng.randrange(len(text) + 1)
        text = text[:place] + rng.choice((" ", "\n", "\r\n", "\t")) + text[place:]
    if rng.random() < 0.15:
        text = rng.choice(("data:image/png;base64,", "DATA:,", "\n data:image/jpeg;base64,")) + text
    if rng.random() < 0.12:
        place = rng.randrange(len(text) + 1)
        odd = rng.choice(("...", "=", "\u00e9", "\\", '"', "\\/", "A", "\x00", "\ud800"))
        text = text[:place] + odd + text[place:]
    return text


def junk(rng: random.Random, depth: int = 0) -> Any:
    match rng.randrange(11 if depth < 4 else 7):
        case 0:
            return None
        case 1:
            return rng.random() < 0.5
        case 2:
            return rng.choice((0, -1, 13.5, 1e300, 10**30, float("nan"), float("inf")))
        case 3:
            return "7"
        case 4 | 5 | 6:
            return some_text(rng)
        case 7:
            return [junk(rng, depth + 1) for _ in range(rng.randrange(4))]
        case 8:
            return Members([("inlineData", junk(rng, depth + 1)), ("data", some_base64(rng))])
        case _:
            names = ("data", "inlineData", "thought", "text", "x", "", "parts", some_text(rng))
            count = rng.randrange(4)
            return Members([(rng.choice(names), junk(rng, depth + 1)) for _ in range(count)])


def inline(rng: random.Random) -> Members:
    pairs: list[tuple[str, Any]] = [("data", some_base64(rng))]
    if rng.random() < 0.8:
        name = rng.choice(("mimeType", "mime_type"))
        pairs.append((name, rng.choice(("image/png", "image/jpeg", None, some_text(rng)))))
    if rng.random() < 0.1:
        pairs.append(("data", rng.choice((some_base64(rng), 5, None, Members([]), ["7"]))))
    if rng.random() < 0.1:
        pairs.append((some_text(rng), junk(rng)))
    rng.shuffle(pairs)
    return Members(pairs)


def part(rng: random.Random) -> Any:
    kind = rng.random()
    if kind < 0.08:
        return junk(rng)
    pairs: list[tuple[str, Any]] = []
    if kind < 0.7:
        pairs.append((rng.choice(("inlineData", "inlineData", "inline_data")), inline(rng)))
    if kind < 0.05 or kind > 0.6:
        pairs.append(("text", some_text(rng)))
    if rng.random() < 0.3:
        pairs.append(("thought", rng.choice((True, True, False, None, "true"))))
    if rng.random() < 0.3:
        pairs.append(("thoughtSignature", some_base64(rng)))
    if rng.random() < 0.1:
        odd = rng.choice((inline(rng), [inline(rng)], None, "QUFB"))
        pairs.append((rng.choice(("inlineData", "inline_data")), odd))
    rng.shuffle(pairs)
    return Members(pairs)


def document(rng: random.Random) -> bytes:
    content: list[tuple[str, Any]] = [("parts", [part(rng) for _ in range(rng.randrange(5))])]
    if rng.random() < 0.5:
        content.insert(rng.randrange(2), ("role", "model"))
    candidate: list[tuple[str, Any]] = [("content", Members(content))]
    if rng.random() < 0.7:
        candidate.append(("finishReason", rng.choice(("STOP", "NO_IMAGE", "NEW", some_text(rng)))))
    candidates: list[Any] = [Members(candidate)]
    if rng.random() < 0.1:
        candidates.append(Members([("content", Members([("parts", [part(rng)])]))]))
    pairs: list[tuple[str, Any]] = [("candidates", candidates)]
    if rng.random() < 0.5:
        pairs.append(("usageMetadata", Members([("totalTokenCount", 5), ("modelVersion", "u")])))
    if rng.random() < 0.5:
        pairs.append((rng.choice(("modelVersion", "model_version")), some_text(rng)))
    while rng.random() < 0.3:
        pairs.append((some_text(rng) or "inlineData", junk(rng)))
    rng.shuffle(pairs)
    root: Any = Members(pairs)
    text = write([root] if rng.random() < 0.1 else root, rng)
    return rng.choice((b"", b"", b"\xef\xbb\xbf")) + text.encode("utf-8", "surrogatepass")


# --- the properties -----------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.integers(0, 10**6), st.lists(st.integers(0, 3000), max_size=12))
def test_any_split_of_any_document_means_what_it_means_at_once(
    seed: int, places: list[int]
) -> None:
    body = document(random.Random(seed))
    bounds = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    chunks = [body[start:end] for start, end in pairwise(bounds)]
    assert as_it_arrives(chunks) == at_once(body)


def check_documents(seeds: range) -> None:
    n_pictures = 0
    for seed in seeds:
        rng = random.Random(seed)
        body = document(rng)
        meant = at_once(body)
        assert as_it_arrives(cut(body, rng)) == meant, f"seed {seed}"
        n_pictures += meant is not None and bool(meant.final)
    assert n_pictures > 0.3 * len(seeds), "the generator makes too few pictures to be a test"


@pytest.mark.reliability
@pytest.mark.parametrize("batch", range(5))
def test_thousands_of_documents_mean_the_same_in_chunks_and_at_once(
    batch: int, tried: Callable[[str, int, str], None]
) -> None:
    check_documents(range(batch * 1000, batch * 1000 + 1000))
    tried("P25", 1000, "documents")


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("batch", range(10))
def test_a_hundred_thousand_documents_mean_the_same_in_chunks_and_at_once(
    batch: int, tried: Callable[[str, int, str], None]
) -> None:
    check_documents(range((batch + 1) * 10**6, (batch + 1) * 10**6 + 10_000))
    tried("P25", 10_000, "documents")


def test_a_document_cut_at_any_one_place_means_the_same() -> None:
    for seed in range(12):
        body = document(random.Random(seed))
        meant = at_once(body)
        for place in range(len(body)):
            assert as_it_arrives([body[:place], body[place:]]) == meant, (seed, place)


def test_a_document_cut_off_at_any_place_is_neither_whole_nor_accepted(
    tried: Callable[[str, int, str], None],
) -> None:
    n_cut = 0
    for seed in range(20):
        body = document(random.Random(seed)).rstrip()
        n_cut += len(body)
        for end in range(len(body)):
            stream, sinks = stream_of([body[:end]])
            assert not stream.is_whole, (seed, end)
            with pytest.raises(AttemptError):
                read_reply(stream.skeleton())
            assert all(sink.faults for sink in sinks[:-1])
    tried("P24", n_cut, "mutants")


def test_documents_of_which_values_are_left_out_hold_the_same_pictures(
    monkeypatch: pytest.MonkeyPatch, tried: Callable[[str, int, str], None]
) -> None:
    monkeypatch.setattr(wire_stream, "MANY_VALUES", 12)
    monkeypatch.setattr(wire_stream, "_MAX_MEMBERS", 3)
    n_short = 0
    for seed in range(1500):
        rng = random.Random(seed)
        body = document(rng)
        meant = at_once(body)
        stream, sinks = stream_of(cut(body, rng))
        n_short += stream.is_shortened
        got = as_it_arrives(cut(body, rng))
        if meant is None or not meant.images:
            continue
        # What is left out holds no picture, and the document that is left is a document. Of a name
        # that stands twice the last may be left out.
        assert got is not None, f"seed {seed}"
        whole = {bytes(sink.data) for sink in sinks if sink.faults == [None]}
        assert {data for data, _ in meant.images if data is not None} <= whole, f"seed {seed}"
        assert bool(got.images) >= bool(meant.images), f"seed {seed}"
    assert n_short > 200, "too little is left out to be a test"
    tried("P25", 1500, "documents")


SPLICES = (
    b'"inlineData":{"data":"',
    b'"inline_data":',
    b'"d\\u0061ta":"QUFB"',
    b"\\u",
    b"\\ud83d",
    b"\\",
    b'"',
    b"\\\\/",
    b"{",
    b"}",
    b"[" * 150,
    b'{"a":' * 120,
    b"1" * 5000,
    b"NaN",
    b"-Infinity",
    b"\xed\xa0\x80",
    b"\xff",
    b"\x00",
    b"=",
    b"<html>",
    b"\xef\xbb\xbf",
    b"\v",
    b'"error":{"code":"\xc2\xb2"},',
    b'"thought":true,',
)


NAMES = (b'"inlineData"', b'"inline_data"', b'"data"', b'"text"', b'"thought"', b'"parts"')
VALUES = (b"null", b"true", b"[]", b"{}", b"-1", b"1e999", b'"x"', b'"0"', b"false", b"5", b"NaN")


def swapped(body: bytes, words: tuple[bytes, ...], rng: random.Random) -> bytes:
    """The body with another word in place of one of these, if there is one."""
    there = [found for word in words for found in re.finditer(re.escape(word), body)]
    if not there:
        return body
    found = rng.choice(there)
    return body[: found.start()] + rng.choice(words) + body[found.end() :]


def mutant(rng: random.Random) -> bytes:
    """A document with a few things done to it that no sane sender does."""
    body = bytearray(document(rng))
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(body) + 1)
        match rng.randrange(8):
            case 0 if place < len(body):
                body[place] ^= 1 << rng.randrange(8)
            case 6:
                body[:] = swapped(bytes(body), NAMES, rng)
            case 7:
                body[:] = swapped(bytes(body), VALUES, rng)
            case 1:
                body[place:place] = rng.choice(SPLICES)
            case 2:
                del body[place : place + rng.randrange(1, 40)]
            case 3:
                start = rng.randrange(len(body) + 1)
                body[place:place] = body[start : start + 200]
            case 4:
                body[place:] = document(rng)[rng.randrange(20) :]
            case _:
                body[place : place + 1] = rng.choice(
                    (b'"', b"{", b"}", b"[", b"]", b":", b",", b"\\")
                )
    return bytes(body)


def with_escapes_put_right(body: bytes) -> bytes:
    """The body with `?` for each escape that JSON does not know.

    A bad escape inside one picture makes that picture faulty, not the document around it.
    """
    known = rb'\\(?:(["\\/bfnrt]|u[0-9a-fA-F]{4})|.|\Z)'
    return re.sub(known, lambda m: m[0] if m[1] else b"?", body, flags=re.DOTALL)


def check_mutants(seeds: range) -> None:
    n_accepted = 0
    for seed in seeds:
        rng = random.Random(~seed)
        body = mutant(rng)
        began_s = time.thread_time()
        got = as_it_arrives(cut(body, rng))
        assert time.thread_time() - began_s < 1, f"seed {seed} takes too long"
        if got is None or got.final is None:
            continue
        meant = at_once(body) or at_once(with_escapes_put_right(body))
        assert meant is not None, f"seed {seed}: refused at once, accepted in chunks"
        assert got.final == meant.final, f"seed {seed}"
        n_accepted += 1
    assert n_accepted > 0.05 * len(seeds), "too few mutants survive to be a test"


@pytest.mark.reliability
@pytest.mark.parametrize("batch", range(5))
def test_mutants_give_an_attempt_error_or_the_very_picture_that_is_in_them(
    batch: int, tried: Callable[[str, int, str], None]
) -> None:
    check_mutants(range(batch * 2000, batch * 2000 + 2000))
    tried("P24", 2000, "mutants")


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("batch", range(10))
def test_a_hundred_thousand_mutants_give_an_attempt_error_or_the_very_picture_that_is_in_them(
    batch: int, tried: Callable[[str, int, str], None]
) -> None:
    check_mutants(range((batch + 1) * 10**6, (batch + 1) * 10**6 + 10_000))
    tried("P24", 10_000, "mutants")


@pytest.mark.parametrize("seed", range(2))
def test_mutants_split_anywhere_mean_what_they_mean_unsplit(
    seed: int, tried: Callable[[str, int, str], None]
) -> None:
    for offset in range(1500):
        rng = random.Random(1_000_000 * (seed + 1) + offset)
        body = mutant(rng)
        assert as_it_arrives([body]) == as_it_arrives(cut(body, rng)), (seed, offset)
    tried("P24", 1500, "mutants")


@given(st.binary(max_size=200))
def test_any_bytes_raise_nothing_but_attempt_errors(body: bytes) -> None:
    as_it_arrives([body])
    with pytest.raises(AttemptError):
        read_reply(body + b"{")
