"""What a run may ask of the service, as the job and the command line say it."""

import resource
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Self

from batchgen.errors import UsageError
from batchgen.selection import Shard, share_of_count, share_of_usd

AUTO_START: Final = 4
AUTO_MAX: Final = 64
_FILES_A_REQUEST: Final = 3
_OTHER_FILES: Final = 32


@dataclass(frozen=True, slots=True)
class Concurrency:
    """How many requests may be in flight: where to begin, and between which bounds to search."""

    lowest: int
    start: int
    highest: int

    @classmethod
    def at_most(cls, n: int) -> "Concurrency":
        """Use `n` at once, and fewer only while the service refuses that many."""
        return cls(1, n, n)

    @classmethod
    def between(cls, lowest: int, highest: int) -> "Concurrency":
        """Begin with the lowest, and find out how many the service takes."""
        return cls(lowest, lowest, highest)

    def within(self, most: int) -> "Concurrency":
        """The same, but never more than so many."""
        return Concurrency(min(self.lowest, most), min(self.start, most), min(self.highest, most))


AUTO: Final = Concurrency(1, AUTO_START, AUTO_MAX)


def read_concurrency(text: str) -> Concurrency | None:
    """`auto`, a number, or `MIN-MAX`; None for anything else."""
    word = text.strip()
    if word == "auto":
        return AUTO
    numbers = [int(part) for part in word.split("-") if part.isascii() and part.isdigit()]
    if len(numbers) != word.count("-") + 1 or not numbers or min(numbers) < 1:
        return None
    match numbers:
        case [n]:
            return Concurrency.at_most(n)
        case [lowest, highest] if lowest <= highest:
            return Concurrency.between(lowest, highest)
        case _:
            return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a run may ask of the service. All but the concurrency hold for each model by itself.

    Attributes:
        concurrency: Requests in flight, over all models.
        rpm: Requests a minute.
        tpm: Input tokens a minute, which is what the service counts.
        ipm: Images a minute.
        rpd: Requests a day, which ends at midnight Pacific; earlier runs count.
        usd_per_10min: Money in any ten minutes.
    """

    concurrency: Concurrency = AUTO
    rpm: float | None = None
    tpm: float | None = None
    ipm: float | None = None
    rpd: int | None = None
    usd_per_10min: Decimal | None = None

    def share(self, shard: Shard) -> Self:
        """What of it a part of the job may ask for: so the parts together ask for no more.

        The requests in flight are what one process can bear, and are not shared.

        Raises:
            UsageError: There is less than one request for each part.
        """
        for name, most in (("rpm", self.rpm), ("ipm", self.ipm), ("rpd", self.rpd)):
            if most is not None and most < shard.total:
                raise UsageError(
                    f"limits.{name} {most:g} is less than one for each of {shard.total} shards, "
                    "and each sends its first at once: take fewer of them"
                )
        rpm, tpm, ipm = (
            None if rate is None else rate / shard.total for rate in (self.rpm, self.tpm, self.ipm)
        )
        usd, rpd = self.usd_per_10min, self.rpd
        return replace(
            self,
            rpm=rpm,
            tpm=tpm,
            ipm=ipm,
            rpd=None if rpd is None else share_of_count(rpd, shard),
            usd_per_10min=None if usd is None else share_of_usd(usd, shard),
        )


def max_in_flight() -> int:
    """How many requests the limit of open files allows: each has a socket, a part and a reference.

    Some are left for everything else that a process has open.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, (soft - _OTHER_FILES) // _FILES_A_REQUEST)
