"""A folder of thumbnails is nothing to a run, to `verify` and to `export`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from batchgen import Runner
from batchgen.events import Event, Warned
from batchgen.export import BatchExport
from batchgen.report.thumbnails import Made, Source, make_thumbnails
from batchgen.verify import Findings, verify
from tests import ledgers, servers
from tests.runs import run_job, write_job
from tests.servers import FaultServer

if TYPE_CHECKING:
    from pathlib import Path


async def test_thumbnails_of_a_run_are_in_nobodys_way(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["kite", "boat", "mug"])
    with FaultServer(servers.draws) as server:
        root = (await run_job(job, server)).directory
        told = [one["images"][0] for one in ledgers.results(root).values()]
        sources = [Source(image["sha256"], root / image["path"]) for image in told]
        exported = b"".join(BatchExport(root, holds_images=True))
        assert make_thumbnails(root, sources) == Made(n_made=3)
        (root / "thumbnails" / ".x.webp.0badcafe.draft").write_bytes(b"left")
        assert verify(root) == Findings(n_checked=3)
        assert b"".join(BatchExport(root, holds_images=True)) == exported
        again = await run_job(job, server)
        assert again.summary.items.reused == 3
        assert server.n_requests == 3
    assert len(list((root / "thumbnails").iterdir())) == 4


async def test_who_is_told_to_stop_takes_no_more_time_for_thumbnails(tmp_path: Path) -> None:
    names = [f"mug {n}" for n in range(60)]
    job, told = write_job(tmp_path / "job.jsonl", names), list[Event]()
    with FaultServer(servers.draws) as server:
        runner = Runner(job, output=tmp_path, base_url=server.url, on_event=told.append)

        async def stop() -> None:
            # It is made before the first process that fills it is begun.
            while not (runner.directory / "thumbnails").is_dir():  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            runner.request_stop("sigint")

        async with runner:
            async for _ in runner.results():
                pass
            stopping = asyncio.create_task(stop())
        await stopping
    assert runner.summary.exit_code == 0
    assert (runner.directory / "report.html").is_file()
    assert len(list((runner.directory / "thumbnails").glob("*.webp"))) < len(names) / 2
    (warning,) = [event.message for event in told if isinstance(event, Warned)]
    assert "without a thumbnail: it was told to stop" in warning
