"""What a user can set. No imports beyond the standard library, so that reading it costs nothing."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one emulator behaves.

    Attributes:
        port: Where to listen, always on 127.0.0.1; 0 takes a free port.
        latency_s: Each 200 takes a time drawn evenly from this range, the same for a repeated run.
        rpm: Requests a minute and model above which the answer is 429; None for no limit.
        faults: A YAML file of rules; `batchgen.emulator.faults` documents it.
        seed: Changes every draw: latencies, token counts, layouts, probabilities.
        take: Of the pictures that answer a request, which one it draws: colours and pattern.
    """

    port: int = 0
    latency_s: tuple[float, float] = (0.2, 0.8)
    rpm: int | None = None
    faults: Path | None = None
    seed: int = 0
    take: str = ""
