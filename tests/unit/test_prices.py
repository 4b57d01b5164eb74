"""Prices that people write, laid over the book, and what is said of slips in them."""

from __future__ import annotations

from decimal import Decimal
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest

from batchgen.cost import PriceBook, PriceList
from batchgen.errors import UsageError
from batchgen.manifest import open_manifest
from batchgen.manifest.prices import read_price_file
from batchgen.pricing import choose_book, user_prices

if TYPE_CHECKING:
    from pathlib import Path

PRO = "gemini-3-pro-image"
TODAY = "2026-11-28"
OWN = {"input": "2", "text_output": "12", "image_output": "100"}


def fail(told: str) -> None:
    raise AssertionError(told)


def book(*lists: PriceList) -> PriceBook:
    return PriceBook.shipped().under(*lists)


def of(origin: str = "here", multiplier: str | None = None, **models: Any) -> PriceList:
    return PriceList.of(
        origin,
        {"multiplier": multiplier, "models": {n.replace("_", "-"): m for n, m in models.items()}},
    )


def image_usd(priced: PriceBook, *models: str, at: str = TODAY) -> str | None:
    """What a million tokens of pictures cost."""
    price = priced.find(*models, at=at)
    return None if price is None else f"{price.standard.image_output:f}"


# --- lists laid over each other -----------------------------------------------------------------


def test_the_first_list_that_has_a_price_wins_and_the_rest_stays() -> None:
    above = of("above", gemini_3_pro_image={**OWN, "image_output": 100})
    below = of("below", gemini_3_pro_image={**OWN, "image_output": 110}, mine=OWN)
    laid = book(above, below)
    assert image_usd(laid, PRO) == "100"
    assert image_usd(laid, "mine") == "100"
    assert image_usd(laid, "gemini-2.5-flash-image") == "30"
    assert image_usd(laid, "unheard-of") is None
    origins = [laid.origin(model, at=TODAY) for model in (PRO, "mine", "gemini-2.5-flash-image")]
    assert [one.origin for one in origins if one] == ["above", "below", "batchgen/prices.yaml"]


def test_a_price_whose_day_is_still_to_come_leaves_the_list_its_own_till_then() -> None:
    coming = {"rates": [{**OWN, "valid_from": "2027-01-01"}]}
    laid = book(of(gemini_3_pro_image=coming, mine=coming))
    assert [image_usd(laid, PRO, at=day) for day in (TODAY, "2027-01-01")] == ["120", "100"]
    assert image_usd(laid, "mine") == "100"  # nobody else has one
    origins = [laid.origin(PRO, at=day) for day in (TODAY, "2027-01-01")]
    assert [one.origin for one in origins if one] == ["batchgen/prices.yaml", "here"]


def test_the_multiplier_is_for_every_price_and_the_first_one_counts() -> None:
    laid = book(of("above", "0.5"), of("below", "0.8", mine=OWN))
    price = laid.find(PRO, at=TODAY)
    assert price is not None
    assert (price.standard.input, price.standard.text_output) == (Decimal(1), Decimal(6))
    assert price.tiers["batch"].image_output == 30
    assert price.search_1k_queries == 7
    assert image_usd(laid, "mine") == "50.0"
    assert laid.multiplier == Decimal("0.5")
    assert book().multiplier == 1


def test_a_price_for_one_id_of_a_known_model_is_for_all_of_them() -> None:
    laid = book(of(gemini_3_pro_image_preview=OWN))
    assert {image_usd(laid, name) for name in (PRO, "nano-banana-pro-preview")} == {"100"}
    both = book(of(gemini_3_pro_image_preview=OWN, gemini_3_pro_image={**OWN, "image_output": 90}))
    assert image_usd(both, PRO) == "90"
    assert image_usd(both, "gemini-3-pro-image-preview") == "100"


