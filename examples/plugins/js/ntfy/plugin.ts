// ntfy (ntfy.sh, or a server of one's own): a notification on a phone for every event.
//
// The message goes as JSON to the server's root, which is the subscription's URL; the topic stands in it. ntfy cuts
// messages over 4,096 bytes into attachments, so they are cut here. It tells no duplicates apart: after a broken
// connection a notification may come twice, which is better than an alert that never came.

import type { Event, Manifest, Outcome, Request, Response, Verdict, Verdicts } from "hookmill:plugin/connector@0.1.0";
import type { Fault } from "hookmill:plugin/connector@0.1.0";

interface Config {
  topic: string;
  title?: string;
  message: string;
  priority?: number;
  token?: string;
}

const CONFIG = {
  type: "object",
  additionalProperties: false,
  required: ["topic", "message"],
  properties: {
    topic: { type: "string", pattern: "^[A-Za-z0-9_-]{1,64}$", description: "The topic that the phone listens to." },
    title: { type: "string", description: "The notification's title. Fields of the data as {field} or {a.b}." },
    message: { type: "string", minLength: 1, description: "Its text, likewise: {customer.name} paid {amount}." },
    priority: { type: "integer", minimum: 1, maximum: 5, default: 3, description: "5 rings through silence." },
    token: { type: "string", writeOnly: true, description: "An access token (tk_…), where the topic needs one." },
  },
};

/** ntfy's limit for a message, in bytes of UTF-8. */
const LIMIT = 4096;

export function describe(): Manifest {
  return {
    name: "ntfy",
    version: "1.0.0",
    title: "ntfy",
    description: "Sends a push notification. The subscription's URL is the server's: https://ntfy.sh/",
    kind: "connector",
    configSchema: JSON.stringify(CONFIG),
    // The token may go to the subscription's own host, and to no other.
    hosts: [],
    auth: { tag: "none" },
    interprets: "errors",
    batching: { maxEvents: 1, maxBytes: 0, maxWaitMs: 0 },
    idempotency: undefined,
    onUnknown: "retry",
    // A visitor of ntfy.sh may send one message in five seconds once a burst of sixty is used up.
    rate: { max: 12, perMs: 60_000 },
    contract: "0.1.0",
  };
}

export function render(events: Event[], config: string): Outcome {
  const settings: Config = JSON.parse(config);
  return { tag: "send", val: events.map((event) => request(event, settings)) };
}

function request(event: Event, { topic, title, message, priority = 3, token }: Config): Request {
  const data: unknown = JSON.parse(event.data);
  const body = {
    topic,
    title: title === undefined ? event.type : filled("title", title, data),
    message: cut(filled("message", message, data)),
    priority,
  };
  return {
    method: "POST",
    headers: token ? [["authorization", `Bearer ${token}`]] : [],
    body: { tag: "text", val: JSON.stringify(body) },
    contentType: "application/json",
  };
}

export function interpret(response: Response): Verdicts {
  return { tag: "all", val: verdict(response) };
}

function verdict({ status, headers }: Response): Verdict {
  switch (status) {
    case 400:
      return { tag: "rejected", val: "ntfy does not accept the message (400)" };
    case 401:
    case 403:
      return { tag: "rejected", val: `the token may not write to this topic (${status}); enter another` };
    case 404:
    case 410:
      return { tag: "gone", val: `there is no ntfy server at this URL (${status})` };
    default:
      return { tag: "retry", val: { afterMs: retryAfter(headers), scope: status === 429 ? "host" : "endpoint" } };
  }
}

/**
 * The seconds of `Retry-After` in milliseconds; its form with a date needs a clock, and the host reads that. The types
 * say `bigint` for a `u64`, but the engine that runs this takes a number.
 */
function retryAfter(headers: [string, string][]): bigint | undefined {
  const value = headers.find(([name]) => name.toLowerCase() === "retry-after")?.[1];
  return value !== undefined && /^\d{1,6}$/.test(value) ? ((Number(value) * 1000) as unknown as bigint) : undefined;
}

/** The text with each {path} filled in; what is missing is a fault, since "{} paid" tells nobody anything. */
function filled(field: string, text: string, data: unknown): string {
  return text.replace(/\{([\w.]+)\}/g, (_, path: string) => {
    const value = path.split(".").reduce<any>((within, name) => within?.[name], data);
    if (value === undefined) throw fault(`${field}: {${path}} is not in the data of this event`);
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  });
}

/** At most as many bytes as ntfy takes, never half a character. */
function cut(text: string): string {
  let bytes = 0;
  let out = "";
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    // Three are left for the mark.
    if (bytes > LIMIT - 3) return `${out}…`;
    out += char;
  }
  return out;
}

function fault(message: string): Fault {
  return { message, retryable: false };
}
