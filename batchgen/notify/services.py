"""The form in which each service takes a message. Pure.

What an item is called and what a service said of it is foreign text: it stays text, mentions
nobody, and is cut to what each service takes.

Source: api.slack.com/messaging/webhooks and reference/block-kit/blocks (a header has 150
characters, a section 3,000); discord.com/developers/docs/resources/webhook (a title has 256, a
description 4,096, `allowed_mentions`); learn.microsoft.com, incoming webhooks with adaptive cards
(28 KB); docs.ntfy.sh/publish/#publish-as-json (a message has 4,096 bytes; JSON goes to the root).
"""

import re
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from batchgen.hook import Service
from batchgen.notify.message import Level, Message
from batchgen.notify.occasion import Ended, changes

_MAX_CHARS: Final = 2800
_MAX_NTFY_BYTES: Final = 3800
_COLOURS: Final[dict[Level, int]] = {"fine": 0x2E7D32, "warning": 0xB26A00, "failure": 0xC62828}
_NTFY_TAGS: Final[dict[Level, str]] = {
    "fine": "white_check_mark",
    "warning": "warning",
    "failure": "rotating_light",
}
_MARKS: Final = re.compile(r"([\\*_~`|>#\[\]()<@:-])")


def posting(service: Service, url: str, message: Message, ended: Ended) -> tuple[str, Any]:
    """Where a message goes, and the JSON of it.

    Args:
        service: Takes it.
        url: Of its hook.
        message: The words.
        ended: What they are about; a program gets the figures as well.
    """
    match service:
        case "slack":
            return url, _slack(message)
        case "discord":
            return url, _discord(message)
        case "teams":
            return url, _teams(message)
        case "ntfy":
            return _ntfy(url, message)
        case "json":
            return url, _plain(message, ended)


def _text(message: Message) -> str:
    return _cut("\n".join(message.lines), _MAX_CHARS)


def _slack(message: Message) -> dict[str, Any]:
    """Plain text in blocks: nothing in it is taken for a mention. `text` is for a phone's bar."""
    title = message.title.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": message.title, "emoji": False}}
    ]
    if message.lines:
        text = {"type": "plain_text", "text": _text(message), "emoji": False}
        blocks.append({"type": "section", "text": text})
    return {"text": title, "blocks": blocks}


def _discord(message: Message) -> dict[str, Any]:
    return {
        "embeds": [
            {
                "title": _MARKS.sub(r"\\\1", message.title)[:256],
                "description": _cut(_MARKS.sub(r"\\\1", _text(message)), 4096),
                "color": _COLOURS[message.level],
            }
        ],
        "allowed_mentions": {"parse": []},
    }


def _teams(message: Message) -> dict[str, Any]:
    """A card of text runs, in which Teams reads no Markdown."""
    title = {"type": "TextRun", "text": message.title, "weight": "Bolder"}
    runs = [[title], *([{"type": "TextRun", "text": line}] for line in message.lines)]
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": [{"type": "RichTextBlock", "inlines": inlines} for inlines in runs],
        "msteams": {"width": "Full"},
    }
    return {
        "type": "message",
        "attachments": [
            {
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": None,
                "content": card,
            }
        ],
    }


def _ntfy(url: str, message: Message) -> tuple[str, dict[str, Any]]:
    """JSON goes to the root of the server, and names the topic that the address ends in."""
    parts = urlsplit(url)
    root, _, topic = parts.path.rstrip("/").rpartition("/")
    told = _text(message) or message.title
    return urlunsplit(parts._replace(path=f"{root}/")), {
        "topic": topic,
        "title": message.title,
        "message": told.encode()[:_MAX_NTFY_BYTES].decode("utf-8", "ignore"),
        "priority": 4 if message.level == "failure" else 3,
        "tags": [_NTFY_TAGS[message.level]],
    }


def _plain(message: Message, ended: Ended) -> dict[str, Any]:
    """For a program of one's own; Mattermost and Rocket.Chat show its `text`."""
    return {
        "text": _cut("\n".join((message.title, *message.lines)), _MAX_CHARS),
        "title": message.title,
        "level": message.level,
        "job": ended.job,
        "exit_code": ended.exit_code,
        "changes": list(changes(ended)),
        "error": ended.error,
        "summary": ended.summary,
    }


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
