"""Whole answers, odd or without a picture: what is kept, what is asked again, what it cost."""

import base64
import json
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from tests import servers
from tests.runs import run_job, write_job
from tests.servers import Answer, FaultServer, document, http, image_part, png, sends, whole

REFUSED_USAGE = {
    "promptTokenCount": 20,
    "candidatesTokenCount": 274,
    "totalTokenCount": 294,
    "thoughtsTokenCount": 274,
}
NO_IMAGE = whole(document({"text": ""}, finish_reason="NO_IMAGE", usage=REFUSED_USAGE))
TEXT = whole(document({"text": "I cannot draw that yet."}, usage=REFUSED_USAGE))
CAT = png("a cat")


def finished(reason: str) -> Answer:
    return whole(
        {"candidates": [{"finishReason": reason, "index": 0}], "usageMetadata": REFUSED_USAGE}
    )


async def test_no_image_twice_is_asked_a_third_time_and_counts_as_waste(job: Path) -> None:
    with FaultServer(lambda asked: NO_IMAGE if asked.nth < 3 else servers.draws(asked)) as server:
        ran = await run_job(job, server)
    again = ("no_image", "retry", "yes")
    assert ran.told == [again, again, ("image", "done", "yes")]
    assert server.requests == {"cat": 3}
    # Each: 20 x 2 + 274 x 12 micro-dollars; the candidates mirror the thoughts and count once.
    assert str(ran.summary.cost_waste_usd) == "0.006656"
    assert str(ran.summary.cost_usd) == "0.144816"
    assert ran.exit_code == 0


async def test_text_only_is_asked_again_and_its_words_are_kept(job: Path) -> None:
    with FaultServer(lambda _: TEXT) as server:
        ran = await run_job(job, server)
    again = ("text_only", "retry", "yes")
    assert ran.told == [again, again, ("text_only", "failed", "yes")]
    assert server.requests == {"cat": 3}
    assert ran.exit_code == 4
    assert (ran.directory / "text/cat.txt").read_text("utf-8") == "I cannot draw that yet."
    assert ran.attempts[0]["text"] == "I cannot draw that yet."


async def test_words_of_an_earlier_try_do_not_stay_beside_a_picture(job: Path) -> None:
    with FaultServer(servers.once(TEXT)) as server:
        ran = await run_job(job, server)
    assert ran.exit_code == 0
    assert not list((ran.directory / "text").glob("*"))


