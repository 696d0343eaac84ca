"""Sign-in: the keys that tokens are verified with, and the key that signs them."""

import hmac
from dataclasses import dataclass
from typing import Self

from aiohttp import web

from technopay.cli.settings import ConfigurationError, Settings
from technopay.engine.settings import derive_key
from technopay.http.auth.signing_keys import HS256, Key, read_public_keys
from technopay.http.auth.tokens import Authenticator, Caller, TokenAuthenticator, TokenSigner
from technopay.http.problems import UnknownKey

NAME = "TECHNOPAY_TOKEN_"


@dataclass(frozen=True, slots=True)
class SignIn:
    authenticator: Authenticator
    signer: TokenSigner | None
    """None with a public key."""

    def require_signer(self, command: str) -> TokenSigner:
        """Return the signer for a command, else raise ConfigurationError."""
        if self.signer is None:
            raise ConfigurationError(
                f"{command} signs tokens, which takes a secret: {NAME}ALGORITHM has to be HS256 for it; with a "
                "public key, tokens are signed elsewhere, with the private key"
            )
        return self.signer

    def for_demo(self, secret: str, incarnation: str) -> Self:
        """Return a sign-in that also accepts tokens of one demo, and signs only these.

        Their key is derived from the secret and the store: no other store accepts them, nor this one without
        `--demo`.
        """
        key = hmac.digest(secret.encode(), f"technopay demo tokens {incarnation}".encode(), "sha256").hex()
        return type(self)(DemoAuthenticator(TokenAuthenticator(key), self.authenticator), TokenSigner(key))


class DemoAuthenticator:
    """Accepts tokens of the demo, and all others as without it."""

    def __init__(self, demo: Authenticator, others: Authenticator) -> None:
        self._demo = demo
        self._others = others

    async def authenticate(self, request: web.Request) -> Caller:
        try:
            return await self._demo.authenticate(request)
        except UnknownKey:
            return await self._others.authenticate(request)


def make_sign_in(settings: Settings, secret: str | None = None) -> SignIn:
    """Make the sign-in of the settings, with their secret or the given one, or raise ConfigurationError."""
    names = {"issuer": settings.token_issuer, "audience": settings.token_audience}
    keys = _public_keys(settings) or _secret_keys(settings, secret)
    try:
        authenticator = TokenAuthenticator(*keys, algorithm=settings.token_algorithm, **names)
        signer = TokenSigner(str(keys[0]), **names) if settings.token_algorithm == HS256 else None
    except ValueError as error:
        raise ConfigurationError(f"TECHNOPAY_SECRET or {NAME}SECRET: {error}") from None
    return SignIn(authenticator, signer)


def _secret_keys(settings: Settings, secret: str | None) -> tuple[str, ...]:
    """Return the keys of HS256; the first one signs.

    Without a secret for tokens they are derived: a key of tokens does not lead to codes.
    """
    previous = tuple(each.get_secret_value() for each in settings.token_secret_previous)
    if settings.token_secret:
        return (settings.token_secret.get_secret_value(), *previous)
    secrets = (secret or settings.require_secret(), *settings.previous_secrets)
    return (*(derive_key(each, "token").hex() for each in secrets), *previous)


def _public_keys(settings: Settings) -> tuple[Key, ...]:
    """Return the public keys; none with a secret."""
    algorithm, file = settings.token_algorithm, settings.token_public_key_file
    if algorithm == HS256:
        if file:
            raise ConfigurationError(f"{NAME}PUBLIC_KEY_FILE is set, but {NAME}ALGORITHM is HS256")
        return ()
    if settings.token_secret or settings.token_secret_previous:
        raise ConfigurationError(f"{NAME}SECRET is set, but {NAME}ALGORITHM is {algorithm}")
    if not file:
        raise ConfigurationError(f"{NAME}PUBLIC_KEY_FILE is not set, but {NAME}ALGORITHM is {algorithm}")
    try:
        return read_public_keys(file.read_bytes(), algorithm)
    except OSError as error:
        raise ConfigurationError(f"{NAME}PUBLIC_KEY_FILE: {file}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{NAME}PUBLIC_KEY_FILE: {file}: {error}") from None
