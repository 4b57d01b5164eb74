"""Answers that are odd in one member: no picture that was paid for is lost for it.

Whatever a member says, each whole picture in an answer's bytes is looked for on the disk again: as
the picture, as a draft or a thought that is kept, or in quarantine.
"""

import base64
import json
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from PIL import Image

from tests import servers
from tests.runs import Ran, run_job, write_job
from tests.servers import Answer, FaultServer, document, http, image_part, png, sends

Json: TypeAlias = dict[str, Any]
Told: TypeAlias = tuple[str, str, str]

CAT, DOG, OWL = png("a cat"), png("a dog"), png("an owl")
PLAIN = base64.b64encode(CAT).decode()
DONE: list[Told] = [("image", "done", "yes")]
DEEP = 5000
DIGITS = "9" * 5000


# --- how an answer is written -------------------------------------------------------------------


def text(value: object) -> str:
    return json.dumps(value)


def says(body: str | bytes) -> Answer:
    return sends(http(200, body if isinstance(body, bytes) else body.encode()))


def candidate(*parts: object, **members: object) -> Json:
    return {"content": {"role": "model", "parts": list(parts)}, "finishReason": "STOP", **members}


def answer(*candidates: object, **members: object) -> str:
    return text({"candidates": list(candidates), "usageMetadata": servers.USAGE, **members})


def beside(member: str, *, first: bool, usage: object = servers.USAGE) -> str:
    """A cat, and this member of the document, as it is written, before or after it."""
    whole = text(document(image_part(CAT), usage=usage))[1:-1]
    return "{" + (f"{member}, {whole}" if first else f"{whole}, {member}") + "}"


def in_candidate(member: str, *, first: bool) -> str:
    """The same with a member of the candidate."""
    content = text({"parts": [image_part(CAT)], "role": "model"})
    members = [member, f'"content": {content}']
    inside = ", ".join(members if first else members[::-1])
    return f'{{"candidates": [{{{inside}}}], "usageMetadata": {text(servers.USAGE)}}}'


def in_part(member: str, *, first: bool) -> str:
    """The same with a member of the picture's part."""
    inline = text(image_part(CAT))[1:-1]
    members = ", ".join([member, inline] if first else [inline, member])
    return f'{{"candidates": [{{"content": {{"parts": [{{{members}}}]}}}}]}}'


def labelled(inline: str) -> str:
    """A cat whose `inlineData` has these members before its data."""
    return answer(candidate("CAT")).replace(
        '"CAT"', f'{{"inlineData": {{{inline}"data": "{PLAIN}"}}}}'
    )


# --- what is there afterwards -------------------------------------------------------------------


def on_disk(ran: Ran) -> Counter[bytes]:
    """Every picture that is kept, wherever."""
    folders = ("images", "drafts", "thoughts", "quarantine")
    return Counter(
        path.read_bytes()
        for folder in folders
        for path in (ran.directory / folder).rglob("*")
        if path.is_file()
    )


async def answered(job: Path, body: str | bytes) -> Ran:
    """Run a job whose service says nothing else."""
    with FaultServer(lambda _: says(body)) as server:
        ran = await run_job(job, server)
    assert server.requests == {"cat": len(ran.told)}
    return ran


def cases(table: dict[str, Any]) -> list[Any]:
    return [pytest.param(value, id=name) for name, value in table.items()]


# --- an odd member beside a picture ---------------------------------------------------------------

