"""What people are shown of a groundingMetadata, whatever the service put into it."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchgen.wire.grounding import Grounding, Source, Suggestion, read_grounding

CHIPS = (
    "<style>.chip { color: red }</style><div class='carousel'>"
    '<a class="chip" href="https://search.example.com/?q=a">tides &amp; <b>moon</b></a>'
    '<a href="javascript:alert(1)">evil</a><a>no address</a>'
    '<a class="chip" href="https://search.example.com/?q=a">tides &amp; <b>moon</b></a></div>'
)
RAW = {
    "webSearchQueries": ["tides", "tides", "", "moon"],
    "imageSearchQueries": ["harbour"],
    "groundingChunks": [
        {"web": {"uri": "https://a.example.com/x", "title": "a.example.com"}},
        {"web": {"uri": "https://a.example.com/x", "title": "a.example.com"}},
        {"web": {"uri": "https://b.example.com/y"}},
        {
            "image": {
                "sourceUri": "https://c.example.com/",
                "imageUri": "https://c.example.com/1.jpg",
                "domain": "c.example.com",
            }
        },
    ],
    "searchEntryPoint": {"renderedContent": CHIPS},
}
READ = Grounding(
    queries=("tides", "moon"),
    image_queries=("harbour",),
    sources=(
        Source("web", "a.example.com", "https://a.example.com/x"),
        Source("web", "b.example.com", "https://b.example.com/y"),
        Source("image", "c.example.com", "https://c.example.com/"),
    ),
    suggestions=(Suggestion("tides & moon", "https://search.example.com/?q=a"),),
)


def snake(value: Any) -> Any:
    match value:
        case dict():
            return {
                "".join(f"_{c.lower()}" if c.isupper() else c for c in name): snake(one)
                for name, one in value.items()
            }
        case list():
            return [snake(one) for one in value]
        case _:
            return value


@pytest.mark.parametrize("raw", [RAW, snake(RAW)], ids=["camelCase", "snake_case"])
def test_queries_sources_and_suggestions_are_read_each_once_in_either_spelling(raw: Any) -> None:
    assert read_grounding(raw) == READ


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "//host.example.com/x",
        "/x",
        "https://",
        "https://[",
        "https://a.example.com/\nx",
        "https://a.example.com/" + "x" * 5000,
        "ftp://a.example.com/",
        " https://a.example.com",
        5,
        None,
    ],
)
def test_only_an_address_that_a_link_may_have_is_a_source(uri: Any) -> None:
    assert read_grounding({"groundingChunks": [{"web": {"uri": uri, "title": "t"}}]}) is None


@pytest.mark.parametrize(
    "raw",
    [None, {}, [], "x", 3, {"webSearchQueries": None}, {"webSearchQueries": ["", " ", 4, None]}],
)
def test_what_says_nothing_is_nothing(raw: Any) -> None:
    assert read_grounding(raw) is None


def test_words_are_fit_for_a_line_and_lists_have_an_end() -> None:
    grounding = read_grounding(
        {"webSearchQueries": [f"q{n}\x1b[31m\n{'x' * 999}" for n in range(999)]}
    )
    assert grounding is not None
    assert len(grounding.queries) == 100
    assert all(query.isprintable() and len(query) <= 300 for query in grounding.queries)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*RAW, *snake(RAW), "web", "image", "uri", "renderedContent"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_anything_odd_is_passed_over(raw: Any) -> None:
    grounding = read_grounding(raw) or Grounding()
    assert all(one.uri.startswith(("http://", "https://")) for one in grounding.sources)
    assert all(grounding.queries)
    # Whatever this Python's Unicode does not know yet is a character of a language all the same.
    kinds = {unicodedata.category(one) for query in grounding.queries for one in query}
    assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
