"""Ctrl-C and SIGTERM at random moments, one, two, or in a wait, and the run that makes the rest."""

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests import ledgers, servers
from tests.commands import Started, batchgen_within, started, until
from tests.runs import KEY, write_job
from tests.servers import Answer, Asked, FaultServer, refuses

Tried = Callable[[str, int, str], None]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
SEED = 20261121
SLOWEST_S = 0.5  # of the answers of the server
GRACE_S = 1.0
# What a process takes to end, and a machine that is busy with something else.
LATE_S = 1.0 + 6.0
ITEMS_A_SIGNAL = 20


def tiers(check: int, soak: int) -> pytest.MarkDecorator:
    """So many signals in every check, and so many in `make soak`."""
    many = [pytest.mark.soak, pytest.mark.timeout(1800)]
    few = [pytest.mark.reliability, pytest.mark.timeout(180)]
    return pytest.mark.parametrize(
        "n_signals", [pytest.param(check, marks=few), pytest.param(soak, marks=many)]
    )


class Service:
    """Takes a moment for each picture, fails now and then, and knows what it has drawn."""

    def __init__(self, rng: random.Random, *, stalls_at: float = 0.0) -> None:
        self._rng = rng
        self._stalls_at = stalls_at
        self._lock = threading.Lock()
        self.drawn: Counter[str] = Counter()

    def __call__(self, asked: Asked) -> Answer:
        with self._lock:
            wait_s, luck = self._rng.uniform(0.1, SLOWEST_S), self._rng.random()
        if luck < self._stalls_at:
            return servers.stalls()
        threading.Event().wait(wait_s)
        if luck > 0.95:
            return refuses(503, {"error": {"code": 503, "status": "UNAVAILABLE"}})

        def answer(connection: Any) -> servers.End:
            end = servers.draws(asked)(connection)
            with self._lock:
                self.drawn[asked.prompt] += 1
            return end

        return answer


class Storm:
    """Runs of one job, each of which gets its signals at a random moment."""

    def __init__(self, place: Path, n_signals: int, **head: Any) -> None:
        self.ids = [f"item-{n:04}" for n in range(n_signals * ITEMS_A_SIGNAL)]
        self.rng = random.Random(SEED)
        limits = {"concurrency": 4}
        self.job = write_job(place / "job.jsonl", self.ids, limits=limits, **head)
        self.directory = place / "job"
        self.n_runs = 0

    def flags(self, server: FaultServer) -> tuple[str | Path, ...]:
        where = ("-o", self.job.parent, "--base-url", server.url, "--progress", "none")
        return ("run", self.job, *where)

    def hit(
        self, server: FaultServer, *flags: str, then: Callable[[Started], None] = lambda _: None
    ) -> float:
        """Start a run, send it a signal, and tell how long it took to end."""
        number = self.rng.choice(sorted(CODES))
        n_before = server.n_requests
        with started(*self.flags(server), *flags, COMETAPI_KEY=KEY) as run:
            until(lambda: server.n_requests > n_before, "a request")
            time.sleep(self.rng.uniform(0, 0.8))  # the moment is the point, nothing waits for it
            run.signal(number)
            at_s = time.monotonic()
            then(run)
            done = run.end()
            took_s = time.monotonic() - at_s
        assert done.code == CODES[number], done.err
        self.n_runs += 1
        if self.n_runs <= 10:  # it decodes every picture, which is slow when there are thousands
            ledgers.check_directory(self.directory)
        return took_s

    def finish(self, server: FaultServer) -> None:
        """The run that makes the rest."""
        fast = ("--concurrency", "16")
        done = batchgen_within(600, *self.flags(server), *fast, COMETAPI_KEY=KEY)
        assert done.code == 0, done.err
        ledgers.check_directory(self.directory)

    def check(self, service: Service, server: FaultServer) -> int:
        """Each item has its picture once, and what may be paid besides is listed; how much is."""
        attempts = ledgers.attempts(self.directory)
        made = Counter(line["item"] for line in attempts if line["outcome"] == "image")
        maybe = Counter(line["item"] for line in attempts if line["billed"] == "maybe")
        assert made == dict.fromkeys(self.ids, 1)
        assert all(service.drawn[item] <= 1 + maybe[item] for item in self.ids)
        n_calls = Counter(line["item"] for line in attempts)
        assert all(server.requests[item] <= n_calls[item] for item in self.ids)
        return maybe.total()


