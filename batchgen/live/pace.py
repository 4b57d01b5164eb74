"""How fast the run goes that the ledger tells of, and what holds it back."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from batchgen.model import Attempt
from batchgen.report.last_run import Round
from batchgen.store.history import final_image
from batchgen.store.ledger import End, Filed, Line, Run

_RECENT: Final = timedelta(minutes=1)
_LEAST_ENDS: Final = 10
_MOST_ENDS: Final = 200


class Cooldown(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing leaves to a model until then.

    Attributes:
        until: A stamp.
        for_s: Seconds until then.
        why: What came before it: `a 429`.
    """

    model: str
    until: str
    for_s: float
    why: str


class Rate(NamedTuple):
    """How fast items end, and how fast pictures come of it."""

    ends_per_min: float
    pictures_per_min: float


class _Moment(NamedTuple):
    at: datetime
    is_picture: bool = False


@dataclass(slots=True)
class Pace:
    """When the last items of the last run ended, by the stamps of its lines.

    Attributes:
        began_at: When it began; None if there was none.
        heard_at: The latest moment that a line of it tells of.
        n_ends: Items that have ended in it.
        n_pictures: Those of them that have a picture.
        _moments: When it began, or an item ended, and when the last ones after that did.
    """

    began_at: datetime | None = None
    heard_at: datetime | None = None
    n_ends: int = 0
    n_pictures: int = 0
    _round: Round = field(default_factory=Round)
    _moments: deque[_Moment] = field(default_factory=lambda: deque(maxlen=1 + _MOST_ENDS))
    _cools: dict[str, tuple[str, str]] = field(default_factory=dict)

    def take(self, line: Line) -> None:
        """Take one line, in the order of the ledger."""
        if isinstance(line, Run) and not self._round.joins(line):
            self._round, self.n_ends, self.n_pictures = Round.of(line), 0, 0
            self.began_at = self.heard_at = datetime.fromisoformat(line.at)
            self._moments.clear()
            self._moments.append(_Moment(self.began_at))
            self._cools.clear()
        if isinstance(line, Filed | End) or line.run_id not in self._round.run_ids:
            return
        at = datetime.fromisoformat(line.at)
        if isinstance(line, Attempt):
            at += timedelta(seconds=line.latency_s or 0.0)
            self._take_end(line, at)
        self.heard_at = max(at, self.heard_at or at)

    def _take_end(self, line: Attempt, at: datetime) -> None:
        is_picture = final_image(line.images) is not None
        if is_picture or line.decision in {"failed", "skipped"}:
            self.n_ends += 1
            self.n_pictures += is_picture
            self._moments.append(_Moment(at, is_picture))
        if isinstance(line.cools_until, str):
            why = f"a {line.http_status}" if line.http_status else str(line.outcome)
            self._cools[line.model] = (line.cools_until, why)

    def rate(self, now: datetime) -> Rate | None:
        """What ended over the last minute, or over ten ends if these took longer.

        So it follows when a quick model is done, or a wait is over. None before there are two.
        """
        moments = list(self._moments)
        n_recent = sum(now - one.at <= _RECENT for one in moments[1:])
        n = min(max(n_recent, _LEAST_ENDS), len(moments) - 1)
        if n < 2:  # noqa: PLR2004
            return None
        # From the end before them: answers to requests that left together come together.
        since, *ends = moments[-n - 1 :]
        elapsed_s = (now - since.at).total_seconds()
        if elapsed_s <= 0:
            return None
        n_pictures = sum(one.is_picture for one in ends)
        return Rate(ends_per_min=n * 60 / elapsed_s, pictures_per_min=n_pictures * 60 / elapsed_s)

    def cooling(self, now: datetime) -> list[Cooldown]:
        """The models to which nothing leaves at this moment."""
        found = []
        for model, (until, why) in self._cools.items():
            for_s = (datetime.fromisoformat(until) - now).total_seconds()
            if for_s > 0:
                one = Cooldown(model=model, until=until, for_s=round(for_s, 1), why=why)
                found.append(one)
        return found
