"""The segments of a run's workers: read again they tell what the run knew, whoever was lost."""

import asyncio
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchgen.model import Attempt, Decision, ImageFile, Outcome
from batchgen.sanitize import Secrets
from batchgen.store.history import History, read_history
from batchgen.store.layout import Layout
from batchgen.store.ledger import Ledger, Run, Sent, segments
from batchgen.store.segments import Segments

RUN_ID: Final = "20261129T000000Z-00000000"
AT: Final = "2026-11-29T00:00:00.000Z"
ITEMS: Final = ("a", "b", "c")
TURNS: Final = 2


@dataclass
class Story:
    """A run as it goes: lines to write in the order of time, with who has what."""

    segments: Segments
    history: History
    names: list[str] = field(default_factory=lambda: ["0000", "0100"])
    has: dict[str, str] = field(default_factory=dict)
    tries: dict[tuple[str, int], int] = field(default_factory=dict)
    under_way: dict[str, Sent] = field(default_factory=dict)
    turn: dict[str, int] = field(default_factory=dict)

    async def write(self, line: Sent | Attempt) -> None:
        ledger = self.segments.of(line.item)
        (begins,) = await ledger.append(line)
        self.history.apply(line, self.history.place_in(ledger.path, begins))

    async def send(self, item: str, worker: int) -> None:
        """An item goes to the worker that has it, or to one that is free, and leaves."""
        turn = self.turn.setdefault(item, 1)
        if item in self.under_way or turn > TURNS:
            return
        name = self.has.setdefault(item, self.names[worker % len(self.names)])
        await self.segments.hand_over(item, name)
        n = self.tries[item, turn] = self.tries.get((item, turn), 0) + 1
        sent = Sent(
            run_id=RUN_ID, item=item, key=f"k{turn}", turn=turn, attempt=n, at=AT, model="m"
        )
        self.under_way[item] = sent
        await self.write(sent)

    async def end(self, item: str, decision: Decision) -> None:
        """A call ends; with a picture, the item's next turn is next."""
        sent = self.under_way.pop(item, None)
        if sent is None:
            return
        await self.write(ended(sent, decision))
        if decision == "done":
            self.turn[item] += 1

    async def lose(self, worker: int) -> None:
        """A worker is gone: what it had under way gets its lines, and goes to others."""
        name = self.names[worker % len(self.names)]
        await self.segments.lost()
        self.names[worker % len(self.names)] = f"{name[:2]}{self.segments.generation:02x}"
        for item in [item for item, who in self.has.items() if who == name]:
            del self.has[item]
            await self.end(item, "retry")


def ended(sent: Sent, decision: Decision) -> Attempt:
    is_done = decision == "done"
    picture = ImageFile(
        path=f"images/{sent.item}.png",
        role="final",
        sha256=f"{sent.item}{sent.turn}{sent.attempt}",
        bytes=1,
        width=1,
        height=1,
        mime="image/png",
    )
    return Attempt(
        run_id=RUN_ID,
        item=sent.item,
        key=sent.key,
        turn=sent.turn,
        attempt=sent.attempt,
        at=AT,
        model="m",
        provider="p",
        outcome=Outcome.IMAGE if is_done else Outcome.NO_IMAGE,
        decision=decision,
        images=(picture,) if is_done else (),
        cost_usd=Decimal("0.1"),
        cost_basis="reported",
        billed="yes",
    )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from(ITEMS), st.integers(0, 1)),
        st.tuples(st.just("end"), st.sampled_from(ITEMS), st.sampled_from(["done", "retry"])),
        st.tuples(st.just("lose"), st.just(""), st.integers(0, 1)),
    ),
    max_size=30,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(STEPS)
def test_whoever_was_lost_in_whatever_order_the_ledger_tells_what_the_run_knew(
    steps: list[tuple[str, str, object]],
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        layout = Layout(Path(directory))
        layout.ledger.mkdir()
        known = asyncio.run(told(layout, steps))
        read = read_history(segments(layout.ledger))
    assert read.unfinished == known.unfinished


async def told(layout: Layout, steps: list[tuple[str, str, object]]) -> History:
    """Live through a run, and compare what it knows with what is read again."""
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(Ledger(layout.segment(RUN_ID), Secrets([])))
        kept = await stack.enter_async_context(Segments(layout, own, Secrets([])))
        story = Story(kept, History())
        await story.segments.begin(
            Run(run_id=RUN_ID, at=AT, job="j", job_sha256="0", provider="p", version="0")
        )
        for step, item, how in steps:
            match step:
                case "send":
                    await story.send(item, int(str(how)))
                case "end":
                    await story.end(item, "done" if how == "done" else "retry")
                case _:
                    await story.lose(int(str(how)))
    read = read_history(segments(layout.ledger))
    for item in ITEMS:
        latest = []
        for turn in range(1, TURNS + 1):
            name = (item, f"k{turn}")
            before, after = story.history.past(name), read.past(name)
            assert (before is None) == (after is None)
            if before is None or after is None:
                continue
            assert (before.last, before.made) == (after.last, after.made)
            assert (before.n_attempts, before.cost_usd) == (after.n_attempts, after.cost_usd)
            latest.append((before.place, after.place, turn))
        # Which turn came last decides where a conversation stands.
        assert max(latest, default=None) == max(latest, key=lambda one: one[1], default=None)
    return story.history


async def test_lines_of_items_in_nobodys_hands_are_the_runs_own(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.ledger.mkdir()
    async with AsyncExitStack() as stack:
        own = await stack.enter_async_context(Ledger(layout.segment(RUN_ID), Secrets([])))
        kept = await stack.enter_async_context(Segments(layout, own, Secrets([])))
        await kept.hand_over("a", "0000")
        assert kept.of("a") is not own
        assert kept.of("b") is own
        kept.let_go("a")
        assert kept.of("a") is own
