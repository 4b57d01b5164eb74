"""A run tells whoever asked how it ended; whatever goes wrong with that costs no run anything."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from batchgen import Runner
from batchgen.conclusion import Conclusion
from batchgen.errors import BatchgenError, JobError
from batchgen.events import Warned
from tests import servers
from tests.commands import batchgen
from tests.fault.test_network import certificate, needs_openssl, tls_with
from tests.hooks import SECRET, TAKEN, Hook, hook
from tests.runs import KEY, QuickTime, Ran, run_job, write_job
from tests.servers import Answer, Asked, FaultServer, closed_port, http, refuses, sends

BLOCKED = servers.whole({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})


def blocks_b(asked: Asked) -> Answer:
    return BLOCKED if asked.prompt == "b" else servers.draws(asked)


def warnings(ran: Ran) -> list[str]:
    return [event.message for event in ran.events if isinstance(event, Warned)]


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return write_job(tmp_path / "job.jsonl", ["a", "b", "c"])


async def test_a_new_failure_is_told_once_and_that_it_is_fixed(job: Path) -> None:
    with hook() as told, FaultServer(blocks_b) as server:
        first = await run_job(job, server, notify=told.url)
        assert first.exit_code == 4
        assert [message["exit_code"] for message in told.posted] == [4]
        assert told.changes == [["1 new failure"]]
        await run_job(job, server, notify=told.url)  # it is left alone, and fails as before
        assert len(told.posted) == 1
        server.script = servers.draws
        redone = write_job(job, ["a", {"id": "b", "prompt": "b, but harmless"}, "c"])
        assert (await run_job(redone, server, notify=told.url)).exit_code == 0
        assert told.changes[1:] == [["1 item fixed: b"]]
        assert told.posted[1]["summary"]["items"]["done"] == 3


async def test_the_job_names_the_variable_and_the_occasion(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook() as told, FaultServer(servers.draws) as server:
        monkeypatch.setenv("NIGHTLY_HOOK", told.url)
        for on, n in (("change", 0), ("failure", 0), ("always", 1)):
            notify = {"url_env": "NIGHTLY_HOOK", "on": on}
            write_job(job, ["a", "b", "c"], notify=notify)
            ran = await run_job(job, server)
            assert not warnings(ran)
            assert len(told.posted) == n


async def test_a_service_of_the_jobs_own_choice_gets_its_form(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook() as told, FaultServer(servers.draws) as server:
        monkeypatch.setenv("HOOK", told.url)
        notify = {"url_env": "HOOK", "on": "always", "service": "ntfy"}
        await run_job(write_job(job, ["a"], notify=notify), server)
    [message] = told.posted
    assert message["topic"] == SECRET.rpartition("/")[2]
    assert told.server.log[0].target == "/services/T000/B000/"
    assert told.server.log[0].headers["content-type"] == "application/json"


AT = f"/services/{SECRET}".encode()
REFUSING: dict[str, tuple[Answer, str, int]] = {
    "gone": (refuses(404, "no_service"), "answered 404", 1),
    "moved": (sends(http(302, b"", {"Location": "http://127.0.0.1:1/"})), "a redirect, which", 1),
    "busy": (refuses(503), "answered 503", 3),
    "slow down": (refuses(429), "answered 429", 3),
    "hangs up": (lambda _: servers.End.BROKEN, "cannot be reached", 3),
    "no HTTP": (sends(b"SSH-2.0\r\n", end=servers.End.CLOSED), "cannot be reached", 3),
    "says the address": (refuses(400, f"bad path /services/{SECRET}"), "[key]", 1),
    "says it where words are cut": (sends(http(400, b"x" * 173 + AT)), "[key]", 1),
}


@pytest.mark.parametrize("how", REFUSING)
async def test_a_hook_that_takes_nothing_fails_no_run_and_is_told(how: str, job: Path) -> None:
    answer, told_as, n_tries = REFUSING[how]
    quick = QuickTime()
    with hook(lambda _: answer) as told, FaultServer(blocks_b) as server:
        ran = await run_job(job, server, notify=told.url, quick=quick)
    assert (ran.exit_code, ran.summary.items.done) == (4, 2)
    [warning] = warnings(ran)
    assert "nobody was told how this run ended: 127.0.0.1" in warning
    assert told_as in warning
    assert "CANARY" not in warning
    assert told.server.n_connections == n_tries
    assert sum(quick.waits_s) <= 30


async def test_a_hook_that_is_away_for_a_moment_gets_its_message(job: Path) -> None:
    script = lambda asked: refuses(503) if asked.nth < 3 else TAKEN  # noqa: E731
    with hook(script) as told, FaultServer(blocks_b) as server:
        ran = await run_job(job, server, notify=told.url)
    assert not warnings(ran)
    assert len(told.posted) == 3


async def test_a_short_word_of_an_address_is_not_shown_either(job: Path) -> None:
    with hook(lambda asked: refuses(500, asked.target)) as told, FaultServer(blocks_b) as server:
        ran = await run_job(job, server, notify=f"{told.server.url}/services/CANARY")
    [warning] = warnings(ran)
    assert "answered 500" in warning
    assert "CANARY" not in warning


async def test_a_bug_is_told_as_one_and_what_had_been_sent_is_not_denied(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("boom")

    with hook() as told, FaultServer(blocks_b) as server:
        with monkeypatch.context() as broken:
            broken.setattr(Conclusion, "_end", breaks)
            with pytest.raises(RuntimeError):
                await run_job(job, server, notify=told.url)
        assert server.n_requests == 3
        assert told.posted[0]["title"] == "job: stopped, what came is in the ledger"
        assert told.changes[0] == [
            "stopped (exit code 1): a bug in batchgen (RuntimeError: boom): please report it"
        ]
        # Nobody was told of its failures: the next run does.
        assert (await run_job(job, server, notify=told.url, fail_on="new", whole=False)).exit_code
    assert told.changes[1] == ["1 new failure: b"]


async def test_nobody_listens(job: Path) -> None:
    with closed_port() as port, FaultServer(blocks_b) as server:
        url = f"http://127.0.0.1:{port.getsockname()[1]}/{SECRET}"
        ran = await run_job(job, server, notify=url)
    assert ran.exit_code == 4
    [warning] = warnings(ran)
    assert "127.0.0.1 cannot be reached: Connection refused" in warning


@needs_openssl
async def test_a_server_that_nobody_trusts_gets_no_message(job: Path) -> None:
    tls = tls_with(certificate(job.parent, "self-signed"))
    with FaultServer(lambda _: TAKEN, tls=tls) as told, FaultServer(blocks_b) as server:
        ran = await run_job(job, server, notify=f"{told.url}/{SECRET}")
    assert ["its certificate is not trusted" in one for one in warnings(ran)] == [True]
    assert not told.log


@pytest.mark.parametrize(
    ("env", "told_as"),
    [({}, "is not set"), ({"HOOK": "hooks.invalid/CANARY"}, "HOOK: expected the https address")],
)
async def test_a_hook_that_cannot_be_one_is_told_and_the_pictures_are_made(
    env: dict[str, str], told_as: str, job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK", raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with FaultServer(servers.draws) as server:
        write_job(job, ["a"], notify={"url_env": "HOOK"})
        ran = await run_job(job, server)
    assert ran.exit_code == 0
    [warning] = warnings(ran)
    assert "nobody will be told how this run ends" in warning
    assert told_as in warning
    assert "CANARY" not in warning


async def test_the_job_says_whether_an_address_of_the_option_may_be_plain_http(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = "http://hooks.invalid/CANARY"
    monkeypatch.delenv("no_proxy", raising=False)
    with hook() as proxy, FaultServer(servers.draws) as server:
        monkeypatch.setenv("http_proxy", proxy.server.url)  # so no name is looked up
        write_job(job, ["a"], notify={"allow_http": True, "on": "always"})
        assert (await run_job(job, server, notify=plain)).exit_code == 0
        assert [asked.target for asked in proxy.server.log] == [plain]
        write_job(job, ["a", "b"])
        with pytest.raises(BatchgenError, match="notify: plain http"):
            await run_job(job, server, notify=plain)
        assert (server.n_requests, proxy.server.n_requests) == (1, 1)


def nothing_sent(told: Hook) -> list[Any]:
    return [(one["exit_code"], one["summary"]) for one in told.posted]


async def test_a_run_that_cannot_begin_is_told_too(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hook() as told, FaultServer(servers.draws) as server:
        monkeypatch.setenv("HOOK", told.url)
        notify = {"url_env": "HOOK"}
        write_job(job, ["a", {"id": "b"}], notify=notify)
        with pytest.raises(BatchgenError):  # 3: no prompt
            await run_job(job, server)
        assert "prompt" in told.posted[-1]["error"]
        assert "error in the job" not in told.posted[-1]["error"]  # the title says what came of it
        write_job(job, ["a"], notify=notify)
        monkeypatch.delenv("COMETAPI_KEY")
        with pytest.raises(BatchgenError):  # 2: no key
            await run_job(job, server)
        broken = job.parent / "there is none.yaml"
        with pytest.raises(BatchgenError):  # 3: no job, and so only the option names the hook
            await run_job(broken, server, notify=told.url, provider="emulator")
    assert nothing_sent(told) == [(3, None), (2, None), (3, None)]
    # Who reads it on a phone knows where to go.
    where = f"{job.parent / 'there is none.yaml'} on {socket.gethostname()}"
    assert told.posted[-1]["text"].splitlines()[-1] == where
    assert server.n_connections == 0


async def test_a_job_whose_name_is_no_utf_8_is_told_too(tmp_path: Path) -> None:
    broken = tmp_path / os.fsdecode(b"nightly-\xff.yaml")
    with hook() as told:
        where: dict[str, Any] = {"notify": told.url, "metrics_file": tmp_path / "m.prom"}
        with pytest.raises(JobError):
            await run_job(broken, "", provider="emulator", **where)
    assert nothing_sent(told) == [(3, None)]
    assert told.posted[0]["job"] == "nightly-\ufffd"
    assert 'batch="nightly-\ufffd"' in (tmp_path / "m.prom").read_text("utf-8")


def test_the_address_of_a_hook_is_nowhere_but_on_its_way(tmp_path: Path) -> None:
    """Promise P17: it is a secret like the key."""
    for script in (lambda _: TAKEN, lambda asked: refuses(500, asked.target)):
        with hook(script) as told, FaultServer(blocks_b) as server:
            notify = {"url_env": "HOOK", "on": "always"}
            job = write_job(tmp_path / "job.jsonl", ["a", "b"], notify=notify)
            run = ("run", job, "-o", tmp_path / "out", "--base-url", server.url, "-v")
            by_job = batchgen(*run, COMETAPI_KEY=KEY, HOOK=told.url)
            by_flag = batchgen(*run, "--json", COMETAPI_KEY=KEY, BATCHGEN_NOTIFY=told.url)
        assert (by_job.code, by_flag.code) == (4, 4)
        assert told.server.n_connections >= 2
        assert "CANARY" not in by_job.err + by_flag.err + by_flag.out
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) > 8
    assert not [path for path in written if b"CANARY" in path.read_bytes()]


def test_a_runner_that_is_printed_does_not_show_the_address(job: Path) -> None:
    assert "CANARY" not in repr(vars(Runner(job, notify=f"https://hooks.invalid/{SECRET}")))


def test_what_was_asked_for_and_not_done_is_told_to_those_who_want_only_errors(
    tmp_path: Path,
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"], provider="emulator", notify={"url_env": "HOOK"})
    unset = batchgen("run", job, "-o", tmp_path / "out", "--quiet")
    assert "HOOK, of notify.url_env, is not set" in unset.err
    lost = batchgen(
        *("run", job, "-o", tmp_path / "out", "-q", "--metrics-file", tmp_path / "no/m.prom"),
        BATCHGEN_NOTIFY="http://127.0.0.1:1/",
    )
    assert (unset.code, lost.code) == (0, 0)
    assert "the metrics of this run are not written" in lost.err


def test_an_address_that_the_command_cannot_use_is_not_shown(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"], provider="emulator")
    for url in ("hooks.invalid/CANARY", "http://hooks.invalid/CANARY"):
        done = batchgen("run", job, "-o", tmp_path / "out", BATCHGEN_NOTIFY=url)
        assert (done.code, "notify: " in done.err) == (2, True)
        assert "CANARY" not in done.out + done.err
    for wrong in ({"url_env": "https://h.invalid/CANARY"}, {"url": "CANARY"}, "https://CANARY"):
        write_job(job, ["a"], provider="emulator", notify=wrong)
        done = batchgen("validate", job)
        assert done.code == 3
        assert "notify" in done.err
        assert "CANARY" not in done.out + done.err
