"""How well a limit that the server has is used, and how much of what is sent is refused."""

from functools import partial
from typing import Final

from benchmarks.goals import Figures, Goal, Verdict
from benchmarks.kinds import Limited

_MIN_USED: Final = 0.9
_MAX_REFUSED: Final = 0.05

SCENARIOS: Final = (
    Limited(
        name="window",
        title="2,000 requests, of which the server takes 250 in any 10 s",
        rule=("window", "250", "10"),
        tells=True,
        limits={"rpm": 1500},
    ),
    Limited(
        name="bucket",
        title="2,000 requests, of which the server takes 25 a second, and up to 25 together",
        rule=("bucket", "25", "25"),
        tells=True,
        limits={"rpm": 1500},
    ),
    Limited(
        name="bucket-untold",
        title="The same bucket, whose refusals do not say how long to wait",
        rule=("bucket", "25", "25"),
        tells=False,
        limits={"rpm": 1500},
    ),
    Limited(
        name="at-once",
        title="2,000 requests, of which the server takes 16 at once",
        rule=("at-once", "16"),
        tells=False,
        limits={"concurrency": 16},
    ),
)


def _traffic(name: str, figures: Figures) -> Verdict:
    told, found = (figures[name][one].traffic for one in ("batchgen_told", "batchgen_auto"))
    if told is None or found is None:
        raise KeyError("batchgen_auto")
    words = [f"{one.used:.1%} and {one.refused:.1%}".replace("%", " %") for one in (told, found)]
    is_met = all(one.used >= _MIN_USED and one.refused <= _MAX_REFUSED for one in (told, found))
    return Verdict(f"{words[0]} with the limit set, {words[1]} with the limit found out", is_met)


GOALS: Final = tuple(
    Goal(
        words="at least 90 % used and at most 5 % refused, in both",
        scenarios=(one.name,),
        judge=partial(_traffic, one.name),
    )
    for one in SCENARIOS
)
