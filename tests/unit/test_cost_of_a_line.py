"""Every shape of line that a token log may have, with its cost worked out by hand beside it.

The rates of gemini-3-pro-image, in USD per million tokens: input 2, text and thoughts 12, images
120; half of each in a batch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from batchgen.cost import PriceBook
from batchgen.spending import Assumed, Spending, Tally, spend
from batchgen.spending.span import Span
from batchgen.spending.tables import as_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Json: TypeAlias = dict[str, Any]

TODAY = "2026-11-28"
PRO = "gemini-3-pro-image"
# 20 x 2 + (110 + 200) x 12 + 1120 x 120 = 40 + 3720 + 134400 micro-dollars
USD = "0.138160"
BATCH_USD = "0.069080"
USAGE: Json = {
    "promptTokenCount": 20,
    "candidatesTokenCount": 1230,
    "thoughtsTokenCount": 200,
    "totalTokenCount": 1450,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 20}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}
SNAKE_USAGE: Json = {
    "prompt_token_count": 20,
    "candidates_token_count": 1230,
    "thoughts_token_count": 200,
    "total_token_count": 1450,
    "prompt_tokens_details": [{"modality": "TEXT", "token_count": 20}],
    "candidates_tokens_details": [{"modality": "IMAGE", "token_count": 1120}],
    "cached_content_token_count": None,
    "traffic_type": None,
}
BARE_USAGE = {name: USAGE[name] for name in USAGE if not name.endswith("Details")}
MIRRORED = {
    "promptTokenCount": 20,
    "candidatesTokenCount": 180,
    "thoughtsTokenCount": 180,
    "totalTokenCount": 200,
}
PICTURE: Json = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}
FREE = "Unable to show it. You will not be charged for this request. Try rephrasing the prompt."


def candidate(*parts: Json, **more: Any) -> Json:
    content = {"role": "model", "parts": list(parts)}
    return {"content": content, "finishReason": "STOP", "index": 0, **more}


def answer(*parts: Json, usage: Json | None = USAGE, **more: Any) -> Json:
    return {
        "candidates": [candidate(*parts)],
        "usageMetadata": usage,
        "modelVersion": PRO,
        "createTime": "2026-11-21T03:00:00.123456Z",
        "responseId": "abc",
        **more,
    }


def bare(candidates: int) -> Json:
    counts = {"candidatesTokenCount": candidates, "totalTokenCount": candidates + 220}
    return {**BARE_USAGE, **counts}


def dumped(**more: Any) -> Json:
    """As `model_dump_json()` of google-genai writes it: every member, most of them null."""
    part = {"text": None, "thought": None, "inline_data": None, "file_data": None}
    image = {**part, "inline_data": {"data": "iVBO", "mime_type": "image/png"}}
    told = {"content": {"parts": [image], "role": "model"}, "finish_reason": "STOP", "index": 0}
    return {
        "sdk_http_response": {"headers": {"Content-Type": "application/json"}, "body": None},
        "candidates": [{**told, "finish_message": None, "grounding_metadata": None}],
        "create_time": "2026-11-21T03:00:00.123456Z",
        "model_version": PRO,
        "prompt_feedback": None,
        "response_id": "abc",
        "usage_metadata": SNAKE_USAGE,
        "automatic_function_calling_history": None,
        "parsed": None,
        **more,
    }


@dataclass(frozen=True)
class Row:
    line: Any
    usd: str | None = USD
    outcome: str = "image"
    images: int = 1
    model: str | None = PRO
    day: str | None = "2026-11-21"
    image_tokens: int = 1120
    waste: str = "0.000000"
    inferred: str = "0.000000"
    assumed: Assumed = Assumed()


NOTHING: Json = {"usd": "0.000000", "images": 0, "image_tokens": 0}
HEADERS = {"headers": {"X-Gemini-Service-Tier": "flex"}}
QUERIES = {"webSearchQueries": ["a", "b", "a ", ""]}
ROWS = {
    # a usageMetadata by itself
    "usage": Row(USAGE, day=None, assumed=Assumed(model=PRO)),
    "usage, snake": Row(SNAKE_USAGE, day=None, assumed=Assumed(model=PRO)),
    "usage without a model": Row(USAGE, usd=None, model=None, day=None),
    "usage without details, by its counts": Row(
        BARE_USAGE, day=None, assumed=Assumed(model=PRO), inferred=USD
    ),
    "usage of words": Row(
        {"promptTokenCount": 20, "candidatesTokenCount": 100, "totalTokenCount": 120},
        usd="0.001240",
        outcome="no_image",
        images=0,
        day=None,
        image_tokens=0,
        waste="0.001240",
        inferred="0.001240",
        assumed=Assumed(model=PRO),
    ),
    "usage with the model and the time inside": Row(
        {**USAGE, "modelVersion": PRO, "createTime": "2026-11-21T03:00:00Z"}
    ),
    "usage with its model in front": Row({**USAGE, "model": f"models/{PRO}", "at": 1795230000}),
    # around a usageMetadata
    "model and usage": Row({"model": PRO, "usageMetadata": USAGE}, day=None),
    "snake usage and a stamp with an offset": Row(
        {"usage_metadata": SNAKE_USAGE, "model": PRO, "time": "2026-11-21T23:30:00-03:00"},
        day="2026-11-22",
    ),
    "seconds": Row({"usageMetadata": USAGE, "model": PRO, "timestamp": 1795230000}),
    "milliseconds": Row({"usageMetadata": USAGE, "model": PRO, "created_at": 1795230000123}),
    "seconds as text": Row({"usageMetadata": USAGE, "model": PRO, "createTime": "1795230000"}),
    # Its first digits are a day of 1795 as well.
    "milliseconds as text": Row(
        {"usageMetadata": USAGE, "model": PRO, "ts": "1795120100000"}, day="2026-11-19"
    ),
    "a time that is none": Row({"usageMetadata": USAGE, "model": PRO, "time": "soon"}, day=None),
    "seed: all of it inside of usageMetadata": Row(
        {
            "candidates": [candidate(PICTURE)],
            "usageMetadata": {**USAGE, "modelVersion": PRO, "createTime": "2026-11-21T03:00:00Z"},
        }
    ),
    "asked and answered differ": Row(
        {"model": "gemini-2.5-flash-image", **answer(PICTURE)},
    ),
    "an unknown model": Row(answer(PICTURE, modelVersion="dall-e"), usd=None, model="dall-e"),
    "unknown answered, known asked": Row(
        answer(PICTURE, modelVersion="routed-7", model=PRO), model="routed-7", inferred=USD
    ),
    # whole answers
    "answer": Row(answer(PICTURE)),
    "answer without data": Row(answer({"inlineData": {"mimeType": "image/png"}})),
    "answer with null data": Row(answer({"inlineData": {"mimeType": "image/png", "data": None}})),
    "answer with a file": Row(
        answer({"fileData": {"mimeType": "image/png", "fileUri": "images/a.png"}})
    ),
    "snake parts": Row(answer({"inline_data": {"mime_type": "image/jpeg", "data": "AAAA"}})),
    "words and a picture": Row(answer({"text": "Here:"}, PICTURE)),
    "two drafts, one picture": Row(
        answer(
            PICTURE,
            PICTURE,
            usage={
                "promptTokenCount": 20,
                "candidatesTokenCount": 2500,
                "totalTokenCount": 2520,
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 2240}],
            },
        ),
        usd="0.271960",  # 40 + 260 x 12 + 2240 x 120
        image_tokens=2240,
    ),
    "a thought that is an image counts without details": Row(
        answer(
            {**PICTURE, "thought": True},
            PICTURE,
            usage=bare(2500),
        ),
        usd="0.274360",  # 40 + (260 + 200) x 12 + 2 x 1120 x 120, hence 274360
        inferred="0.274360",
        image_tokens=2240,
    ),
    "no details": Row(answer(PICTURE, usage=BARE_USAGE), inferred=USD),
    "no details, 4K": Row(
        answer(PICTURE, usage=bare(2110)),
        usd="0.243760",  # 40 + (110 + 200) x 12 + 2000 x 120
        inferred="0.243760",
        image_tokens=2000,
        assumed=Assumed(size="4K"),
    ),
    "null details": Row(
        answer(PICTURE, usage={**BARE_USAGE, "candidatesTokensDetails": None}), inferred=USD
    ),
    "counts as text": Row(answer(PICTURE, usage={**USAGE, "promptTokenCount": "20"})),
    "no usage": Row(answer(PICTURE, usage=None), usd=None, image_tokens=0),
    "parts taken out, details left": Row(
        {**answer(), "candidates": [{"finishReason": "STOP"}]},
    ),
    "parts and details taken out": Row(
        {**answer(usage=BARE_USAGE), "candidates": [{"finishReason": "STOP"}]}, inferred=USD
    ),
    "text alone, though image tokens are told": Row(answer({"text": "Here:"})),
    "searches": Row(
        {**answer(), "candidates": [candidate(PICTURE, groundingMetadata=QUERIES)]},
        usd="0.166160",  # two queries at 14 a thousand on top
    ),
    "flex by its usage": Row(
        answer(PICTURE, usage={**USAGE, "trafficType": "ON_DEMAND_FLEX"}), usd=BATCH_USD
    ),
    "priority by its usage": Row(
        answer(PICTURE, usage={**USAGE, "serviceTier": "priority"}), usd="0.248688"
    ),
    "a tier that was assumed": Row(answer(PICTURE), usd=BATCH_USD, assumed=Assumed(tier="batch")),
    # answers without a picture
    "NO_IMAGE mirrors its thoughts": Row(
        {
            **answer(usage=MIRRORED),
            "candidates": [{"content": {"parts": None}, "finishReason": "NO_IMAGE"}],
        },
        usd="0.002200",  # 40 + 180 x 12
        outcome="no_image",
        images=0,
        image_tokens=0,
        waste="0.002200",
    ),
    "not charged": Row(
        {
            **answer(usage=MIRRORED),
            "candidates": [{"content": {}, "finishReason": "IMAGE_OTHER", "finishMessage": FREE}],
        },
        outcome="no_image",
        **NOTHING,
    ),
    "refused picture": Row(
        {
            **answer(usage=MIRRORED),
            "candidates": [{"content": {"parts": None}, "finishReason": "IMAGE_SAFETY"}],
        },
        usd="0.002200",
        outcome="blocked",
        images=0,
        image_tokens=0,
        waste="0.002200",
    ),
    "refused prompt": Row(
        {
            "promptFeedback": {"blockReason": "OTHER", "safetyRatings": []},
            "usageMetadata": {"promptTokenCount": 1919, "candidatesTokenCount": 0},
            "modelVersion": PRO,
        },
        usd="0.003838",
        outcome="blocked",
        images=0,
        day=None,
        image_tokens=0,
        waste="0.003838",
    ),
    "refused prompt, candidates null": Row(
        {
            "candidates": None,
            "promptFeedback": {"blockReason": "SAFETY"},
            "usageMetadata": {"promptTokenCount": 10, "totalTokenCount": 10},
            "modelVersion": PRO,
        },
        usd="0.000020",
        outcome="blocked",
        images=0,
        day=None,
        image_tokens=0,
        waste="0.000020",
    ),
    "words alone": Row(
        answer({"text": "Got it!"}, usage={"promptTokenCount": 20, "candidatesTokenCount": 1200}),
        usd="0.014440",  # 40 + 1200 x 12: words, for there is no picture
        outcome="text_only",
        images=0,
        image_tokens=0,
        waste="0.014440",
    ),
    "candidates empty": Row(
        {**answer(usage={"promptTokenCount": 20, "totalTokenCount": 20}), "candidates": []},
        usd="0.000040",
        outcome="no_image",
        images=0,
        image_tokens=0,
        waste="0.000040",
    ),
    # google-genai
    "dump": Row(dumped()),
    "dump with a tier in its headers": Row(dumped(sdk_http_response=HEADERS), usd=BATCH_USD),
    "dump with enums of Python": Row(
        dumped(
            candidates=[{"content": {"parts": None}, "finish_reason": "FinishReason.IMAGE_SAFETY"}],
            usage_metadata={"prompt_token_count": 20, "total_token_count": 20},
        ),
        usd="0.000040",
        outcome="blocked",
        images=0,
        image_tokens=0,
        waste="0.000040",
    ),
    "dump of a refused prompt": Row(
        dumped(
            candidates=None,
            prompt_feedback={"block_reason": "OTHER"},
            usage_metadata={"prompt_token_count": 20, "total_token_count": 20},
        ),
        usd="0.000040",
        outcome="blocked",
        images=0,
        image_tokens=0,
        waste="0.000040",
    ),
    # batches
    "gemini batch": Row({"key": "request-1", "response": answer(PICTURE)}, usd=BATCH_USD),
    "gemini batch at another tier": Row(
        {"key": "request-1", "response": answer(PICTURE)}, assumed=Assumed(tier="standard")
    ),
    "gemini batch that failed": Row(
        {"key": "request-1", "error": {"code": 8, "message": "quota"}},
        outcome="rate_limited",
        model=None,
        day=None,
        **NOTHING,
    ),
    "a key and a status beside bare counts are no batch": Row(
        {"key": "b", "status": "done", "usage": USAGE, "model": PRO, "at": "2026-11-21"},
        inferred="0.000000",
    ),
    "what says that it was served as usual is, whatever is assumed": Row(
        answer(PICTURE, usage={**USAGE, "trafficType": "ON_DEMAND"}),
        assumed=Assumed(tier="priority"),
    ),
    "one of a batch that says the same": Row(
        {"key": "b", "response": answer(PICTURE, usage={**USAGE, "serviceTier": "standard"})},
    ),
    "a picture that was held back is waste": Row(
        {
            **answer(),
            "candidates": [{"content": {}, "finishReason": "NO_IMAGE"}],
        },
        outcome="no_image",
        images=0,
        waste=USD,
    ),
    "a call by itself that may have been executed": Row(
        {"status_code": 504, "body": "", "model": PRO, "at": "2026-11-21"},
        usd=None,
        outcome="server_error",
        images=0,
        image_tokens=0,
    ),
    "gemini batch that failed by its status": Row(
        {"key": "request-1", "status": {"code": 3, "message": "no such size"}},
        outcome="bad_request",
        model=None,
        day=None,
        **NOTHING,
    ),
    "inlined in a batch": Row(
        {"response": answer(PICTURE), "metadata": {"key": "request-1"}}, usd=BATCH_USD
    ),
    "vertex": Row(
        {
            "request": {"contents": []},
            "status": "",
            "response": {**answer(PICTURE), "createTime": None},
            "processed_time": "2026-11-21T08:18:18.102004+00:00",
        },
        usd=BATCH_USD,
    ),
    "vertex that failed": Row(
        {"request": {}, "status": "Bad Request: no such size", "response": {}},
        outcome="server_error",
        model=None,
        day=None,
        **NOTHING,
    ),
    "openai style": Row(
        {
            "id": "batch_req_1",
            "custom_id": "a",
            "response": {"status_code": 200, "request_id": "r", "body": answer(PICTURE)},
            "error": None,
        },
        usd=BATCH_USD,
    ),
    "openai style that failed": Row(
        {
            "custom_id": "a",
            "response": {"status_code": 429, "body": {"error": {"message": "slow down"}}},
            "error": None,
        },
        outcome="rate_limited",
        model=None,
        day=None,
        **NOTHING,
    ),
    # around an answer
    "a gateway's envelope": Row({"data": answer(PICTURE), "success": True}),
    "logged with its request": Row({"request": {"contents": []}, "response": answer(PICTURE)}),
    "an error body": Row(
        {"error": {"code": 404, "message": "gone", "status": "NOT_FOUND"}},
        outcome="model_unavailable",
        model=None,
        day=None,
        **NOTHING,
    ),
    "a list of one": Row([answer(PICTURE)]),
}


def read(directory: Path, data: bytes, *, by: Sequence[str], assumed: Assumed) -> Spending:
    log = directory / "log.jsonl"
    log.write_bytes(data)
    tally = Tally(tuple(by), Span())
    told: list[str] = []
    book = PriceBook.shipped()
    return spend([str(log)], tally, book, assumed, day=TODAY, warn=told.append)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
def test_a_line_comes_to_what_was_worked_out_by_hand(row: Row, tmp_path: Path) -> None:
    data = json.dumps(row.line).encode() + b"\n"
    spent = read(tmp_path, data, by=("model", "day", "outcome"), assumed=row.assumed)
    assert spent.unreadable == []
    ((key, sums),) = spent.tally.ordered()
    model = row.assumed.model or row.model
    assert key == (model, row.day, row.outcome)
    figures = sums.figures()
    assert figures["cost_usd"] == (None if row.usd is None else Decimal(row.usd))
    assert (figures["attempts"], figures["images"]) == (1, row.images)
    assert figures["tokens"]["output_image"] == row.image_tokens
    assert str(figures["cost_waste_usd"]) == row.waste
    assert str(figures["cost_inferred_usd"]) == row.inferred
    assert figures["cost_unknown_attempts"] == (row.usd is None)


@pytest.mark.parametrize(
    "line",
    [
        {"id": "a", "key": "k", "status": "failed", "images": [], "attempts": 1, "run_id": "r"},
        {"key": "a", "status": "SUCCEEDED", "cost": "0.13"},
    ],
)
def test_what_only_looks_like_a_call_is_told_and_not_counted(line: Json, tmp_path: Path) -> None:
    spent = read(
        tmp_path,
        json.dumps({**line, "error": None}).encode() + b"\n",
        by=("item",),
        assumed=Assumed(),
    )
    assert (spent.n_lines, len(spent.unreadable)) == (0, 1)


def test_half_a_character_in_a_name_stops_nothing(tmp_path: Path) -> None:
    line = {"model": "a\ud800", "key": "\udfff", "usageMetadata": USAGE, "tags": {"t": "\ud800"}}
    spent = read(
        tmp_path,
        json.dumps(line).encode() + b"\n",
        by=("model", "item", "tag:t"),
        assumed=Assumed(),
    )
    [(key, _)] = spent.tally.ordered()
    assert key == ("a?", "?", "?")
    b"".join(as_json(spent.tally))
