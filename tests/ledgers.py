"""A job's directory read strictly, by nothing of the product: what any other program relies on."""

import hashlib
import json
import re
from decimal import Decimal
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

Json: TypeAlias = dict[str, Any]

_OF_A_WORKER = re.compile(r"\.w[0-9a-f]+\.jsonl\Z")
RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
STAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
MONEY = re.compile(r"[0-9]+\.[0-9]{6}")
KEY = re.compile(r"[0-9a-f]{64}")
FIELDS = {
    "run": "v event run_id at job job_sha256 provider version shard",
    "sent": "v event run_id item key turn attempt at model est_usd",
    "attempt": (
        "v event run_id item key turn attempt at model model_version provider http_status outcome "
        "decision finish_reason error images text grounding usage tokens cost_usd cost_basis "
        "billed latency_s bytes_in request_id response_id tags recovered"
    ),
    "filed": "v event run_id item key at path made moved_from attempts tokens cost_usd",
    "end": "v event at stop_reason exit_code wall_s concurrency",
}
RESULT_FIELDS = (
    "id key status images text model attempts outcome error tokens cost_usd tags run_id finished_at"
)
SUMMARY_FIELDS = (
    "v job run_id started_at finished_at wall_s stop_reason exit_code items attempts images tokens "
    "cost_usd cost_waste_usd cost_maybe_usd cost_unknown_attempts cost_by_model cost_by_tag "
    "latency_s throughput_per_min concurrency failures maybe_billed diff"
)
SOMETIMES = "searches wrong_size planned_usd slowest review ahead"
# USD per million tokens: input, text output, image output. Source: docs/api-notes.md, section 4.
RATES = {
    "gemini-2.5-flash-image": ("0.30", "2.50", "30"),
    "gemini-3-pro-image": ("2.00", "12.00", "120"),
    "gemini-3-pro-image-preview": ("2.00", "12.00", "120"),
    "gemini-3.1-flash-image": ("0.50", "3.00", "60"),
    "gemini-3.1-flash-lite-image": ("0.25", "1.50", "30"),
    "gemini-nano-banana-2.1": ("1.50", "7.50", "30"),
}
TIER_FACTORS = {
    "standard": Decimal(1),
    "batch": Decimal("0.5"),
    "flex": Decimal("0.5"),
    "priority": Decimal("1.8"),
}
# What nobody has published: a usual call costs no less.
NO_RATES = {("gemini-nano-banana-2.1", "flex")}
A_SEARCH = Decimal("0.014")


def strict(text: str | bytes) -> Any:
    """JSON as its standard has it: no NaN, no name twice."""

    def once(pairs: list[tuple[str, Any]]) -> Json:
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), names
        return dict(pairs)

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, object_pairs_hook=once, parse_constant=refuse)


def lines(path: Path) -> list[Json]:
    """The lines of a JSON Lines file, the last of which ends like the others."""
    *whole, rest = path.read_bytes().split(b"\n")
    assert rest == b"", f"{path} ends in a torn line"
    return [strict(line) for line in whole]


def segments(directory: Path) -> list[list[Json]]:
    """The ledger, a list of lines for each run or shard of one, oldest first.

    The lines of its workers stand before its last one.
    """
    found: list[list[Json]] = []
    for path in sorted((directory / "ledger").glob("*.jsonl")):
        read = lines(path)
        if _OF_A_WORKER.search(path.name) is None:
            found.append(read)
            continue
        assert read[0] == found[-1][0], f"{path} is of another run"
        n_before = len(found[-1]) - (found[-1][-1]["event"] == "end")
        found[-1][n_before:n_before] = read[1:]
    return found


def attempts(directory: Path) -> list[Json]:
    """The `attempt` lines of all runs."""
    return [line for segment in segments(directory) for line in segment if is_attempt(line)]


def filed(directory: Path) -> list[Json]:
    """The `filed` lines of all runs."""
    return [line for segment in segments(directory) for line in segment if line["event"] == "filed"]


def is_attempt(line: Json) -> bool:
    return bool(line["event"] == "attempt")