@pytest.mark.parametrize(
    ("answer", "outcome", "n_requests"),
    [
        (finished("IMAGE_SAFETY"), "blocked", 1),
        (finished("PROHIBITED_CONTENT"), "blocked", 1),
        (finished("RECITATION"), "blocked", 1),
        (
            whole({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": REFUSED_USAGE}),
            "blocked",
            1,
        ),
        (finished("MAX_TOKENS"), "no_image", 1),
        (finished("IMAGE_OTHER"), "no_image", 2),
        (finished("OTHER"), "no_image", 2),
        (finished("MALFORMED_FUNCTION_CALL"), "no_image", 2),
        (finished("A_REASON_OF_TOMORROW"), "no_image", 2),
        (finished("STOP"), "no_image", 3),
        (whole({"candidates": [], "usageMetadata": REFUSED_USAGE}), "no_image", 3),
        (whole({"candidates": None, "usageMetadata": REFUSED_USAGE}), "no_image", 3),
    ],
)
async def test_each_reason_for_no_picture_has_its_own_number_of_tries(
    answer: Answer, outcome: str, n_requests: int, job: Path
) -> None:
    with FaultServer(lambda _: answer) as server:
        ran = await run_job(job, server)
    assert server.requests == {"cat": n_requests}
    retries = [(outcome, "retry", "yes")] * (n_requests - 1)
    assert ran.told == [*retries, (outcome, "failed", "yes")]
    assert ran.exit_code == 4
    assert ran.summary.images == 0


async def test_a_refusal_that_is_not_charged_costs_nothing(job: Path) -> None:
    answer = document(finish_reason="IMAGE_SAFETY", usage=REFUSED_USAGE)
    answer["candidates"][0]["finishMessage"] = "You will not be charged for this request."
    with FaultServer(lambda _: whole(answer)) as server:
        ran = await run_job(job, server)
    assert ran.told == [("blocked", "failed", "no")]
    assert str(ran.summary.cost_usd) == "0.000000"


async def test_a_blocked_item_is_not_sent_again_by_a_plain_run(job: Path) -> None:
    with FaultServer(lambda _: finished("IMAGE_SAFETY")) as server:
        await run_job(job, server)
        again = await run_job(job, server)
    assert server.requests == {"cat": 1}
    assert again.exit_code == 4
    assert again.summary.attempts.total == 0


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(CAT[:-12], id="PNG without its end"),
        pytest.param(CAT[: len(CAT) // 2], id="half a PNG"),
        pytest.param(b"\xff\xd8\xff\xe0" + b"\x00" * 900, id="JPEG without its end"),
        pytest.param(b"RIFF\xff\xff\x00\x00WEBPVP8 " + b"\x00" * 900, id="WebP that is too short"),
        pytest.param(b"\x89PNG\r\n\x1a\n" + CAT[-12:], id="PNG without a size"),
    ],
)
async def test_a_broken_picture_goes_to_quarantine_and_is_asked_for_once_more(
    data: bytes, job: Path
) -> None:
    broken = whole(document(image_part(data)))
    with FaultServer(servers.once(broken)) as server:
        ran = await run_job(job, server)
    assert ran.told == [("broken_image", "retry", "yes"), ("image", "done", "yes")]
    assert server.requests == {"cat": 2}
    [kept] = ran.quarantined
    assert kept.read_bytes() == data
    [told] = ran.attempts[0]["images"]
    assert told["role"] == "quarantine"
    assert ran.attempts[0]["error"]["message"]
    assert str(ran.summary.cost_waste_usd) == "0.138160"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'/>", id="SVG"),
        pytest.param(b"GIF89a" + b"\x00" * 100, id="GIF"),
        pytest.param(b"\x00\x00\x00\x18ftypheic" + b"\x00" * 100, id="HEIC"),
        pytest.param(b"<html><body>sorry</body></html>", id="a page"),
    ],
)
async def test_what_is_no_picture_in_the_first_place_is_kept_and_not_asked_for_again(
    data: bytes, job: Path
) -> None:
    with FaultServer(lambda _: whole(document(image_part(data)))) as server:
        ran = await run_job(job, server)
    assert ran.told == [("broken_image", "failed", "yes")]
    assert server.requests == {"cat": 1}
    [kept] = ran.quarantined
    assert (kept.suffix, kept.read_bytes()) == (".bin", data)


@pytest.mark.parametrize(
    "text", ["iVBORw0KGgoAAAA...", "iVBOR=w0KGgo", "iVBORé", "iVBO\\ud83d", "A"]
)
async def test_base64_that_is_none_is_a_broken_picture(text: str, job: Path) -> None:
    body = json.dumps(document(image_part(CAT))).encode()
    start = body.index(b'"data": "') + 9
    end = body.index(b'"', start)
    broken = body[:start] + text.encode() + body[end:]
    with FaultServer(servers.once(sends(http(200, broken)))) as server:
        ran = await run_job(job, server)
    assert ran.told == [("broken_image", "retry", "yes"), ("image", "done", "yes")]


async def test_an_image_without_data_is_no_picture(job: Path) -> None:
    for_naught = whole(document({"inlineData": {"mimeType": "image/png", "data": None}}))
    with FaultServer(servers.once(for_naught)) as server:
        ran = await run_job(job, server)
    assert ran.told == [("no_image", "retry", "yes"), ("image", "done", "yes")]


async def test_a_picture_among_the_thoughts_alone_goes_to_quarantine(job: Path) -> None:
    thought = whole(document(image_part(CAT, thought=True)))
    with FaultServer(lambda _: thought) as server:
        ran = await run_job(job, server)
    assert ran.told == [("no_image", "retry", "yes"), ("no_image", "failed", "yes")]
    assert [kept.read_bytes() for kept in ran.quarantined] == [CAT, CAT]


# --- odd spellings of a whole answer -----------------------------------------------------------


def snake(value: object) -> object:
    """The same document with names_like_this."""
    if isinstance(value, dict):
        return {
            "".join(f"_{ch.lower()}" if ch.isupper() else ch for ch in name): snake(one)
            for name, one in value.items()
        }
    return [snake(one) for one in value] if isinstance(value, list) else value


def with_data(text: str) -> bytes:
    """An answer whose base64 is spelt so; `text` is JSON already."""
    plain = base64.b64encode(CAT).decode()
    return json.dumps(document(image_part(CAT))).replace(plain, text).encode()


