"""Mattermost: a message in a channel for every event, through an incoming webhook.

The author's text may hold Markdown and mentions; what comes out of an event is escaped, so that a customer named
`@all` wakes nobody. Mattermost has no way to tell a repeated message: after a broken connection it may come twice.
"""

import json
import re
from typing import Any

import wit_world
from componentize_py_types import Err
from wit_world import Outcome, Outcome_Send, Verdicts, Verdicts_All
from wit_world.imports.types import (
    Auth_None_,
    Batching,
    Event,
    Fault,
    Interprets,
    Kind,
    Manifest,
    OnUnknown,
    Payload_Text,
    Rate,
    Request,
    Response,
    Retry,
    Scope,
    Verdict,
    Verdict_Delivered,
    Verdict_Gone,
    Verdict_Rejected,
    Verdict_Retry,
)

CONFIG = {
    "type": "object",
    "additionalProperties": False,
    "required": ["text"],
    "properties": {
        "text": {
            "type": "string",
            "minLength": 1,
            "description": "The message, in Markdown; fields of the data as {field} or {a.b}: **{customer}** paid {amount}",
        },
        "channel": {"type": "string", "description": "Another channel than the webhook's own."},
        "username": {"type": "string", "description": "Who it is from, where the server allows that."},
        "fields": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "description": "Rows of a table below the text: a title, and the text beside it.",
        },
    },
}

# Characters that a post may have.
LIMIT = 16_383

PLACE = re.compile(r"\{([\w.]+)\}")
SPECIAL = re.compile(r"([\\`*_{}\[\]()#+\-.!|~<>])")


class WitWorld(wit_world.WitWorld):
    def describe(self) -> Manifest:
        return Manifest(
            name="mattermost",
            version="1.0.0",
            title="Mattermost",
            description="Posts a message. The subscription's URL is that of an incoming webhook.",
            kind=Kind.CONNECTOR,
            config_schema=json.dumps(CONFIG),
            hosts=[],
            auth=Auth_None_(),
            interprets=Interprets.ERRORS,
            batching=Batching(max_events=1, max_bytes=0, max_wait_ms=0),
            idempotency=None,
            on_unknown=OnUnknown.RETRY,
            rate=Rate(max=10, per_ms=1_000),
            contract="0.1.0",
        )

    def render(self, events: list[Event], config: str) -> Outcome:
        settings = json.loads(config)
        return Outcome_Send([request(event, settings) for event in events])

    def interpret(self, response: Response, config: str, count: int) -> Verdicts:
        return Verdicts_All(verdict(response))


def request(event: Event, settings: dict[str, Any]) -> Request:
    # Numbers as they were written.
    data = json.loads(event.data, parse_float=str, parse_int=str)
    body = {"text": cut(filled("text", settings["text"], data))}
    for name in ("channel", "username"):
        if settings.get(name):
            body[name] = settings[name]
    if settings.get("fields"):
        rows = [
            {"title": title, "value": filled(f"fields.{title}", text, data), "short": True}
            for title, text in settings["fields"].items()
        ]
        body["attachments"] = [{"fallback": body["text"], "fields": rows}]
    text = json.dumps(body, ensure_ascii=False)
    return Request(method="POST", url=None, headers=[], body=Payload_Text(text), content_type="application/json")


def verdict(response: Response) -> Verdict:
    match response.status:
        case status if 200 <= status < 300:
            return Verdict_Delivered()
        case 400:
            return Verdict_Rejected("Mattermost does not accept the message; is there such a channel? (400)")
        case 403:
            return Verdict_Rejected("incoming webhooks are switched off, or may not write to this channel (403)")
        case 404 | 410:
            return Verdict_Gone(f"the incoming webhook was removed ({response.status})")
        case status:
            after = next((value for name, value in response.headers if name.lower() == "retry-after"), "")
            seconds = int(after) if after.isdecimal() and len(after) <= 6 else None
            scope = Scope.HOST if status == 429 else Scope.ENDPOINT
            return Verdict_Retry(Retry(after_ms=None if seconds is None else seconds * 1000, scope=scope))


def filled(field: str, text: str, data: Any) -> str:
    """The text with each {path} filled in, and what is filled in escaped."""

    def value(found: re.Match[str]) -> str:
        within = data
        for name in found[1].split("."):
            if not isinstance(within, dict) or name not in within:
                raise Err(Fault(message=f"{field}: {{{found[1]}}} is not in the data of this event", retryable=False))
            within = within[name]
        return escaped(within if isinstance(within, str) else json.dumps(within, ensure_ascii=False))

    return PLACE.sub(value, text)


def escaped(text: str) -> str:
    # A mention begins with @ after a space; with a character of no width between them it is a text.
    return SPECIAL.sub(r"\\\1", text).replace("@", "@\u200b")


def cut(text: str) -> str:
    return text if len(text) <= LIMIT else text[: LIMIT - 1] + "…"
