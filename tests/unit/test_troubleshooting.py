"""docs/troubleshooting.md tells of every outcome what docs/outcomes.md does, and leads there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batchgen.model import Outcome
from tests.reference import slug
from tests.unit.test_tables_of_the_docs import OUTCOMES, Row, quoted, rows

PAGE = (Path(__file__).parents[2] / "docs/troubleshooting.md").read_text("utf-8")
TOLD = {quoted(row["outcome"])[0]: row for row in rows(PAGE, "outcome", "what happened", "paid")}


def causes(outcome: str) -> list[Row]:
    return [row for row in rows(OUTCOMES, "outcome", "cause") if outcome in quoted(row["outcome"])]


def test_every_outcome_is_told_once() -> None:
    named = [quoted(row["outcome"])[0] for row in rows(PAGE, "outcome", "what happened", "paid")]
    assert sorted(named) == sorted(Outcome)


@pytest.mark.parametrize("outcome", sorted(set(Outcome) - {Outcome.IMAGE}))
def test_what_is_paid_and_tried_again_is_what_the_causes_say(outcome: str) -> None:
    row, all_causes = TOLD[outcome], causes(outcome)
    assert set(row["paid"].split(", ")) == {cause["billed"].strip("`") for cause in all_causes}
    assert {row["next run"]} == {cause["next run"] for cause in all_causes}


@pytest.mark.parametrize("outcome", sorted(Outcome))
def test_each_leads_to_where_its_causes_are(outcome: str) -> None:
    (anchor,) = re.findall(r"\(outcomes\.md#(.*)\)", TOLD[outcome]["outcome"])
    found = [row for row in rows(OUTCOMES, "outcome") if outcome in quoted(row["outcome"])]
    assert anchor in {slug(row.headline) for row in found}
