"""A server with a limit of its own, for one run, in a process of its own.

    python -m benchmarks.limited --image-bytes N --seconds LEAST MOST [--tells] RULE…

RULE is one of `benchmarks.rules`. What is within the rule is answered after a time between the two
bounds; what is not is refused at once with a 429, which with `--tells` says in whole seconds when
there will be room (`Retry-After`). `GET /counts` tells what was let through and what was not, and
how much of what the rule allows was used. Else it is like `benchmarks.server`.
"""

import argparse
import asyncio
import json
import math
import random
from typing import Final

from benchmarks.reply import body
from benchmarks.rules import Held, Rule, parse, share_used
from benchmarks.server import Server, framed, serve_until_told

_REFUSAL: Final = json.dumps(
    {
        "error": {
            "code": 429,
            "message": "Resource has been exhausted (e.g. check quota).",
            "status": "RESOURCE_EXHAUSTED",
        }
    }
).encode()


class LimitedServer(Server):
    """Lets through what its rule allows."""

    def __init__(
        self, answer: bytes, rule: Rule, seconds: tuple[float, float], *, tells: bool
    ) -> None:
        """Start with nothing taken; the same times for the same requests in every run."""
        super().__init__(answer, hold=0)
        self._rule = rule
        self._seconds = seconds
        self._tells = tells
        self._rng = random.Random(1)
        self._taken_s: list[float] = []
        self._held: list[Held] = []
        self._refused_s: list[float] = []

    def counts(self) -> dict[str, object]:
        """What was seen, and what was made of it."""
        told = {
            "taken": len(self._taken_s),
            "refused": len(self._refused_s),
            "used": share_used(self._rule, self._taken_s, self._held),
        }
        return super().counts() | told

    async def answer(self) -> bytes:
        """Take a request, or refuse it."""
        now_s = self.loop.time()
        ready_s = self._rule.ready_s(now_s)
        if ready_s > now_s:
            self._refused_s.append(now_s)
            wait_s = max(1, math.ceil(ready_s - now_s))
            told = f"Retry-After: {wait_s}\r\n" if self._tells else ""
            return framed(_REFUSAL, "429 Too Many Requests", told)
        took_s = self._rng.uniform(*self._seconds)
        self._held.append(self._rule.take(now_s, now_s + took_s))
        self._taken_s.append(now_s)
        await asyncio.sleep(took_s)
        return await super().answer()


async def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--image-bytes", type=int, required=True)
    parser.add_argument("--seconds", type=float, nargs=2, required=True)
    parser.add_argument("--tells", action="store_true")
    parser.add_argument("rule", nargs="+")
    options = parser.parse_args()
    seconds = (options.seconds[0], options.seconds[1])
    answer, rule = body(options.image_bytes), parse(options.rule)
    await serve_until_told(LimitedServer(answer, rule, seconds, tells=options.tells))


if __name__ == "__main__":
    asyncio.run(_main())
