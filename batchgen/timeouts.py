"""How long a call may take. Apart from `transport`, so that reading a job needs no HTTP."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Seconds. `attempt` spans a whole call: no byte comes before the image is made."""

    connect: float = 15.0
    attempt: float = 600.0
    idle: float = 60.0
