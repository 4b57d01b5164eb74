"""Results as the lines of a Gemini Batch job: `{"key", "response"}` or `{"key", "error"}`.

Read from ledger, items and pictures alone. A response is what the ledger knows of the answer, in
the service's own members; an error has a code of google.rpc.Code. An answer without a picture (a
refusal, words alone) is a response, as it is there: the call itself did not fail.

Shape: docs/api-notes.md, section 7. Memory: one step of one picture, whatever the job's size.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pybase64

from batchgen.dependencies import read_lineage
from batchgen.errors import UsageError, store_errors
from batchgen.manifest.batch_lines import written_key
from batchgen.model import Attempt, ImageFile, Outcome
from batchgen.store.expanded import read_items
from batchgen.store.history import final_image, read_history
from batchgen.store.layout import Layout
from batchgen.store.ledger import segments
from batchgen.store.shards import gather_items
from batchgen.wire.request import READ_BYTES

# What each failure is called among the codes of google.rpc.Code.
_CANCELLED, _INVALID_ARGUMENT, _DEADLINE_EXCEEDED, _NOT_FOUND = 1, 3, 4, 5
_RESOURCE_EXHAUSTED, _FAILED_PRECONDITION, _INTERNAL, _UNAVAILABLE = 8, 9, 13, 14
_DATA_LOSS, _UNAUTHENTICATED = 15, 16
CODES: Final = {
    Outcome.WRONG_SIZE: _FAILED_PRECONDITION,
    Outcome.BROKEN_IMAGE: _DATA_LOSS,
    Outcome.RATE_LIMITED: _RESOURCE_EXHAUSTED,
    Outcome.QUOTA_EXHAUSTED: _RESOURCE_EXHAUSTED,
    Outcome.SERVER_ERROR: _UNAVAILABLE,
    Outcome.TIMEOUT: _DEADLINE_EXCEEDED,
    Outcome.CONNECTION: _UNAVAILABLE,
    Outcome.BAD_REPLY: _INTERNAL,
    Outcome.BAD_REQUEST: _INVALID_ARGUMENT,
    Outcome.UNAUTHORIZED: _UNAUTHENTICATED,
    Outcome.OUT_OF_CREDIT: _RESOURCE_EXHAUSTED,
    Outcome.MODEL_UNAVAILABLE: _NOT_FOUND,
    Outcome.MISSING_REFERENCE: _FAILED_PRECONDITION,
    Outcome.SKIPPED_DEPENDENCY: _FAILED_PRECONDITION,
    Outcome.INTERRUPTED: _CANCELLED,
    Outcome.CANCELLED: _CANCELLED,
    Outcome.BUG: _INTERNAL,
}


class BatchExport:
    """The lines of a job's directory; iterate once.

    Attributes:
        n_left: Items that have not ended and have no line; known at the end.
    """

    def __init__(self, place: Path | Layout, *, holds_images: bool) -> None:
        """Set the directory, and whether lines hold the pictures or name their files."""
        self._layout = Layout.at(place)
        self._holds_images = holds_images
        self.n_left = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines in pieces, in the order of the job.

        Raises:
            UsageError: There is no run in the directory.
            StoreError: It cannot be read.
        """
        history = read_history(segments(self._layout.ledger))
        if not history.runs:
            raise UsageError(f"{self._layout.root} holds no run: its ledger is empty")
        gather_items(self._layout)
        lineage = read_lineage(self._layout, history)
        with store_errors(self._layout.root):
            for item in read_items(self._layout.items):
                standing = history.standing(lineage.resolved(item))
                if standing is None or standing.status == "pending":
                    self.n_left += 1
                else:
                    yield from self._line(written_key(item), standing.last)

    def _line(self, key: str, last: Attempt) -> Iterator[bytes]:
        image = final_image(last.images)
        if last.outcome in CODES:
            error = {"code": CODES[last.outcome], "message": _message(last)}
            yield _encoded({"key": key, "error": error})
        elif image is None:
            yield _encoded({"key": key, "response": _response(last, None)})
        elif not self._is_there(image):
            message = f"{image.path} is gone, or not what was recorded: run the job again"
            yield _encoded({"key": key, "error": {"code": _NOT_FOUND, "message": message}})
        elif not self._holds_images:
            part = {"fileData": {"mimeType": image.mime, "fileUri": image.path}}
            yield _encoded({"key": key, "response": _response(last, part)})
        else:
            # The picture goes where this word stands: no answer holds it.
            word = secrets.token_hex(16)
            part = {"inlineData": {"mimeType": image.mime, "data": word}}
            line = _encoded({"key": key, "response": _response(last, part)})
            before, _, after = line.partition(word.encode())
            yield before
            yield from self._base64(image)
            yield after

    def _is_there(self, image: ImageFile) -> bool:
        return self._layout.shelf.size_bytes(image.path) == image.bytes

    def _base64(self, image: ImageFile) -> Iterator[bytes]:
        path = self._layout.root / image.path
        with self._layout.shelf.borrowed(image.path), path.open("rb") as file:
            while step := file.read(READ_BYTES):
                yield pybase64.b64encode(step)


def _response(last: Attempt, picture: dict[str, Any] | None) -> dict[str, Any]:
    """What is known of an answer, as a GenerateContentResponse."""
    told = {
        "usageMetadata": _usage(last.usage),
        "modelVersion": last.model_version,
        "responseId": last.response_id,
    }
    words = [] if last.text is None else [{"text": last.text}]
    parts = words if picture is None else [*words, picture]
    message = _said(last.finish_message)
    if not parts and last.outcome is Outcome.BLOCKED and last.finish_reason is None:
        reason = _said(last.block_reason) or "BLOCK_REASON_UNSPECIFIED"
        feedback = {"blockReason": reason, "blockReasonMessage": message}
        return _known({"promptFeedback": _known(feedback), **told})
    candidate = {
        "content": {"role": "model", **({"parts": parts} if parts else {})},
        "finishReason": last.finish_reason,
        "finishMessage": message,
        "groundingMetadata": last.grounding if isinstance(last.grounding, dict) else None,
        "index": 0,
    }
    return _known({"candidates": [_known(candidate)], **told})


def _usage(usage: Any) -> dict[str, Any] | None:
    """The counts without what a gateway put among them; it stands beside them already."""
    if not isinstance(usage, dict):
        return None
    beside = ("modelVersion", "responseId", "createTime")
    return {name: value for name, value in usage.items() if name not in beside}


def _message(last: Attempt) -> str:
    return last.error.message if last.error else last.outcome.value


def _said(text: str | msgspec.UnsetType) -> str | None:
    return None if text is msgspec.UNSET else text


def _known(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _encoded(line: dict[str, Any]) -> bytes:
    return msgspec.json.encode(line) + b"\n"
