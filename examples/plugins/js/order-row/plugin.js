// Makes of an order, nested as shops post it, one flat row: what a spreadsheet or a Zap can take as it is.
//
// An order has `id`, `currency`, `customer` and `items`, each item a `sku`, a `quantity` and a `price`. The row says
// who bought what, and what it came to. Sums are made in the currency's smallest unit, so that 0.1 + 0.2 is 0.3.

import { log } from "hookmill:plugin/host@0.1.0";

/** @import { Manifest, Event, Decision, Fault } from "hookmill:plugin/transform@0.1.0" */

/**
 * @typedef {{ sku: string, quantity: number, price: number }} Item
 * @typedef {{ id: string | number, currency: string, customer?: { name?: string, email?: string }, items: Item[] }} Order
 * @typedef {{ decimals?: number, separator?: string }} Config
 */

const CONFIG = {
  type: "object",
  additionalProperties: false,
  properties: {
    decimals: {
      type: "integer",
      minimum: 0,
      maximum: 4,
      default: 2,
      description: "Decimal places of the currency: 2 for most, 0 for yen.",
    },
    separator: { type: "string", default: ", ", description: "What stands between two items." },
  },
};

/** @returns {Manifest} */
export function describe() {
  return {
    name: "order-row",
    version: "1.0.0",
    title: "Order to row",
    description: "Flattens an order with its customer and items to one row for a spreadsheet or a Zap.",
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

/**
 * @param {Event} event
 * @param {string} config
 * @returns {Decision}
 */
export function transform(event, config) {
  /** @type {Config} */
  const { decimals = 2, separator = ", " } = JSON.parse(config);
  /** @type {Order} */
  const order = JSON.parse(event.data);
  if (!Array.isArray(order.items)) throw fault("data.items: should be a list; is this an order?");
  if (order.items.length === 0) return { tag: "drop", val: "the order has no items" };
  const unit = 10 ** decimals;
  const units = order.items.reduce((sum, item, at) => sum + count(item, at) * Math.round(item.price * unit), 0);
  const row = {
    order: identifier(order.id),
    at: event.timestamp,
    customer: order.customer?.name ?? "",
    email: order.customer?.email ?? "",
    items: order.items.map((item) => `${item.quantity} × ${item.sku}`).join(separator),
    quantity: order.items.reduce((sum, item) => sum + item.quantity, 0),
    total: (units / unit).toFixed(decimals),
    currency: order.currency,
  };
  if (row.email === "") log("warn", "data.customer.email: there is none, so the column stays empty");
  return { tag: "keep", val: [{ ...event, data: JSON.stringify(row) }] };
}

/**
 * An item's quantity, once it is known to be one.
 * @param {Item} item
 * @param {number} at
 */
function count(item, at) {
  for (const field of /** @type {const} */ (["quantity", "price"])) {
    if (typeof item?.[field] !== "number") throw fault(`data.items[${at}].${field}: should be a number`);
  }
  return item.quantity;
}

/**
 * The order's id as a text. JavaScript has no integers beyond 2^53: such an id has lost its last digits by now, and
 * a wrong id is worse than none.
 * @param {string | number} id
 */
function identifier(id) {
  if (typeof id === "number" && !Number.isSafeInteger(id)) {
    throw fault("data.id: too long a number for JavaScript; post it as a text");
  }
  return String(id);
}

/**
 * @param {string} message
 * @returns {Fault}
 */
function fault(message) {
  return { message, retryable: false };
}
