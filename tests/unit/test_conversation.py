"""What each turn leaves on disk, and what the next one makes of it; real files, no network."""

import base64
import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pytest

from batchgen.conversation import Conversations, NextTurn
from batchgen.cost import PriceBook
from batchgen.errors import StoreError
from batchgen.model import Attempt, Item, Reference, Turn, content_key
from batchgen.sanitize import Secrets
from batchgen.settle import CallEnd, Settler
from batchgen.store.history import History
from batchgen.store.layout import Layout
from batchgen.store.ledger import Sent
from batchgen.store.receipts import Receipt, ReceivedImage, load_receipt, part_name
from tests.servers import png

MODEL = "gemini-3-pro-image"
FIRST_RUN, THIS_RUN = "20261121T030000Z-4f2a9c31", "20261122T030000Z-4f2a9c31"
SIGNED = {"thoughtSignature": "c2ln"}


def poster(*prompts: str, **known: Any) -> Item:
    turns = tuple(Turn(prompt=prompt) for prompt in prompts or ("one", "two", "three"))
    item = Item(id="poster 4:5", model=MODEL, turns=turns, **known)
    return msgspec.structs.replace(item, key=content_key(item))


def part(n: int, **beside: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": str(n)}, **beside}


class Directory:
    """A job's directory, and what is done in it."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root / "job")
        self.layout.parts.mkdir(parents=True)
        self.settler = Settler(self.layout, PriceBook.shipped(), "emulator", Secrets(["sk-key"]))
        self.history = History()

    def received(
        self,
        turn: int,
        *images: bytes,
        item: Item | None = None,
        parts: list[Any] | None = None,
        run_id: str = THIS_RUN,
        **more: Any,
    ) -> Receipt:
        """Put the answer to a turn on disk, as `attempt` leaves it."""
        item = item or poster()
        sent = Sent(
            run_id=run_id,
            item=item.id,
            key=content_key(item, turn=turn),
            turn=turn,
            attempt=1,
            at="2026-11-21T03:00:04.120Z",
            model=MODEL,
        )
        received = []
        for n, data in enumerate(images):
            name = f"{part_name(sent)}.{n}.part"
            (self.layout.parts / name).write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            received.append(ReceivedImage(part=name, sha256=digest, size_bytes=len(data)))
        content = {"role": "model", "parts": parts or [part(0, **SIGNED)]}
        answer = {"candidates": [{"content": content, "finishReason": "STOP"}]}
        known: dict[str, Any] = {
            "http_status": 200,
            "request_id": None,
            "latency_s": 1.0,
            "bytes_in": 1,
            "skeleton": json.dumps(answer),
        }
        return Receipt(sent=sent, item=item, images=tuple(received), **(known | more))

    def settle(self, receipt: Receipt, **known: Any) -> CallEnd:
        end = self.settler.settle(receipt, **known)
        assert end.line is not None
        self.history.apply(end.line)
        return end

    def done(self, *turns: int, item: Item | None = None, run_id: str = THIS_RUN) -> None:
        for turn in turns:
            end = self.settle(
                self.received(turn, png(f"{run_id} {turn}"), item=item, run_id=run_id)
            )
            assert end.error is None
            for path in end.leftovers:
                path.unlink(missing_ok=True)

    def next(self, item: Item | None = None, *, afresh: bool = False) -> NextTurn:
        conversations = Conversations(self.layout, self.history, THIS_RUN, afresh=afresh)
        return conversations.next_turn(item or poster())

    def turn(self, turn: int, extension: str = "json") -> Path:
        return self.layout.turn("poster 4:5", turn, extension)

    def note(self, end: CallEnd) -> str:
        assert end.error is None
        assert end.line is not None
        assert isinstance(end.line.note, str)
        return end.line.note


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


# --- after an answer ----------------------------------------------------------------------------


def test_a_turn_before_the_last_leaves_its_picture_beside_what_was_said(
    directory: Directory,
) -> None:
    data = png("one")
    end = directory.settle(directory.received(1, data))
    assert end.goes_on
    assert end.line is not None
    [image] = end.line.images
    assert (image.path, image.role) == ("turns/poster 4x5.1.png", "draft")
    assert (directory.layout.root / image.path).read_bytes() == data
    said = json.loads(directory.turn(1).read_bytes())
    assert said["parts"][0]["inlineData"]["data"] == base64.b64encode(data).decode()
    assert said["parts"][0]["thoughtSignature"] == "c2ln"


def test_the_last_turn_leaves_the_picture_of_the_item(directory: Directory) -> None:
    end = directory.settle(directory.received(3, png("three")))
    assert not end.goes_on
    assert end.line is not None
    assert [(image.path, image.role) for image in end.line.images] == [
        ("images/poster 4x5.png", "final")
    ]
    assert directory.turn(3).is_file()


def test_an_item_without_turns_keeps_nothing_of_a_conversation(directory: Directory) -> None:
    item = Item(id="a", model=MODEL, prompt="p")
    directory.settle(directory.received(1, png("one"), item=item))
    assert not (directory.layout.root / "turns").exists()


@pytest.mark.parametrize("killed_after", ["receipt", "content", "rename"])
def test_a_turn_that_was_received_is_finished_after_a_kill(
    directory: Directory, killed_after: str
) -> None:
    receipt = directory.received(2, png("draft"), png("two"), parts=[part(0), part(1, **SIGNED)])
    first = directory.settler.settle(receipt)
    said = directory.turn(2).read_bytes()
    if killed_after != "rename":
        directory.turn(2, "png").rename(directory.layout.parts / receipt.images[1].part)
    if killed_after == "receipt":
        directory.turn(2).unlink()
    found = load_receipt(directory.layout.parts, receipt.sent)
    assert found == receipt
    end = directory.settle(found, recovered=True)
    assert first.line is not None
    assert end.line is not None
    assert end.line.images == first.line.images
    assert (end.line.turn, end.line.recovered, end.goes_on) == (2, True, True)
    assert directory.turn(2).read_bytes() == said


def test_thirty_megabytes_are_put_together_a_step_at_a_time(directory: Directory) -> None:
    data = png("large") + bytes(30 << 20)
    receipt = directory.received(1, data + png("large")[-64:])
    tracemalloc.start()
    end = directory.settle(receipt)
    turn = directory.next()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert end.error is None
    assert directory.turn(1).stat().st_size > 40 << 20
    assert turn.contents
    assert peak_bytes < 12 << 20


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"is_intact": False}, "the key had to be taken out"),
        ({"parts": [part(0, **SIGNED), {"text": "sk-key"}]}, "holds the key"),
        ({"parts": [part(0, **SIGNED), {"n": float("inf")}]}, "JSON"),
    ],
)
def test_what_cannot_be_kept_as_it_was_received_is_not_kept(
    directory: Directory, changed: dict[str, Any], why: str
) -> None:
    directory.done(1, run_id=FIRST_RUN)
    end = directory.settle(directory.received(1, png("again"), **changed))
    assert why in directory.note(end)
    assert not directory.turn(1).exists()
    assert directory.turn(1, "png").read_bytes() == png("again")
    turn = directory.next()
    assert (turn.number, turn.contents) == (2, ())
    assert turn.picture is not None
    assert turn.picture.path == str(directory.turn(1, "png"))


def test_a_draft_whose_bytes_are_gone_is_not_sent_back(directory: Directory) -> None:
    receipt = directory.received(1, png("draft"), png("one"), parts=[part(0), part(1, **SIGNED)])
    (directory.layout.parts / receipt.images[0].part).write_bytes(b"spoilt")
    assert "not what was received" in directory.note(directory.settle(receipt))


def test_the_note_of_the_request_stands_before_that_of_the_answer(directory: Directory) -> None:
    end = directory.settle(directory.received(1, png("one"), note="sent so", is_intact=False))
    assert directory.note(end).startswith("sent so; what the model said is not kept")


# --- before a request ---------------------------------------------------------------------------


def test_an_item_with_one_message_has_one_turn_and_its_own_key(directory: Directory) -> None:
    for item in (Item(id="a", model=MODEL, prompt="p", key="k"), poster("one", key="k")):
        assert directory.next(item) == NextTurn(number=1, key=item.key)


def test_the_first_turn_that_is_not_done_comes_next(directory: Directory) -> None:
    item = poster()
    for done in range(3):
        turn = directory.next(item)
        assert turn.number == done + 1
        assert turn.key == content_key(item, turn=done + 1)
        assert [Path(said.file.path).name for said in turn.contents] == [
            f"poster 4x5.{n}.json" for n in range(1, done + 1)
        ]
        assert (turn.picture, turn.note) == (None, None)
        directory.done(done + 1)
    assert directory.next(item).number == 3
    assert directory.next(item).key == item.key


def test_a_failed_turn_is_not_done(directory: Directory) -> None:
    directory.done(1)
    directory.settle(directory.received(2, b"no image"))
    assert directory.next().number == 2


def test_the_references_that_are_sent_are_those_of_the_turns_that_are_sent() -> None:
    turns = tuple(Turn(prompt="p", references=(Reference(path=f"{n}"),)) for n in range(1, 4))
    item = Item(id="a", model=MODEL, turns=turns)
    assert [ref.path for ref in NextTurn(number=3, key="k").references(item)] == ["3"]
    assert [ref.path for ref in NextTurn(number=1, key="k").references(item)] == ["1"]


@pytest.mark.parametrize("lost", ["gone", "cut", "of another answer", "no longer its picture"])
def test_a_turn_of_an_earlier_run_whose_content_is_lost_is_made_again(
    directory: Directory, lost: str
) -> None:
    directory.done(1, 2, run_id=FIRST_RUN)
    said = directory.turn(1)
    match lost:
        case "gone":
            said.unlink()
        case "cut":
            said.write_bytes(said.read_bytes()[:-20])
        case "of another answer":
            said.write_bytes(directory.turn(2).read_bytes())
        case _:
            said.write_bytes(b'{"role":"model","parts":[]}')
    assert directory.next().number == 1


def test_a_turn_older_than_the_one_before_it_is_made_again(directory: Directory) -> None:
    directory.done(1, 2, run_id=FIRST_RUN)
    directory.done(1, run_id=THIS_RUN)
    assert directory.next().number == 2
    directory.done(2, run_id=THIS_RUN)
    assert directory.next().number == 3


def test_a_clock_that_went_back_between_two_runs_makes_no_turn_twice(directory: Directory) -> None:
    directory.done(1, run_id="20991121T030000Z-4f2a9c31")
    directory.done(2, run_id=THIS_RUN)
    assert directory.next().number == 3


def test_afresh_only_what_this_run_has_done_counts(directory: Directory) -> None:
    directory.done(1, 2, run_id=FIRST_RUN)
    assert directory.next(afresh=True).number == 1
    directory.done(1, run_id=THIS_RUN)
    assert directory.next(afresh=True).number == 2


def test_without_signatures_the_conversation_begins_anew_with_the_last_picture(
    directory: Directory,
) -> None:
    item = poster("one", "two", "three", "four")
    for number, beside in ((1, {}), (2, {}), (3, SIGNED)):
        parts = [part(0, **beside)]
        directory.settle(directory.received(number, png(f"{number}"), item=item, parts=parts))
    turn = directory.next(item)
    assert (turn.number, len(turn.contents)) == (4, 1)
    assert turn.picture is not None
    assert Path(turn.picture.path).read_bytes() == png("2")
    assert turn.picture.mime == "image/png"
    assert turn.note is not None
    assert "picture of turn 2" in turn.note


def test_an_unsigned_turn_whose_picture_is_gone_is_made_again(directory: Directory) -> None:
    directory.settle(directory.received(1, png("one"), parts=[part(0)], run_id=FIRST_RUN))
    directory.turn(1, "png").write_bytes(png("another"))
    assert directory.next().number == 1


def test_a_turn_that_this_run_has_paid_for_is_never_paid_for_again(directory: Directory) -> None:
    directory.done(1)
    directory.turn(1).unlink()
    turn = directory.next()
    assert (turn.number, turn.contents) == (2, ())
    directory.turn(1, "png").unlink()
    with pytest.raises(StoreError, match="turn 1"):
        directory.next()


def test_a_line_without_a_note_is_written_as_ever(directory: Directory) -> None:
    directory.done(1)
    item = poster()
    past = directory.history.past((item.id, content_key(item, turn=1)))
    assert past is not None
    written = msgspec.json.encode(past.last)
    assert b"note" not in written
    assert msgspec.json.decode(written, type=Attempt) == past.last
