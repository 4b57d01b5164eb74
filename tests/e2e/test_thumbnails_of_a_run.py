"""The thumbnails that a run makes at its end, and `report` afterwards, through the command."""

import shutil
from pathlib import Path

import pytest

from batchgen import Warned
from batchgen.report.thumbnails import of_a_run
from tests.commands import batchgen
from tests.ledgers import results
from tests.pages import cards_of
from tests.runs import run_job, write_job
from tests.servers import FaultServer, draws

WITH = {"BATCHGEN_NO_THUMBNAILS": "0"}


def made(directory: Path) -> set[str]:
    return {path.stem for path in (directory / "thumbnails").glob("*.webp")}


def shown(directory: Path) -> set[str]:
    """The pictures whose thumbnails the page asks for."""
    cards = cards_of((directory / "report.html").read_text("utf-8")).values()
    return {card["image"]["sha256"] for card in cards if card["image"].get("thumbnail")}


def test_a_run_makes_them_report_makes_what_is_missing_and_both_can_be_told_not_to(
    tmp_path: Path,
) -> None:
    job, output = write_job(tmp_path / "job.jsonl", ["a", "b"], provider="emulator"), tmp_path / "o"
    directory = output / "job"
    run = ("run", job, "-o", output)
    assert batchgen(*run, "--no-thumbnails", **WITH).code == 0
    pictures = {one["images"][0]["sha256"] for one in results(directory).values()}
    assert (made(directory), shown(directory)) == (set(), set())
    assert batchgen(*run, **WITH).code == 0  # nothing was left to make but these
    assert (made(directory), shown(directory)) == (pictures, pictures)

    first, second = results(directory).values()
    (directory / first["images"][0]["path"]).unlink()
    shutil.rmtree(directory / "thumbnails")
    assert batchgen("report", directory, "--no-thumbnails").code == 0
    assert (made(directory), shown(directory)) == (set(), set())
    assert batchgen("report", directory, **WITH).code == 0
    left = {second["images"][0]["sha256"]}
    assert (made(directory), shown(directory)) == (left, left)


async def test_a_run_that_has_no_time_for_them_says_who_makes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_a_run, "_LONGEST_S", 0.0)
    monkeypatch.setenv("COMETAPI_KEY", "a-key-of-the-tests")
    job = write_job(tmp_path / "job.jsonl", ["a", "b"])
    with FaultServer(draws) as server:
        ran = await run_job(job, server, thumbnails=True)
    told = [event.message for event in ran.events if isinstance(event, Warned)]
    assert any(
        "2 pictures of the report without a thumbnail" in one
        and f"`batchgen report {ran.directory}` makes the rest" in one
        for one in told
    )
    assert (made(ran.directory), shown(ran.directory)) == (set(), set())
