"""A question to whoever sits at the terminal."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from batchgen.cli.streams import say


def asker() -> Callable[[str], Awaitable[bool]] | None:
    """What asks whoever sits at the terminal; None if nobody does, for nobody would answer."""
    try:
        is_heard = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    except ValueError:  # closed
        return None
    return _ask if is_heard else None


async def _ask(question: str) -> bool:
    """Ask for a yes; whoever waits for the answer may stop waiting, and nothing is left behind."""
    say(f"{question} [y/N] ", end="")
    loop = asyncio.get_running_loop()
    can_be_read = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), can_be_read.set)
    try:
        await can_be_read.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
