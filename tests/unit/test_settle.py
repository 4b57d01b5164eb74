"""A whole answer on disk becomes a picture and a line; real files, no network."""

import hashlib
import io
import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from batchgen.cost import Price, PriceBook
from batchgen.errors import BrokenImage, Bug, NoImage, StoreError
from batchgen.model import Item
from batchgen.recovery import Recovery
from batchgen.retry import Retries
from batchgen.sanitize import Secrets
from batchgen.settle import CallEnd, Settler
from batchgen.store.layout import Layout
from batchgen.store.ledger import History, Sent
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
    return Settler(layout, PriceBook.shipped(), "emulator", Secrets(["sk-secret"]))


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
    """Clear the leftovers as the runner does; return every file that stays."""
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
    end = settler.settle(received(settler, [jpeg()], [part(0)]))
    assert finish(settler, end) == ["images/hero 16x9.jpg"]


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

    broken = Settler(settler.layout, Broken({}), "emulator", Secrets([]))
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
    broken = Settler(settler.layout, Broken({}), "emulator", Secrets([]))
    recovery = Recovery(settler.layout, broken, Retries(), random.Random(1))
    ((end, decision),) = recovery.ends(history)
    assert (type(end.error), decision) == (Bug, "stop")
    assert end.line is not None
    assert (end.line.bytes_in, end.line.request_id, end.line.recovered) == (1000, "r-1", True)
    assert settler.layout.parts / receipt.images[0].part in end.leftovers
