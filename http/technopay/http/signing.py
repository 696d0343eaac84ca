"""Signs tokens, where we hold the secret: for `technopay token` and for `--demo`."""

from __future__ import annotations

import time

import jwt

from technopay.http.auth import ADMIN, PAYMENTS
from technopay.http.keys import HS256, require_keys


class TokenSigner:
    """Signs tokens with a secret."""

    def __init__(self, secret: str, *, issuer: str | None = None, audience: str | None = None) -> None:
        require_keys([secret], HS256)
        self._secret = secret
        named = {"iss": issuer, "aud": audience}
        self._named = {name: value for name, value in named.items() if value is not None}

    def sign(self, user_id: str, *, admin: bool, lifetime_s: float) -> str:
        """Sign a token."""
        scope = f"{PAYMENTS} {ADMIN}" if admin else PAYMENTS
        now = int(time.time())
        claims = {"sub": user_id, "scope": scope, "iat": now, "exp": now + int(lifetime_s), **self._named}
        return jwt.encode(claims, self._secret, algorithm=HS256)
