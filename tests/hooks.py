"""A web hook on loopback: what was posted to it is the oracle."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests import servers
from tests.servers import Answer, Asked, FaultServer, Script, http, sends

Json: TypeAlias = dict[str, Any]
SECRET = "T000/B000/CANARY8f3a2b1c9d7e"

TAKEN = sends(http(200, b"ok", content_type="text/plain"))


def _takes(_asked: Asked) -> Answer:
    return TAKEN


@dataclass(frozen=True)
class Hook:
    """Its address, and what came there."""

    server: FaultServer

    @property
    def url(self) -> str:
        return f"{self.server.url}/services/{SECRET}"

    @property
    def posted(self) -> list[Json]:
        return [json.loads(asked.body) for asked in self.server.log]

    @property
    def changes(self) -> list[list[str]]:
        """What each message says has changed."""
        return [message["changes"] for message in self.posted]


@contextmanager
def hook(script: Script = _takes) -> Iterator[Hook]:
    """Listen on loopback."""
    with servers.FaultServer(script) as server:
        yield Hook(server)