PLAIN = base64.b64encode(CAT).decode()
SPELLINGS = {
    "snake_case": json.dumps(snake(document(image_part(CAT)))).encode(),
    "url-safe": with_data(PLAIN.replace("+", "-").replace("/", "_")),
    "without padding": with_data(PLAIN.rstrip("=")),
    "escaped slashes": with_data(PLAIN.replace("/", "\\/")),
    "escaped plus signs": with_data(PLAIN.replace("+", "\\u002b")),
    "line breaks": with_data("\\n".join(PLAIN[at : at + 76] for at in range(0, len(PLAIN), 76))),
    "a data: prefix": with_data("data:image/png;base64," + PLAIN),
    "a wrong label": json.dumps(document(image_part(CAT, "image/jpeg"))).encode(),
    "no finish reason": json.dumps(document(image_part(CAT), finish_reason=None)).encode(),
    "drafts before it": json.dumps(
        document(image_part(png("one")), {"text": "better:"}, image_part(CAT))
    ).encode(),
    "a thought after it": json.dumps(
        document(image_part(png("one")), image_part(CAT), image_part(png("hm"), thought=True))
    ).encode(),
    "thought written after the data": json.dumps(
        document({**image_part(png("hm")), "thought": True}, image_part(CAT))
    ).encode(),
    "odd parts beside it": json.dumps(document(None, 7, "x", {}, image_part(CAT))).encode(),
    "a number out of bounds": json.dumps(document(image_part(CAT)))
    .replace("1450", "1" * 5000)
    .encode(),
    "not a number": json.dumps(document(image_part(CAT))).replace("1450", "NaN").encode(),
}


@pytest.mark.parametrize("body", [pytest.param(v, id=k) for k, v in SPELLINGS.items()])
async def test_every_spelling_of_a_picture_is_read(body: bytes, job: Path) -> None:
    with FaultServer(lambda _: sends(http(200, body))) as server:
        ran = await run_job(job, server)
    assert ran.told == [("image", "done", "yes")]
    assert (ran.directory / "images/cat.png").read_bytes() == CAT
    assert server.requests == {"cat": 1}


async def test_a_jpeg_labelled_as_png_gets_its_own_ending(job: Path) -> None:
    jpeg = _jpeg()
    with FaultServer(lambda _: whole(document(image_part(jpeg)))) as server:
        ran = await run_job(job, server)
    assert (ran.directory / "images/cat.jpg").read_bytes() == jpeg
    assert ran.attempts[0]["images"][0]["mime"] == "image/jpeg"


async def test_a_picture_of_another_kind_replaces_the_earlier_one(job: Path) -> None:
    jpeg = _jpeg()
    with FaultServer(
        lambda asked: servers.draws(asked) if asked.nth == 1 else whole(document(image_part(jpeg)))
    ) as server:
        first = await run_job(job, server)
        (first.directory / "images/cat.png").unlink()
        second = await run_job(job, server)
    assert second.told[-1] == ("image", "done", "yes")
    assert [path.name for path in (second.directory / "images").iterdir()] == ["cat.jpg"]


def _jpeg() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize("usage", [None, [], "many", {"promptTokenCount": True}])
async def test_a_picture_without_a_usage_is_kept_and_its_cost_is_unknown(
    usage: object, job: Path
) -> None:
    with FaultServer(lambda _: whole(document(image_part(CAT), usage=usage))) as server:
        ran = await run_job(job, server)
    assert ran.told == [("image", "done", "yes")]
    [attempt] = ran.attempts
    assert (attempt["cost_usd"], attempt["cost_basis"]) == (None, "unknown")
    assert attempt["tokens"] is None
    assert ran.summary.cost_usd is None
    assert ran.summary.cost_unknown_attempts == 1


async def test_an_unknown_model_has_tokens_and_no_price(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], model="a-model-of-tomorrow")
    with FaultServer(servers.draws) as server:
        ran = await run_job(job, server)
    [attempt] = ran.attempts
    assert attempt["tokens"]["input_text"] == 20
    assert attempt["cost_usd"] is None
    assert ran.summary.cost_unknown_attempts == 1
    assert ran.summary.cost_usd is None


async def test_usage_is_kept_exactly_as_it_was_received(job: Path) -> None:
    odd = {**servers.USAGE, "trafficType": "ON_DEMAND", "nested": {"a": [1, None, 2.5]}}
    with FaultServer(lambda _: whole(document(image_part(CAT), usage=odd))) as server:
        ran = await run_job(job, server)
    assert ran.attempts[0]["usage"] == odd
