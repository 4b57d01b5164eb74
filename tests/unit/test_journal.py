"""The lines of a log: each event, each format, and where they go."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from batchgen.clock import Clock
from batchgen.errors import UsageError
from batchgen.events import (
    AttemptBegan,
    AttemptEnded,
    Cooling,
    Event,
    ItemEnded,
    RunBegan,
    Stopping,
    Ticked,
    Warned,
)
from batchgen.journal import Format, Journal, LogFile, RunEnded, StreamLines
from batchgen.model import Attempt, Failure, ImageFile, Outcome, Result, Status
from tests import journals
from tests.commands import ROOT
from tests.disks import needs_small_disks, small_disk
from tests.journals import Json

KEY = "a" * 64
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
BEGAN = RunBegan(
    run_id="r",
    job="spring",
    directory=Path("output/spring"),
    provider="cometapi",
    n_items=100,
    n_reused=40,
    n_settled=1,
    concurrency=8,
    planned_usd=Decimal("2.5"),
)
SENT = AttemptBegan(
    item="hero", key=KEY, turn=1, attempt=2, model="m", est_usd=Decimal("0.1422019")
)
CALL = Attempt(
    run_id="r",
    item="hero",
    key=KEY,
    turn=1,
    attempt=2,
    at="2026-11-28T11:59:38.600Z",
    model="m",
    provider="cometapi",
    http_status=200,
    outcome=Outcome.IMAGE,
    decision="done",
    cost_usd=Decimal("0.138160"),
    cost_basis="reported",
    billed="yes",
    latency_s=21.4,
    request_id="q",
)
REFUSED = msgspec.structs.replace(
    CALL,
    outcome=Outcome.RATE_LIMITED,
    decision="retry",
    billed="no",
    cost_usd=Decimal("0.000000"),
    http_status=429,
    error=Failure(kind="RateLimited", message="HTTP 429: slow\ndown\x1b[31m"),
    cools_until="2026-11-28T12:00:30.000Z",
)
PICTURE = ImageFile(
    path="images/hero.png", role="final", sha256=KEY, bytes=1, width=1, height=1, mime="image/png"
)
ENDED = RunEnded(
    exit_code=4,
    stop_reason="finished",
    items={"total": 3, "done": 2, "reused": 0, "failed": 1, "skipped": 0, "pending": 0},
    n_attempts=3,
    by_outcome={"image": 2, "blocked": 1},
    images=2,
    cost_usd=Decimal("0.27632"),
    maybe_usd=Decimal(0),
    n_unknown=1,
    planned_usd=None,
    wall_s=61.5,
)


def result(status: Status, error: Failure | None = None) -> ItemEnded:
    is_done = status == "done"
    return ItemEnded(
        Result(
            id="hero",
            key=KEY,
            status=status,
            model="m",
            images=(PICTURE,) if is_done else (),
            attempts=2,
            outcome=Outcome.IMAGE if is_done else Outcome.BLOCKED,
            error=error,
            cost_usd=Decimal("0.138160"),
        )
    )


@dataclass
class Lines:
    """A journal whose clock stands still unless it is moved."""

    style: Format = "json"
    quiet: bool = False
    written: list[bytes] = field(default_factory=list)
    passed_s: float = 0.0

    def __post_init__(self) -> None:
        clock = Clock(
            now=lambda: NOON + timedelta(seconds=self.passed_s), monotonic_s=lambda: self.passed_s
        )
        self.journal = Journal(self, self.style, clock=clock, is_quiet=self.quiet)
        self.journal.names = lambda: ("r", "spring")

    def write(self, line: bytes) -> None:
        self.written.append(line)

    def close(self) -> None:
        pass

    def told(self, *events: Event) -> "Lines":
        for event in events:
            self.journal(event)
        return self

    @property
    def json(self) -> list[Json]:
        return journals.read(b"".join(self.written))

    @property
    def text(self) -> list[str]:
        return [line.decode().removesuffix("\n") for line in self.written]


def only(events: list[Json]) -> Json:
    [one] = events
    return {name: value for name, value in one.items() if name not in journals.HEAD}


# --- what a line says -----------------------------------------------------------------------------


def test_the_page_and_the_schema_list_the_same_events_and_fields() -> None:
    defined = journals.schema()["$defs"]
    listed = {event: set(one["properties"]) - journals.HEAD for event, one in defined.items()}
    assert listed == journals.fields()
    for event, one in defined.items():
        assert set(one["required"]) == journals.HEAD | listed[event]


def test_each_line_says_when_it_was_how_bad_it_is_and_whose_it_is() -> None:
    [line] = Lines().told(SENT).json
    assert {name: line[name] for name in journals.HEAD} == {
        "v": 1,
        "at": "2026-11-28T12:00:00.000Z",
        "level": "info",
        "event": "sent",
        "run_id": "r",
        "job": "spring",
    }


def test_an_attempt_says_what_it_came_to_and_money_is_a_text() -> None:
    assert only(Lines().told(SENT).json) == {
        "item": "hero",
        "key": KEY,
        "turn": 1,
        "attempt": 2,
        "model": "m",
        "est_usd": "0.142202",
    }
    assert only(Lines().told(AttemptEnded(CALL)).json) == {
        "item": "hero",
        "key": KEY,
        "turn": 1,
        "attempt": 2,
        "model": "m",
        "outcome": "image",
        "decision": "done",
        "billed": "yes",
        "cost_usd": "0.138160",
        "latency_s": 21.4,
        "http_status": 200,
        "request_id": "q",
        "error": None,
        "sent_run_id": "r",
    }
    refused = Lines().told(AttemptEnded(REFUSED)).json[0]
    assert refused["error"] == {"kind": "RateLimited", "message": "HTTP 429: slow\ndown\x1b[31m"}


def test_an_item_says_where_its_picture_is_and_how_long_its_own_last_call_took() -> None:
    of_another = msgspec.structs.replace(CALL, item="other", latency_s=1.0)
    lines = Lines().told(AttemptEnded(CALL), result("done"), AttemptEnded(of_another))
    lines.told(result("failed", Failure(kind="Blocked", message="no")))
    done, failed = journals.of_event(lines.json, "item")
    assert (done["image"], done["latency_s"], done["cost_usd"]) == (
        "images/hero.png",
        21.4,
        "0.138160",
    )
    assert (done["level"], failed["level"]) == ("info", "warning")
    assert (failed["image"], failed["latency_s"]) == (None, None)
    assert failed["error"] == {"kind": "Blocked", "message": "no"}


def test_every_event_fits_the_schema() -> None:
    lines = Lines().told(BEGAN, SENT, AttemptEnded(REFUSED), AttemptEnded(CALL), result("done"))
    lines.passed_s = 31
    lines.told(Ticked(n_in_flight=1, limit=8), Warned("warning: w"), Stopping("sigint", 3))
    lines.journal.failed("UsageError", "no", 2)
    lines.journal.ended(ENDED)
    assert {line["event"] for line in lines.json} == set(journals.fields())


@pytest.mark.parametrize(
    ("code", "level"),
    [(0, "info"), *((code, "warning") for code in (4, 5, 8, 10, 130, 143)), (7, "error")],
)
def test_the_level_of_the_end_is_that_of_its_exit_code(code: int, level: str) -> None:
    lines = Lines()
    lines.journal.ended(replace(ENDED, exit_code=code))
    assert lines.json[0]["level"] == level


def test_a_quiet_log_has_warnings_errors_and_the_end() -> None:
    lines = Lines(quiet=True).told(BEGAN, SENT, AttemptEnded(REFUSED), result("done"))
    lines.told(result("failed"), Warned("w"), Stopping("sigint", 0))
    lines.journal.ended(replace(ENDED, exit_code=0))
    lines.journal.failed("Bug", "b", 1)
    told = [line["event"] for line in lines.json]
    assert told == ["item", "warning", "stopping", "run_ended", "error"]


def test_every_thirty_seconds_it_says_how_far_the_run_is() -> None:
    lines = Lines().told(BEGAN)
    for passed_s in (29, 30, 45, 59, 60, 61):
        lines.passed_s = passed_s
        lines.told(AttemptEnded(CALL), result("done"))
    told = journals.of_event(lines.json, "progress")
    assert [line["at"][17:19] for line in told] == ["30", "00"]
    assert (told[0]["n_items"], told[0]["n_done"], told[0]["n_failed"]) == (100, 41, 1)
    assert (told[0]["cost_usd"], told[1]["ends_per_min"]) == ("0.276320", 4.0)


def test_before_the_run_begins_no_progress_is_told() -> None:
    lines = Lines()
    lines.passed_s = 100
    assert [line["event"] for line in lines.told(Warned("w")).json] == ["warning"]


# --- cooling --------------------------------------------------------------------------------------


def cooling(*for_s: float, why: str = "after a 429") -> Ticked:
    return Ticked(cooling=tuple(Cooling("m", each_s, why) for each_s in for_s))


def states(lines: Lines) -> list[tuple[str, str | None]]:
    return [(line["state"], line["until"]) for line in journals.of_event(lines.json, "cooling")]


def test_a_cooling_begins_with_the_call_that_says_so_and_ends_once() -> None:
    lines = Lines().told(AttemptEnded(REFUSED))
    begin = ("begin", "2026-11-28T12:00:30.000Z")
    assert states(lines) == [begin]
    lines.told(cooling(30.2), cooling(29.9))
    lines.passed_s = 10
    lines.told(cooling(20))
    assert states(lines) == [begin]
    lines.passed_s = 31
    lines.told(Ticked(), Ticked())
    assert states(lines) == [begin, ("end", None)]
    told = journals.of_event(lines.json, "cooling")
    assert [line["why"] for line in told] == ["after rate_limited", None]


def test_a_cooling_that_becomes_longer_or_comes_of_a_limit_is_told_too() -> None:
    lines = Lines().told(cooling(5, why="for limits.tpm"))
    lines.passed_s = 3
    lines.told(cooling(40))
    assert states(lines) == [
        ("begin", "2026-11-28T12:00:05.000Z"),
        ("begin", "2026-11-28T12:00:43.000Z"),
    ]


SENTENCES = """
2026-11-28T12:00:00.000Z run_began output/spring: 59 of 100 to make, 40 done already, at most 8 \
at once, cometapi, about $2.50
2026-11-28T12:00:00.000Z sent hero #2: m, about $0.14
2026-11-28T12:00:00.000Z attempt hero #2: image, done, $0.14, 21.4s
2026-11-28T12:00:00.000Z item hero: image, done, $0.14, 21.4s
2026-11-28T12:00:00.000Z attempt hero #2: rate_limited, retry, $0.00, 21.4s: HTTP 429: slow down \
[31m
2026-11-28T12:00:00.000Z cooling m: nothing leaves until 2026-11-28T12:00:30.000Z, after \
rate_limited
2026-11-28T12:00:00.000Z cooling m: over
2026-11-28T12:00:00.000Z warning: w
2026-11-28T12:00:00.000Z stopping: sigint; 3 under way
2026-11-28T12:00:30.000Z progress: 41/100 done, 1 failed, $0.14, 2 under way
2026-11-28T12:00:30.000Z run_ended: exit code 4, finished, 2/3 done, 1 failed, 3 calls, $0.28+? \
(planned unknown), 1m02s
2026-11-28T12:00:30.000Z error: exit code 3: job.yaml:1:1: no 1 error in the job
"""

# --- sentences ------------------------------------------------------------------------------------


def test_sentences_begin_with_the_moment_and_the_event() -> None:
    lines = Lines(style="text").told(BEGAN, SENT, AttemptEnded(CALL), result("done"))
    lines.told(AttemptEnded(REFUSED), Ticked(), Warned("warning: w"), Stopping("sigint", 3))
    lines.passed_s = 30
    lines.told(Ticked(n_in_flight=2))
    lines.journal.ended(ENDED)
    lines.journal.failed("JobError", "job.yaml:1:1: no\n1 error in the job", 3)
    assert lines.text == SENTENCES.strip().splitlines()


@pytest.mark.parametrize("style", ["text", "json"])
def test_whatever_is_quoted_a_line_is_one_line_that_any_reader_takes(style: Format) -> None:
    odd = "a\nb\r\x1b[2J\x9b31m\u2028\u202e\ud800 \U0001f600 'é'"
    lines = Lines(style=style).told(Warned(odd), Stopping(odd, 1))
    for line in lines.written:
        shown = line.decode().removesuffix("\n")
        assert shown.isprintable()
        assert len(shown.splitlines()) == 1
    if style == "json":
        assert lines.json[0]["message"] == odd.replace("\ud800", "\ufffd")


# --- where lines go -------------------------------------------------------------------------------


def log_file(path: Path, tell: Callable[[str], None] = pytest.fail) -> LogFile:
    return LogFile(path, tell)


def test_lines_are_appended_and_a_torn_one_of_another_run_is_closed_first(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"whole\nto")
    file = log_file(path)
    file.write(b"a\n")
    file.write(b"b\n")
    file.close()
    assert path.read_bytes() == b"whole\nto\na\nb\n"


def test_a_log_that_was_renamed_is_left_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = log_file(path)
    file.write(b"a\n")
    path.rename(tmp_path / "log.1")
    file.write(b"b\n")
    path.rename(tmp_path / "log.2")
    path.write_bytes(b"made by logrotate\n")
    file.write(b"c\n")
    file.close()
    told = [(tmp_path / name).read_bytes() for name in ("log.1", "log.2", "log")]
    assert told == [b"a\n", b"b\n", b"made by logrotate\nc\n"]


def test_a_log_that_was_copied_and_cut_goes_on_at_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = log_file(path)
    file.write(b"a\n")
    os.truncate(path, 0)
    file.write(b"b\n")
    file.close()
    assert path.read_bytes() == b"b\n"


def test_where_no_new_log_can_be_made_the_old_one_takes_the_lines(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    file = log_file(folder / "log")
    file.write(b"a\n")
    folder.rename(tmp_path / "old")
    file.write(b"b\n")
    file.close()
    assert (tmp_path / "old/log").read_bytes() == b"a\nb\n"


@pytest.mark.parametrize("name", ["", "absent/log", "pipe"])
def test_a_log_that_cannot_be_opened_is_wrong_usage_that_names_it(
    name: str, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody reads it
    with pytest.raises(UsageError, match=rf"--log-file {tmp_path / name}: .+; nothing was sent"):
        log_file(tmp_path / name)


def test_a_device_that_is_full_is_told_once(tmp_path: Path) -> None:
    told: list[str] = []
    file = log_file(Path("/dev/full"), told.append)
    for _ in range(3):
        file.write(b"a\n")
    file.close()
    assert [os.strerror(errno.ENOSPC) in line for line in told] == [True]
    assert not list(tmp_path.iterdir())


@needs_small_disks
def test_on_a_full_disk_lines_are_lost_and_those_after_it_are_whole(tmp_path: Path) -> None:
    told: list[str] = []
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        path = disk.path / "log"
        file = log_file(path, told.append)
        line = b"x" * 700 + b"\n"
        file.write(line)
        disk.fill()
        while not told:  # the page that it has takes a few
            file.write(line)
        file.write(b"lost\n")
        disk.make_room(2 << 20)
        file.write(b"last\n")
        file.close()
        *whole, torn, last = path.read_bytes().splitlines(keepends=True)
    assert set(whole) == {line}
    assert last == b"last\n"
    assert torn in line
    assert len(told) == 1


def test_a_pipe_whose_reader_is_slow_or_leaves_loses_lines_and_nothing_else(
    tmp_path: Path,
) -> None:
    path, told = tmp_path / "pipe", list[str]()
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    file = log_file(path, told.append)
    for _ in range(100):
        file.write(b"x" * 4000 + b"\n")
    os.close(reader)
    file.write(b"gone\n")
    file.close()
    assert ["its reader is too slow" in line for line in told] == [True]


APPEND = """
import sys
from pathlib import Path
from batchgen.journal import LogFile

file = LogFile(Path(sys.argv[1]), sys.exit)
for n in range(2000):
    file.write(sys.argv[2].encode() * (n % 700) + b"\\n")
"""


def test_processes_that_append_to_one_log_tear_no_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers = [
        subprocess.Popen([sys.executable, "-c", APPEND, path, letter], env=environment)
        for letter in "ab"
    ]
    assert [writer.wait(50) for writer in writers] == [0, 0]
    lines = path.read_bytes().splitlines()
    assert len(lines) == 4000
    assert all(len(set(line)) <= 1 for line in lines)


def test_a_stream_whose_reader_leaves_takes_lines_no_more() -> None:
    reads, writes = os.pipe()
    with os.fdopen(writes, "w") as stream:
        lines = StreamLines(stream)
        lines.write(b"a\n")
        assert os.read(reads, 10) == b"a\n"
        os.close(reads)
        lines.write(b"b\n")
        lines.write(b"c\n")


def test_a_process_without_stderr_writes_nowhere() -> None:
    StreamLines(None).write(json.dumps({}).encode())