BESIDE = {
    "an error": '"error": {"code": 503, "status": "UNAVAILABLE", "message": "late"}',
    "an error in words": '"error": "sorry"',
    "an error about the key": '"error": {"code": 401, "status": "UNAUTHENTICATED"}',
    "no error": '"error": null',
    "a block reason": '"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "no"}',
    "feedback in words": '"promptFeedback": "fine"',
    "feedback of numbers": '"promptFeedback": {"blockReason": 7, "safetyRatings": "none"}',
    "a version that is a number": '"modelVersion": 3.1',
    "a version that is a list": '"modelVersion": ["gemini"]',
    "a version without end": f'"modelVersion": "{"v" * (1 << 20)}"',
    "a version that is half a letter": r'"modelVersion": "\ud83d"',
    "an id that is a number": '"responseId": 5',
    "an id in two lines": r'"responseId": "a\nb\u0000c"',
    "raw control codes": '"comment": "a\nb\tc"',
    "a status of the model": '"modelStatus": [], "createTime": false',
    "a long number": f'"n": {DIGITS}',
    "a number with a long tail": f'"n": 0.{DIGITS}',
    "infinity": '"n": Infinity, "m": 1e999, "k": -Infinity',
    "deep nesting": f'"x": {"[" * 90}{"]" * 90}',
    "a name twice": '"comment": 1, "comment": 2',
    "a name without end": f'"{"k" * (2 << 20)}": 1',
    "data that is no picture's": '"data": "0", "inline_data": "0"',
}
IN_CANDIDATE = {
    "reason that is a number": '"finishReason": 1',
    "reason that is a list": '"finishReason": ["STOP"]',
    "reason that is an object": '"finishReason": {"name": "STOP"}',
    "reason that is nothing": '"finishReason": ""',
    "reason in lower case": '"finishReason": "stop"',
    "reason that nobody knows": '"finishReason": "A_REASON_OF_TOMORROW"',
    "reason of a refusal": '"finishReason": "IMAGE_SAFETY"',
    "reason of a cut": '"finishReason": "MAX_TOKENS"',
    "reason of no picture": '"finishReason": "NO_IMAGE"',
    "reason about the account": '"finishReason": "PUP_LIMITED_DISABLED"',
    "reason without end": f'"finishReason": "{"A" * (1 << 20)}"',
    "message that is a number": '"finishMessage": 5',
    "message without end": f'"finishMessage": "{"so " * 500_000}"',
    "ratings in words": '"safetyRatings": ["HARM_CATEGORY_HARASSMENT: LOW", 3, null]',
    "ratings that are none": '"safetyRatings": "none"',
    "grounding in words": '"groundingMetadata": "the web"',
    "grounding that is a number": '"groundingMetadata": 3',
    "grounding of odd types": '"groundingMetadata": '
    + text(
        {
            "webSearchQueries": "cats",
            "imageSearchQueries": {"0": "cats"},
            "groundingChunks": [None, 3, {"web": 3}, {"web": {"uri": 5, "title": []}}, {}],
            "groundingSupports": [[]],
            "searchEntryPoint": ["<a href='javascript:x'>"],
        }
    ),
    "grounding of half letters": r'"groundingMetadata": {"webSearchQueries": ["\ud800", "\udc00"]}',
    "index that is a word": '"index": "first", "tokenCount": "many", "avgLogprobs": NaN',
    "citations that are odd": '"citationMetadata": [1], "urlContextMetadata": "x"',
}
IN_PART = {
    "words": '"text": "here it is"',
    "words that are a number": '"text": 5',
    "no words": '"text": null',
    "a thought that is none": '"thought": "false"',
    "a signature that is a number": '"thoughtSignature": 5',
    "a signature without end": f'"thoughtSignature": "{"c2ln" * 500_000}"',
    "an address": '"fileData": {"fileUri": "https://storage.example.com/a.png"}',
    "an odd address": '"fileData": "a.png"',
    "a call": '"functionCall": {"name": "draw", "args": {"data": "0"}}',
    "metadata": '"videoMetadata": [], "mediaResolution": {"level": {}}',
}


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    "write",
    [
        *(pytest.param(partial(beside, one), id=name) for name, one in BESIDE.items()),
        *(pytest.param(partial(in_candidate, one), id=name) for name, one in IN_CANDIDATE.items()),
        *(pytest.param(partial(in_part, one), id=name) for name, one in IN_PART.items()),
    ],
)
async def test_no_member_beside_it_costs_a_picture(
    write: Callable[..., str], job: Path, *, first: bool
) -> None:
    ran = await answered(job, write(first=first))
    assert ran.told == DONE
    assert (ran.directory / "images/cat.png").read_bytes() == CAT
    assert not ran.quarantined
    assert ran.exit_code == 0


USAGES: dict[str, Json] = {
    "no number": {"promptTokenCount": "NaN", "totalTokenCount": "1e999"},
    "strings": {name: str(n) for name, n in servers.USAGE.items() if isinstance(n, int)},
    "words": {"promptTokenCount": "many", "candidatesTokenCount": "", "totalTokenCount": "٣"},
    "negative": {"promptTokenCount": -20, "candidatesTokenCount": -1, "totalTokenCount": -21},
    "fractions": {"promptTokenCount": 13.5, "candidatesTokenCount": 0.5, "totalTokenCount": 14.5},
    "truths": {"promptTokenCount": True, "candidatesTokenCount": False, "totalTokenCount": True},
    "huge": {"promptTokenCount": 10**30, "candidatesTokenCount": 2**63, "totalTokenCount": 10**400},
    "lists": {"promptTokenCount": [20], "candidatesTokenCount": {"n": 1}, "totalTokenCount": [[]]},
    "odd details": {
        "promptTokensDetails": [None, 3, "TEXT", {"modality": 3, "tokenCount": "x"}],
        "candidatesTokensDetails": {"modality": "IMAGE", "tokenCount": 1120},
    },
    "negative details": {
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": -1120}],
    },
}


@pytest.mark.parametrize("usage", cases({k: v for k, v in USAGES.items() if k != "strings"}))
async def test_a_usage_that_makes_no_sense_leaves_the_picture_and_an_unknown_cost(
    usage: Json, job: Path
) -> None:
    ran = await answered(job, text(document(image_part(CAT), usage=usage)))
    assert ran.told == DONE
    assert (ran.directory / "images/cat.png").read_bytes() == CAT
    [attempt] = ran.attempts
    assert (attempt["tokens"], attempt["cost_usd"], attempt["cost_basis"]) == (
        *(None, None),
        "unknown",
    )
    assert ran.summary.cost_unknown_attempts == 1


