// Drops purchases below an amount.

import type { Decision, Event, Fault, Manifest } from "hookmill:plugin/transform@0.1.0";

// What the subscription's author fills in. Titles and descriptions stand in the form.
const CONFIG = {
  type: "object",
  additionalProperties: false,
  required: ["minimum"],
  properties: {
    minimum: { type: "number", description: "Purchases below this amount are dropped." },
  },
};

/** What fits CONFIG: the gateway lets nothing else through. */
interface Config {
  minimum: number;
}

/** What is read of the event's data, which nobody has checked. */
interface Purchase {
  amount?: unknown;
}

export function describe(): Manifest {
  return {
    name: "my-plugin",
    version: "0.1.0",
    title: "My plugin",
    description: "Drops purchases below an amount.",
    kind: "transform",
    configSchema: JSON.stringify(CONFIG),
    // The rest is a connector's.
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

export function transform(event: Event, config: string): Decision {
  const { minimum }: Config = JSON.parse(config);
  const { amount }: Purchase = JSON.parse(event.data);
  if (typeof amount !== "number") throw fault("data.amount: should be a number");
  if (amount < minimum) return { tag: "drop", val: `${amount} is below ${minimum}` };
  // As it came: JSON.stringify(JSON.parse(text)) would round long numbers and write 99.90 as 99.9.
  return { tag: "keep", val: [event] };
}

/** What is wrong and what to do, for whoever wrote the config. Thrown, it ends the call. */
function fault(message: string): Fault {
  return { message, retryable: false };
}
