"""Answers that say no: who is asked again, after how long, and who stops the run."""

import json
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.runs import Ran, run_job, write_job
from tests.servers import Answer, FaultServer, http, refuses, sends

SENT_AT = "Sat, 21 Nov 2026 03:00:00 GMT"
HALF_A_MINUTE_LATER = "Sat, 21 Nov 2026 03:00:30 GMT"
PAGE = b"<!doctype html><title>502</title>"


def google(code: int, status: str, message: str = "no", **detail: object) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "status": status, "message": message}
    if detail:
        error["details"] = [detail]
    return {"error": error}


def retry_info(delay: str) -> dict[str, Any]:
    kind = "type.googleapis.com/google.rpc.RetryInfo"
    return google(429, "RESOURCE_EXHAUSTED", **{"@type": kind}, retryDelay=delay)


def gateway(code: str, message: str = "no") -> dict[str, Any]:
    return {"error": {"message": message, "type": "comet_api_error", "param": "", "code": code}}


@pytest.mark.parametrize(
    ("refusal", "told_s"),
    [
        pytest.param(refuses(429, retry_after="7"), 7, id="Retry-After in seconds"),
        pytest.param(refuses(429, retry_after="0.5"), 0.5, id="Retry-After in half a second"),
        pytest.param(refuses(429, retry_after_ms="2500"), 2.5, id="retry-after-ms"),
        pytest.param(
            sends(http(429, b"", {"llm_provider-retry-after": "9"})), 9, id="a gateway's header"
        ),
        pytest.param(
            sends(http(429, b"", {"Retry-After": "8", "retry-after": "3"})), 8, id="a header twice"
        ),
        pytest.param(
            refuses(429, Date=SENT_AT, retry_after=HALF_A_MINUTE_LATER), 30, id="Retry-After date"
        ),
        pytest.param(refuses(429, retry_info("11.25s")), 11.25, id="RetryInfo"),
        pytest.param(
            refuses(429, retry_info("3s"), retry_after="40"), 40, id="the longer of two waits"
        ),
        pytest.param(
            refuses(429, gateway("429", json.dumps(retry_info("21s")))), 21, id="RetryInfo in text"
        ),
        pytest.param(
            refuses(429, gateway("", "Too fast. Please retry in 12.5s.")), 12.5, id="plain words"
        ),
        pytest.param(
            refuses(503, google(503, "UNAVAILABLE"), retry_after="6"), 6, id="503 with Retry-After"
        ),
    ],
)
async def test_a_wait_that_was_asked_for_is_never_shortened(
    refusal: Answer, told_s: float, job: Path, tried: Callable[[str, int, str], None]
) -> None:
    with FaultServer(servers.once(refusal)) as server:
        ran = await run_job(job, server)
    outcome = ran.attempts[0]["outcome"]
    assert outcome in {"rate_limited", "server_error"}
    assert ran.told == [(outcome, "retry", "no"), ("image", "done", "yes")]
    [waited_s] = ran.waits_s
    assert told_s <= waited_s <= told_s * 1.1 + 2
    assert server.requests == {"cat": 2}
    assert ran.summary.exit_code == 0
    tried("P40", 1, "told waits")


