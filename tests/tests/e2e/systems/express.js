// Runs a document's sample as it is printed, for requests that arrived: `{document, body, requests}` on standard input.
// Of Express there is what the samples use. `body` says what stands in `req.body`: `json` as `express.json()` makes it,
// `text` as `express.text()`. Each answer is one line: the status and the body, or `no answer`.
const handlers = {};
const express = () => ({ use() {}, post: (path, handler) => { handlers[path] = handler; } });
express.json = express.text = () => () => {};
const load = (name) => (name === 'express' ? express : require(name));

const { document, body, requests } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const app = document.includes('express()') ? '' : "const app = require('express')();\n";
const processed = [];
new Function('require', 'processWebhookEvent', app + document)(load, (event) => processed.push(event));

for (const request of requests) {
  process.env.WEBHOOK_SECRET = globalThis.secret = request.secret;
  let answer = 'no answer';
  const res = {
    code: 200,
    status(code) { this.code = code; return this; },
    send(text) { answer = `${this.code} ${text}`; },
    json(value) { this.send(JSON.stringify(value)); },
  };
  const req = { headers: request.headers, body: body === 'json' ? JSON.parse(request.body) : request.body };
  handlers[request.path](req, res);
  console.log(answer);
}
