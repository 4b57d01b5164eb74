"""What a search leaves in an answer: queries, sources, and suggestions that are foreign HTML."""

from html.parser import HTMLParser
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import pytest

from batchgen.emulator import asked, body, grounding, models
from batchgen.emulator.signatures import Signer

Json: TypeAlias = dict[str, Any]
WEB: Json = {}
WEB_AND_IMAGES: Json = {"searchTypes": {"webSearch": {}, "imageSearch": {}}}
WORDS: Json = {"text": "Für dich, a cat."}
PICTURE: Json = {"inlineData": {"mimeType": "image/png", "data": ""}}


def grounded(
    prompt: str = "a cat", search: Json = WEB, parts: tuple[Json, ...] = (PICTURE,)
) -> Json:
    model = models.find("gemini-3.1-flash-image")
    assert model is not None
    turn = {"role": "user", "parts": [{"text": prompt}]}
    request = body.typed({"contents": [turn], "tools": [{"googleSearch": search}]})
    return grounding.metadata(asked.understand(request, model, {}, Signer(0)), list(parts))


class Chips(HTMLParser):
    """The chips of the suggestions: address and text of each; and the names of all elements."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.chips: list[tuple[str, str]] = []
        self.elements: set[str] = set()
        self._href: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        found = dict(attrs)
        self._href = found["href"] if tag == "a" and found.get("class") == "chip" else None

    def handle_data(self, data: str) -> None:
        if self._href is not None:
            self.chips.append((self._href, data))

    def handle_endtag(self, _tag: str) -> None:
        self._href = None


def suggestions(metadata: Json) -> str:
    html: str = metadata["searchEntryPoint"]["renderedContent"]
    return html


def test_queries_repeat_themselves_and_one_is_empty() -> None:
    queries = grounded("a cat")["webSearchQueries"]
    assert sorted(queries) == ["", "a cat", "a cat", "a cat photo"]


def test_a_query_is_the_beginning_of_the_prompt_without_its_magic_words() -> None:
    found = grounded("one two three four five six seven eight nine [[UNSIGNED]]")
    assert found["webSearchQueries"][0] == "one two three four five six seven eight"
    assert grounded("[[UNSIGNED]]")["webSearchQueries"][0] == "image"


def test_every_query_that_says_something_is_one_chip() -> None:
    chips = Chips(suggestions(grounded("a cat"))).chips
    assert [text for _, text in chips] == ["a cat", "a cat photo"]
    assert len({href for href, _ in chips}) == 2


@pytest.mark.parametrize("prompt", ["<script>alert(1)</script>", '"><img src=x>', "R&D &amp; 'x'"])
def test_a_query_in_the_suggestions_is_text_and_no_markup(prompt: str) -> None:
    html = suggestions(grounded(prompt))
    read = Chips(html)
    assert read.elements == {"style", "div", "svg", "circle", "a"}
    assert [text for _, text in read.chips] == [prompt, f"{prompt} photo"]


def test_suggestions_look_like_googles() -> None:
    html = suggestions(grounded())
    assert html.startswith("<style>\n.container {")
    assert html.index("</style>") < html.index('<div class="container">')
    assert html.index('<div class="headline">') < html.index('<div class="carousel">')


def test_all_addresses_are_redirects_of_nobodys_domain() -> None:
    metadata = grounded(search=WEB_AND_IMAGES)
    chunks = metadata["groundingChunks"]
    redirects = [href for href, _ in Chips(suggestions(metadata)).chips]
    redirects += [chunk["web"]["uri"] for chunk in chunks if "web" in chunk]
    for address in redirects:
        assert address.startswith("https://vertexaisearch.example.com/grounding-api-redirect/")
    (image,) = (chunk["image"] for chunk in chunks if "image" in chunk)
    for address in (image["sourceUri"], image["imageUri"]):
        assert str(urlsplit(address).hostname).endswith("example.com")


def test_the_web_is_two_sources_each_with_its_title() -> None:
    first, second = (chunk["web"] for chunk in grounded()["groundingChunks"])
    assert first["title"] != second["title"]
    assert first["uri"] != second["uri"]


def test_an_image_search_names_its_queries_and_its_sources() -> None:
    assert "imageSearchQueries" not in grounded()
    metadata = grounded(search=WEB_AND_IMAGES)
    assert metadata["imageSearchQueries"] == ["a cat"]
    *_, last = metadata["groundingChunks"]
    assert set(last["image"]) == {"sourceUri", "imageUri", "title", "domain"}


@pytest.mark.parametrize(
    ("parts", "segment"),
    [
        ((WORDS, PICTURE), {"endIndex": 17, "text": WORDS["text"]}),
        ((PICTURE, WORDS), {"partIndex": 1, "endIndex": 17, "text": WORDS["text"]}),
        (({**WORDS, "thought": True}, PICTURE), None),
        ((PICTURE,), None),
    ],
)
def test_one_support_ties_the_words_to_the_sources(
    parts: tuple[Json, ...], segment: Json | None
) -> None:
    metadata = grounded(search=WEB_AND_IMAGES, parts=parts)
    (support,) = metadata["groundingSupports"]
    assert support.get("segment") == segment
    sources = [metadata["groundingChunks"][n] for n in support["groundingChunkIndices"]]
    assert [set(source) for source in sources] == [{"web"}, {"web"}]
