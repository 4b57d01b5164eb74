"""A job whose output belongs into an object store: `-o s3://…`, and who reads from there."""

import json
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchgen import Runner
from batchgen.clock import Clock
from tests import crashes, ledgers, servers
from tests.commands import Done, EmulatorProcess, batchgen, started, until
from tests.objects import (
    SECRET,
    Between,
    Fault,
    ObjectStore,
    OneBucket,
    Request,
    environment_of,
    mirror_on,
    nothing,
)
from tests.objects import object_store as running_store
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, FaultServer

JOB = """\
name: shop
defaults: {model: gemini-3.1-flash-image, image_size: "512"}
items:
  - {id: hero, prompt: a hero}
  - {id: wide, prompt: the same wide, references: ["item:hero"]}
  - {id: twin-1, prompt: the same}
  - {id: twin-2, prompt: the same}
  - id: talk
    turns: [{prompt: draw a cup}, {prompt: now blue}, {prompt: now with a lid}]
  - id: "thing-{n}"
    matrix: {n: [1, 2, 3, 4, 5, 6]}
    prompt: "thing {n}"
"""
N_ITEMS = 11
N_REQUESTS = 12


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    with running_store() as store:
        yield store


@pytest.fixture
def bucket(store: ObjectStore) -> OneBucket:
    return store.bucket()


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "shop.yaml"
    path.write_text(JOB, "utf-8")
    return path


def came_to(directory: Path) -> dict[str, tuple[str, str, list[str]]]:
    return {
        one["id"]: (one["status"], one["outcome"], [image["sha256"] for image in one["images"]])
        for one in ledgers.lines(directory / "results.jsonl")
    }


def run(
    job: Path, bucket: OneBucket, machine: Path, *flags: str, url: str = "", **env: str
) -> Done:
    to = ("-o", f"{bucket.address}/pre/fix", "--progress", "none", "--json")
    more = environment_of(machine, url or bucket.store.url)
    return batchgen("run", job, *to, *flags, **more, **env)


def test_a_run_into_a_store_makes_what_a_run_into_a_directory_makes(
    emulated: EmulatorProcess, job: Path, bucket: OneBucket, tmp_path: Path
) -> None:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    here = batchgen("run", job, "-o", tmp_path / "output", *to)
    assert (here.code, emulated.n_requests) == (0, N_REQUESTS), here.err
    done = run(job, bucket, tmp_path / "one", *to)
    assert (done.code, emulated.n_requests) == (0, 2 * N_REQUESTS), done.err
    assert done.last_line.endswith(f"→ {bucket.address}/pre/fix/shop")
    there = bucket.download("pre/fix/shop", tmp_path / "there")
    assert came_to(there) == came_to(tmp_path / "output/shop")
    (there / ".parts").mkdir()
    ledgers.check_directory(there)
    assert not list((there / "ledger").glob("*.jsonl.*")), "slices are left"
    assert not (there / ".lock").exists()
    again = run(job, bucket, tmp_path / "one", *to)
    assert (again.code, again.json["items"]["reused"]) == (0, N_ITEMS)
    other = run(job, bucket, tmp_path / "another", *to)
    assert (other.code, other.json["items"]["reused"]) == (0, N_ITEMS), other.err
    assert emulated.n_requests == 2 * N_REQUESTS
    left = [path for path in (tmp_path / "one").rglob("*.png") if path.is_file()]
    assert not left, "pictures stay on the machine"


def test_no_key_is_in_any_object_nor_on_the_machine(
    emulated: EmulatorProcess, job: Path, bucket: OneBucket, tmp_path: Path
) -> None:
    env = {"COMETAPI_KEY": KEY}
    done = run(job, bucket, tmp_path / "one", "--base-url", emulated.url, **env)
    assert done.code == 0, done.err
    found = bucket.objects()
    files = {str(p): p.read_bytes() for p in (tmp_path / "one").rglob("*") if p.is_file()}
    assert len(found) > 2 * N_ITEMS
    for where, data in {**found, **files, "said": (done.out + done.err).encode()}.items():
        assert KEY.encode() not in data, where
        assert SECRET.encode() not in data, where


