"""Why a run stops early, and what ends every wait then."""

import asyncio
from collections.abc import Awaitable, Callable
from weakref import WeakSet

from batchgen.errors import AttemptError, BatchgenError


class Stop:
    """Why a run stops early. The first reason stands, unless a worse one comes.

    Attributes:
        reason: A sentence.
        cause: What was raised, if anything was.
        exit_code: What the reason means for whoever started the run, if it says so itself.
    """

    def __init__(self, on_ask: Callable[[str], None] | None = None) -> None:
        """Start with no reason to stop; whoever listens hears the first one."""
        self._asked = asyncio.Event()
        self._on_ask = on_ask
        self._children: WeakSet[Stop] = WeakSet()
        self.reason: str | None = None
        self.cause: BaseException | None = None
        self.exit_code: int | None = None

    def ask(
        self,
        reason: str,
        cause: BaseException | None = None,
        *,
        exit_code: int | None = None,
        quietly: bool = False,
    ) -> None:
        """Ask for no new attempts; those under way may finish.

        Whoever listens is not told of what is asked quietly: it is told in another way.

        What an answer says of key, credit or address counts even after another reason: it has to
        be mended before a later run can do better.
        """
        is_worse = isinstance(cause, AttemptError) and not isinstance(self.cause, BatchgenError)
        if self.asked and not is_worse:
            return
        self.reason, self.cause, self.exit_code = reason, cause, exit_code
        self._asked.set()
        for child in self._children:
            child.ask(reason, cause, exit_code=exit_code)
        if self._on_ask is not None and not quietly:
            self._on_ask(reason)

    def child(self) -> "Stop":
        """One for a single wait: it is asked with this one, or alone."""
        child = Stop()
        self._children.add(child)
        if self.asked:
            child.ask(self.reason or "stopped")
        return child

    @property
    def asked(self) -> bool:
        """Whether anyone asked."""
        return self._asked.is_set()

    async def cuts_short(self, wait: Awaitable[None]) -> bool:
        """Wait for something, but no longer than until the run stops; True if it stops."""
        waiting = asyncio.ensure_future(wait)
        asked = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({waiting, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            asked.cancel()
        if waiting.done() and not waiting.cancelled():
            waiting.result()  # raises what the wait raised
        return self.asked
