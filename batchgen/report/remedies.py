"""What a person does about a failure: one sentence for each outcome.

Source: the column “what helps” of docs/outcomes.md, which tells the causes apart and says more.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from batchgen.model import Outcome

_REMEDIES: Final[Mapping[Outcome, str]] = MappingProxyType(
    {
        Outcome.IMAGE: "Nothing to do: the picture is there.",
        Outcome.TEXT_ONLY: "Say “draw” or “a photo of” in the prompt, and set modalities: [IMAGE].",
        Outcome.NO_IMAGE: "Run again; where it keeps on, ask for one picture in a shorter prompt.",
        Outcome.BLOCKED: "Reword the prompt, leave a reference out, or try another model.",
        Outcome.WRONG_SIZE: "Try another provider; or accept, and --retry-failed=wrong_size.",
        Outcome.BROKEN_IMAGE: "Look into quarantine/; run again, with a smaller image_size.",
        Outcome.RATE_LIMITED: "Run again later; limits that you know (rpm, tpm, ipm) spare it.",
        Outcome.QUOTA_EXHAUSTED: "Run again after midnight Pacific, or get a higher quota.",
        Outcome.SERVER_ERROR: "Run again later: the service was overloaded or away.",
        Outcome.TIMEOUT: "Raise timeouts.attempt: what was given up is often billed.",
        Outcome.CONNECTION: "Check the network, base_url, the proxy and the certificates.",
        Outcome.BAD_REPLY: "Check base_url; ask the provider, with the request_id.",
        Outcome.BAD_REQUEST: "Change the item as the message says; or --retry-failed=bad_request.",
        Outcome.UNAUTHORIZED: "Check the key, what it may use, and billing.",
        Outcome.OUT_OF_CREDIT: "Top up the account, and run again.",
        Outcome.MODEL_UNAVAILABLE: "Check the name of the model; validate names successors.",
        Outcome.MISSING_REFERENCE: "Put the reference back where it was, and run again.",
        Outcome.SKIPPED_DEPENDENCY: "See to the item that it builds on; this one follows.",
        Outcome.INTERRUPTED: "Run again; maybe_billed lists the call.",
        Outcome.CANCELLED: "Run again; one Ctrl-C lets what is under way end.",
        Outcome.BUG: "Report it to the makers of batchgen, with the message.",
    }
)


def remedy(outcome: Outcome) -> str:
    """One short sentence in plain text: what a person does about an outcome."""
    return _REMEDIES[outcome]