async def test_a_usage_in_strings_is_a_usage(job: Path) -> None:
    usage = {**USAGES["strings"], "candidatesTokensDetails": [{"modality": "IMAGE"}]}
    usage["candidatesTokensDetails"][0]["tokenCount"] = "1120"
    ran = await answered(job, text(document(image_part(CAT), usage=usage)))
    assert ran.told == DONE
    assert str(ran.summary.cost_usd) == "0.138160"


@pytest.mark.parametrize(
    "number", ["NaN", "-Infinity", "1e999", DIGITS, f"-{DIGITS}", f"1{DIGITS}.5"]
)
async def test_a_count_that_no_number_can_hold_leaves_the_picture(number: str, job: Path) -> None:
    usage = f'"usageMetadata": {{"promptTokenCount": {number}, "x": [{number}]}}'
    ran = await answered(job, beside(usage, first=False, usage=None))
    assert ran.told == DONE
    assert (ran.directory / "images/cat.png").read_bytes() == CAT
    assert ran.attempts[0]["usage"]["promptTokenCount"] is None


# --- odd parts beside a picture -------------------------------------------------------------------

NO_DATA: dict[str, Any] = {
    "no text": "",
    "null": None,
    "a number": 0,
    "a list": ["0"],
    "an object": {"data": "0"},
    "a truth": True,
}
NO_INLINE: tuple[object, ...] = ("0", 0, None, [], {}, [{"data": "0"}])
ODD_PARTS: dict[str, list[object]] = {
    "nothing": [None, {}, [], "", 0, False],
    "words": ["here it is", {"text": None}, {"text": ["x"]}, {"text": {"text": "x"}}],
    "inline data that is none": [
        *({"inlineData": value} for value in NO_INLINE),
        *({"inlineData": {"mimeType": "image/png", "data": value}} for value in NO_DATA.values()),
    ],
    "an address": [{"fileData": {"fileUri": "gs://x/a.png"}}, {"fileData": None}],
    "tools": [{"functionCall": {"name": "x"}}, {"executableCode": {"code": "print()"}}],
}


@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("odd", cases(ODD_PARTS))
async def test_no_part_beside_it_costs_a_picture(
    odd: list[object], job: Path, *, after: bool
) -> None:
    parts = [image_part(CAT), *odd] if after else [*odd, image_part(CAT)]
    ran = await answered(job, text(document(*parts)))
    assert ran.told == DONE
    assert (ran.directory / "images/cat.png").read_bytes() == CAT
    assert not ran.quarantined


# Made where they are needed: they are large.
LONG_TEXTS: dict[str, Callable[[], list[object]]] = {
    "two mebibytes in one part": lambda: [{"text": "so " * 700_000}],
    "ten mebibytes of escapes": lambda: [{"text": "\u4e2d\n" * 1_250_000}],
    "forty mebibytes in one part": lambda: [{"text": "so" * (20 << 20)}],
    "a hundred thousand parts": lambda: [{"text": "so"}] * 100_000,
    "two hundred thousand odd parts": lambda: [{"t": 0}] * 200_000,
}


@pytest.mark.parametrize("after", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("texts", cases(LONG_TEXTS))
async def test_words_without_end_are_cut_and_cost_no_picture(
    texts: Callable[[], list[object]], tmp_path: Path, *, after: bool
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"])  # the patience of every day
    parts = [image_part(CAT), *texts()] if after else [*texts(), image_part(CAT)]
    ran = await answered(job, text(document(*parts)))
    assert ran.told == DONE
    assert (ran.directory / "images/cat.png").read_bytes() == CAT
    [attempt] = ran.attempts
    assert len(attempt["text"] or "") <= 64 << 10
    assert all(path.stat().st_size < 1 << 20 for path in ran.directory.glob("text/*"))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"a\ud800b \udfff", "a\ufffdb \ufffd"),
        (r"\ud83d\ude00", "\U0001f600"),
        (r"nul \u0000 and \u202e back", "nul \0 and \u202e back"),
        ("caf\u00e9 \u2028", "caf\u00e9 \u2028"),
    ],
)
async def test_half_letters_are_replaced_where_a_file_could_not_take_them(
    written: str, read: str, job: Path
) -> None:
    body = text(document({"text": "WORDS"}, image_part(CAT), finishMessage="WORDS"))
    ran = await answered(job, body.replace("WORDS", written))
    assert ran.told == DONE
    assert ran.attempts[0]["text"] == read
    assert (ran.directory / "text/cat.txt").read_text("utf-8") == read
    assert (ran.directory / "images/cat.png").read_bytes() == CAT


async def test_bytes_that_are_no_utf8_cost_no_picture(job: Path) -> None:
    body = text(document({"text": "caf?"}, image_part(CAT))).encode().replace(b"caf?", b"caf\xe9")
    ran = await answered(job, body)
    assert ran.told == DONE
    assert ran.attempts[0]["text"] == "caf\ufffd"
    assert (ran.directory / "images/cat.png").read_bytes() == CAT


# --- odd candidates -------------------------------------------------------------------------------

