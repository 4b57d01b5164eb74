"""Which resource of one machine ends first, and what that means in images an hour."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.goals import Figures
from benchmarks.kinds import MB
from benchmarks.reply import body
from benchmarks.results import aligned
from benchmarks.scenarios.small import sync_share

_IMAGE_BYTES: Final = 6 * MB
_NETWORK_BYTES_PER_S: Final = 1e9 / 8
_LATENCIES_S: Final = (10, 120)
_AT_ONCE: Final = 64
_HOUR_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Resource:
    """What there is of something, in images of 6 MB."""

    name: str
    takes: str
    per_s: float


def resources(figures: Figures, n_calls: int) -> list[Resource]:
    """Network, disk and processor, by what was measured.

    Args:
        figures: Of the runs with 6 MB, on tmpfs and on disk.
        n_calls: Images of one run on tmpfs.

    Raises:
        KeyError: One was not measured.
    """
    cpu_s = figures["replies-6mb-32"]["batchgen"].cpu_s / n_calls
    received_bytes = len(body(_IMAGE_BYTES))
    on_disk = figures["replies-6mb-disk"]["batchgen"]
    share = sync_share(figures, "replies-6mb-disk")
    return [
        Resource(
            "a network of 1 Gbit/s",
            f"{received_bytes / MB:.1f} MB received: the picture in base64",
            _NETWORK_BYTES_PER_S / received_bytes,
        ),
        Resource(
            "this machine's disk",
            f"{_IMAGE_BYTES / MB:.0f} MB written and synced, {share:.0%} of the time in syncs; "
            "as fast as a run onto it was",
            on_disk.per_s,
        ),
        Resource("one core", f"{1000 * cpu_s:.1f} ms of the processor", 1 / cpu_s),
    ]


def section(figures: Figures, n_calls: int) -> str:
    """The words of it.

    Raises:
        KeyError: Something was not measured.
    """
    there = resources(figures, n_calls)
    first = min(there, key=lambda one: one.per_s)
    waits = [
        Resource(
            f"{_AT_ONCE} calls at once, of {latency_s} s each", "its time", _AT_ONCE / latency_s
        )
        for latency_s in _LATENCIES_S
    ]
    rows = [("", "an image of 6 MB takes", "images an hour")]
    rows += [(one.name, one.takes, f"{one.per_s * _HOUR_S:,.0f}") for one in (*there, *waits)]
    return "\n".join(
        [
            "## What ends first",
            "",
            *aligned(rows),
            "",
            _first(first, there),
            "",
            _in_flight(figures, first),
        ]
    )


def _first(first: Resource, there: Sequence[Resource]) -> str:
    used = [
        f"{first.per_s / one.per_s:.0%} of what the {one.name} can do".replace(
            "the this", "this"
        ).replace("the one", "one")
        for one in there
        if one is not first
    ]
    return (
        f"On one machine **{first.name}** ends first, at {first.per_s * _HOUR_S:,.0f} images "
        f"an hour. That takes {' and '.join(used)}."
    ).replace("%", " %")


def _in_flight(figures: Figures, first: Resource) -> str:
    """How many calls it takes to get there, and what their waiting costs."""
    many, few = (figures[name]["batchgen"].peak_rss_bytes for name in ("waiting", "waiting-8"))
    each_bytes = max(0.0, (many - few) / (1000 - 8))
    fewest, most = (first.per_s * latency_s for latency_s in _LATENCIES_S)
    return (
        f"Before that, the service does: a call takes {_LATENCIES_S[0]} to {_LATENCIES_S[1]} s, so "
        f"it takes {fewest:,.0f} to {most:,.0f} calls in flight to get there. Each that waits "
        f"takes {each_bytes / 1000:.0f} kB, all of them up to {each_bytes * most / MB:,.0f} MB."
    )
