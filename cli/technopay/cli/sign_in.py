"""Puts the sign-in together: who may call, by which keys, and who signs tokens."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from aiohttp import web

from technopay.cli.settings import ConfigurationError, Settings
from technopay.engine.settings import derive_key
from technopay.http.auth import Authenticator, Caller, TokenAuthenticator
from technopay.http.keys import HS256, Key, read_public_keys
from technopay.http.problems import UnknownKey
from technopay.http.signing import TokenSigner

NAME = "TECHNOPAY_TOKEN_"


@dataclass(frozen=True, slots=True)
class SignIn:
    """What checks tokens, and what signs them where we hold the secret."""

    authenticator: Authenticator
    signer: TokenSigner | None

    def require_signer(self, who: str) -> TokenSigner:
        """Answer what signs tokens for whoever asks.

        Raises:
            ConfigurationError: only a public key is known.

        """
        if self.signer is None:
            raise ConfigurationError(
                f"{who} signs tokens, which takes a secret: {NAME}ALGORITHM has to be HS256 for it; with a "
                "public key, tokens come from whoever holds the private one"
            )
        return self.signer

    def for_demo(self, secret: str, incarnation: str) -> SignIn:
        """Return a sign-in that also takes tokens of one demo, and signs these only.

        Their key is of the secret and of the store: no other store takes them, nor this one without `--demo`.
        """
        key = hmac.digest(secret.encode(), f"technopay demo tokens {incarnation}".encode(), "sha256").hex()
        return SignIn(DemoAuthenticator(TokenAuthenticator(key), self.authenticator), TokenSigner(key))


class DemoAuthenticator:
    """Takes tokens of the demo, and all others as without it."""

    def __init__(self, demo: Authenticator, others: Authenticator) -> None:
        self._demo = demo
        self._others = others

    async def authenticate(self, request: web.Request) -> Caller:
        """Return the caller of a request with a token of either kind."""
        try:
            return await self._demo.authenticate(request)
        except UnknownKey:
            return await self._others.authenticate(request)


def make_sign_in(settings: Settings, secret: str | None = None) -> SignIn:
    """Make the sign-in that is set; the secret is that of the settings unless another is given.

    Raises:
        ConfigurationError: something is set wrongly; one line says what.

    """
    named = {"issuer": settings.token_issuer, "audience": settings.token_audience}
    signer, keys = None, _public_keys(settings)
    if not keys:
        keys = _secret_keys(settings, secret)
    try:
        authenticator = TokenAuthenticator(*keys, algorithm=settings.token_algorithm, **named)
        if settings.token_algorithm == HS256:
            signer = TokenSigner(str(keys[0]), **named)
    except ValueError as error:
        raise ConfigurationError(f"TECHNOPAY_SECRET or {NAME}SECRET: {error}") from None
    return SignIn(authenticator, signer)


def _secret_keys(settings: Settings, secret: str | None) -> tuple[str, ...]:
    """Answer the keys of HS256, the one to sign with first.

    Without a secret for tokens they are derived, so that codes cannot be computed from a key of tokens.
    """
    previous = tuple(each.get_secret_value() for each in settings.token_secret_previous)
    if settings.token_secret:
        return (settings.token_secret.get_secret_value(), *previous)
    secrets = (secret or settings.require_secret(), *settings.previous_secrets)
    return (*(derive_key(each, "token").hex() for each in secrets), *previous)


def _public_keys(settings: Settings) -> tuple[Key, ...]:
    """Answer the public keys that are set; none with a secret."""
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
