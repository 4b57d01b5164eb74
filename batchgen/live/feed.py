"""One reading of a directory, for all who look.

A thread of its own reads and makes cards, one thing after the other: so what it knows needs no
lock, and the event loop never waits for a disk. A viewer has a cursor and no queue: it waits until
there is something new, and takes what changed since its cursor. One that does not read holds
nothing back, and nothing is held for it.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar, cast

import msgspec

from batchgen.errors import StoreError, UsageError
from batchgen.live.follow import LedgerReplaced
from batchgen.live.state import Setting, State
from batchgen.report.page import View, page
from batchgen.review import Mark, append_mark
from batchgen.store.history import final_image
from batchgen.store.layout import Layout

if TYPE_CHECKING:
    from batchgen.report.cards import Card

T = TypeVar("T")

# Of one event: the cards of so many items, and about so many bytes.
MAX_CARDS: Final = 200
MAX_EVENT_BYTES: Final = 1 << 20
_MAX_TOLD: Final = 10
# What cannot be read is not tried again for so long: it may be a ledger of gigabytes.
_RETRY_S: Final = 5.0
# Charts are drawn anew after so long.
_REDRAW_S: Final = 5.0
# Pieces of the page that are made in one go; what is new is read in between.
_N_PIECES: Final = 400


_encoder = msgspec.json.Encoder()


class _Closed(Exception):
    """The feed is being left while it reads."""


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Charts, when they were drawn, and whether the run was alive then."""

    html: str
    at_s: float
    is_alive: bool


class NoSuchItem(Exception):
    """A mark is about an item that there is not."""


class OtherPicture(Exception):
    """A mark is about a picture that its item has no more."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """How often what is done, in seconds.

    Attributes:
        poll_s: How often the ledger is looked at.
        event_s: How often a viewer is told of changes, at most.
        comment_s: After how long it hears something though there is nothing to tell.
    """

    poll_s: float = 0.5
    event_s: float = 1.0
    comment_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a viewer knows: all changes up to a number, and the figures of the run."""

    seq: int
    figures: bytes = b""


@dataclass(frozen=True, slots=True)
class News:
    """What a viewer does not know yet.

    Attributes:
        cursor: What it knows then.
        cards: A JSON array; None if no card changed.
        figures: JSON; None if they did not change.
        is_other: There is another job now, or another reading of this one.
    """

    cursor: Cursor
    cards: bytes | None = None
    figures: bytes | None = None
    is_other: bool = False


