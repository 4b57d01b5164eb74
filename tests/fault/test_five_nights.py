"""Five nights of a catalogue that nobody watches, on the emulator, with a clock of their own.

The sixth finishes what the fifth had to leave. Each night has an emulator process of its own, whose
counts are the oracle for what was sent; the hook's are the oracle for what a person was told.
"""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from batchgen import Runner, Summary
from batchgen.executors.local import run_local
from tests import ledgers
from tests.commands import batchgen, emulator
from tests.hooks import Hook, hook
from tests.runs import KEY, QuickTime

FIRST_NIGHT = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
JOB = """
name: shop
provider: emulator
defaults: {model: gemini-nano-banana-2.1, image_size: 1K}
limits: {concurrency: 4}
retries: {patience: 6h}
budget: {max_cost_usd: 5}
notify: {url_env: NIGHTLY_HOOK, on: change}
items:
  - each: products.csv
    id: "{sku}"
    prompt: "Product photo of {title}"
  - id: refused
    prompt: "A picture that is refused every night [[BLOCKED]]"
"""
JOB_OF_A_GATEWAY = JOB.replace("provider: emulator", "")
DAILY_QUOTA = "- {requests: 6-1000, status: 429, quota: day, retry_delay: 22s}\n"
# From the fifth request on, and as many probes as fit into two hours and more.
DOWN = "- {requests: 5-36, status: 503}\n"


class Shop:
    """A job, its table, and what each night makes of it."""

    def __init__(self, home: Path, told: Hook) -> None:
        self.home, self._told = home, told
        self.titles = {f"sku-{n:02}": f"vase {n}" for n in range(20)}
        self.n_nights = 0
        (home / "shop.yaml").write_text(JOB)

    @property
    def directory(self) -> Path:
        return self.home / "output" / "shop"

    def night(self, faults: str = "") -> "Night":
        """Play one night: the run, how many requests came, and what was told."""
        table = "".join(f"{sku},{title}\n" for sku, title in self.titles.items())
        (self.home / "products.csv").write_text(f"sku,title\n{table}")
        (self.home / "faults.yaml").write_text(faults or "[]\n")
        began = FIRST_NIGHT + timedelta(days=self.n_nights)
        self.n_nights += 1
        n_before = len(self._told.posted)
        flags = ("--latency", "0", "--faults", str(self.home / "faults.yaml"))
        with emulator(*flags) as service:
            runner = Runner(
                self.home / "shop.yaml",
                output=self.home / "output",
                base_url=service.url,
                fail_on="new",
                metrics_file=self.home / "shop.prom",
                thumbnails=False,
                clock=QuickTime(began).clock(),
                rng=random.Random(1),
            )
            summary = run_local(runner)
            n_requests = service.n_requests
        ledgers.check_directory(self.directory)
        return Night(summary, n_requests, self._told.posted[n_before:], self.metrics())

    def metrics(self) -> dict[tuple[str, str], float]:
        """The metrics by their name and the value of the second label."""
        text = (self.home / "shop.prom").read_text()
        samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
        return {
            (one.name.removeprefix("batchgen_"), _second_label(one.labels)): one.value
            for one in samples
        }


def _second_label(labels: dict[str, str]) -> str:
    return next((value for name, value in labels.items() if name != "batch"), "")


class Night:
    """What one night came to."""

    def __init__(
        self,
        summary: Summary,
        n_requests: int,
        posted: list[dict[str, Any]],
        metrics: dict[tuple[str, str], float],
    ) -> None:
        self.summary, self.n_requests, self.posted, self.metrics = (
            *(summary, n_requests),
            *(posted, metrics),
        )

    @property
    def code(self) -> int | None:
        return self.summary.exit_code

    @property
    def items(self) -> dict[str, int]:
        items = self.summary.items
        names = ("done", "reused", "failed", "pending")
        return {name: count for name in names if (count := getattr(items, name))}

    @property
    def changes(self) -> list[str]:
        """What the message of this night says has changed; nothing if there was none."""
        return [line for message in self.posted for line in message["changes"]]

    @property
    def success_at(self) -> datetime:
        return datetime.fromtimestamp(self.metrics["last_success_timestamp_seconds", ""], tz=UTC)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    with hook() as told:
        monkeypatch.setenv("NIGHTLY_HOOK", told.url)
        yield Shop(tmp_path, told)


