"""report.html: the pictures of a job on one page, opened from disk or served.

The page is one file. What a browser needs of the items is one block of JSON lines in it, as plain
text; its only script, ours, draws from that. Everything is escaped, and the page's own policy lets
nothing else run and nothing be fetched but the pictures beside it.
"""

import base64
import hashlib
import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import chain, count, pairwise, repeat
from typing import Any, Final, TypeAlias

import jinja2
import msgspec
from markupsafe import Markup

from batchgen.dependencies import Lineage
from batchgen.model import Outcome, Result
from batchgen.report.cards import Card, Cards
from batchgen.report.remedies import remedy
from batchgen.report.summary import ItemCounts, Summary, WholeJob
from batchgen.report.thumbnails import Made, Source, remove_unused, thumbnails_there
from batchgen.report.trail import Trail
from batchgen.review import Mark
from batchgen.store.expanded import read_items
from batchgen.store.history import History
from batchgen.store.layout import Layout
from batchgen.store.ledger import read_lines, segments
from batchgen.store.replace import replaced
from batchgen.store.results import read_results
from batchgen.wording import bill, counted, duration, usd

MAX_SHOWN: Final = 20_000
MakeThumbnails: TypeAlias = Callable[[Iterable[Source]], Made]
_LEAST_SHARE: Final = 0.006
_STAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True, slots=True)
class Shown:
    """Which items a page shows: all, or failures and the newest if they are too many.

    Attributes:
        numbers: Their places in the job, in order; None for all.
        ids: Their ids.
    """

    numbers: Sequence[int] | None
    ids: frozenset[str]

    @classmethod
    def of(cls, results: Iterable[Result], most: int = MAX_SHOWN) -> "Shown":
        """Choose.

        Cost: memory for as many as a page shows, however many there are.
        """
        failed: list[tuple[int, str]] = []
        newest: list[tuple[str, int, str]] = []
        n_all = 0
        for number, result in enumerate(results):
            n_all += 1
            if result.status in ("failed", "skipped") and len(failed) < most:
                failed.append((number, result.id))
            else:
                one = (result.finished_at or "", -number, result.id)
                (heapq.heappush if len(newest) < most else heapq.heappushpop)(newest, one)
        rest = heapq.nlargest(most - len(failed), newest)
        chosen = [*failed, *((-number, item_id) for _, number, item_id in rest)]
        numbers = None if n_all <= most else sorted(number for number, _ in chosen)
        return cls(numbers, frozenset(item_id for _, item_id in chosen))

    def marks(self) -> Iterator[bool] | None:
        """Of each item, in order, whether it is shown, up to the last one; None if all are."""
        if self.numbers is None:
            return None
        gaps = pairwise([-1, *self.numbers])
        return chain.from_iterable(
            chain(repeat(object=False, times=number - before - 1), (True,))
            for before, number in gaps
        )


@dataclass(frozen=True, slots=True)
class View:
    """What a page tells besides its items.

    Attributes:
        summary: The figures of the last run.
        whole: Where all items stand.
        drawn: The charts.
        drawn_of: The run that they are about; the last one may have sent nothing.
    """

    summary: Summary
    whole: WholeJob
    drawn: Markup
    drawn_of: str


def write_page(
    layout: Layout,
    lineage: Lineage,
    history: History,
    view: View,
    *,
    marks: Mapping[str, Mark],
    thumbnails: MakeThumbnails | None = None,
    on_written: Callable[[], None],
) -> bool:
    """Write the page of a job from its results; return whether each picture has its thumbnail.

    It is written before there are thumbnails, as if all could be made, and once more if some could
    not: that takes seconds, and making them may take minutes.

    Args:
        layout: The job's directory.
        lineage: Which of its items build on others.
        history: Its ledger.
        view: What it tells besides its items.
        marks: What was thought of pictures.
        thumbnails: Makes those that are missing; None leaves it at those that there are.
        on_written: Told as soon as the page is there, each time.
    """
    shown = Shown.of(read_results(layout.results))
    trail = Trail(shown.ids)
    ids = None if shown.numbers is None else shown.ids
    for path in segments(layout.ledger):
        for _, line in read_lines(path, about=ids):
            trail.take(line)
    found: dict[str, str] = {}
    elsewhere = frozenset(name.partition(".")[0] for name in layout.shelf.thumbnails())
    hoped = None if thumbnails is not None else _there(layout) | elsewhere
    _write(layout, lineage, view, Cards(layout, history, trail, marks, hoped), shown, found)
    on_written()
    if thumbnails is None:
        return hoped is not None and hoped.issuperset(found)
    missing = {sha256: path for sha256, path in found.items() if sha256 not in elsewhere}
    if layout.away is not None:  # what is not at hand any more goes without one
        missing = {one: path for one, path in missing.items() if (layout.root / path).is_file()}
    made = thumbnails(Source(sha256, layout.root / path) for sha256, path in missing.items())
    remove_unused(layout.root, lambda digest: digest.hex() in found)
    if not (made.n_failed or made.n_left or len(missing) + len(elsewhere) < len(found)):
        return True
    cards = Cards(layout, history, trail, marks, _there(layout) | elsewhere)
    # A disk that got full has refused thumbnails, which is told. The page that there is shows the
    # pictures themselves where they are missing, only later.
    with suppress(OSError):
        _write(layout, lineage, view, cards, shown, found)
        on_written()
    return False


