"""usageMetadata as counts, whatever shape it came in."""

from typing import Any, Final

from batchgen.model import Tier, Usage

_MAX_PLAUSIBLE = 10**12
# In the order in which they are looked for: `ON_DEMAND_FLEX`, `SERVICE_TIER_PRIORITY`, `flex`.
_TIERS: Final[tuple[Tier, ...]] = ("batch", "flex", "priority")
_TIER_MEMBERS: Final = ("trafficType", "traffic_type", "serviceTier", "service_tier")


def read_usage(raw: object) -> Usage | None:
    """Read a usageMetadata object in camelCase or snake_case; None if there is none to read."""
    if not isinstance(raw, dict):
        return None
    usage = Usage(
        prompt=_count(raw, "promptTokenCount", "prompt_token_count"),
        prompt_image=_images(raw, "promptTokensDetails", "prompt_tokens_details"),
        candidates=_count(raw, "candidatesTokenCount", "candidates_token_count"),
        candidates_image=_images(raw, "candidatesTokensDetails", "candidates_tokens_details"),
        thoughts=_count(raw, "thoughtsTokenCount", "thoughts_token_count"),
        tool_use=_count(raw, "toolUsePromptTokenCount", "tool_use_prompt_token_count"),
        total=_count(raw, "totalTokenCount", "total_token_count"),
    )
    return usage if usage != Usage() else None


def read_tier(raw: object, header: str | None = None) -> Tier:
    """How a call was served, as its usage or a header of the answer says; else as usual.

    Args:
        raw: A usageMetadata.
        header: The service's `x-gemini-service-tier`, which tells the tier really used.
    """
    told = [header]
    if isinstance(raw, dict):
        told += [raw.get(name) for name in _TIER_MEMBERS]
    for word in told:
        for tier in _TIERS:
            if isinstance(word, str) and tier in word.lower():
                return tier
    return "standard"


def _count(raw: dict[str, Any], camel: str, snake: str) -> int | None:
    value = raw.get(camel)
    return as_count(raw.get(snake) if value is None else value)


def as_count(value: object) -> int | None:
    """A token count from an int, a whole float or a string of digits; None for anything else."""
    match value:
        case bool():
            return None
        case int():
            number = value
        case float() if value.is_integer():
            number = int(value)
        case str() if value.isascii() and value.isdigit() and len(value) < 13:  # noqa: PLR2004
            number = int(value)
        case _:
            return None
    return number if 0 <= number <= _MAX_PLAUSIBLE else None


def _images(raw: dict[str, Any], camel: str, snake: str) -> int | None:
    """The IMAGE tokens among the details; None if no detail can be read, or not each image's."""
    details = raw.get(camel) or raw.get(snake)
    if not isinstance(details, list):
        return None
    n_known = n_images = 0
    for detail in details:
        if not isinstance(detail, dict):
            continue
        count, is_image = _count(detail, "tokenCount", "token_count"), _modality(detail) == "IMAGE"
        if count is not None:
            n_known += 1
            n_images += count if is_image else 0
        elif is_image:
            return None
    return n_images if n_known else None


def _modality(detail: dict[str, Any]) -> str:
    """`IMAGE`, also of the `MediaModality.IMAGE` that Python makes of it."""
    return str(detail.get("modality", "")).upper().rsplit(".", 1)[-1]
