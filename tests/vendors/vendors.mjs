// What vendors' own packages sign and verify. One request on standard input, one answer on standard output, as JSON.
//
//   {"do": "keys", "profile"}                                           → {"secret", "key"}
//   {"do": "sign", "profile", "secret", "key", "url", "body", "headers"} → {"headers", "by"}
//   {"do": "verify", "profile", "secret", "url", "body", "headers"}      → {"verified"}
//
// Where a package only verifies, the request is signed here, after the vendor's documentation, and the package says
// whether it would take it. The time is the machine's.
import crypto from 'node:crypto';
import fs from 'node:fs';
import { sign as octokitSign, verify as octokitVerify } from '@octokit/webhooks-methods';
import { LinearWebhookClient } from '@linear/sdk/webhooks';
import { Paddle } from '@paddle/paddle-node-sdk';
import sendgrid from '@sendgrid/eventwebhook';
import { shopifyApi } from '@shopify/shopify-api';
import '@shopify/shopify-api/adapters/node';
import { verifyKey } from 'discord-interactions';
import { Webhook as Standard } from 'standardwebhooks';
import { Webhook as Svix } from 'svix';

const hmac = (secret, text, encoding) => crypto.createHmac('sha256', secret).update(text).digest(encoding);
const held = (check) => {
  try {
    check();
    return true;
  } catch {
    return false;
  }
};
// Paddle's package tolerates five seconds, fewer than a busy machine may need: it is asked at the time of signing.
const at = async (seconds, check) => {
  const { Date } = globalThis;
  globalThis.Date = class extends Date {
    constructor(...given) {
      super(...(given.length > 0 ? given : [seconds * 1000]));
    }
    static now() {
      return seconds * 1000;
    }
  };
  try {
    return await check();
  } finally {
    globalThis.Date = Date;
  }
};
const standard = (Webhook, prefix) => ({
  sign: ({ secret, body, now }) => ({
    [`${prefix}-id`]: 'msg_2KWPBgLlAfxdpx2AI54pPJ85f4W',
    [`${prefix}-timestamp`]: `${now}`,
    [`${prefix}-signature`]: new Webhook(secret).sign('msg_2KWPBgLlAfxdpx2AI54pPJ85f4W', new Date(now * 1000), body),
  }),
  verify: ({ secret, body, headers }) => held(() => new Webhook(secret).verify(body, headers)),
  keys: () => text(`whsec_${crypto.randomBytes(24).toString('base64')}`),
});
const text = (secret) => ({ secret, key: secret });
const pair = (kind, options, format) => {
  const { publicKey, privateKey } = crypto.generateKeyPairSync(kind, options);
  const secret = format(publicKey.export({ type: 'spki', format: 'der' }));
  return { secret, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) };
};

const vendors = {
  'standard-webhooks': { by: 'standardwebhooks', ...standard(Standard, 'webhook') },
  svix: { by: 'svix', ...standard(Svix, 'svix') },
  github: {
    by: '@octokit/webhooks-methods',
    sign: async ({ secret, body }) => ({ 'x-hub-signature-256': await octokitSign(secret, body) }),
    verify: ({ secret, body, headers }) => octokitVerify(secret, body, headers['x-hub-signature-256']),
  },
  shopify: {
    by: '@shopify/shopify-api',
    made: ({ secret, body }) => ({ 'x-shopify-hmac-sha256': hmac(secret, body, 'base64') }),
    verify: async ({ secret, body, headers }) => {
      const shopify = shopifyApi({
        apiKey: 'key',
        apiSecretKey: secret,
        apiVersion: '2025-01',
        hostName: 'shop.example',
        isEmbeddedApp: false,
        logger: { level: 0 },
      });
      const { valid } = await shopify.webhooks.validate({ rawBody: body, rawRequest: { headers }, rawResponse: {} });
      return valid;
    },
  },
  paddle: {
    by: '@paddle/paddle-node-sdk',
    made: ({ secret, body, now }) => ({ 'paddle-signature': `ts=${now};h1=${hmac(secret, `${now}:${body}`, 'hex')}` }),
    verify: ({ secret, body, headers }) => {
      const signature = headers['paddle-signature'];
      const [, seconds] = /ts=(\d+)/.exec(signature);
      return at(Number(seconds), () => new Paddle('key').webhooks.isSignatureValid(body, secret, signature));
    },
  },
  linear: {
    by: '@linear/sdk',
    made: ({ secret, body }) => ({ 'linear-signature': hmac(secret, body, 'hex') }),
    verify: ({ secret, body, headers }) =>
      held(() => new LinearWebhookClient(secret).verify(Buffer.from(body), headers['linear-signature'])),
  },
  discord: {
    by: 'discord-interactions',
    keys: () => pair('ed25519', {}, (spki) => spki.subarray(-32).toString('hex')),
    made: ({ key, body, now }) => ({
      'x-signature-ed25519': crypto.sign(null, Buffer.from(`${now}${body}`), key).toString('hex'),
      'x-signature-timestamp': `${now}`,
    }),
    verify: ({ secret, body, headers }) =>
      verifyKey(body, headers['x-signature-ed25519'], headers['x-signature-timestamp'], secret),
  },
  sendgrid: {
    by: '@sendgrid/eventwebhook',
    keys: () => pair('ec', { namedCurve: 'prime256v1' }, (spki) => spki.toString('base64')),
    made: ({ key, body, now }) => ({
      'x-twilio-email-event-webhook-signature': crypto.sign('sha256', Buffer.from(`${now}${body}`), key).toString('base64'),
      'x-twilio-email-event-webhook-timestamp': `${now}`,
    }),
    verify: ({ secret, body, headers }) => {
      const events = new sendgrid.EventWebhook();
      const [signature, time] = ['signature', 'timestamp'].map((end) => headers[`x-twilio-email-event-webhook-${end}`]);
      return events.verifySignature(events.convertPublicKeyToECDSA(secret), body, signature, time);
    },
  },
};

const asked = { ...JSON.parse(fs.readFileSync(0, 'utf8')), now: Math.floor(Date.now() / 1000) };
const vendor = vendors[asked.profile];
const answer = {
  keys: () => (vendor.keys ?? (() => text(crypto.randomBytes(24).toString('hex'))))(),
  verify: async () => ({ verified: await vendor.verify(asked) }),
  sign: async () => {
    const headers = { ...asked.headers, ...(await (vendor.sign ?? vendor.made)(asked)) };
    if (!(await vendor.verify({ ...asked, headers }))) throw new Error(`${vendor.by} refuses what it should take`);
    if (await vendor.verify({ ...asked, headers, body: asked.body.replace('"', ' "') })) {
      throw new Error(`${vendor.by} takes another body`);
    }
    return { headers, by: vendor.by };
  },
}[asked.do];
console.log(JSON.stringify(await answer()));
