"""The token log that is added up: whole answers without their image data, alike in every run."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

# By model: USD per million tokens of input, text output and image output.
RATES: Final = {
    "gemini-3-pro-image": ("2.00", "12.00", "120"),
    "gemini-3.1-flash-image": ("0.50", "3.00", "60"),
    "gemini-3.1-flash-lite-image": ("0.25", "1.50", "30"),
    "gemini-nano-banana-2.1": ("1.50", "7.50", "30"),
}
IMAGE_TOKENS: Final = 1120
REFERENCE_TOKENS: Final = 560
N_DAYS: Final = 28
# Every so many answers have no details by modality.
WITHOUT_DETAILS: Final = 10

_LINE: Final = (
    '{"candidates":[{"content":{"role":"model","parts":[{"inlineData":{"mimeType":"image/png"}}]},'
    '"finishReason":"STOP","index":0}],"usageMetadata":%s,"modelVersion":"%s",'
    '"createTime":"2026-11-%02dT%02d:%02d:%02d.123456Z","responseId":"answer-%012d"}\n'
)


def answers(directory: Path, n: int) -> Path:
    """A line for each answer, in the order of their times."""
    rng = random.Random(7)
    models = list(RATES)
    log = directory / "answers.jsonl"
    with log.open("w", encoding="utf-8") as lines:
        for number in range(n):
            second = number * N_DAYS * 86_400 // n
            day, rest = divmod(second, 86_400)
            clock = (rest // 3600, rest // 60 % 60, rest % 60)
            model = models[number % len(models)]
            lines.write(_LINE % (_usage(rng, number), model, 1 + day, *clock, number))
    return log


def _usage(rng: random.Random, number: int) -> str:
    words, references = rng.randint(10, 60), rng.randint(0, 3) * REFERENCE_TOKENS
    candidates, thoughts = IMAGE_TOKENS + rng.randint(88, 630), rng.randint(0, 400)
    details = [{"modality": "TEXT", "tokenCount": words}]
    if references:
        details.append({"modality": "IMAGE", "tokenCount": references})
    usage = {
        "promptTokenCount": words + references,
        "candidatesTokenCount": candidates,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": words + references + candidates + thoughts,
        "promptTokensDetails": details,
    }
    if number % WITHOUT_DETAILS:
        usage["candidatesTokensDetails"] = [{"modality": "IMAGE", "tokenCount": IMAGE_TOKENS}]
    return json.dumps(usage, separators=(",", ":"))


def agree(log: Path, groups: Mapping[str, Sequence[int]]) -> None:
    """Leave what a log came to beside it, or compare it with what lies there.

    Args:
        log: The log.
        groups: By model and day: calls, tokens by kind, micro-dollars.

    Raises:
        SystemExit: It came to something else before.
    """
    beside = log.with_suffix(".groups.json")
    if not beside.exists():
        beside.write_text(json.dumps(groups), encoding="utf-8")
    elif (known := json.loads(beside.read_text(encoding="utf-8"))) != groups:
        odd = sorted(name for name in known if known[name] != groups.get(name))
        raise SystemExit(f"{len(groups)} groups instead of {len(known)}, or others: {odd[:3]}")
