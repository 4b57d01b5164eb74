"""What will go wrong later, told before anything is sent: a run is not held up by any of it.

models    on their way out; a person is told with the job, where its items are read
prices    that nobody has compared with their source for months
disk      that will not hold what is to be made

Source: docs/job-file.md, "Messages"; docs/cost.md.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from batchgen.cost import PriceBook
from batchgen.cost.prices import SHIPPED
from batchgen.forecast.figures import DiskFigures, Figures
from batchgen.known_models import KnownModels
from batchgen.store.space import Space, look_at_space
from batchgen.wording import counted

# How long after their day prices are taken for those of today.
PRICES_KEEP: Final = timedelta(days=90)
# The picture, its part, its receipt; its words, its thumbnail and what was said may come on top.
_FILES_A_PICTURE: Final = 3


@dataclass(frozen=True, slots=True)
class Ahead:
    """Something that will go wrong, and what to do about it."""

    told: str
    remedy: str

    def __str__(self) -> str:
        """Both, as one warning."""
        return f"{self.told}: {self.remedy}"


def farewells(models: Iterable[str], on: date) -> Iterator[str]:
    """That models are on their way out, or out, each with what to do.

    Args:
        models: Of a job, also of what is done.
        on: Today.
    """
    known = KnownModels.shipped()
    for model in sorted(models):
        if (farewell := known.farewell(model, on=on)) is not None:
            yield farewell


def outlook(
    models: Collection[str],
    figures: Figures | None,
    book: PriceBook,
    directory: Path | None,
    on: date,
) -> Iterator[str]:
    """The same in words that do not change from night to night, as long as it stays as it is.

    Args:
        models: Of the whole job: what comes with them comes also on a night without work.
        figures: What is to be made takes; None if that is nothing.
        book: The prices that count.
        directory: The job's; it may not be there yet. None looks at no disk.
        on: Today.
    """
    yield from farewells(models, on)
    if (aged := aged_prices(book, models, on)) is not None:
        yield str(aged)
    if (lack := _lack(figures, directory)) is not None:
        yield f"{directory}: the disk will not hold what is to be made: {lack.remedy}"


def warnings_ahead(
    models: Iterable[str],
    figures: Figures | None,
    book: PriceBook,
    directory: Path | None,
    on: date,
) -> Iterator[str]:
    """What to say before a run that is going to make something.

    Args:
        models: Of what is to be made.
        figures: What that takes; None if it is nothing, and then there is nothing to say.
        book: The prices that count.
        directory: The job's; it may not be there yet. None looks at no disk.
        on: Today.
    """
    if figures is None:
        return
    if (aged := aged_prices(book, models, on)) is not None:
        yield str(aged)
    if (lack := _lack(figures, directory)) is not None:
        yield f"{directory}: {lack}"


def _lack(figures: Figures | None, directory: Path | None) -> Ahead | None:
    if figures is None or directory is None:
        return None
    try:
        space = look_at_space(directory)
    except OSError:
        return None  # a disk that does not even say this says so when it is written to
    return lack_of_space(figures.disk_bytes, figures.pictures, space)


def aged_prices(book: PriceBook, models: Iterable[str], on: date) -> Ahead | None:
    """Say which models have prices that are too old to be relied on.

    What a person wrote is that person's to keep up: only what comes with batchgen grows old.
    """
    by_day: dict[date, list[str]] = {}
    for model in sorted(set(models)):
        if (checked := _checked(book, model, on)) is not None and on - checked > PRICES_KEEP:
            by_day.setdefault(checked, []).append(model)
    if not by_day:
        return None
    told = " and ".join(
        f"of {', '.join(names)} were last checked on {day}, more than {PRICES_KEEP.days} days ago"
        for day, names in sorted(by_day.items())
    )
    return Ahead(
        f"the prices {told}; costs and budgets may be wrong",
        "install a newer batchgen, or write what you pay under prices in the job, or into a price "
        "file",
    )


def _checked(book: PriceBook, model: str, on: date) -> date | None:
    """When the price of a model was last compared with its source; None for a person's own."""
    origin, price = book.origin(model, at=on.isoformat()), book.find(model, at=on.isoformat())
    if origin is None or origin.origin != SHIPPED or price is None or price.checked is None:
        return None
    return date.fromisoformat(price.checked)


def lack_of_space(needs: DiskFigures, n_pictures: int, space: Space) -> Ahead | None:
    """Say that a disk will not hold so many pictures; None if it will, or does not tell."""
    pictures = counted(n_pictures, "picture")
    remedy = "make room, choose another disk with -o, or make fewer with --limit"
    if space.free_bytes is not None and needs.expected > space.free_bytes:
        return Ahead(
            f"the disk has {sized(space.free_bytes)} free, and {pictures} should take "
            f"{sized(needs.expected)} ({_told_by(needs, n_pictures)})",
            remedy,
        )
    n_files = n_pictures * _FILES_A_PICTURE
    if space.free_files is not None and n_files > space.free_files:
        return Ahead(
            f"the disk takes {counted(space.free_files, 'more file')} (df -i), and {pictures} may "
            f"need {n_files:,}",
            remedy,
        )
    return None


def _told_by(needs: DiskFigures, n_pictures: int) -> str:
    if not needs.by_largest:
        return "as earlier ones of this job did"
    share = "each" if needs.by_largest == n_pictures else f"{needs.by_largest:,} of them"
    return f"{share} taken for the largest seen of its size"


def sized(n_bytes: int) -> str:
    """`840 kB`, `12.5 MB`, `3.2 GB`."""
    for unit, one in (("GB", 10**9), ("MB", 10**6)):
        if n_bytes >= one:
            return f"{n_bytes / one:,.1f} {unit}"
    return f"{n_bytes / 1000:,.0f} kB"