def tell(capsys: pytest.CaptureFixture[str], what: str, took_s: list[float], n_maybe: int) -> None:
    with capsys.disabled():
        print(  # noqa: T201 - how much was tried is the result
            f"\n{len(took_s)} {what}: ended after {median(took_s):.2f} s (at most "
            f"{max(took_s):.2f} s), {n_maybe} requests listed as maybe billed"
        )


@tiers(10, 100)
def test_a_first_signal_at_any_moment_costs_no_picture_and_no_request_twice(
    n_signals: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    storm = Storm(tmp_path, n_signals)
    service = Service(storm.rng)
    with FaultServer(service) as server:
        took_s = [storm.hit(server) for _ in range(n_signals)]
        storm.finish(server)
        n_maybe = storm.check(service, server)
    tell(capsys, "first signals", took_s, n_maybe)
    assert max(took_s) <= SLOWEST_S + LATE_S
    assert n_maybe == 0
    assert service.drawn == dict.fromkeys(storm.ids, 1)
    tried("P13", n_signals, "signals")


@tiers(4, 40)
def test_what_is_under_way_has_the_grace_to_end_and_no_longer(
    n_signals: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    storm = Storm(tmp_path, n_signals)
    service = Service(storm.rng, stalls_at=0.2)
    with FaultServer(service) as server:
        took_s = [storm.hit(server, "--grace", str(GRACE_S)) for _ in range(n_signals)]
        server.script = calm = Service(storm.rng)
        storm.finish(server)
        service.drawn += calm.drawn
        n_maybe = storm.check(service, server)
    tell(capsys, "signals with stalled answers", took_s, n_maybe)
    assert max(took_s) <= GRACE_S + LATE_S
    assert n_maybe <= 4 * n_signals
    tried("P13", n_signals, "signals")


@tiers(4, 20)
def test_a_second_signal_ends_at_once_and_loses_nothing_that_had_come(
    n_signals: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    storm = Storm(tmp_path, n_signals)
    service = Service(storm.rng, stalls_at=0.2)
    seconds_s: list[float] = []

    def again(run: Started) -> None:
        time.sleep(storm.rng.uniform(0.02, 0.4))
        if run.process.poll() is None:
            run.signal(storm.rng.choice(sorted(CODES)))
        seconds_s.append(time.monotonic())

    def hit(server: FaultServer) -> float:
        storm.hit(server, "--grace", "100", then=again)
        return time.monotonic() - seconds_s[-1]

    with FaultServer(service) as server:
        took_s = [hit(server) for _ in range(n_signals)]
        server.script = calm = Service(storm.rng)
        storm.finish(server)
        service.drawn += calm.drawn
        n_maybe = storm.check(service, server)
    tell(capsys, "second signals", took_s, n_maybe)
    assert max(took_s) <= LATE_S
    assert n_maybe <= 4 * n_signals
    tried("P13", n_signals, "signals")


@tiers(4, 20)
def test_a_signal_in_a_wait_ends_it_at_once(
    n_signals: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    storm = Storm(tmp_path, n_signals)
    told_to_wait = [
        refuses(429, retry_after="300"),
        refuses(503, {"error": {"code": 503, "status": "UNAVAILABLE"}}, retry_after="300"),
        refuses(503, {"error": {"code": 503, "status": "UNAVAILABLE"}}),  # growing waits
    ]
    with FaultServer(lambda _: storm.rng.choice(told_to_wait)) as server:
        took_s = [storm.hit(server, "--grace", "100") for _ in range(n_signals)]
        server.script = service = Service(storm.rng)
        storm.finish(server)
        assert service.drawn == dict.fromkeys(storm.ids, 1)
    tell(capsys, "signals in a wait", took_s, 0)
    assert max(took_s) <= LATE_S
    tried("P13", n_signals, "signals")
