"""Jobs' directories for looking at: a few items of every kind, or very many."""

import functools
import hashlib
import io
import random
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from batchgen.model import (
    Attempt,
    Failure,
    ImageFile,
    ImageRole,
    Item,
    Outcome,
    Reference,
    Tokens,
    Turn,
    content_key,
)
from batchgen.report.rebuild import rebuild
from batchgen.store.expanded import write_items
from batchgen.store.ledger import End, Run

FIRST, SECOND = "20261120T030000Z-1f2a9c30", "20261121T030000Z-4f2a9c31"
MODELS = ("gemini-3-pro-image", "gemini-nano-banana-2.1")
WORDS = ("a", "studio", "photo", "of", "the", "blue", "kettle", "in", "soft", "light", "on", "oak")
SIZES = ((96, 120), (160, 90), (120, 120))


@functools.cache
def png(n: int, width: int, height: int) -> bytes:
    """A picture of one colour."""
    rng = random.Random(n)
    file = io.BytesIO()
    colour = (rng.randrange(60, 220), rng.randrange(60, 220), rng.randrange(60, 220))
    Image.new("RGB", (width, height), colour).save(file, "PNG")
    return file.getvalue()


def place(root: Path, path: str, n: int, role: ImageRole = "final", at: str = "") -> ImageFile:
    """Write a picture; `at` is where it lies if that is not where it was made."""
    width, height = SIZES[n % len(SIZES)]
    data = png(n, width, height)
    file = root / (at or path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return ImageFile(
        path=path,
        role=role,
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        width=width,
        height=height,
        mime="image/png",
    )


def keyed(item: Item) -> Item:
    return msgspec.structs.replace(item, key=content_key(item))


def day(run_id: str) -> str:
    return f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}"


def ended(item: Item, second: int = 0, **known: Any) -> Attempt:
    """An attempt that brought a picture, unless it is said that it did not."""
    run_id = known.pop("run_id", SECOND)
    line = Attempt(
        run_id=run_id,
        item=item.id,
        key=item.key,
        turn=max(1, len(item.turns)),
        attempt=1,
        at=f"{day(run_id)}T03:{second // 60 % 60:02d}:{second % 60:02d}.120Z",
        model=item.model,
        model_version=item.model,
        provider="emulator",
        http_status=200,
        outcome=Outcome.IMAGE,
        decision="done",
        finish_reason="STOP",
        tokens=Tokens(input_text=20, output_text=100, output_image=1120),
        cost_usd=Decimal("0.138000"),
        cost_basis="reported",
        billed="yes",
        latency_s=4.2,
        request_id=f"req-{second}",
        tags=item.tags,
    )
    return msgspec.structs.replace(line, **known)


def failed(item: Item, outcome: Outcome, message: str, **known: Any) -> Attempt:
    failure = Failure(kind="x", message=message)
    return ended(item, outcome=outcome, decision="failed", error=failure, **known)


def written(root: Path, items: Iterable[Item], lines: Iterable[Attempt]) -> Path:
    """Write a directory of these items, and its report; return the page."""
    items, lines = list(items), list(lines)
    (root / "ledger").mkdir(parents=True)
    for run_id in (FIRST, SECOND):
        at = f"{day(run_id)}T03:00:00.000Z"
        head = Run(run_id=run_id, at=at, job="spring", job_sha256="0", provider="x", version="0")
        end = End(
            run_id=run_id, at=at, stop_reason="finished", exit_code=0, wall_s=3600, concurrency={}
        )
        mine = [line for line in lines if line.run_id == run_id]
        told = b"".join(msgspec.json.encode(line) + b"\n" for line in (head, *mine, end))
        (root / f"ledger/{run_id}.jsonl").write_bytes(told)
    write_items(root / "items.jsonl", items)
    rebuild(root)
    return root / "report.html"


