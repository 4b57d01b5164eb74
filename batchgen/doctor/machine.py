"""What a run needs of this machine: open files, and a clock that is right."""

from datetime import datetime
from typing import Final

from batchgen.doctor.findings import BAD_USAGE, Finding, fine, problem, warning
from batchgen.errors import UsageError
from batchgen.limits import Limits, max_in_flight
from batchgen.options import bearable
from batchgen.wording import counted, duration

# Days, prices and deadlines go by the clock; so does the certificate of the service.
MOST_OFF_S: Final = 300.0
_DAY_S: Final = 86_400


def check_files(limits: Limits) -> Finding:
    """Whether the limit of open files allows as many requests at once as are asked for."""
    most, asked = max_in_flight(), limits.concurrency
    remedy = "raise the limit (ulimit -n, LimitNOFILE in a unit), or set a lower concurrency"
    try:
        bearable(asked)
    except UsageError as error:
        return problem("files", str(error), remedy, BAD_USAGE)
    if asked.highest > most:
        told = f"enough for {counted(most, 'request')} at once; {asked.highest:,} may be wanted"
        return warning("files", told, remedy)
    return fine("files", f"enough for {asked.highest:,} requests at once")


def check_clock(now: datetime, ahead_s: float | None) -> Finding:
    """Whether this machine's clock agrees with that of the service.

    Args:
        now: By this machine.
        ahead_s: How far that of the service is ahead; None if it does not tell.
    """
    local = now.astimezone()
    told = f"{local:%Y-%m-%d %H:%M:%S}, {local.tzname()} (UTC{local:%z})"
    if ahead_s is None:
        return fine("clock", f"{told}; there is no other one to compare it with")
    if abs(ahead_s) <= MOST_OFF_S:
        return fine("clock", f"{told}; that of the service agrees")
    which = "behind" if ahead_s > 0 else "ahead of"
    remedy = "set the clock, and let it be kept (timedatectl set-ntp true)"
    return warning("clock", f"{told}: {_off(abs(ahead_s))} {which} that of the service", remedy)


def _off(seconds: float) -> str:
    """`12m07s`, `26h03m`; from two days on `1,062 days`."""
    days = int(seconds // _DAY_S)
    return duration(seconds) if days <= 1 else counted(days, "day")