async def test_an_item_that_is_told_to_wait_beyond_max_wait_is_parked_and_asked_again_then(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat", "dog"], retries={"max_wait": 60})
    slow = servers.once(refuses(429, retry_after="61"))
    with FaultServer(lambda asked: (slow if asked.prompt == "cat" else servers.draws)(asked)) as (
        server
    ):
        ran = await run_job(job, server)
    assert [(line["item"], line["decision"]) for line in ran.attempts] == [
        ("cat", "retry"),
        ("dog", "done"),
        ("cat", "done"),
    ]
    first, second, _ = (datetime.fromisoformat(line["at"]) for line in ran.attempts)
    assert second - first >= timedelta(seconds=61)
    assert server.requests == {"cat": 2, "dog": 1}
    assert ran.exit_code == 0


async def test_a_wait_beyond_all_patience_stops_the_run_at_once(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat", "dog"], retries={"patience": "1h"})
    with FaultServer(lambda _: refuses(429, retry_after="3601")) as server:
        ran = await run_job(job, server)
    assert ran.told == [("rate_limited", "retry", "no")]
    assert server.requests == {"cat": 1}
    assert (ran.exit_code, ran.summary.items.pending) == (5, 2)
    assert "patience" in str(ran.summary.stop_reason)
    assert ran.waits_s == []


async def test_a_429_is_retried_as_often_as_the_job_says(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], retries={"rate_limit": 5})
    with FaultServer(lambda _: refuses(429)) as server:
        ran = await run_job(job, server)
    assert server.requests == {"cat": 6}
    assert ran.told == [("rate_limited", "retry", "no")] * 5 + [("rate_limited", "failed", "no")]
    assert ran.exit_code == 4
    assert all(wait_s <= 60 for wait_s in ran.waits_s)


async def test_a_saturated_channel_is_waited_for_longer_than_other_limits(job: Path) -> None:
    saturated = refuses(429, gateway("", "当前分组上游负载已饱和，请稍后再试"))
    with FaultServer(lambda asked: saturated if asked.nth <= 6 else servers.draws(asked)) as server:
        ran = await run_job(job, server)
    assert ran.told == [("rate_limited", "retry", "no")] * 6 + [("image", "done", "yes")]
    assert 60 < max(ran.waits_s) <= 600


@pytest.mark.parametrize(
    ("refusal", "billed"),
    [
        (refuses(503, google(503, "UNAVAILABLE", "The model is overloaded.")), "no"),
        (refuses(409, google(409, "ABORTED")), "no"),
        (refuses(425), "no"),
        (refuses(521), "no"),
        (refuses(529), "no"),
        (refuses(408), "maybe"),
        (refuses(499), "maybe"),
        (refuses(500), "maybe"),
        (refuses(502), "maybe"),
        (refuses(503), "maybe"),
        (refuses(504), "maybe"),
        (refuses(520), "maybe"),
        (refuses(522), "maybe"),
        (refuses(524), "maybe"),
        (sends(http(502, PAGE, content_type="text/html")), "maybe"),
    ],
)
async def test_a_server_error_is_retried_and_told_as_what_it_may_have_cost(
    refusal: Answer, billed: str, job: Path
) -> None:
    with FaultServer(servers.once(refusal)) as server:
        ran = await run_job(job, server)
    assert ran.told == [("server_error", "retry", billed), ("image", "done", "yes")]
    assert server.requests == {"cat": 2}
    assert ran.summary.maybe_billed.count == (1 if billed == "maybe" else 0)


async def test_what_was_surely_not_executed_is_retried_four_times_and_what_may_have_been_once(
    tmp_path: Path,
) -> None:
    answers = {"busy": refuses(503, google(503, "UNAVAILABLE")), "unsure": refuses(504)}
    job = write_job(tmp_path / "job.jsonl", answers)
    with FaultServer(lambda asked: answers[asked.prompt]) as server:
        ran = await run_job(job, server)
    assert server.requests == {"busy": 5, "unsure": 2}
    assert ran.exit_code == 4
    assert ran.summary.items.failed == 2


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (refuses(500, gateway("invalid_request")), "bad_request"),
        (refuses(400, google(400, "INVALID_ARGUMENT")), "bad_request"),
        (refuses(413), "bad_request"),
        (refuses(403, google(403, "PERMISSION_DENIED")), "unauthorized"),
        (refuses(404, google(404, "NOT_FOUND")), "model_unavailable"),
        (refuses(503, gateway("model_not_found")), "model_unavailable"),
    ],
)
async def test_what_would_be_refused_again_fails_its_item_at_once(
    refusal: Answer, outcome: str, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["bad", "good"])
    with FaultServer(
        lambda asked: refusal if asked.prompt == "bad" else servers.draws(asked)
    ) as server:
        ran = await run_job(job, server)
    assert sorted(ran.told) == sorted([(outcome, "failed", "no"), ("image", "done", "yes")])
    assert server.requests == {"bad": 1, "good": 1}
    assert ran.exit_code == 4


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (refuses(401), "unauthorized"),
        (refuses(400, google(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID")), "unauthorized"),
        (
            refuses(403, google(403, "PERMISSION_DENIED", reason="CONSUMER_SUSPENDED")),
            "unauthorized",
        ),
        (refuses(402), "out_of_credit"),
        (refuses(403, gateway("insufficient_user_quota")), "out_of_credit"),
        (
            refuses(
                429,
                google(
                    429,
                    "RESOURCE_EXHAUSTED",
                    violations=[{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
                    retryDelay="22s",
                ),
            ),
            "quota_exhausted",
        ),
        (sends(http(200, PAGE, content_type="text/html")), "bad_reply"),
        (sends(http(404, PAGE, content_type="text/html")), "bad_reply"),
    ],
)
async def test_what_no_item_can_survive_stops_the_run_and_leaves_the_rest_to_be_done(
    refusal: Answer, outcome: str, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b", "c", "d"], limits={"concurrency": 1})
    with FaultServer(lambda _: refusal) as server:
        ran = await run_job(job, server)
    assert ran.told == [(outcome, "stop", "no")]
    assert server.requests == {"a": 1}
    assert ran.exit_code == 7
    assert ran.summary.items.pending == 4
    assert ran.summary.stop_reason not in (None, "finished")


async def test_a_stopped_run_lets_what_is_under_way_end(tmp_path: Path) -> None:
    ids = ["first", "good", "bad", "never"]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 2})
    refused = threading.Event()

    def script(asked: servers.Asked) -> Answer:
        if asked.prompt == "first":
            return servers.draws(asked)
        if asked.prompt == "bad":
            refused.set()
            return refuses(401)
        return servers.waits_for(refused, servers.draws(asked))

    with FaultServer(script) as server:
        ran = await run_job(job, server)
    assert server.requests == {"first": 1, "good": 1, "bad": 1}
    assert ran.exit_code == 7
    assert (ran.summary.items.done, ran.summary.items.pending) == (2, 2)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed(status: int, job: Path) -> None:
    with FaultServer(servers.draws) as elsewhere:
        target = f"{elsewhere.url}/v1beta/models/m:generateContent"
        with FaultServer(lambda _: refuses(status, Location=target)) as server:
            ran = await run_job(job, server)
        assert elsewhere.n_connections == 0
    assert ran.told == [("bad_reply", "stop", "no")]
    assert server.requests == {"cat": 1}
    assert ran.exit_code == 7


async def test_an_error_inside_a_200_means_what_its_code_says(job: Path) -> None:
    fault = servers.whole(google(429, "RESOURCE_EXHAUSTED"))
    with FaultServer(servers.once(fault)) as server:
        ran = await run_job(job, server)
    assert ran.told == [("rate_limited", "retry", "no"), ("image", "done", "yes")]


async def test_an_early_refusal_of_a_large_upload_is_read(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(servers.png("photo", edge_px=1200))
    item = {"id": "cat", "prompt": "cat", "references": ["photo.png"]}
    job = write_job(tmp_path / "job.jsonl", [item])
    with servers.HastyServer(refuses(413)) as server:
        ran = await run_job(job, server)
    [(outcome, decision, billed), *_] = ran.told
    # The kernel may tell of the closed connection before the answer can be read.
    assert (outcome, decision, billed) in {
        ("bad_request", "failed", "no"),
        ("connection", "retry", "maybe"),
    }


async def test_a_service_that_refuses_connections_is_waited_for_as_long_as_the_job_says(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b", "c"], retries={"patience": "10m"})
    with servers.closed_port() as bound:
        ran = await run_job(job, f"http://127.0.0.1:{bound.getsockname()[1]}")
    assert set(ran.told) == {("connection", "retry", "no")}
    assert 5 + 5 <= len(ran.told) <= 5 + 9  # probes after 2, 4, 8 … seconds at most
    assert (ran.exit_code, ran.summary.items.pending) == (5, 3)
    assert str(ran.summary.cost_usd) == "0.000000"
    assert "cannot connect" in str(ran.summary.stop_reason)


async def test_the_end_of_a_run_tells_what_failed_and_why(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"])
    refusal = refuses(400, google(400, "INVALID_ARGUMENT", "the ratio is unknown"))
    with FaultServer(lambda _: refusal) as server:
        ran: Ran = await run_job(job, server)
    [group] = ran.summary.failures
    assert (group.outcome, group.count) == ("bad_request", 2)
    assert "the ratio is unknown" in group.example
    assert ran.attempts[0]["error"]["kind"] == "BadRequest"
    assert ran.attempts[0]["http_status"] == 400
