"""RESULTS.md: every goal beside its figure, a table a scenario, the growth, and what ends first.

A run that measured a part of it renews that part: rows, sections and picture that need something
which was not measured stay as they were.
"""

from collections.abc import Sequence
from typing import Final

from benchmarks import ends
from benchmarks.goals import Figures
from benchmarks.growth import Grown, grown
from benchmarks.results import Table, aligned, goal_cells, scenario_text
from benchmarks.scenarios import GOALS, SCENARIOS
from benchmarks.scenarios.growth import SCENARIOS as GROWTH_SCENARIOS
from benchmarks.scenarios.growth import SERIES

_TITLE: Final = "# What `make bench` measured"
_GOALS: Final = "The goals"
_NOTES_TITLE: Final = "How it is measured"
_GROWTH: Final = "Growth"
_ENDS: Final = "What ends first"
_HEAD: Final = ("", "goal", "measured", "")
_POWER: Final = (
    "The power is that of the size by which a figure has grown since the size before: 0 is no "
    "growth, 1 is as the load, 2 its square. The floor's is that of its time for the same replies: "
    "what it has beyond 1 is the machine's, which gives much memory more slowly than little, and "
    "is taken off ours where growth is judged."
)
_BESIDE: Final = frozenset(one.name for one in GROWTH_SCENARIOS)
_NOTES: Final = """\
Written by `make bench`, which measures what the goals need, and `make bench-full`, which measures
all. A run of some scenarios only changes nothing here, or with `--write` what it measured; so each
table says when and with what it was measured. What is met is computed from the medians.

Each figure is the median of the rounds; in each round every contender runs once, in turn, in a
process of its own, and each round begins with another one. There are three rounds wherever there is
a rival beside batchgen; what is measured for its growth, takes minutes, or waits for a server's
limit, has one.
Wall and CPU seconds (user and system, all threads) count from after the imports to the end; peak
RSS is that of the whole process. MB are 10^6 bytes, GB 10^9.

Calls go to a fresh server process on loopback, over plain HTTP; it shares the cores. MB/s and CPU
s/GB count the bytes of images, before base64. batchgen runs with full durability, from job file to
summary and page; the others write the image files and sync nothing. Output goes to tmpfs, or to a
disk where the title says so. As much as one run writes to tmpfs, up to 1 GiB, is written and taken
away before the first one, which would pay for memory that the host of a virtual machine gives only
when it is touched. The rivals are google-genai's asynchronous client with a semaphore, and two
scripts on aiohttp; the best rival is the fastest of the three in that scenario, or the one that
takes the least of the processor. The floor is no rival: raw sockets, one buffer for all of them,
the base64 between the quotes decoded with SIMD and written straight to the file; nothing is parsed,
checked, hashed, recorded or synced. The bare script reads the JSON, decodes the picture and keeps
nothing.

Where requests wait, the server answers none of them before it has so many to answer; and before it
does, the measuring process counts the part files below `.parts/`.

References are hashed through `hashlib.sha256`, which is wrapped in the process that is measured:
files hashed are digests that saw as many bytes as the smallest of them has. MB/s a core are the
bytes of the files, before base64, that were sent for each second that the client kept a processor
busy, with all its threads and its start; so it is what one core could send that did nothing else.

A job file is read by `batchgen validate`, its own imports included: every field of every item is
checked, each reference opened and hashed once, defaults merged, content keys worked out, ids and
keys compared with all others. The others check nothing and keep no places: they are the least that
reading such a file in Python costs, not another way to do the same.

A run of a large job, of a finished job, and a start are measured from outside: the whole command,
from before its process is there; its peak is looked at fifty times a second. The first request is
when the server had it whole, by the clock that both read. A job that is stopped is sent a Ctrl-C
two seconds later, and writes results and page of all its items before it ends: the peak is that of
all of it. Nothing is sent for a finished job: the server counts. It ends with results and page too.
A start is measured beside `python -c pass`, the one or the other first in turn.

The event loop is busy from when its selector hands over what has come until it is asked again. So
long it looks at no socket and no timer, whatever it does: a callback, or a wait for the
interpreter's lock while another thread has it. Each of these turns counts, from the first of the
run to the last.

A log is added up by `batchgen cost`, and by duckdb with a query that knows the columns; the imports
of neither count. Both group a million answers by model and day into calls, tokens by kind and
cost, rounded a call, with a tenth of the answers lacking details; what they come to is compared to
the micro-dollar. batchgen reads a large log with a process a core: their peaks are added.

A report is written by `batchgen report` from items.jsonl and the ledger, its imports included:
results, summary and a page of all items. There are no pictures, and so no thumbnails to make.

Thumbnails are made with a process a core, which check the SHA-256 of each picture and start within
the time; their peaks are added.

Viewers follow `batchgen report --serve` in processes of their own, which are there before the time
counts, and fetch the thumbnail of each picture as it lands; the figures are those of the run. All
share the cores. Each viewer must have seen all pictures within a minute after the run.

A server with a limit takes 0.2 to 1 s for an answer, and refuses at once, with a 429, what is
beyond its limit. "Used" is how much of the limit was taken up while the last 80 % of the requests
came, by the server's own count: of a window how full it was, of a bucket the share of its tokens
that did not run over, of places at once how many were held. "Refused" is the share of all requests.
The contenders run side by side, each against a server of its own: they wait far more than they
work. The usual script has a semaphore; what is refused is sent again after what `Retry-After` says,
else after 1, 2, 4 … 60 s, with up to a second of jitter, until it is taken."""


