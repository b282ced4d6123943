"""Verifies the requests of one Hookmill subscription. Needs Python 3.8 or newer@PYTHON_NEEDS@.

`verify` gives None for a request that is genuine, otherwise why it is not. It takes the body's bytes as they came in,
before anything has parsed them (Flask: request.get_data(); Django: request.body), and headers with names in lower case.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import sys
import time
from datetime import datetime
from email.utils import parsedate_to_datetime

TOLERANCE_S = 300


def verify(method, headers, body, secrets, now=None):
    def header(name):
        return headers.get(name, "")

    values = [header(name) for name in [@HEADERS@] if header(name)]
    if not values:
        return "the header " + @HEADER@ + " is missing"
@if timestamp
    timestamp = @TIMESTAMP@
    try:
        age = (time.time() if now is None else now) - @SECONDS@
    except (ValueError, TypeError):
        return "the timestamp cannot be read"
    if abs(age) > TOLERANCE_S:
        return "the timestamp is %d s old" % age
@end
@if id
    id = @ID@
@end
@if cut
    # The URL is a credential, so it is cut here: put in the whole one, as the subscription has it.
@end
    parts = [@CONTENT@]
    content = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    signatures = [signature for value in values for signature in re.findall(@SIGNATURE@, value)]
    matched = [matches(secret, content, signature) for secret in secrets for signature in signatures]
    return None if any(matched) else "no signature matches: another secret, or the body was changed"


def first(pattern, text):
    found = re.search(pattern, text)
    return found.group(1) if found else ""


@if hmac
def matches(secret, content, signature):
    prefix = @PREFIX@
    text = secret[len(prefix):] if secret.startswith(prefix) else secret
    mac = hmac.new(@KEY@, content, hashlib.@HASH@)
    return hmac.compare_digest(@ENCODED@.encode(), signature.encode())
@end
@if ed25519
def matches(secret, content, signature):
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = base64.b64decode(secret[len("whpk_"):] if secret.startswith("whpk_") else secret)
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(@DECODED@, content)
        return True
    except (InvalidSignature, ValueError):
        return False
@end


# To try it: one request on standard input, as {"method": …, "headers": {…}, "body": base64}.
if __name__ == "__main__":
    request = json.load(sys.stdin)
    active = [os.environ[name] for name in ("HOOKMILL_SECRET", "HOOKMILL_SECRET_NEXT") if os.environ.get(name)]
    why = verify(request["method"], request["headers"], base64.b64decode(request["body"]), active)
    print(why or "genuine")
    sys.exit(1 if why else 0)
