"""The example and the tables of docs/cost.md are worked out again from the text of the page."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from batchgen.cost import PriceBook, PriceList, count_tokens, price_tokens
from batchgen.known_models import KnownModels
from batchgen.manifest import open_manifest
from batchgen.model import Outcome, Tier, Tokens
from batchgen.paper import Paper
from batchgen.references import ReferenceLibrary
from batchgen.spending import Span, Tally
from batchgen.spending.tables import as_table
from batchgen.spending.tally import Call
from batchgen.wire.usage import read_usage
from tests.golden_costs import arithmetic, in_usd

if TYPE_CHECKING:
    from batchgen.cost import Price

PAGE: Final = (Path(__file__).parents[2] / "docs/cost.md").read_text("utf-8")
TODAY: Final = "2026-11-21"
UNKNOWN: Final = "–"


def only(pattern: str, text: str = PAGE) -> str:
    """What stands where the pattern says, which is in one place alone."""
    (found,) = re.findall(pattern, text, re.MULTILINE | re.DOTALL)
    return str(found)


def section(headline: str) -> str:
    return only(rf"^## {re.escape(headline)}\n(.*?)(?=^## |\Z)")


def table(text: str, *columns: str) -> list[dict[str, str]]:
    """The rows of the table with these first columns."""
    head = "| " + " | ".join(columns)
    lines = text[text.index(head) :].partition("\n\n")[0].splitlines()
    names, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(names, row, strict=True)) for row in rows]


def price_of(model: str) -> Price:
    price = PriceBook.shipped().find(model.strip("`"), at=TODAY)
    assert price is not None
    return price


EXAMPLE: Final = section("An example")
RATES: Final = table(section("Prices"), "model", "input")
PICTURES: Final = table(section("Prices"), "model", "512")


def test_the_example_comes_to_the_figure_by_hand() -> None:
    work, result = only(r"```text\n(.*?)\n```", EXAMPLE).split(" = ")
    figure = only(r"That is \$(\d\.\d{6})\.", EXAMPLE)
    assert arithmetic(work) == Decimal(result)
    assert in_usd(work) == figure
    assert PAGE.count(work) == PAGE.count(figure) == 1


def test_the_example_comes_to_the_figure_by_the_product() -> None:
    model = only(r"^`([\w.-]+)` answers", EXAMPLE)
    usage = read_usage(json.loads(only(r"```json\n(.*?)```", EXAMPLE)))
    tokens, basis = count_tokens(usage, price_of(model), n_images=1, size=None)
    cost = price_tokens(tokens, basis, price_of(model))
    assert f"{cost.usd}" == only(r"That is \$(\d\.\d{6})\.", EXAMPLE)
    assert tokens is not None
    assert usage is not None
    # What it would cost at the rate of text alone.
    everything = Tokens(input_text=20, output_text=(usage.candidates or 0) + (usage.thoughts or 0))
    wrong = price_tokens(everything, basis, price_of(model)).usd
    assert f"{wrong}" == only(r"it would be \$(\d\.\d{6}),", EXAMPLE)


def test_the_tables_have_every_model_of_the_book() -> None:
    known = map(KnownModels.shipped().find, PriceList.shipped().prices)
    listed = [row["model"].strip("`") for row in RATES]
    assert sorted(listed) == sorted({one.name for one in known if one is not None})
    assert listed == [row["model"].strip("`") for row in PICTURES]


@pytest.mark.parametrize("row", RATES, ids=lambda row: row["model"])
def test_a_row_of_rates_is_that_of_the_book(row: dict[str, str]) -> None:
    price = price_of(row["model"])
    rates = price.standard
    told = [Decimal(row[name]) for name in ("input", "text, thoughts", "picture")]
    assert told == [rates.input, rates.text_output, rates.image_output]
    tiers: tuple[Tier, ...] = ("batch", "flex", "priority")
    assert {tier for tier in tiers if row[tier] != UNKNOWN} == set(price.tiers) - {"standard"}
    for tier in set(price.tiers) - {"standard"}:
        assert price.tiers[tier] == rates * Decimal(row[tier])


@pytest.mark.parametrize("row", RATES, ids=lambda row: row["model"])
def test_a_search_costs_what_the_row_says(row: dict[str, str]) -> None:
    price = price_of(row["model"])
    usd, _, each = row["a search"].partition(" ")
    n_billed = 1 if each == "an answer" else 2
    assert price.search_usd(2) == (None if usd == UNKNOWN else n_billed * Decimal(usd))


@pytest.mark.parametrize("row", PICTURES, ids=lambda row: row["model"])
def test_a_picture_takes_what_the_row_says(row: dict[str, str]) -> None:
    price = price_of(row["model"])
    told = {size: cell for size, cell in row.items() if size != "model" and cell != UNKNOWN}
    assert told.keys() == price.tokens.by_size.keys()
    for size, cell in told.items():
        tokens, usd = cell.split(": ")
        assert price.tokens_an_image(size) == int(tokens)
        cost = price_tokens(Tokens(output_image=int(tokens)), "reported", price).usd
        assert cost is not None
        assert f"{cost:.4f}" == usd


def test_the_piece_of_a_job_multiplies_every_price(tmp_path: Path) -> None:
    piece = only(r"```yaml part\n(.*?)```", section("Your own prices"))
    job = tmp_path / "job.yaml"
    job.write_text(f"{piece}items:\n- {{id: a, prompt: p, model: gemini-3-pro-image}}\n", "utf-8")
    manifest = open_manifest(job)
    list(manifest.items(ReferenceLibrary()))
    manifest.raise_problems()
    prices = manifest.settings.prices
    assert prices is not None
    assert prices.multiplier == Decimal(only(r"multiplier: ([\d.]+)", piece))


def test_every_link_to_a_headline_of_the_page_leads_somewhere() -> None:
    headlines = {
        re.sub(r"[^\w -]", "", line).replace(" ", "-").lower()
        for line in re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    }
    links = re.findall(r"\]\(#([^)]+)\)", PAGE)
    assert len(links) >= 12
    assert set(links) == headlines


def test_the_example_of_a_table_is_laid_out_as_the_command_does() -> None:
    tally = Tally(("model",), Span())
    figures = {
        "gemini-nano-banana-2.1": (20, (2756, 21_280, 6402, 22_960, 6148), "0.81896"),
        "gemini-3-pro-image": (4, (2080, 3360, 1503, 4480, 1012), "0.57866"),
    }
    for model, (n, counts, usd) in figures.items():
        tokens = Tokens(**dict(zip(Tokens.__struct_fields__, counts, strict=True)))
        call = Call(model=model, outcome=Outcome.IMAGE, basis="reported")
        tally.sums_of(call).add_pictures(n, tokens, Decimal(usd), Decimal(0))
    told = [*as_table(tally, Paper(80)), "prices: as recorded in our ledgers"]
    shown = only(r"\nbatchgen cost output/catalog\n```\n\n```text(?: printed)?\n(.*?)\n```")
    assert shown.splitlines() == told
