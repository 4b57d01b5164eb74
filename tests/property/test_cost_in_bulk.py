"""The quick way through a log comes to what the thorough one does, to the micro-dollar."""

from __future__ import annotations

import json
import re
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.cost import Price, PriceBook, PriceList, Rates, price_tokens
from batchgen.model import Tokens
from batchgen.spending import Assumed, Span, Tally, grouping, spend
from batchgen.spending.foreign import Foreign
from batchgen.spending.plain import Plain
from batchgen.spending.pricing import Pricer

Json: TypeAlias = dict[str, Any]

BOOK = PriceBook.shipped()
ASSUMED = Assumed(model="models/gemini-3.1-flash-image", size="2K")
MODELS = st.sampled_from(
    [
        *("gemini-3-pro-image", "gemini-3.1-flash-lite-image", "gemini-nano-banana-2.1"),
        *("gemini-2.5-flash-image", "models/gemini-3-pro-image", "unknown"),
    ]
)
COUNTS = st.integers(0, 5000)
PARTS = st.lists(
    st.sampled_from(
        [
            {"inlineData": {"mimeType": "image/png"}},
            {"inlineData": {"mimeType": "image/png"}, "thought": True},
            {"text": "words"},
            {"inlineData": {"mimeType": "audio/wav"}},
            {"fileData": {"mimeType": "image/png", "fileUri": "a.png"}},
            {"text": "thought", "thought": True, "thoughtSignature": "c2ln"},
        ]
    ),
    max_size=3,
)
DETAILS = st.lists(
    st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "IMAGE"]), "tokenCount": COUNTS}),
    max_size=2,
)


@st.composite
def answers(draw: st.DrawFn) -> Json:
    usage: Json = {
        name: draw(COUNTS)
        for name in ("promptTokenCount", "candidatesTokenCount", "totalTokenCount")
    }
    for name, values in {
        "thoughtsTokenCount": COUNTS,
        "toolUsePromptTokenCount": COUNTS,
        "promptTokensDetails": DETAILS,
        "candidatesTokensDetails": DETAILS,
        "trafficType": st.sampled_from(["ON_DEMAND", "ON_DEMAND_PRIORITY"]),
        "serviceTier": st.sampled_from(["standard", "flex", "priority", None]),
    }.items():
        if draw(st.booleans()):
            usage[name] = draw(values)
    reason = draw(st.sampled_from(["STOP", "NO_IMAGE"]))
    if draw(st.integers(0, 3)) == 0:
        return usage
    answer = {
        "candidates": [{"content": {"parts": draw(PARTS)}, "finishReason": reason}],
        "usageMetadata": usage,
        "modelVersion": draw(MODELS),
    }
    if draw(st.booleans()):
        answer["createTime"] = f"2026-11-{draw(st.integers(1, 28)):02d}T23:30:00Z"
    return answer


TIMES = st.sampled_from(
    [
        *("2026-11-03T23:30:00Z", "2026-11-03T23:30:00-03:00", "2026-11-03 23:30:00.25"),
        *(1_795_120_100, "1795120100000", "yesterday", None),
    ]
)
ASKED = st.sampled_from(["gemini-3-pro-image", "gemini-2.5-flash-image", "unknown", " ", None])


def in_snake_case(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): in_snake_case(inner)
            for name, inner in value.items()
        }
    return [in_snake_case(one) for one in value] if isinstance(value, list) else value


def dumped(answer: Json) -> Json:
    """As google-genai dumps it."""
    nulls = dict.fromkeys(("prompt_feedback", "parsed", "sdk_http_response"))
    usage = dict.fromkeys(("cache_tokens_details", "cached_content_token_count", "traffic_type"))
    found: Json = in_snake_case(answer)
    found["usage_metadata"] = usage | found["usage_metadata"]
    for candidate in found.get("candidates", ()):
        candidate.update(dict.fromkeys(("safety_ratings", "grounding_metadata", "token_count")))
        for part in candidate["content"]["parts"]:
            part.update(
                dict.fromkeys({"text", "thought", "file_data", "inline_data"} - part.keys())
            )
    return nulls | found


@st.composite
def lines_of_a_log(draw: st.DrawFn) -> Json:
    answer = draw(answers())
    if "usageMetadata" not in answer:
        answer = answer if draw(st.booleans()) else {"usageMetadata": answer}
    if "usageMetadata" in answer:
        for name, values in {"ts": TIMES, "timestamp": TIMES, "model": ASKED}.items():
            if draw(st.integers(0, 2)) == 0:
                answer[name] = draw(values)
    shapes = [lambda one: one, in_snake_case, lambda one: {"key": "a", "response": one}]
    shapes.append(lambda one: {"custom_id": "a", "response": one})
    shapes.append(lambda one: {"model": draw(ASKED), "at": draw(TIMES), "data": one})
    if "usageMetadata" in answer:
        shapes.append(dumped)
    for shape in draw(st.lists(st.sampled_from(shapes[1:]), max_size=2, unique=True)):
        if shape is not dumped or "usageMetadata" in answer:
            answer = shape(answer)
    return answer


