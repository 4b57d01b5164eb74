"""What a person is told to do about a failure, in one line."""

import re
from pathlib import Path

import pytest

from batchgen.model import Outcome
from batchgen.report.remedies import remedy

PAGE = (Path(__file__).parents[2] / "docs/outcomes.md").read_text("utf-8")
# What may stand beside a count and an example in a terminal of 80 columns.
MAX_CHARS = 72


@pytest.mark.parametrize("outcome", Outcome)
def test_each_outcome_has_one_short_sentence_of_its_own(outcome: Outcome) -> None:
    told = remedy(outcome)
    assert 0 < len(told) <= MAX_CHARS
    assert told[0].isupper()
    assert told.endswith(".")
    assert [one for one in Outcome if remedy(one) == told] == [outcome]


@pytest.mark.parametrize("outcome", [one for one in Outcome if one is not Outcome.IMAGE])
def test_what_a_remedy_names_is_on_the_page_of_outcomes_too(outcome: Outcome) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{outcome}` |")]
    assert rows
    names = re.findall(r"[a-z]+_[a-z_]+|[a-z]+\.[a-z]+|--[a-z-]+|quarantine/", remedy(outcome))
    missing = [name for name in names if not any(name in row for row in rows)]
    assert missing == []
