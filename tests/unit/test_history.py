"""The index into the ledger: lines are read again from where they stand."""

from __future__ import annotations

import errno
from decimal import Decimal
from typing import TYPE_CHECKING

import msgspec
import pytest

from batchgen.errors import StoreError
from batchgen.model import Attempt, ImageFile, Outcome, Tokens
from batchgen.store.history import History, read_history
from batchgen.store.ledger import Filed, Line
from batchgen.store.shelf import Here

if TYPE_CHECKING:
    from pathlib import Path

AT = "2026-11-21T03:00:04.120Z"


def attempt(item: str, key: str = "k", run_id: str = "r1", **known: object) -> Attempt:
    picture = ImageFile(
        path=f"images/{item}.png",
        role="final",
        sha256="5" * 64,
        bytes=3,
        width=1,
        height=1,
        mime="image/png",
    )
    line = Attempt(
        run_id=run_id,
        item=item,
        key=key,
        turn=1,
        attempt=1,
        at=AT,
        model="m",
        provider="p",
        outcome=Outcome.IMAGE,
        decision="done",
        images=(picture,),
        tokens=Tokens(input_text=1),
        cost_usd=Decimal("0.1"),
        cost_basis="reported",
        billed="yes",
    )
    return msgspec.structs.replace(line, **known)


def filed(made: Attempt, item: str, **known: object) -> Filed:
    line = Filed(run_id="r2", item=item, key=made.key, at=AT, path=f"images/{item}.png", made=made)
    return msgspec.structs.replace(line, **known)


def write(path: Path, *lines: Line) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
    return path


def test_a_line_of_any_of_many_segments_is_read_again(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n:02}.jsonl", attempt(f"i{n}"), attempt("i")) for n in range(40)]
    history = read_history(paths)
    for n in (*range(40), *reversed(range(40))):
        past = history.past((f"i{n}", "k"))
        assert past is not None
        assert past.last == attempt(f"i{n}")


def test_a_line_with_long_words_is_read_whole(tmp_path: Path) -> None:
    wordy = attempt("a", text="ä\u2028" * 50_000)
    past = read_history([write(tmp_path / "a.jsonl", attempt("b"), wordy)]).past(("a", "k"))
    assert past is not None
    assert past.last == wordy


def test_a_line_behind_nuls_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", attempt("a"))
    path.write_bytes(b"\0" * 5000 + path.read_bytes())
    past = read_history([path]).past(("a", "k"))
    assert past is not None
    assert past.last == attempt("a")


@pytest.mark.parametrize("data", [b"", b"what is this\n", b'{"event":"end"}\n'])
def test_a_segment_that_was_changed_since_is_told(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path / "a.jsonl", attempt("a"), attempt("b"))
    history = read_history([path])
    path.write_bytes(data)
    with pytest.raises(StoreError, match="changed by another program"):
        history.past(("a", "k"))


def test_two_names_with_the_same_hash_are_not_taken_for_one() -> None:
    history = History()
    history.apply(attempt("a"))
    history._last[hash(("b", "k"))] = history._last[hash(("a", "k"))]
    assert history.past(("b", "k")) is None


def test_what_is_moved_takes_its_cost_along_and_a_copy_costs_nothing() -> None:
    made = attempt("a")
    history = History()
    history.apply(made)
    history.apply(attempt("b", decision="failed", images=(), run_id="r0"))
    moved = filed(made, "b", attempts=1, tokens=made.tokens, cost_usd=made.cost_usd)
    history.apply(moved)
    history.apply(filed(made, "c", cost_usd=Decimal("0.000000")))
    b, c = history.past(("b", "k")), history.past(("c", "k"))
    assert b is not None
    assert c is not None
    assert (b.n_attempts, b.tokens, b.cost_usd) == (2, Tokens(input_text=2), Decimal("0.2"))
    assert (c.n_attempts, c.tokens, str(c.cost_usd)) == (0, None, "0.000000")
    assert (c.last.item, c.last.images[0].path) == ("c", "images/c.png")


def test_a_path_is_of_who_had_a_picture_there_last() -> None:
    history = History()
    history.apply(attempt("a"))
    assert history.owner("images/a.png") == "a"
    taken = attempt("b", run_id="r2", images=attempt("a").images)
    history.apply(taken)
    assert history.owner("images/a.png") == "b"
    assert not history.was_written_by(("a", "k"), "images/a.png")
    assert history.was_written_by(("b", "k"), "images/a.png")
    history.apply(attempt("b", run_id="r3", decision="failed", images=()))
    assert history.made_at("images/a.png") == "5" * 64
    assert history.owner("images/none.png") is None
    assert history.made_at("images/none.png") is None


def test_a_path_whose_picture_was_moved_away_is_nobodys() -> None:
    history = History()
    history.apply(attempt("a"))
    history.apply(filed(attempt("a"), "b", moved_from="images/a.png"))
    assert history.owner("images/a.png") is None
    assert history.owner("images/b.png") == "b"


def test_of_two_that_change_places_both_own_theirs() -> None:
    a, b = attempt("a", "one"), attempt("b", "two")
    history = History()
    for line in (
        *(a, b),
        filed(a, "b", moved_from="images/a.png"),
        filed(b, "a", moved_from="images/b.png"),
    ):
        history.apply(line)
    assert (history.owner("images/a.png"), history.owner("images/b.png")) == ("a", "b")
    assert history.was_written_by(("a", "two"), "images/a.png")


def test_a_picture_that_is_not_there_is_not_there(tmp_path: Path) -> None:
    history = History()
    history.apply(attempt("a"))
    (tmp_path / "images").write_text("in the way")
    assert not history.has_files(attempt("a"), Here(tmp_path))
    (tmp_path / "images").unlink()
    (tmp_path / "images").symlink_to("images")
    assert not history.has_files(attempt("a"), Here(tmp_path))


def test_a_disk_that_fails_to_say_stops_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: str) -> None:
        raise OSError(errno.EIO, "Input/output error", path)

    history = History()
    history.apply(attempt("a"))
    monkeypatch.setattr("batchgen.store.shelf.os.stat", fails)
    with pytest.raises(StoreError, match="Input/output error"):
        history.has_files(attempt("a"), Here(tmp_path))
