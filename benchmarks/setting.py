"""What is simulated, and what comes of it."""

from collections import Counter
from dataclasses import dataclass, field
from math import inf


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What is simulated.

    Attributes:
        n_in_flight: Seats of each worker.
        rpm: What the workers keep to, together.
        service_rpm: What the service takes in any minute; None if that is the same.
        p50_s, p95_s: Of a call, in a lognormal distribution.
        no_image: The share of answers that are paid and bring no picture.
        errors: The share of calls that fail and are not paid.
        n_batch: Departures that are asked for with one message.
        deal_s: Each worker has a part of the limit, and parts are dealt anew so often; 0 for one
            limiter that all ask.
        lease_p50_s, lease_p99_s: There and back, without the lessor's own time.
        message_s: The lessor's own time for a message.
        n_messages: To ask for a departure, to tell that it left, and how it ended.
        n_asks: Messages of a worker that wait for departures at once.
        life_s: How long a worker lives, on average; none dies if it is infinite.
        notice_s: Until a death is noticed, and what the worker had is given to others.
        replace_s: Until another one is there.
        receive_s: What a picture takes of its worker, which has one for one after the other.
        receives: What of the worker that is.
    """

    n_items: int
    n_workers: int = 1
    n_in_flight: int = 64
    rpm: float = 600.0
    service_rpm: float | None = None
    p50_s: float = 23.0
    p95_s: float = 35.0
    no_image: float = 0.02
    errors: float = 0.01
    n_batch: int = 1
    deal_s: float = 0.0
    lease_p50_s: float = 0.0011
    lease_p99_s: float = 0.0033
    message_s: float = 0.0004
    n_messages: int = 3
    n_asks: int = 2
    life_s: float = inf
    notice_s: float = 2.0
    replace_s: float = 12.5
    receive_s: float = 0.064
    receives: str = "the line"
    seed: int = 1


@dataclass(slots=True)
class Outcome:
    """What came of it; the shares are those of the time that is measured.

    Attributes:
        used: Departures, of what the limit allows.
        most_in_60_s: Departures in the fullest minute, the beginning included.
        images: How many each item came to.
        failures: Calls that brought no picture: `refused`, `error`, and, paid, `without image`.
        leases_ms: From asking to being heard, and back; without the wait for the limit's sake.
        n_in_vain: Departures that were granted to a worker that was dead.
        n_lost: Calls that were in flight when their worker died: paid, and asked again.
        busy: Of each thing that may end first, the share that was taken up.
    """

    n_images: int = 0
    n_departures: int = 0
    n_lost: int = 0
    n_in_vain: int = 0
    n_deaths: int = 0
    images_per_s: float = 0.0
    used: float = 0.0
    most_in_60_s: int = 0
    leases_ms: list[float] = field(default_factory=list)
    images: list[int] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    busy: dict[str, float] = field(default_factory=dict)

    def lease_ms(self, share: float) -> float:
        """The wait that so large a share of the leases does not exceed."""
        ordered = sorted(self.leases_ms) or [0.0]
        return ordered[int(share * (len(ordered) - 1))]

    @property
    def first(self) -> str:
        """What is fullest, and so ends first."""
        return max(self.busy, key=lambda name: self.busy[name])
