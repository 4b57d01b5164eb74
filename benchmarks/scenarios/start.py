"""Point 6: commands that do hardly anything."""

from typing import Final

from benchmarks.goals import Figures, Goal, Verdict, at_most
from benchmarks.kinds import Starts

_MAX_BEYOND_MS: Final = 60

SCENARIOS: Final = (
    Starts(
        name="start",
        title="`batchgen --version` and `--help`, beside `python -c pass`",
        contenders=("--version", "--help"),
    ),
)


def _beyond(figures: Figures) -> Verdict:
    beyond = [one.extras["beyond_ms"] for one in map(figures["start"].__getitem__, _OPTIONS)]
    return at_most(_MAX_BEYOND_MS, "{:.0f} ms", *beyond)


_OPTIONS: Final = SCENARIOS[0].contenders
GOALS: Final = (
    Goal(
        words="`--version` and `--help` within 60 ms of `python -c pass`",
        scenarios=("start",),
        judge=_beyond,
        point="6 Start",
    ),
)