def test_who_prices_the_id_that_was_asked_is_not_overruled_by_the_one_that_answered() -> None:
    laid = book(of(a_gateways_id=OWN))
    assert image_usd(laid, PRO, "a-gateways-id") == "100"
    assert image_usd(book(), PRO, "a-gateways-id") == "120"
    assert image_usd(book(), "gemini-2.5-flash-image", PRO) == "30"


@pytest.mark.parametrize(
    "name",
    [
        "models/gemini-3-pro-image",
        "Gemini-3-Pro-Image",
        "publishers/google/models/gemini-3-pro-image",
        "google/gemini-3-pro-image",
        "gemini-3-pro-image-001",
        "gemini-3-pro-image-preview-11-2025",
        "gemini-3-pro-image@default",
        " gemini-3-pro-image ",
    ],
)
def test_a_model_has_its_price_however_it_is_spelt(name: str) -> None:
    assert image_usd(book(), name) == "120"


@pytest.mark.parametrize("name", ["", "gemini-3-pro-image-4k", "gemini-3-pro", "-001", "@", "/"])
def test_what_is_only_like_a_model_has_no_price(name: str) -> None:
    assert image_usd(book(), name) is None


def test_searches_of_a_model_cost_what_the_list_says_unless_somebody_says_otherwise() -> None:
    before, after = (book().find(PRO, at=day) for day in ("2026-01-04", "2026-01-05"))
    assert before is not None
    assert after is not None
    assert [before.search_usd(2), after.search_usd(2)] == [0, Decimal("0.028")]
    own = book(of(gemini_3_pro_image=OWN)).find(PRO, at=TODAY)
    assert own is not None
    assert own.search_usd(3) == Decimal("0.042")
    free = book(of(gemini_3_pro_image={**OWN, "search_1k_queries": 0})).find(PRO, at=TODAY)
    assert free is not None
    assert free.search_usd(3) == 0
    flash = book().find("gemini-2.5-flash-image", at=TODAY)
    assert flash is not None
    assert [flash.search_usd(n) for n in (0, 1, 5)] == [0, Decimal("0.035"), Decimal("0.035")]
    # Lite answered, of which nobody knows what its searches cost; Pro's price is not its.
    lite = book().find("gemini-3.1-flash-lite-image", PRO, at=TODAY)
    assert lite is not None
    assert lite.search_usd(1) is None
    # A gateway's own name for Pro, which says nothing of searches.
    named = book(of(pro_of_a_gateway=OWN)).find(PRO, "pro-of-a-gateway", at=TODAY)
    assert named is not None
    assert (named.standard.image_output, named.search_1k_queries) == (Decimal(100), Decimal(14))
    mine = book(of(mine=OWN)).find("mine", at=TODAY)
    assert mine is not None
    assert [mine.search_usd(0), mine.search_usd(1)] == [0, None]


# --- files and jobs -----------------------------------------------------------------------------


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def test_a_rate_that_is_left_out_is_the_one_of_the_list(tmp_path: Path) -> None:
    path = write(
        tmp_path / "prices.yaml",
        "multiplier: 0.5\nmodels: {gemini-3-pro-image: {image_output: 100, batch: {input: 0.9}}}\n",
    )
    found, warnings = read_price_file(path)
    price = found.find(PRO, TODAY)
    assert price is not None
    rates = price.standard
    assert (rates.input, rates.image_output) == (Decimal(2), Decimal(100))
    rates = price.tiers["batch"]
    assert (rates.input, rates.text_output) == (Decimal("0.9"), Decimal(6))
    assert price.tiers["flex"].image_output == 60  # the list's, as all that is left out
    assert (found.multiplier, found.origin, warnings) == (Decimal("0.5"), str(path), ())


def test_a_copy_of_the_book_is_a_price_file(tmp_path: Path) -> None:
    text = resources.files("batchgen").joinpath("prices.yaml").read_text("utf-8")
    found, warnings = read_price_file(write(tmp_path / "p.yaml", text))
    assert warnings == ()
    assert found.prices == PriceList.shipped().prices


