"""Each service gets the form that it takes; foreign words in it stay words."""

import json
import socket
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from batchgen.errors import UsageError
from batchgen.hook import SERVICES, Service, clean_hook, host_of, service_of
from batchgen.notify import Ended, message_of, posting
from batchgen.report.summary import FailureGroup
from tests.unit.test_occasion import SOME_FAILED, diff, ended, of_a_run

HOOK = "https://hook.invalid/alerts/nightly"
LOUD = "<!channel> @everyone [x](https://evil.invalid) **b** `c` <@U123> & \\ \u202e ${{7*7}}\nnext"
TEXT = {"type": "string", "minLength": 1}
PLAIN = {
    "type": "object",
    "required": ["type", "text", "emoji"],
    "properties": {"type": {"const": "plain_text"}, "text": TEXT, "emoji": {"const": False}},
}


def of_at_most(n_chars: int) -> dict[str, Any]:
    return {"properties": {"text": {"maxLength": n_chars}}}


# What their documents say of each, as far as we use it.
FORMS: dict[Service, Any] = {
    "slack": {
        "required": ["text", "blocks"],
        "properties": {
            "text": {**TEXT, "maxLength": 40_000},
            "blocks": {
                "minItems": 1,
                "maxItems": 50,
                "items": {
                    "required": ["type", "text"],
                    "properties": {"type": {"enum": ["header", "section"]}, "text": PLAIN},
                    "if": {"properties": {"type": {"const": "header"}}},
                    "then": {"properties": {"text": of_at_most(150)}},
                    "else": {"properties": {"text": of_at_most(3000)}},
                },
            },
        },
    },
    "discord": {
        "required": ["embeds", "allowed_mentions"],
        "properties": {
            "allowed_mentions": {"const": {"parse": []}},
            "embeds": {
                "minItems": 1,
                "maxItems": 10,
                "items": {
                    "properties": {
                        "title": {**TEXT, "maxLength": 256},
                        "description": {**TEXT, "maxLength": 4096},
                        "color": {"type": "integer", "minimum": 0, "maximum": 0xFFFFFF},
                    },
                    "additionalProperties": False,
                },
            },
        },
    },
    "teams": {
        "required": ["type", "attachments"],
        "properties": {
            "type": {"const": "message"},
            "attachments": {
                "minItems": 1,
                "items": {
                    "required": ["contentType", "content"],
                    "properties": {
                        "contentType": {"const": "application/vnd.microsoft.card.adaptive"},
                        "content": {
                            "required": ["type", "version", "body", "$schema"],
                            "properties": {
                                "type": {"const": "AdaptiveCard"},
                                "body": {
                                    "items": {
                                        "required": ["type", "inlines"],
                                        "properties": {
                                            "type": {"const": "RichTextBlock"},
                                            "inlines": {
                                                "items": {
                                                    "required": ["type", "text"],
                                                    "properties": {
                                                        "type": {"const": "TextRun"},
                                                        "text": TEXT,
                                                    },
                                                }
                                            },
                                        },
                                    }
                                },
                            },
                        },
                    },
                },
            },
        },
    },
    "ntfy": {
        "required": ["topic", "title", "message"],
        "additionalProperties": False,
        "properties": {
            "topic": {"type": "string", "pattern": "^[-_A-Za-z0-9]{1,64}$"},
            "title": TEXT,
            "message": TEXT,
            "priority": {"type": "integer", "minimum": 1, "maximum": 5},
            "tags": {"items": TEXT},
        },
    },
    "json": {"required": ["text", "title", "level", "job", "exit_code", "changes", "summary"]},
}


def posted(service: Service, told: Ended, url: str = HOOK) -> tuple[str, Any, str]:
    """Where it goes, the document as the other side reads it, and its bytes."""
    where, document = posting(service, url, message_of(told), told)
    body = msgspec.json.encode(document)
    return where, json.loads(body), body.decode()


