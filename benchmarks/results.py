"""The figures in words: tables for the terminal, which are those of RESULTS.md too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.measure import Measured, Median, median_of
from benchmarks.scenarios import MB, Scenario

_LABELS: Final = {
    "batchgen": "batchgen",
    "usual_script": "usual script (aiohttp, `await r.json()`, base64)",
    "orjson_pybase64": "the same with orjson and pybase64",
    "google_genai": "google-genai, asynchronous",
}
_FIGURES: Final = ("calls/s (least–most)", "MB/s", "wall s", "CPU s", "peak RSS MB")
_HEADER: Final = ("", *_FIGURES, "batchgen is")
_NOTES: Final = """\
Written by `make bench`; a run of some scenarios only does not change this file.

Each figure is the median of the rounds; in each round every contender runs once, in turn, in a
process of its own, against a fresh server process on loopback, over plain HTTP. Wall and CPU
seconds (user and system, all threads) count from after the imports to the end; peak RSS is that
of the whole process. The server shares the cores. MB are 10^6 bytes of image, before base64.
batchgen runs with full durability, from job file to summary and page; the others write the image
files and sync nothing."""


@dataclass(slots=True)
class Table:
    """The runs of one scenario.

    Attributes:
        runs: By contender; empty where every run failed.
        failures: The last failure of a contender.
    """

    scenario: Scenario
    place: str
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
    lines += _aligned([_HEADER, *rows])
    lines += ["", f"Output on {table.place}. {_goal(table.scenario, medians)}"]
    lines += [f"{_LABELS[name]} failed: {why}" for name, why in table.failures.items()]
    return "\n".join(lines)


def document(
    tables: Sequence[Table], machine: Sequence[tuple[str, str]], *, n_rounds: int, day: str
) -> str:
    """The whole of RESULTS.md."""
    about = [("Measured", f"{day}, {n_rounds} rounds"), *machine]
    head = ["# What `make bench` measured", "", _NOTES, ""]
    head += _aligned([("", "With"), *about])
    return "\n".join([*head, "", "\n\n".join(scenario_text(table) for table in tables), ""])


def _row(name: str, medians: Mapping[str, Median], table: Table) -> tuple[str, ...]:
    label, one = _LABELS[name], medians.get(name)
    if one is None:
        return (label, "failed", *("–" for _ in _HEADER[2:]))
    return (
        label,
        f"{one.per_s:,.1f} ({one.least_per_s:,.1f}–{one.most_per_s:,.1f})",
        f"{one.per_s * table.scenario.bytes_a_call / MB:,.0f}",
        f"{one.wall_s:.2f}",
        f"{one.cpu_s:.2f}",
        f"{one.peak_rss_bytes / MB:,.0f}",
        _comparison(name, one, medians.get("batchgen")),
    )


def _comparison(name: str, one: Median, ours: Median | None) -> str:
    if ours is None or name == "batchgen":
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
