"""Thought signatures: what the models put on their parts and want back, unchanged and in place.

A signature here is an HMAC over the model and the content of its part, so one that was invented,
that was altered, or that stands on another part is refused, whatever process issued it. (Google's
are opaque; that they are bound to the part and to the model is what its documentation promises.)
"""

import hmac
from base64 import b64encode
from dataclasses import dataclass

from batchgen.emulator.blobs import decode

_PREFIX = b"\x12emulated-thought\x01"  # Google's are long and binary; nobody may parse them


@dataclass(frozen=True)
class Signer:
    """Issues and checks signatures; two with the same seed trust each other."""

    seed: int

    def sign(self, model_id: str, content: bytes) -> str:
        """The signature for a part of an answer of that model."""
        return b64encode(_PREFIX + self._mac(model_id, content)).decode()

    def accepts(self, signature: str, model_id: str, content: bytes) -> bool:
        """Whether that signature was issued for that part. Either base64 alphabet will do."""
        given = decode(signature) or b""
        return hmac.compare_digest(given, _PREFIX + self._mac(model_id, content))

    def _mac(self, model_id: str, content: bytes) -> bytes:
        key = f"batchgen emulator {self.seed}".encode()
        return hmac.digest(key, model_id.encode() + b"\0" + content, "sha256")
