"""What a search leaves in an answer: the queries, the sources, and Google's search suggestions.

The queries repeat themselves and one is empty, as the real ones may: only those that differ and
say something are billed. The suggestions are a piece of a web page with style, pictures and links,
as Google sends it to be shown as it is; whoever shows it must trust none of it.

Shape: GroundingMetadata, https://ai.google.dev/api/generate-content#GroundingMetadata; sources are
named by redirects, and a title is no more than a domain.
Source: https://ai.google.dev/gemini-api/docs/grounding/search-suggestions for the suggestions.
"""

from hashlib import sha256
from html import escape
from typing import Any, TypeAlias

from batchgen.emulator.asked import Asked
from batchgen.emulator.faults import without_magic_words

Json: TypeAlias = dict[str, Any]

_QUERY_WORDS = 8
_SITES = ("www.example.com", "gallery.example.com")
_LOGO = (
    '<svg class="logo-{look}" width="18" height="18" viewBox="0 0 18 18" fill="none" '
    'xmlns="http://www.w3.org/2000/svg"><circle cx="9" cy="9" r="8" fill="#4285F4"/></svg>'
)
_STYLE = """\
<style>
.container {
  align-items: center;
  border-radius: 8px;
  display: flex;
  font-family: Google Sans, Roboto, sans-serif;
  font-size: 14px;
  line-height: 20px;
  padding: 8px 12px;
}
.chip {
  display: inline-block;
  border: solid 1px;
  border-radius: 16px;
  min-width: 14px;
  padding: 5px 16px;
  text-align: center;
  user-select: none;
  margin: 0 8px;
  -webkit-tap-highlight-color: transparent;
}
.carousel {
  overflow: auto;
  scrollbar-width: none;
  white-space: nowrap;
  margin-right: -12px;
}
.headline {
  display: flex;
  margin-right: 4px;
}
@media (prefers-color-scheme: light) {
  .container { background-color: #fafafa; box-shadow: 0 0 0 1px #0000000f; }
  .chip { background-color: #ffffff; border-color: #d2d2d2; color: #5e5e5e; }
  .logo-dark { display: none; }
}
@media (prefers-color-scheme: dark) {
  .container { background-color: #1f1f1f; box-shadow: 0 0 0 1px #ffffff26; }
  .chip { background-color: #2c2c2c; border-color: #3c4043; color: #fff; }
  .logo-light { display: none; }
}
</style>"""


def metadata(asked: Asked, parts: list[Json]) -> Json:
    """The groundingMetadata of an answer with these parts."""
    query = _query(asked)
    queries = (query, f"{query} photo")
    chunks = [{"web": {"uri": _redirect(site, query), "title": site}} for site in _SITES]
    grounding: Json = {
        "webSearchQueries": [*queries, query, ""],
        "groundingChunks": chunks,
        "groundingSupports": [_support(parts, len(chunks))],
        "searchEntryPoint": {"renderedContent": _suggestions(queries)},
    }
    if asked.image_search:
        grounding["imageSearchQueries"] = [query]
        grounding["groundingChunks"] = [*chunks, {"image": _image_source()}]
    return grounding


def _query(asked: Asked) -> str:
    return " ".join(without_magic_words(asked.prompt).split()[:_QUERY_WORDS]) or "image"


def _image_source() -> Json:
    return {
        "sourceUri": "https://www.example.com/gallery",
        "imageUri": "https://www.example.com/gallery/1.jpg",
        "title": "A picture",
        "domain": "example.com",
    }


def _support(parts: list[Json], n_chunks: int) -> Json:
    """Which sources stand behind the words of the answer; without words no segment is named."""
    support: Json = {"groundingChunkIndices": list(range(n_chunks))}
    for n, part in enumerate(parts):
        if "text" in part and "thought" not in part:
            text = part["text"]
            place = {"partIndex": n} if n else {}  # a zero is absent, as protobuf's JSON has it
            segment = {**place, "endIndex": len(text.encode()), "text": text}  # in bytes
            return {"segment": segment, **support}
    return support


def _suggestions(queries: tuple[str, ...]) -> str:
    """Google's chips, one a query."""
    logos = "".join(_LOGO.format(look=look) for look in ("light", "dark"))
    chips = "\n".join(
        f'    <a class="chip" href="{escape(_redirect("search", query))}">{escape(query)}</a>'
        for query in queries
    )
    return (
        f'{_STYLE}\n<div class="container">\n  <div class="headline">{logos}</div>\n'
        f'  <div class="carousel">\n{chips}\n  </div>\n</div>\n'
    )


def _redirect(to: str, query: str) -> str:
    """An address that says nothing of where it leads, as all that Google gives."""
    token = sha256(f"{to} {query}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"https://vertexaisearch.example.com/grounding-api-redirect/{token}"
