"""A small job of every kind of answer, a server that counts them, and what must hold after a kill.

What was asked and answered is counted by the server; what had come whole is read from the disk by
nothing of the product.
"""

import asyncio
import json
import os
import shutil
import struct
import subprocess
import threading
import zlib
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image

from tests import ledgers, servers
from tests.commands import until
from tests.runs import run_job, write_job
from tests.servers import Answer, Asked, FaultServer

Json: TypeAlias = dict[str, Any]

ITEMS: list[str | Json] = [
    "plain",
    "pair",
    {"id": "talk", "turns": [{"prompt": "talk one"}, {"prompt": "talk two"}]},
    "words",
    "late",
]
# A request for each, were there no kills; by what its user said last, its item and its turn.
CALLS = {
    "plain": ("plain", 1),
    "pair": ("pair", 1),
    "talk one": ("talk", 1),
    "talk two": ("talk", 2),
    "words": ("words", 1),
    "late": ("late", 1),
}
_OVERLOADED = {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}
STRACE = ("strace", "-f", "-qq")
# In chunks, so that an answer arrives in several pieces.
_PIECE_BYTES = 6000


@dataclass
class Service:
    """The script of a server that draws for the job, and refuses one item at first.

    Attributes:
        n_asked: Requests that were received, by the last words of their user.
        n_drawn: Of these, the ones that it drew a picture for, and that may be paid.
        n_whole: Of these, the ones whose answer it sent to its end.
        drawn: The digests of all the pictures that it sent, by the same words.
    """

    refuses: frozenset[str] = frozenset({"late"})
    n_asked: Counter[str] = field(default_factory=Counter)
    n_drawn: Counter[str] = field(default_factory=Counter)
    n_whole: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, asked: Asked) -> Answer:
        words = last_words(asked.body)
        with self._lock:
            self.n_asked[words] += 1
            nth = self.n_asked[words]
            if words in self.refuses and nth == 1:
                return servers.refuses(503, _OVERLOADED)
            self.n_drawn[words] += 1
        pieces = cut(servers.http(200, json.dumps(_said(words, nth)).encode()))

        def answer(connection: Any) -> servers.End:
            end = servers.sends(*pieces)(connection)
            with self._lock:
                self.n_whole[words] += 1
            return end

        return answer


def last_words(body: bytes) -> str:
    """What the user said last: it tells the turns of a conversation apart."""
    parts = json.loads(body)["contents"][-1]["parts"]
    return next(str(part["text"]) for part in parts if "text" in part)


def cut(data: bytes) -> list[bytes]:
    """The same bytes in several pieces."""
    return [data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES)]


def _said(words: str, nth: int) -> Json:
    picture = servers.image_part(servers.png(f"{words} {nth}"), thoughtSignature="c2lnbmVk")
    match words:
        case "pair":
            return servers.document(servers.image_part(servers.png(f"draft {nth}")), picture)
        case "words":
            return servers.document({"text": "As you wish."}, picture)
        case _:
            return servers.document(picture)


def write_mixed_job(directory: Path) -> Path:
    """The job; two of its requests are under way at once."""
    return write_job(
        directory / "job.jsonl",
        ITEMS,
        model="gemini-3.1-flash-image",
        limits={"concurrency": 2},
        output={"keep_drafts": True},
    )


