// Looks for everything that a plugin must not know, one thing a call: the time, randomness, the machine, earlier events,
// the secret in its config. What it finds, or how it is refused, is what it makes of the event.
//
// Most of what it asks for is not there, as the compiler would say.
// @ts-nocheck

import { log } from "hookmill:plugin/host@0.1.0";

const CONFIG = {
  type: "object",
  additionalProperties: false,
  required: ["ask"],
  properties: { ask: { type: "string" }, token: { type: "string", writeOnly: true } },
};

// Whatever was there when the module was begun: perhaps as it was built, never as it is run.
const BEGUN = [Date.now(), Math.random()];
const seen = [];

const ANSWERS = {
  "time": () => Date.now(),
  "date": () => new Date().toString(),
  "zone": () => new Date(0).getTimezoneOffset(),
  "timer": () => performance.now(),
  "a wait": () => {
    const before = Date.now();
    for (let turns = 0; turns < 2000; turns++) if (Date.now() !== before) return turns;
    return "no time passed";
  },
  "begun": () => BEGUN,
  "random": () => [Math.random(), Math.random(), Math.random()],
  "crypto": () => Array.from(crypto.getRandomValues(new Uint8Array(8))),
  "uuid": () => crypto.randomUUID(),
  "sorting": () => Array.from({ length: 50 }, (_, at) => (at * 7919) % 50).sort(() => Math.random() - 0.5),
  "environment": () => process.env,
  "arguments": () => scriptArgs,
  "globals": () => Object.getOwnPropertyNames(globalThis).sort(),
  "module": () => import.meta.url,
  "files": () => std.open("/etc/passwd", "r").readAsString(),
  "folders": () => os.readdir("/"),
  "network": () => fetch("http://127.0.0.1/"),
  "stack": () => new Error("here").stack,
  "memory": (event) => {
    seen.push(event.id);
    return seen;
  },
  "secret": (_, config) => {
    log("info", config.token);
    return { letters: [...config.token].join(" "), length: config.token.length };
  },
};

export function describe() {
  return {
    name: "nosy-js",
    version: "1.0.0",
    title: "Nosy",
    description: "Looks for what it must not know.",
    kind: "transform",
    configSchema: JSON.stringify(CONFIG),
    hosts: [],
    auth: { tag: "none" },
    interprets: "never",
    batching: { maxEvents: 1, maxBytes: 0, maxWaitMs: 0 },
    idempotency: undefined,
    onUnknown: "retry",
    rate: undefined,
    contract: "0.1.0",
  };
}

export function transform(event, text) {
  const config = JSON.parse(text);
  let found;
  try {
    found = { answer: ANSWERS[config.ask](event, config) };
  } catch (error) {
    found = { refused: String(error) };
  }
  return { tag: "keep", val: [{ ...event, data: JSON.stringify(found) }] };
}
