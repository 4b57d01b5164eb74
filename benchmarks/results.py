"""The figures in words: tables for the terminal, which are those of RESULTS.md too."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.measure import Measured, Median, Traffic, median_of
from benchmarks.scenarios import MB, Calls, Limited, Readings, Scenario

_LABELS: Final = {
    "batchgen": "batchgen",
    "usual_script": "usual script (aiohttp, `await r.json()`, base64)",
    "orjson_pybase64": "the same with orjson and pybase64",
    "google_genai": "google-genai, asynchronous",
    "sync_a_line": "the same with a sync for each line of the ledger",
    "no_syncs": "the same without any sync: not durable",
    "validate": "batchgen validate",
    "json_loads": "`json.loads` a line, ids into a set",
    "yaml_load": "`yaml.load(…, CSafeLoader)`",
    "csv_product": "`csv.DictReader`, `itertools.product`, `str.format`",
    "cost": "batchgen cost",
    "duckdb_cost": "duckdb, the same group-by in SQL, the columns told",
    "batchgen_told": "batchgen, the limit set in the job",
    "batchgen_auto": "batchgen, the limit found out (`concurrency: auto`)",
    "patient_script": "usual script, 64 at once, with the usual retries",
}
_NOTES: Final = """\
Written by `make bench`. A run of some scenarios only changes nothing here, or with `--write` the
tables of these scenarios; so each table says when and with what it was measured.

Each figure is the median of the rounds; in each round every contender runs once, in turn, in a
process of its own. Wall and CPU seconds (user and system, all threads) count from after the
imports to the end; peak RSS is that of the whole process. MB are 10^6 bytes.

Calls go to a fresh server process on loopback, over plain HTTP; it shares the cores. MB/s count
the bytes of images, before base64. batchgen runs with full durability, from job file to summary
and page; the others write the image files and sync nothing.

A job file is read by `batchgen validate`, its own imports included: every field of every item is
checked, each reference opened and hashed once, defaults merged, content keys worked out, ids and
keys compared with all others. The others check nothing and keep no places: they are the least that
reading such a file in Python costs, not another way to do the same.

A log is added up by `batchgen cost`, and by duckdb with a query that knows the columns; the imports
of neither count. Both group a million answers by model and day into calls, tokens by kind and
cost, rounded a call, with a tenth of the answers lacking details; what they come to is compared to
the micro-dollar. batchgen reads a large log with a process a core: their peaks are added.

A server with a limit takes 0.2 to 1 s for an answer, and refuses at once, with a 429, what is
beyond its limit. "Used" is how much of the limit was taken up while the last 80 % of the requests
came, by the server's own count: of a window how full it was, of a bucket the share of its tokens
that did not run over, of places at once how many were held. "Refused" is the share of all requests.
The contenders run side by side, each against a server of its own: they wait far more than they
work. The usual script has a semaphore; what is refused is sent again after what `Retry-After` says,
else after 1, 2, 4 … 60 s, with up to a second of jitter, until it is taken."""


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


def scenario_text(table: Table) -> str:
    """One scenario: its table, and its goal if it has one."""
    medians = table.medians()
    rows = [_row(name, medians, table) for name in table.runs]
    lines = [f"## {table.scenario.title} (`{table.scenario.name}`)", ""]
    lines += _aligned([_header(table.scenario), *rows])
    on_disk = "The file" if isinstance(table.scenario, Readings) else "Output"
    lines += ["", f"{on_disk} on {table.place}. {_goal(table.scenario, medians)}"]
    lines += [f"{_LABELS[name]} failed: {why}" for name, why in table.failures.items()]
    lines += ["", f"*Measured {'; '.join(table.measured_with)}.*"]
    return "\n".join(lines)


def document(tables: Sequence[Table]) -> str:
    """The whole of RESULTS.md."""
    return _joined(scenario_text(table) for table in tables)


def renewed(text: str, tables: Sequence[Table]) -> str:
    """RESULTS.md with these tables in place of those of the same scenarios, or at its end."""
    sections = {_name(section): section for section in text.strip().split("\n\n## ")[1:]}
    for table in tables:
        section = scenario_text(table).removeprefix("## ")
        sections[_name(section)] = section
    return _joined(f"## {section}" for section in sections.values())


def _joined(sections: Iterable[str]) -> str:
    return "\n\n".join(["# What `make bench` measured", _NOTES, *sections]) + "\n"


def _name(section: str) -> str:
    """The scenario's name, which ends the title of its section: "Title (`name`)"."""
    return section.partition("\n")[0].rpartition("(")[2]


def _header(scenario: Scenario) -> tuple[str, ...]:
    if isinstance(scenario, Limited):
        return ("", "used", "refused", "calls/s", "wall s", "CPU s", "peak RSS MB")
    per_s = ("calls/s (least–most)", "MB/s")
    if not isinstance(scenario, Calls):
        per_s = ("items/s (least–most)",)
    return ("", *per_s, "wall s", "CPU s", "peak RSS MB", "batchgen is")


def _row(name: str, medians: Mapping[str, Median], table: Table) -> tuple[str, ...]:
    label, one, scenario = _LABELS[name], medians.get(name), table.scenario
    if one is None:
        return (label, "failed", *("–" for _ in _header(scenario)[2:]))
    if one.traffic is not None:
        return (label, *_traffic(one.traffic), f"{one.per_s:.1f}", *_costs(one))
    rates = [_rates(one, 1 if isinstance(scenario, Calls) else 0)]
    if isinstance(scenario, Calls):
        rates.append(f"{one.per_s * scenario.bytes_a_call / MB:,.0f}")
    return (
        label,
        *rates,
        *_costs(one),
        _comparison(one, medians.get(scenario.contenders[0])),
    )


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


def _goal(scenario: Scenario, medians: Mapping[str, Median]) -> str:
    if scenario.goal is None:
        return "No goal is set for it; the figures are for the record."
    try:
        figure, is_met = scenario.goal.figure(medians)
    except KeyError as missing:
        return f"Goal: {scenario.goal.words}. Not measured: {missing.args[0]} failed."
    verdict = "met" if is_met else "not met"
    return f"Goal: {scenario.goal.words}. Measured: {figure}. **{verdict}**"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table whose source is a table too."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]
