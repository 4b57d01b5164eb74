"""How much may be under way at once, how fast it may leave, and when to wait.

settings   what the job allows
windows    sums over a minute, ten minutes, a day
adaptive   what the service allows, found out
trouble    failures that are the service's own
lane       all of it for one model: how long a request has to wait
limiter    waits, over all models
"""

from batchgen.limits.lane import Call, Out, Step
from batchgen.limits.limiter import Limiter, Seat
from batchgen.limits.settings import (
    AUTO,
    Concurrency,
    Limits,
    max_in_flight,
    read_concurrency,
)
from batchgen.limits.windows import NO_DEMAND, Demand

__all__ = [
    "AUTO",
    "NO_DEMAND",
    "Call",
    "Concurrency",
    "Demand",
    "Limiter",
    "Limits",
    "Out",
    "Seat",
    "Step",
    "max_in_flight",
    "read_concurrency",
]