def test_five_nights_of_a_catalogue_and_what_is_told_of_each(shop: Shop) -> None:
    first = shop.night()
    assert (first.code, first.n_requests) == (4, 21)
    assert first.items == {"done": 20, "failed": 1}
    assert first.changes == ["1 new failure"]
    assert first.metrics["exit_code", ""] == 4

    nothing_new = shop.night()
    assert (nothing_new.code, nothing_new.n_requests) == (0, 0)
    assert nothing_new.items == {"done": 20, "reused": 20, "failed": 1}
    assert not nothing_new.posted
    assert nothing_new.success_at == datetime.fromisoformat(str(nothing_new.summary.finished_at))

    shop.titles |= {f"sku-{n:02}": f"blue vase {n}" for n in range(10)}
    changed = shop.night()
    assert (changed.code, changed.n_requests) == (0, 10)
    assert changed.items == {"done": 20, "reused": 10, "failed": 1}
    assert not changed.posted

    shop.titles |= {f"sku-{n:02}": f"bowl {n}" for n in range(20, 32)}
    down = shop.night(DOWN)
    assert (down.code, down.n_requests) == (0, 12 + 32)
    assert down.items == {"done": 32, "reused": 20, "failed": 1}
    assert down.summary.attempts.by_outcome == {"image": 12, "server_error": 32}
    assert 2 * 3600 < (down.summary.wall_s or 0) < 6 * 3600
    assert not down.posted

    shop.titles |= {f"sku-{n:02}": f"cup {n}" for n in range(32, 44)}
    quota = shop.night(DAILY_QUOTA)
    assert quota.code == 7
    assert quota.items == {"done": 37, "reused": 32, "failed": 1, "pending": 7}
    assert 6 <= quota.n_requests <= 9  # those under way with it hear the same
    [stopped] = quota.changes
    assert stopped.startswith("stopped (exit code 7): ")
    assert "daily quota" in stopped
    assert quota.posted[0]["summary"]["items"]["pending"] == 7
    assert quota.success_at == down.success_at

    last = shop.night()
    assert (last.code, last.n_requests) == (0, 7)
    assert last.items == {"done": 44, "reused": 37, "failed": 1}
    assert last.changes == ["it goes again: the run before had stopped"]
    assert last.metrics["items", "done"] == 44

    # Mornings on which somebody breaks the job, empties it, or takes the key: the series go on.
    for broken, key, code in (("items: [", "", 3), ("", KEY, 3), (JOB_OF_A_GATEWAY, "", 2)):
        (shop.home / "shop.yaml").write_text(broken)
        told_by = ("--metrics-file", shop.home / "shop.prom", "-o", shop.home / "output")
        done = batchgen("run", shop.home / "shop.yaml", *told_by, COMETAPI_KEY=key)
        metrics = shop.metrics()
        assert done.code == metrics["exit_code", ""] == code, done.err
        success_s = metrics["last_success_timestamp_seconds", ""]
        assert datetime.fromtimestamp(success_s, UTC) == last.success_at
        assert 'batch="shop"' in (shop.home / "shop.prom").read_text()

    told = batchgen("report", shop.directory, "--history", "--json").json["runs"]
    assert [run["exit_code"] for run in told] == [4, 0, 0, 0, 7, 0]
    assert [run["started_at"][:10] for run in told] == [f"2026-11-{23 + n}" for n in range(6)]
    assert sum(run["images"] for run in told) == 20 + 10 + 12 + 12
