"""`output.name` through the command: pictures in folders, run after run."""

import shutil
from pathlib import Path, PurePosixPath

import pytest

from tests import commands, ledgers
from tests.commands import Done, EmulatorProcess, batchgen
from tests.pages import cards_of

JOB = """\
name: shop
output: {name: "{sku}/{id}"}
defaults: {model: gemini-3.1-flash-image, image_size: "512", aspect_ratio: 1:1}
items:
  - {id: front, prompt: A shoe from the front, tags: {sku: A-17}}
  - {id: side, prompt: A shoe from the side, tags: {sku: A-17}, count: 2}
  - {id: "hat 1:1", prompt: A hat, tags: {sku: ../../hats}}
  - {id: film, turns: [{prompt: A still}, {prompt: Darker}], tags: {sku: ".."}}
  - {id: wide, prompt: The same as a banner, references: ["item:front"], tags: {sku: "a/b"}}
"""
PATHS = {
    "front": "images/A-17/front.png",
    "side#1": "images/A-17/side#1.png",
    "side#2": "images/A-17/side#2.png",
    "hat 1:1": "images/_._.._hats/hat 1x1.png",
    "film": "images/__/film.png",
    "wide": "images/a_b/wide.png",
}


def run(job: Path, server: EmulatorProcess, *flags: str) -> Done:
    to = ("--provider", "emulator", "--base-url", server.url)
    return batchgen("run", job, "-o", job.parent / "output", *to, "--json", *flags)


def paths(directory: Path) -> dict[str, str]:
    """Where the picture of each item is, as the results tell it."""
    results = ledgers.results(directory)
    return {name: one["images"][0]["path"] for name, one in results.items() if one["images"]}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(JOB, "utf-8")
    return path


def test_pictures_lie_in_the_folders_that_the_job_names(
    emulated: EmulatorProcess, job: Path
) -> None:
    done = run(job, emulated)
    assert done.code == 0, done.err
    directory = job.parent / "output/shop"
    ledgers.check_directory(directory)
    assert paths(directory) == PATHS
    outside = {path.name for path in (job.parent / "output").iterdir()}
    assert outside == {"shop"}
    cards = cards_of((directory / "report.html").read_text("utf-8"))
    assert {name: card["image"]["path"] for name, card in cards.items()} == PATHS
    n_sent = emulated.n_requests
    assert run(job, emulated).code == 0
    assert emulated.n_requests == n_sent


def in_folder(folder: str) -> dict[str, str]:
    return {name: f"images/{folder}{PurePosixPath(path).name}" for name, path in PATHS.items()}


def test_another_name_makes_nothing_again_and_moves_the_pictures(
    emulated: EmulatorProcess, job: Path
) -> None:
    run(job, emulated)
    n_sent = emulated.n_requests
    more = "  - {id: new, prompt: A coat, tags: {sku: C}}\n"
    job.write_text(job.read_text("utf-8").replace("{sku}/{id}", "by id/{id}") + more, "utf-8")
    done = run(job, emulated)
    assert done.code == 0, done.err
    directory = job.parent / "output/shop"
    ledgers.check_directory(directory)
    assert paths(directory) == {**in_folder("by id/"), "new": "images/by id/new.png"}
    assert (done.json["items"]["reused"], emulated.n_requests) == (6, n_sent + 1)


def test_a_picture_that_is_gone_is_made_again_where_the_job_says_now(
    emulated: EmulatorProcess, job: Path
) -> None:
    run(job, emulated)
    directory = job.parent / "output/shop"
    shutil.rmtree(directory / "images/__")
    job.write_text(job.read_text("utf-8").replace("{sku}/{id}", "{id}"), "utf-8")
    assert run(job, emulated).code == 0
    ledgers.check_directory(directory)
    assert paths(directory) == in_folder("")


def test_what_failed_is_made_into_the_folders_of_its_job(
    emulated: EmulatorProcess, job: Path, tmp_path: Path
) -> None:
    faults = tmp_path / "faults.yaml"
    # Refusals of all items from the start would stop the run.
    faults.write_text("- {prompt: 'A shoe*', finish_reason: IMAGE_SAFETY}\n")
    with commands.emulator("--latency", "0", "--faults", str(faults)) as faulty:
        assert run(job, faulty).code == 4
    directory = job.parent / "output/shop"
    head, *failed = ledgers.lines(directory / "failed.jsonl")
    assert head["job"]["output"] == {"name": "{sku}/{id}"}
    assert [line["id"] for line in failed] == ["front", "side#1", "side#2", "wide"]
    assert not any("file" in line for line in failed)
    assert batchgen("validate", directory / "failed.jsonl").code == 0
    again = batchgen(
        *("run", directory / "failed.jsonl", "-o", job.parent / "output", "--retry-failed"),
        *("--provider", "emulator", "--base-url", emulated.url),
    )
    assert again.code == 0, again.err
    assert run(job, emulated).code == 0
    ledgers.check_directory(directory)
    assert paths(directory) == PATHS
