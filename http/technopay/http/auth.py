"""Sign-in: bearer tokens (JWT). The algorithm and the keys are ours, never the token's."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jwt
from aiohttp import web

from technopay.engine.fields import USER_ID
from technopay.http.keys import HS256, Algorithm, Key, require_keys
from technopay.http.problems import InvalidToken, Unauthenticated, UnknownKey

PAYMENTS, ADMIN = "payments", "admin"
KNOWN_TOKENS_MAX = 4_096
TIMES, TIME_MAX = {"exp", "nbf", "iat"}, 2**40
OPTIONS: Any = {"require": ["exp", "sub"], "verify_iat": False}
"""When a token was issued is no condition: the clock of whoever issued it may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and what the token allows."""

    user_id: str
    scopes: frozenset[str]
    expires_at: float = field(default=math.inf, compare=False)
    """Until when the sign-in holds, in Unix seconds: what goes on for long ends then."""


NOBODY = Caller("", frozenset())
"""Who calls what needs no sign-in."""


class Authenticator(Protocol):
    """Turns a request into a caller. Bring your own to use another sign-in."""

    async def authenticate(self, request: web.Request) -> Caller:
        """Answer the caller, or raise Unauthenticated."""
        ...


class TokenAuthenticator:
    """Checks tokens of one algorithm with one key, or with several while keys are rotated.

    A token has to name its user (`sub`) and its end (`exp`, to the second: there is no leeway), and the issuer
    and the audience that are given here. One that names an audience while none is given here is for another.
    """

    def __init__(
        self,
        *keys: Key,
        algorithm: Algorithm = HS256,
        issuer: str | None = None,
        audience: str | None = None,
    ) -> None:
        self._keys = require_keys(keys, algorithm)
        self._algorithm = algorithm
        self._issuer = issuer
        self._audience = audience
        self._known: dict[bytes, Caller] = {}

    async def authenticate(self, request: web.Request) -> Caller:
        """Answer the caller of a request with a valid bearer token.

        Raises:
            Unauthenticated.

        """
        headers = request.headers.getall("Authorization", [])
        if len(headers) > 1:
            raise Unauthenticated("Authorization has to be one header.")
        return self.caller_of(headers[0] if headers else None)

    def caller_of(self, header: str | None) -> Caller:
        """Answer the caller that an Authorization header names.

        Raises:
            Unauthenticated.

        """
        scheme, _, token = (header or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated
        # Checking a signature takes longer than anything else here. What is kept of a token is its hash.
        known_as = hashlib.sha256(token.encode(errors="replace")).digest()
        known = self._known.get(known_as)
        if known is not None and known.expires_at > time.time():
            return known
        caller = _caller(self._claims(token))
        if len(self._known) >= KNOWN_TOKENS_MAX:
            self._known.pop(next(iter(self._known)))
        self._known[known_as] = caller
        return caller

    def _claims(self, token: str) -> Mapping[str, Any]:
        """Answer the claims of a token that one of the keys has signed."""
        for key in self._keys:
            try:
                return self._decode(token, key)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.InvalidTokenError, ValueError, OverflowError) as error:
                raise _refusal(error, self._algorithm) from None
        raise UnknownKey("The token is signed with none of the keys that are valid here.")

    def _decode(self, token: str, key: Key) -> Mapping[str, Any]:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[self._algorithm],
            options=OPTIONS,
            issuer=self._issuer,
            audience=self._audience,
        )
        return claims


def _refusal(error: Exception, algorithm: Algorithm) -> InvalidToken:
    """Say what is wrong with a token, without saying what would be right."""
    match error:
        case jwt.ExpiredSignatureError():
            return InvalidToken("The token has expired.")
        case jwt.ImmatureSignatureError():
            return InvalidToken("The token is not valid yet.")
        case jwt.InvalidAlgorithmError():
            return UnknownKey(f"The token is not signed with {algorithm}.")
        case jwt.MissingRequiredClaimError():
            return InvalidToken(f"The token lacks {error.claim}.")
        case jwt.InvalidIssuerError():
            return InvalidToken("The token is of another issuer.")
        case jwt.InvalidAudienceError():
            return InvalidToken("The token is for another audience.")
        case _:
            # Also a ValueError: the header holds bytes that are no text.
            return InvalidToken("The token cannot be read.")


def _caller(claims: Mapping[str, Any]) -> Caller:
    user_id, scope = claims["sub"], claims.get("scope", "")
    if not isinstance(user_id, str) or not USER_ID.fullmatch(user_id):
        raise InvalidToken("The token names no user in the form that is used here.")
    if not isinstance(scope, str):
        raise InvalidToken("The scope of the token has to be a text.")
    for name in TIMES & claims.keys():
        at = claims[name]
        # The library also takes what can be made a number: a text, or true. NaN is within no bounds.
        if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= TIME_MAX:
            raise InvalidToken("The token cannot be read.")
    return Caller(user_id, frozenset(scope.split()), math.floor(claims["exp"]))