def test_a_price_file_may_be_a_piece_of_a_job(tmp_path: Path) -> None:
    path = write(tmp_path / "prices.yaml", "prices: {multiplier: 0.8}\n")
    assert read_price_file(path)[0].multiplier == Decimal("0.8")
    write(path, "prices: {multiplier: x}\n")
    with pytest.raises(UsageError, match=r"prices\.yaml:1:22: prices\.multiplier: expected a num"):
        read_price_file(path)


def test_dated_rates_of_a_file_count_from_their_day(tmp_path: Path) -> None:
    path = write(
        tmp_path / "prices.yaml",
        "models: {mine: {rates: [\n"
        "  {valid_from: 2026-06-01, input: 1, text_output: 2, image_output: 40},\n"
        "  {valid_from: 2026-01-01, input: 1, text_output: 2, image_output: 30}]}}\n",
    )
    laid = book(read_price_file(path)[0])
    days = ["2025-01-01", "2026-05-31T23:59:59.999Z", "2026-06-01T00:00:00.000Z"]
    assert [image_usd(laid, "mine", at=day) for day in days] == ["30", "30", "40"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models: [", "2:1: this is no YAML"),
        ("- 1", "1:1: expected a mapping, found a list"),
        ("modles: {}", "1:1: modles: unknown field; did you mean 'models'?"),
        ("multiplier: cheap", "1:13: multiplier: expected a number, found 'cheap'"),
        ("multiplier: 1e9", "1:13: multiplier: expected a number from 0 to 1000000, found '1e9'"),
        (
            "models: {m: {input: 1e30, text_output: 1, image_output: 1}}",
            "1:21: models.m.input: expected a number from 0 to 1000000, found '1e30'",
        ),
        ("multiplier: -1", "1:13: multiplier: expected a number from 0 to 1000000, found '-1'"),
        ("models: {m: 3}", "1:13: models.m: expected a mapping, found '3'"),
        (
            "models: {m: {input: 1, text_output: 2}}",
            "1:13: models.m.image_output: it is missing, and the book has none to take",
        ),
        (
            "models:\n  m: {input: 1, text_output: 2, image_output: 1e}",
            "2:47: models.m.image_output: expected a number, found '1e'",
        ),
        (
            "models: {gemini-3-pro-image: {valid_from: soon}}",
            "1:43: models.gemini-3-pro-image.valid_from: expected a day such as 2026-11-28",
        ),
        (
            "models: {gemini-3-pro-image: {valid_from: 2026-02-30}}",
            "1:43: models.gemini-3-pro-image.valid_from: expected a day such as 2026-11-28",
        ),
        (
            "models: {gemini-3-pro-image: {batch: {output: 1}}}",
            "1:39: models.gemini-3-pro-image.batch.output: unknown field",
        ),
        (
            "models: {m: {rates: []}}",
            "1:21: models.m.rates: expected a list of rates, each with its valid_from",
        ),
        (
            "models: {gemini-3-pro-image: {rates: [{image_output: 1}, {image_output: 2}]}}",
            "1:58: models.gemini-3-pro-image.rates[1]: another one is valid from the same day",
        ),
        ("currency: EUR", "1:11: currency: expected USD, found 'EUR'"),
        ("v: 2", "1:4: v: expected 1, found '2'"),
        ("models: {m: {a: 1}, m: {}}", "1:21: duplicate key 'm' (first on line 1)"),
    ],
)
def test_a_mistake_in_a_price_file_is_told_with_its_place(
    text: str, said: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "prices.yaml", text + "\n")
    with pytest.raises(UsageError) as told:
        read_price_file(path)
    assert f"{path}:{said}" in str(told.value)


