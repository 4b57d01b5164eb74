from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

import pytest

from batchgen.cost import PriceBook, PriceList
from batchgen.forecast.figures import DiskFigures
from batchgen.foresight import aged_prices, lack_of_space, warnings_ahead
from batchgen.known_models import KnownModels
from batchgen.store.space import Space, look_at_space, nearest

PRO, FLASH = "gemini-3-pro-image", "gemini-3.1-flash-image"
GB = 10**9


def checked_on(model: str, on: str = "2026-11-28") -> date:
    price = PriceBook.shipped().find(model, at=on)
    assert price is not None
    assert price.checked is not None
    return date.fromisoformat(price.checked)


@pytest.mark.parametrize(("n_days", "is_told"), [(0, False), (90, False), (91, True), (400, True)])
def test_prices_are_told_to_be_old_from_the_91st_day_on(n_days: int, is_told: bool) -> None:  # noqa: FBT001 - a column
    checked = checked_on(PRO)
    found = aged_prices(PriceBook.shipped(), [PRO], checked + timedelta(days=n_days))
    assert (found is not None) is is_told
    if found:
        told = str(found)
        assert PRO in told
        assert str(checked) in told
        assert "more than 90 days ago" in told  # the same every night
        assert "newer batchgen" in told
        assert "prices" in told


def own_prices(*models: str, multiplier: str | None = None) -> PriceList:
    rates = {"input": 2, "text_output": 12, "image_output": 120, "checked": "2020-01-01"}
    return PriceList.of(
        "mine.yaml", {"models": dict.fromkeys(models, rates), "multiplier": multiplier}
    )


@pytest.mark.parametrize(
    ("book", "models"),
    [
        pytest.param(PriceBook.shipped(), [], id="no model"),
        pytest.param(PriceBook.shipped(), ["somebody-elses-model"], id="no price"),
        pytest.param(PriceBook.shipped().under(own_prices(PRO)), [PRO], id="a price file"),
        pytest.param(PriceBook.shipped().with_job(own_prices(PRO)), [PRO], id="the job"),
    ],
)
def test_nobody_is_nagged_about_prices_that_are_not_ours(
    book: PriceBook, models: list[str]
) -> None:
    assert aged_prices(book, models, date(2030, 1, 1)) is None


def test_prices_that_a_multiplier_is_laid_over_grow_old_like_others() -> None:
    book = PriceBook.shipped().with_job(own_prices(multiplier="0.8"))
    assert aged_prices(book, [PRO], date(2030, 1, 1)) is not None


def test_models_whose_prices_are_of_one_day_are_told_together_and_once() -> None:
    assert checked_on(PRO) == checked_on(FLASH)
    told = str(aged_prices(PriceBook.shipped(), [PRO, FLASH, PRO], date(2030, 1, 1)))
    assert told.count(str(checked_on(PRO))) == 1
    assert f"of {PRO}, {FLASH} were" in told


def test_what_ships_tells_of_every_price_when_it_was_checked() -> None:
    for model in PriceBook.shipped().models:
        assert checked_on(model) <= date(2030, 1, 1)


def needs(n_bytes: int, by_largest: int = 0) -> DiskFigures:
    return DiskFigures(expected=n_bytes, by_largest=by_largest)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (Space(10 * GB, 300), None),
        (Space(10 * GB, None), None),
        (Space(None, None), None),
        (Space(10 * GB - 1, 300), ("10.0 GB free", "should take 10.0 GB", "-o", "--limit")),
        (Space(3_250_000, 300), ("3.2 MB free", "100 pictures", "10.0 GB", "-o", "--limit")),
        (Space(0, None), ("0 kB free",)),
        (Space(None, 299), ("299 more files", "may need 300", "df -i")),
        (Space(10 * GB, 1), ("1 more file (",)),
    ],
)
def test_a_disk_that_holds_fewer_pictures_or_files_is_told_with_both_figures(
    space: Space, words: Iterable[str] | None
) -> None:
    told = lack_of_space(needs(10 * GB), 100, space)
    assert (told is None) is (words is None)
    for word in words or ():
        assert word in str(told)


@pytest.mark.parametrize(
    ("by_largest", "words"),
    [
        (0, "as earlier ones of this job did"),
        (100, "each taken for the largest seen"),
        (40, "40 of them taken for the largest seen"),
    ],
)
def test_it_is_told_what_the_bytes_are_known_by(by_largest: int, words: str) -> None:
    assert words in str(lack_of_space(needs(GB, by_largest), 100, Space(1, None)))


def test_the_space_of_a_directory_to_be_is_that_of_the_nearest_one_that_is_there(
    tmp_path: Path,
) -> None:
    assert nearest(tmp_path / "not/there/yet") == tmp_path
    space = look_at_space(tmp_path / "not/there/yet")
    assert space.free_bytes is None or space.free_bytes > 0
    assert not (tmp_path / "not").exists()


def test_a_run_that_makes_nothing_has_nothing_to_be_warned_of(tmp_path: Path) -> None:
    told = warnings_ahead([PRO], None, PriceBook.shipped(), tmp_path, date(2030, 1, 1))
    assert list(told) == []


def test_a_model_that_stays_has_no_farewell() -> None:
    assert KnownModels.shipped().farewell("gemini-nano-banana-2.1", on=date(2026, 11, 28)) is None
