"""usageMetadata as counts, whatever shape it came in."""

from typing import Any

from batchgen.model import Usage

_MAX_PLAUSIBLE = 10**12


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
    """The IMAGE tokens among the details; None if no detail can be read."""
    details = raw.get(camel) or raw.get(snake)
    if not isinstance(details, list):
        return None
    counts = [
        (str(detail.get("modality", "")).upper(), _count(detail, "tokenCount", "token_count"))
        for detail in details
        if isinstance(detail, dict)
    ]
    known = [(modality, count) for modality, count in counts if count is not None]
    if not known:
        return None
    return sum(count for modality, count in known if modality == "IMAGE")
