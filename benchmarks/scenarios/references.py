"""Point 4: requests that carry many large references, the same in every item."""

from typing import Final

from benchmarks.goals import Figures, Goal, Verdict, at_least, at_most
from benchmarks.kinds import MB, Calls, Column

_POINT: Final = "4 References"
_MAX_PEAK_MB: Final = 150
_MIN_MB_A_CORE: Final = 400
_N_FILES: Final = 14

_LOAD: Final = Calls(
    name="references-16",
    title="64 requests with the same 14 references of 5 MB, 16 at once",
    n=64,
    concurrency=16,
    image_bytes=2000,
    n_references=_N_FILES,
    reference_bytes=5 * MB,
    contenders=("batchgen_counting",),
    columns=(Column("n_hashed", "files hashed"),),
)
SCENARIOS: Final = (_LOAD,)


def _peak(figures: Figures) -> Verdict:
    peak_bytes = figures[_LOAD.name]["batchgen_counting"].peak_rss_bytes
    return at_most(_MAX_PEAK_MB, "{:.0f} MB", peak_bytes / MB)


def _hashed(figures: Figures) -> Verdict:
    n_hashed = figures[_LOAD.name]["batchgen_counting"].extras["n_hashed"]
    once = at_most(_N_FILES, "{:.0f}", n_hashed)
    return Verdict(f"{once.figure} times for {_N_FILES} files", once.is_met)


def _a_core(figures: Figures) -> Verdict:
    cpu_s = figures[_LOAD.name]["batchgen_counting"].cpu_s
    sent_bytes = _LOAD.n * _LOAD.n_references * _LOAD.reference_bytes
    return at_least(_MIN_MB_A_CORE, "{:,.0f} MB/s", sent_bytes / cpu_s / MB)


GOALS: Final = (
    Goal(
        words="14 of 5 MB, 16 at once: peak RSS under 150 MB",
        scenarios=(_LOAD.name,),
        judge=_peak,
        point=_POINT,
    ),
    Goal(
        words="The same files in every item: each hashed once",
        scenarios=(_LOAD.name,),
        judge=_hashed,
        point=_POINT,
    ),
    Goal(
        words="References: at least 400 MB/s a core: image bytes sent by CPU second of the client",
        scenarios=(_LOAD.name,),
        judge=_a_core,
        point=_POINT,
    ),
)
