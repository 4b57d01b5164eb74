"""One call of an item, in this process: what is to be sent, leave for it, and the sending."""

from dataclasses import dataclass
from functools import partial

from batchgen.attempt import Sender
from batchgen.governor import Governor
from batchgen.model import Item
from batchgen.preparation import Preparer
from batchgen.settle import CallEnd


@dataclass(frozen=True, slots=True)
class Caller:
    """Makes the calls of one run; all its parts are open while it is used."""

    preparer: Preparer
    governor: Governor
    sender: Sender

    async def attempt(self, item: Item, n: int) -> CallEnd:
        """Make call number n of an item's next turn.

        Raises:
            StoreError: The disk failed. A failed call is no exception but a value.
        """
        request = await self.preparer.prepare(item, n)
        if isinstance(request, CallEnd):
            return request
        return await self.sender.send(request, partial(self.governor.leave, request))

    def ended(self, item: Item) -> None:
        """No more calls are made for an item in this run: nothing is kept of it here."""
