"""report.html: the pictures of a job on one page, opened from disk.

Plain and safe: everything is escaped, and the page's own policy lets nothing run and nothing be
fetched but the pictures beside it.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

import jinja2

from batchgen.dependencies import Lineage
from batchgen.model import Attempt, ImageFile, Item, Result
from batchgen.report.summary import Summary
from batchgen.store.expanded import read_items
from batchgen.store.history import History, final_image, turn_names
from batchgen.store.layout import Layout
from batchgen.store.replace import replaced
from batchgen.store.results import read_results
from batchgen.wire.grounding import Grounding, merged, read_grounding
from batchgen.wording import bill, duration, usd

MAX_SHOWN: Final = 2000


@dataclass(frozen=True, slots=True)
class Card:
    """One item on the page: what it asks for, where it stands, and what the ledger knows besides.

    Attributes:
        pictures: Those besides the final one: what each is called, and its path.
        found: What its answers were grounded in; None for nothing.
        notes: What a reader must know of its calls.
    """

    item: Item
    result: Result
    pictures: tuple[tuple[str, str], ...]
    found: Grounding | None
    notes: tuple[str, ...]


def write_page(layout: Layout, lineage: Lineage, history: History, summary: Summary) -> None:
    """Write the page of a job from its results; failures first, then in the job's order."""
    template = _template()
    style = _read("report.css")
    stream = template.stream(
        summary=summary,
        failed=_cards(layout, lineage, history, failed=True),
        done=_cards(layout, lineage, history, failed=False),
        style=style,
        style_hash=_csp_hash(style),
        max_shown=MAX_SHOWN,
    )
    with replaced(layout.root / "report.html") as file:
        stream.dump(file, encoding="utf-8", errors="replace")


def _cards(layout: Layout, lineage: Lineage, history: History, *, failed: bool) -> Iterator[Card]:
    """Items with their results, in order; only as many as a page can show."""
    # Another run may begin, or another report end, between the two: what does not match is left
    # out, and that run's own page comes later.
    pairs = zip(read_items(layout.items), read_results(layout.results), strict=False)
    wanted = (pair for pair in pairs if (pair[1].status != "done") is failed)
    resolved = ((lineage.resolved(item), result) for item, result in wanted)
    same = (pair for pair in resolved if pair[0].key == pair[1].key)
    return (_card(item, result, history) for item, result in islice(same, MAX_SHOWN))


def _card(item: Item, result: Result, history: History) -> Card:
    known = (history.past(name) for name in turn_names(item))
    lines = [past.last for past in known if past is not None]
    read = (read_grounding(line.grounding) for line in lines)
    found = merged(grounding for grounding in read if grounding is not None)
    notes = (line.note for line in lines if isinstance(line.note, str))
    return Card(
        item,
        result,
        tuple(pictures_besides(lines)),
        found if found != Grounding() else None,
        tuple(notes),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        bill=bill, usd=usd, duration=duration, href=_href, final=final_image, prompt=prompt_of
    )
    return environment.from_string(_read("report.html.jinja"))


def _read(name: str) -> str:
    return resources.files("batchgen.report").joinpath("templates", name).read_text("utf-8")


def _csp_hash(text: str) -> str:
    """How a content security policy names one inline style: by the hash of its text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _href(path: str) -> str:
    """A relative path as a URL that cannot become a scheme."""
    return "./" + quote(path)


def pictures_besides(lines: Sequence[Attempt]) -> Iterator[tuple[str, str]]:
    """The pictures of an item besides its final one: what each is called, and its path.

    Args:
        lines: The last attempt of each turn, in order.
    """
    others = [
        (_called(line, image), image.path)
        for line in lines
        for image in line.images
        if image.role != "final"
    ]
    n_of, seen = Counter(name for name, _ in others), Counter[str]()
    for name, path in others:
        seen[name] += 1
        yield (f"{name} {seen[name]}" if n_of[name] > 1 else name), path


def _called(line: Attempt, image: ImageFile) -> str:
    match image.role:
        case "quarantine":
            return "set aside"
        case "draft" if image.path.startswith("turns/"):
            return f"picture of turn {line.turn}"
        case role:
            return role


def prompt_of(item: Item) -> str:
    """What an item asks for in words: its prompt, or a line for each turn or text of its own."""
    if item.request is not None:
        return "\n".join(_texts(item.request.get("contents")))
    prompts = [turn.prompt for turn in item.conversation]
    if len(prompts) == 1:
        return prompts[0]
    return "\n".join(f"{number}. {prompt}" for number, prompt in enumerate(prompts, 1))


def _texts(contents: Any) -> Iterator[str]:
    """The texts of a raw request, in order; whatever else it holds is passed over."""
    for content in _listed(contents):
        parts = content.get("parts") if isinstance(content, dict) else None
        for part in _listed(parts):
            text = part.get("text") if isinstance(part, dict) else None
            if isinstance(text, str):
                yield text


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
