"""Workers that share one key, on a clock of its own: a day of calls takes seconds to look at.

fill        a worker with free seats asks for departures: few asks wait at once, few are lost
asked       the lessor is one actor: it takes one message after the other
grant       when the window and the even pace have room; the windows are the product's own
depart      the request leaves: the service counts it, and may refuse it
answered    the answer comes over the worker's one line, one after the other
die         what is in flight is paid and lost; what was granted in vain is lost to the limit

Every item is asked for until it has its picture; the product would give some up before.
"""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from math import exp, inf, log
from typing import Final

from batchgen.limits.windows import SAFETY, Window
from benchmarks.setting import Outcome, Setting

_MINUTE_S: Final = 60.0
# How many standard deviations of a normal distribution lie below it.
_P95: Final = 1.6449
_P99: Final = 2.3263
# As the product's own pace: a fast one makes up for what it is late, by half an interval.
_MADE_UP: Final = 0.5
_REFUSAL_S: Final = 0.3
# What is measured begins with half of the items, and ends when all have been asked for: neither
# the rush at the beginning counts, nor the last calls that are waited for.
_WARM_UP: Final = 1 / 2


@dataclass(slots=True, eq=False)
class _Worker:
    """One process. `life` counts its deaths: what an earlier life has begun is void."""

    door: "_Door"
    n_free: int
    life: int = 0
    is_alive: bool = True
    noticed_life: int = 0
    n_asks: int = 0
    line_free_s: float = 0.0
    asked: set[int] = field(default_factory=set)
    in_flight: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Ask:
    worker: _Worker
    life: int
    items: tuple[int, ...]

    @property
    def is_void(self) -> bool:
        return self.life != self.worker.life


class _Door:
    """What holds departures back: the window, and an even pace."""

    def __init__(self, rpm: float) -> None:
        self.window = Window(1, _MINUTE_S)
        self.asks: deque[_Ask] = deque()
        self.next_s = 0.0
        self.wakes_s = inf
        self.allow(rpm)

    def allow(self, rpm: float) -> None:
        """Keep to so much from now on; nothing leaves at 0."""
        self.is_shut = rpm <= 0
        if not self.is_shut:
            self.window.limit = max(1.0, rpm)
            self.interval_s = _MINUTE_S / (rpm * SAFETY)


def simulate(setting: Setting) -> Outcome:
    """What comes of a setting; the same for the same seed."""
    return _Simulation(setting).run()