def _there(layout: Layout) -> frozenset[str]:
    return frozenset(map(bytes.hex, thumbnails_there(layout.root)))


def _write(
    layout: Layout,
    lineage: Lineage,
    view: View,
    cards: Cards,
    shown: Shown,
    found: dict[str, str],
) -> None:
    """Write the page, and note where its pictures are, by their SHA-256."""

    def noted() -> Iterator[Card]:
        for card in cards_of(layout, lineage, cards, shown):
            for picture in card.all_pictures:
                if picture.sha256 is not None and picture.path is not None:
                    found.setdefault(picture.sha256, picture.path)
            yield card

    replace_page(layout, page(view, noted()))


def replace_page(layout: Layout, pieces: Iterable[str]) -> None:
    """Write the pieces of a page to where it belongs."""
    with replaced(layout.page) as file:
        for text in pieces:
            file.write(text.encode("utf-8", "replace"))


def cards_of(layout: Layout, lineage: Lineage, cards: Cards, shown: Shown) -> Iterator[Card]:
    """The cards of the items that are shown, in the order of the job."""
    # Another run may begin, or another report end, between the two: what does not match is left
    # out, and that run's own page comes later.
    items = read_items(layout.items, shown.marks())
    results = read_results(layout.results, shown.marks())
    numbers = count() if shown.numbers is None else shown.numbers
    for number, item, result in zip(numbers, items, results, strict=False):
        resolved = lineage.resolved(item)
        if resolved.key == result.key:
            yield cards.card(number, resolved, result)


def page(view: View, cards: Iterable[Card], live: dict[str, Any] | None = None) -> Iterator[str]:
    """The page, piece by piece.

    Args:
        view: What it tells besides the items.
        cards: The items to show.
        live: What the script needs to follow a run; None for a page that is opened from disk.
    """
    return page_around(view, map(_as_line, cards), live)


def page_around(
    view: View, lines: Iterable[Markup], live: dict[str, Any] | None = None
) -> Iterator[str]:
    """The page around the lines of its items, piece by piece; see `page`."""
    summary, whole = view.summary, view.whole
    style, script = read_style(), read_script()
    remedies = {outcome.value: remedy(outcome) for outcome in Outcome}
    head = {
        "job": summary.job,
        "run": summary.run_id,
        "total": whole.items.total,
        "live": live,
        "remedies": remedies,
    }
    yield from _template("report.html.jinja").generate(
        summary=summary,
        whole=whole,
        parts=parts(whole.items),
        charts=view.drawn,
        charts_of=view.drawn_of,
        remedies=remedies,
        live=live is not None,
        data=chain([_as_line(head)], lines),
        style=Markup(style),  # noqa: S704 - our own
        script=Markup(script),  # noqa: S704 - our own
        policy=Markup(policy(style, script, is_served=live is not None)),  # noqa: S704 - our own
        max_shown=MAX_SHOWN,
    )


def policy(style: str, script: str, *, is_served: bool) -> str:
    """What a page with this style and this script may do: nothing but show pictures beside it."""
    pictures = "img-src 'self'; connect-src 'self'" if is_served else "img-src 'self' file:"
    return (
        f"default-src 'none'; {pictures}; style-src {_csp_hash(style)};"
        f" script-src {_csp_hash(script)}; base-uri 'none'; form-action 'none'"
    )


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the bar of all items.

    Attributes:
        x, width: Thousandths of the bar.
    """

    name: str
    count: int
    x: float
    width: float


def parts(items: ItemCounts) -> list[Part]:
    """The bar's parts; one that is there is wide enough to be seen."""
    counts = {
        name: getattr(items, name)
        for name in ("done", "failed", "skipped", "pending")
        if name == "done" or getattr(items, name)
    }
    least = sum(counts.values()) * _LEAST_SHARE
    shares = {name: max(count, least) if count else 0.0 for name, count in counts.items()}
    whole = sum(shares.values()) or 1.0
    found, x = [], 0.0
    for name, share in shares.items():
        width = round(1000 * share / whole, 1)
        found.append(Part(name, counts[name], round(x, 1), width))
        x += width
    return found


_encoder = msgspec.json.Encoder()


def _as_line(value: Any) -> Markup:
    """A line of the page's data: JSON as the text of an element, in which nothing is markup."""
    line = _encoder.encode(value).decode()
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Markup(f"{line}\n")  # noqa: S704 - there is none left


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        bill=bill, counted=counted, usd=usd, duration=duration, moment=_moment, spaced=_spaced
    )
    return environment.from_string(_read(name))


def _moment(stamp: str) -> str:
    """A time of the ledger, without what nobody reads; anything else as it stands."""
    return f"{stamp[:10]} {stamp[11:16]} UTC" if _STAMP.fullmatch(stamp) else stamp


def _spaced(word: str) -> str:
    return word.replace("_", " ")


@cache
def read_style() -> str:
    """The page's only style."""
    return _read("report.css") + _read("charts.css")


@cache
def read_script() -> str:
    """The page's only script: the files of templates/js, one after the other."""
    files = (resources.files("batchgen.report") / "templates" / "js").iterdir()
    return "\n".join(file.read_text("utf-8") for file in sorted(files, key=lambda file: file.name))


def _read(name: str) -> str:
    return resources.files("batchgen.report").joinpath("templates", name).read_text("utf-8")


def _csp_hash(text: str) -> str:
    """How a content security policy names one inline style or script: by the hash of its text."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
