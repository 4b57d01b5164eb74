"""How long a call may take. Apart from `transport`, so that reading a job needs no HTTP."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Seconds. `attempt` spans a whole call: no byte comes before the image is made.

    An answer that has begun and drips below `min_rate_bytes_s` for `min_rate_over_s` would take
    until the end of `attempt`, and not be whole then; no job sets these two.
    """

    connect: float = 15.0
    attempt: float = 600.0
    idle: float = 60.0
    min_rate_bytes_s: int = 1024
    min_rate_over_s: float = 30.0
