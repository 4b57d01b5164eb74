"""The log of runs in this process: when a request is told, and what is not told of the key."""

import json
from pathlib import Path

import pytest

from batchgen.events import AttemptBegan, AttemptEnded, Event, Stopping, Warned
from batchgen.journal import Format, Journal, LogFile
from tests import journals, ledgers, servers
from tests.canary import Canary
from tests.runs import run_job, write_job
from tests.servers import Answer, Asked, FaultServer, http, refuses, sends


async def test_a_request_is_told_when_its_line_is_durable_and_before_it_arrives(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b", "c"], retries={"transport": 1})
    seen: list[tuple[str, int, int]] = []

    def look(event: Event) -> None:
        if isinstance(event, AttemptBegan):
            [segment] = (tmp_path / "output/job/ledger").glob("*.jsonl")
            of_item = [one for one in ledgers.lines(segment) if one.get("item") == event.item]
            last = of_item[-1]
            assert (last["event"], last["attempt"], last["key"]) == (
                "sent",
                event.attempt,
                event.key,
            )
            assert last["est_usd"] == str(event.est_usd)
            seen.append((event.item, event.attempt, server.requests[event.item]))

    with FaultServer(servers.once(refuses(502))) as server:
        ran = await run_job(job, server, on_event=look)
    assert ran.exit_code == 0
    assert sorted(seen) == [(one, n, n - 1) for one in "abc" for n in (1, 2)]


async def test_what_never_leaves_is_not_told_as_sent(tmp_path: Path) -> None:
    child = {"id": "child", "prompt": "child", "references": ["item:bad"]}
    job = write_job(tmp_path / "job.jsonl", ["bad", child])
    with FaultServer(lambda _: refuses(400)) as server:
        ran = await run_job(job, server)
    began = [event.item for event in ran.events if isinstance(event, AttemptBegan)]
    ended = [event.attempt.item for event in ran.events if isinstance(event, AttemptEnded)]
    assert (began, ended) == (["bad"], ["bad", "child"])


@pytest.mark.parametrize("style", ["text", "json"])
async def test_a_key_that_is_quoted_back_is_in_no_line(
    style: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = Canary()
    monkeypatch.setenv("COMETAPI_KEY", canary.key)
    spellings = canary.spellings()
    ids = [f"item-{n}" for n in range(len(spellings))]
    quoting = dict(zip(ids, spellings.values(), strict=True))
    other = {"id": "other", "prompt": "other", "model": "gemini-2.5-flash-image"}
    stops = {"id": "stops", "prompt": "stops", "references": ["item:first"]}
    few = {"concurrency": 1}
    job = write_job(tmp_path / "job.jsonl", ["first", *ids, other, stops], limits=few)

    def script(asked: Asked) -> Answer:
        written = quoting.get(asked.prompt, canary.key)
        status = {"other": 404, "stops": 401, "first": 0}.get(asked.prompt, 400)
        body = json.dumps({"error": {"message": "your key is HERE"}}).replace("HERE", written)
        return sends(http(status, body.encode())) if status else servers.draws(asked)

    log = LogFile(tmp_path / "log", pytest.fail)
    journal, told = Journal(log, style), list[Event]()

    def both(event: Event) -> None:
        told.append(event)
        journal(event)

    with FaultServer(script) as server:
        await run_job(job, server, on_event=both)
    written = (tmp_path / "log").read_bytes()
    assert {Warned, Stopping} <= {type(event) for event in told}
    assert written.count(b"[key]") >= len(spellings)
    assert not canary.found_in(written)
    if style == "json":
        journals.read(written)