def test_others_read_from_there(
    emulated: EmulatorProcess, job: Path, bucket: OneBucket, tmp_path: Path
) -> None:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    assert run(job, bucket, tmp_path / "one", *to).code == 0
    place, env = (
        f"{bucket.address}/pre/fix/shop",
        environment_of(tmp_path / "two", bucket.store.url),
    )
    verified = batchgen("verify", place, **env)
    assert (verified.code, verified.last_line) == (
        0,
        f"{N_ITEMS} of {N_ITEMS} pictures as recorded",
    )
    cost = batchgen("cost", place, "--format", "json", **env)
    above = batchgen("cost", bucket.address, "--format", "json", **env)
    assert (cost.code, cost.json) == (0, above.json)
    summary = json.loads(bucket.read("pre/fix/shop/summary.json"))
    assert cost.json["total"]["cost_usd"] == summary["cost_usd"]
    for name in ("report.html", "results.jsonl"):
        bucket.delete(f"pre/fix/shop/{name}")
    report = batchgen("report", place, **env)
    assert (report.code, report.err.splitlines()[-1]) == (0, f"report    {place}/report.html")
    assert b"thumbnails/" in bucket.read("pre/fix/shop/report.html")
    head = bucket.store.client.head_object(Bucket=bucket.name, Key="pre/fix/shop/report.html")
    assert head["ContentType"] == "text/html"
    csv = batchgen("export", place, "--format", "csv", **env)
    lines = batchgen("export", place, "--format", "gemini-batch", **env)
    assert (csv.out.count("\n"), lines.out.count('"inlineData"')) == (1 + N_ITEMS, N_ITEMS)
    history = batchgen("report", place, "--history", **env)
    assert "1 run " in history.out
    plan = batchgen("plan", job, "-o", f"{bucket.address}/pre/fix", "--json", **env)
    assert (plan.code, plan.json["n_to_make"], plan.json["left_alone"]["done"]["count"]) == (
        *(0, 0),
        N_ITEMS,
    )


def test_what_is_missing_or_changed_there_is_found_and_made_again(
    emulated: EmulatorProcess, job: Path, bucket: OneBucket, tmp_path: Path
) -> None:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    assert run(job, bucket, tmp_path / "one", *to).code == 0
    place, env = (
        f"{bucket.address}/pre/fix/shop",
        environment_of(tmp_path / "two", bucket.store.url),
    )
    bucket.delete("pre/fix/shop/images/thing-1.png")
    whole = bucket.read("pre/fix/shop/images/thing-2.png")
    bucket.put("pre/fix/shop/images/thing-2.png", whole[:-9] + bytes(9))
    found = batchgen("verify", place, "--json", **env)
    assert found.code == 4
    assert {one["item"]: one["problem"] for one in found.json["wrong"]} == {
        "thing-1": "missing",
        "thing-2": "sha256",
    }
    again = run(job, bucket, tmp_path / "another", *to)
    assert (again.code, emulated.n_requests) == (0, N_REQUESTS + 2), again.err
    assert batchgen("verify", place, **env).code == 0


def test_a_conversation_and_what_builds_on_others_go_on_on_another_machine(
    emulated: EmulatorProcess, job: Path, bucket: OneBucket, tmp_path: Path
) -> None:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    text = job.read_text("utf-8")
    job.write_text(text.replace(", {prompt: now with a lid}", "").replace("  - {id: wide", "  #"))
    assert run(job, bucket, tmp_path / "one", *to).code == 0
    n_before = emulated.n_requests
    job.write_text(text)
    done = run(job, bucket, tmp_path / "another", *to)
    assert (done.code, emulated.n_requests) == (0, n_before + 2), done.err
    there = bucket.download("pre/fix/shop", tmp_path / "there")
    (there / ".parts").mkdir()
    ledgers.check_directory(there)


def test_a_renamed_item_keeps_its_picture_there(
    emulated: EmulatorProcess, job: Path, bucket: OneBucket, tmp_path: Path
) -> None:
    to = ("--provider", "emulator", "--base-url", emulated.url)
    assert run(job, bucket, tmp_path / "one", *to).code == 0
    job.write_text(JOB.replace('"thing-{n}"', '"item-{n}"'))
    done = run(job, bucket, tmp_path / "another", *to)
    assert (done.code, emulated.n_requests) == (0, N_REQUESTS), done.err
    pictures = {key.rpartition("/")[2] for key in bucket.names("pre/fix/shop/images")}
    assert {f"item-{n}.png" for n in range(1, 7)} <= pictures
    assert not [name for name in pictures if name.startswith("thing-")]
    there = bucket.download("pre/fix/shop", tmp_path / "there")
    (there / ".parts").mkdir()
    ledgers.check_directory(there)


