"""TLS is verified, and neither a flag nor a variable nor a job can turn that off."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from batchgen import JobError
from batchgen.cli.commands import cli
from batchgen.options import RunOptions
from batchgen.transport import tls_context
from tests.commands import batchgen
from tests.fault.test_network import certificate, needs_openssl, tls_with
from tests.fault.test_the_matrix import expired
from tests.runs import run_job, write_job
from tests.servers import FaultServer, HastyServer, draws, refuses

Tried: TypeAlias = Callable[[str, int, str], None]

# What turns verification off in other programs and libraries, and names no certificates.
TURNED_OFF = {
    "PYTHONHTTPSVERIFY": "0",
    "NODE_TLS_REJECT_UNAUTHORIZED": "0",
    "GIT_SSL_NO_VERIFY": "1",
    "REQUESTS_CA_BUNDLE": "",
    "CURL_CA_BUNDLE": "",
    "SSL_NO_VERIFY": "1",
    "AIOHTTP_SSL": "0",
    "BATCHGEN_INSECURE": "1",
    "BATCHGEN_VERIFY": "0",
}


def unknown(directory: Path) -> Path:
    return certificate(directory, "self-signed")


@needs_openssl
@pytest.mark.parametrize(
    ("make", "host", "is_trusted", "says"),
    [
        pytest.param(unknown, "127.0.0.1", False, "self-signed", id="unknown CA"),
        pytest.param(unknown, "localhost", True, "mismatch", id="wrong host"),
        pytest.param(expired, "127.0.0.1", True, "expired", id="expired"),
    ],
)
@pytest.mark.parametrize("is_turned_off", [False, True], ids=["plainly", "with variables"])
async def test_a_certificate_that_is_not_good_stops_the_run_before_a_byte_is_sent(
    make: Callable[[Path], Path],
    host: str,
    is_trusted: bool,  # noqa: FBT001 - a column of the table
    says: str,
    is_turned_off: bool,  # noqa: FBT001 - the same
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tried: Tried,
) -> None:
    for name, value in TURNED_OFF.items() if is_turned_off else ():
        monkeypatch.setenv(name, value)
    pem = make(tmp_path)
    job = write_job(tmp_path / "job.jsonl", ["cat", "dog"])
    with FaultServer(draws, tls=tls_with(pem)) as server:
        url = f"https://{host}:{server.port}"
        ran = await run_job(job, url, ca_file=pem if is_trusted else None)
    assert (server.n_requests, server.n_connections) == (0, 1)  # tried once, and never again
    assert ran.told == [("connection", "stop", "no")]
    assert ran.attempts[0]["error"]["kind"] == "TlsFailed"
    assert says in ran.attempts[0]["error"]["message"]
    assert (ran.exit_code, ran.summary.items.pending) == (7, 2)
    tried("P19", 1, "certificates")


async def test_plain_http_on_the_port_of_https_stops_the_run(tmp_path: Path, tried: Tried) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"])
    with HastyServer(refuses(400)) as server:
        ran = await run_job(job, server.url.replace("http:", "https:"))
    assert (server.n_requests, server.n_connections, ran.exit_code) == (0, 1, 7)
    assert ran.told == [("connection", "stop", "no")]
    tried("P19", 1, "certificates")


def test_every_context_asks_for_a_certificate_and_for_its_host() -> None:
    contexts = [tls_context(None)]
    if (bundle := ssl.get_default_verify_paths().cafile) is not None:
        contexts.append(tls_context(bundle))
    for context in contexts:
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_no_flag_and_no_option_turns_it_off() -> None:
    flags = {
        name for command in cli.commands.values() for one in command.params for name in one.opts
    }
    words = ("insecure", "verify", "tls", "ssl", "unsafe", "trust")
    named = {*flags, *RunOptions.__annotations__}
    assert not [name for name in named for word in words if word in name.lower()]
    shown = batchgen("run", "--help").out.lower()
    assert not [word for word in words if f"-{word}" in shown or f"{word}-" in shown]


@pytest.mark.parametrize("name", ["verify", "insecure", "verify_tls", "ssl"])
async def test_no_job_turns_it_off(name: str, tmp_path: Path) -> None:
    provider = {"base_url": "https://api.invalid", name: False}
    job = write_job(tmp_path / "job.jsonl", ["cat"], provider=provider)
    with pytest.raises(JobError, match=f"{name}: unknown field"):
        await run_job(job, "")