class _Simulation:
    def __init__(self, setting: Setting) -> None:
        self._set = setting
        self._rng = random.Random(setting.seed)
        self._latency = _lognormal(setting.p50_s, setting.p95_s, _P95)
        self._lease = _lognormal(setting.lease_p50_s, setting.lease_p99_s, _P99)
        self._now_s = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._n_events = 0
        self._queue = deque(range(setting.n_items))
        one_for_all = None if setting.deal_s else _Door(setting.rpm)
        share_rpm = setting.rpm / setting.n_workers
        self._workers = [
            _Worker(one_for_all or _Door(share_rpm), setting.n_in_flight)
            for _ in range(setting.n_workers)
        ]
        self._lessor_free_s = 0.0
        self._cools_until_s = 0.0
        self._taken_at_s: deque[float] = deque()  # by the service, within its minute
        self._left_at_s: deque[float] = deque()  # within a minute
        self._begins_s = self._ends_s = inf  # of what is measured, in which there were:
        self._n_left = self._n_made = self._n_seen = 0
        self._lessor_s = self._line_s = self._asking_s = 0.0
        self._n_in_flight = 0
        self._out = Outcome(images=[0] * setting.n_items)

    def run(self) -> Outcome:
        """All of it, until each item has its picture."""
        for worker in self._workers:
            # Those with a door of their own do not all begin in the same moment.
            worker.door.next_s = self._rng.random() * worker.door.interval_s
            self._expect_death(worker)
            self._fill(worker)
        if self._set.deal_s:
            self._deal()
        while self._out.n_images < self._set.n_items:
            self._now_s, _, happens = heappop(self._events)
            happens()
        return self._told()

    def _after(self, wait_s: float, happens: Callable[[], None]) -> None:
        self._n_events += 1  # of one moment, what was noted first is first
        heappush(self._events, (self._now_s + wait_s, self._n_events, happens))

    def _way_s(self) -> float:
        """From a worker to the lessor, or back; who has a share of the limit asks nobody."""
        one = self._set
        if one.deal_s or not one.lease_p50_s:
            return 0.0
        return exp(self._rng.gauss(*self._lease)) / 2

    @property
    def _is_measured(self) -> bool:
        return self._begins_s <= self._now_s < self._ends_s

    # --- asking to leave

    def _fill(self, worker: _Worker) -> None:
        """Ask for departures while there are seats, with few messages at once."""
        one = self._set
        while worker.is_alive and self._queue and worker.n_asks < one.n_asks:
            n = min(one.n_batch, len(self._queue), one.n_in_flight)
            if worker.n_free < n:
                return
            ask = _Ask(worker, worker.life, tuple(self._queue.popleft() for _ in range(n)))
            if len(self._queue) <= one.n_items * (1 - _WARM_UP):
                self._begins_s = min(self._begins_s, self._now_s)
            if not self._queue:
                self._ends_s = min(self._ends_s, self._now_s)
            worker.n_free -= n
            worker.n_asks += 1
            worker.asked.update(ask.items)
            self._ask(ask)

    def _ask(self, ask: _Ask) -> None:
        if self._set.deal_s:
            self._asked(ask)
            return
        there_s, back_s = self._way_s(), self._way_s()
        self._asking_s += (there_s + back_s) * self._is_measured
        self._tell_lessor(1, there_s)
        wait_s = self._lessor_free_s - self._now_s
        self._out.leases_ms.append(1000 * (wait_s + back_s))
        self._after(wait_s, partial(self._asked, ask))

    def _tell_lessor(self, n_messages: float, way_s: float = 0.0) -> None:
        """Take its time: it is one process, and reads one message after the other."""
        took_s = n_messages * self._set.message_s
        self._lessor_free_s = max(self._now_s + way_s, self._lessor_free_s) + took_s
        self._lessor_s += took_s * self._is_measured

    def _asked(self, ask: _Ask) -> None:
        ask.worker.door.asks.append(ask)
        self._grant(ask.worker.door)

    def _grant(self, door: _Door) -> None:
        """Let leave what window and pace have room for, in the order of asking."""
        while door.asks and not door.is_shut:
            ask = door.asks[0]
            if ask.life < ask.worker.noticed_life:
                door.asks.popleft()
                continue
            hold_s = max(
                self._cools_until_s - self._now_s,
                door.window.wait_s(self._now_s, len(ask.items)),
                door.next_s - self._now_s,
            )
            if hold_s > 0:
                if self._now_s + hold_s < door.wakes_s:
                    door.wakes_s = self._now_s + hold_s
                    self._after(hold_s, partial(self._wake, door))
                return
            self._let_leave(door, door.asks.popleft())

    def _wake(self, door: _Door) -> None:
        door.wakes_s = inf
        self._grant(door)

    def _let_leave(self, door: _Door, ask: _Ask) -> None:
        """Tell the worker when each of them may leave: one interval after the other."""
        back_s = self._way_s()
        first_s = max(door.next_s, self._now_s - _MADE_UP * door.interval_s)
        for number, item in enumerate(ask.items):
            at_s = max(self._now_s, first_s + number * door.interval_s)
            door.window.add(at_s, 1)
            self._after(at_s - self._now_s + back_s, partial(self._depart, ask, item))
        door.next_s = first_s + len(ask.items) * door.interval_s
        self._after(back_s, partial(self._granted, ask))

    def _granted(self, ask: _Ask) -> None:
        if not ask.is_void:
            ask.worker.n_asks -= 1
            self._fill(ask.worker)

    # --- a call

    def _depart(self, ask: _Ask, item: int) -> None:
        one, out, now_s = self._set, self._out, self._now_s
        if ask.is_void:
            out.n_in_vain += 1
            return
        ask.worker.asked.discard(item)
        ask.worker.in_flight.add(item)
        self._n_in_flight += 1
        out.n_departures += 1
        out.most_in_60_s = max(out.most_in_60_s, _within_a_minute(self._left_at_s, now_s) + 1)
        self._left_at_s.append(now_s)
        if self._is_measured:
            self._n_left += 1
            self._n_seen += self._n_in_flight
        if not one.deal_s:
            self._tell_lessor((one.n_messages - 1) / one.n_batch)
        if self._is_refused():
            self._after(_REFUSAL_S, partial(self._failed, ask, item, "refused"))
            return
        fate = self._rng.random()
        taken_s = exp(self._rng.gauss(*self._latency))
        if fate < one.no_image:
            self._after(taken_s, partial(self._failed, ask, item, "without image"))
        elif fate < one.no_image + one.errors:
            self._after(taken_s, partial(self._failed, ask, item, "error"))
        else:
            self._after(taken_s, partial(self._answered, ask, item))

    def _is_refused(self) -> bool:
        """Whether the service's own minute is full: then it says how long all have to wait."""
        limit = self._set.service_rpm
        if limit is None:
            return False
        if _within_a_minute(self._taken_at_s, self._now_s) < limit:
            self._taken_at_s.append(self._now_s)
            return False
        self._cools_until_s = self._taken_at_s[0] + _MINUTE_S / SAFETY
        return True

    def _answered(self, ask: _Ask, item: int) -> None:
        """The picture comes in behind those that are coming in."""
        if ask.is_void:
            return
        worker, receive_s = ask.worker, self._set.receive_s
        worker.line_free_s = max(self._now_s, worker.line_free_s) + receive_s
        self._line_s += receive_s * self._is_measured
        self._after(worker.line_free_s - self._now_s, partial(self._made, ask, item))

    def _made(self, ask: _Ask, item: int) -> None:
        if ask.is_void:
            return
        self._out.n_images += 1
        self._out.images[item] += 1
        self._n_made += self._is_measured
        self._free(ask.worker, item)

    def _failed(self, ask: _Ask, item: int, why: str) -> None:
        if ask.is_void:
            return
        self._out.failures[why] += 1
        self._queue.appendleft(item)
        self._free(ask.worker, item)

    def _free(self, worker: _Worker, item: int) -> None:
        worker.in_flight.discard(item)
        worker.n_free += 1
        self._n_in_flight -= 1
        self._fill(worker)

    # --- deaths

    def _expect_death(self, worker: _Worker) -> None:
        if self._set.life_s < inf:
            self._after(self._rng.expovariate(1 / self._set.life_s), partial(self._die, worker))

    def _die(self, worker: _Worker) -> None:
        self._out.n_deaths += 1
        self._out.n_lost += len(worker.in_flight)
        self._n_in_flight -= len(worker.in_flight)
        left = sorted(worker.asked | worker.in_flight)
        worker.asked.clear()
        worker.in_flight.clear()
        worker.is_alive = False
        worker.life += 1
        self._after(self._set.notice_s, partial(self._notice, worker, worker.life, left))
        self._after(self._set.replace_s, partial(self._replace, worker))

    def _notice(self, worker: _Worker, life: int, left: list[int]) -> None:
        """Others are given what the dead one had."""
        worker.noticed_life = life
        self._queue.extendleft(left)
        for other in self._workers:
            self._fill(other)

    def _replace(self, worker: _Worker) -> None:
        worker.is_alive = True
        worker.n_free, worker.n_asks = self._set.n_in_flight, 0
        self._expect_death(worker)
        self._fill(worker)

    def _deal(self) -> None:
        """Give each worker that is there its part of the limit, the dead one's to the others."""
        there = sum(worker.is_alive for worker in self._workers)
        self._tell_lessor(len(self._workers))
        for worker in self._workers:
            worker.door.allow(self._set.rpm / there if worker.is_alive else 0)
            self._grant(worker.door)
        self._after(self._set.deal_s, self._deal)

    # --- what came of it

    def _told(self) -> Outcome:
        one, out = self._set, self._out
        span_s = self._ends_s - self._begins_s
        out.images_per_s = self._n_made / span_s
        out.used = self._n_left / span_s / (one.rpm / _MINUTE_S)
        n_seats = one.n_workers * one.n_in_flight
        out.busy = {
            "the limit": out.used / SAFETY,  # the product keeps to a hundredth less
            "calls in flight": self._n_seen / max(1, self._n_left) / n_seats,
            "the lessor": self._lessor_s / span_s,
            "the way to the lessor": self._asking_s / span_s / (one.n_workers * one.n_asks),
            one.receives: self._line_s / span_s / one.n_workers,
        }
        return out


def _lognormal(p50_s: float, high_s: float, sigmas: float) -> tuple[float, float]:
    """Mean and deviation of the logarithm; what is always 0 has none."""
    return (log(p50_s), log(high_s / p50_s) / sigmas) if p50_s else (0.0, 0.0)


def _within_a_minute(at_s: deque[float], now_s: float) -> int:
    while at_s and at_s[0] <= now_s - _MINUTE_S:
        at_s.popleft()
    return len(at_s)
