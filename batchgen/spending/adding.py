"""All of it in one call: paths become files, files become calls, and calls become sums."""

from collections.abc import Callable, Iterable

from batchgen.cost import PriceBook
from batchgen.spending.foreign import Assumed
from batchgen.spending.pricing import Pricer
from batchgen.spending.reading import Reader, Spending
from batchgen.spending.shares import read_shared
from batchgen.spending.sources import find_sources
from batchgen.spending.tally import Tally


def spend(
    paths: Iterable[str],
    tally: Tally,
    book: PriceBook,
    assumed: Assumed,
    *,
    day: str,
    reprice: bool = False,
    warn: Callable[[str], None],
) -> Spending:
    """Add up what is in some paths.

    Args:
        paths: As `find_sources` takes them.
        tally: What to group by, and the span of time; it is added to.
        book: Prices of lines that have no recorded cost.
        assumed: What is taken for true where a line does not say.
        day: Today, as an ISO day: its prices count for what has no time.
        reprice: Price what our ledgers recorded anew as well.
        warn: Told of what is left out before anything is read.

    Raises:
        UsageError: A path is not there, or there is nothing to read in it.
        StoreError: A file cannot be read, or a newer batchgen wrote it.
    """
    spending = Spending(tally, Pricer(book, day), reprices=reprice)
    reader = Reader(spending, assumed)
    for path in find_sources(paths, warn):
        if not read_shared(path, spending, assumed):
            reader.read(path)
    return reader.end()
