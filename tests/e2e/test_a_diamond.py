"""Four items that build on each other as a diamond, of which one parent fails."""

from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests import ledgers
from tests.commands import Done, EmulatorProcess, batchgen
from tests.runs import write_job

Json: TypeAlias = dict[str, Any]

SMALL = {"model": "gemini-3.1-flash-image", "image_size": "512", "aspect_ratio": "1:1"}
A, B, D = "a bottle", "the bottle at night", "both in one frame"


def diamond(folder: Path, c: str) -> Path:
    """`d` builds on `b` and `c`, which build on `a`; the last stands first."""
    items: list[str | Json] = [
        {"id": "d", "prompt": D, "references": ["item:b", "item:c"]},
        {"id": "c", "prompt": c, "references": ["item:a"]},
        {"id": "b", "prompt": B, "references": ["item:a"]},
        {"id": "a", "prompt": A},
    ]
    return write_job(folder / "job.jsonl", items, defaults=SMALL)


def run(job: Path, emulated: EmulatorProcess, *flags: str | Path) -> Done:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    return batchgen("run", job, "-o", job.parent, *to, "--json", *flags)


def statuses(directory: Path) -> dict[str, str]:
    return {one: result["status"] for one, result in sorted(ledgers.results(directory).items())}


def sha256_of(directory: Path, item: str) -> str:
    digest: str = ledgers.results(directory)[item]["images"][0]["sha256"]
    return digest


def sent_with(emulated: EmulatorProcess, prompt: str) -> list[list[str]]:
    """The digests of the pictures in each request for a prompt."""
    requests = [request["body"]["contents"][-1]["parts"] for request in emulated.received()]
    return [
        [part["inlineData"]["data"]["sha256"] for part in parts if "inlineData" in part]
        for parts in requests
        if parts[0].get("text") == prompt
    ]


HALF = {"a": "done", "b": "done", "c": "failed", "d": "skipped"}
WHOLE = dict.fromkeys("abcd", "done")


@pytest.mark.parametrize("refusal", ["[[IMAGE_SAFETY]]", "[[BLOCKED=OTHER]]"])
def test_one_refused_parent_leaves_the_rest_and_its_mended_prompt_makes_two_items(
    emulated: EmulatorProcess, tmp_path: Path, refusal: str
) -> None:
    directory = tmp_path / "job"
    first = run(diamond(tmp_path, f"the bottle {refusal}"), emulated)
    assert first.code == 4, first.err
    ledgers.check_directory(directory)
    assert statuses(directory) == HALF
    sent = {A: 1, B: 1, f"the bottle {refusal}": 1}
    assert emulated.by_prompt == sent
    a = sha256_of(directory, "a")
    assert sent_with(emulated, B) == [[a]]

    again = run(diamond(tmp_path, f"the bottle {refusal}"), emulated)
    assert (again.code, again.json["items"]["reused"]) == (4, 2)
    assert emulated.by_prompt == sent

    mended = run(diamond(tmp_path, "the bottle by day"), emulated)
    assert mended.code == 0, mended.err
    assert mended.json["items"]["reused"] == 2
    ledgers.check_directory(directory)
    assert statuses(directory) == WHOLE
    assert emulated.by_prompt == {**sent, "the bottle by day": 1, D: 1}
    assert sent_with(emulated, "the bottle by day") == [[a]]
    assert sent_with(emulated, D) == [[sha256_of(directory, one) for one in "bc"]]

    assert run(diamond(tmp_path, "the bottle by day"), emulated).code == 0
    assert emulated.n_requests == 5


def test_a_parent_that_failed_by_chance_is_made_by_the_next_run_and_then_its_child(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    directory, c = tmp_path / "job", "the bottle [[IMAGE_OTHER:2]]"
    job = diamond(tmp_path, c)
    assert run(job, emulated).code == 4
    assert statuses(directory) == HALF
    assert emulated.by_prompt == {A: 1, B: 1, c: 2}
    second = run(job, emulated)
    assert second.code == 0, second.err
    ledgers.check_directory(directory)
    assert statuses(directory) == WHOLE
    assert emulated.by_prompt == {A: 1, B: 1, c: 3, D: 1}


@pytest.mark.parametrize("flag", ["--retry-failed", "--retry-failed=blocked"])
def test_a_refused_parent_that_is_tried_again_brings_its_child_along(
    emulated: EmulatorProcess, tmp_path: Path, flag: str
) -> None:
    directory, c = tmp_path / "job", "the bottle [[IMAGE_SAFETY:1]]"
    job = diamond(tmp_path, c)
    assert run(job, emulated).code == 4
    assert statuses(directory) == HALF
    second = run(job, emulated, flag)
    assert second.code == 0, second.err
    assert statuses(directory) == WHOLE
    assert emulated.by_prompt == {A: 1, B: 1, c: 2, D: 1}


def test_what_is_left_of_a_diamond_runs_from_failed_jsonl_with_the_pictures_that_are_done(
    emulated: EmulatorProcess, tmp_path: Path
) -> None:
    directory, c = tmp_path / "job", "the bottle [[IMAGE_SAFETY:1]]"
    assert run(diamond(tmp_path, c), emulated).code == 4
    head, d, refused = ledgers.lines(directory / "failed.jsonl")
    assert head["job"]["name"] == "job"
    assert (d["id"], refused["id"]) == ("d", "c")
    to = ("--provider", "emulator", "--base-url", emulated.url)
    failed = batchgen("run", directory / "failed.jsonl", *to, "--retry-failed")
    assert failed.code == 0, failed.err
    assert emulated.by_prompt == {A: 1, B: 1, c: 2, D: 1}
    whole = run(diamond(tmp_path, c), emulated)
    assert (whole.code, whole.json["items"]["reused"]) == (0, 4)
    assert statuses(directory) == WHOLE
    assert sent_with(emulated, D) == [[sha256_of(directory, one) for one in "bc"]]
