"""The address of a service, and the secret that its requests are signed with.

A function called `…_error` returns the rule that a value breaks, or None. No rule shows the value.
"""

import base64
import binascii
import re
from urllib.parse import urlsplit

from technopay.engine.fields import is_loopback

URL = re.compile(r"[!-~]+")
URL_RULE = "has to be like https://bank.example/technopay, without user, query and fragment"
HTTPS_RULE = "has to begin with https://, because replies are not signed; http:// is for this machine only"
PREFIX = "whsec_"
KEY_BYTES_MIN, KEY_BYTES_MAX = 24, 64
KEY_RULE = (
    f"has to be {PREFIX} and {KEY_BYTES_MIN} to {KEY_BYTES_MAX} random bytes in Base64; python3 -c "
    f"""'import base64, os; print("{PREFIX}" + base64.b64encode(os.urandom(32)).decode())' makes one"""
)


def service_url_error(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        is_plain = bool(parts.hostname) and parts.port != 0 and not (parts.query or parts.fragment)
    except ValueError:
        return URL_RULE
    if parts.scheme not in ("http", "https") or not is_plain or "@" in parts.netloc or not URL.fullmatch(url):
        return URL_RULE
    return None if parts.scheme == "https" or is_loopback(parts.hostname or "") else HTTPS_RULE


def service_secret_error(secret: str) -> str | None:
    """Check a secret in the form of Standard Webhooks."""
    prefix, text = secret[: len(PREFIX)], secret[len(PREFIX) :]
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return KEY_RULE
    is_long = KEY_BYTES_MIN <= len(key) <= KEY_BYTES_MAX
    return None if prefix == PREFIX and is_long else KEY_RULE