EMPTY_CANDIDATES: dict[str, object] = {
    "null": None,
    "a word": "x",
    "nothing": {},
    "refused": {"finishReason": "IMAGE_SAFETY", "finishMessage": "no", "content": {"parts": None}},
    "out of picture": {"finishReason": "NO_IMAGE", "content": {}},
    "about the account": {"finishReason": "PUP_LIMITED_DISABLED"},
    "words": candidate({"text": "Here it is:"}),
    "an address": candidate({"fileData": {"fileUri": "https://storage.example.com/a.png"}}),
}


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("empty", cases(EMPTY_CANDIDATES))
async def test_a_candidate_without_a_picture_hides_none(
    empty: object, job: Path, *, first: bool
) -> None:
    full = candidate({"text": "a cat"}, image_part(CAT))
    ran = await answered(job, answer(*([empty, full] if first else [full, empty])))
    assert ran.told == DONE
    assert (ran.directory / "images/cat.png").read_bytes() == CAT
    assert ran.attempts[0]["text"] == "a cat"
    assert ran.attempts[0]["finish_reason"] == "STOP"


SEVERAL: dict[str, tuple[str, bytes, Counter[bytes]]] = {
    "two drafts": (
        answer(candidate(image_part(DOG), {"text": "better:"}, image_part(OWL), image_part(CAT))),
        CAT,
        Counter([DOG, OWL]),
    ),
    "another candidate": (
        answer(candidate(image_part(CAT)), candidate(image_part(DOG))),
        CAT,
        Counter([DOG]),
    ),
    "a thought written as text": (
        answer(candidate(image_part(CAT), image_part(DOG, thought="True"))),
        CAT,
        Counter([DOG]),
    ),
    "a thought in another candidate": (
        answer(candidate(image_part(DOG, thought=True)), candidate(image_part(CAT))),
        CAT,
        Counter([DOG]),
    ),
    "candidates twice": (
        "{"
        + ", ".join(f'"candidates": {text([candidate(image_part(one))])}' for one in (DOG, CAT))
        + "}",
        CAT,
        Counter([DOG]),
    ),
    "data twice": (
        answer(candidate("TWO")).replace(
            '"TWO"',
            f'{{"inlineData": {{"data": "{base64.b64encode(DOG).decode()}", "data": "{PLAIN}"}}}}',
        ),
        CAT,
        Counter([DOG]),
    ),
    "both spellings": (
        answer(
            candidate(
                {
                    "inline_data": image_part(DOG)["inlineData"],
                    "inlineData": image_part(CAT)["inlineData"],
                }
            )
        ),
        CAT,
        Counter([DOG]),
    ),
    "a picture inside a tool": (
        answer(
            candidate(
                {"functionResponse": {"response": {"parts": [image_part(DOG)]}}}, image_part(CAT)
            )
        ),
        CAT,
        Counter([DOG]),
    ),
}


@pytest.mark.parametrize(
    ("body", "final", "others"),
    [pytest.param(*value, id=name) for name, value in SEVERAL.items()],
)
async def test_where_everything_is_kept_no_picture_of_an_answer_is_lost(
    body: str, final: bytes, others: Counter[bytes], tmp_path: Path
) -> None:
    keeping = {"keep_drafts": True, "keep_thoughts": True}
    job = write_job(tmp_path / "job.jsonl", ["cat"], output=keeping)
    ran = await answered(job, body)
    assert ran.told == DONE
    assert (ran.directory / "images/cat.png").read_bytes() == final
    assert on_disk(ran) == others + Counter([final])


@pytest.mark.parametrize(
    ("body", "final", "others"),
    [pytest.param(*value, id=name) for name, value in SEVERAL.items()],
)
async def test_where_nothing_is_kept_the_picture_stands_alone(
    body: str, final: bytes, others: Counter[bytes], job: Path
) -> None:
    assert others
    ran = await answered(job, body)
    assert ran.told == DONE
    assert on_disk(ran) == Counter([final])


# --- odd labels, and what the bytes are -----------------------------------------------------------


@pytest.mark.parametrize(
    "inline",
    cases(
        {
            "none": "",
            "null": '"mimeType": null, ',
            "a number": '"mimeType": 5, ',
            "another": '"mimeType": "image/jpeg", ',
            "a character set": '"mimeType": "image/png; charset=utf-8", ',
            "capitals": '"mimeType": "IMAGE/PNG", ',
            "a page": '"mimeType": "text/html", ',
            "none that is known": '"mimeType": "application/octet-stream", ',
            "a name": '"displayName": "../../etc/passwd", "mimeType": "image/png", ',
        }
    ),
)
async def test_the_bytes_tell_what_a_picture_is_whatever_its_label(inline: str, job: Path) -> None:
    ran = await answered(job, labelled(inline))
    assert ran.told == DONE
    [image] = ran.attempts[0]["images"]
    assert (image["path"], image["mime"]) == ("images/cat.png", "image/png")
    assert (ran.directory / "images/cat.png").read_bytes() == CAT


def encoded(kind: str, width: int, height: int, **options: Any) -> bytes:
    out = BytesIO()
    Image.new("RGB", (width, height), "teal").save(out, kind, **options)
    return out.getvalue()


