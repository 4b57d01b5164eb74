"""usageMetadata as counts, in every shape that has been seen."""

from __future__ import annotations

from typing import Any

import pytest

from batchgen.model import Usage
from batchgen.wire.usage import as_count, read_usage


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (0, 0),
        (1120, 1120),
        (10**12, 10**12),
        (10**12 + 1, None),
        (10**30, None),
        (-1, None),
        (True, None),
        (None, None),
        (13.0, 13),
        (13.5, None),
        (1e300, None),
        (float("nan"), None),
        (float("inf"), None),
        ("1230", 1230),
        ("", None),
        ("-5", None),
        ("1e3", None),
        ("\u00b2", None),
        ("\u0663", None),
        ("9" * 13, None),
        ("9" * 5000, None),
        ([], None),
        ({}, None),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_count_is_a_plausible_whole_number_or_nothing(value: object, count: int | None) -> None:
    assert as_count(value) == count


def test_all_members_are_read_in_either_spelling() -> None:
    camel = {
        "promptTokenCount": 1,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 3,
        "toolUsePromptTokenCount": 4,
        "totalTokenCount": 5,
        "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 6}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 7}],
    }
    snake = {
        "prompt_token_count": 1,
        "candidates_token_count": 2,
        "thoughts_token_count": 3,
        "tool_use_prompt_token_count": 4,
        "total_token_count": 5,
        "prompt_tokens_details": [{"modality": "IMAGE", "token_count": 6}],
        "candidates_tokens_details": [{"modality": "IMAGE", "token_count": 7}],
    }
    expected = Usage(
        prompt=1, candidates=2, thoughts=3, tool_use=4, total=5, prompt_image=6, candidates_image=7
    )
    assert read_usage(camel) == read_usage(snake) == expected


@pytest.mark.parametrize(
    ("details", "image"),
    [
        (None, None),
        ([], None),
        ("x", None),
        ({"IMAGE": 5}, None),
        ([None, "x", 3], None),
        ([{"modality": "IMAGE"}], None),
        ([{"modality": "IMAGE", "tokenCount": "many"}], None),
        ([{"modality": "TEXT", "tokenCount": 9}], 0),
        ([{"tokenCount": 9}], 0),
        ([{"modality": None, "tokenCount": 9}], 0),
        ([{"modality": "IMAGE", "tokenCount": 5}, {"modality": "TEXT", "tokenCount": 9}], 5),
        ([{"modality": "IMAGE", "tokenCount": 5}, {"modality": "image", "tokenCount": 2}], 7),
        ([{"modality": "IMAGE", "tokenCount": 5}, {"modality": "IMAGE"}], None),
        ([{"modality": "MediaModality.IMAGE", "tokenCount": 5}], 5),
    ],
)
def test_no_details_is_not_the_same_as_no_image_tokens(details: Any, image: int | None) -> None:
    usage = read_usage({"totalTokenCount": 1, "candidatesTokensDetails": details})
    assert usage is not None
    assert usage.candidates_image == image


@pytest.mark.parametrize("raw", [None, {}, [], "x", 5, {"trafficType": "ON_DEMAND"}])
def test_what_holds_no_count_is_no_usage(raw: object) -> None:
    assert read_usage(raw) is None
