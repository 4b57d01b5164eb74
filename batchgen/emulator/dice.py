"""Chance that repeats: every draw is a pure function of a seed, a key and a label.

A shared random generator would make an answer depend on the order in which requests arrive, and
with concurrent clients that order is never the same twice.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")
_DRAW_BYTES = 8


@dataclass(frozen=True)
class Dice:
    """Draws for one key (a request, a prompt); labels keep the draws independent."""

    seed: int
    key: str

    def fraction(self, label: str) -> float:
        """A number in [0, 1)."""
        text = f"{self.seed}\0{label}\0{self.key}".encode("utf-8", "surrogatepass")
        draw = blake2b(text, digest_size=_DRAW_BYTES).digest()
        return int.from_bytes(draw) / 2.0 ** (8 * _DRAW_BYTES)

    def between(self, label: str, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + self.fraction(label) * (high - low)

    def integer(self, label: str, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return low + int(self.fraction(label) * (high - low + 1))

    def one_in(self, label: str, n: int) -> bool:
        """True for one key in n."""
        return self.fraction(label) < 1 / n

    def choice(self, label: str, options: tuple[T, ...]) -> T:
        """One of the options."""
        return options[int(self.fraction(label) * len(options))]

    def name(self, label: str) -> str:
        """A short name that looks drawn."""
        return blake2b(f"{self.seed}\0{label}\0{self.key}".encode(), digest_size=11).hexdigest()
