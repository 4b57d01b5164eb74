"""The quick way through a log comes to what the thorough one does, to the micro-dollar."""

from __future__ import annotations

import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from batchgen.cost import Price, PriceBook, PriceList, Rates, price_tokens
from batchgen.model import Tokens
from batchgen.spending import Assumed, Span, Tally, grouping, spend
from batchgen.spending.foreign import Foreign
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


@settings(max_examples=120, deadline=None)
@given(st.lists(answers(), min_size=1, max_size=20))
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
    assert found.counts.n_calls == len(lines)
    assert {key: sums.figures() for key, sums in quick.groups.items()} == {
        key: sums.figures() for key, sums in slow.groups.items()
    }


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
