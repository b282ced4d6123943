"""Writes amounts as people do: 1999 and EUR become 19.99.

Payment providers post money in the currency's smallest unit, which is a hundredth for most, a thousandth for some and
the whole for others. Decimal arithmetic keeps every digit, however long the amount; a float would not.
"""

import json
from decimal import Decimal
from typing import Any

import wit_world
from componentize_py_types import Err
from wit_world import Decision, Decision_Drop, Decision_Keep
from wit_world.imports.types import Auth_None_, Batching, Event, Fault, Interprets, Kind, Manifest, OnUnknown

CONFIG = {
    "type": "object",
    "additionalProperties": False,
    "required": ["amounts"],
    "properties": {
        "amounts": {
            "type": "array",
            "minItems": 1,
            "items": {"type": "string"},
            "description": "Where amounts stand in the data: amount_total, or fee.amount.",
        },
        "currency": {"type": "string", "default": "currency", "description": "Where their currency stands."},
        "zero": {"enum": ["keep", "drop"], "default": "keep", "description": "What becomes of an event of nothing."},
    },
}

# Currencies that have no hundredths (ISO 4217).
PLACES = dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0)
PLACES |= dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3)


class WitWorld(wit_world.WitWorld):
    def describe(self) -> Manifest:
        return Manifest(
            name="money",
            version="1.0.0",
            title="Money",
            description="Turns amounts in a currency's smallest unit into decimal texts: 1999 and EUR become 19.99.",
            kind=Kind.TRANSFORM,
            config_schema=json.dumps(CONFIG),
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
        settings = json.loads(config)
        # What is not touched leaves with the digits that it came with.
        data = json.loads(event.data, parse_float=Number)
        path = settings.get("currency", "currency")
        currency = find(data, path)[path.rpartition(".")[2]]
        if not isinstance(currency, str):
            raise fault(f"data.{path}: should be a currency such as EUR")
        places = PLACES.get(currency.upper(), 2)
        everything = 0
        for path in settings["amounts"]:
            within, name = find(data, path), path.rpartition(".")[2]
            units = within[name]
            if isinstance(units, bool) or not isinstance(units, int):
                raise fault(f"data.{path}: should be a whole number of the currency's smallest unit")
            everything += abs(units)
            within[name] = str(Decimal(units).scaleb(-places).quantize(Decimal(1).scaleb(-places)))
        if everything == 0 and settings.get("zero") == "drop":
            return Decision_Drop("it is about nothing")
        event.data = written(data)
        return Decision_Keep([event])


class Number(str):
    """A number with a fraction, as it was written: a float would print 100.00 as 100.0."""


def written(value: Any) -> str:
    """JSON text, numbers as they were."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{written(name)}:{written(of)}" for name, of in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def find(data: Any, path: str) -> dict[str, Any]:
    """The object that holds the last name of the path."""
    *names, last = path.split(".")
    for name in names:
        data = data.get(name) if isinstance(data, dict) else None
    if not isinstance(data, dict) or last not in data:
        raise fault(f"data.{path}: is not in this event; correct the path, or filter such events out")
    return data


def fault(message: str) -> Err:
    return Err(Fault(message=message, retryable=False))
