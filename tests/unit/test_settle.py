"""A whole answer on disk becomes a picture and a line; real files, no network."""

import dataclasses
import hashlib
import io
import json
import os
import random
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from batchgen.acceptance import Acceptance
from batchgen.cost import Price, PriceBook
from batchgen.errors import BrokenImage, Bug, NoAnswer, NoImage, StoreError, WrongSize
from batchgen.model import Attempt, Item
from batchgen.recovery import Recovery
from batchgen.retry import Retries
from batchgen.sanitize import Secrets
from batchgen.settle import CallEnd, Settler
from batchgen.store.history import History
from batchgen.store.layout import Layout
from batchgen.store.ledger import Sent
from batchgen.store.receipts import (
    Receipt,
    ReceivedImage,
    load_receipt,
    part_name,
    save_receipt,
)

ITEM = Item(id="hero 16:9", model="gemini-3-pro-image", prompt="p", key="k", tags={"t": "u"})
SENT = Sent(
    run_id="20261121T030000Z-4f2a9c31",
    item=ITEM.id,
    key="k",
    turn=1,
    attempt=2,
    at="2026-11-21T03:00:04.120Z",
    model=ITEM.model,
    est_usd=Decimal("0.15"),
)
USAGE = {
    "promptTokenCount": 20,
    "candidatesTokenCount": 1230,
    "thoughtsTokenCount": 200,
    "totalTokenCount": 1450,
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
}


def png(colour: str = "teal") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 18), colour).save(out, "png")
    return out.getvalue()


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "jpeg")
    return out.getvalue()


@pytest.fixture
def settler(tmp_path: Path) -> Settler:
    layout = Layout(tmp_path / "job")
    layout.parts.mkdir(parents=True)
    secrets = Secrets(["sk-secret"])
    return Settler(layout, PriceBook.shipped(), "emulator", secrets, find_made=Made())


@dataclasses.dataclass
class Made:
    """What was made last under each path, as the ledger would have it."""

    digests: dict[str, str] = dataclasses.field(default_factory=dict)

    def __call__(self, path: str) -> str | None:
        return self.digests.get(path)


def received(settler: Settler, images: list[bytes], parts: list[dict[str, Any]]) -> Receipt:
    """Put an answer on disk as `attempt` would have left it."""
    on_disk = []
    for n, data in enumerate(images):
        name = f"{part_name(SENT)}.{n}.part"
        (settler.layout.parts / name).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        on_disk.append(ReceivedImage(part=name, sha256=digest, size_bytes=len(data)))
    answer = {
        "candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}],
        "usageMetadata": USAGE,
        "modelVersion": "gemini-3-pro-image",
    }
    return Receipt(
        sent=SENT,
        item=ITEM,
        http_status=200,
        request_id="r-1",
        latency_s=2.5,
        bytes_in=1000,
        skeleton=json.dumps(answer),
        images=tuple(on_disk),
    )