FOUND = {
    "webSearchQueries": ["tides <now>"],
    "groundingChunks": [{"web": {"uri": "https://a.invalid/?x=1&y=2", "title": "A page"}}],
    "searchEntryPoint": {"renderedContent": '<a href="https://s.invalid/q">tides</a>'},
}


def gallery(root: Path) -> Path:
    """A dozen items, of which each is of another kind; return the page."""
    photo = root.parent / "photos" / "mug.png"
    photo.parent.mkdir(parents=True, exist_ok=True)
    photo.write_bytes(png(77, 96, 96))
    reference = Reference(path=str(photo), sha256=hashlib.sha256(png(77, 96, 96)).hexdigest())

    def item(name: str, **asked: Any) -> Item:
        asked = {"prompt": f"A photo of {name}", "model": MODELS[1], "tags": {}} | asked
        return keyed(Item(id=name, aspect_ratio="4:5", **asked))

    mug = item("mug", references=(reference,), tags={"sku": "A-1", "scene": "studio"})
    jug = item("jug #1 50%?", tags={"sku": "A-2", "scene": "studio"})
    again = item("again", tags={"sku": "A-1", "scene": "beach"})
    turns = (Turn(prompt="Draw a vase"), Turn(prompt="Now in rain"))
    talk = keyed(Item(id="talk", model=MODELS[0], turns=turns, system_instruction="Be kind."))
    search = item("search", model=MODELS[0], google_search=True, tags={"sku": "A-3"})
    dark, odd = item("dark", tags={"scene": "beach"}), item("odd")
    empty, waits = item("empty"), item("waits")
    drawn = functools.partial(place, root)
    old = drawn("images/again.png", 3, at="quarantine/images/again.1.png")
    first_turn = {"turn": 1, "key": content_key(talk, turn=1)}
    no_picture = failed(search, Outcome.NO_IMAGE, "no picture came", second=7)
    words = {"text": "Of course! A tide.", "grounding": FOUND}
    lines = [
        ended(again, 3, run_id=FIRST, images=(old,)),
        ended(mug, 1, images=(drawn("images/mug.png", 1),), cost_usd=Decimal("0.500000")),
        ended(jug, 2, images=(drawn("images/jug #1 50%?.png", 2),), latency_s=40.0),
        ended(again, 30, images=(drawn("images/again.png", 4),)),
        ended(talk, 5, images=(drawn("turns/talk.1.png", 5, "draft"),), **first_turn),
        ended(
            talk, 6, images=(drawn("images/talk.png", 6), drawn("drafts/talk.2.1.png", 7, "draft"))
        ),
        msgspec.structs.replace(no_picture, decision="retry"),
        ended(search, 20, attempt=2, images=(drawn("images/search.png", 8),), **words),
        failed(dark, Outcome.BLOCKED, "the prompt was refused: SAFETY", second=40),
        failed(odd, Outcome.BLOCKED, "the prompt was refused: OTHER", second=41),
        failed(empty, Outcome.NO_IMAGE, "the model returned no picture", second=42),
    ]
    items = [mug, jug, again, talk, search, dark, odd, empty, waits]
    return written(root, items, lines)


def many(root: Path, n: int, *, skus: int = 5000) -> Path:
    """Very many items with few pictures, of which one in thirty failed; return the page."""
    rng = random.Random(1)
    pictures = [place(root, f"images/p{k}.png", k) for k in range(24)]
    items, lines = [], []
    for k in range(n):
        tags = {"sku": f"SKU-{k % skus:05d}", "scene": ("studio", "beach")[k % 2]}
        prompt = " ".join(rng.choices(WORDS, k=30))
        item = keyed(Item(id=f"item-{k:05d}", model=MODELS[k % 3 == 0], prompt=prompt, tags=tags))
        items.append(item)
        if k % 30 == 7:
            lines.append(failed(item, Outcome.BLOCKED, "the picture was refused", second=k))
        else:
            lines.append(ended(item, k, images=(pictures[k % 24],)))
    return written(root, items, lines)
