"""batchgen as it would be if it did not group: each line of the ledger waits for its own sync."""

import asyncio
from typing import Final

from batchgen.store.ledger import Ledger, Line
from benchmarks.contenders import batchgen
from benchmarks.work import Work

_append: Final = Ledger.append
_turns: Final = asyncio.Lock()


async def _append_alone(self: Ledger, *lines: Line) -> list[int]:
    async with _turns:
        return [place for line in lines for place in await _append(self, line)]


def run(work: Work) -> None:
    """Run the job as batchgen does, but for that."""
    Ledger.append = _append_alone  # type: ignore[method-assign]
    batchgen.run(work)