class Feed:
    """Follows a job's directory while it is entered.

    Attributes:
        trouble: Why there is nothing to show, for a person; None if there is.
    """

    def __init__(
        self,
        layout: Layout,
        setting: Setting,
        pacing: Pacing,
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Set what is followed.

        Args:
            layout: The directory, which need not be there yet.
            setting: What its state needs.
            pacing: How often.
            warn: Told of what a person should know, each once.
        """
        self.pacing = pacing
        self.trouble: str | None = "it has not been read yet"
        self._layout = layout
        self._setting = replace(setting, go_on=self._go_on)
        self._clock = setting.clock
        self._warn = warn
        self._told: set[str] = set()
        self._is_closing = threading.Event()
        self._state: State | None = None
        self._figures = b""
        # Larger than what a server before this one has told any viewer.
        self._seq = int(self._clock.now().timestamp() * 1000)
        self._retry_at_s = 0.0
        self._drawn: _Drawn | None = None

    async def __aenter__(self) -> Self:
        """Begin to read; nothing is waited for."""
        self._thread = ThreadPoolExecutor(1, "batchgen-live")
        self._bell = asyncio.Event()
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *exc: object) -> None:
        """End at once, whatever is being read."""
        self._is_closing.set()
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    # --- asked by viewers -----------------------------------------------------------------------

    async def page(self) -> AsyncIterator[str] | None:
        """The page as it stands now, piece by piece; None if there is nothing to show.

        Raises:
            StoreError: The disk failed.
        """
        pieces = await self._call(self._pieces)
        return None if pieces is None else self._in_steps(pieces)

    async def charts(self) -> str:
        """The charts of the last run as HTML."""
        return await self._call(self._charts)

    async def picture(self, sha256: str) -> Path | None:
        """Where a picture lies that the page shows; None if none does."""
        return await self._call(lambda: self._state.deck.picture(sha256) if self._state else None)

    async def mark(self, mark: Mark) -> None:
        """Append a mark, durably; all viewers are told of it.

        Raises:
            NoSuchItem: There is none of that id.
            OtherPicture: The mark is about another picture than its present one.
            StoreError: The disk could not take it.
        """
        await asyncio.shield(self._call(lambda: self._mark(mark)))
        self._ring()

    def cursor(self, seq: int | None) -> Cursor:
        """Where a viewer begins that knows all changes up to a number; None: of none before now."""
        return Cursor(self._seq if seq is None else seq)

    async def news(self, cursor: Cursor) -> News:
        """What a viewer does not know yet; it may be nothing.

        Raises:
            StoreError: The disk failed.
        """
        if self._knows_all(cursor):
            return News(cursor)
        return await self._call(lambda: self._news(cursor))

    async def wait(self, cursor: Cursor) -> bool:
        """Wait until there may be news; False if there was none for as long as one waits."""
        bell = self._bell
        if not self._knows_all(cursor):
            return True
        await self._clock.wait_within(bell.wait(), self.pacing.comment_s)
        return bell.is_set()

    # --- on the event loop ----------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            before = (self._seq, self._figures)
            await self._call(self._poll)
            if before != (self._seq, self._figures):
                self._ring()
            await self._clock.sleep(self.pacing.poll_s)

    def _ring(self) -> None:
        """Wake all who wait, each of whom looks for itself."""
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    def _knows_all(self, cursor: Cursor) -> bool:
        return self._state is None or cursor == Cursor(self._seq, self._figures)

    async def _in_steps(self, pieces: Iterator[str]) -> AsyncIterator[str]:
        while text := await self._call(lambda: "".join(islice(pieces, _N_PIECES))):
            yield text

    async def _call(self, do: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, do)

    # --- in the thread --------------------------------------------------------------------------

    def _go_on(self) -> None:
        if self._is_closing.is_set():
            raise _Closed

    def _poll(self) -> None:
        """See what is new; whatever is wrong is told, and tried again later."""
        if self._state is None and self._clock.monotonic_s() < self._retry_at_s:
            return
        try:
            self._follow_state()
        except LedgerReplaced:
            self._drop_state()
        except UsageError as nothing_yet:
            self._lose(str(nothing_yet))
        except _Closed:
            pass
        except StoreError as error:
            self._lose_for_long(str(error))
        except Exception as error:  # noqa: BLE001 - nobody else would tell of it
            self._lose_for_long(f"a bug in batchgen: {type(error).__name__}: {error}")

    def _follow_state(self) -> None:
        if self._state is not None and self._state.is_replaced():
            self._drop_state()
        if self._state is None:
            # Whoever knows of less than this has to load the page anew.
            self._state = State(self._layout, self._setting, self._seq + 1)
            self.trouble = None
        self._state.poll()
        self._seq = self._state.deck.seq
        self._figures = _encoder.encode(self._state.figures())
        for told in self._state.trouble[:_MAX_TOLD]:
            self._tell(told)

    def _lose_for_long(self, why: str) -> None:
        self._retry_at_s = self._clock.monotonic_s() + _RETRY_S
        self._lose(why)
        self._tell(why)

    def _lose(self, why: str) -> None:
        self._drop_state()
        self.trouble = why

    def _drop_state(self) -> None:
        """Let go of all that was read, before anything else is."""
        self._state = self._drawn = None

    def _tell(self, told: str) -> None:
        if told not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(told)
            self._warn(told)

    def _pieces(self) -> Iterator[str] | None:
        self._poll()
        state = self._state
        if state is None:
            return None
        # As they were made for the events: each is JSON already.
        cards = (msgspec.Raw(state.deck.card(number)) for number in state.deck.numbers())
        summary = state.summary()
        view = View(summary, state.whole(), *state.drawn(summary))
        return page(view, cast("Iterator[Card]", cards), {"seq": state.deck.seq})

    def _charts(self) -> str:
        """The charts, drawn once for all who ask within a few seconds."""
        state, now_s = self._state, self._clock.monotonic_s()
        if state is None:
            return ""
        drawn, is_alive = self._drawn, state.is_alive
        if drawn is None or drawn.is_alive != is_alive or now_s - drawn.at_s >= _REDRAW_S:
            html, _ = state.drawn(state.summary())
            self._drawn = drawn = _Drawn(html, now_s, is_alive)
        return drawn.html

    def _news(self, cursor: Cursor) -> News:
        state = self._state
        if state is None:
            return News(cursor)
        if not state.first_seq <= cursor.seq <= state.deck.seq:
            return News(Cursor(state.deck.seq, cursor.figures), is_other=True)
        cards, seq = state.deck.changed_since(cursor.seq, MAX_CARDS, MAX_EVENT_BYTES)
        has_moved = self._figures != cursor.figures
        return News(
            Cursor(seq, self._figures),
            b"[" + b",".join(cards) + b"]" if cards else None,
            self._figures if has_moved else None,
        )

    def _mark(self, mark: Mark) -> None:
        self._poll()
        result = None if self._state is None else self._state.result(mark.item)
        if result is None:
            raise NoSuchItem
        final = final_image(result.images)
        if final is None or final.sha256 != mark.sha256:
            raise OtherPicture
        append_mark(self._layout.review, mark)
        self._poll()
