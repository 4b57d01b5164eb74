"""TLS, proxies, concurrency and connections, seen from the other end of the wire."""

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from batchgen import Redo, Runner
from tests import ledgers, servers
from tests.runs import KEY, run_job, write_job
from tests.servers import Answer, Asked, FaultServer, refuses

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="no openssl to make a certificate with")
ELSEWHERE = {"base_url": "http://api.invalid", "api_key_env": "COMETAPI_KEY", "allow_http": True}
SAFE_ELSEWHERE = {**ELSEWHERE, "base_url": "https://api.invalid"}


def certificate(directory: Path, name: str) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    assert OPENSSL is not None
    pem, key = directory / f"{name}.pem", directory / f"{name}.key"
    command = [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext"]
    command += ["subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(pem)]
    subprocess.run(command, check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + key.read_bytes())
    return pem


def tls_with(pem: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@needs_openssl
async def test_an_unknown_certificate_stops_the_run_with_nothing_sent(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"], limits={"concurrency": 1})
    with FaultServer(servers.draws, tls=tls_with(certificate(tmp_path, "self-signed"))) as server:
        ran = await run_job(job, server)
    assert server.n_requests == 0
    assert ran.told == [("connection", "stop", "no")]
    assert ran.attempts[0]["error"]["kind"] == "TlsFailed"
    assert ran.exit_code == 7
    assert ran.summary.items.pending == 2


@needs_openssl
async def test_a_certificate_named_by_ca_file_is_trusted(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"])
    pem = certificate(tmp_path, "ours")
    with FaultServer(servers.draws, tls=tls_with(pem)) as server:
        ran = await run_job(job, server, ca_file=pem)
    assert ran.told == [("image", "done", "yes")]


async def test_plain_http_where_tls_should_be_stops_the_run(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"])
    with servers.HastyServer(refuses(400)) as server:
        ran = await run_job(job, server.url.replace("http:", "https:"))
    assert ran.told == [("connection", "stop", "no")]
    assert ran.exit_code == 7


async def test_a_proxy_of_the_environment_gets_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], provider=ELSEWHERE)
    with FaultServer(servers.draws) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        ran = await run_job(job, "")
    assert ran.told == [("image", "done", "yes")]
    [asked] = proxy.log
    assert asked.target.startswith("http://api.invalid/v1beta/models/")


async def test_a_proxy_is_asked_for_a_tunnel_and_never_sees_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], provider=SAFE_ELSEWHERE)
    with FaultServer(lambda _: refuses(502)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        ran = await run_job(job, "")
    assert {(asked.method, asked.target) for asked in proxy.log} == {("CONNECT", "api.invalid:443")}
    assert all(KEY not in str(asked) for asked in proxy.log)
    assert set(ran.told) == {("connection", "retry", "no")}
    assert (ran.exit_code, ran.summary.items.pending) == (5, 1)


async def test_the_proxy_flag_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], provider=ELSEWHERE)
    with FaultServer(servers.draws) as of_environment, FaultServer(servers.draws) as of_flag:
        monkeypatch.setenv("http_proxy", of_environment.url)
        await run_job(job, "", proxy=of_flag.url)
    assert (of_environment.n_connections, of_flag.n_requests) == (0, 1)


async def test_the_password_of_a_proxy_is_in_no_file_and_no_event(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], provider=ELSEWHERE)
    with FaultServer(lambda _: refuses(400, {"error": {"message": "not with pw-CANARY"}})) as proxy:
        url = proxy.url.replace("http://", "http://me:pw-CANARY@")
        ran = await run_job(job, "", proxy=url)
    assert proxy.log[0].headers["proxy-authorization"].startswith("Basic ")
    assert "not with" in ran.attempts[0]["error"]["message"]
    assert "CANARY" not in repr(ran.events) + repr(ran.summary)
    files = [path for path in ran.directory.rglob("*") if path.is_file()]
    assert not [path for path in files if b"CANARY" in path.read_bytes()]