def after_segments(jpeg: bytes, segments: Iterable[tuple[int, int]]) -> bytes:
    """A JPEG with more segments (marker, bytes) before its own."""
    more = b"".join(
        struct.pack(">BBH", 0xFF, marker, n_bytes + 2) + b"\xff\xd9" * (n_bytes // 2)
        for marker, n_bytes in segments
    )
    return jpeg[:2] + more + jpeg[2:]


KINDS: dict[str, tuple[bytes, str, tuple[int, int]]] = {
    "JPEG": (encoded("JPEG", 48, 64), "jpg", (48, 64)),
    "JPEG in steps": (encoded("JPEG", 640, 48, progressive=True), "jpg", (640, 48)),
    "JPEG behind 60 kB of a profile": (
        encoded("JPEG", 48, 64, icc_profile=bytes(60_000)),
        "jpg",
        (48, 64),
    ),
    "JPEG behind 300 kB of a profile": (
        encoded("JPEG", 1584, 672, icc_profile=bytes(300_000)),
        "jpg",
        (1584, 672),
    ),
    "JPEG behind megabytes of segments": (
        after_segments(encoded("JPEG", 96, 32), [(0xEB, 65_000)] * 50),
        "jpg",
        (96, 32),
    ),
    "JPEG with fill bytes": (
        encoded("JPEG", 96, 32)[:2] + b"\xff" * 300 + encoded("JPEG", 96, 32)[2:],
        "jpg",
        (96, 32),
    ),
    "JPEG with a byte behind it": (encoded("JPEG", 96, 32) + b"\n", "jpg", (96, 32)),
    "WebP": (encoded("WEBP", 96, 32), "webp", (96, 32)),
    "WebP without loss": (encoded("WEBP", 96, 32, lossless=True), "webp", (96, 32)),
    "WebP with a profile": (encoded("WEBP", 96, 32, icc_profile=bytes(200)), "webp", (96, 32)),
    "PNG": (encoded("PNG", 2928, 352), "png", (2928, 352)),
    "PNG with a byte behind it": (encoded("PNG", 32, 96) + b"\n", "png", (32, 96)),
}


@pytest.mark.parametrize(
    ("data", "extension", "pixels"),
    [pytest.param(*value, id=name) for name, value in KINDS.items()],
)
async def test_a_picture_labelled_as_another_kind_gets_its_own_ending_and_its_real_pixels(
    data: bytes, extension: str, pixels: tuple[int, int], job: Path
) -> None:
    ran = await answered(job, text(document(image_part(data, "image/gif"))))
    assert ran.told == DONE
    [image] = ran.attempts[0]["images"]
    assert image["path"] == f"images/cat.{extension}"
    assert (image["width"], image["height"]) == pixels
    assert (ran.directory / image["path"]).read_bytes() == data


@pytest.mark.parametrize(
    "data",
    cases(
        {
            "AVIF": encoded("AVIF", 32, 32),
            "BMP": encoded("BMP", 32, 32),
            "TIFF": encoded("TIFF", 32, 32),
            "SVG with a head": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
            "JPEG XL": b"\xff\x0a" + b"\x00" * 100,
            "JSON": b'{"error": "sorry"}',
            "one byte": b"\x89",
        }
    ),
)
async def test_what_no_browser_and_no_model_reads_is_kept_and_not_asked_for_again(
    data: bytes, job: Path
) -> None:
    ran = await answered(job, text(document(image_part(data))))
    assert ran.told == [("broken_image", "failed", "yes")]
    assert ran.exit_code == 4
    assert [(path.suffix, path.read_bytes()) for path in ran.quarantined] == [(".bin", data)]


# --- no final picture, and what is kept all the same ----------------------------------------------

RETRIED_TWICE: list[Told] = [("no_image", "retry", "yes")] * 2 + [("no_image", "failed", "yes")]
RETRIED_ONCE: list[Told] = [("no_image", "retry", "yes"), ("no_image", "failed", "yes")]
FAILED: list[Told] = [("no_image", "failed", "yes")]
BLOCKED: list[Told] = [("blocked", "failed", "yes")]
BROKEN: list[Told] = [("broken_image", "retry", "yes"), ("broken_image", "failed", "yes")]
BAD: list[Told] = [("bad_reply", "retry", "maybe"), ("bad_reply", "failed", "maybe")]
ADDRESS = {"fileData": {"mimeType": "image/png", "fileUri": "https://storage.example.com/a.png"}}


def no_data(value: object) -> str:
    return text(document({"inlineData": {"mimeType": "image/png", "data": value}}))


NO_PICTURE: dict[str, tuple[str | bytes, list[Told], list[bytes]]] = {
    "no candidates at all": (text({"usageMetadata": servers.USAGE}), RETRIED_TWICE, []),
    "an empty object": ("{}", RETRIED_TWICE, []),
    "candidates that are a word": (text({"candidates": "none"}), RETRIED_TWICE, []),
    "a candidate that is null": (answer(None), RETRIED_TWICE, []),
    "a candidate that is a list": (answer([candidate(image_part(CAT))]), RETRIED_ONCE, [CAT]),
    "no content": (answer({"finishReason": "STOP"}), RETRIED_TWICE, []),
    "a content that is null": (answer({"content": None}), RETRIED_TWICE, []),
    "a content that is a word": (answer({"content": "x"}), RETRIED_TWICE, []),
    "parts that are null": (answer({"content": {"parts": None}}), RETRIED_TWICE, []),
    "parts that are none": (answer({"content": {"parts": []}}), RETRIED_TWICE, []),
    "parts that are lists": (answer(candidate([image_part(CAT)])), RETRIED_ONCE, [CAT]),
    "parts twice, the last of them empty": (
        answer({"content": "TWICE"}).replace(
            '"TWICE"', f'{{"parts": {text([image_part(CAT)])}, "parts": []}}'
        ),
        RETRIED_ONCE,
        [CAT],
    ),
    "a picture in no candidate": (
        text({"candidates": [], "inlineData": image_part(CAT)["inlineData"]}),
        RETRIED_ONCE,
        [CAT],
    ),
    **{f"data that is {name}": (no_data(one), RETRIED_TWICE, []) for name, one in NO_DATA.items()},
    "no data": (text(document({"inlineData": {"mimeType": "image/png"}})), RETRIED_TWICE, []),
    "a reason in lower case": (answer({"finishReason": "image_safety"}), BLOCKED, []),
    "a reason that is a number": (answer({"finishReason": 8}), RETRIED_ONCE, []),
    "a reason that is a list": (answer({"finishReason": ["IMAGE_SAFETY"]}), RETRIED_TWICE, []),
    "a reason without end": (answer({"finishReason": "A" * (1 << 20)}), RETRIED_ONCE, []),
    "a reason of control codes": (answer({"finishReason": "A\x1b[31m\nB"}), RETRIED_ONCE, []),
    "a reason that is spaces": (answer({"finishReason": " \n"}), RETRIED_TWICE, []),
    "a block reason that nobody knows": (
        text({"promptFeedback": {"blockReason": "A_REASON_OF_TOMORROW"}}),
        BLOCKED,
        [],
    ),
    "a block reason in snake case": (
        text({"prompt_feedback": {"block_reason": "SAFETY"}}),
        BLOCKED,
        [],
    ),
    "a block reason that is a number": (
        text({"promptFeedback": {"blockReason": 3}}),
        BLOCKED,
        [],
    ),
    "a block reason beside a thought": (
        answer(candidate(image_part(CAT, thought=True)), promptFeedback={"blockReason": "OTHER"}),
        BLOCKED,
        [CAT],
    ),
    "a refusal beside a thought": (
        answer(candidate(image_part(CAT, thought=True), finishReason="IMAGE_SAFETY")),
        BLOCKED,
        [CAT],
    ),
    "a thought alone, written as text": (
        answer(candidate(image_part(CAT, thought="true"))),
        RETRIED_ONCE,
        [CAT],
    ),
    "thoughts alone, of two candidates": (
        answer(*(candidate(image_part(one, thought=True)) for one in (CAT, DOG))),
        RETRIED_ONCE,
        [CAT, DOG],
    ),
    "an address alone": (answer(candidate(ADDRESS)), FAILED, []),
    "an address and words": (answer(candidate({"text": "Here:"}, ADDRESS)), FAILED, []),
    "an address in snake case": (
        answer(candidate({"file_data": {"file_uri": "gs://b/a.png"}})),
        FAILED,
        [],
    ),
    "a whole draft before half a picture": (
        answer(candidate(image_part(DOG), image_part(CAT[:-20]))),
        BROKEN,
        [DOG, CAT[:-20]],
    ),
    "a whole draft before base64 that is none": (
        answer(candidate(image_part(DOG), image_part(b"TWO"))).replace("VFdP", "iVBOR=w0KGgo"),
        BROKEN,
        [DOG],
    ),
    "an error beside a thought": (
        answer(candidate(image_part(CAT, thought=True)), error={"message": "sorry"}),
        [("server_error", "retry", "maybe"), ("server_error", "failed", "maybe")],
        [CAT],
    ),
    "a list of two": (
        f"[{answer(candidate(image_part(CAT)))}, {answer(candidate(image_part(DOG)))}]",
        BAD,
        [CAT, DOG],
    ),
    "a list in a list": (f"[[{answer(candidate(image_part(CAT)))}]]", BAD, [CAT]),
    "a picture in a text": (text(answer(candidate(image_part(CAT)))), BAD, []),
    "a comma too many": (answer(candidate(image_part(CAT)))[:-1] + ",}", BAD, [CAT]),
    "a brace too many": (answer(candidate(image_part(CAT))) + "}", BAD, [CAT]),
    "a number": ("3", BAD, []),
    "true": ("true", BAD, []),
    "UTF-16": (answer(candidate({"text": "x"})).encode("utf-16"), BAD, []),
    "an event stream": (f"data: {answer(candidate(image_part(CAT)))}\n\n", BAD, [CAT]),
}


@pytest.mark.parametrize(
    ("body", "told", "pictures"),
    [pytest.param(*value, id=name) for name, value in NO_PICTURE.items()],
)
async def test_without_a_final_picture_the_reason_decides_and_whole_pictures_are_kept(
    body: str | bytes, told: list[Told], pictures: list[bytes], job: Path
) -> None:
    ran = await answered(job, body)
    assert ran.told == told
    assert ran.exit_code == 4
    whole = [one for one in pictures for _ in told]
    kept = on_disk(ran)
    assert {one: kept[one] for one in whole} == dict(Counter(whole))
    assert not list((ran.directory / "images").glob("*"))
    for attempt in ran.attempts:
        assert {image["role"] for image in attempt["images"]} <= {"quarantine"}


async def test_an_address_in_place_of_the_picture_is_told(job: Path) -> None:
    ran = await answered(job, answer(candidate(ADDRESS)))
    assert ADDRESS["fileData"]["fileUri"] in ran.attempts[0]["error"]["message"]


BEYOND_BOUNDS: dict[str, Callable[[], str]] = {
    "nesting before it": lambda: beside(f'"x": {"[" * DEEP}{"]" * DEEP}', first=True),
    "nesting after it": lambda: beside(f'"x": {"[" * DEEP}{"]" * DEEP}', first=False),
    "nesting in its candidate": lambda: in_candidate(
        f'"groundingMetadata": {"[" * DEEP}{"]" * DEEP}', first=False
    ),
    "a hundred and one pictures": lambda: answer(
        candidate(image_part(CAT), *[{"inlineData": {"data": "AA=="}}] * 100)
    ),
}


@pytest.mark.parametrize("body", cases(BEYOND_BOUNDS))
async def test_a_whole_picture_of_an_answer_beyond_all_bounds_is_kept_and_not_asked_for_again(
    body: Callable[[], str], tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    with FaultServer(lambda _: says(body())) as server:
        ran = await run_job(job, server)
    assert ran.told == [("bad_reply", "failed", "maybe")]
    assert server.requests == {"cat": 1}
    assert CAT in on_disk(ran)


async def test_a_picture_beside_twenty_mebibytes_of_words_is_done(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    body = text(document(image_part(CAT), *[{"text": "so" * (1 << 19)}] * 20))
    with FaultServer(lambda _: says(body)) as server:
        ran = await run_job(job, server)
    assert ran.told == DONE
    assert server.requests == {"cat": 1}


# --- an odd answer in the middle of a conversation ------------------------------------------------

SIGNED = candidate({**image_part(CAT), "thoughtSignature": "c2ln"})
ODD_TURNS: dict[str, str] = {
    "as it should be": answer(SIGNED),
    "a candidate that is null before it": answer(None, SIGNED),
    "a refused candidate before it": answer({"finishReason": "IMAGE_SAFETY"}, SIGNED),
    "an error beside it": answer(SIGNED, error={"code": 503}),
    "a list of one": f"[{answer(SIGNED)}]",
    "a long number beside it": answer(SIGNED, n="LONG").replace('"LONG"', DIGITS),
    "a number that is none beside it": answer(SIGNED, n="NAN").replace('"NAN"', "NaN"),
    "half a letter beside it": answer(SIGNED, n="HALF").replace("HALF", r"\ud800"),
}


@pytest.mark.parametrize("body", cases(ODD_TURNS))
async def test_a_turn_that_was_answered_oddly_is_sent_back_as_it_was(
    body: str, tmp_path: Path
) -> None:
    item = {"id": "cat", "turns": [{"prompt": "one"}, {"prompt": "two"}]}
    job = write_job(tmp_path / "job.jsonl", [item])
    with FaultServer(lambda _: says(body)) as server:
        ran = await run_job(job, server)
    assert ran.told == DONE * 2
    first, second = (json.loads(asked.body)["contents"] for asked in server.log)
    assert second == [*first, SIGNED["content"], {"role": "user", "parts": [{"text": "two"}]}]
    notes = [attempt.get("note", "") for attempt in ran.attempts]
    expected = (
        "beside the picture came an error: HTTP 200 with an error 503" if '"error"' in body else ""
    )
    assert notes == [expected] * 2


# --- an error where a picture should be -----------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, ("rate_limited", "retry", "no")),
        ({"code": 503, "status": "UNAVAILABLE"}, ("server_error", "retry", "no")),
        ({"code": 504, "status": "DEADLINE_EXCEEDED"}, ("server_error", "retry", "maybe")),
        ({"code": 409, "status": "ABORTED"}, ("server_error", "retry", "no")),
        ({"message": "sorry"}, ("server_error", "retry", "maybe")),
        ({"code": True, "status": 5, "details": "none"}, ("server_error", "retry", "maybe")),
        ({"code": 400, "status": "INVALID_ARGUMENT"}, ("bad_request", "failed", "no")),
        ({"code": 404, "status": "NOT_FOUND"}, ("model_unavailable", "failed", "no")),
    ],
    ids=str,
)
async def test_an_error_inside_a_200_is_what_it_says(error: Json, told: Told, job: Path) -> None:
    with FaultServer(servers.once(says(text({"error": error, "candidates": []})))) as server:
        ran = await run_job(job, server)
    assert ran.told == [told, *(DONE if told[1] == "retry" else [])]
    assert server.requests == {"cat": len(ran.told)}


# --- statuses that this API does not have ---------------------------------------------------------


@pytest.mark.parametrize("status", [201, 203])
async def test_what_a_gateway_may_make_of_a_200_holds_an_answer(status: int, job: Path) -> None:
    body = answer(candidate(image_part(CAT))).encode()
    with FaultServer(lambda _: sends(http(status, body))) as server:
        ran = await run_job(job, server)
    assert ran.told == DONE
    assert (server.requests, ran.attempts[0]["http_status"]) == ({"cat": 1}, status)


@pytest.mark.parametrize("status", [202, 206, 226, 299])
async def test_a_whole_picture_under_any_other_status_is_kept(status: int, job: Path) -> None:
    body = answer(candidate(image_part(CAT))).encode()
    with FaultServer(lambda _: sends(http(status, body))) as server:
        ran = await run_job(job, server)
    assert ran.told == BAD
    assert on_disk(ran)[CAT] == 2


STRANGE_SHAPES: dict[str, str] = {
    "candidates that are an object": text({"candidates": candidate(image_part(CAT))}),
    "a content that is a list": answer({"content": [{"parts": [image_part(CAT)]}]}),
    "parts that are one part": answer({"content": {"parts": image_part(CAT)}}),
    "an answer in a response": text({"response": document(image_part(CAT))}),
    "an answer in data": text({"data": document(image_part(CAT)), "success": True}),
    "a number as the flag of a thought": answer(
        candidate(image_part(DOG, thought=1), image_part(CAT), image_part(DOG, thought=1))
    ),
    "a sound behind it": answer(
        candidate(image_part(CAT), {"inlineData": {"mimeType": "audio/wav", "data": "UklGRiQA"}})
    ),
    "an SVG behind it": answer(candidate(image_part(CAT), image_part(b"<svg/>"))),
}


@pytest.mark.parametrize("body", cases(STRANGE_SHAPES))
async def test_a_picture_in_a_strange_shape_is_taken(body: str, job: Path) -> None:
    ran = await answered(job, body)
    assert ran.told == DONE
    assert (ran.directory / "images/cat.png").read_bytes() == CAT


async def test_a_stray_picture_is_told_and_priced_as_a_picture(job: Path) -> None:
    stray = {"inlineData": image_part(CAT)["inlineData"], "usageMetadata": servers.USAGE}
    ran = await answered(job, text({"candidates": [], **stray}))
    first = ran.attempts[0]
    assert first["error"]["message"] == (
        "the answer holds a picture in a place where none belongs; kept in quarantine/"
    )
    assert first["tokens"]["output_image"] == 1120


async def test_pictures_beside_an_error_that_is_not_billed_are_kept(job: Path) -> None:
    body = answer(candidate(image_part(CAT, thought=True)), error={"code": 400})
    ran = await answered(job, body)
    assert ran.told == [("bad_request", "failed", "no")]
    assert on_disk(ran)[CAT] == 1


async def test_nothing_is_said_to_be_kept_where_nothing_was(job: Path) -> None:
    body = text(document(image_part(CAT)))
    start = body.index('"data": "') + 9
    ran = await answered(job, body[:start] + "...." + body[body.index('"', start) :])
    assert [one["images"] for one in ran.attempts] == [[], []]
    assert all("kept" not in one["error"]["message"] for one in ran.attempts)


async def test_a_picture_with_a_fault_in_its_base64_is_kept_up_to_it_under_its_own_ending(
    job: Path,
) -> None:
    body = text(document(image_part(CAT)))
    start = body.index('"data": "') + 9
    ran = await answered(job, body[: start + 120] + "." + body[start + 121 :])
    (kept, *_) = ran.quarantined
    assert (kept.suffix, kept.read_bytes()) == (".png", CAT[:90])
    assert ran.attempts[0]["images"][0]["mime"] == "image/png"


async def test_searches_of_another_candidate_are_not_lost(job: Path) -> None:
    searched = {"content": {}, "groundingMetadata": {"webSearchQueries": ["cats"]}}
    ran = await answered(job, answer(searched, candidate(image_part(CAT))))
    assert ran.told == DONE
    assert ran.attempts[0]["grounding"] == {"webSearchQueries": ["cats"]}


@pytest.mark.parametrize("status", [202, 205, 206, 226, 299, 600, 999])
async def test_a_status_that_is_none_of_this_api_is_tried_once_more(status: int, job: Path) -> None:
    with FaultServer(servers.once(sends(http(status, b"{}")))) as server:
        ran = await run_job(job, server)
    outcome = "server_error" if status >= 600 else "bad_reply"
    assert ran.told == [(outcome, "retry", "maybe"), *DONE]
    assert server.requests == {"cat": 2}
