"""Whether a model is known, served, near its end, and has a price. Pure."""

from collections.abc import Iterable, Iterator
from datetime import date

from batchgen.cost import PriceBook
from batchgen.doctor.findings import Finding, fine, skipped, warning
from batchgen.doctor.service import Heard
from batchgen.foresight import aged_prices
from batchgen.known_models import KnownModels, plain_name
from batchgen.manifest.fields import nearest

_MAX_SHOWN = 20


def check_models(
    models: Iterable[str], heard: Heard | None, book: PriceBook, on: date
) -> Iterator[Finding]:
    """Look at each model.

    Args:
        models: Those that are asked for, the most asked one first.
        heard: What the service says of itself; None if it was not asked.
        book: The prices.
        on: Today.
    """
    names = list(models)
    for name in names[:_MAX_SHOWN]:
        found = [*_odd(name, heard, on), *_unpriced(name, book, on)]
        yield from found or [fine("model", f"{name} is known, and has a price")]
    if (n_more := len(names) - _MAX_SHOWN) > 0:
        yield skipped("model", f"{n_more:,} more models of the job")
    if (aged := aged_prices(book, names, on)) is not None:
        yield warning("prices", aged.told, aged.remedy)


def _odd(name: str, heard: Heard | None, on: date) -> Iterator[Finding]:
    """What may be wrong with its name."""
    known = KnownModels.shipped()
    if (farewell := known.farewell(name, on=on)) is not None:
        told, _, remedy = farewell.partition(": ")
        yield warning("model", told, remedy)
    if known.find(name) is None:
        maybe = nearest(name, known.ids)
        remedy = "if it is no slip, nothing is wrong: it is sent as it is written"
        yield warning("model", f"{name} is not among the models that are known here{maybe}", remedy)
    is_listed = heard is None or not heard.is_complete or plain_name(name) in heard.models
    if not is_listed:
        remedy = "choose one that it lists, or ask for this one with --spend: a list may lack some"
        yield warning("model", f"{name} is not in the list of models of the service", remedy)


def _unpriced(name: str, book: PriceBook, on: date) -> Iterator[Finding]:
    if book.find(name, at=on.isoformat()) is None:
        remedy = "write what it costs under prices.models in the job, or into a price file"
        yield warning("model", f"{name} has no price: its costs are unknown", remedy)
