"""A job whose items build on items, from the command line."""

from pathlib import Path
from typing import Any

import pytest

from tests import commands, ledgers
from tests.commands import Done, EmulatorProcess, batchgen

JOB = """\
name: family
defaults: {model: gemini-3.1-flash-image, image_size: "512", aspect_ratio: 1:1}
items:
  - {id: banner, prompt: The same as a banner, references: [{item: hero, label: "The hero:"}]}
  - {id: hero, prompt: A bottle on black marble}
  - {id: card, prompt: A card of both, references: ["item:hero", "item:banner"]}
  - {id: stone, prompt: A stone by the sea}
"""
HERO, BANNER, CARD = "A bottle on black marble", "The same as a banner", "A card of both"


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "family.yaml"
    path.write_text(JOB, "utf-8")
    return path


def run(job: Path, emulated: EmulatorProcess, *flags: str | Path) -> Done:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    return batchgen("run", job, "-o", job.parent / "output", *to, "--json", *flags)


def requests(emulated: EmulatorProcess) -> dict[str, int]:
    by_prompt: dict[str, Any] = emulated.counts()["by_prompt"]
    return {prompt: of["requests"] for prompt, of in by_prompt.items()}


def test_a_family_of_pictures_is_made_once_and_anew_from_where_it_changed(
    emulated: EmulatorProcess, job: Path
) -> None:
    first = run(job, emulated)
    assert first.code == 0, first.err
    assert first.json["items"]["done"] == 4
    again = run(job, emulated)
    assert (again.code, emulated.n_requests, again.json["items"]["reused"]) == (0, 4, 4)
    job.write_text(JOB.replace(BANNER, "The same but wider"))
    edited = run(job, emulated)
    assert (edited.code, edited.json["items"]["reused"]) == (0, 2)
    ledgers.check_directory(job.parent / "output/family")
    assert requests(emulated) == {
        HERO: 1,
        BANNER: 1,
        CARD: 2,
        "A stone by the sea": 1,
        "The same but wider": 1,
    }


def test_what_builds_on_a_refused_picture_is_skipped_and_made_from_failed_jsonl(
    emulated: EmulatorProcess, job: Path, tmp_path: Path
) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text(f"- {{prompt: '{BANNER}', requests: 1-9, status: 400, body: google}}\n")
    with commands.emulator("--latency", "0", "--faults", str(faults)) as faulty:
        first = run(job, faulty)
        assert CARD not in requests(faulty)
    assert first.code == 4, first.err
    counts = first.json["items"]
    assert (counts["done"], counts["failed"], counts["skipped"]) == (2, 1, 1)
    directory = job.parent / "output/family"
    ledgers.check_directory(directory)
    _, banner, card = ledgers.lines(directory / "failed.jsonl")
    assert banner["references"][0]["path"].startswith("images/hero.")
    assert banner["references"][0]["label"] == "The hero:"
    assert card["references"][1] == {"item": "banner"}
    failed = batchgen(
        *("run", directory / "failed.jsonl", "-o", job.parent / "output", "--retry-failed"),
        *("--provider", "emulator", "--base-url", emulated.url),
    )
    assert failed.code == 0, failed.err
    whole = run(job, emulated)
    assert (whole.code, whole.json["items"]["reused"]) == (0, 4)
    assert requests(emulated) == {BANNER: 1, CARD: 1}
