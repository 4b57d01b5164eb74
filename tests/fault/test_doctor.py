"""What `doctor` finds, over real sockets, disks and locks; the server's counts are the oracle."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from batchgen.clock import stamp
from batchgen.doctor import Diagnosis, Finding, examine
from batchgen.doctor.service import PATH
from batchgen.store.lock import OutputLock
from batchgen.timeouts import Timeouts
from tests import servers
from tests.canary import Canary
from tests.commands import environment
from tests.disks import needs_small_disks, small_disk
from tests.fault.test_network import certificate, needs_openssl, tls_with
from tests.runs import KEY, MODEL, QuickTime, write_job
from tests.servers import (
    BROKEN,
    RESET,
    Answer,
    Asked,
    FaultServer,
    HastyServer,
    closed_port,
    http,
    refuses,
    sends,
    stalls,
    whole,
)

WEB = "text/html"
LISTED = {"models": [{"name": f"models/{MODEL}"}, {"name": "models/gemini-nano-banana-2.1"}]}
PAGE = b"<!doctype html><title>Welcome</title>"
INVALID = {
    "error": {
        "code": 400,
        "message": "API key not valid. Please pass a valid API key.",
        "status": "INVALID_ARGUMENT",
        "details": [{"reason": "API_KEY_INVALID"}],
    }
}


def lists(asked: Asked) -> Answer:
    """The script of a service that is well."""
    return whole(LISTED) if asked.method == "GET" else servers.draws(asked)


def answers(answer: Answer) -> FaultServer:
    """A service that says this to whoever asks which models there are."""
    return FaultServer(lambda asked: answer if asked.method == "GET" else servers.draws(asked))


def n_paid(server: FaultServer) -> int:
    return sum("generateContent" in asked.target for asked in server.log)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Doctor looks at ./output unless told; whatever it does, nothing is left behind."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    yield
    assert list(home.iterdir()) == []
    assert not list(tmp_path.rglob("*batchgen-*"))


async def seen(server: FaultServer | str | None = None, **options: Any) -> Diagnosis:
    if server is not None:
        options["base_url"] = server if isinstance(server, str) else server.url
    options.setdefault("model", None if "job" in options else MODEL)
    found = await examine(**options)
    if isinstance(server, FaultServer) and not options.get("spend"):
        assert n_paid(server) == 0
    for one in found.findings:
        assert KEY not in f"{one}"
        assert bool(one.remedy) is (one.status in {"warning", "problem"})
        assert bool(one.exit_code) is (one.status == "problem")
    return found


def of(found: Diagnosis, check: str) -> list[Finding]:
    return [one for one in found.findings if one.check == check]


def status(found: Diagnosis, check: str) -> str:
    return "+".join(sorted({one.status for one in of(found, check)}))


def told(found: Diagnosis, check: str) -> str:
    return "\n".join(f"{one.message} → {one.remedy}" for one in of(found, check))


async def test_where_all_is_well_one_request_is_sent_which_costs_nothing() -> None:
    with FaultServer(lists) as server:
        found = await seen(server)
    assert {one.status for one in found.findings} == {"ok"}
    assert (found.exit_code, found.is_ok) == (0, True)
    [asked] = server.log
    assert (asked.method, asked.target, asked.body) == ("GET", PATH, b"")
    assert asked.headers["x-goog-api-key"] == KEY


@pytest.mark.parametrize(
    ("key", "words"),
    [("", "COMETAPI_KEY"), ("sk-with a-space", "no key has"), ("short", "fewer than 8")],
)
async def test_a_missing_or_odd_key_is_a_problem_and_nobody_is_asked(
    key: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMETAPI_KEY", key)
    with FaultServer(lists) as server:
        found = await seen(server)
    assert words in told(found, "key")
    assert "--api-key-file" in told(found, "key")
    assert (found.exit_code, server.n_connections) == (2, 0)
    assert [status(found, check) for check in ("address", "access", "disk")] == [
        "skipped",
        "skipped",
        "ok",
    ]


async def test_an_address_that_no_key_may_go_to_is_wrong_usage() -> None:
    found = await seen("http://api.invalid")
    assert (found.exit_code, status(found, "address")) == (2, "problem+skipped")


UNAVAILABLE = {"error": {"code": 503, "status": "UNAVAILABLE"}}
CUT = sends(http(200, b"{", length=900), end=servers.End.BROKEN)
# What the service answers, what that means for the address and for the key, and the exit code.
MEANINGS: dict[str, tuple[Answer, str, str, int]] = {
    "a refusal, cut short": (
        sends(http(401, b"{", length=900), end=servers.End.BROKEN),
        "ok",
        "problem",
        7,
    ),
    "a page": (sends(http(200, PAGE, content_type=WEB)), "problem", "skipped", 7),
    "404 with a page": (sends(http(404, PAGE, content_type=WEB)), "problem", "skipped", 7),
    "a list": (whole(["no", "object"]), "problem", "skipped", 7),
    "text": (sends(http(200, b"hello")), "problem", "skipped", 7),
    "no HTTP": (sends(b"SSH-2.0-OpenSSH_9.6\r\n"), "problem", "skipped", 7),
    "cut": (CUT, "problem", "skipped", 7),
    "401": (refuses(401, {"error": {"code": 401}}), "ok", "problem", 7),
    "403": (refuses(403, {"error": {"code": 403}}), "ok", "problem", 7),
    "400 of the key": (refuses(400, INVALID), "ok", "problem", 7),
    "200 of the key": (whole(INVALID), "ok", "problem", 7),
    "402": (refuses(402, {"error": {"code": 402}}), "ok", "problem", 7),
    "404": (refuses(404, {"error": {"code": 404}}), "ok", "warning", 0),
    "404 without a body": (refuses(404), "warning", "warning", 0),
    "404 of another": (refuses(404, {"detail": "Not Found"}), "warning", "warning", 0),
    "400 of another": (refuses(400, {"detail": "what?"}), "warning", "warning", 0),
    "no list": (whole({"hello": 1}), "warning", "warning", 0),
    "no list of models": (whole({"models": "many"}), "warning", "warning", 0),
    "a list of something": (whole({"models": [1, {"size": 2}]}), "warning", "warning", 0),
    "an empty list": (whole({"data": []}), "warning", "warning", 0),
    "429": (refuses(429, {"error": {"code": 429}}), "ok", "warning", 0),
    "503": (refuses(503, UNAVAILABLE), "problem", "skipped", 5),
    "502": (sends(http(502, PAGE, content_type=WEB)), "problem", "skipped", 5),
    "hung up": (BROKEN, "problem", "skipped", 5),
    "reset": (RESET, "problem", "skipped", 5),
    "as OpenAI lists": (whole({"data": [{"id": MODEL}]}), "ok", "ok", 0),
}


@pytest.mark.parametrize(("answer", "address", "access", "code"), MEANINGS.values(), ids=MEANINGS)
async def test_what_an_answer_means_for_address_and_key(
    answer: Answer, address: str, access: str, code: int
) -> None:
    with answers(answer) as server:
        found = await seen(server)
    assert (status(found, "address"), status(found, "access")) == (address, access), told(
        found, "address"
    )
    assert (found.exit_code, found.is_ok) == (code, code == 0)
    # What cost nothing may be asked again where a connection was lost.
    assert server.n_requests in ({1, 2} if answer in {BROKEN, RESET} else {1})
    assert status(found, "disk") == status(found, "files") == "ok"  # all else is looked at


@pytest.mark.parametrize("code", [301, 302, 307, 308])
async def test_a_redirect_is_a_wrong_address_and_takes_the_key_nowhere(code: int) -> None:
    with FaultServer(lists) as other:
        with answers(sends(http(code, b"", {"Location": f"{other.url}/?key={KEY}"}))) as server:
            found = await seen(server)
        assert (other.n_connections, server.n_requests) == (0, 1)
    assert (status(found, "address"), found.exit_code) == ("problem", 7)
    assert "redirect" in told(found, "address")
    assert "base URL" in told(found, "address")


async def test_a_port_that_refuses_is_unreachable() -> None:
    with closed_port() as port:
        found = await seen(f"http://127.0.0.1:{port.getsockname()[1]}")
    assert (status(found, "address"), status(found, "access")) == ("problem", "skipped")
    assert found.exit_code == 5


async def test_a_name_that_does_not_exist_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # no test asks a name server
    found = await seen("https://api.invalid")
    assert (status(found, "address"), found.exit_code) == ("problem", 5)
    assert "DNS" in told(found, "address")


async def test_a_service_that_never_answers_is_given_up_in_time() -> None:
    with answers(stalls()) as server:
        found = await seen(server, timeouts=Timeouts(connect=15, attempt=0.2, idle=30))
    assert (status(found, "address"), found.exit_code) == ("problem", 5)


async def test_an_answer_that_never_ends_is_given_up_in_time() -> None:
    with answers(stalls(http(200, b'{"models": [', length=900))) as server:
        found = await seen(server, timeouts=Timeouts(connect=15, attempt=30, idle=0.2))
    assert (status(found, "address"), found.exit_code) == ("problem", 5)


@needs_openssl
@pytest.mark.parametrize("is_trusted", [False, True])
async def test_a_certificate_is_verified(is_trusted: bool, tmp_path: Path) -> None:  # noqa: FBT001
    pem = certificate(tmp_path, "self-signed")
    with FaultServer(lists, tls=tls_with(pem)) as server:
        found = await seen(server, ca_file=pem if is_trusted else None)
    assert found.exit_code == (0 if is_trusted else 7)
    assert server.n_requests == is_trusted
    if not is_trusted:
        assert "TLS" in told(found, "address")
        assert "--ca-file" in told(found, "address")


async def test_plain_http_on_the_port_of_https_is_told_as_tls() -> None:
    with HastyServer(refuses(400)) as server:
        found = await seen(server.url.replace("http:", "https:"))
    assert (found.exit_code, server.n_requests) == (7, 0)


async def test_certificates_that_cannot_be_read_are_wrong_usage() -> None:
    with FaultServer(lists) as server:
        found = await seen(server, ca_file="/nowhere.pem")
    assert (found.exit_code, server.n_connections) == (2, 0)
    assert "--ca-file" in told(found, "address")


async def test_a_proxy_that_refuses_is_told(tmp_path: Path) -> None:
    provider = {"base_url": "https://api.invalid", "api_key_env": "COMETAPI_KEY"}
    job = write_job(tmp_path / "job.jsonl", ["cat"], provider=provider)
    with FaultServer(lambda _: refuses(403)) as proxy:
        found = await examine(job, proxy=f"http://me:geheim-geheim@127.0.0.1:{proxy.port}")
    assert (proxy.n_requests, found.exit_code) == (1, 7)
    assert "proxy" in told(found, "address")
    assert "geheim" not in repr(found)


async def test_what_lists_no_models_is_told_to_be_any_json() -> None:
    with answers(whole({"hello": 1})) as server:
        found = await seen(server)
    assert "answers JSON, but lists no models: HTTP 200" in told(found, "address")


@pytest.mark.parametrize("host", ["127.0.0.1", "proxy.invalid"])
async def test_a_proxy_of_the_environment_is_named_where_it_cannot_be_reached(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    if host != "127.0.0.1":
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with closed_port() as bound:
        proxy = f"{host}:{bound.getsockname()[1]}"
        monkeypatch.setenv("https_proxy", f"http://somebody:geheim-geheim@{proxy}")
        monkeypatch.setenv("no_proxy", "")
        found = await seen("https://api.invalid")
    words = f"the proxy {proxy}, of https_proxy in the environment"
    assert status(found, "proxy") == "ok"
    assert f"api.invalid is asked by {words}" in told(found, "proxy")
    assert (status(found, "address"), found.exit_code) == ("problem", 5)
    assert words in told(found, "address")
    assert "look after the proxy" in told(found, "address")
    assert "or set a proxy" not in told(found, "address")
    assert "somebody" not in repr(found)
    assert "geheim" not in repr(found)


# --- the model ----------------------------------------------------------------------------------


async def test_an_unknown_model_is_told_with_what_it_may_be_meant_for() -> None:
    with FaultServer(lists) as server:
        found = await seen(server, model="gemini-3-pro-imgae")
    assert status(found, "model") == "warning"
    assert f"did you mean '{MODEL}'" in told(found, "model")
    assert "not in the list" in told(found, "model")
    assert "no price" in told(found, "model")
    assert found.exit_code == 0


@pytest.mark.parametrize("more", [{"nextPageToken": "x"}, {}])
async def test_a_list_that_goes_on_does_not_tell_what_it_lacks(more: dict[str, str]) -> None:
    with answers(whole({"models": [{"name": "models/other"}], **more})) as server:
        found = await seen(server)
    assert ("not in the list" in told(found, "model")) is not bool(more)


async def test_a_model_past_its_end_is_told_with_its_successor() -> None:
    with answers(whole({"models": [{"name": "models/gemini-3.1-flash-image"}]})) as server:
        found = await seen(server, model="gemini-3.1-flash-image")
    assert status(found, "model") == "warning"
    assert "its successor is gemini-nano-banana-2.1 → set the model to it" in told(found, "model")


async def test_without_a_model_and_a_job_none_is_looked_at() -> None:
    with FaultServer(lists) as server:
        found = await seen(server, model=None)
    assert status(found, "model") == "skipped"


async def test_old_prices_are_told_by_the_clock() -> None:
    later = QuickTime(datetime(2027, 6, 1, tzinfo=UTC)).clock()
    with answers(whole(LISTED, Date=format_datetime(later.now(), usegmt=True))) as server:
        found = await seen(server, clock=later)
    assert status(found, "prices") == "warning"
    assert MODEL in told(found, "prices")


async def test_a_price_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    with FaultServer(lists) as server:
        found = await seen(server, prices=tmp_path / "nowhere.yaml")
    assert (found.exit_code, status(found, "prices")) == (2, "problem")
    assert status(found, "address") == "ok"


# --- the machine --------------------------------------------------------------------------------


@pytest.mark.parametrize("off_s", [-309.0, -291.0, 291.0, 309.0])
async def test_a_clock_that_is_more_than_five_minutes_off_is_told(off_s: float) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=off_s), usegmt=True)
    with answers(whole(LISTED, Date=date)) as server:
        found = await seen(server)
    is_off = abs(off_s) > 300
    assert status(found, "clock") == ("warning" if is_off else "ok")
    if is_off:
        assert ("behind" if off_s > 0 else "ahead") in told(found, "clock")
    assert "UTC" in told(found, "clock")  # the time zone


@pytest.mark.parametrize(
    ("off_s", "words"),
    [(-91_800_000, "1,062 days ahead of"), (172_830, "2 days behind"), (93_600, "h00m behind")],
)
async def test_a_clock_that_is_days_off_is_told_in_days(off_s: float, words: str) -> None:
    at = QuickTime(datetime(2026, 11, 28, 12, tzinfo=UTC)).clock()
    date = format_datetime(at.now() + timedelta(seconds=off_s), usegmt=True)
    with answers(whole(LISTED, Date=date)) as server:
        found = await seen(server, clock=at)
    assert f"{words} that of the service" in told(found, "clock")


@pytest.mark.parametrize("date", ["yesterday", "", "Sat, 99 Nov 2026 99:00:00 GMT"])
async def test_a_date_that_is_none_is_no_clock_to_compare_with(date: str) -> None:
    with answers(whole(LISTED, Date=date)) as server:
        found = await seen(server)
    assert "no other one" in told(found, "clock")


@pytest.mark.parametrize(
    ("concurrency", "expected", "code"),
    [(10, "ok", 0), ("auto", "warning", 0), ("4-64", "warning", 0), (64, "problem", 2)],
)
def test_a_low_limit_of_open_files_is_held_against_the_concurrency(
    concurrency: int | str, expected: str, code: int, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat"], limits={"concurrency": concurrency})
    with FaultServer(lists) as server:
        # In a process of its own: in this one nobody knows how many files are open.
        done = subprocess.run(
            [
                "/bin/sh",
                "-c",
                'ulimit -n 128; exec "$@"',
                "sh",
                sys.executable,
                "-m",
                "batchgen",
                "doctor",
                str(job),
                "--json",
                "--base-url",
                server.url,
            ],
            env=environment(COMETAPI_KEY=KEY),
            capture_output=True,
            check=False,
        )
    [files] = [one for one in json.loads(done.stdout)["findings"] if one["check"] == "files"]
    assert (files["status"], done.returncode) == (expected, code)
    assert ("ulimit -n" in f"{files}") is (expected != "ok")


# --- the disk -----------------------------------------------------------------------------------


@needs_small_disks
async def test_a_disk_that_can_only_be_read_is_a_problem(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 << 20) as disk, FaultServer(lists) as server:
        disk.make_read_only()
        found = await seen(server, output=disk.path / "output")
    assert (status(found, "disk"), found.exit_code) == ("problem", 12)
    assert "Read-only" in told(found, "disk")
    assert "-o" in told(found, "disk")


@needs_small_disks
async def test_a_full_disk_is_a_problem_and_stays_as_it_was(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64 << 20) as disk, FaultServer(lists) as server:
        disk.fill()
        found = await seen(server, output=disk.path)
        assert [path.name for path in disk.path.iterdir()] == ["ballast"]
    assert (status(found, "disk"), status(found, "room")) == ("problem", "problem")
    assert found.exit_code == 12


@needs_small_disks
async def test_a_disk_that_will_not_hold_the_night_is_a_warning(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", [f"item-{n}" for n in range(40)])
    with small_disk(tmp_path / "disk", 64 << 20) as disk, FaultServer(lists) as server:
        found = await seen(server, job=job, output=disk.path)
        assert list(disk.path.iterdir()) == []
    assert (status(found, "disk"), status(found, "room")) == ("ok", "warning")
    assert "40 pictures should take 80.0 MB" in told(found, "room")
    assert found.exit_code == 0


async def test_an_output_below_a_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with FaultServer(lists) as server:
        found = await seen(server, output=tmp_path / "file")
    assert (status(found, "disk"), found.exit_code) == ("problem", 12)


async def test_a_link_that_leads_nowhere_in_the_place_of_the_output_is_a_problem(
    tmp_path: Path, job: Path
) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "output").mkdir()
    (tmp_path / "output/job").symlink_to("nowhere")
    for output in ("link", "link/below", "output"):
        with FaultServer(lists) as server:
            found = await seen(server, job=job, output=tmp_path / output)
        assert (status(found, "disk"), found.exit_code) == ("problem", 12)
        assert "is a link that leads nowhere" in told(found, "disk")


async def test_an_output_whose_parent_is_a_file_is_a_problem(tmp_path: Path, job: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with FaultServer(lists) as server:
        found = await seen(server, output=tmp_path / "file/below", job=job)
    assert (status(found, "disk"), found.exit_code) == ("problem", 12)
    assert f"{tmp_path}/file is no directory" in told(found, "disk")
    assert "install the batchgen" not in told(found, "ledger")


@pytest.mark.parametrize(("is_link", "words"), [(True, "is a link"), (False, "is no directory")])
async def test_what_is_in_the_way_of_a_directory_of_the_run_is_a_problem(
    is_link: bool,  # noqa: FBT001
    words: str,
    tmp_path: Path,
    job: Path,
) -> None:
    place = tmp_path / "output/job/images"
    place.parent.mkdir(parents=True)
    if is_link:
        place.symlink_to(tmp_path)
    else:
        place.write_text("no directory")
    with FaultServer(lists) as server:
        found = await seen(server, job=job, output=tmp_path / "output")
    assert (status(found, "directory"), found.exit_code) == ("problem", 12)
    assert f"{place} {words}" in told(found, "directory")


async def test_a_file_system_that_grants_a_lock_twice_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fcntl.flock", lambda *_: None)  # as some network disks do
    with FaultServer(lists) as server:
        found = await seen(server)
    assert (status(found, "disk"), found.exit_code) == ("problem", 12)
    assert "lock" in told(found, "disk")


async def test_a_held_lock_is_told_with_its_holder_and_stops_nothing(
    tmp_path: Path, job: Path
) -> None:
    directory = tmp_path / "output/job"
    directory.mkdir(parents=True)
    at = datetime.now(UTC)
    with (
        OutputLock(directory / ".lock", run_id="20261128T030000Z-12345678", at=at),
        FaultServer(lists) as server,
    ):
        found = await seen(server, job=job, output=tmp_path / "output")
    assert (status(found, "lock"), found.exit_code) == ("warning", 0)
    assert "20261128T030000Z-12345678" in told(found, "lock")
    assert stamp(at) in told(found, "lock")
    assert of(found, "leftovers") == []  # what lies there is that run's
    with FaultServer(lists) as server:
        found = await seen(server, job=job, output=tmp_path / "output")
    assert (status(found, "lock"), status(found, "leftovers")) == ("ok", "ok")


async def test_what_a_killed_run_left_is_told(tmp_path: Path, job: Path) -> None:
    directory = tmp_path / "output/job"
    for folder in (".parts", "ledger"):
        (directory / folder).mkdir(parents=True)
    (directory / ".parts/x.part").write_bytes(b"half")
    (directory / "ledger/20261128T030000Z-12345678.torn").write_bytes(b"{")
    with FaultServer(lists) as server:
        found = await seen(server, job=job, output=tmp_path / "output")
    assert [one.status for one in of(found, "leftovers")] == ["warning", "warning"]
    assert "1 file in" in told(found, "leftovers")
    assert ".torn" in told(found, "leftovers")


async def test_a_ledger_of_a_newer_batchgen_is_a_problem(tmp_path: Path, job: Path) -> None:
    ledger = tmp_path / "output/job/ledger"
    ledger.mkdir(parents=True)
    (ledger / "20261128T030000Z-12345678.jsonl").write_text('{"v": 99, "event": "run"}\n')
    with FaultServer(lists) as server:
        found = await seen(server, job=job, output=tmp_path / "output")
    assert (status(found, "ledger"), found.exit_code) == ("problem", 12)
    assert status(found, "model") == "ok"


# --- the job ------------------------------------------------------------------------------------


async def test_errors_of_a_job_are_told_and_the_rest_is_looked_at(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat", {"id": "dog"}, {"id": "owl", "promt": "x"}])
    with FaultServer(lists) as server:
        found = await seen(server, job=job)
    assert (status(found, "job"), found.exit_code) == ("problem", 3)
    assert f"{job}:3:1" in told(found, "job")
    assert "more)" in told(found, "job")
    assert "batchgen validate" in told(found, "job")
    assert [status(found, check) for check in ("address", "access", "model", "disk", "lock")] == [
        *("ok", "ok", "skipped", "ok", "ok")
    ]
    assert "not known while the job has errors" in told(found, "model")
    assert "give --model" not in told(found, "model")


# What the job allows without a yes, the model, what the caller says, and what is told.
DOUBTS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "too dear": ("0.10", MODEL, {}, "should cost about $0.28, and budget.confirm_above_usd is"),
    "without a price": ("99", "my-model", {}, "nobody knows what this run costs"),
    "cheap": ("0.50", MODEL, {}, ""),
    "a part of it": ("0.15", MODEL, {"limit": 1}, ""),
    "agreed to": ("0.10", MODEL, {"yes": True}, ""),
}


@pytest.mark.parametrize(("most_usd", "model", "options", "words"), DOUBTS.values(), ids=DOUBTS)
async def test_a_run_that_nobody_would_confirm_is_a_warning(
    most_usd: str, model: str, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    budget = {"confirm_above_usd": most_usd}
    job = write_job(tmp_path / "job.jsonl", ["cat", "dog"], model=model, budget=budget)
    with FaultServer(lists) as server:
        found = await seen(server, job=job, **options)
    assert status(found, "budget") == ("warning" if words else "")
    assert words in told(found, "budget")
    assert ("give --yes where the run is scheduled" in told(found, "budget")) is bool(words)
    assert found.exit_code == 0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("items: [", id="no YAML"),
        pytest.param("provider: {base_url: 'ftp://nowhere'}\nitems: []", id="an odd provider"),
        pytest.param(None, id="no file"),
    ],
)
async def test_with_a_job_whose_head_cannot_be_read_the_key_goes_nowhere(
    text: str | None, tmp_path: Path
) -> None:
    job = tmp_path / "job.yaml"
    if text is not None:
        job.write_text(text)
    with FaultServer(lists) as server:
        found = await seen(server, job=job)
        assert server.n_connections == 0
        assert (status(found, "job"), status(found, "key"), found.exit_code) == (
            *("problem", "skipped"),
            3,
        )
        assert status(found, "disk") == "ok"
        found = await seen(server, job=job, provider="cometapi")
    assert (status(found, "address"), found.exit_code, server.n_requests) == ("ok", 3, 1)


async def test_what_may_be_wrong_with_a_job_is_a_warning(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["cat", {"id": "twin", "prompt": "cat"}])
    with FaultServer(lists) as server:
        found = await seen(server, job=job)
    assert (status(found, "job"), found.exit_code) == ("warning", 0)
    assert "twin" in told(found, "job")


async def test_the_worst_finding_is_the_exit_code(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", [{"id": "dog"}])
    (tmp_path / "file").write_text("")
    with answers(refuses(401)) as server:
        assert (await seen(server)).exit_code == 7
        assert (await seen(server, output=tmp_path / "file")).exit_code == 12
        assert (await seen(server, output=tmp_path / "file", job=job)).exit_code == 3
        odd = {"output": tmp_path / "file", "job": job, "ca_file": "/nowhere.pem"}
        assert (await seen(server, **odd)).exit_code == 2


async def test_the_emulator_of_a_run_needs_no_key_and_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COMETAPI_KEY")
    found = await seen(None, provider="emulator", spend=True)
    assert (status(found, "key"), status(found, "address")) == ("ok", "ok")
    assert (status(found, "spend"), found.exit_code) == ("skipped", 0)


# --- one paid request, and only if it is asked for ----------------------------------------------


async def test_only_spend_asks_for_a_picture_and_it_is_a_small_one() -> None:
    with FaultServer(lists) as server:
        await seen(server, model="gemini-nano-banana-2.1")
        assert n_paid(server) == 0
        found = await seen(server, model="gemini-nano-banana-2.1", spend=True)
    assert (n_paid(server), server.n_requests) == (1, 3)
    paid = server.log[-1]
    config = json.loads(paid.body)["generationConfig"]
    assert paid.target == "/v1beta/models/gemini-nano-banana-2.1:generateContent"
    assert config["imageConfig"] == {"imageSize": "1K"}
    assert config["thinkingConfig"] == {"thinkingLevel": "MINIMAL"}
    assert status(found, "spend") == "ok"
    # 20 x 1.50 + 310 x 7.50 + 1120 x 30 micro-dollars
    assert "drew 64 x 64 pixels: 1,450 tokens, $0.0360" in told(found, "spend")
    assert "in no ledger" in told(found, "spend")


async def test_of_several_models_the_one_that_most_items_are_for_is_asked(tmp_path: Path) -> None:
    other = "gemini-nano-banana-2.1"
    items: list[str | dict[str, Any]] = [
        "cat",
        *({"id": f"n{n}", "prompt": f"n{n}", "model": other} for n in range(2)),
    ]
    job = write_job(tmp_path / "job.jsonl", items)
    with FaultServer(lists) as server:
        await seen(server, job=job, spend=True)
    assert [asked.target for asked in server.log if asked.method == "POST"] == [
        f"/v1beta/models/{other}:generateContent"
    ]


@pytest.mark.parametrize("answer", [refuses(401), sends(http(200, PAGE)), BROKEN])
async def test_nobody_is_paid_who_refused_the_key_or_is_not_the_service(answer: Answer) -> None:
    with answers(answer) as server:
        found = await seen(server, spend=True)
    assert (n_paid(server), status(found, "spend")) == (0, "skipped")


async def test_a_gateway_that_lists_no_models_is_proven_by_the_paid_request() -> None:
    with answers(refuses(404, {"error": {"code": 404}})) as server:
        found = await seen(server, spend=True)
    assert (n_paid(server), status(found, "spend"), found.exit_code) == (1, "ok", 0)


GREY = "A plain grey square"


CUT_REFUSAL = sends(http(402, b"{", length=900), end=servers.End.BROKEN)
HALF = servers.image_part(b"\x89PNG\r\n\x1a\n half")
UNCOUNTED = servers.document(servers.image_part(servers.png("x")), usage=None)
UNKNOWN = "an unknown number of tokens, unknown"
# What the service answers, what that is, the exit code, and what is told of the bill.
PAID: dict[str, tuple[Answer, str, int, str]] = {
    "gone": (refuses(404, {"error": {"code": 404}}), "problem", 7, "not billed"),
    "no credit": (refuses(402), "problem", 7, "not billed"),
    "no credit, cut short": (CUT_REFUSAL, "problem", 7, "not billed"),
    "busy": (refuses(503, UNAVAILABLE), "problem", 5, "not billed"),
    "lost": (BROKEN, "problem", 5, "may be billed"),
    "away": (sends(http(301, b"", {"Location": "/"})), "problem", 7, "not billed"),
    "words": (whole(servers.document({"text": "no"})), "warning", 0, "billed all the same"),
    "half a picture": (whole(servers.document(HALF)), "warning", 0, "not whole"),
    "no usage": (whole(UNCOUNTED), "ok", 0, UNKNOWN),
}


@pytest.mark.parametrize(("answer", "expected", "code", "words"), PAID.values(), ids=PAID)
async def test_what_came_of_the_paid_request_is_told(
    answer: Answer, expected: str, code: int, words: str
) -> None:
    with FaultServer(lambda asked: answer if asked.prompt == GREY else whole(LISTED)) as server:
        found = await seen(server, spend=True)
    assert (n_paid(server), status(found, "spend"), found.exit_code) == (1, expected, code)
    assert words in told(found, "spend")


# --- the key ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["as it is", "in a URL", "in base64 after 1"])
@pytest.mark.parametrize("code", [200, 301, 404])
async def test_a_key_that_the_service_quotes_is_shown_nowhere(
    code: int, spelling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = Canary()
    monkeypatch.setenv("COMETAPI_KEY", canary.key)
    quoted = canary.spellings()[spelling]
    # A message is shortened to 300 characters, which cuts what stands there in two.
    far = "no " * 94
    body = f'{{"error": {{"code": {code}, "message": "{far}{quoted}"}}}}'.encode()
    location = {"Location": f"/?key={canary.key}"} if code == 301 else None
    with FaultServer(lambda _: sends(http(code, body, location))) as server:
        found = await examine(base_url=server.url, model=MODEL, spend=True)
    assert server.n_requests >= 1
    assert not canary.found_in(repr(found.findings))


async def test_a_key_that_was_given_in_place_of_something_else_is_shown_nowhere() -> None:
    with FaultServer(lists) as server:
        found = await seen(server, ca_file=f"/nowhere/{KEY}.pem")
        assert "CA file /nowhere/[key].pem" in told(found, "address")
        await seen(server, prices=f"/nowhere/{KEY}.yaml")


@pytest.mark.parametrize(
    ("env", "expected", "says"),
    [
        ({"HOOK": "http://127.0.0.1:1/CANARY8f3a2b1c"}, "ok", "127.0.0.1 is told on failure, in"),
        ({}, "warning", "HOOK, of notify.url_env, is not set"),
        ({"HOOK": "hook.invalid/CANARY8f3a2b1c"}, "warning", "HOOK: expected the https address"),
    ],
)
async def test_whether_anybody_can_be_told_is_looked_at_and_nobody_is(
    env: dict[str, str], expected: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOOK", raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    notify = {"url_env": "HOOK", "on": "failure"}
    job = write_job(tmp_path / "job.jsonl", ["a"], provider="emulator", notify=notify)
    found = await seen(job=job, output=tmp_path / "out")
    assert (status(found, "notify"), found.exit_code) == (expected, 0)
    assert says in told(found, "notify")
    assert "CANARY" not in f"{found}"