def results(directory: Path) -> dict[str, Json]:
    """The lines of results.jsonl by item id, in their order."""
    found = lines(directory / "results.jsonl")
    for one in found:
        assert set(one) == set(RESULT_FIELDS.split()), one
    return {one["id"]: one for one in found}


def part_stem(sent: Json) -> str:
    """What the part files and the receipt of a call are called."""
    digest = hashlib.sha256(sent["item"].encode()).hexdigest()[:16]
    return f"{sent['run_id']}.{digest}.{sent['turn']}.{sent['attempt']}"


def summary(directory: Path) -> Json:
    """summary.json."""
    found: Json = strict((directory / "summary.json").read_bytes())
    assert set(found) - set(SOMETIMES.split()) == set(SUMMARY_FIELDS.split())
    return found


def pictures(directory: Path) -> dict[str, Path]:
    """What lies under images/, by item id without its ending."""
    return {path.stem: path for path in sorted((directory / "images").glob("*"))}


def check_directory(directory: Path, *, ended: bool = True) -> None:
    """Hold what every run must leave behind, whatever happened to it.

    Args:
        directory: The job's.
        ended: Every run ended by itself; else only the last one did.
    """
    ledger = segments(directory)
    for segment in ledger[0 if ended else -1 :]:
        _check_segment(segment)
    _check_calls([line for segment in ledger for line in segment])
    assert not list((directory / ".parts").iterdir())
    assert not [path for path in directory.rglob("*.tmp") if path.is_file()]
    _check_images(directory)
    _check_summary(directory, ledger)


def _check_segment(segment: list[Json]) -> None:
    assert [segment[0]["event"], segment[-1]["event"]] == ["run", "end"]
    inside = {line["event"] for line in segment[1:-1]}
    assert inside <= {"sent", "attempt", "filed"}
    run_id = segment[0]["run_id"]
    assert RUN_ID.fullmatch(run_id)
    for line in segment:
        assert set(FIELDS[line["event"]].split()) <= set(line), line
        assert line["v"] == 1
        assert STAMP.fullmatch(line["at"])
        if line["event"] == "sent":
            assert line["run_id"] == run_id
        if is_attempt(line):
            check_attempt(line)


def check_attempt(line: Json) -> None:
    """Hold one `attempt` line against its description."""
    assert KEY.fullmatch(line["key"])
    assert (line["cost_usd"] is None) == (line["cost_basis"] == "unknown")
    if line["cost_usd"] is not None:
        assert MONEY.fullmatch(line["cost_usd"])
    if line["billed"] == "no":
        assert line["cost_usd"] == "0.000000"
    assert (line["error"] is None) == (line["outcome"] == "image") == (line["decision"] == "done")
    if line["usage"] is None:
        assert line["tokens"] is None
    if line["tokens"] is not None and line["model"] in RATES and line["billed"] == "yes":
        assert line["cost_usd"] == published_cost(line)


def published_cost(line: Json) -> str:
    """Tokens times the published rates, and each search once, as the ledger should have it."""
    tokens = line["tokens"]
    tier = line.get("service_tier", "standard")
    factor = Decimal(1) if (line["model"], tier) in NO_RATES else TIER_FACTORS[tier]
    asked, text, image = (Decimal(rate) * factor for rate in RATES[line["model"]])
    usd = (
        (tokens["input_text"] + tokens["input_image"]) * asked
        + (tokens["output_text"] + tokens["thoughts"]) * text
        + tokens["output_image"] * image
    ) / 1_000_000
    return f"{usd + A_SEARCH * _n_searches(line['grounding']):.6f}"


def _n_searches(grounding: Any) -> int:
    """How many different queries it tells of; a service may put anything in its place."""
    queries = grounding.get("webSearchQueries") if isinstance(grounding, dict) else None
    told = queries if isinstance(queries, list) else []
    return len({words.strip() for words in told if isinstance(words, str)} - {""})


