"""How often a run reads the job again that it has just read: that is what a large job costs."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchgen import Event, RunBegan
from batchgen.selection import Selection
from batchgen.store import expanded
from tests import servers
from tests.runs import run_job, write_job
from tests.servers import FaultServer

IDS = [f"picture-{n}" for n in range(20)]


class Readings:
    """Counts the lines of `items.jsonl` that are decoded up to the moment that a run begins."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Stand before the function that decodes them."""
        self.n = 0
        self.began: list[tuple[int, int, int, int]] = []
        decode = expanded._lines

        def counted(*given: Any, **known: Any) -> Iterator[Any]:
            for one in decode(*given, **known):
                self.n += 1
                yield one

        monkeypatch.setattr(expanded, "_lines", counted)

    def take(self, event: Event) -> None:
        """Note where it stands when a run begins, and what that set out to do."""
        if isinstance(event, RunBegan):
            self.began.append((self.n, event.n_items, event.n_reused, event.n_settled))
            self.n = 0


async def begun(
    folder: Path, items: Iterable[Any], readings: Readings, **options: Any
) -> tuple[int, int, int, int]:
    """Run a job; what was decoded, and how many items it is about, has done and lets be."""
    job = write_job(folder / "job.jsonl", items)
    readings.n = 0
    with FaultServer(servers.draws) as server:
        await run_job(job, server, on_event=readings.take, **options)
    return readings.began[-1]


async def test_nothing_of_a_new_job_is_read_again_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = Readings(monkeypatch)
    assert await begun(tmp_path, IDS, readings) == (0, 20, 0, 0)


async def test_a_finished_job_is_read_once_or_not_at_all_and_what_lacks_its_picture_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = Readings(monkeypatch)
    await begun(tmp_path, IDS, readings)
    assert await begun(tmp_path, IDS, readings) == (0, 20, 20, 0)
    (tmp_path / "output/job/.seal").unlink()
    assert await begun(tmp_path, IDS, readings) == (20, 20, 20, 0)
    # Who else has such a picture, and is any in the way? That is a reading each.
    (tmp_path / "output/job/images/picture-7.png").unlink()
    assert await begun(tmp_path, IDS, readings) == (3 * 20 + 1, 20, 19, 0)
    assert await begun(tmp_path, [*IDS, "one-more"], readings) == (2 * 21 + 1, 21, 20, 0)


@pytest.mark.parametrize(
    ("items", "n_reused"),
    [
        ([*IDS, {"id": "again", "prompt": "picture-3"}], 21),  # gets a copy
        ([*IDS, {"id": "next", "prompt": "x", "references": ["item:picture-3"]}], 20),
        ([*IDS[1:], {"id": "renamed", "prompt": "picture-0"}], 20),
        ([*IDS, {"id": "talk", "turns": [{"prompt": "a"}, {"prompt": "b"}]}], 20),
    ],
)
async def test_items_that_have_to_do_with_others_are_planned_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, items: list[Any], n_reused: int
) -> None:
    readings = Readings(monkeypatch)
    await begun(tmp_path, IDS, readings)
    _, n_items, *told = await begun(tmp_path, items, readings)
    assert (n_items, told) == (len(items), [n_reused, 0])
    _, n_items, *told = await begun(tmp_path, items, readings)
    assert (n_items, told) == (len(items), [len(items), 0])


@pytest.mark.parametrize(
    ("options", "n_items"),
    [({"limit": 3}, 3), ({"selection": Selection(only=("picture-1*",))}, 11)],
)
async def test_part_of_a_new_job_is_planned_as_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], n_items: int
) -> None:
    readings = Readings(monkeypatch)
    _, *told = await begun(tmp_path, IDS, readings, whole=False, **options)
    assert told == [n_items, 0, 0]