def hostile(n: int = 5) -> Ended:
    groups = [FailureGroup(outcome="blocked", count=9, example=LOUD * n, item=LOUD) for _ in "abcd"]
    summary = of_a_run(
        exit_code=4, items=SOME_FAILED, failures=groups, diff=diff(new_failures=[LOUD * n] * 100)
    )
    return ended(summary, job="shop", place=str(Path("output/shop").resolve()))


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "told", [ended(of_a_run()), hostile(), hostile(1000), ended(exit_code=2, error="no API key")]
)
def test_a_message_has_the_form_that_its_service_takes(service: Service, told: Ended) -> None:
    _, document, body = posted(service, told)
    jsonschema.validate(document, FORMS[service])
    if service != "json":
        assert len(body.encode()) < 20_000
    assert "\u202e" not in json.dumps(document.get("text", ""), ensure_ascii=False)


def test_nothing_in_a_message_is_taken_for_a_mention_or_for_a_link() -> None:
    _, slack, _ = posted("slack", hostile())
    assert "<" not in slack["text"]
    _, discord, _ = posted("discord", hostile())
    assert "\\@everyone" in discord["embeds"][0]["description"]
    assert "\\[x\\]\\(https\\:" in discord["embeds"][0]["description"]


def test_ntfy_gets_its_json_at_the_root_of_the_server() -> None:
    where, document, _ = posted("ntfy", ended(of_a_run()), "https://ntfy.sh/my-shop")
    assert (where, document["topic"]) == ("https://ntfy.sh/", "my-shop")
    where, document, _ = posted("ntfy", ended(of_a_run()), "https://x.invalid/ntfy/my-shop?auth=QW")
    assert (where, document["topic"]) == ("https://x.invalid/ntfy/?auth=QW", "my-shop")


def test_what_changed_comes_first_then_what_to_do_then_the_figures() -> None:
    group = FailureGroup(outcome="blocked", count=1, example="IMAGE_SAFETY", item="hero")
    summary = of_a_run(
        exit_code=4, items=SOME_FAILED, failures=[group], diff=diff(new_failures=["hero"])
    )
    message = message_of(ended(summary, place=str(Path("output/shop").resolve())))
    assert message.title == "shop: 9/10 done, 1 failed"
    assert message.lines == (
        "1 new failure: hero",
        "blocked × 1, such as hero: IMAGE_SAFETY",
        "→ Reword the prompt, leave a reference out, or try another model.",
        "$1.00 (planned $1.00) · 10m00s",
        f"run 20261128T020000Z-00000001 on {socket.gethostname()} in {Path.cwd() / 'output/shop'}",
    )
    assert message.level == "failure"


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("https://hooks.slack.com/services/T0/B0/x", "slack"),
        ("https://discord.com/api/webhooks/1/x", "discord"),
        ("https://ptb.discord.com/api/webhooks/1/x", "discord"),
        ("https://discord.com/api/webhooks/1/x/slack", "slack"),
        ("https://shop.webhook.office.com/webhookb2/x", "teams"),
        ("https://prod-1.westeurope.logic.azure.com:443/workflows/x?sig=y", "teams"),
        ("https://x.environment.api.powerplatform.com/powerautomate/x", "teams"),
        ("https://ntfy.sh/topic", "ntfy"),
        ("https://ntfy.example.org/topic", "ntfy"),
        ("https://evil-discord.com/x", "json"),
        ("https://mattermost.example.org/hooks/x", "json"),
        ("http://127.0.0.1:8000/x", "json"),
    ],
)
def test_the_address_tells_whose_hook_it_is(url: str, service: Service) -> None:
    assert service_of(url) == service
    assert host_of(url) in url


@pytest.mark.parametrize(
    "url", ["hooks.slack.com/x", "ftp://a.invalid/x", "https://a.invalid/x#y", "https:// a", ""]
)
def test_what_is_no_address_of_a_hook_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError, match="HOOK: expected the https address") as refused:
        clean_hook(url, "HOOK")
    assert not url or url not in str(refused.value)


def test_plain_http_goes_no_further_than_this_machine_unless_the_job_says_so() -> None:
    assert clean_hook("http://127.0.0.1:1/x", "HOOK")
    assert clean_hook("http://hook.invalid/x", "HOOK", allow_http=True)
    with pytest.raises(UsageError, match="plain http"):
        clean_hook("http://hook.invalid/x", "HOOK")