def _check_calls(ledger: list[Json]) -> None:
    """Every call was announced first, and ended exactly once."""
    under_way: set[tuple[object, ...]] = set()
    for line in ledger:
        if line["event"] not in {"sent", "attempt"}:
            continue
        call = tuple(line[name] for name in ("run_id", "item", "turn", "attempt"))
        if line["event"] == "sent":
            assert call not in under_way
            under_way.add(call)
        elif line["attempt"] > 0:
            assert call in under_way, f"{call} ended without having been announced"
            under_way.remove(call)
    assert not under_way


def _check_images(directory: Path) -> None:
    """Exactly the pictures of done items are there, whole, and as the results say."""
    done = {}
    for one in results(directory).values():
        if one["status"] != "done":
            continue
        final, *beside = one["images"]
        assert final["role"] == "final"
        done[final["path"]] = final
        for image in beside:
            check_beside(directory, image)
    files = [path for path in (directory / "images").rglob("*") if path.is_file()]
    found = {path.relative_to(directory).as_posix() for path in files}
    assert found == set(done)
    for image in done.values():
        check_image(directory, image)


def check_beside(directory: Path, image: Json) -> None:
    """An image besides the picture lies where its role says; people may have deleted it since."""
    folder = {"draft": "drafts", "thought": "thoughts", "quarantine": "quarantine"}[image["role"]]
    assert image["path"].startswith(f"{folder}/")
    if image["role"] != "quarantine" and (directory / image["path"]).exists():
        check_image(directory, image)


def check_bytes(directory: Path, image: Json) -> None:
    """A file has the size and the digest that are told of it."""
    data = (directory / image["path"]).read_bytes()
    assert image["bytes"] == len(data)
    assert image["sha256"] == hashlib.sha256(data).hexdigest()


def check_image(directory: Path, image: Json) -> None:
    """An image file is whole, and what is told of it is what its bytes are."""
    check_bytes(directory, image)
    with Image.open(directory / image["path"]) as opened:
        opened.load()
        assert opened.size == (image["width"], image["height"])
        assert Image.MIME[opened.format or ""] == image["mime"]


def _check_summary(directory: Path, ledger: list[list[Json]]) -> None:
    """The summary adds up to this run's lines."""
    told, segment = summary(directory), ledger[-1]
    calls = [line for line in segment if is_attempt(line) and line["run_id"] == told["run_id"]]
    calls = [line for line in calls if line["attempt"] > 0]
    by_outcome: dict[str, int] = {}
    for line in calls:
        by_outcome[line["outcome"]] = by_outcome.get(line["outcome"], 0) + 1
    assert told["attempts"] == {"total": len(calls), "by_outcome": by_outcome}
    billed = [line for line in calls if line["billed"] == "yes"]
    known = [Decimal(line["cost_usd"]) for line in billed if line["cost_usd"] is not None]
    unknown = [line for line in calls if line["billed"] != "no" and line["cost_usd"] is None]
    if known or not unknown:
        assert told["cost_usd"] == f"{sum(known, Decimal(0)):.6f}"
    else:
        assert told["cost_usd"] is None
    assert told["cost_unknown_attempts"] == len(unknown)
    # Besides its own, a run lists what it found that a killed run had sent, and what killed runs
    # before it had found or met themselves: they have no summary.
    without = takewhile(lambda one: not one or one[-1]["event"] != "end", reversed(ledger[:-1]))
    listed = [line for one in (segment, *without) for line in one if is_attempt(line)]
    maybe = [line for line in listed if line["billed"] == "maybe"]
    assert told["maybe_billed"]["count"] == len(maybe)
    for name, n_tokens in told["tokens"].items():
        assert n_tokens == sum(line["tokens"][name] for line in calls if line["tokens"])
    by_status: dict[str, int] = {}
    for one in results(directory).values():
        by_status[one["status"]] = by_status.get(one["status"], 0) + 1
    for status in ("done", "failed", "skipped", "pending"):
        assert told["items"][status] == by_status.get(status, 0)
    assert told["items"]["total"] == sum(by_status.values())
    failed = directory / "failed.jsonl"
    assert failed.exists() == (told["items"]["done"] < told["items"]["total"])