@cache
def why_no_strace() -> str | None:
    """Why calls cannot be traced here; None if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with subprocess.Popen(["sleep", "20"]) as sleeping:
        attached = subprocess.Popen(
            [*STRACE, "-o", os.devnull, "-e", "trace=none", "-p", str(sleeping.pid)],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            _, told = attached.communicate(timeout=0.5)
        except subprocess.TimeoutExpired:
            told = None
        attached.kill()
        attached.communicate()
        sleeping.kill()
    return None if told is None else f"strace may not trace: {told.strip()}"


# --- what must hold -----------------------------------------------------------------------------


def kept(directory: Path) -> set[tuple[str, int]]:
    """Items and turns that must never be asked for again.

    Their answer is recorded as done, or the whole of it lies on disk: a receipt, or a draft of one
    to its last byte.
    """
    calls = set()
    for path in (directory / "ledger").glob("*.jsonl"):
        for line in whole_lines(path):
            if line["event"] == "attempt" and line["decision"] == "done":
                calls.add((line["item"], line["turn"]))
    for path in (*directory.glob(".parts/*.json*"), *directory.glob(".shards/*/parts/*.json*")):
        calls |= {(sent["item"], sent["turn"]) for sent in _sent_of(path)}
    return calls


def _sent_of(path: Path) -> Iterable[Json]:
    with suppress(ValueError):  # half of it is no JSON
        told = json.loads(path.read_bytes())
        if "sent" in told:  # else it is what the model said in a turn
            yield told["sent"]


def whole_lines(path: Path) -> list[Json]:
    """The lines of a segment of a killed run; the last may be torn."""
    *whole, _ = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in whole]


def check_visible(directory: Path) -> int:
    """Every picture under a final name is whole; return how many there are."""
    paths = (path for name in FOLDERS for path in (directory / name).rglob("*.*"))
    found = [path for path in paths if is_shown(path.name)]
    for path in found:
        assert why_partial(path.read_bytes()) is None, path
        with Image.open(path) as opened:
            opened.load()
    return len(found)


FOLDERS = ("images", "turns", "drafts", "thoughts")


def is_shown(name: str) -> bool:
    """Whether a name says that it is a picture's."""
    return name.endswith((".png", ".jpg", ".webp")) and not name.startswith(".")


def why_partial(data: bytes) -> str | None:
    """Why bytes are no whole PNG, to its last checksum; None if they are."""
    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return "it does not begin like a PNG"
    at, kind = 8, b""
    while kind != b"IEND":
        head = data[at : at + 8]
        if len(head) < 8:
            return f"it ends at byte {len(data)}"
        (size,), kind = struct.unpack(">I", head[:4]), head[4:]
        if data[at : at + 12 + size] != png_chunk(kind, data[at + 8 : at + 8 + size]):
            return f"a chunk at byte {at} is not whole"
        at += 12 + size
    return None if at == len(data) else "something lies behind its end"


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def until_asked(server: FaultServer, n: int) -> None:
    """Until the server was asked so often."""
    until(lambda: server.n_requests >= n, f"{n} requests")


def finish(job: Path, server: FaultServer, service: Service) -> None:
    """Run to the end after a kill, and hold the promises: nothing lost, nothing asked for twice."""
    directory = job.parent / "output/job"
    check_visible(directory)
    before, whole = Counter(service.n_asked), kept(directory)
    ran = asyncio.run(run_job(job, server, whole=False))
    assert ran.exit_code == 0
    for words, call in CALLS.items():
        if call in whole:
            assert service.n_asked[words] == before[words], f"{words} was asked for again"
    check_finished(directory, service)


def check_finished(directory: Path, service: Service) -> None:
    """Hold what must be when the job is done, however often it was killed."""
    if (directory / "ledger").exists():
        ledgers.check_directory(directory, ended=False)
    assert [one["status"] for one in ledgers.results(directory).values()] == ["done"] * len(ITEMS)
    _check_pictures(directory)
    maybe = Counter(
        (line["item"], line["turn"])
        for line in ledgers.attempts(directory)
        if line["billed"] == "maybe"
    )
    for words, call in CALLS.items():
        n_extra = service.n_drawn[words] - 1
        assert 0 <= n_extra <= maybe[call], f"{words}: {n_extra} more, {maybe[call]} listed"
    check_listed(directory)


def _check_pictures(directory: Path) -> None:
    """Each picture is one that the server drew for just that item."""
    for item, path in ledgers.pictures(directory).items():
        words = "talk two" if item == "talk" else item
        assert path.read_bytes() in {servers.png(f"{words} {nth}") for nth in range(1, 9)}


def check_listed(directory: Path) -> int:
    """Every call that may have been billed is in a summary, with item, attempt and time.

    Returns:
        How many there are.
    """
    maybe = [line for line in ledgers.attempts(directory) if line["billed"] == "maybe"]
    wanted = Counter((line["item"], line["turn"], line["attempt"], line["at"]) for line in maybe)
    told = [json.loads(path.read_bytes()) for path in (directory / "runs").glob("*.json")]
    listed = Counter(
        (line["item"], line["turn"], line["attempt"], line["at"])
        for summary in told
        for line in summary["maybe_billed"]["attempts"]
    )
    assert sum(summary["maybe_billed"]["count"] for summary in told) == len(maybe)
    if len(maybe) <= 100:  # lists are capped
        assert listed == wanted
    return len(maybe)
