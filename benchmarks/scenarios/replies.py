"""Point 1: large replies, beside what people would use instead, and beside the floor."""

from functools import partial
from typing import Final

from benchmarks.goals import Figures, Goal, Verdict, at_least, at_most
from benchmarks.kinds import GB, MB, Calls

_POINT: Final = "1 Replies"
_RIVALS: Final = ("google_genai", "usual_script", "orjson_pybase64")
_AT_ONCE: Final = (32, 64)
# Of each size: how many in a run at 32 and at 64, and how many times as fast as the best rival.
_SIZES_MB: Final = {2: (150, 150, 2.0), 6: (100, 100, 3.0), 20: (32, 64, 4.0)}
_MIN_OF_FLOOR: Final = 0.5
_MAX_OF_CPU: Final = 0.5


def _names(mb: int) -> tuple[str, ...]:
    return tuple(f"replies-{mb}mb-{at_once}" for at_once in _AT_ONCE)


SCENARIOS: Final = (
    *(
        Calls(
            name=name,
            title=f"{n} replies of {mb} MB, {at_once} at once",
            n=n,
            concurrency=at_once,
            image_bytes=mb * MB,
            contenders=("batchgen", *_RIVALS, "floor"),
        )
        for mb, (*counts, _) in _SIZES_MB.items()
        for name, at_once, n in zip(_names(mb), _AT_ONCE, map(int, counts), strict=True)
    ),
    Calls(
        name="replies-6mb-disk",
        title="100 replies of 6 MB, 32 at once, on a disk",
        n=100,
        concurrency=32,
        image_bytes=6 * MB,
        contenders=("batchgen", "no_syncs"),
        on_disk=True,
    ),
)
_BYTES: Final = {one.name: one.n * one.image_bytes for one in SCENARIOS}


def _speedup(names: tuple[str, ...], least: float, figures: Figures) -> Verdict:
    """Against the fastest of the rivals."""
    times = [
        figures[name]["batchgen"].per_s / max(figures[name][rival].per_s for rival in _RIVALS)
        for name in names
    ]
    return at_least(least, "{:.2f} x", *times)


def _cpu(names: tuple[str, ...], figures: Figures) -> Verdict:
    """Against the one that takes the least of the processor."""
    shares, told = [], []
    for name in names:
        ours, best = (
            figures[name]["batchgen"].cpu_s,
            min(figures[name][rival].cpu_s for rival in _RIVALS),
        )
        shares.append(ours / best)
        told.append(f"{ours / _BYTES[name] * GB:.2f} of {best / _BYTES[name] * GB:.2f} s/GB")
    share = at_most(_MAX_OF_CPU, "{:.2f} x", *shares)
    return Verdict(f"{share.figure} ({' and '.join(told)})", share.is_met)


def _of_floor(names: tuple[str, ...], figures: Figures) -> Verdict:
    shares = [figures[name]["batchgen"].per_s / figures[name]["floor"].per_s for name in names]
    return at_least(_MIN_OF_FLOOR, "{:.2f} x", *shares)


GOALS: Final = (
    *(
        Goal(
            words=f"{mb} MB: at least {least:.0f} x the images/s of the best rival, at 32 and 64",
            scenarios=_names(mb),
            judge=partial(_speedup, _names(mb), least),
            point=_POINT,
        )
        for mb, (_, _, least) in _SIZES_MB.items()
    ),
    Goal(
        words=f"6 MB: at least {_MIN_OF_FLOOR} x the images/s of the floor, at 32 and 64",
        scenarios=_names(6),
        judge=partial(_of_floor, _names(6)),
        point=_POINT,
    ),
    *(
        Goal(
            words=f"{mb} MB: at most half the processor time of the best rival, at 32 and 64",
            scenarios=_names(mb),
            judge=partial(_cpu, _names(mb)),
            point=_POINT,
        )
        for mb in _SIZES_MB
    ),
)