def test_a_job_its_table_its_prompts_and_its_pictures_may_all_lie_in_a_store(
    emulated: EmulatorProcess, bucket: OneBucket, tmp_path: Path
) -> None:
    bucket.put("jobs/shop.yaml", IN_A_STORE.replace("BUCKET", bucket.name).encode())
    bucket.put("jobs/tables/products.csv", b"sku,title\nA-1,a mug\nB-2,a vase\n")
    bucket.put("jobs/prompts/long.txt", b"Ein Becher auf Holz")
    for name in ("jobs/photos/A-1.png", "jobs/photos/B-2.png", "brand/logo.png"):
        bucket.put(name, servers.png(name))
    env = environment_of(tmp_path / "one", bucket.store.url)
    job = f"{bucket.address}/jobs/shop.yaml"
    valid = batchgen("validate", job, "--json", **env)
    assert (valid.code, valid.json["items"]) == (0, 3), valid.err
    to = ("-o", f"{bucket.address}/out", "--provider", "emulator", "--base-url", emulated.url)
    done = batchgen("run", job, *to, **env)
    assert (done.code, emulated.n_requests) == (0, 3), done.err
    prompts = emulated.by_prompt
    assert set(prompts) == {"Photo of a mug", "Photo of a vase", "Ein Becher auf Holz"}
    told = bucket.download("out/shop", tmp_path / "there")
    items = {one["id"]: one for one in ledgers.lines(told / "items.jsonl")}
    assert [one["url"] for one in items["A-1"]["references"]] == [
        f"{bucket.address}/jobs/photos/A-1.png",
        f"{bucket.address}/brand/logo.png",
    ]
    again = batchgen("run", job, *to, **environment_of(tmp_path / "two", bucket.store.url))
    assert (again.code, emulated.n_requests) == (0, 3), again.err
    bucket.put("jobs/photos/A-1.png", servers.png("another"))
    changed = batchgen("run", job, *to, **env)
    assert (changed.code, emulated.n_requests) == (0, 4), changed.err


