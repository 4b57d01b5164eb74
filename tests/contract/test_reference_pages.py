"""The pages that a program writes are what it writes now, and are whole."""

from collections import Counter
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from batchgen.cli.commands import cli
from batchgen.manifest.items import FIELDS
from tests import reference
from tests.commands import batchgen
from tests.job_schema import SCHEMA

PAGES = reference.pages()


def headings(page: str) -> list[str]:
    return [line.lstrip("# ") for line in page.splitlines() if line.startswith(("## ", "### "))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_is_what_would_be_written_now(path: Path) -> None:
    assert path.read_text("utf-8") == PAGES[path], "make docs writes it anew"


def test_the_page_of_the_commands_is_the_same_on_every_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert reference.cli_page() == PAGES[reference.DOCS / "cli.md"]


@pytest.mark.parametrize("line", ["--help", "run --help", "run -h"])
def test_the_page_shows_what_a_terminal_of_80_columns_shows(line: str) -> None:
    shown = batchgen(*line.split(), COLUMNS="80")
    assert f"```text\n{shown.out}```\n" in reference.cli_page()


def test_every_command_has_a_section() -> None:
    found = headings(reference.cli_page())
    assert {f"batchgen {name}" for name in cli.commands} <= set(found)


def test_every_field_that_a_job_may_have_has_a_section_of_its_own() -> None:
    found = Counter(headings(reference.job_page()))
    fields = {*SCHEMA["properties"], *(f"items.{name}" for name in FIELDS)}
    for top, one in SCHEMA["properties"].items():
        if top != "defaults":  # these are fields of an item
            fields |= {f"{top}.{name}" for name in one.get("properties", ())}
    assert fields <= set(found)
    assert set(found.values()) == {1}


def test_every_link_of_the_fields_leads_to_a_heading() -> None:
    page = reference.job_page()
    anchors = {reference.slug(heading) for heading in headings(page)}
    tokens = [one for block in MarkdownIt().parse(page) for one in block.children or ()]
    links = [str(one.attrs["href"]) for one in tokens if one.type == "link_open"]
    assert len(links) > len(FIELDS)
    assert {link[1:] for link in links if link.startswith("#")} <= anchors
    assert not [one.type for one in tokens if one.type in {"em_open", "strong_open", "html_inline"}]
