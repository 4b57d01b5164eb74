"""What an answer was grounded in: the queries that the model made, and the pages that it found.

The terms of the service ask that sources and search suggestions be shown, and each query is
billed. The ledger keeps groundingMetadata as it was received; this is how it is read.

Source: docs/api-notes.md, section 8.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from batchgen.model import SearchKind
from batchgen.sanitize import printable

T = TypeVar("T")

_MAX_WORDS: Final = 300
_MAX_URL_CHARS: Final = 4096
_MAX_LISTED: Final = 100
# What an address may hold: printable, and nothing that would end it in a page or a text.
_PLAIN: Final = re.compile(r'[^\s\x00-\x20\x7f-\xa0<>"`\\^{}|]+')


@dataclass(frozen=True, slots=True)
class Source:
    """A page, or a picture on one; `uri` is http or https, whatever the service sent."""

    kind: SearchKind
    title: str
    uri: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A search that the service asks to offer beside its answer."""

    words: str
    uri: str


@dataclass(frozen=True, slots=True)
class Grounding:
    """Everything of a groundingMetadata that people see; at most 100 of each kind.

    Attributes:
        queries, image_queries: What was searched for on the web and among images: each once,
            none empty.
    """

    queries: tuple[str, ...] = ()
    image_queries: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    suggestions: tuple[Suggestion, ...] = ()


def read_grounding(raw: Any) -> Grounding | None:
    """Read a groundingMetadata in either spelling; None if it says nothing.

    Whatever is odd about it is passed over.
    """
    if not raw:
        return None
    entry = _member(raw, "searchEntryPoint")
    grounding = Grounding(
        _each_once(filter(None, map(_words, _list(_member(raw, "webSearchQueries"))))),
        _each_once(filter(None, map(_words, _list(_member(raw, "imageSearchQueries"))))),
        _each_once(_sources(_list(_member(raw, "groundingChunks")))),
        _each_once(_suggestions(_member(entry, "renderedContent"))),
    )
    return grounding if grounding != Grounding() else None


def count_queries(raw: Any) -> int:
    """How many different searches on the web a groundingMetadata tells of: those are billed."""
    queries = _list(_member(raw, "webSearchQueries"))
    return len({one.strip() for one in queries if isinstance(one, str) and one.strip()})


def merged(groundings: Iterable[Grounding]) -> Grounding:
    """What several answers were grounded in, such as the turns of a conversation."""
    several = tuple(groundings)
    return Grounding(
        _each_once(query for one in several for query in one.queries),
        _each_once(query for one in several for query in one.image_queries),
        _each_once(source for one in several for source in one.sources),
        _each_once(suggestion for one in several for suggestion in one.suggestions),
    )


def _sources(chunks: list[Any]) -> Iterator[Source]:
    for chunk in chunks:
        web, image = _member(chunk, "web"), _member(chunk, "image")
        if (source := _source("web", web, "uri")) is not None:
            yield source
        if (source := _source("image", image, "sourceUri")) is not None:
            yield source


def _source(kind: SearchKind, found: Any, name: str) -> Source | None:
    uri = _web_address(_member(found, name))
    if uri is None:
        return None
    title = next(filter(None, map(_words, (_member(found, "title"), _member(found, "domain")))), "")
    return Source(kind, title or urlsplit(uri).netloc, uri)


def _suggestions(html: Any) -> Iterator[Suggestion]:
    """The links of a rendered entry point; its markup and its styles are not for our page."""
    links = _Links()
    if isinstance(html, str):
        links.feed(html)
        links.close()
    for words, href in links.found:
        uri = _web_address(href)
        if uri is not None and (shown := printable(words, _MAX_WORDS)):
            yield Suggestion(shown, uri)


class _Links(HTMLParser):
    """Gathers the links of a piece of HTML with their words."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[tuple[str, str]] = []
        self._href: str | None = None
        self._words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._href, self._words = dict(attrs).get("href"), []

    def handle_data(self, data: str) -> None:
        if self._href is not None:
            self._words.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._href is not None:
            self.found.append(("".join(self._words), self._href))
            self._href = None


def _web_address(value: Any) -> str | None:
    """An address that a link may have; None for every other scheme, and for what is none."""
    if not isinstance(value, str) or len(value) > _MAX_URL_CHARS or not _PLAIN.fullmatch(value):
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return value if parts.scheme in {"http", "https"} and parts.netloc else None


def _words(value: Any) -> str:
    return printable(value, _MAX_WORDS) if isinstance(value, str) else ""


def _member(mapping: Any, camel: str) -> Any:
    """A member in camelCase or in snake_case; None if there is none."""
    if not isinstance(mapping, dict):
        return None
    snake = "".join(f"_{one.lower()}" if one.isupper() else one for one in camel)
    value = mapping.get(camel)
    return mapping.get(snake) if value is None else value


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _each_once(values: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(values))[:_MAX_LISTED]
