"""What a whole answer says, and the bounds on what an answer may be."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from batchgen.errors import (
    AttemptError,
    BadReply,
    BadRequest,
    Blocked,
    NoImage,
    NotTheApi,
    PromptBlocked,
    QuotaExhausted,
    RateLimited,
    ServerError,
    TextOnly,
    TooLarge,
    Unauthorized,
)
from batchgen.wire import stream
from batchgen.wire.reply import MAX_TEXT_CHARS, Reply, read_reply, why_no_image
from batchgen.wire.stream import (
    MAX_DEPTH,
    MAX_IMAGES,
    MAX_SKELETON_BYTES,
    MAX_STRING_BYTES,
    MAX_VALUES,
    ReplyStream,
)


@dataclass
class Sink:
    data: bytearray = field(default_factory=bytearray)
    fault: str | None = None
    closed: bool = False

    def write(self, data: bytes) -> None:
        self.data += data

    def close(self, fault: str | None) -> None:
        self.fault, self.closed = fault, True


class Received:
    """An answer fed to a stream, with its sinks."""

    def __init__(self, body: bytes | Any, step: int | None = None) -> None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.sinks: list[Sink] = []
        self.stream = ReplyStream(self._open)
        step = step or len(raw) or 1
        for start in range(0, len(raw), step):
            self.stream.feed(raw[start : start + step])

    def _open(self, n: int) -> Sink:
        assert n == len(self.sinks)
        self.sinks.append(Sink())
        return self.sinks[n]

    @property
    def reply(self) -> Reply:
        self.stream.end()
        return read_reply(self.stream.skeleton())


def image(data: str = "QUFB", **members: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": data}, **members}


def answer(*parts: Any, **members: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"role": "model", "parts": list(parts)}, **members}]}


# --- which picture ------------------------------------------------------------------------------


def test_the_final_image_is_the_last_that_is_no_thought() -> None:
    body = answer(
        image("QQ=="),
        image("Qg=="),
        {"text": "and"},
        image("Qw==", thought=True),
        finishReason="STOP",
    )
    got = Received(body)
    assert got.reply.final is not None
    assert got.sinks[got.reply.final.index].data == b"B"
    roles = {one.index: one.role for one in got.reply.images}
    assert roles == {0: "draft", 1: "final", 2: "thought"}


@pytest.mark.parametrize("before", [True, False])
def test_the_thought_flag_counts_before_and_after_the_data(*, before: bool) -> None:
    flag, data = '"thought":true', '"inlineData":{"data":"QUFB"}'
    members = f"{flag},{data}" if before else f"{data},{flag}"
    body = f'{{"candidates":[{{"content":{{"parts":[{{{members}}}]}}}}]}}'.encode()
    assert Received(body).reply.final is None


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, None])
@pytest.mark.parametrize(
    "data",
    [
        r"\/\/8=",
        r"\u002f\u002F8\u003d",
        r"\u002f/8",
        "__8",
        "__8=",
        r"\/\n\/8=",
        r"//8=\r\n",
        "data:image/png;base64,//8=",
        r"data:image\/png;base64,\/\/8=",
    ],
)
def test_every_spelling_of_the_data_gives_its_bytes(data: str, step: int | None) -> None:
    body = b'{"candidates":[{"content":{"parts":[{"inline_data":{"data":"' + data.encode()
    got = Received(body + b'","mime_type":"image/png"}}]}}]}', step)
    assert got.reply.final is not None
    assert (bytes(got.sinks[0].data), got.sinks[0].fault) == (b"\xff\xff", None)


@pytest.mark.parametrize(
    "data", ["iVBORw0KGgoAAAA...", "QQ==QUFB", "Q", r"QU\qB", r"QUF\\/", "QU\u00e9B", r"QU\u0000B"]
)
def test_data_that_is_no_base64_is_a_faulty_image_and_still_the_final_one(data: str) -> None:
    body = b'{"candidates":[{"content":{"parts":[{"inlineData":{"data":"' + data.encode()
    got = Received(body + b'"}}]}}]}')
    assert got.reply.final is not None
    assert got.sinks[0].fault


def test_a_number_that_the_server_wrote_itself_is_never_taken_for_an_image() -> None:
    forged = {"inlineData": [{"data": "0"}], "inline_data": {"data": ["0"]}, "data": "0"}
    assert Received(answer(forged, {"inlineData": {"data": 0}})).reply.images == ()
    for digits in ("\u00b2", "\u0663", "9" * 5000, "1e3", "-1"):
        skeleton = json.dumps(answer(image(digits))).encode()
        assert read_reply(skeleton).images == ()


def test_the_first_candidate_with_a_picture_gives_it_and_those_of_others_are_drafts() -> None:
    body = answer(image("QQ=="))
    body["candidates"].append(answer(image("Qg=="))["candidates"][0])
    reply = Received(body).reply
    assert [(one.index, one.role) for one in reply.images] == [(0, "final"), (1, "draft")]


@pytest.mark.parametrize(
    "first", [None, {}, {"finishReason": "NO_IMAGE"}, answer(image(thought=True))["candidates"][0]]
)
def test_a_candidate_without_a_picture_does_not_hide_the_next_ones(first: Any) -> None:
    body = answer(image("Qg=="), finishReason="STOP")
    body["candidates"].insert(0, first)
    reply = Received(body).reply
    assert reply.final is not None
    assert (reply.candidate, reply.finish_reason) == (1, "STOP")


def test_an_image_without_data_is_none_and_the_one_before_it_is_final() -> None:
    got = Received(answer(image("QQ=="), image("")))
    reply = read_reply(got.stream.skeleton(), empty={1})
    assert [(one.index, one.role) for one in reply.images] == [(0, "final")]
    assert why_no_image(read_reply(got.stream.skeleton(), empty={0, 1})).message == (
        "the model returned no picture"
    )


def test_a_picture_beside_an_error_is_a_picture() -> None:
    body = answer(image("QQ==")) | {"error": {"code": 500, "message": "late"}}
    assert Received(body).reply.final is not None
    thought_only = answer(image("QQ==", thought=True)) | {"error": {"code": 503}}
    with pytest.raises(ServerError):
        _ = Received(thought_only).reply


@pytest.mark.parametrize("flag", [True, "true", "True"])
def test_a_thought_is_a_thought_also_where_a_gateway_writes_it_as_text(flag: Any) -> None:
    reply = Received(answer({"text": "hm", "thought": flag}, image(thought=flag))).reply
    assert (reply.final, reply.text) == (None, None)


@pytest.mark.parametrize("flag", [False, None, "false", 0, "", "no", [], {}])
def test_any_other_flag_is_no_thought(flag: Any) -> None:
    assert Received(answer(image(thought=flag))).reply.final is not None


def test_a_picture_that_is_only_named_by_its_address_is_told_and_not_asked_for_again() -> None:
    part = {"fileData": {"fileUri": "https://storage.example.com/a.png"}}
    error = why_no_image(Received(answer(part, finishReason="STOP")).reply)
    assert (type(error), error.tries) == (NoImage, 0)
    assert error.message.endswith("https://storage.example.com/a.png")


def test_names_that_are_no_names_are_cut_and_made_fit_for_a_line() -> None:
    reply = Received(answer(finishReason="A\x1b[31m\n" + "B" * 5000)).reply
    assert reply.finish_reason is not None
    assert len(reply.finish_reason) <= 120
    assert reply.finish_reason.isprintable()
    assert isinstance(why_no_image(reply), NoImage)


@pytest.mark.parametrize(
    "body",
    [
        {},
        [{}],
        {"candidates": None},
        {"candidates": []},
        {"candidates": [None]},
        {"candidates": ["x"]},
        {"candidates": [{"content": None}]},
        {"candidates": [{"content": {}}]},
        {"candidates": [{"content": {"parts": None}}]},
        {"candidates": [{"content": {"parts": [None, "x", 3, {}, {"text": 5}]}}]},
        {"candidates": [{"content": {"parts": {"text": "x"}}}]},
        {"promptFeedback": "x", "usageMetadata": [], "candidates": {"a": 1}},
    ],
)
def test_odd_members_make_an_answer_without_a_picture_not_a_crash(body: Any) -> None:
    assert isinstance(why_no_image(Received(body).reply), NoImage)


def test_version_and_id_are_found_at_the_top_and_inside_the_usage() -> None:
    top = {"modelVersion": "m", "responseId": "r", "usageMetadata": {"modelVersion": "other"}}
    inside = {"usageMetadata": {"modelVersion": "m", "responseId": "r"}}
    snake = {"model_version": "m", "response_id": "r", "usage_metadata": {"total_token_count": 1}}
    for body in (top, inside, snake):
        reply = Received(body).reply
        assert (reply.model_version, reply.response_id) == ("m", "r")
        assert reply.usage is not None


# --- odd bytes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"null",
        b"3",
        b'"x"',
        b"true",
        b"[]",
        b"[{},{}]",
        b"{} {}",
        b"{}x",
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a" 1}',
        b'{"a":"\\q"}',
        b'{"a":[1}]',
        b"}{",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b'{"a":' * MAX_DEPTH,
    ],
)
def test_what_is_no_answer_is_a_bad_reply_that_may_be_billed(body: bytes) -> None:
    with pytest.raises(BadReply) as caught:
        _ = Received(body).reply
    assert caught.value.billed == "maybe"


def test_a_byte_order_mark_is_skipped_however_it_is_cut() -> None:
    for step in (1, 2, 3, None):
        assert Received(b"\xef\xbb\xbf \n" + json.dumps(answer(image())).encode(), step).reply.final


@pytest.mark.parametrize("step", [1, None])
@pytest.mark.parametrize("page", [b"<!doctype html><p>hi", b"  \n<html>", b"\xef\xbb\xbf\r\n<"])
def test_a_web_page_is_not_the_api_and_stops_the_run(page: bytes, step: int | None) -> None:
    with pytest.raises(NotTheApi) as caught:
        Received(page, step)
    assert caught.value.stops_run
    assert caught.value.billed == "no"


def test_numbers_that_no_ledger_could_hold_cost_no_picture() -> None:
    members = '"a":NaN,"b":-Infinity,"c":1e999,"totalTokenCount":' + "9" * 5000
    body = json.dumps(answer(image()))[:-1] + ',"usageMetadata":{' + members + "}}"
    reply = Received(body.encode()).reply
    assert reply.final is not None
    assert reply.usage["totalTokenCount"] is None
    strict = json.loads(msgspec.json.encode(reply), parse_constant=pytest.fail)
    assert strict["usage"] == {"a": None, "b": None, "c": None, "totalTokenCount": None}


def test_lone_surrogates_become_replacement_characters_that_a_file_can_take() -> None:
    text = r"a\ud800b\udfff \ud83d\ude00 \\ud800"
    members = r'"modelVersion":"\uD800","usageMetadata":{"\udc00":"\ud83dx"}'
    part = rf'{{"text":"{text}"}}'
    body = rf'{{"candidates":[{{"content":{{"parts":[{part}]}}}}],{members}}}'
    reply = Received(body.encode()).reply
    assert reply.text == "a\ufffdb\ufffd \U0001f600 \\ud800"
    assert reply.model_version == "\ufffd"
    assert reply.usage == {"\ufffd": "\ufffdx"}
    msgspec.json.encode(reply)


def test_bytes_that_are_no_utf8_cost_no_picture() -> None:
    body = json.dumps(answer(image(), {"text": "?"})).encode().replace(b"?", b"\xff\xe9")
    assert Received(body).reply.text == "\ufffd\ufffd"


# --- bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [None, 100_003])
@pytest.mark.parametrize(
    "filler", ["x", '"', "\\", "\n", "\u00e9", "\U0001f600", "/", "x\\u0041"], ids=ascii
)
def test_a_string_beyond_a_mebibyte_is_shortened_and_the_document_stays_valid(
    filler: str, step: int | None
) -> None:
    for shift in range(3):
        text = "x" * shift + filler * (1_200_000 // len(filler))
        got = Received(answer(image(), {"text": text}, image("Qg==")), step)
        assert len(got.stream.skeleton()) < MAX_STRING_BYTES + 1000
        reply = got.reply
        assert reply.final is not None
        assert got.sinks[reply.final.index].data == b"B"
        assert reply.text is not None
        assert text.startswith(reply.text.rstrip("\ufffd"))
        assert len(reply.text) <= MAX_TEXT_CHARS


def test_a_key_beyond_a_mebibyte_is_shortened_too() -> None:
    got = Received({"k" * (2 << 20): 1, **answer(image())})
    assert len(got.stream.skeleton()) < MAX_STRING_BYTES + 1000
    assert got.reply.final is not None


def test_many_long_strings_are_shortened_further_and_cost_no_picture() -> None:
    words = [{"text": "\u00e9" * (1 << 19)} for _ in range(17)]
    got = Received(
        json.dumps(answer(*words, image(), *words), ensure_ascii=False).encode(), 1 << 16
    )
    assert got.stream.is_shortened
    assert len(got.stream.skeleton()) < 10 << 20
    assert got.reply.final is not None


def test_a_number_without_end_meets_the_bound_on_the_skeleton() -> None:
    picture = json.dumps(answer(image()))[1:].encode()
    digits = b"1" * (MAX_SKELETON_BYTES + MAX_STRING_BYTES)
    got = Received(b'{"x":[' + digits + b"]," + picture, 1 << 16)
    assert not got.stream.is_whole
    assert len(got.stream.skeleton()) < 1 << 16
    with pytest.raises(BadReply) as caught:
        got.stream.end()
    assert caught.value.tries == 0
    assert [(bytes(sink.data), sink.closed) for sink in got.sinks] == [(b"AAA", True)]


MANY: dict[str, bytes] = {
    "numbers": b"[" + b"1," * 50_000 + b"1]",
    "spaced numbers": b"[ " + b"1 ,\n " * 30_000 + b"1 ]",
    "objects": b"[" + b'{"t":0},' * 20_000 + b"{}]",
    "members": b"{" + b'"t":[0],' * 20_000 + b'"t":1}',
    "names": b"{" + b",".join(b'"%d":1' % n for n in range(25_000)) + b"}",
    "words": b"[" + (b'"' + b"so " * 300 + b'",') * 3000 + b"0]",
    "lists in lists": b"[" + (b"[" + b"1," * 500 + b"1],") * 60 + b"[]]",
    "white space": b"[" + b" \t\r\n" * 2_000_000 + b"1]",
}


@pytest.mark.parametrize("many", [pytest.param(value, id=name) for name, value in MANY.items()])
def test_of_very_many_values_the_last_are_left_out_and_no_picture(
    many: bytes,
) -> None:
    said = answer(image("QQ=="), {"x": 1}, image("Qg=="), {"text": "and"}, finishReason="STOP")
    whole = json.dumps({**said, "usageMetadata": {"totalTokenCount": 5}}).encode()
    for body in (
        b'{"x":' + many + b"," + whole[1:],
        whole[:-1] + b',"x":' + many + b"}",
        whole.replace(b'{"x": 1}', many),
        whole.replace(b'{"x": 1}', b'{"x":' + many + b"}"),
    ):
        got = Received(body, 10_007)
        skeleton = got.stream.skeleton()
        assert len(skeleton) < 2_200_000
        assert sum(skeleton.count(mark) for mark in (b",", b"{", b"[")) < MAX_VALUES
        assert isinstance(json.loads(skeleton), dict)
        assert got.stream.is_shortened or many is MANY["white space"]
        assert [bytes(sink.data) for sink in got.sinks] == [b"A", b"B"]
        reply = got.reply
        assert [(one.index, one.role) for one in reply.images] == [(0, "draft"), (1, "final")]
        assert reply.finish_reason == "STOP"
        assert reply.usage == {"totalTokenCount": 5}


def test_very_many_values_that_cannot_be_left_out_are_refused_at_the_end() -> None:
    few = b"[" + b"1," * 90 + b"1]"
    tree = b"[" + (b"[" + (few + b",") * 90 + b"1],") * 8 + b"1]"
    picture = json.dumps(answer(image()))[1:].encode()
    got = Received(b'{"x":' + tree + b"," + picture, 1 << 16)
    with pytest.raises(BadReply, match="40,000 values") as caught:
        got.stream.end()
    assert caught.value.tries == 0
    assert [(bytes(sink.data), sink.closed) for sink in got.sinks] == [(b"AAA", True)]


def test_structure_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_MARKS", 10_000)
    Received(b"[" * 10_000)
    with pytest.raises(TooLarge) as caught:
        Received(b"[" * 10_001)
    assert (caught.value.tries, caught.value.billed) == (0, "maybe")


def test_a_usage_or_a_grounding_without_end_is_not_kept_and_that_is_told() -> None:
    counts = {"modality": "TEXT", "tokenCount": 20}
    grounding = {"webSearchQueries": ["cats" * 2000] * 20}
    body = answer(image(), groundingMetadata=grounding)
    body["usageMetadata"] = {"totalTokenCount": 5, "promptTokensDetails": [counts] * 500}
    reply = Received(body).reply
    assert reply.final is not None
    assert (reply.usage, reply.grounding) == (None, None)
    assert reply.note == (
        "its usageMetadata is too large to be one; its groundingMetadata is too large to be kept"
    )


def test_nesting_is_taken_to_its_bound_and_no_further() -> None:
    deep = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    assert Received(b'{"x":' + deep + b"}").reply == Reply()
    for body in (b'{"x":[' + deep + b"]}", b"[" * 1_000_000):
        got = Received(body)
        assert not got.stream.is_whole
        with pytest.raises(BadReply) as caught:
            _ = got.reply
        assert caught.value.tries == 0


@pytest.mark.parametrize("step", [1, 7, None])
def test_an_image_behind_deep_nesting_is_received_and_one_inside_it_is_none(
    step: int | None,
) -> None:
    inside = b'[{"inlineData":{"data":"QUFB"},"a":[1,2]}]'
    deep = b"[" * 3 * MAX_DEPTH + inside + b"]" * 3 * MAX_DEPTH
    picture = json.dumps(answer(image()))[1:].encode()
    got = Received(b'{"x":' + deep + b"," + picture, step)
    assert [bytes(sink.data) for sink in got.sinks] == [b"AAA"]
    assert got.sinks[0].closed


def test_a_hundred_images_are_taken_and_one_more_is_not() -> None:
    got = Received(answer(*[image()] * MAX_IMAGES))
    assert len(got.reply.images) == MAX_IMAGES
    more = Received(answer(*[image()] * (MAX_IMAGES + 1), {"text": "a"}), 7)
    assert [sink.closed for sink in more.sinks] == [True] * MAX_IMAGES
    with pytest.raises(BadReply) as caught:
        more.stream.end()
    assert caught.value.tries == 0


@pytest.mark.parametrize(
    ("data", "before"),
    [
        ("QUFBQkJC...", b"AAABBB"),
        ("QUFBQkJ.", b"AAA"),
        ("QUFBéQkJC", b"AAA"),
        ("QUFB\n_-8.QUFB", b"AAA\xff\xef"),
    ],
)
def test_what_stands_before_a_fault_of_base64_is_kept(data: str, before: bytes) -> None:
    got = Received(answer(image(data)))
    assert bytes(got.sinks[0].data) == before[: len(before) // 3 * 3]
    assert got.sinks[0].fault


def test_the_skeleton_holds_nothing_of_an_image() -> None:
    got = Received(answer(image("QUFB" * 1_000_000)), 65_536)
    assert len(got.stream.skeleton()) < 200
    assert len(got.sinks[0].data) == 3_000_000


def test_no_sink_is_opened_before_an_image_begins() -> None:
    got = Received(b'{"candidates":[{"content":{"parts":[{"inlineData":{"data":')
    assert got.sinks == []
    got.stream.feed(b'"')
    assert len(got.sinks) == 1
    assert not got.sinks[0].closed


# --- an error inside a 200 ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, RateLimited),
        ({"code": "429"}, RateLimited),
        ({"status": "RESOURCE_EXHAUSTED"}, RateLimited),
        ({"code": 8, "status": "RESOURCE_EXHAUSTED"}, RateLimited),
        ({"status": "INVALID_ARGUMENT"}, BadRequest),
        ({"status": "UNAUTHENTICATED"}, Unauthorized),
        ({"code": 400}, BadRequest),
        ({"code": 401}, Unauthorized),
        ({"code": 429, "details": [{"violations": [{"quotaId": "XPerDayY"}]}]}, QuotaExhausted),
        ({"code": "invalid_request"}, BadRequest),
        ({"message": "?"}, ServerError),
        ({"code": "\u00b2"}, ServerError),
        ({"code": "9" * 5000}, ServerError),
        ({"code": True}, ServerError),
        ("something", ServerError),
        (["x"], ServerError),
    ],
    ids=str,
)
def test_an_error_inside_a_200_is_what_it_says(error: Any, kind: type[AttemptError]) -> None:
    for body in ({"error": error}, [{"error": error}]):
        with pytest.raises(AttemptError) as caught:
            _ = Received(body).reply
        assert type(caught.value) is kind


# --- why there is no picture --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "kind", "tries", "billed"),
    [
        (Reply(), NoImage, None, "yes"),
        (Reply(finish_reason="STOP"), NoImage, None, "yes"),
        (Reply(finish_reason="NO_IMAGE"), NoImage, None, "yes"),
        (Reply(finish_reason="NO_IMAGE", text="a"), TextOnly, None, "yes"),
        (Reply(finish_reason="IMAGE_OTHER", text="a"), TextOnly, 1, "yes"),
        (Reply(finish_reason="A_NEW_REASON", text="a"), TextOnly, 1, "yes"),
        (Reply(finish_reason="MAX_TOKENS", text="a"), NoImage, 0, "yes"),
        (Reply(finish_reason="STOP", text="Here it is:"), TextOnly, None, "yes"),
        (Reply(text="Here it is:"), TextOnly, None, "yes"),
        (Reply(finish_reason="IMAGE_OTHER"), NoImage, 1, "yes"),
        (
            Reply(finish_reason="IMAGE_OTHER", finish_message="You will not be charged for this."),
            NoImage,
            1,
            "no",
        ),
        (Reply(finish_reason="OTHER"), NoImage, 1, "yes"),
        (Reply(finish_reason="MALFORMED_RESPONSE"), NoImage, 1, "yes"),
        (Reply(finish_reason="MALFORMED_FUNCTION_CALL"), NoImage, 1, "yes"),
        (Reply(finish_reason="CONTINUATION", text="…"), TextOnly, 1, "yes"),
        (Reply(finish_reason="NEW_REASON"), NoImage, 1, "yes"),
        (Reply(finish_reason="MAX_TOKENS"), NoImage, 0, "yes"),
        (Reply(finish_reason="MAX_TOKENS", text="half"), NoImage, 0, "yes"),
        (Reply(finish_reason="MISSING_THOUGHT_SIGNATURE"), NoImage, 0, "yes"),
    ],
    ids=str,
)
def test_an_answer_without_a_picture_has_a_reason_and_a_number_of_tries(
    reply: Reply, kind: type[NoImage], tries: int | None, billed: str
) -> None:
    error = why_no_image(reply)
    assert type(error) is kind
    assert (error.tries, error.billed) == (tries, billed)


@pytest.mark.parametrize(
    "reason",
    [
        *("SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "LANGUAGE", "RECITATION"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
        *("MODEL_ARMOR", "ESCALATION"),
    ],
)
def test_a_refusal_is_blocked_and_never_sent_again(reason: str) -> None:
    error = why_no_image(Reply(finish_reason=reason, text="I cannot"))
    assert type(error) is Blocked
    assert error.family == "never"
    assert not error.stops_run


def test_a_refused_prompt_is_blocked_whatever_the_finish_reason() -> None:
    for reply in (
        Reply(block_reason="OTHER"),
        Reply(block_reason="JAILBREAK", finish_reason="STOP"),
        Reply(block_reason="A_REASON_OF_TOMORROW"),
    ):
        error = why_no_image(reply)
        assert type(error) is PromptBlocked
        assert reply.block_reason is not None
        assert reply.block_reason in error.message


def test_an_account_limited_for_violations_stops_the_run() -> None:
    assert why_no_image(Reply(finish_reason="PUP_LIMITED_DISABLED")).stops_run


def test_a_picture_only_among_the_thoughts_is_no_final_picture() -> None:
    got = Received(answer(image(thought=True), finishReason="STOP"))
    error = why_no_image(got.reply)
    assert type(error) is NoImage
    assert error.tries == 1


def test_words_from_the_service_are_fit_for_a_log_line() -> None:
    message = "no\n\x1b[31m" + "x" * 1000 + "\u202e\ud800"
    error = why_no_image(Reply(finish_reason="IMAGE_SAFETY", finish_message=message))
    assert error.message.isprintable()
    assert len(error.message) < 500


@pytest.mark.parametrize("step", [1, 3, 7, 35, 38, 41, None])
def test_a_malformed_escape_is_one_wherever_the_text_is_cut_behind_it(step: int | None) -> None:
    data = r"data:image\/png;base6\u003{\u002CQ\u0055FC"
    body = b'{"candidates":[{"content":{"parts":[{"inlineData":{"data":"%b"}}]}}]}' % data.encode()
    got = Received(body, step)
    assert [(bytes(sink.data), sink.fault) for sink in got.sinks] == [(b"AAB", None)]
