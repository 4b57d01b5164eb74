"""Reports in which everything is hostile, and what a page may hold at most."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec

from batchgen.model import Attempt, Failure, ImageFile, Item, Outcome, Turn, content_key
from batchgen.report.page import read_script
from batchgen.report.rebuild import rebuild
from batchgen.store.expanded import write_items
from batchgen.store.ledger import End, Run

# What has no content of its own and no end.
_VOID = {"meta", "img", "br", "link", "hr", "input"}
_OF_A_PAGE = {"html", "head", "meta", "title", "style", "body", "header", "main", "dl", "dt", "dd"}
_OF_A_PAGE |= {"section", "nav", "footer", "dialog", "button", "label", "input", "select"}
_OF_WORDS = {"h1", "h2", "h3", "p", "ul", "li", "a", "strong", "br"}
_OF_A_CHART = {"svg", "rect", "path", "text", "tspan", "desc", "g", "figure", "figcaption"}
_OF_A_CHART |= {"details", "summary", "table", "thead", "tbody", "tr", "th", "td"}
PAGE_TAGS = {*_OF_A_PAGE, *_OF_WORDS, *_OF_A_CHART, "div", "span", "bdi", "kbd", "pre", "script"}
TEXT_TAGS = {*_OF_WORDS, "code", "table", "thead", "tbody", "tr", "th", "td"}


class Page(HTMLParser):
    """Gathers tags, attributes and words."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self._words_inside: list[tuple[str, str]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.comments: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], "every tag ends where it should"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), names
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open, tag
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = self._open[-1] if self._open else ""
        {"script": self.scripts, "style": self.styles}.get(inside, self.words).append(data)
        self._words_inside.append((inside, data))

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    @property
    def skeleton(self) -> list[tuple[str, tuple[str, ...]]]:
        """All tags in order, each with the names of its attributes: what no item may change."""
        return [(tag, tuple(attrs)) for tag, attrs in self.tags]

    @property
    def figures(self) -> dict[str, str]:
        """The figures on top, by their names."""
        found: dict[str, str] = {}
        name = ""
        for inside, words in self._words_inside:
            if inside == "dt":
                name = words
            elif inside == "dd":
                found.setdefault(name, words)
        return found

    @property
    def shown(self) -> str:
        """All words and all values of attributes that a person gets to see."""
        titles = [
            attrs[name] for _, attrs in self.tags for name in ("title", "alt") if name in attrs
        ]
        return "\n".join([*self.words, *titles])


def check_tags(page: Page, allowed: set[str]) -> None:
    """Nothing but these tags; no handler, no style of its own, nothing from elsewhere."""
    assert {tag for tag, _ in page.tags} <= allowed
    assert page.comments == []
    for tag, attrs in page.tags:
        for name, value in attrs.items():
            assert not name.startswith("on"), (tag, attrs)
            assert name not in {"style", "srcdoc", "action", "formaction", "ping", "srcset", "data"}
            assert re.fullmatch("[a-z-]+", name), name
            if name in {"href", "src"}:
                _check_address(tag, attrs, value)


def _check_address(tag: str, attrs: dict[str, str], value: str) -> None:
    """A file beside the page, or a link that a person may follow and that takes nothing along."""
    if tag == "a" and value.startswith(("http://", "https://")):
        assert not re.search(r"[\s<>\"'`]", value)
        assert "rel" not in attrs or {"noopener", "noreferrer"} <= set(attrs["rel"].split())
        return
    assert re.fullmatch(r"\./[A-Za-z0-9._~/%-]+|#gallery|#outcome=[a-z_]+", value), value


def data_of(text: str) -> list[dict[str, Any]]:
    """What a page embeds for its script: the head, then a card for each item."""
    page = Page(text)
    (block,) = [words for inside, words in page._words_inside if inside == "pre"]
    return [json.loads(line) for line in block.split("\n") if line]


def cards_of(text: str) -> dict[str, dict[str, Any]]:
    """The cards of a page by the ids of their items, in order."""
    return {card["id"]: card for card in data_of(text)[1:]}


