"""One run at a time in a place of an object store: an object that its holder renews.

    taken     it is created where there is none
    renewed   every half minute, over the version that was written last
    stale     five minutes old; then it is watched, and taken over if nothing moves
    lost      another one lies there, or nobody knows any more: nothing is stored from then on

Clocks of machines differ: how old a claim is only decides whether to watch it. Whoever lives renews
it within the time that it is watched. Who cannot renew for four minutes stops by himself, before
anybody may think that he is gone.

Every write has other bytes. So after a lost answer what lies there tells whose write it was.
"""

import asyncio
import json
import os
import secrets
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self, TypeVar

from batchgen.clock import Clock, stamp
from batchgen.errors import OutputHeld, StoreError, UsageError
from batchgen.objects.bucket import Bucket, ObjectGone, Refused, StoreAway, Stored, Version

NAME: Final = ".lock"
RENEW_S: Final = 30.0
STALE: Final = timedelta(minutes=5)
WATCH_S: Final = 45.0
UNSURE_S: Final = 240.0
_N_TRIES: Final = 3
_T = TypeVar("_T")


class Claim:
    """Holds a place in a store; `async with` takes it and lets it go.

    Attributes:
        on_lost: Told once, with why, when it is held for sure no more.
        is_taken_over: Whether whoever had it before did not live to let go of it.
    """

    def __init__(
        self, bucket: Bucket, run_id: str, clock: Clock, on_lost: Callable[[str], None]
    ) -> None:
        """Set the place, and what the claim says; nobody is asked yet."""
        self._bucket, self._clock, self.on_lost = bucket, clock, on_lost
        self._says = {
            "run_id": run_id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": stamp(clock.now()),
            "nonce": secrets.token_hex(8),
        }
        self.is_taken_over = False
        self._n = 0
        self._version = Version(None, None)
        # One of its own, so that pictures on their way hold no renewal up.
        self._thread = ThreadPoolExecutor(1, "batchgen-claim")
        self._one_by_one = asyncio.Lock()
        self._is_lost = False
        self._renewed_s = 0.0
        self._renewed_at = clock.now()

    async def __aenter__(self) -> Self:
        """Take the place.

        Raises:
            OutputHeld: Another run has it.
            UsageError: The store does not keep anybody out.
            StoreError: It did not answer, or does not let us.
        """
        is_taken = False
        try:
            await self._take()
            is_taken = True
            await self._make_sure()
        except BaseException:
            if is_taken:
                with suppress(StoreError, asyncio.CancelledError):
                    await self._call(lambda: self._bucket.delete(NAME))
            self._thread.shutdown(wait=False)
            raise
        self._task = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Let go, as far as the store lets one; else it grows stale."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if not self._is_lost:
            with suppress(StoreError):
                await self._put()  # so that nothing but our own is deleted
                await self._call(lambda: self._bucket.delete(NAME))
        self._thread.shutdown(wait=False)

    async def confirm(self) -> None:
        """Renew it now, to know that it is ours.

        Raises:
            StoreError: It is not, or nobody knows.
        """
        self.check()
        try:
            await self._put()
        except Refused:
            self._lose(f"{self._where} was taken by another run")
            self.check()
        except StoreAway:
            self.check()  # it may be: what was renewed lately is ours

    def rename(self, run_id: str) -> None:
        """Say another name of the run from the next renewal on."""
        self._says["run_id"] = run_id

    def check(self) -> None:
        """Make sure that the place is still ours.

        Raises:
            StoreError: It may not be.
        """
        if self._is_lost or self._unsure_for_s() > UNSURE_S:
            self._lose(f"{self._where}: nobody knows whether this run still has it")
            raise StoreError(f"{self._where} is not held any more; run again")

    @property
    def _where(self) -> str:
        return str(self._bucket.address)

    async def _take(self) -> None:
        for _ in range(_N_TRIES):
            with suppress(Refused):
                await self._put(is_new=True)
                return
            found = await self._read()
            if found is None:
                continue  # let go of just now
            if self._clock.now().astimezone(UTC) - found[1].written_at < STALE:
                raise self._held(found)
            await self._clock.sleep(WATCH_S)
            again = await self._read()
            if again is None:
                continue
            if again[1].version != found[1].version:
                raise self._held(again)
            self._version = again[1].version
            with suppress(Refused):
                await self._put()
                self.is_taken_over = True
                return
        raise OutputHeld(f"{self._where} was taken by another run just now; run again later")

    async def _make_sure(self) -> None:
        """Make sure that a second run would be kept out: some stores take every write."""
        with suppress(Refused):
            await self._call(lambda: self._bucket.put_new(NAME, self._written()))
            raise UsageError(
                f"{self._where}: this store lets two runs write at once (it takes no conditional "
                "writes); choose another one"
            )

    async def _renew(self) -> None:
        while True:
            await self._clock.sleep(RENEW_S)
            try:
                await self._put()
            except Refused:
                return self._lose(f"{self._where} was taken by another run")
            except StoreError:
                if self._unsure_for_s() > UNSURE_S:
                    return self._lose(f"{self._where} could not be held: the store is away")

    async def _put(self, *, is_new: bool = False) -> None:
        """Write what we say, once; whose write it was is told by what lies there.

        Raises:
            Refused: Another one lies there.
            StoreAway: Nobody knows.
        """
        async with self._one_by_one:  # two at once would take each other for strangers
            await self._write(is_new=is_new)

    async def _write(self, *, is_new: bool) -> None:
        says = self._written()
        for n_left in reversed(range(_N_TRIES)):
            try:
                if is_new:
                    write = self._bucket.put_new
                    self._version = await self._call(lambda: write(NAME, says))  # noqa: B023
                else:
                    over, version = self._bucket.put_over, self._version
                    self._version = await self._call(lambda: over(NAME, says, version))  # noqa: B023
            except (Refused, StoreAway) as error:
                found = await self._read()
                if found is not None and found[0] == says:
                    self._version = found[1].version
                elif isinstance(error, Refused) or not n_left:
                    raise
                else:
                    continue
            self._renewed_s, self._renewed_at = self._clock.monotonic_s(), self._clock.now()
            return

    async def _read(self) -> tuple[bytes, Stored] | None:
        try:
            return await self._call(lambda: self._bucket.get(NAME))
        except ObjectGone:
            return None

    async def _call(self, call: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _written(self) -> bytes:
        self._n += 1
        return json.dumps({**self._says, "n": self._n}).encode()

    def _unsure_for_s(self) -> float:
        """For how long nothing was heard; a machine that slept did not count it on its clock."""
        slept = (self._clock.now() - self._renewed_at).total_seconds()
        return max(self._clock.monotonic_s() - self._renewed_s, slept)

    def _held(self, found: tuple[bytes, Stored]) -> OutputHeld:
        return OutputHeld(f"{self._where} is held by another run ({holder(*found)}); wait for it")

    def _lose(self, why: str) -> None:
        if not self._is_lost:
            self._is_lost = True
            self.on_lost(why)


def holder(says: bytes, stored: Stored) -> str:
    """Who holds a place, and when that was last said."""
    written = f"{stored.written_at:%Y-%m-%d %H:%M:%S} UTC"
    try:
        told: dict[str, Any] = json.loads(says)
        return f"{told['run_id']}, process {told['pid']} on {told['host']}, last heard {written}"
    except (ValueError, KeyError, TypeError):
        return f"which says nothing of itself, last heard {written}"


def is_held(stored: Stored, now: datetime) -> bool:
    """Whether a run goes on, as far as its claim tells whoever only looks."""
    return now.astimezone(UTC) - stored.written_at < STALE