async def test_what_failed_goes_to_the_address_that_the_run_went_to(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    with FaultServer(servers.once(refuses(400))) as server:
        first = await run_job(job, server)
        again = (first.directory / "failed.jsonl").rename(tmp_path / "failed.jsonl")
        head = json.loads(again.read_text().partition("\n")[0])["job"]
        # Before it runs: another address would be a real one, and get the key.
        assert head["provider"]["base_url"] == server.url
        second = await run_job(again, "", redo=Redo(failed=frozenset()))
    assert (first.exit_code, second.exit_code) == (4, 0)
    assert server.n_requests == 2


async def test_what_is_cancelled_while_it_connects_is_not_billed(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    with socket.create_server(("127.0.0.1", 0)) as listener:  # never shakes hands
        where = f"https://127.0.0.1:{listener.getsockname()[1]}"
        async with Runner(job, output=tmp_path / "output", base_url=where) as runner:
            results = asyncio.ensure_future(anext(runner.results(), None))
            connection, _ = await asyncio.to_thread(listener.accept)
            runner.cancel()
            await results
            connection.close()
    [attempt] = ledgers.attempts(runner.directory)
    assert (attempt["outcome"], attempt["billed"]) == ("cancelled", "no")


async def test_no_proxy_is_honoured(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(servers.draws) as proxy, FaultServer(servers.draws) as server:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        ran = await run_job(job, server)
    assert (proxy.n_connections, server.n_requests) == (0, 1)
    assert ran.exit_code == 0


async def test_the_emulator_that_a_run_starts_is_not_looked_for_behind_a_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], provider="emulator")
    with FaultServer(lambda _: refuses(502)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        ran = await run_job(job, "")
    assert proxy.n_connections == 0
    assert ran.exit_code == 0


@pytest.mark.slow
async def test_a_thousand_items_are_never_more_at_once_than_allowed(tmp_path: Path) -> None:
    ids = [f"item-{n:04}" for n in range(1000)]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 8, "rpm": 60_000})

    def takes_a_moment(asked: Asked) -> Answer:
        threading.Event().wait(0.005)
        if asked.nth == 1 and asked.prompt.endswith("00"):
            return refuses(503, {"error": {"status": "UNAVAILABLE"}})
        return servers.whole(servers.document(servers.image_part(servers.png(asked.prompt, 8))))

    with FaultServer(takes_a_moment) as server:
        ran = await run_job(job, server)
    assert 4 <= server.peak_in_flight <= 8
    assert ran.summary.concurrency.peak == 8
    assert server.n_requests == 1010 == ran.summary.attempts.total
    assert server.answered.total() == 1010
    assert (ran.summary.items.done, ran.exit_code) == (1000, 0)


async def test_connections_are_used_again_while_they_are_fresh(tmp_path: Path) -> None:
    ids = [f"item-{n}" for n in range(20)]
    job = write_job(tmp_path / "job.jsonl", ids, limits={"concurrency": 2})
    with FaultServer(servers.draws) as server:
        await run_job(job, server)
    assert server.n_requests == 20
    assert server.n_connections <= 4


async def test_a_request_carries_the_key_once_and_nothing_of_the_machine(
    job: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password of-netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with FaultServer(servers.draws) as server:
        await run_job(job, server)
    [asked] = server.log
    assert asked.headers["x-goog-api-key"] == KEY
    assert "authorization" not in asked.headers
    assert "cookie" not in asked.headers
    assert asked.headers["accept-encoding"] == "identity"
    assert int(asked.headers["content-length"]) == len(asked.body)
    assert asked.target == "/v1beta/models/gemini-3-pro-image:generateContent"


async def test_bearer_auth_sends_the_key_as_a_token_alone(tmp_path: Path) -> None:
    with FaultServer(servers.draws) as server:
        provider = {"base_url": f"{server.url}/v1", "api_key_env": "COMETAPI_KEY", "auth": "bearer"}
        job = write_job(tmp_path / "job.jsonl", ["cat"], provider=provider)
        ran = await run_job(job, "")
    [asked] = server.log
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert "x-goog-api-key" not in asked.headers
    assert asked.target.startswith("/v1beta/models/")
    assert ran.exit_code == 0
