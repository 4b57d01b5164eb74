"""report.html: the pictures of a job on one page, opened from disk.

Plain and safe: everything is escaped, and the page's own policy lets nothing run and nothing be
fetched but the pictures beside it.
"""

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any, Final
from urllib.parse import quote

import jinja2

from batchgen.model import ImageFile, Item, Result
from batchgen.report.summary import Summary
from batchgen.store.expanded import read_items
from batchgen.store.layout import Layout
from batchgen.store.replace import replaced
from batchgen.store.results import read_results
from batchgen.wording import bill, duration, usd

MAX_SHOWN: Final = 2000


def write_page(layout: Layout, summary: Summary) -> None:
    """Write the page of a job from its results; failures first, then in the job's order."""
    template = _template()
    style = _read("report.css")
    stream = template.stream(
        summary=summary,
        failed=_cards(layout, failed=True),
        done=_cards(layout, failed=False),
        style=style,
        style_hash=_csp_hash(style),
        max_shown=MAX_SHOWN,
    )
    with replaced(layout.root / "report.html") as file:
        stream.dump(file, encoding="utf-8", errors="replace")


def _cards(layout: Layout, *, failed: bool) -> Iterator[tuple[Item, Result]]:
    """Items with their results, in order; only as many as a page can show."""
    # Another run may begin, or another report end, between the two: what does not match is left
    # out, and that run's own page comes later.
    pairs = zip(read_items(layout.items), read_results(layout.results), strict=False)
    same = (pair for pair in pairs if pair[0].key == pair[1].key)
    wanted = (pair for pair in same if (pair[1].status != "done") is failed)
    return islice(wanted, MAX_SHOWN)


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(bill=bill, usd=usd, duration=duration, href=_href, final=_final)
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


def _final(images: tuple[ImageFile, ...]) -> Any:
    return next((image for image in images if image.role == "final"), None)
