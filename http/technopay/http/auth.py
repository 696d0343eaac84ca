"""Sign-in: bearer tokens (JWT, HS256). The algorithm is ours, never the token's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

import jwt
from aiohttp import web

from technopay.engine.values import USER_ID
from technopay.http.problems import Unauthenticated

ALGORITHM = "HS256"
PAYMENTS, ADMIN = "payments", "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what the token allows."""

    user_id: str
    scopes: frozenset[str]


NOBODY = Caller("", frozenset())
"""Who calls what needs no sign-in."""


class Authenticator(Protocol):
    """Turns a request into a caller. Bring your own to use another sign-in."""

    async def authenticate(self, request: web.Request) -> Caller:
        """Answer the caller, or raise Unauthenticated."""
        ...


class TokenAuthenticator:
    """Checks and signs tokens with one secret."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def authenticate(self, request: web.Request) -> Caller:
        """Answer the caller of a request with a valid bearer token.

        Raises:
            Unauthenticated.

        """
        return self.caller_of(request.headers.get("Authorization"))

    def caller_of(self, header: str | None) -> Caller:
        """Answer the caller that an Authorization header names.

        Raises:
            Unauthenticated.

        """
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated
        try:
            claims = jwt.decode(
                token.strip(), self._secret, algorithms=[ALGORITHM], options={"require": ["exp", "sub"]}
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired.") from None
        except (jwt.InvalidTokenError, ValueError):
            # ValueError: the header holds bytes that are no text.
            raise Unauthenticated from None
        user_id, scope = claims["sub"], claims.get("scope", "")
        if not USER_ID.fullmatch(user_id) or not isinstance(scope, str):
            raise Unauthenticated("The token names no user in the form that is used here.")
        return Caller(user_id, frozenset(scope.split()))

    def sign(self, user_id: str, *, admin: bool, lifetime_s: float) -> str:
        """Sign a token."""
        scope = f"{PAYMENTS} {ADMIN}" if admin else PAYMENTS
        now = int(time.time())
        claims = {"sub": user_id, "scope": scope, "iat": now, "exp": now + int(lifetime_s)}
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)
