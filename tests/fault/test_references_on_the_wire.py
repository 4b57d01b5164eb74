"""References as the service receives them, and what happens when one changes under a run."""

import asyncio
import base64
import json
from pathlib import Path

import pytest

import batchgen
from tests import ledgers, servers
from tests.runs import run_job, write_job
from tests.servers import FaultServer


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture of some megabytes, of a length that is no multiple of three."""
    photo = tmp_path / "photo.png"
    data = servers.png("photo", edge_px=1200)
    photo.write_bytes(data + b"\0" * (1 - len(data) % 3))
    return photo


@pytest.fixture
def job(tmp_path: Path, photo: Path) -> Path:
    small = tmp_path / "small.png"
    small.write_bytes(servers.png("small"))
    references = [{"path": photo.name, "label": "Image A:"}, small.name]
    item = {"id": "cat", "prompt": "cat", "references": references, "aspect_ratio": "4:5"}
    return write_job(tmp_path / "job.jsonl", [item], limits={"concurrency": 1})


async def test_references_arrive_whole_and_in_order_in_every_attempt(
    job: Path, photo: Path
) -> None:
    data = await asyncio.to_thread(photo.read_bytes)
    with FaultServer(servers.once(servers.refuses(503))) as server:
        ran = await run_job(job, server)
    assert ran.exit_code == 0
    first, second = server.log
    assert first.body == second.body
    asked = json.loads(first.body)
    assert asked["generationConfig"] == {"imageConfig": {"aspectRatio": "4:5"}}
    [content] = asked["contents"]
    text, label, large, small = content["parts"]
    assert (text, label) == ({"text": "cat"}, {"text": "Image A:"})
    assert base64.b64decode(large["inlineData"]["data"], validate=True) == data
    assert base64.b64decode(small["inlineData"]["data"]) == servers.png("small")
    assert {large["inlineData"]["mimeType"], small["inlineData"]["mimeType"]} == {"image/png"}


@pytest.mark.parametrize("how", ["changed", "gone"])
async def test_a_reference_that_changes_under_a_run_fails_its_item_and_costs_nothing(
    how: str, job: Path, photo: Path, tmp_path: Path
) -> None:
    def change(event: batchgen.Event) -> None:
        if isinstance(event, batchgen.RunBegan):
            photo.unlink()
            if how == "changed":
                photo.write_bytes(servers.png("another", edge_px=1200))

    with FaultServer(servers.draws) as server:
        where = {"output": tmp_path / "output", "base_url": server.url, "on_event": change}
        async with batchgen.Runner(job, **where) as runner:  # type: ignore[arg-type]
            [result] = [one async for one in runner.results()]
    assert server.answered == {}
    assert (result.status, result.outcome) == ("failed", "missing_reference")
    ledgers.check_directory(runner.directory)
    [attempt] = ledgers.attempts(runner.directory)
    assert (attempt["billed"], attempt["cost_usd"]) == ("no", "0.000000")
    assert runner.summary.exit_code == 4


async def test_a_reference_swapped_after_the_check_is_not_sent_from_a_relative_output_either(
    job: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def swap(event: batchgen.Event) -> None:
        if isinstance(event, batchgen.RunBegan):
            photo.write_bytes(servers.png("another", edge_px=1200))

    with FaultServer(servers.draws) as server:
        where = {"output": "output", "base_url": server.url, "on_event": swap}
        async with batchgen.Runner(job, **where) as runner:  # type: ignore[arg-type]
            [result] = [one async for one in runner.results()]
    assert server.answered == {}
    assert result.outcome == "missing_reference"


@pytest.fixture
def linked_job(photo: Path, tmp_path: Path) -> Path:
    """A job, and so an output beside it, that is reached through a link."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    item = {"id": "cat", "prompt": "cat", "references": [f"../{photo.name}"]}
    write_job(tmp_path / "real/job.jsonl", [item])
    return tmp_path / "link/job.jsonl"


async def test_references_are_found_again_through_links_to_job_and_output(
    linked_job: Path,
) -> None:
    with FaultServer(servers.draws) as server:
        ran = await run_job(linked_job, server)
    assert ran.exit_code == 0
