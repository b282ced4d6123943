"""Drops purchases below an amount."""

import json

import wit_world
from componentize_py_types import Err
from wit_world import Decision, Decision_Drop, Decision_Keep
from wit_world.imports.types import Auth_None_, Batching, Event, Fault, Interprets, Kind, Manifest, OnUnknown

# What the subscription's author fills in. Titles and descriptions stand in the form.
CONFIG = {
    "type": "object",
    "additionalProperties": False,
    "required": ["minimum"],
    "properties": {
        "minimum": {"type": "number", "description": "Purchases below this amount are dropped."},
    },
}


class WitWorld(wit_world.WitWorld):
    """The plugin. The name is the one that componentize-py looks for."""

    def describe(self) -> Manifest:
        return Manifest(
            name="my-plugin",
            version="0.1.0",
            title="My plugin",
            description="Drops purchases below an amount.",
            kind=Kind.TRANSFORM,
            config_schema=json.dumps(CONFIG),
            # The rest is a connector's.
            hosts=[],
            auth=Auth_None_(),
            interprets=Interprets.NEVER,
            batching=Batching(max_events=1, max_bytes=0, max_wait_ms=0),
            idempotency=None,
            on_unknown=OnUnknown.RETRY,
            rate=None,
            contract="0.1.0",
        )

    def transform(self, event: Event, config: str) -> Decision:
        minimum = json.loads(config)["minimum"]
        amount = json.loads(event.data).get("amount")
        if not isinstance(amount, int | float):
            # What is wrong and what to do, for whoever wrote the config.
            raise Err(Fault(message="data.amount: should be a number", retryable=False))
        if amount < minimum:
            return Decision_Drop(f"{amount} is below {minimum}")
        # As it came: json.dumps(json.loads(text)) would write 99.90 as 99.9.
        return Decision_Keep([event])