IN_A_STORE = """\
name: shop
defaults: {model: gemini-nano-banana-2.1}
references: {logo: "s3://BUCKET/brand/logo.png"}
items:
  - each: tables/products.csv
    id: "{sku}"
    prompt: "Photo of {title}"
    references: ["photos/{sku}.png", "@logo"]
  - id: long
    prompt: {file: prompts/long.txt}
"""


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("tables/products.csv", "none.csv"), "items[1].each: cannot read the table none.csv"),
        (("tables/products.csv", "../../../x.csv"), "leads out of s3://"),
        (("tables/products.csv", "/x.csv"), "/x.csv: no such file or directory"),
        (("prompts/long.txt", "none.txt"), "cannot read the prompt none.txt: there is no such"),
        (("photos/{sku}.png", "/x.png"), "/x.png does not exist"),
        (("brand/logo.png", "brand?x=1"), "has a query or a fragment"),
    ],
    ids=str,
)
def test_what_a_job_in_a_store_names_and_is_not_there_is_told_with_its_place(
    bucket: OneBucket, tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    text = IN_A_STORE.replace("BUCKET", bucket.name).replace(*change)
    bucket.put("jobs/shop.yaml", text.encode())
    bucket.put("jobs/tables/products.csv", b"sku,title\nA-1,a mug\n")
    bucket.put("jobs/prompts/long.txt", b"a mug")
    env = environment_of(tmp_path / "one", bucket.store.url)
    refused = batchgen("validate", f"{bucket.address}/jobs/shop.yaml", **env)
    assert (refused.code, told in refused.err) == (3, True), refused.err
    assert refused.err.startswith(f"{bucket.address}/jobs/shop.yaml:")


def test_a_picture_that_is_not_there_fails_its_item_and_no_other(
    emulated: EmulatorProcess, bucket: OneBucket, tmp_path: Path
) -> None:
    bucket.put("no-picture.png", b"<html>")
    items: list[Any] = [
        {"id": "gone", "prompt": "a", "references": [f"{bucket.address}/gone.png"]},
        {"id": "odd", "prompt": "b", "references": [f"{bucket.address}/no-picture.png"]},
        "fine",
    ]
    job = write_job(tmp_path / "job.jsonl", items)
    env = environment_of(tmp_path / "one", bucket.store.url)
    to = ("-o", tmp_path, "--provider", "emulator", "--base-url", emulated.url)
    done = batchgen("run", job, *to, **env)
    assert (done.code, emulated.n_requests) == (4, 1), done.err
    by_id = ledgers.results(tmp_path / "job")
    assert {one["id"]: one["outcome"] for one in by_id.values()} == {
        **dict.fromkeys(("gone", "odd"), "missing_reference"),
        "fine": "image",
    }
    assert "gone.png is not there" in str(by_id["gone"]["error"])


def test_what_failed_runs_again_from_the_store(
    emulated: EmulatorProcess, bucket: OneBucket, tmp_path: Path
) -> None:
    (tmp_path / "photo.png").write_bytes(servers.png("photo"))
    items: list[Any] = [
        {"id": "hero", "prompt": "a hero"},
        {"id": "late", "prompt": "b", "references": ["item:hero", f"{bucket.address}/late.png"]},
        {"id": "own", "prompt": "c", "references": ["photo.png", f"{bucket.address}/late.png"]},
    ]
    job = write_job(tmp_path / "job.jsonl", items)
    env = environment_of(tmp_path / "one", bucket.store.url)
    to = ("--provider", "emulator", "--base-url", emulated.url)
    assert batchgen("run", job, "-o", f"{bucket.address}/x", *to, **env).code == 4
    bucket.put("late.png", servers.png("late"))
    other = environment_of(tmp_path / "two", bucket.store.url)
    again = batchgen("run", f"{bucket.address}/x/job/failed.jsonl", *to, **other)
    assert (again.code, emulated.n_requests) == (0, 3), again.err
    assert again.last_line.endswith(f"→ {bucket.address}/x/job")


def test_a_doctor_tries_the_store_and_tells_who_has_it(
    job: Path, bucket: OneBucket, tmp_path: Path
) -> None:
    env = environment_of(tmp_path / "one", bucket.store.url)
    to = ("doctor", job, "--provider", "emulator", "--json")

    def found(place: str) -> dict[str, tuple[str, str]]:
        told = batchgen(*to, "-o", place, **env)
        return {one["check"]: (one["status"], one["message"]) for one in told.json["findings"]}

    assert found(f"{bucket.address}/x")["store"][0] == "ok"
    assert "no run holds" in found(f"{bucket.address}/x")["lock"][1]
    assert not bucket.names()
    says = {"run_id": "r1", "pid": 7, "host": "other"}
    bucket.put("x/shop/.lock", json.dumps(says).encode())
    status, told = found(f"{bucket.address}/x")["lock"]
    assert (status, "is held by a run (r1, process 7 on other" in told) == ("warning", True)
    status, told = found("s3://no-such-bucket/x")["store"]
    assert (status, "NoSuchBucket" in told) == ("problem", True)
    with Between(bucket.store, takes_all=True) as between:
        env = environment_of(tmp_path / "one", between.url)
        status, told = found(f"{bucket.address}/y")["store"]
        assert (status, "takes every write" in told) == ("problem", True)
        refused = batchgen("run", job, "-o", f"{bucket.address}/y", "--provider", "emulator", **env)
        assert (refused.code, "lets two runs write at once" in refused.err) == (2, True)


def test_a_unit_for_a_run_into_a_store_may_write_its_mirror(
    job: Path, bucket: OneBucket, tmp_path: Path
) -> None:
    env = environment_of(tmp_path / "one", bucket.store.url)
    flags = ("--", "--provider", "emulator", "-o", f"{bucket.address}/x")
    unit = batchgen("schedule", job, "--at", "02:00", *flags, **env)
    assert unit.code == 0, unit.err
    [writes] = re.findall(r"ReadWritePaths=(.*)\n", unit.out)
    assert writes.startswith(f"{tmp_path}/one/batchgen/mirror/s3-")
    assert writes.endswith(f"/{bucket.name}/x/shop")
    assert f"-o {bucket.address}/x\n" in unit.out
    pod = batchgen("schedule", job, "--at", "02:00", "--format", "k8s", *flags, **env)
    assert (pod.code, "XDG_STATE_HOME" in pod.err) == (2, True)


class Held:
    """Answers nothing before it is told to."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def __call__(self, asked: Asked) -> Answer:
        return servers.waits_for(self.released, servers.draws(asked))


def test_a_second_run_from_another_machine_is_refused(bucket: OneBucket, tmp_path: Path) -> None:
    job, script = write_job(tmp_path / "shop.jsonl", ["a", "b"]), Held()
    env = {"COMETAPI_KEY": KEY}
    with FaultServer(script) as server:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        one = environment_of(tmp_path / "one", bucket.store.url)
        with started("run", job, *to, **one, **env) as first:
            until(lambda: server.n_requests, "the first run sends")
            two = environment_of(tmp_path / "two", bucket.store.url)
            refused = batchgen("run", job, *to, **two, **env)
            assert refused.code == 11, refused.err
            assert f"process {first.process.pid} on " in refused.err
            assert f"{bucket.address}/x/job is held by another run" in refused.err
            script.released.set()
            assert first.end().code == 0
        assert batchgen("run", job, *to, **two, **env).code == 0
        assert server.requests == Counter(["a", "b"])


IDS = [f"i{n}" for n in range(12)]


def there_is_all(bucket: OneBucket, tmp_path: Path, ids: list[str]) -> Path:
    """Download the job, and hold what must hold of it."""
    there = bucket.download("x/job", tmp_path / "there")
    (there / ".parts").mkdir()
    ledgers.check_directory(there, ended=False)
    assert {one["status"] for one in ledgers.results(there).values()} == {"done"}
    assert sorted(ledgers.pictures(there)) == sorted(ids)
    return there


@pytest.mark.parametrize("when", ["before it is there", "when it is there", "in the ledger's way"])
def test_a_kill_between_an_upload_and_its_record_costs_nothing(
    bucket: OneBucket, tmp_path: Path, when: str
) -> None:
    """The next run on the machine sends what lies there, and asks nobody for it again."""
    job = write_job(tmp_path / "job.jsonl", IDS, limits={"concurrency": 3})
    killed: list[int] = []
    process: list[Any] = []

    def script(request: Request) -> Fault | None:
        is_picture = "/images/" in request.path and request.method == "PUT"
        is_slice = "/ledger/" in request.path and request.method == "PUT"
        if killed or not (is_slice if when == "in the ledger's way" else is_picture):
            return None
        if [one for one in between.log if one.path == request.path] and is_picture:
            n_pictures = len(between.asked("PUT", "/images/"))
            if n_pictures < 5:
                return None
        killed.append(1)
        os.kill(process[0].pid, signal.SIGKILL)
        return "reset" if when == "before it is there" else "lost"

    with FaultServer(servers.draws) as server, Between(bucket.store, script) as between:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        env = {**environment_of(tmp_path / "one", between.url), "COMETAPI_KEY": KEY}
        with started("run", job, *to, **env) as first:
            process.append(first.process)
            first.end()
        assert killed
        kept = crashes.kept(mirror_on(tmp_path / "one", bucket, "x/job"))
        before = Counter(server.requests)
        bucket.delete("x/job/.lock")  # or the next run would watch it for a while
        again = batchgen("run", job, *to, **env)
        assert again.code == 0, again.err
        assert not {item for item, _ in kept if server.requests[item] != before[item]}
    there = there_is_all(bucket, tmp_path, IDS)
    maybe = {line["item"] for line in ledgers.attempts(there) if line["billed"] == "maybe"}
    assert {item for item in IDS if server.requests[item] != 1} <= maybe


def test_a_machine_that_is_lost_with_its_disk_costs_what_was_not_sent_yet(
    bucket: OneBucket, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", IDS, limits={"concurrency": 2})

    def script(asked: Asked) -> Answer:
        threading.Event().wait(1.2)  # slices are sent every five seconds
        return servers.draws(asked)

    with FaultServer(script) as server:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        one = {**environment_of(tmp_path / "one", bucket.store.url), "COMETAPI_KEY": KEY}
        with started("run", job, *to, **one) as first:
            until(lambda: bucket.names("x/job/ledger/"), "a slice of the ledger is there")
            first.signal(signal.SIGKILL)
            first.end()
        bucket.delete("x/job/.lock")
        told = [
            json.loads(line)
            for key in bucket.names("x/job/ledger/")
            for line in bucket.read(key).splitlines()
        ]
        known = {line["item"] for line in told if line.get("decision") == "done"}
        assert known
        two = {**environment_of(tmp_path / "two", bucket.store.url), "COMETAPI_KEY": KEY}
        done = batchgen("run", job, *to, **two)
        assert done.code == 0, done.err
        assert not {item for item in known if server.requests[item] != 1}
    there_is_all(bucket, tmp_path, IDS)


def test_what_cannot_be_fetched_is_found_out_before_anything_is_paid(
    bucket: OneBucket, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", IDS)
    with FaultServer(servers.draws) as server, Between(bucket.store) as between:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        env = {**environment_of(tmp_path / "one", between.url), "COMETAPI_KEY": KEY}
        assert batchgen("run", job, *to, **env).code == 0

        def script(request: Request) -> Fault | None:
            is_old = "/images/" in request.path and request.method == "GET"
            return "forbidden" if is_old else None

        between.script = script
        before = server.n_requests
        refused = batchgen("run", job, *to, "--force", **env)
        assert (refused.code, server.n_requests) == (12, before), refused.err
        between.script = nothing
        assert batchgen("run", job, *to, "--force", **env).code == 0
        assert server.n_requests == before + len(IDS)
    there_is_all(bucket, tmp_path, IDS)


def test_what_somebody_put_where_pictures_come_is_kept_there(
    bucket: OneBucket, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", IDS, limits={"concurrency": 12})
    env = {**environment_of(tmp_path / "one", bucket.store.url), "COMETAPI_KEY": KEY}
    with FaultServer(servers.draws) as server:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        assert batchgen("run", job, *to, **env).code == 0
        own = {name: servers.png(f"by hand: {name}") for name in IDS}
        for name, data in own.items():
            bucket.put(f"x/job/images/{name}.png", data)
        done = batchgen("run", job, *to, "--force", **env)
        assert done.code == 0, done.err
    kept = bucket.objects("x/job/quarantine/")
    assert sorted(kept.values()) == sorted(own.values())
    there_is_all(bucket, tmp_path, IDS)


def test_a_picture_stays_until_the_whole_conversation_has_another_one(
    bucket: OneBucket, tmp_path: Path
) -> None:
    turns = [{"prompt": "one"}, {"prompt": "two"}]
    job = write_job(tmp_path / "job.jsonl", [{"id": "talk", "turns": turns}])
    env = {**environment_of(tmp_path / "one", bucket.store.url), "COMETAPI_KEY": KEY}

    def script(asked: Asked) -> Answer:
        is_refused = asked.prompt == "two" and server.requests["two"] > 1
        return servers.refuses(400) if is_refused else servers.draws(asked)

    with FaultServer(script) as server:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        assert batchgen("run", job, *to, **env).code == 0
        first = bucket.read("x/job/images/talk.png")
        assert batchgen("run", job, *to, "--force", **env).code == 4
    assert bucket.read("x/job/images/talk.png") == first


@pytest.mark.parametrize("n_sent", [1, 2, 3, 4])
def test_a_kill_while_pictures_change_places_costs_none(
    bucket: OneBucket, tmp_path: Path, n_sent: int
) -> None:
    """A row is inserted on top: each item has the picture of the one before it."""
    names = ["one", "two", "three"]
    job = write_job(
        tmp_path / "job.jsonl", [{"id": f"s{n}", "prompt": p} for n, p in enumerate(names)]
    )
    process: list[Any] = []

    def script(request: Request) -> Fault | None:
        is_picture = "/images/" in request.path and request.method == "PUT"
        if process and is_picture and len(between.asked("PUT", "/images/")) == 3 + n_sent:
            os.kill(process.pop().pid, signal.SIGKILL)
            return "lost"
        return None

    with FaultServer(servers.draws) as server, Between(bucket.store, script) as between:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        env = {**environment_of(tmp_path / "one", between.url), "COMETAPI_KEY": KEY}
        assert batchgen("run", job, *to, **env).code == 0
        moved = ["zero", *names]
        write_job(job, [{"id": f"s{n}", "prompt": p} for n, p in enumerate(moved)])
        with started("run", job, *to, **env) as run:
            process.append(run.process)
            run.end()
        bucket.delete("x/job/.lock")
        again = batchgen("run", job, *to, **env)
        assert again.code == 0, again.err
        assert {name: server.requests[name] for name in names} == dict.fromkeys(names, 1)
    there = there_is_all(bucket, tmp_path, [f"s{n}" for n in range(4)])
    for n, name in enumerate(moved):
        assert (there / f"images/s{n}.png").read_bytes() == servers.png(f"{name} 1")


def test_what_another_machine_has_made_since_is_not_written_over_by_one_that_was_killed(
    bucket: OneBucket, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a"])
    process: list[Any] = []

    def script(request: Request) -> Fault | None:
        if process and "/images/" in request.path and request.method == "PUT":
            os.kill(process.pop().pid, signal.SIGKILL)
            return "reset"
        return None

    with FaultServer(servers.draws) as server, Between(bucket.store, script) as between:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        one = {**environment_of(tmp_path / "one", between.url), "COMETAPI_KEY": KEY}
        two = {**environment_of(tmp_path / "two", between.url), "COMETAPI_KEY": KEY}
        with started("run", job, *to, **one) as run:
            process.append(run.process)
            run.end()
        bucket.delete("x/job/.lock")
        assert batchgen("run", job, *to, **two).code == 0
        assert bucket.read("x/job/images/a.png") == servers.png("a 2")
        late = batchgen("run", job, *to, **one)
        assert (late.code, server.requests["a"]) == (0, 2), late.err
        assert bucket.read("x/job/images/a.png") == servers.png("a 2")
    there = there_is_all(bucket, tmp_path, ["a"])
    told = [(one["outcome"], one["billed"]) for one in ledgers.attempts(there)]
    assert told.count(("interrupted", "maybe")) == 1


def test_a_place_that_somebody_emptied_begins_anew(bucket: OneBucket, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job.jsonl", ["a", "b"])
    env = {**environment_of(tmp_path / "one", bucket.store.url), "COMETAPI_KEY": KEY}
    with FaultServer(servers.draws) as server:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        assert batchgen("run", job, *to, **env).code == 0
        for name in bucket.names():
            bucket.delete(name)
        again = batchgen("run", job, *to, "--json", **env)
        assert (again.code, again.json["attempts"]["total"], server.n_requests) == (0, 2, 4)
    assert len(bucket.names("x/job/ledger/")) == 1
    there_is_all(bucket, tmp_path, ["a", "b"])


def test_a_claim_that_another_one_takes_ends_the_run_and_nothing_more_is_stored(
    bucket: OneBucket, tmp_path: Path
) -> None:
    job, held = write_job(tmp_path / "job.jsonl", ["a", "b"]), Held()
    env = {**environment_of(tmp_path / "one", bucket.store.url), "COMETAPI_KEY": KEY}
    with FaultServer(held) as server:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        with started("run", job, *to, **env) as run:
            until(lambda: server.n_requests, "it sends")
            bucket.put("x/job/.lock", b'{"run_id": "another"}')
            held.released.set()
            ended = run.end()
    assert (ended.code, "was taken by another run" in ended.err) == (12, True), ended.err
    assert not bucket.names("x/job/results.jsonl")
    assert bucket.read("x/job/.lock") == b'{"run_id": "another"}'


# --- a store that fails ---------------------------------------------------------------------------


def faulty(
    tmp_path: Path, bucket: OneBucket, script: Any, *, patience: str = "30m"
) -> tuple[Done, FaultServer, Between]:
    """Run a job while a script has its say; what came of it, and who was asked."""
    job = write_job(tmp_path / "job.jsonl", IDS, retries={"patience": patience})
    with FaultServer(servers.draws) as server, Between(bucket.store, script) as between:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        env = {**environment_of(tmp_path / "one", between.url), "COMETAPI_KEY": KEY}
        return batchgen("run", job, *to, **env), server, between


@pytest.mark.parametrize("fault", ["slow down", "reset", "lost", "cut"])
def test_what_passes_is_waited_for(bucket: OneBucket, tmp_path: Path, fault: Fault) -> None:
    n_met: Counter[str] = Counter()

    def script(request: Request) -> Fault | None:
        n_met[f"{request.method} {request.path}"] += 1
        is_first = n_met[f"{request.method} {request.path}"] == 1
        return fault if is_first and ".lock" not in request.path else None

    done, server, _ = faulty(tmp_path, bucket, script)
    assert done.code == 0, done.err
    assert server.requests == Counter(IDS)
    there_is_all(bucket, tmp_path, IDS)


@pytest.mark.parametrize("fault", ["slow down", "reset", "lost"])
def test_a_claim_whose_answers_are_lost_is_ours_all_the_same(
    bucket: OneBucket, tmp_path: Path, fault: Fault
) -> None:
    n_met: Counter[str] = Counter()

    def script(request: Request) -> Fault | None:
        n_met[request.method] += ".lock" in request.path
        return fault if ".lock" in request.path and n_met[request.method] % 2 else None

    done, _, between = faulty(tmp_path, bucket, script)
    assert done.code == 0, done.err
    assert len(between.asked("PUT", ".lock")) >= 3
    assert "x/job/.lock" not in bucket.names()
    there_is_all(bucket, tmp_path, IDS)


def test_a_store_that_stays_away_ends_the_run_and_what_was_paid_is_sent_by_the_next_one(
    bucket: OneBucket, tmp_path: Path
) -> None:
    def script(request: Request) -> Fault | None:
        return "slow down" if "/images/" in request.path else None

    done, server, between = faulty(tmp_path, bucket, script, patience="3s")
    assert done.code == 12, done.err
    assert "the store is away and is waited for" in done.err
    assert "SlowDown" in done.err
    paid = Counter(server.requests)
    assert 0 < paid.total() < len(IDS)
    assert len(between.asked("PUT", "/images/")) > paid.total()
    assert not bucket.names("x/job/images/")
    job = tmp_path / "job.jsonl"
    with FaultServer(servers.draws) as later, Between(bucket.store, port=between.port) as well:
        env = environment_of(tmp_path / "one", well.url)
        to = ("-o", f"{bucket.address}/x", "--base-url", later.url, "--progress", "none")
        again = batchgen("run", job, *to, **env, COMETAPI_KEY=KEY)
        assert again.code == 0, again.err
        assert later.requests == Counter(IDS) - paid
    there = there_is_all(bucket, tmp_path, IDS)
    recovered = {line["item"] for line in ledgers.attempts(there) if line["recovered"]}
    assert recovered == set(paid)


def test_who_insists_does_not_wait_for_a_store_that_does_not_answer(
    bucket: OneBucket, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", IDS)

    def script(request: Request) -> Fault | None:
        return "hang" if "/images/" in request.path else None

    with FaultServer(servers.draws) as server, Between(bucket.store, script) as between:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        env = {**environment_of(tmp_path / "one", between.url), "COMETAPI_KEY": KEY}
        with started("run", job, *to, **env) as run:
            until(lambda: between.asked("PUT", "/images/"), "a picture is sent")
            run.signal(signal.SIGINT)
            threading.Event().wait(0.5)
            assert run.process.poll() is None
            run.signal(signal.SIGINT)
            began_s = time.monotonic()
            ended = run.end()
        assert time.monotonic() - began_s < 25
        assert ended.code == 130, ended.err
        assert "given up, while the store did not answer" in ended.err
        paid = Counter(server.requests)
        between.script = nothing
        again = batchgen("run", job, *to, **env)
        assert again.code == 0, again.err
        assert server.requests == Counter(IDS), paid


def test_a_picture_that_was_not_recorded_stays_on_the_machine(
    bucket: OneBucket, tmp_path: Path
) -> None:
    """The store is away for as long as anybody waits, and back when the run ends."""
    job = write_job(tmp_path / "job.jsonl", ["a"], retries={"patience": "2s"})
    tries: list[Request] = []

    def script(request: Request) -> Fault | None:
        if "/images/" not in request.path or len(tries) >= 7:
            return None
        tries.append(request)
        return "slow down"

    with FaultServer(servers.draws) as server, Between(bucket.store, script) as between:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        env = {**environment_of(tmp_path / "one", between.url), "COMETAPI_KEY": KEY}
        codes = [batchgen("run", job, *to, **env).code for _ in range(2)]
        assert codes[1] == 0
        assert server.n_requests == 1, "it was paid for twice"
    there_is_all(bucket, tmp_path, ["a"])


def test_a_store_that_lets_us_no_more_ends_the_run_at_once(
    bucket: OneBucket, tmp_path: Path
) -> None:
    def script(request: Request) -> Fault | None:
        return "forbidden" if "/images/" in request.path else None

    done, server, _ = faulty(tmp_path, bucket, script)
    assert (done.code, "the store does not let us (AccessDenied" in done.err) == (12, True)
    assert 0 < server.n_requests < len(IDS)
    assert not [
        line
        for line in ledgers.lines(
            next(iter((mirror_on(tmp_path / "one", bucket, "x/job") / "ledger").glob("*.jsonl")))
        )
        if line["event"] == "attempt"
    ]


def test_a_store_that_does_not_answer_at_all_sends_nothing(
    bucket: OneBucket, tmp_path: Path
) -> None:
    job = write_job(tmp_path / "job.jsonl", IDS)
    env = environment_of(tmp_path / "one", "http://127.0.0.1:9")
    with FaultServer(servers.draws) as server:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        refused = batchgen("run", job, *to, **env, COMETAPI_KEY=KEY)
        assert (refused.code, server.n_requests) == (12, 0)
    assert f"{bucket.address}/x/job" in refused.err
    missing = environment_of(tmp_path / "one", bucket.store.url)
    none = batchgen("verify", "s3://no-such-bucket/x", **missing)
    assert (none.code, "NoSuchBucket" in none.err) == (12, True)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("s3://", "names no bucket"),
        ("s3://user:word@bucket/x", "has a user or a port in it"),
        ("s3://bucket/a?versionId=1", "has a query"),
        ("s3://bucket/../x", "has an empty part, a '.' or a '..'"),
        ("S3://bucket/x", "S3 is no store"),
        ("http://host/x", "http is no store"),
    ],
)
def test_an_address_that_is_none_is_refused_before_anything(
    job: Path, tmp_path: Path, address: str, told: str
) -> None:
    env = environment_of(tmp_path / "one", "http://127.0.0.1:9")
    refused = batchgen("run", job, "-o", address, "--provider", "emulator", **env)
    assert (refused.code, told in refused.err) == (2, True), refused.err
    assert not (tmp_path / "one").exists()


def test_without_the_extra_it_is_named(job: Path, tmp_path: Path) -> None:
    (tmp_path / "obstore").mkdir()
    (tmp_path / "obstore/__init__.py").write_text("raise ImportError('no obstore here')\n")
    env = environment_of(tmp_path / "one", "http://127.0.0.1:9")
    path = os.pathsep.join((str(tmp_path), str(Path(__file__).parents[2])))
    refused = batchgen(
        "run", job, "-o", "s3://bucket/x", "--provider", "emulator", **{**env, "PYTHONPATH": path}
    )
    assert refused.code == 2
    assert "pip install 'batchgen[cloud]'" in refused.err


async def test_a_place_that_a_killed_run_left_is_taken_over_when_its_claim_is_old(
    bucket: OneBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = {**environment_of(tmp_path / "machine", bucket.store.url), "COMETAPI_KEY": KEY}
    job = write_job(tmp_path / "job.jsonl", IDS, limits={"concurrency": 2})
    begun = threading.Event()

    def script(asked: Asked) -> Answer:
        begun.set()
        threading.Event().wait(0.2)
        return servers.draws(asked)

    with FaultServer(script) as server:
        to = ("-o", f"{bucket.address}/x", "--base-url", server.url, "--progress", "none")
        with started("run", job, *to, **machine) as first:
            until(begun.is_set, "a request")
            first.signal(signal.SIGKILL)
            first.end()
        assert "x/job/.lock" in bucket.names()
        at_once = batchgen("run", job, *to, **machine)
        assert at_once.code == 11, at_once.err

        for name, value in machine.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("batchgen.mirror.claim.WATCH_S", 0.1)
        in_six_minutes = Clock(now=lambda: datetime.now(UTC) + timedelta(minutes=6))
        async with Runner(
            job,
            output=f"{bucket.address}/x",
            base_url=server.url,
            clock=in_six_minutes,
            thumbnails=False,
        ) as later:
            async for _ in later.results():
                pass
        twice = {prompt for prompt, n in server.requests.items() if n > 1}
    assert later.summary.exit_code == 0
    there = bucket.download("x/job", tmp_path / "there")
    lost = [one["item"] for one in ledgers.attempts(there) if one["outcome"] == "interrupted"]
    assert twice <= set(lost)
    assert len(list((there / "images").iterdir())) == len(IDS)
