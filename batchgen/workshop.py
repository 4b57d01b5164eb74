"""What sends for a run, opened: in its own process, or in one that works for it elsewhere."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from batchgen._version import __version__
from batchgen.acceptance import Acceptance
from batchgen.attempt import Sender
from batchgen.clock import Clock
from batchgen.cost import PriceBook
from batchgen.objects import ObjectAddress
from batchgen.provider import Provider
from batchgen.sanitize import Hidden, Secrets
from batchgen.settle import Settler
from batchgen.store.layout import Layout
from batchgen.store.parts import Writer
from batchgen.store.pictures import FindMade
from batchgen.store.room import Room
from batchgen.timeouts import Timeouts
from batchgen.transport import Transport

_N_SETTLING: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Brief:
    """What whoever sends for a run has to know. It may be pickled, and then holds the key.

    Attributes:
        secrets: What must not be written anywhere.
        ca_file: Certificates to trust besides the system's.
        address: Where the files belong, if that is a store; its credentials are not told.
        patience_s: For how long a store that is away is waited for.
    """

    provider: Provider
    key: Hidden
    proxy: Hidden | None
    secrets: Secrets
    ca_file: Path | None
    timeouts: Timeouts
    acceptance: Acceptance
    book: PriceBook
    address: ObjectAddress | None = None
    patience_s: float = 0.0

    def settler(self, layout: Layout, find_made: FindMade) -> Settler:
        """What finishes whole answers; see there."""
        return Settler(
            layout, self.book, self.provider.name, self.secrets, self.acceptance, find_made
        )

    def transport(self) -> Transport:
        """The way to the service, not yet open.

        Raises:
            UsageError: There are no such certificates.
        """
        return Transport(
            self.provider,
            self.key,
            self.timeouts,
            ca_file=self.ca_file,
            proxy=self.proxy,
            user_agent=f"batchgen/{__version__}",
        )


async def open_sender(
    transport: Transport,
    settler: Settler,
    writer: Writer,
    clock: Clock,
    warn: Callable[[str], None],
    stack: AsyncExitStack,
) -> Sender:
    """Open what sends, until the stack is closed.

    Raises:
        StoreError: The disk takes no file.
    """
    room = await stack.enter_async_context(Room(settler.layout.parts, writer, warn))
    return Sender(
        transport=await stack.enter_async_context(transport),
        writer=writer,
        room=room,
        settler=settler,
        settling=stack.enter_context(ThreadPoolExecutor(_N_SETTLING, "batchgen-settler")),
        one_by_one=stack.enter_context(ThreadPoolExecutor(1, "batchgen-settler-of-large")),
        clock=clock,
    )
