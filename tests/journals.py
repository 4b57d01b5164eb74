"""The log of a run read strictly: each line against the schema, and its fields against the page."""

import re
from functools import cache
from typing import Any, TypeAlias

from jsonschema import Draft202012Validator

from tests import ledgers
from tests.commands import ROOT

Json: TypeAlias = dict[str, Any]

HEAD = {"v", "at", "level", "event", "run_id", "job"}


@cache
def schema() -> Json:
    """docs/log.schema.json."""
    found: Json = ledgers.strict((ROOT / "docs/log.schema.json").read_bytes())
    Draft202012Validator.check_schema(found)
    return found


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(schema())


@cache
def fields() -> dict[str, set[str]]:
    """The fields of each event, as docs/log.md lists them."""
    page = (ROOT / "docs/log.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", page, re.MULTILINE)
    return {event: set(re.findall(r"`(\w+)`", listed)) for event, listed in rows}


def read(data: bytes | str) -> list[Json]:
    """The lines of a log: nothing but whole lines, each as it is described."""
    data = data.encode() if isinstance(data, str) else data
    *whole, rest = data.split(b"\n")
    assert rest == b"", f"a torn line: {rest!r}"
    found: list[Json] = [ledgers.strict(line) for line in whole]
    for line, written in zip(found, whole, strict=True):
        validator().validate(line)
        assert set(line) == HEAD | fields()[line["event"]], line
        assert written.isascii()
    return found


def of_event(found: list[Json], *events: str) -> list[Json]:
    return [line for line in found if line["event"] in events]
