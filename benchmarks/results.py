"""The figures of a scenario in words: a table for the terminal, which is that of RESULTS.md too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.goals import Figures, Goal
from benchmarks.kinds import GB, MB, Calls, Limited, Scenario, Starts, Viewed
from benchmarks.measure import Measured, Median, Traffic, median_of

_LABELS: Final = {
    "batchgen": "batchgen",
    "usual_script": "usual script (aiohttp, `await r.json()`, base64)",
    "orjson_pybase64": "the same with orjson and pybase64",
    "floor": "the floor (raw sockets, SIMD base64, straight to the file)",
    "google_genai": "google-genai, asynchronous",
    "bare_aiohttp": "bare aiohttp script, which keeps nothing",
    "batchgen_counting": "batchgen",
    "batchgen_timed": "batchgen",
    "sync_a_line": "the same with a sync for each line of the ledger",
    "no_syncs": "the same without any sync: not durable",
    "run": "batchgen run",
    "--version": "batchgen --version",
    "--help": "batchgen --help",
    "validate": "batchgen validate",
    "json_loads": "`json.loads` a line, ids into a set",
    "yaml_load": "`yaml.load(…, CSafeLoader)`",
    "csv_product": "`csv.DictReader`, `itertools.product`, `str.format`",
    "cost": "batchgen cost",
    "report": "batchgen report",
    "duckdb_cost": "duckdb, the same group-by in SQL, the columns told",
    "batchgen_viewed": "the same while three viewers fetch each thumbnail",
    "thumbnails": "thumbnails of a report",
    "pillow_thumbnails": "`Image.open`, `thumbnail`, `save`, in one process",
    "batchgen_told": "batchgen, the limit set in the job",
    "batchgen_auto": "batchgen, the limit found out (`concurrency: auto`)",
    "batchgen_steady": "batchgen in one process",
    "ray_1": "a worker on Ray",
    "ray_2": "two workers on Ray",
    "ray_4": "four workers on Ray",
    "patient_script": "usual script, 64 at once, with the usual retries",
}
_FINE: Final = 100
_COSTS: Final = ("wall s", "CPU s", "peak RSS MB")


@dataclass(slots=True)
class Table:
    """The runs of one scenario.

    Attributes:
        place: Where the files are.
        measured_with: The day, the rounds, the machine and the versions.
        runs: By contender; empty where every run failed.
        failures: The last failure of a contender.
    """

    scenario: Scenario
    place: str
    measured_with: Sequence[str]
    runs: dict[str, list[Measured]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def medians(self) -> dict[str, Median]:
        """The medians of those that never failed."""
        return {
            name: median_of(runs, self.scenario.n)
            for name, runs in self.runs.items()
            if name not in self.failures
        }


def scenario_text(table: Table, goals: Sequence[Goal], figures: Figures) -> str:
    """One scenario: its table, and the goals that begin with it, if all that they need is there."""
    medians = table.medians()
    rows = [_row(name, medians, table) for name in table.runs]
    lines = [f"## {table.scenario.title} (`{table.scenario.name}`)", ""]
    lines += aligned([_header(table.scenario), *rows])
    if not isinstance(table.scenario, Starts):
        written = isinstance(table.scenario, Calls | Limited | Viewed)
        lines += ["", f"{'Output' if written else 'The files'} on {table.place}."]
    mine = [goal for goal in goals if goal.scenarios[0] == table.scenario.name]
    lines += [f"\n{_goal(goal, figures)}" for goal in mine if goal.is_measured_by(figures)]
    lines += [f"\n{_LABELS[name]} failed: {why}" for name, why in table.failures.items()]
    lines += ["", f"*Measured {'; '.join(table.measured_with)}.*"]
    return "\n".join(lines)


def goal_cells(goal: Goal, figures: Figures) -> tuple[str, str]:
    """The figure of a goal, and whether it is met."""
    try:
        figure, is_met = goal.judge(figures)
    except KeyError as missing:
        return f"not measured: no {missing.args[0]}", "–"
    return figure, "**met**" if is_met else "**not met**"


def _goal(goal: Goal, figures: Figures) -> str:
    figure, verdict = goal_cells(goal, figures)
    return f"Goal: {goal.words}. Measured: {figure}. {verdict}"


def _header(scenario: Scenario) -> tuple[str, ...]:
    titles = tuple(column.title for column in scenario.columns)
    if isinstance(scenario, Limited):
        return ("", "used", "refused", "calls/s", *_COSTS)
    if isinstance(scenario, Starts):
        return ("", *titles, *_COSTS[:2])
    rates: tuple[str, ...] = ("items/s (least–most)",)
    if isinstance(scenario, Calls):
        rates = ("calls/s (least–most)", "MB/s", "CPU s/GB")
    beside = ("batchgen is",) if len(scenario.contenders) > 1 else ()
    return ("", *titles, *rates, *_COSTS, *beside)


def _row(name: str, medians: Mapping[str, Median], table: Table) -> tuple[str, ...]:
    label, one, scenario = _LABELS[name], medians.get(name), table.scenario
    if one is None:
        return (label, "failed", *("–" for _ in _header(scenario)[2:]))
    if one.traffic is not None:
        return (label, *_traffic(one.traffic), f"{one.per_s:.1f}", *_costs(one))
    extras = tuple(column.form.format(one.extras[column.key]) for column in scenario.columns)
    if isinstance(scenario, Starts):
        return (label, *extras, *(f"{s:.3f}" for s in (one.wall_s, one.cpu_s)))
    rates = [_rates(one, 1 if isinstance(scenario, Calls) else 0)]
    if isinstance(scenario, Calls):
        rates.append(f"{one.per_s * scenario.bytes_a_call / MB:,.0f}")
        cpu_s_per_gb = one.cpu_s / (scenario.n * scenario.bytes_a_call) * GB
        rates.append(f"{cpu_s_per_gb:,.2f}" if cpu_s_per_gb < _FINE else f"{cpu_s_per_gb:,.0f}")
    first = scenario.contenders[0]
    beside = (_comparison(one, medians.get(first)),) if len(scenario.contenders) > 1 else ()
    return (label, *extras, *rates, *_costs(one), *beside)


def _traffic(traffic: Traffic) -> tuple[str, ...]:
    return f"{100 * traffic.used:.1f} %", f"{100 * traffic.refused:.1f} %"


def _costs(one: Median) -> tuple[str, ...]:
    return f"{one.wall_s:.2f}", f"{one.cpu_s:.2f}", f"{one.peak_rss_bytes / MB:,.0f}"


def _rates(one: Median, n_digits: int) -> str:
    middle, least, most = (
        f"{per_s:,.{n_digits}f}" for per_s in (one.per_s, one.least_per_s, one.most_per_s)
    )
    return f"{middle} ({least}–{most})"


def _comparison(one: Median, ours: Median | None) -> str:
    if ours is None or one is ours:
        return "–"
    speed = ours.per_s / one.per_s
    return f"{speed:.2f} x as fast, in {ours.peak_rss_bytes / one.peak_rss_bytes:.2f} x the memory"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose source is a table too."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
