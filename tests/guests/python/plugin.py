"""Looks for everything that a plugin must not know, one thing a call: the time, randomness, the machine, earlier events,
the secret in its config. What it finds, or how it is refused, is what it makes of the event."""

import datetime
import json
import os
import random
import sys
import tempfile
import threading
import time
import uuid

import wit_world
from wit_world import Decision, Decision_Keep
from wit_world.imports import host
from wit_world.imports.types import Auth_None_, Batching, Event, Interprets, Kind, Level, Manifest, OnUnknown

CONFIG = {
    "type": "object",
    "additionalProperties": False,
    "required": ["ask"],
    "properties": {"ask": {"type": "string"}, "token": {"type": "string", "writeOnly": True}},
}

# Whatever was there when the module was begun: perhaps as it was built, never as it is run.
BEGUN = [time.time(), random.random()]
seen = []


def a_wait(event, config):
    before = time.time()
    for turns in range(2000):
        if time.time() != before:
            return turns
    return "no time passed"


def memory(event, config):
    seen.append(event.id)
    return seen


def secret(event, config):
    host.log(Level.INFO, config["token"])
    return {"letters": " ".join(config["token"]), "length": len(config["token"])}


def thread(event, config):
    threading.Thread(target=lambda: None).start()


def a_file(event, config):
    with open("/etc/passwd") as file:
        return file.read()


ANSWERS = {
    "time": lambda event, config: time.time(),
    "nanoseconds": lambda event, config: time.time_ns(),
    "timer": lambda event, config: time.monotonic(),
    "counter": lambda event, config: time.perf_counter_ns(),
    "processor": lambda event, config: time.process_time(),
    "date": lambda event, config: str(datetime.datetime.now()),
    "zone": lambda event, config: time.tzname,
    "a wait": a_wait,
    "a sleep": lambda event, config: time.sleep(0.001),
    "begun": lambda event, config: BEGUN,
    "random": lambda event, config: [random.random() for _ in range(3)],
    "a seed": lambda event, config: random.Random().random(),
    "the system's random": lambda event, config: random.SystemRandom().random(),
    "entropy": lambda event, config: list(os.urandom(8)),
    "uuid 1": lambda event, config: str(uuid.uuid1()),
    "uuid 4": lambda event, config: str(uuid.uuid4()),
    "hash": lambda event, config: hash("a text"),
    "a set": lambda event, config: list({"a", "b", "c", "d", "e", "f"}),
    "address": lambda event, config: id(seen),
    "environment": lambda event, config: dict(os.environ),
    "arguments": lambda event, config: sys.argv,
    "process": lambda event, config: os.getpid(),
    "files": a_file,
    "folders": lambda event, config: os.listdir("/"),
    "a temporary file": lambda event, config: tempfile.mkdtemp(),
    "thread": thread,
    "memory": memory,
    "secret": secret,
}


class WitWorld(wit_world.WitWorld):
    """The plugin."""

    def describe(self) -> Manifest:
        return Manifest(
            name="nosy-python",
            version="1.0.0",
            title="Nosy",
            description="Looks for what it must not know.",
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
        try:
            found = {"answer": ANSWERS[settings["ask"]](event, settings)}
        except BaseException as error:
            found = {"refused": repr(error)}
        event.data = json.dumps(found)
        return Decision_Keep([event])