def part(n: int, **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": "image/png", "data": str(n)}, **more}


def finish(settler: Settler, end: CallEnd) -> list[str]:
    """Record and clear the leftovers as the runner does; return every file that stays."""
    if isinstance(settler.find_made, Made) and end.line is not None:
        finals = {one.path: one.sha256 for one in end.line.images if one.role == "final"}
        settler.find_made.digests.update(finals)
    for path in end.leftovers:
        path.unlink(missing_ok=True)
    root = settler.layout.root
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_the_last_image_that_is_no_thought_becomes_the_picture(settler: Settler) -> None:
    receipt = received(
        settler,
        [png("red"), png("green"), png("blue")],
        [part(0), part(1), {"text": "here"}, part(2, thought=True)],
    )
    end = settler.settle(receipt)
    assert end.error is None
    assert end.line is not None
    (image,) = end.line.images
    assert (image.path, image.role, image.mime) == ("images/hero 16x9.png", "final", "image/png")
    assert (image.width, image.height) == (32, 18)
    assert (settler.layout.root / image.path).read_bytes() == png("green")
    assert image.sha256 == hashlib.sha256(png("green")).hexdigest()
    assert end.line.text == "here"
    assert finish(settler, end) == ["images/hero 16x9.png", "text/hero 16x9.txt"]


def test_the_line_holds_what_the_answer_and_the_announcement_told(settler: Settler) -> None:
    line = settler.settle(received(settler, [png()], [part(0)])).line
    assert line is not None
    assert (line.item, line.attempt, line.at) == ("hero 16:9", 2, SENT.at)
    assert (line.http_status, line.request_id, line.latency_s) == (200, "r-1", 2.5)
    assert (line.outcome, line.billed, line.cost_basis) == ("image", "yes", "reported")
    # 20 x 2 + (1230 - 1120 + 200) x 12 + 1120 x 120 USD per million
    assert line.cost_usd == Decimal("0.138160")
    assert line.usage == USAGE
    assert line.tags == {"t": "u"}
    assert line.recovered is False


def test_the_bytes_decide_the_extension_and_an_older_picture_of_the_item_goes(
    settler: Settler,
) -> None:
    old = settler.layout.image(ITEM, "png")
    old.parent.mkdir()
    old.write_bytes(png())
    end = knowing(settler, png()).settle(received(settler, [jpeg()], [part(0)]))
    assert finish(settler, end) == ["images/hero 16x9.jpg"]
    assert end.displaced == ()


def knowing(settler: Settler, made: bytes) -> Settler:
    """A settler that knows what was made under the item's PNG before."""
    digests = {"images/hero 16x9.png": hashlib.sha256(made).hexdigest()}
    return dataclasses.replace(settler, find_made=Made(digests))


@pytest.mark.parametrize("made", [None, png("red")], ids=["nothing was made", "something else was"])
@pytest.mark.parametrize("new", [png("green"), jpeg()], ids=["same ending", "other ending"])
def test_what_was_not_made_here_is_kept_when_a_picture_takes_its_place(
    settler: Settler, made: bytes | None, new: bytes
) -> None:
    own = settler.layout.image(ITEM, "png")
    own.parent.mkdir()
    knows = settler if made is None else knowing(settler, made)
    for n, work in enumerate((png("black"), png("white")), 1):
        own.write_bytes(work)
        end = knows.settle(received(settler, [new], [part(0)]))
        assert end.error is None
        assert end.line is not None
        finish(knows, end)
        kept = settler.layout.root / f"quarantine/images/hero 16x9.{n}.png"
        assert kept.read_bytes() == work
        (told,) = end.displaced
        assert told in str(end.line.note)
        assert f"quarantine/images/hero 16x9.{n}.png" in told
        (image,) = end.line.images
        assert (settler.layout.root / image.path).read_bytes() == new
    assert len(list(own.parent.iterdir())) == 1


def test_whatever_lies_in_the_way_of_a_picture_it_gets_its_name(settler: Settler) -> None:
    own = settler.layout.image(ITEM, "png")
    elsewhere = settler.layout.root / "elsewhere.png"
    elsewhere.write_bytes(b"of somebody else")

    def as_directory() -> None:
        own.mkdir()
        (own / "notes.txt").write_text("mine", "utf-8")

    own.parent.mkdir()
    layings: tuple[Callable[[], object], ...] = (
        as_directory,
        lambda: os.mkfifo(own),
        lambda: own.symlink_to(elsewhere),
        lambda: own.symlink_to("nowhere"),
        own.touch,
    )
    for lay in layings:
        lay()
        end = settler.settle(received(settler, [png()], [part(0)]))
        assert end.error is None
        finish(settler, end)
        assert own.read_bytes() == png()
        assert not own.is_symlink()
        own.unlink()
    assert elsewhere.read_bytes() == b"of somebody else"
    kept = settler.layout.root / "quarantine/images"
    assert (kept / "hero 16x9.1.png/notes.txt").read_text("utf-8") == "mine"
    assert sorted(path.name for path in kept.iterdir()) == ["hero 16x9.1.png", "hero 16x9.2.png"]
    assert (kept / "hero 16x9.2.png").is_fifo()


def test_a_kill_after_it_was_kept_and_before_the_picture_has_its_name_loses_neither(
    settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settler.layout.image(ITEM, "png")
    own.parent.mkdir()
    own.write_bytes(png("white"))
    receipt = received(settler, [png()], [part(0)])

    def killed(path: Path, target: Path) -> Path:
        if target == own:
            raise KeyboardInterrupt
        return path.rename(target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            settler.settle(receipt)
    again = load_receipt(settler.layout.parts, SENT)
    assert again is not None
    end = settler.settle(again, recovered=True)
    assert end.error is None
    assert finish(settler, end) == ["images/hero 16x9.png", "quarantine/images/hero 16x9.1.png"]
    assert own.read_bytes() == png()


@pytest.mark.parametrize(
    ("data", "kept_as", "why"),
    [
        (png()[:-8], "png", "the PNG has no end"),
        (jpeg()[:-2], "jpg", "the JPEG has no end"),
        (b"<svg/>", "bin", "no PNG, JPEG or WebP"),
    ],
)
def test_a_picture_that_is_not_whole_is_paid_for_and_kept_in_quarantine(
    settler: Settler, data: bytes, kept_as: str, why: str
) -> None:
    end = settler.settle(received(settler, [data], [part(0)]))
    assert isinstance(end.error, BrokenImage)
    assert why in end.error.message
    assert end.line is not None
    assert (end.line.billed, end.line.cost_usd) == ("yes", Decimal("0.138160"))
    (image,) = end.line.images
    assert image.role == "quarantine"
    (stays,) = finish(settler, end)
    assert stays == image.path
    assert stays.startswith("quarantine/")
    assert stays.endswith(f".{kept_as}")


def test_an_image_found_only_among_the_thoughts_goes_to_quarantine(settler: Settler) -> None:
    end = settler.settle(received(settler, [png()], [part(0, thought=True)]))
    assert isinstance(end.error, NoImage)
    (stays,) = finish(settler, end)
    assert stays.startswith("quarantine/")


def test_a_receipt_finishes_an_answer_whose_picture_was_already_renamed(settler: Settler) -> None:
    receipt = received(settler, [png()], [part(0)])
    first = settler.settle(receipt)  # killed before the ledger line: the receipt stays
    again = load_receipt(settler.layout.parts, SENT)
    assert again == receipt
    end = settler.settle(again, recovered=True)
    assert first.line is not None
    assert end.line is not None
    assert (end.line.images, end.line.recovered) == (first.line.images, True)
    assert finish(settler, end) == ["images/hero 16x9.png"]


def test_a_recovered_answer_keeps_the_receipt_that_is_all_that_is_known_of_it(
    settler: Settler,
) -> None:
    receipt = received(settler, [png()], [part(0)])
    settler.settle(receipt)
    path = settler.layout.parts / f"{part_name(SENT)}.json"
    inode = path.stat().st_ino
    blank = settler.layout.parts / "blank.json"
    blank.write_bytes(b"{}")
    settler.blanks.leave(blank)
    settler.settle(receipt, recovered=True)  # written on the blank, a kill would leave it empty
    assert (path.stat().st_ino, blank.exists()) == (inode, True)
    assert load_receipt(settler.layout.parts, SENT) == receipt


def test_parts_that_another_thread_clears_away_at_the_same_moment_are_no_failure(
    settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def beaten_to_it(path: Path, *, missing_ok: bool = False) -> None:
        unlink(path)
        unlink(path, missing_ok=missing_ok)

    for name in ("a.part", "b.json"):
        (settler.layout.parts / name).touch()
    unlink = Path.unlink
    monkeypatch.setattr(Path, "unlink", beaten_to_it)
    Recovery(settler.layout, settler, Retries(), random.Random(1)).clear_parts()
    assert not list(settler.layout.parts.iterdir())


def test_a_picture_of_another_answer_is_never_taken_for_a_renamed_one(settler: Settler) -> None:
    receipt = received(settler, [png()], [part(0)])
    (settler.layout.parts / receipt.images[0].part).unlink()
    other = settler.layout.image(ITEM, "png")
    other.parent.mkdir()
    other.write_bytes(bytes(len(png())))
    end = settler.settle(receipt, recovered=True)
    assert isinstance(end.error, BrokenImage)
    assert other.read_bytes() == bytes(len(png()))


def test_an_answer_that_trips_us_up_is_recorded_as_our_bug_and_its_image_stays(
    settler: Settler,
) -> None:
    class Broken(PriceBook):
        def find(self, *models: str | None, at: str) -> Price | None:
            raise ZeroDivisionError("of all things", models, at)

    broken = Settler(settler.layout, Broken(()), "emulator", Secrets([]))
    end = broken.settle(received(settler, [b"not an image"], [part(0)]))
    assert isinstance(end.error, Bug)
    assert "ZeroDivisionError" in end.error.message
    assert end.line is not None
    assert (end.line.outcome, end.line.billed) == ("bug", "maybe")


def test_the_key_is_in_no_file_though_the_answer_quotes_it(settler: Settler) -> None:
    end = settler.settle(received(settler, [png()], [part(0), {"text": "your key is sk-secret"}]))
    for path in settler.layout.root.rglob("*"):
        assert not path.is_file() or b"sk-secret" not in path.read_bytes()
    assert settler.layout.text(ITEM.id).read_text() == "your key is [key]"
    assert end.error is None


def test_a_disk_that_refuses_raises_and_leaves_the_receipt(settler: Settler) -> None:
    receipt = received(settler, [png()], [part(0)])
    (settler.layout.root / "images").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="images"):
        settler.settle(receipt)
    assert load_receipt(settler.layout.parts, SENT) == receipt


def test_bytes_that_a_power_cut_took_are_not_taken_for_the_picture(settler: Settler) -> None:
    data = png()
    receipt = received(settler, [data], [part(0)])
    middle = len(data) // 2
    spoilt = data[:middle] + bytes(8) + data[middle + 8 :]
    (settler.layout.parts / receipt.images[0].part).write_bytes(spoilt)
    end = settler.settle(receipt, recovered=True)
    assert isinstance(end.error, BrokenImage)
    assert "not what was received" in end.error.message
    (stays,) = finish(settler, end)
    assert stays.startswith("quarantine/")


def test_a_picture_that_has_moved_leaves_no_part_to_clear_away(settler: Settler) -> None:
    draft, final = (png(colour) for colour in ("red", "green"))
    receipt = received(settler, [draft, final], [part(0), part(1)])
    end = settler.settle(receipt)
    marker = settler.layout.parts / f"{part_name(SENT)}.json"
    assert end.leftovers == (marker, settler.layout.parts / receipt.images[0].part)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_lies_in_place_of_a_part_and_is_no_file_is_taken_for_none(
    settler: Settler, make: Callable[[Path], None]
) -> None:
    receipt = received(settler, [png("red")], [part(0)])
    place = settler.layout.parts / receipt.images[0].part
    place.unlink()
    make(place)
    save_receipt(settler.layout.parts, receipt, Secrets([]))
    end = settler.settle(receipt, recovered=True)
    assert type(end.error) is BrokenImage


def test_a_recovered_answer_that_trips_us_up_is_left_to_be_kept_and_stops_the_run(
    settler: Settler,
) -> None:
    class Broken(PriceBook):
        def find(self, *models: str | None, at: str) -> Price | None:
            raise ZeroDivisionError("of all things", models, at)

    receipt = received(settler, [b"not an image"], [part(0)])
    save_receipt(settler.layout.parts, receipt, Secrets([]))
    history = History()
    history.apply(SENT)
    broken = Settler(settler.layout, Broken(()), "emulator", Secrets([]))
    recovery = Recovery(settler.layout, broken, Retries(), random.Random(1))
    ((end, decision),) = recovery.ends(history)
    assert (type(end.error), decision) == (Bug, "stop")
    assert end.line is not None
    assert (end.line.bytes_in, end.line.request_id, end.line.recovered) == (1000, "r-1", True)
    assert settler.layout.parts / receipt.images[0].part in end.leftovers


# --- what is kept besides the picture, and a picture that is not what was asked for ---------------


def accepting(settler: Settler, **acceptance: Any) -> Settler:
    return dataclasses.replace(settler, acceptance=Acceptance(**acceptance))


def many(settler: Settler) -> Receipt:
    """A thought, two drafts and the picture."""
    return received(
        settler,
        [png("grey"), png("red"), jpeg(), png("green")],
        [part(0, thought=True), part(1), part(2), part(3)],
    )


def test_drafts_and_thoughts_are_kept_apart_where_the_job_says_so(settler: Settler) -> None:
    end = accepting(settler, keep_drafts=True, keep_thoughts=True).settle(many(settler))
    assert end.line is not None
    assert [(image.path, image.role) for image in end.line.images] == [
        ("images/hero 16x9.png", "final"),
        ("drafts/hero 16x9.1.1.png", "draft"),
        ("drafts/hero 16x9.1.2.jpg", "draft"),
        ("thoughts/hero 16x9.1.1.png", "thought"),
    ]
    finish(settler, end)
    for image, data in zip(
        end.line.images, (png("green"), png("red"), jpeg(), png("grey")), strict=True
    ):
        assert (settler.layout.root / image.path).read_bytes() == data
        assert (image.sha256, image.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert (image.width, image.height) == ((32, 18) if image.mime == "image/png" else (8, 8))


@pytest.mark.parametrize(
    ("acceptance", "kept"),
    [
        ({}, []),
        ({"keep_thoughts": True}, ["thoughts/hero 16x9.1.1.png"]),
        ({"keep_drafts": True}, ["drafts/hero 16x9.1.1.png", "drafts/hero 16x9.1.2.jpg"]),
    ],
)
def test_nothing_is_kept_that_nobody_asked_to_keep(
    settler: Settler, acceptance: dict[str, Any], kept: list[str]
) -> None:
    end = accepting(settler, **acceptance).settle(many(settler))
    assert finish(settler, end) == sorted([*kept, "images/hero 16x9.png"])


def test_a_new_answer_takes_the_drafts_of_the_one_before_away(settler: Settler) -> None:
    keeping = accepting(settler, keep_drafts=True)
    finish(settler, keeping.settle(many(settler)))
    end = keeping.settle(received(settler, [jpeg(), png()], [part(0), part(1)]))
    assert finish(settler, end) == ["drafts/hero 16x9.1.1.jpg", "images/hero 16x9.png"]
    finish(settler, keeping.settle(many(settler)))
    end = settler.settle(received(settler, [png()], [part(0)]))
    assert finish(settler, end) == ["images/hero 16x9.png"]


def test_a_broken_draft_hides_neither_an_earlier_one_nor_one_behind_it(settler: Settler) -> None:
    keeping = accepting(settler, keep_drafts=True)
    cut = png("red")[:-9]
    first = received(settler, [png("red"), cut, png("blue"), png()], [part(n) for n in range(4)])
    kept = [path for path in finish(settler, keeping.settle(first)) if "quarantine" not in path]
    names = [f"drafts/hero 16x9.1.{n}.png" for n in (1, 3)]
    assert kept == [*names, "images/hero 16x9.png"]
    second = received(settler, [cut, jpeg(), png()], [part(n) for n in range(3)])
    kept = [path for path in finish(settler, keeping.settle(second)) if "quarantine" not in path]
    assert kept == ["drafts/hero 16x9.1.2.jpg", "images/hero 16x9.png"]


def test_a_draft_that_is_not_whole_costs_no_picture_and_goes_to_quarantine(
    settler: Settler,
) -> None:
    receipt = received(settler, [png()[:-9], png()], [part(0), part(1)])
    end = accepting(settler, keep_drafts=True).settle(receipt)
    assert end.error is None
    assert end.line is not None
    assert [image.role for image in end.line.images] == ["final", "quarantine"]


@pytest.mark.parametrize("n_renamed", range(5))
def test_a_kill_between_any_two_of_the_pictures_loses_none(
    settler: Settler, n_renamed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping = accepting(settler, keep_drafts=True, keep_thoughts=True)
    whole = keeping.settle(many(settler)).line
    assert whole is not None
    for image in whole.images:
        (settler.layout.root / image.path).unlink()
    receipt = many(settler)
    moves = iter(range(n_renamed + 1))

    def killed(path: Path, target: Path) -> Path:
        # The receipt is put into its place first.
        if target.suffix != ".json" and next(moves, n_renamed) == n_renamed:
            raise KeyboardInterrupt
        path.rename(target)
        return target

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        try:
            keeping.settle(receipt)
        except KeyboardInterrupt:
            assert n_renamed < 4
        else:
            assert n_renamed == 4
    again = load_receipt(settler.layout.parts, SENT)
    assert again is not None
    end = keeping.settle(again, recovered=True)
    assert end.line is not None
    assert end.line.images == whole.images
    assert finish(settler, end) == sorted(image.path for image in whole.images)


WIDE = msgspec.structs.replace(ITEM, aspect_ratio="16:9", image_size="2K")


def asked(settler: Settler, item: Item, data: bytes) -> Receipt:
    return msgspec.structs.replace(received(settler, [data], [part(0)]), item=item)


def square() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "png")
    return out.getvalue()


def test_a_picture_of_another_size_is_accepted_with_a_note(settler: Settler) -> None:
    end = settler.settle(asked(settler, WIDE, square()))
    assert end.error is None
    assert end.line is not None
    assert end.line.outcome == "image"
    assert end.line.note == "the picture is 64x64, and 16:9 at 2K was asked for"
    assert finish(settler, end) == ["images/hero 16x9.png"]


@pytest.mark.parametrize(("action", "tries"), [("retry", None), ("fail", 0)])
def test_or_it_is_paid_for_and_set_aside(settler: Settler, action: Any, tries: int | None) -> None:
    end = accepting(settler, on_wrong_size=action).settle(asked(settler, WIDE, square()))
    assert isinstance(end.error, WrongSize)
    assert end.error.tries == tries
    assert end.line is not None
    assert (end.line.outcome, end.line.billed) == ("wrong_size", "yes")
    assert end.line.cost_usd == Decimal("0.138160")
    (stays,) = finish(settler, end)
    assert stays == end.line.images[0].path
    assert stays.startswith("quarantine/")


@pytest.mark.parametrize(
    "item",
    [
        ITEM,
        msgspec.structs.replace(ITEM, aspect_ratio="1:1"),
        msgspec.structs.replace(ITEM, model="gemini-2.5-flash-image", image_size="4K"),
        Item(id="hero 16:9", model="m", request={"contents": [], "generationConfig": "odd"}),
    ],
    ids=["nothing asked", "the ratio fits", "a size that is not sent", "an odd raw request"],
)
def test_a_size_that_was_not_asked_for_is_not_judged(settler: Settler, item: Item) -> None:
    end = accepting(settler, on_wrong_size="fail").settle(asked(settler, item, square()))
    assert end.error is None


def test_what_a_raw_request_and_extra_ask_for_is_judged_too(settler: Settler) -> None:
    config = {"generationConfig": {"imageConfig": {"aspectRatio": "9:16"}}}
    raw = Item(id="hero 16:9", model="m", request={"contents": [], **config})
    for item in (raw, msgspec.structs.replace(ITEM, extra=config)):
        end = accepting(settler, on_wrong_size="fail").settle(asked(settler, item, square()))
        assert isinstance(end.error, WrongSize)


def test_of_a_broken_answer_every_picture_that_is_no_thought_is_set_aside(
    settler: Settler,
) -> None:
    receipt = received(
        settler,
        [png("grey"), png("red"), png("green")[:-9]],
        [part(0, thought=True), part(1), part(2)],
    )
    end = settler.settle(receipt)
    assert isinstance(end.error, BrokenImage)
    assert end.line is not None
    assert [image.role for image in end.line.images] == ["quarantine"] * 2
    kept = [settler.layout.root / path for path in finish(settler, end)]
    assert sorted(path.read_bytes() for path in kept) == sorted((png("red"), png("green")[:-9]))


def test_a_picture_in_no_place_that_is_known_is_set_aside(settler: Settler) -> None:
    receipt = received(settler, [png()], [])
    odd = {"output": {"inlineData": {"data": "0"}}, "candidates": []}
    end = settler.settle(msgspec.structs.replace(receipt, skeleton=json.dumps(odd)))
    assert isinstance(end.error, NoImage)
    (stays,) = finish(settler, end)
    assert (settler.layout.root / stays).read_bytes() == png()


def test_the_service_is_quoted_on_how_it_ended(settler: Settler) -> None:
    receipt = received(settler, [], [])
    refused = {
        "candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": "Unable to \x1b[31mshow"}]
    }
    end = settler.settle(msgspec.structs.replace(receipt, skeleton=json.dumps(refused)))
    assert end.line is not None
    assert end.line.finish_message == "Unable to [31mshow"
    assert end.line.block_reason is msgspec.UNSET
    blocked = {"promptFeedback": {"blockReason": "OTHER", "blockReasonMessage": "no"}}
    end = settler.settle(msgspec.structs.replace(receipt, skeleton=json.dumps(blocked)))
    assert end.line is not None
    assert (end.line.block_reason, end.line.finish_message) == ("OTHER", "no")


# --- what a killed run left of an answer that never had its receipt -------------------------------


def recovered(settler: Settler) -> tuple[CallEnd, Attempt]:
    history = History()
    history.apply(SENT)
    recovery = Recovery(settler.layout, settler, Retries(), random.Random(1))
    ((end, decision),) = recovery.ends(history)
    assert decision in {"retry", "done"}
    assert end.line is not None
    line = end.line
    if end.is_unsettled:
        line = settler.keep_parts(end.leftovers, line, only_whole=True)
    for path in end.leftovers:
        path.unlink(missing_ok=True)
    recovery.clear_parts()
    return end, line


def test_a_receipt_that_has_not_got_its_name_yet_will_do(settler: Settler) -> None:
    receipt = received(settler, [png()], [part(0)])
    path = save_receipt(settler.layout.parts, receipt, Secrets([]))
    path.rename(path.with_name(f".{path.name}.0a1b2c3d.draft"))
    end, line = recovered(settler)
    assert (end.error, line.outcome, line.recovered) == (None, "image", True)
    assert finish(settler, end) == ["images/hero 16x9.png"]


def test_half_a_receipt_will_not_and_the_whole_pictures_are_kept(settler: Settler) -> None:
    receipt = received(settler, [png(), png()[:-9]], [part(0), part(1)])
    path = save_receipt(settler.layout.parts, receipt, Secrets([]))
    draft = path.with_name(f".{path.name}.0a1b2c3d.draft")
    draft.write_bytes(path.read_bytes()[:-20])
    path.unlink()
    end, line = recovered(settler)
    assert (line.outcome, line.billed) == ("interrupted", "maybe")
    (kept,) = line.images
    assert (kept.role, kept.sha256) == ("quarantine", hashlib.sha256(png()).hexdigest())
    assert finish(settler, end) == [kept.path]


def test_what_was_set_aside_before_another_kill_is_named_all_the_same(settler: Settler) -> None:
    received(settler, [png("red"), png("blue")], [part(0), part(1)])
    quarantine = settler.layout.root / "quarantine"
    quarantine.mkdir()
    name = f"{part_name(SENT)}.0"
    (settler.layout.parts / f"{name}.part").rename(quarantine / f"{name}.png")
    end, line = recovered(settler)
    assert [image.path for image in line.images] == finish(settler, end)
    assert len(line.images) == 2


def test_the_error_of_a_call_tells_no_secret_to_whoever_asks_it(settler: Settler) -> None:
    error = NoAnswer("nothing came for sk-secret")
    end = settler.failed(SENT, ITEM, error, {})
    assert end.error is error
    assert "sk-secret" not in error.message
    assert "[key]" in error.message
