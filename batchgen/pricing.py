"""Which prices count: those of a file that was named, the job's, the user's, and the book's.

Source: docs/cost.md.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from batchgen.cost import PriceBook, PriceList
from batchgen.manifest.prices import read_price_file

_OF_THE_USER: Final = Path("batchgen", "prices.yaml")


def choose_book(
    file: str | Path | None, job: PriceList | None, warn: Callable[[str], None]
) -> PriceBook:
    """Lay the lists over each other; the first that has a price for a model wins.

    Args:
        file: A price file that was named for this once.
        job: What the job says.
        warn: Told of rates in a file that may be a slip; the job's are told with the job.

    Raises:
        UsageError: A file cannot be read, or is no price list.
    """
    own = user_prices()
    files = [None if path is None else _read(Path(path), warn) for path in (file, own)]
    book = PriceBook.shipped().under(files[0], files[1])
    return replace(book, n_named=0 if files[0] is None else 1).with_job(job)


def user_prices() -> Path | None:
    """The user's own price file, if there is one."""
    home = os.environ.get("XDG_CONFIG_HOME")
    try:
        path = (Path(home) if home else Path.home() / ".config") / _OF_THE_USER
        return path if path.is_file() else None
    except (RuntimeError, OSError):  # a user without a home, or who may not look into it
        return None


def _read(path: Path, warn: Callable[[str], None]) -> PriceList:
    found, warnings = read_price_file(path)
    for told in warnings:
        warn(told)
    return found