@settings(max_examples=160, deadline=None)
@given(st.lists(lines_of_a_log(), min_size=1, max_size=20))
def test_many_lines_come_to_what_each_does(lines: list[Json]) -> None:
    by = grouping(["model,day,outcome"])
    slow = Tally(by, Span())
    foreign = Foreign(Pricer(BOOK, "2026-11-28"), ASSUMED)
    for line in json.loads(json.dumps(lines)):
        slow.add(foreign.call(line))
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log.jsonl"
        log.write_text("".join(json.dumps(line) + "\n" for line in lines))
        quick = Tally(by, Span())
        found = spend([str(log)], quick, BOOK, ASSUMED, day="2026-11-28", warn=print)
    assert found.counts == foreign.counts
    assert {key: sums.figures() for key, sums in quick.groups.items()} == {
        key: sums.figures() for key, sums in slow.groups.items()
    }


USAGE = {
    "promptTokenCount": 20,
    "candidatesTokenCount": 1300,
    "totalTokenCount": 1320,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}
ANSWER = {
    "candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png"}}]}}],
    "usageMetadata": USAGE,
    "modelVersion": "gemini-3-pro-image",
    "createTime": "2026-11-03T23:30:00Z",
}
ENTRY = {"ts": "2026-11-03T23:30:00+00:00", "model": "gemini-3-pro-image"}


@pytest.mark.parametrize(
    "line",
    [
        ANSWER,
        USAGE,
        in_snake_case(USAGE),
        USAGE | {"serviceTier": "flex"},
        ENTRY | {"usageMetadata": USAGE},
        {"timestamp": 1_795_120_100, "usage_metadata": in_snake_case(USAGE)},
        ENTRY | {"response": ANSWER},
        {"model": "gemini-3-pro-image", "usage": USAGE},
        dumped(ANSWER),
        dumped(ANSWER)
        | {"sdk_http_response": {"headers": {"X-Gemini-Service-Tier": "flex"}, "body": None}},
        ENTRY | {"response": {"model": None, "at": "yesterday", "usageMetadata": USAGE}},
        {"at": "yesterday", "usageMetadata": USAGE} | ENTRY,
        {"key": "a", "response": ANSWER},
    ],
)
def test_a_line_of_a_usual_shape_goes_the_quick_way(line: Json) -> None:
    by = grouping(["model,day,outcome"])
    quick, slow = Tally(by), Tally(by)
    foreign = Foreign(Pricer(BOOK, "2026-11-28"), ASSUMED)
    plain = Plain(quick, foreign)
    assert list(plain.odd_lines([json.dumps(line).encode()] * 2)) == []
    plain.end()
    for _ in range(2):
        slow.add(foreign.call(json.loads(json.dumps(line))))
    assert quick.total().attempts == 2
    assert quick.groups == slow.groups


def test_a_line_of_a_batch_keeps_its_item() -> None:
    tally, foreign = Tally(grouping(["item"])), Foreign(Pricer(BOOK, "2026-11-28"), ASSUMED)
    line = json.dumps({"key": "a", "response": ANSWER}).encode()
    assert list(Plain(tally, foreign).odd_lines([line])) == [(1, line)]


RATES = st.decimals(0, 500, places=4, allow_nan=False, allow_infinity=False)


MANY = st.tuples(*[st.integers(0, 10**6)] * 3)
FACTORS = st.decimals("0.01", 3, places=3)


@settings(max_examples=200, deadline=None)
@given(RATES, RATES, RATES, MANY, FACTORS)
def test_whole_rates_round_as_decimals_do(
    sent: Decimal, text: Decimal, image: Decimal, counts: tuple[int, int, int], factor: Decimal
) -> None:
    answer = {
        "candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png"}}]}}],
        "usageMetadata": {
            "promptTokenCount": counts[0],
            "candidatesTokenCount": counts[1] + counts[2] + 1,
            "totalTokenCount": 0,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": counts[2] + 1}],
        },
        "modelVersion": "gemini-3-pro-image",
    }
    written = {"input": sent, "text_output": text, "image_output": image}
    mine = PriceList.of("mine", {"models": {"gemini-3-pro-image": written}, "multiplier": factor})
    book = PriceBook.shipped().under(mine)
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log.jsonl"
        log.write_text(json.dumps(answer) + "\n")
        tally = Tally((), Span())
        spend([str(log)], tally, book, Assumed(), day="2026-11-28", warn=print)
    tokens = Tokens(input_text=counts[0], output_text=counts[1], output_image=counts[2] + 1)
    price = book.find("gemini-3-pro-image", at="2026-11-28")
    assert isinstance(price, Price)
    assert isinstance(price.standard, Rates)
    assert tally.total().cost_usd == price_tokens(tokens, "reported", price).usd


def test_a_rate_that_is_finer_than_any_figure_is_taken(tmp_path: Path) -> None:
    usage = {"promptTokenCount": 20, "candidatesTokenCount": 1120, "totalTokenCount": 1140}
    details = {"candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}]}
    (tmp_path / "log.jsonl").write_text(json.dumps(usage | details) + "\n")
    rates = {"input": "1e-400", "text_output": "0", "image_output": "30"}
    book = BOOK.under(PriceList.of("here", {"models": {"mine": rates}}))
    log, assumed = [str(tmp_path / "log.jsonl")], Assumed(model="mine")
    found = spend(log, Tally(), book, assumed, day="2026-11-28", warn=print)
    assert found.tally.total().cost_usd == Decimal("0.033600")
