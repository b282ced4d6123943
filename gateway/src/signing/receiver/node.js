// Verifies the requests of one Hookmill subscription. Needs Node.js 18 or newer, and nothing else.
//
// `verify` gives null for a request that is genuine, otherwise why it is not. It takes the body's bytes as they came in,
// before anything has parsed them (Express: express.raw({ type: '*/*' })), and headers with names in lower case.
const crypto = require('node:crypto');
const fs = require('node:fs');

const TOLERANCE_S = 300;

function verify({ method, headers, body }, secrets, nowS = Date.now() / 1000) {
  const header = (name) => headers[name] ?? '';
  const values = [@HEADERS@].map(header).filter((value) => value !== '');
  if (values.length === 0) return 'the header ' + @HEADER@ + ' is missing';
@if timestamp
  const timestamp = @TIMESTAMP@;
  const age = nowS - @SECONDS@;
  if (!(Math.abs(age) <= TOLERANCE_S)) return `the timestamp is ${Math.round(age)} s old`;
@end
@if id
  const id = @ID@;
@end
@if cut
  // The URL is a credential, so it is cut here: put in the whole one, as the subscription has it.
@end
  const content = Buffer.concat([@CONTENT@].map((part) => Buffer.from(part)));
  const signatures = values.flatMap((value) => [...value.matchAll(new RegExp(@SIGNATURE@, 'g'))].map((found) => found[1]));
  const matched = secrets.flatMap((secret) => signatures.map((signature) => matches(secret, content, signature)));
  return matched.includes(true) ? null : 'no signature matches: another secret, or the body was changed';
}

function first(pattern, text) {
  return new RegExp(pattern).exec(text)?.[1] ?? '';
}

@if hmac
function matches(secret, content, signature) {
  const key = Buffer.from(secret.startsWith(@PREFIX@) ? secret.slice(@PREFIX@.length) : secret, '@DECODE@');
  const expected = Buffer.from(crypto.createHmac('@HASH@', key).update(content).digest('@ENCODING@'));
  const given = Buffer.from(signature);
  return expected.length === given.length && crypto.timingSafeEqual(expected, given);
}
@end
@if ed25519
function matches(secret, content, signature) {
  const raw = Buffer.from(secret.replace(/^whpk_/, ''), 'base64');
  const der = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), raw]);
  const key = crypto.createPublicKey({ key: der, format: 'der', type: 'spki' });
  return crypto.verify(null, content, key, Buffer.from(signature, '@ENCODING@'));
}
@end

module.exports = { verify };

// To try it: one request on standard input, as {"method": …, "headers": {…}, "body": base64}.
if (require.main === module) {
  const { method, headers, body } = JSON.parse(fs.readFileSync(0, 'utf8'));
  const secrets = [process.env.HOOKMILL_SECRET, process.env.HOOKMILL_SECRET_NEXT].filter(Boolean);
  const why = verify({ method, headers, body: Buffer.from(body, 'base64') }, secrets);
  console.log(why ?? 'genuine');
  process.exitCode = why === null ? 0 : 1;
}
