"""The cases of tests/golden/costs.yaml, and its sums done again."""

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

FILE: Final = Path(__file__).parent / "golden/costs.yaml"
TODAY: Final = "2026-11-21T03:00:04.120Z"

_MICRO: Final = Decimal("0.000001")
_OPERATIONS: Final[dict[type, Callable[[Decimal, Decimal], Decimal]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


@dataclass(frozen=True, kw_only=True)
class Golden:
    """One answer with what it costs, as a person worked it out; see the head of the file."""

    case: str
    usage: Any
    images: int | None = 1
    size: str | None = None
    model: str = "gemini-3-pro-image"
    answered: str | None = None
    queries: list[str] | None = None
    header: str | None = None
    at: str = TODAY
    prices: dict[str, Any] = field(default_factory=dict)
    tokens: dict[str, int] | None
    basis: str
    work: str | None = None
    usd: str | None

    @property
    def grounding(self) -> dict[str, Any] | None:
        return None if self.queries is None else {"webSearchQueries": self.queries}


@cache
def golden_costs() -> list[Golden]:
    """All cases, in their order."""
    groups = yaml.safe_load(FILE.read_text("utf-8"))
    return [Golden(**case) for cases in groups.values() for case in cases]


def in_usd(work: str) -> str:
    """A sum in millionths of a dollar, worked out and written in dollars, to the millionth."""
    return f"{(arithmetic(work) / 1_000_000).quantize(_MICRO)}"


def arithmetic(work: str) -> Decimal:
    """Work a sum out: numbers, + - * / and parentheses, and nothing else.

    Raises:
        ValueError: There is something else in it.
    """
    return _value(ast.parse(work, mode="eval").body, work)


def _value(node: ast.expr, work: str) -> Decimal:
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_value(left, work), _value(right, work))
        case ast.Constant(value=value) if type(value) in {int, float}:
            return Decimal(ast.get_source_segment(work, node) or "")
        case _:
            raise ValueError(f"{work!r} is more than a sum")
