"""What docs/reliability.md promises, how much a test of it must try, and how much was tried.

A test says what it tried with the fixture `tried`. pytest prints the sums at its end; with
`--write-tried` they go to docs/reliability.json, and the table of docs/reliability.md is made of
that. `tests/unit/test_promises.py` compares the three.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

ROOT: Final = Path(__file__).parents[1]
RESULTS: Final = ROOT / "docs/reliability.json"
PAGE: Final = ROOT / "docs/reliability.md"
BEGIN: Final = "<!-- made by: make tried -->"
END: Final = "<!-- end of what was made -->"

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Promise:
    """A promise in plain words, and how much must be tried of what: in `.ci/run`, and in soak."""

    text: str
    check: Mapping[str, int]
    soak: Mapping[str, int] = field(default_factory=dict)


PROMISES: Final = {
    "P1": Promise(
        "A picture whose answer had come whole is never lost and never asked for again, wherever "
        "the process is killed.",
        {"kill points": 100},
        {"kill points": 300},
    ),
    "P2": Promise(
        "The same under kills at random moments, with faults in between.",
        {"random kills": 20},
        {"random kills": 500},
    ),
    "P3": Promise(
        "Every request that may have been paid without a result is listed, with item, attempt "
        "and time.",
        {"kills": 20},
        {"kills": 500},
    ),
    "P4": Promise(
        "No picture is visible under its final name before it is whole.",
        {"looks": 20_000},
        {"looks": 1_000_000},
    ),
    "P5": Promise(
        "A full disk costs no picture: room is set aside before a request leaves. The run stops "
        "with exit code 12, and goes on when there is room.",
        {"full disks": 40},
    ),
    "P6": Promise(
        "A disk that fails to make a file durable is a failure, never a success.",
        {"failing syncs": 20},
    ),
    "P7": Promise(
        "A slow disk stalls neither the network nor the clock of the run.",
        {"slow items": 40},
    ),
    "P8": Promise(
        "A second run on the same directory is refused before it sends anything; the lock of a "
        "killed run does not block.",
        {"pairs of runs": 10, "stale locks": 10},
        {"pairs of runs": 50, "stale locks": 50},
    ),
    "P9": Promise(
        "A ledger that is torn, has lines twice, or lines that cannot be read, costs no picture "
        "twice; one of a newer version is refused.",
        {"damaged ledgers": 200},
    ),
    "P10": Promise(
        "A finished job that is run again sends nothing.",
        {"finished items": 10_000},
        {"finished items": 100_000},
    ),
    "P11": Promise("`validate` and `--dry-run` send nothing.", {"runs": 12}),
    "P12": Promise(
        "No request leaves that could take the run past its budget.",
        {"items under a budget": 100},
    ),
    "P13": Promise(
        "Ctrl-C and SIGTERM stop new requests, keep what comes, and end in time; a second one "
        "ends at once and loses nothing that had come.",
        {"signals": 10},
        {"signals": 140},
    ),
    "P14": Promise(
        "A clock that jumps changes no wait.",
        {"clocks": 3},
    ),
    "P15": Promise(
        "Every exit code says what to do next.",
        {"exit codes": 13, "pairs of codes": 45},
    ),
    "P16": Promise(
        "Too few open files, or a place that cannot be written, is told before anything is sent.",
        {"places": 8},
    ),
    "P17": Promise(
        "The API key is in nothing that a run writes, prints or shows to the system.",
        {"runs with a canary key": 300},
        {"runs with a canary key": 3_000},
    ),
    "P18": Promise(
        "The key goes to no other host, and never over plain http except to this machine.",
        {"redirects and addresses": 25},
    ),
    "P19": Promise("TLS is verified, and there is no way around it.", {"certificates": 4}),
    "P20": Promise(
        "A key that cannot be one is refused at the start, and not printed.",
        {"odd keys": 4},
    ),
    "P21": Promise(
        "Memory is bounded, however large an answer is.",
        {"oversized answers": 5},
    ),
    "P22": Promise(
        "Disk is bounded: an answer over the cap is cut, counted and removed.",
        {"oversized answers": 3},
    ),
    "P23": Promise(
        "No server holds a worker for longer than the limits say.",
        {"ways to stall": 6},
    ),
    "P24": Promise(
        "Any bytes give a picture, a failed item with its reason, or another try; never a crash, "
        "a hang or a wrong picture.",
        {"answers over sockets": 480, "mutants": 10_000},
        {"mutants": 100_000},
    ),
    "P25": Promise(
        "The streaming reader means what a reader of the whole document means.",
        {"documents": 5_000},
        {"documents": 100_000},
    ),
    "P26": Promise(
        "The bytes say what a picture is, never the label; what is no picture is never saved as "
        "one.",
        {"labels and bytes": 20},
    ),
    "P27": Promise("A picture that is a bomb is never decoded.", {"bombs": 6}),
    "P28": Promise(
        "Nothing from a server reaches the terminal as a control code.",
        {"payloads": 30},
    ),
    "P29": Promise(
        "An id cannot leave the output directory, overwrite the ledger, or collide with another.",
        {"hostile ids": 150},
    ),
    "P30": Promise("A YAML bomb is refused at once.", {"bombs": 8}),
    "P31": Promise("YAML changes no id and no prompt.", {"scalars": 12}),
    "P32": Promise(
        "References read images and nothing else; a link out, a FIFO or a device does no harm.",
        {"hostile paths": 20},
    ),
    "P33": Promise(
        "Reference addresses cannot reach internal hosts, also by redirects and rebinding.",
        {"hostile addresses": 40},
    ),
    "P34": Promise(
        "A reference address gets no key and no cookies, and is bounded in size, time and "
        "redirects.",
        {"requests for references": 10},
    ),
    "P35": Promise(
        "The report runs nothing: no prompt, model text, error or name can.",
        {"payloads in places": 360},
    ),
    "P36": Promise("A spreadsheet runs nothing of a CSV.", {"cells": 20}),
    "P37": Promise("All JSON that is written is strict.", {"odd values": 10}),
    "P38": Promise(
        "Never above the limits that are set, over any window, restarts included.",
        {"requests": 10_000, "requests over restarts": 5_000},
        {"requests": 1_500},
    ),
    "P39": Promise(
        "An outage costs a bounded number of requests, and the run goes on by itself.",
        {"items in an outage": 1_000},
    ),
    "P40": Promise(
        "Told waits are kept to in every spelling, never shortened.",
        {"told waits": 25},
    ),
}


class Tried:
    """What tests tried: by promise, tier, what it was, and test."""

    def __init__(self, written: Json | None = None) -> None:
        """Begin with what was written before."""
        self.written: Json = written or {}

    @staticmethod
    def read() -> "Tried":
        """What was tried when it was last written down."""
        return Tried(json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {})

    def add(self, promise: str, tier: str, what: str, n: int, test: str) -> None:
        """Count what one test tried."""
        told = self.written.setdefault(promise, {}).setdefault(tier, {})
        by_test = told.setdefault(what, {})
        by_test[test] = by_test.get(test, 0) + n

    def merged(self, newer: "Tried") -> "Tried":
        """What was written before, with what was tried anew in its place."""
        written = json.loads(json.dumps(self.written))
        for promise, tiers in newer.written.items():
            for tier, told in tiers.items():
                known = written.setdefault(promise, {}).setdefault(tier, {})
                for what, by_test in told.items():
                    known.setdefault(what, {}).update(by_test)
        return Tried(written)

    def lines(self) -> Iterable[str]:
        """`P1   104 kill points`, one for each promise and tier."""
        for promise in sorted(self.written, key=_number):
            for tier, told in sorted(self.written[promise].items()):
                yield f"{promise:4} {tier:6} {_counts(told)}"

    def write(self) -> None:
        """Write the figures, and the table that is made of them."""
        data = {promise: self.written[promise] for promise in sorted(self.written, key=_number)}
        RESULTS.write_text(json.dumps(data, indent=1, sort_keys=False) + "\n", "utf-8")
        page = PAGE.read_text("utf-8")
        PAGE.write_text(with_table(page, Tried(data)), "utf-8")


def with_table(page: str, tried: Tried) -> str:
    """The page with its table made anew."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table(tried)}{END}{tail}"


def table(tried: Tried) -> str:
    """The table of promises."""
    rows = [
        "| | promise | tried in every check | tried in `make soak` | test |",
        "|---|---|---|---|---|",
    ]
    for name, promise in PROMISES.items():
        tiers = tried.written.get(name, {})
        tests = sorted(
            {test for told in tiers.values() for by_test in told.values() for test in by_test}
        )
        rows.append(
            f"| {name} | {promise.text} | {_counts(tiers.get('check', {}))} "
            f"| {_counts(tiers.get('soak', {}))} | {'<br>'.join(map(_link, tests))} |"
        )
    return "\n".join(rows) + "\n"


def n_of(told: Json, what: str) -> int:
    """How many of something were tried."""
    return sum(told.get(what, {}).values())


def _counts(told: Json) -> str:
    return ", ".join(f"{n_of(told, what):,} {what}" for what in sorted(told)) or "–"


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{name}](../{path})"


def _number(promise: str) -> int:
    return int(re.sub(r"\D", "", promise))
