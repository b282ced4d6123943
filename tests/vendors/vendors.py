"""What vendors' own packages sign and verify: see vendors.mjs, whose words these are."""

import base64
import hashlib
import hmac
import json
import secrets
import sys
import time
from urllib.parse import parse_qs

from slack_sdk.signature import SignatureVerifier
from square.utils.webhooks_helper import verify_signature
from stripe import WebhookSignature
from twilio.request_validator import RequestValidator


def form(body):
    return {name: values if len(values) > 1 else values[0] for name, values in parse_qs(body, True).items()}


def stripe_verifies(asked):
    try:
        WebhookSignature.verify_header(asked["body"], asked["headers"]["stripe-signature"], asked["secret"], 300)
        return True
    except Exception:
        return False


def stripe_signs(asked):
    header = WebhookSignature.generate_signature_header(asked["body"], asked["secret"], asked["now"])
    return {"stripe-signature": header}


def slack_signs(asked):
    now = str(asked["now"])
    signature = SignatureVerifier(asked["secret"]).generate_signature(timestamp=now, body=asked["body"])
    return {"x-slack-signature": signature, "x-slack-request-timestamp": now}


def slack_verifies(asked):
    headers = asked["headers"]
    at, signature = headers["x-slack-request-timestamp"], headers["x-slack-signature"]
    return SignatureVerifier(asked["secret"]).is_valid(asked["body"], at, signature)


def square_signs(asked):
    text = (asked["url"] + asked["body"]).encode()
    mac = hmac.new(asked["secret"].encode(), text, hashlib.sha256).digest()
    return {"x-square-hmacsha256-signature": base64.b64encode(mac).decode()}


def square_verifies(asked):
    return verify_signature(
        request_body=asked["body"],
        signature_header=asked["headers"]["x-square-hmacsha256-signature"],
        signature_key=asked["secret"],
        notification_url=asked["url"],
    )


def twilio_signs(asked):
    validator = RequestValidator(asked["secret"])
    return {"x-twilio-signature": validator.compute_signature(asked["url"], form(asked["body"]))}


def twilio_verifies(asked):
    validator = RequestValidator(asked["secret"])
    return validator.validate(asked["url"], form(asked["body"]), asked["headers"]["x-twilio-signature"])


VENDORS = {
    "stripe": ("stripe", stripe_signs, stripe_verifies),
    "slack": ("slack_sdk", slack_signs, slack_verifies),
    "square": ("squareup", square_signs, square_verifies),
    "twilio": ("twilio", twilio_signs, twilio_verifies),
}


def main():
    asked = {"headers": {}, **json.load(sys.stdin), "now": int(time.time())}
    by, signs, verifies = VENDORS[asked["profile"]]
    if asked["do"] == "keys":
        secret = secrets.token_hex(24)
        return {"secret": secret, "key": secret}
    if asked["do"] == "verify":
        return {"verified": bool(verifies(asked))}
    asked["headers"] = {**asked["headers"], **signs(asked)}
    assert verifies(asked), by + " refuses what it should take"
    assert not verifies({**asked, "body": asked["body"] + "&more=1"}), by + " takes another body"
    return {"headers": asked["headers"], "by": by}


json.dump(main(), sys.stdout)