def test_a_price_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: cannot read the prices: No such file"):
        read_price_file(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"multiplier: \xff")
    with pytest.raises(UsageError, match=r"bytes\.yaml: a byte that is no UTF-8"):
        read_price_file(tmp_path / "bytes.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "models: {gemini-3-pro-image: {image_output: 0.12}}",
            "image_output: $0.12 is",
        ),
        ("models: {gemini-3-pro-image: {input: 10.01}}", "input: $10.01 is more than 5"),
        ("models: {gemini-3-pro-image: {text_output: 0}}", "text_output: $0 is more than 5"),
        (
            "models: {gemini-3-pro-image: {batch: {image_output: 0.06}}}",
            "image_output: $0.06",
        ),
        (
            "models: {gemini-3-pro-image: {search_1k_queries: 14000}}",
            "search_1k_queries: $14000 is more than 5 times off the listed $14",
        ),
        ("multiplier: 0.1", "multiplier: every price is multiplied by 0.1"),
        ("multiplier: 0", "multiplier: every price is multiplied by 0"),
        ("multiplier: 80", "multiplier: every price is multiplied by 80"),
        (
            "multiplier: 0.5\nmodels: {gemini-3-pro-image: {image_output: 40}}",
            "image_output: $20.0 is more than 5",
        ),
    ],
)
def test_a_price_far_from_the_list_is_taken_with_a_warning(
    text: str, said: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "prices.yaml", text)
    _, [warning, *_] = read_price_file(path)
    assert str(path) in warning
    assert "warning: " in warning
    assert said in warning


@pytest.mark.parametrize(
    "text",
    [
        "",
        "multiplier: 0.2",
        "multiplier: 5",
        "models: {gemini-3-pro-image: {image_output: 24, input: 10}}",
        "models: {my-own: {input: 0, text_output: 0, image_output: 99999}}",
        "models: {gemini-3-pro-image: {rates: [{valid_from: 2026-01-01}]}}",
    ],
)
def test_what_is_near_the_list_or_in_no_list_is_taken_without_a_word(
    text: str, tmp_path: Path
) -> None:
    assert read_price_file(write(tmp_path / "prices.yaml", text))[1] == ()


def test_a_job_warns_of_its_prices_where_they_stand(tmp_path: Path) -> None:
    job = write(
        tmp_path / "job.yaml",
        "prices:\n  models:\n    gemini-3-pro-image: {image_output: 0.1344}\nitems: []\n",
    )
    [warning] = open_manifest(job).problems.warnings
    assert str(warning).startswith(
        f"{job}:3:40: warning: prices.models.gemini-3-pro-image.image_output: $0.1344 is more than"
    )


# --- which count --------------------------------------------------------------------------------


def test_a_named_file_wins_over_the_job_and_the_job_over_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert user_prices() is None
    named = write(tmp_path / "named.yaml", "models: {gemini-3-pro-image: {image_output: 101}}")
    own = write(
        tmp_path / "config/batchgen/prices.yaml",
        "multiplier: 0.9\nmodels: {gemini-3-pro-image: {image_output: 103}, mine: "
        "{input: 1, text_output: 1, image_output: 104}}",
    )
    assert user_prices() == own
    job = of("the job's prices", gemini_3_pro_image={**OWN, "image_output": "102"})
    assert image_usd(choose_book(named, job, fail), PRO) == "90.9"
    assert image_usd(choose_book(None, job, fail), PRO) == "91.8"
    assert image_usd(choose_book(None, None, fail), PRO) == "92.7"
    assert image_usd(choose_book(named, job, fail), "mine") == "93.6"
    own.unlink()
    assert image_usd(choose_book(None, None, fail), PRO) == "120"


def test_the_users_own_prices_lie_in_the_home_unless_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    own = write(tmp_path / ".config/batchgen/prices.yaml", "multiplier: 0.1")
    assert user_prices() == own
    told: list[str] = []
    choose_book(None, None, told.append)
    assert len(told) == 1
    assert str(own) in told[0]


def test_who_may_not_look_into_the_home_has_no_prices_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ("x" * 300)))  # as a service may not be
    assert user_prices() is None
