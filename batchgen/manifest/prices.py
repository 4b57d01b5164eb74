"""Prices that a person wrote: `prices` of a job, and price files of the same form.

A rate that is left out is the one of the book that comes with batchgen. One that is far from it is
taken as it is written, with a warning: it may be a slip of the unit.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

from batchgen.cost.prices import (
    FAR_OFF,
    RATES,
    SEARCHES,
    TIERS,
    Price,
    PriceList,
    Rates,
    as_usd,
    far_off,
)
from batchgen.errors import UsageError
from batchgen.manifest.fields import NO_UTF8, Checker, Mistake, shown
from batchgen.manifest.nodes import MAX_YAML_BYTES, Document, Steps, YamlError, compose
from batchgen.manifest.problems import dotted

OF_THE_JOB: Final = "the job's prices"
_FIELDS: Final = ("multiplier", "models")
_OTHER_TIERS: Final = TIERS[1:]
# What the head of the book says besides, and a copy of it.
_OF_THE_BOOK: Final = {"v": "1", "currency": "USD"}
_TOLD: Final = ("valid_from", "checked", "source")
_RATES: Final = (*RATES, *SEARCHES, *_OTHER_TIERS, *_TOLD)
# A dollar a token: no rate is more, and sums of what is beyond all bounds cannot be written.
_MOST: Final = 1e6
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


def read_prices(check: Checker, value: Any, steps: Steps, origin: str) -> PriceList | None:
    """Read a price list.

    Args:
        check: Takes the mistakes, and warnings of rates that are far from the book's.
        value: A mapping of `multiplier` and `models`; None is no list.
        steps: What leads to it.
        origin: What the list is called where prices are shown.
    """
    fields = check.mapping(value, steps, _FIELDS)
    given = {name: one for name, one in fields.items() if one is not None}
    n_mistakes = len(check.mistakes)
    if "multiplier" in given:
        check.number(given["multiplier"], (*steps, "multiplier"), most=_MOST)
    models = check.mapping(given.get("models"), (*steps, "models"), None)
    written = {
        model: _model(check, model, one, (*steps, "models", model)) for model, one in models.items()
    }
    if not given or len(check.mistakes) > n_mistakes:
        return None
    found = PriceList.of(origin, {**given, "models": written})
    _warn(check, found, written, steps)
    return found


def _model(check: Checker, model: str, value: Any, steps: Steps) -> dict[str, Any]:
    """The rates of a model, or its dated ones, with what they leave out taken from the book."""
    if isinstance(value, dict) and "rates" in value:
        rates = check.mapping(value, steps, ("rates",))["rates"]
        if not isinstance(rates, list) or not rates:
            check.wrong((*steps, "rates"), "expected a list of rates, each with its valid_from")
            return {"rates": []}
        dated = enumerate(rates)
        _check_days(check, rates, (*steps, "rates"))
        return {"rates": [_rates(check, model, one, (*steps, "rates", n)) for n, one in dated]}
    return _rates(check, model, value, steps)


def _rates(check: Checker, model: str, value: Any, steps: Steps) -> dict[str, Any]:
    fields = check.mapping(value, steps, _RATES)
    given = {name: one for name, one in fields.items() if one is not None}
    _check_day(check, given.get("valid_from"), (*steps, "valid_from"))
    for name in SEARCHES:
        if name in given:
            check.number(given[name], (*steps, name), most=_MOST)
    known = PriceList.shipped().find(model, str(given.get("valid_from", "9")))
    whole = {**given, **_filled(check, given, known, "standard", steps)}
    for tier in _OTHER_TIERS:
        if tier not in given and known is not None and tier in known.tiers:
            whole[tier] = _as_written(known.tiers[tier])
        elif tier in given:
            below = (*steps, tier)
            rates = check.mapping(given[tier], below, (*RATES, "source"))
            whole[tier] = {**rates, **_filled(check, rates, known, tier, below)}
    return whole


def _filled(
    check: Checker, given: Mapping[str, Any], known: Price | None, tier: Any, steps: Steps
) -> dict[str, Any]:
    """The three rates of a tier; what is left out is taken from the book."""
    listed = known.tiers.get(tier) if known is not None else None
    whole = {}
    for name in RATES:
        if given.get(name) is not None:
            check.number(given[name], (*steps, name), most=_MOST)
            whole[name] = given[name]
        elif listed is not None:
            whole[name] = getattr(listed, name)
        else:
            check.wrong((*steps, name), "it is missing, and the book has none to take in its place")
    return whole


def _as_written(rates: Rates) -> dict[str, Any]:
    return {**{name: getattr(rates, name) for name in RATES}, "source": rates.source}


def _check_days(check: Checker, rates: list[Any], steps: Steps) -> None:
    """Each of several rates has a day of its own."""
    days: set[Any] = set()
    for n, one in enumerate(rates):
        day = one.get("valid_from") if isinstance(one, dict) else None
        if day in days:
            check.wrong((*steps, n), "another one is valid from the same day")
        days.add(day)


def _check_day(check: Checker, value: Any, steps: Steps) -> None:
    if value is None:
        return
    try:
        if _DAY.fullmatch(str(value)):
            date.fromisoformat(str(value))
            return
    except ValueError:
        pass
    check.wrong(steps, "expected a day such as 2026-11-28")


def _warn(check: Checker, found: PriceList, models: Mapping[str, Any], steps: Steps) -> None:
    """Warn of what is so far from the book that it may be a slip."""
    multiplier = found.multiplier if found.multiplier is not None else as_usd(1)
    if far_off(multiplier, as_usd(1)):
        check.warn(
            (*steps, "multiplier"),
            f"every price is multiplied by {multiplier:f}: a fifth less than the list is 0.8",
        )
    for model, rates in models.items():
        for written, at in _entries(rates, (*steps, "models", model)):
            for name, rate, listed in _compared(model, written):
                effective = rate * multiplier
                if rate != listed and far_off(effective, listed):
                    unit = "a thousand" if name[-1] in SEARCHES else "a million tokens"
                    check.warn(
                        (*at, *name),
                        f"${effective:f} is more than {FAR_OFF} times off the listed ${listed:f}: "
                        f"rates are US dollars for {unit}",
                    )


def _entries(rates: Mapping[str, Any], steps: Steps) -> Iterator[tuple[Mapping[str, Any], Steps]]:
    if "rates" not in rates:
        yield rates, steps
    for n, one in enumerate(rates.get("rates", ())):
        yield one, (*steps, "rates", n)


def _compared(model: str, written: Mapping[str, Any]) -> Iterator[tuple[Steps, Any, Any]]:
    """Each rate of a model beside that of the book: where it stands, it, and the listed one."""
    known = PriceList.shipped().find(model, str(written.get("valid_from") or "9"))
    if known is None:
        return
    for tier, listed in known.tiers.items():
        rates = written if tier == "standard" else written[tier]
        for name in RATES:
            steps = (name,) if tier == "standard" else (tier, name)
            yield steps, as_usd(rates[name]), getattr(listed, name)
    for name in SEARCHES:
        if written.get(name) is not None and (listed_usd := getattr(known, name)) is not None:
            yield (name,), as_usd(written[name]), listed_usd


def prices_of_job(head: Mapping[str, Any]) -> PriceList | None:
    """The prices of a job that was run, from its head as a ledger keeps it."""
    return read_prices(Checker(), head.get("prices"), (), OF_THE_JOB)


def read_price_file(path: Path) -> tuple[PriceList, tuple[str, ...]]:
    """Read a price file: `multiplier` and `models`, as under `prices` of a job, or with `prices:`.

    The book that comes with batchgen has this form too, so a copy of it is a good beginning.

    Returns:
        The list, and warnings.

    Raises:
        UsageError: It cannot be read, or is no price list; names each place.
    """
    document = _document(path)
    check = Checker()
    try:
        value = document.value()
    except YamlError as error:
        raise UsageError(_placed(path, error)) from error
    steps: Steps = ()
    if isinstance(value, dict):
        value = dict(value)
        for name, known in _OF_THE_BOOK.items():
            if (told := value.pop(name, known)) != known:
                check.wrong((name,), f"expected {known}, found {shown(told)}")
        if [*value] == ["prices"]:  # as it stands in a job
            value, steps = value["prices"], ("prices",)
    found = read_prices(check, value, steps, str(path))
    if check.mistakes:
        told = "\n".join(_told(path, document, one) for one in check.mistakes)
        raise UsageError(f"{told}\nno price was taken from {path}")
    warnings = tuple(_told(path, document, one, "warning: ") for one in check.warnings)
    return found or PriceList(str(path), {}), warnings


def _document(path: Path) -> Document:
    try:
        if path.stat().st_size > MAX_YAML_BYTES:
            raise UsageError(f"{path}: more than 64 MiB are no price list")
        return compose(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the prices: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: {NO_UTF8}") from error
    except YamlError as error:
        raise UsageError(_placed(path, error)) from error


def _placed(path: Path, error: YamlError) -> str:
    return f"{path}:{error.place.line}:{error.place.column}: {error.message}"


def _told(path: Path, document: Document, mistake: Mistake, kind: str = "") -> str:
    place = document.place(mistake.steps, key=mistake.at_key)
    name = f"{dotted(mistake.steps)}: " if mistake.steps else ""
    return f"{path}:{place.line}:{place.column}: {kind}{name}{mistake.message}"
