"""The image and the reply that the server gives: alike in every process, and nothing random."""

import base64
import json
import random
import struct
import zlib
from typing import Final

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_FRAME_BYTES: Final = 57  # signature, IHDR, the frame of IDAT, IEND


def png(size_bytes: int) -> bytes:
    """A PNG of exactly this size: its chunks are real, its pixel data is noise."""
    noise = random.Random(size_bytes).randbytes(size_bytes - _FRAME_BYTES)
    header = struct.pack(">IIBBBBB", 1024, 1024, 8, 2, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", noise), _chunk(b"IEND", b""))
    return _SIGNATURE + b"".join(chunks)


def body(image_bytes: int) -> bytes:
    """A generateContent answer with one image, as the service words it."""
    return answer_around(base64.b64encode(png(image_bytes)).decode())


def answer_around(image: str) -> bytes:
    """The same with a PNG that is base64 already."""
    part = {"inlineData": {"mimeType": "image/png", "data": image}}
    counts = [("TEXT", 12), ("IMAGE", 1120)]
    details = [{"modality": kind, "tokenCount": count} for kind, count in counts]
    answer = {
        "candidates": [
            {"content": {"parts": [part], "role": "model"}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {
            "promptTokenCount": 12,
            "candidatesTokenCount": 1120,
            "totalTokenCount": 1132,
            "promptTokensDetails": details[:1],
            "candidatesTokensDetails": details[1:],
        },
        "modelVersion": "gemini-3-pro-image",
        "responseId": "bench",
    }
    return json.dumps(answer).encode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
