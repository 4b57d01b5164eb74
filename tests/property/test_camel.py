"""Whatever a raw body holds: only names that the API defines are respelt, and no value changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from batchgen.wire.camel import camelised

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = st.sampled_from(
    [
        *("contents", "parts", "text", "inline_data", "mime_type", "generation_config", "labels"),
        *("image_config", "tools", "google_search", "function_call", "args", "response_schema"),
    ]
)
LEAVES = st.text() | st.integers() | st.none() | st.booleans() | NAMES
BODIES = st.dictionaries(
    NAMES | st.text(max_size=5),
    st.recursive(
        LEAVES,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(), inner, max_size=4)
        ),
    ),
    max_size=5,
)


def leaves(value: Any) -> Iterator[Any]:
    match value:
        case dict():
            for one in value.values():
                yield from leaves(one)
        case list():
            for one in value:
                yield from leaves(one)
        case _:
            yield value


@given(BODIES)
def test_no_value_and_no_order_is_ever_changed(body: dict[str, Any]) -> None:
    assert list(leaves(camelised(body))) == list(leaves(body))


@given(BODIES)
def test_a_body_that_was_respelt_is_respelt_no_more(body: dict[str, Any]) -> None:
    once = camelised(body)
    assert camelised(once) == once


@given(st.text(), st.text())
def test_text_stays_what_it_was(prompt: str, system: str) -> None:
    part = {"text": prompt, "thought_signature": system}
    respelt = camelised(
        {"contents": [{"parts": [part]}], "system_instruction": {"parts": [{"text": system}]}}
    )
    assert respelt == {
        "contents": [{"parts": [{"text": prompt, "thoughtSignature": system}]}],
        "systemInstruction": {"parts": [{"text": system}]},
    }
