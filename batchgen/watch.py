"""What happens beside the calls of a run: once a second it is told, and in time it is ended."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from batchgen.budget import Budget
from batchgen.clock import Clock
from batchgen.ending import EXIT_OVER_TIME
from batchgen.events import Event, Ticked
from batchgen.limits import Limiter
from batchgen.stop import Stop

_TICK_S: Final = 1.0
_LOOK_AT_THE_CLOCK_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Watch:
    """Looks at the clock for one run.

    Attributes:
        began_s: When the run began, on the clock.
        n_waiting: How many items wait for their next attempt.
    """

    clock: Clock
    budget: Budget
    began_s: float
    limiter: Limiter
    n_waiting: Callable[[], int]
    stop: Stop
    tell: Callable[[Event], None]

    async def tick(self) -> None:
        """Tell once a second that time goes by: a picture takes long, and nothing else happens."""
        limiter = self.limiter
        while True:
            await asyncio.sleep(_TICK_S)
            self.tell(
                Ticked(
                    n_in_flight=limiter.n_in_flight,
                    limit=limiter.concurrency,
                    n_retrying=self.n_waiting(),
                    cooling=limiter.cooling,
                )
            )

    async def end_in_time(self) -> None:
        """Stop the run when its time is over; what is under way may end."""
        while (left_s := self._left_s()) > 0:
            if math.isinf(left_s):
                return
            # In pieces: while a machine sleeps its clock goes on, and a timer may not.
            await self.clock.sleep(min(left_s, _LOOK_AT_THE_CLOCK_S))
        self.stop.ask(
            "the time is over (max_duration or deadline); run again for what is left",
            exit_code=EXIT_OVER_TIME,
        )

    def _left_s(self) -> float:
        """Seconds until the run may start nothing new any more; infinite without a bound."""
        left_s = math.inf
        if (longest_s := self.budget.max_duration_s) is not None:
            left_s = longest_s - (self.clock.monotonic_s() - self.began_s)
        if (deadline_at := self.budget.deadline_at) is not None:
            left_s = min(left_s, (deadline_at - self.clock.now()).total_seconds())
        return left_s