def check_page(text: str) -> Page:
    """A page that runs nothing but its one script, and loads nothing from elsewhere."""
    page = Page(text)
    check_tags(page, PAGE_TAGS)
    policies = [
        attrs["content"]
        for tag, attrs in page.tags
        if tag == "meta" and attrs.get("http-equiv", "").lower() == "content-security-policy"
    ]
    (policy,) = policies
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    assert set(rules) <= {
        "default-src",
        "img-src",
        "style-src",
        "script-src",
        "base-uri",
        "form-action",
    }
    assert rules["base-uri"] == rules["form-action"] == ["'none'"]
    assert set(rules["img-src"]) <= {"'self'", "file:", "data:"}
    assert rules["style-src"] == [_hash(style) for style in page.styles]
    assert len(page.styles) == 1
    assert page.scripts == [read_script()]
    assert rules["script-src"] == [_hash(script) for script in page.scripts]
    assert not [attrs for tag, attrs in page.tags if tag == "script" and attrs]
    # Before all else, so that nothing is read without it.
    names = [tag for tag, _ in page.tags]
    assert names[:4] == ["html", "head", "meta", "meta"]
    for tag, attrs in page.tags:
        if tag == "a" and attrs["href"].startswith("http"):
            assert {"noopener", "noreferrer"} <= set(attrs["rel"].split())
        if tag == "meta" and "http-equiv" in attrs:
            assert attrs["http-equiv"].lower() == "content-security-policy"
    return page


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# --- reports ------------------------------------------------------------------------------------

AT = "2026-11-21T03:00:04.120Z"
SURROGATES = re.compile("[\ud800-\udfff]")
# Two items a payload, one done and one failed; in every place of them that somebody else fills.
PLACES = (
    *("id", "prompt", "a turn", "a raw request", "the name of a tag", "its value", "model"),
    *("the model's words", "error", "note", "finish message", "block reason", "file name", "mime"),
    *("model version", "title of a source", "its address", "query", "suggestion", "stop reason"),
)


def clean(payload: str) -> str:
    """As it can stand in a file: half a character cannot."""
    return SURROGATES.sub("\ufffd", payload)


def grounding(payload: str) -> dict[str, Any]:
    web = {"uri": payload, "title": payload, "domain": payload}
    return {
        "webSearchQueries": [payload],
        "imageSearchQueries": [payload],
        "groundingChunks": [
            {"web": web},
            {"web": {**web, "uri": "https://a.invalid/"}},
            {"image": {"sourceUri": f"https://a.invalid/{payload}", "title": payload}},
        ],
        "searchEntryPoint": {
            "renderedContent": f'{payload}<a href="{payload}">{payload}</a>'
            f'<a href="https://s.invalid/">{payload}</a>'
        },
    }


def items_of(n: int, payload: str) -> Iterator[tuple[Item, Attempt]]:
    tags = {f"{n}{payload}": payload, "x": payload}
    turns = (Turn(prompt=payload), Turn(prompt=payload))
    request = {"contents": [{"parts": [{"text": payload}]}], "n": n}
    for kind, asked in enumerate(({"prompt": payload}, {"turns": turns}, {"request": request})):
        item = Item(id=f"{n}.{kind} {payload}", model=payload, tags=tags, seed=n, **asked)  # type: ignore[arg-type]
        item = msgspec.structs.replace(item, key=content_key(item))
        image = ImageFile(
            path=f"images/{payload}.png",
            role="final",
            sha256="",
            bytes=1,
            width=1,
            height=1,
            mime=payload,
        )
        line = Attempt(
            run_id="r1",
            item=item.id,
            key=item.key,
            turn=max(1, len(item.turns)),
            attempt=1,
            at=AT,
            model=payload,
            model_version=payload,
            provider="p",
            outcome=Outcome.IMAGE,
            decision="done",
            finish_reason=payload,
            finish_message=payload,
            block_reason=payload,
            images=(image, msgspec.structs.replace(image, role="draft")),
            text=payload,
            grounding=grounding(payload),
            usage={payload: payload},
            cost_basis="unknown",
            billed="yes",
            request_id=payload,
            response_id=payload,
            tags=tags,
            note=payload,
        )
        if kind == 2:
            failure = Failure(kind=payload, message=payload)
            line = msgspec.structs.replace(
                line, outcome=Outcome.BLOCKED, decision="failed", error=failure, images=()
            )
        yield item, line


def report_of(root: Path, payloads: list[str]) -> Path:
    """A job's directory in which everything that others can fill is hostile."""
    head = Run(run_id="r1", at=AT, job="j", job_sha256="0", provider="p", version="")
    made = [pair for n, payload in enumerate(payloads) for pair in items_of(n, clean(payload))]
    end = End(
        run_id="r1", at=AT, stop_reason=clean(payloads[0]), exit_code=0, wall_s=1.0, concurrency={}
    )
    lines = [head, *(line for _, line in made), end]
    (root / "ledger").mkdir(parents=True)
    written = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    (root / "ledger/r1.jsonl").write_bytes(written)
    write_items(root / "items.jsonl", [item for item, _ in made])
    rebuild(root)
    return root