def document(before: str, tables: Sequence[Table]) -> str:
    """RESULTS.md with these tables in it.

    Args:
        before: What stands there now.
        tables: What was measured now.
    """
    figures = {table.scenario.name: table.medians() for table in tables}
    kept = _sections(before)
    shown = [table for table in tables if table.scenario.name not in _BESIDE]
    new = {table.scenario.name: scenario_text(table, GOALS, figures) for table in shown}
    new |= _at_the_end(tables, figures)
    names = (*(scenario.name for scenario in SCENARIOS), _GROWTH, _ENDS)
    found = (new.get(name, kept.get(name)) for name in names)
    goals = goals_text(before, figures)
    sections = [goals, f"## {_NOTES_TITLE}\n\n{_NOTES}", *filter(None, found)]
    return "\n\n".join([_TITLE, *sections]) + "\n"


def all_grown(figures: Figures) -> list[Grown] | None:
    """What the picture of the growth shows; None if a part of it was not measured."""
    try:
        return [grown(series, figures) for series in SERIES]
    except KeyError:
        return None


def _at_the_end(tables: Sequence[Table], figures: Figures) -> dict[str, str]:
    """The sections that need several scenarios, if those were all measured."""
    told = all_grown(figures)
    new = {} if told is None else {_GROWTH: _growth(told, _last_of_growth(tables))}
    try:
        n_calls = {table.scenario.name: table.scenario.n for table in tables}["replies-6mb-32"]
        new[_ENDS] = ends.section(figures, n_calls)
    except KeyError:
        pass
    return new


def _last_of_growth(tables: Sequence[Table]) -> Sequence[str]:
    return [table.measured_with for table in tables if table.scenario.name in _BESIDE][-1]


def _sections(text: str) -> dict[str, str]:
    """The sections of a page by their names: "Title (`name`)", or the title if it has none."""
    sections = (f"## {section}" for section in text.strip().split("\n\n## ")[1:])
    return {_name(section): section for section in sections}


def _name(section: str) -> str:
    title = section.removeprefix("## ").partition("\n")[0]
    return title.rpartition("(`")[2].removesuffix("`)")


def _rows(section: str) -> dict[tuple[str, str], tuple[str, str]]:
    """The figure and the verdict of each goal of a page, by point and words."""
    rows = (line.strip("| ").split("|") for line in section.splitlines() if line.startswith("| "))
    cells = ([cell.strip() for cell in row] for row in rows)
    return {(row[0], row[1]): (row[2], row[3]) for row in cells if len(row) == len(_HEAD)}


def goals_text(before: str, figures: Figures) -> str:
    """The table of the goals: a row that was not measured now stays as it stands on the page."""
    known = _rows(_sections(before).get(_GOALS, ""))
    rows = []
    for goal in GOALS:
        if not goal.point:
            continue
        if goal.is_measured_by(figures):
            cells = goal_cells(goal, figures)
        else:
            cells = known.get((goal.point, goal.words), ("not measured", "–"))
        rows.append((goal.point, goal.words, *cells))
    n_met = sum(row[-1] == "**met**" for row in rows)
    return "\n".join(
        [
            f"## {_GOALS}",
            "",
            *aligned([_HEAD, *rows]),
            "",
            f"{n_met} of {len(rows)} are met.",
        ]
    )


def _growth(told: Sequence[Grown], measured_with: Sequence[str]) -> str:
    rows = [("", "size", "wall s", "power", "the floor's", "peak RSS MB", "power")]
    for one in told:
        floor = ("–", *(f"{power:.2f}" for power in one.floor_exponents))
        times = ("–", *(f"{power:.2f}" for power in one.time_exponents))
        memory = ("–", *(f"{power:.2f}" for power in one.memory_exponents))
        for at, size in enumerate(one.sizes):
            is_timed = one.series.is_timed
            rows.append(
                (
                    one.series.title if at == 0 else "",
                    f"{size:,} {one.series.unit}",
                    f"{one.wall_s[at]:.2f}" if is_timed else "–",
                    times[at] if is_timed else "–",
                    floor[at] if one.series.floor else "–",
                    f"{one.peak_mb[at]:,.0f}",
                    memory[at],
                )
            )
    return "\n".join(
        [
            f"## {_GROWTH}",
            "",
            "![Time and memory at a tenth, at one and at ten times of each load](growth.svg)",
            "",
            *aligned(rows),
            "",
            _POWER,
            "",
            f"*Measured {'; '.join(measured_with)}.*",
        ]
    )
