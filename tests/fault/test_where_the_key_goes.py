"""The key goes to the service and to nobody else: redirects, plain http, names of this machine."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from batchgen import JobError, UsageError
from tests.runs import KEY, run_job, write_job
from tests.servers import HOST, End, FaultServer, draws, http, sends

pytestmark = pytest.mark.reliability

Tried: TypeAlias = Callable[[str, int, str], None]

WHAT = "redirects and addresses"
PATH = "/v1beta/models/gemini-3-pro-image:generateContent"
# Each names another server: at {port}, or at {far} of 127.0.0.2; the server itself is at {own}.
LOCATIONS = {
    "another port": "http://127.0.0.1:{port}" + PATH,
    "another address of this machine": "http://127.0.0.2:{far}" + PATH,
    "another name of this machine": "http://localhost:{port}" + PATH,
    "https": "https://127.0.0.1:{port}" + PATH,
    "no scheme": "//127.0.0.1:{port}" + PATH,
    "a user before the host": "http://127.0.0.1:{own}@127.0.0.1:{port}" + PATH,
    "the key itself": f"http://127.0.0.1:{{port}}/?key={KEY}",
    "a backslash": "http://127.0.0.1:{port}\\@127.0.0.1:{own}" + PATH,
}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", LOCATIONS)
async def test_a_redirect_takes_the_key_nowhere(
    where: str, status: int, job: Path, tried: Tried
) -> None:
    with FaultServer(draws) as other, FaultServer(draws, host="127.0.0.2") as far:

        def redirects(connection: socket.socket) -> End:
            own = connection.getsockname()[1]
            location = LOCATIONS[where].format(port=other.port, far=far.port, own=own)
            return sends(http(status, b"", {"Location": location}))(connection)

        with FaultServer(lambda _: redirects) as server:
            ran = await run_job(job, server)
    assert (server.n_requests, other.n_connections, far.n_connections) == (1, 0, 0)
    assert ran.told == [("bad_reply", "stop", "no")]
    assert ran.exit_code == 7
    assert KEY not in (ran.attempts[0]["error"]["message"])
    tried("P18", 1, WHAT)


@pytest.mark.parametrize(
    "header",
    ["Refresh: 0; url={url}", "Content-Location: {url}", 'Alt-Svc: http/1.1="{host}"; ma=9'],
)
async def test_no_other_header_takes_the_key_elsewhere(
    header: str, tmp_path: Path, tried: Tried
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat", "dog"], limits={"concurrency": 1})
    with FaultServer(draws) as other:
        name, _, value = header.format(url=other.url, host=other.url[7:]).partition(": ")
        with FaultServer(
            lambda asked: (
                sends(http(503, b'{"error": {"status": "UNAVAILABLE"}}', {name: value}))
                if asked.nth == 1
                else draws(asked)
            )
        ) as server:
            ran = await run_job(job, server)
    assert (server.n_requests, other.n_connections, ran.exit_code) == (4, 0, 0)
    tried("P18", 1, WHAT)


# Only what everybody reads as this machine counts as it; in doubt the key stays here.
ELSEWHERE = [
    "api.invalid",
    "127.1",
    "0x7f.1",
    "0x7f000001",
    "2130706433",
    "0177.0.0.1",
    "127.0.0.1.",
    "localhost.",
    "localhost.evil.invalid",
    "127.0.0.1.nip.invalid",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::]",
    "0.0.0.0",
    "127.0.0.2",
    "localhost.localdomain",
    "ip6-localhost",
    "[0:0:0:0:0:0:0:1]",
    "[::1%25lo]",
    "10.0.0.1",
    "192.168.0.1",
]
HERE = ("localhost", "LOCALHOST", "127.0.0.1", "[::1]")


@pytest.fixture
def no_packets(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Whoever connects, or asks for an address, is noted, and sent nothing."""
    noted: list[object] = []

    def note(*told: object, **_: object) -> None:
        noted.append(told)
        raise OSError("not from a test")

    monkeypatch.setattr(socket.socket, "connect", note)
    monkeypatch.setattr(socket, "getaddrinfo", note)
    return noted


@pytest.mark.parametrize("host", ELSEWHERE)
async def test_plain_http_to_what_may_not_be_this_machine_is_refused(
    host: str, tmp_path: Path, no_packets: list[object], tried: Tried
) -> None:
    url = f"http://{host}:9"
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    with pytest.raises(UsageError, match=r"plain http|expected https"):
        await run_job(job, url)
    of_job = write_job(tmp_path / "of.jsonl", ["cat"], provider={"base_url": url})
    with pytest.raises((UsageError, JobError), match=r"plain http|expected https"):
        await run_job(of_job, "")
    with pytest.raises(UsageError, match=r"through the proxy|expected http"):
        await run_job(job, "http://127.0.0.1:9", proxy=url)
    assert not no_packets
    tried("P18", 3, WHAT)


@pytest.mark.parametrize("host", HERE)
async def test_plain_http_to_this_machine_is_taken(host: str, tmp_path: Path, tried: Tried) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    with FaultServer(draws, host="::1" if ":" in host else HOST) as server:
        ran = await run_job(job, f"http://{host}:{server.port}")
    assert (server.n_requests, ran.exit_code) == (1, 0)
    tried("P18", 1, WHAT)
