"""usageMetadata as counts, whatever shape it came in."""

from typing import Any, Final, get_args

from batchgen.model import Tier, Usage

_MAX_PLAUSIBLE = 10**12
# As they stand in `ON_DEMAND_FLEX`, `SERVICE_TIER_PRIORITY`, `PROVISIONED_THROUGHPUT`, `flex`.
_TIERS: Final[tuple[Tier, ...]] = get_args(Tier)
_TIER_MEMBERS: Final = ("trafficType", "traffic_type", "serviceTier", "service_tier")


def read_usage(raw: object) -> Usage | None:
    """Read a usageMetadata object in camelCase or snake_case; None if there is none to read."""
    if not isinstance(raw, dict):
        return None
    prompt = _count(raw, "promptTokenCount", "prompt_token_count")
    prompt_details = _details(raw, "promptTokensDetails", "prompt_tokens_details")
    candidates = _count(raw, "candidatesTokenCount", "candidates_token_count")
    details = _details(raw, "candidatesTokensDetails", "candidates_tokens_details")
    if prompt is None and prompt_details is not None:
        prompt = sum(prompt_details.values())  # they are all of it, while the candidates have more
    usage = Usage(
        prompt=prompt,
        prompt_image=None if prompt_details is None else prompt_details.get("IMAGE", 0),
        candidates=candidates,
        candidates_image=_images(details, candidates),
        thoughts=_count(raw, "thoughtsTokenCount", "thoughts_token_count"),
        tool_use=_count(raw, "toolUsePromptTokenCount", "tool_use_prompt_token_count"),
        total=_count(raw, "totalTokenCount", "total_token_count"),
    )
    return usage if usage != Usage() else None


def read_tier(raw: object, header: str | None = None) -> Tier:
    """How a call was served, see `told_tier`; as usual, where nothing tells."""
    return told_tier(raw, header) or "standard"


def told_tier(raw: object, header: str | None = None) -> Tier | None:
    """How a call was served, as its usage or a header of the answer says; None if neither does.

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
        if word == "ON_DEMAND":
            return "standard"
    return None


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


def _details(raw: dict[str, Any], camel: str, snake: str) -> dict[str, int] | None:
    """Tokens by modality; None if no detail can be read, or not each image's."""
    details = raw.get(camel) or raw.get(snake)
    if not isinstance(details, list):
        return None
    known: dict[str, int] = {}
    for detail in details:
        if not isinstance(detail, dict):
            continue
        modality, count = _modality(detail), _count(detail, "tokenCount", "token_count")
        if count is not None:
            known[modality] = known.get(modality, 0) + count
        elif modality == "IMAGE":
            return None
    return known or None


def _images(details: dict[str, int] | None, candidates: int | None) -> int | None:
    """The IMAGE tokens of the candidates; None if the details do not tell.

    Details that name no image and leave out some of the candidates do not tell that there was none.
    """
    if details is None:
        return None
    image = details.get("IMAGE", 0)
    is_partial = not image and candidates is not None and sum(details.values()) < candidates
    return None if is_partial else image


def _modality(detail: dict[str, Any]) -> str:
    """`IMAGE`, also of the `MediaModality.IMAGE` that Python makes of it."""
    return str(detail.get("modality", "")).upper().rsplit(".", 1)[-1]
