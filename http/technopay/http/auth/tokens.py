"""Bearer tokens (JWT). The algorithm and the keys are configured; nothing in a token selects them."""

import hashlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import jwt
from aiohttp import web

from technopay.engine.fields import USER_ID
from technopay.http.auth.signing_keys import HS256, Algorithm, Key, require_keys
from technopay.http.problems import InvalidToken, Unauthenticated, UnknownKey

PAYMENTS, ADMIN = "payments", "admin"
"""The scopes: a user's own payments, and all operations of operators. Each route in `api/` names one."""
CACHE_MAX = 4_096
TIMES, TIME_MAX = {"exp", "nbf", "iat"}, 2**40
OPTIONS: Any = {"require": ["exp", "sub"], "verify_iat": False}
"""`iat` is not checked: the clock of the issuer may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The user of a request and the scopes of the token."""

    user_id: str
    scopes: frozenset[str]
    expires_at: float = field(default=math.inf, compare=False)
    """The end of the sign-in in Unix seconds; a stream ends then."""


NOBODY = Caller("", frozenset())
"""The caller of a route without sign-in."""


class Authenticator(Protocol):
    """Returns the caller of a request. Implement it to use another sign-in."""

    async def authenticate(self, request: web.Request) -> Caller:
        """Return the caller, or raise Unauthenticated."""
        ...


class TokenAuthenticator:
    """Verifies tokens of one algorithm with one key, or with several while keys are rotated.

    A token needs its user (`sub`), its end (`exp`, without leeway), and the configured issuer and audience. A
    token with an audience is refused if none is configured.
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
        self._cache: dict[bytes, Caller] = {}

    async def authenticate(self, request: web.Request) -> Caller:
        """Return the caller of a request with a valid bearer token, or raise Unauthenticated."""
        headers = request.headers.getall("Authorization", [])
        if len(headers) > 1:
            raise Unauthenticated("There must be only one Authorization header.")
        return self.caller_of(headers[0] if headers else None)

    def caller_of(self, header: str | None) -> Caller:
        """Return the caller of an Authorization header, or raise Unauthenticated."""
        scheme, _, token = (header or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated
        # To verify a signature takes 140 µs or more, to find it in the cache 3 µs. The key is only a hash.
        cache_key = hashlib.sha256(token.encode(errors="replace")).digest()
        cached = self._cache.get(cache_key)
        if cached is not None and cached.expires_at > time.time():
            return cached
        caller = _caller(self._claims(token))
        if len(self._cache) >= CACHE_MAX:
            self._cache.pop(next(iter(self._cache)))
        self._cache[cache_key] = caller
        return caller

    def _claims(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token that is signed with one of the keys."""
        for key in self._keys:
            try:
                claims: Mapping[str, Any] = jwt.decode(
                    token,
                    key,
                    algorithms=[self._algorithm],
                    options=OPTIONS,
                    issuer=self._issuer,
                    audience=self._audience,
                )
            except jwt.InvalidSignatureError:
                continue
            except (jwt.InvalidTokenError, ValueError, OverflowError) as error:
                raise _refusal(error, self._algorithm) from None
            return claims
        raise UnknownKey("The token is not signed with a valid key.")


class TokenSigner:
    """Signs tokens with a secret: for `technopay token` and `--demo`."""

    def __init__(self, secret: str, *, issuer: str | None = None, audience: str | None = None) -> None:
        require_keys([secret], HS256)
        self._secret = secret
        claims = {"iss": issuer, "aud": audience}
        self._claims = {name: value for name, value in claims.items() if value is not None}

    def sign(self, user_id: str, *, admin: bool, lifetime_s: float) -> str:
        """Return a token."""
        scope = f"{PAYMENTS} {ADMIN}" if admin else PAYMENTS
        now = int(time.time())
        claims = {"sub": user_id, "scope": scope, "iat": now, "exp": now + int(lifetime_s), **self._claims}
        return jwt.encode(claims, self._secret, algorithm=HS256)


def _refusal(error: Exception, algorithm: Algorithm) -> InvalidToken:
    """Name what is wrong with a token, without naming the right value."""
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
            # Also a ValueError: the header contains bytes that are no text.
            return InvalidToken("The token cannot be read.")


def _caller(claims: Mapping[str, Any]) -> Caller:
    user_id, scope = claims["sub"], claims.get("scope", "")
    if not isinstance(user_id, str) or not USER_ID.fullmatch(user_id):
        raise InvalidToken("The sub of the token is not a valid user id.")
    if not isinstance(scope, str):
        raise InvalidToken("The scope of the token must be a string.")
    for name in TIMES & claims.keys():
        at = claims[name]
        # PyJWT also accepts values that convert to a number: a text, or true. NaN is in no range.
        if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= TIME_MAX:
            raise InvalidToken("The token cannot be read.")
    return Caller(user_id, frozenset(scope.split()), math.floor(claims["exp"]))
