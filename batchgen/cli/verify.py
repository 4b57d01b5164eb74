"""`batchgen verify`."""

import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from batchgen.cli.streams import print_json, say
from batchgen.sanitize import printable

if TYPE_CHECKING:
    from batchgen.store.layout import Layout
    from batchgen.verify import Finding, Findings

_SOME_WRONG: Final = 4
_DISK_FAILED: Final = 12
_INTERRUPTED: Final = 130
_MAX_TOLD: Final = 10
# What each problem comes to in the last line.
_WORDS: Final = {
    "missing": "missing",
    "no_file": "changed",
    "size": "changed",
    "sha256": "changed",
    "undecodable": "not decodable",
    "unreadable": "not readable",
}


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print what is wrong as JSON on stdout.")
def verify(directory: Path, *, as_json: bool) -> int:
    """Check that the pictures in DIR are what was made.

    Each must be there, have the bytes that the ledger has, and be decodable. DIR is the
    directory of a job, such as output/NAME; a run may be at work in it. Nothing is written but
    DIR/broken.jsonl, which tells the next run which pictures to make again. Drafts, thoughts
    and the turns of conversations are warned of; they are not made again.

    A picture that was edited in place is another one. The run that makes it again keeps the edited
    one in quarantine/; one that is put back before is not made again.

    Exit codes: 0 all as recorded, 2 no run in DIR, 4 some are not, 12 the disk failed.
    """
    from batchgen.mirror.reading import open_place

    try:
        with open_place(directory) as layout:
            findings = _verified(layout)
            if as_json:
                print_json(_as_json(findings))
            _tell(findings)
            findings.write(layout)
    except KeyboardInterrupt:
        say("stopped by sigint; nothing was written")
        return _INTERRUPTED
    say(closing(findings))
    if not all(one.is_judged for one in findings.wrong):
        return _DISK_FAILED
    return _SOME_WRONG if findings.wrong or findings.n_unsettled else 0


def _verified(layout: "Layout") -> "Findings":
    """Look at all pictures: with a bar on a terminal, else with a line every 30 s."""
    from tqdm import tqdm

    from batchgen.progress import PLAIN_EVERY_S, PatientStream
    from batchgen.verify import verify as look_through

    said_s = time.monotonic()
    with tqdm(
        file=PatientStream(sys.stderr),
        bar_format="{n_fmt} pictures looked at{postfix}, {elapsed}",
        mininterval=0.2,
        dynamic_ncols=True,
        leave=False,
        disable=not sys.stderr.isatty(),
    ) as bar:

        def on_looked(n_looked: int, n_wrong: int) -> None:
            nonlocal said_s
            bar.set_postfix_str(f"{n_wrong} wrong", refresh=False)
            bar.update()
            if bar.disable and time.monotonic() - said_s >= PLAIN_EVERY_S:
                said_s = time.monotonic()
                say(f"{n_looked} pictures looked at, {n_wrong} wrong")

        return look_through(layout, on_looked=on_looked)


def _tell(findings: "Findings") -> None:
    """Each wrong one, and the first of what there is to warn of."""
    told = [f"the ledger has a line that cannot be read: {one}" for one in findings.unreadable]
    for warnings in (told, findings.warnings):
        for warning in warnings[:_MAX_TOLD]:
            say(f"warning: {printable(str(warning))}")
        if (n_more := len(warnings) - _MAX_TOLD) > 0:
            say(f"warning: … and {n_more} more like it")
    for one in findings.wrong:
        say(printable(str(one), 1000))


def closing(findings: "Findings") -> str:
    """`998 of 1000 pictures as recorded, 1 missing, 1 changed → run the job again to make them`."""
    n_wrong = len(findings.wrong) + findings.n_unsettled
    words = [f"{findings.n_checked - n_wrong} of {findings.n_checked} pictures as recorded"]
    by_word = Counter(_WORDS[one.fault.problem] for one in findings.wrong)
    words += [f"{n} {word}" for word, n in by_word.items()]
    if findings.n_unsettled:
        words.append(f"{findings.n_unsettled} with a call under way, or cut off by a kill")
    told = ", ".join(words)
    if len(findings.wrong) > by_word["not readable"] or findings.n_unsettled:
        told += " → run the job again to make them"
    if by_word["not readable"]:
        told += "; nothing is known of what cannot be read, and it is not made again"
    if n_orphans := findings.n_orphans:
        files = "file under images/ belongs" if n_orphans == 1 else "files under images/ belong"
        told += f"; {n_orphans} {files} to no item of the job"
    return told


def _as_json(findings: "Findings") -> dict[str, Any]:
    return {
        "checked": findings.n_checked,
        "wrong": [_one_as_json(one) for one in findings.wrong],
        "warnings": [_one_as_json(one) for one in findings.warnings],
        "unsettled": findings.n_unsettled,
        "orphans": findings.n_orphans,
    }


def _one_as_json(one: "Finding") -> dict[str, Any]:
    return {
        "item": one.item_id,
        "path": one.path,
        "problem": one.fault.problem,
        "expected": one.fault.expected,
        "found": one.fault.found,
    }
