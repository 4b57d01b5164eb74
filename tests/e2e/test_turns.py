"""A conversation whose run is killed in the middle, against a service that checks signatures."""

import hashlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import commands, ledgers
from tests.commands import EmulatorProcess, batchgen, started, until
from tests.runs import KEY

JOB = """\
name: job
defaults: {model: gemini-3.1-flash-image, image_size: "512", modalities: [TEXT, IMAGE]}
items:
  - id: poster
    turns:
      - {prompt: one}
      - {prompt: two}
      - {prompt: three}
"""


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(JOB)
    return path


@pytest.fixture
def slow_at_three(tmp_path: Path) -> Iterator[EmulatorProcess]:
    """The first request for the third turn gets no answer for as long as the test takes."""
    faults = tmp_path / "faults.yaml"
    faults.write_text("- {prompt: three, nth: 1, hang: 600}\n")
    with commands.emulator("--latency", "0", "--faults", str(faults)) as running:
        yield running


def ledger_text(directory: Path) -> str:
    return "".join(path.read_text() for path in (directory / "ledger").glob("*.jsonl"))


def asked_for(emulator: EmulatorProcess) -> dict[str, int]:
    return {prompt: of["requests"] for prompt, of in emulator.counts()["by_prompt"].items()}


def test_a_run_that_was_killed_in_the_third_turn_goes_on_with_the_third(
    job: Path, slow_at_three: EmulatorProcess
) -> None:
    where = ("-o", job.parent, "--base-url", slow_at_three.url)
    directory = job.parent / "job"
    with started("run", job, *where, COMETAPI_KEY=KEY) as run:
        until(lambda: asked_for(slow_at_three).get("three"), "the third turn under way")
        run.signal(signal.SIGKILL)
        assert run.end().code == -signal.SIGKILL
    assert ledger_text(directory).count('"outcome":"image"') == 2
    done = batchgen("run", job, *where, COMETAPI_KEY=KEY)
    assert done.code == 0, done.err
    assert asked_for(slow_at_three) == {"one": 1, "two": 1, "three": 2}
    told = [(a["turn"], a["outcome"]) for a in ledgers.attempts(directory)]
    assert told == [(1, "image"), (2, "image"), (3, "interrupted"), (3, "image")]
    ledgers.check_directory(directory, ended=False)


@pytest.mark.parametrize("renamed", [False, True], ids=["not renamed yet", "renamed already"])
def test_a_turn_whose_answer_was_whole_is_finished_locally_and_not_asked_for_again(
    job: Path, *, renamed: bool
) -> None:
    directory = job.parent / "job"
    with commands.emulator("--latency", "0") as emulator:
        where = ("-o", job.parent, "--base-url", emulator.url)
        assert batchgen("run", job, *where, COMETAPI_KEY=KEY).code == 0
        said = (directory / "turns/poster.2.json").read_bytes()
        take_back_to_the_second_answer(directory, renamed=renamed)
        done = batchgen("run", job, *where, COMETAPI_KEY=KEY)
        assert done.code == 0, done.err
        assert asked_for(emulator) == {"one": 1, "two": 1, "three": 2}
    assert json.loads((directory / "turns/poster.2.json").read_bytes()) == json.loads(said)
    recovered = [(a["turn"], a["decision"]) for a in ledgers.attempts(directory) if a["recovered"]]
    assert recovered == [(2, "done")]
    ledgers.check_directory(directory, ended=False)


def take_back_to_the_second_answer(directory: Path, *, renamed: bool) -> None:
    """Put a directory into the state between the second answer's receipt and its line."""
    [segment] = (directory / "ledger").glob("*.jsonl")
    lines = ledgers.lines(segment)
    sent, attempt = (
        next(line for line in lines if line["event"] == event and line.get("turn") == 2)
        for event in ("sent", "attempt")
    )
    kept = segment.read_bytes().split(b"\n")[: lines.index(sent) + 1]
    segment.write_bytes(b"\n".join(kept) + b"\n")
    [image] = attempt["images"]
    stem = part_stem(sent)
    part = f"{stem}.0.part"
    content = json.loads((directory / "turns/poster.2.json").read_bytes())
    [inline] = [part["inlineData"] for part in content["parts"] if "inlineData" in part]
    inline["data"] = "0"
    receipt: dict[str, Any] = {
        "sent": sent,
        "item": json.loads((directory / "items.jsonl").read_text()),
        "http_status": 200,
        "request_id": None,
        "latency_s": 1.5,
        "bytes_in": attempt["bytes_in"],
        "skeleton": json.dumps({"candidates": [{"content": content}]}),
        "images": [{"part": part, "sha256": image["sha256"], "size_bytes": image["bytes"]}],
    }
    (directory / ".parts" / f"{stem}.json").write_text(json.dumps(receipt))
    if not renamed:
        (directory / image["path"]).rename(directory / ".parts" / part)
        (directory / "turns/poster.2.json").unlink()
    for name in ("images/poster.png", "turns/poster.3.json", "results.jsonl", "summary.json"):
        (directory / name).unlink()


def part_stem(sent: dict[str, Any]) -> str:
    digest = hashlib.sha256(sent["item"].encode()).hexdigest()[:16]
    return f"{sent['run_id']}.{digest}.{sent['turn']}.{sent['attempt']}"
