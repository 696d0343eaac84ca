"""Secrets of webhooks: made, encrypted for the store, and used to sign (Standard Webhooks).

AES-256-GCM under a key that is derived from the secret of the engine, whose id is beside the ciphertext.
The webhook and the secret's own id are authenticated, so that a ciphertext is of no use elsewhere.
"""

import base64
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cached_property

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from standardwebhooks import Webhook as Signer

from technopay.engine.settings import EngineSettings, key_id_of
from technopay.engine.webhooks.models import Endpoint, SealedSecret

PREFIX = "whsec_"
SECRET_BYTES, NONCE_BYTES = 32, 12
SECRETS_MAX = 4
"""Of one webhook: the current one and the newest ones that still overlap."""


class WebhookSecrets:
    """Makes, seals and opens secrets with the keys of an engine."""

    def __init__(self, settings: EngineSettings, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._settings = settings
        self._random_bytes = random_bytes

    def new(self) -> str:
        """Make a secret in the form of Standard Webhooks."""
        return PREFIX + base64.b64encode(self._random_bytes(SECRET_BYTES)).decode()

    def seal(self, webhook_id: str, secret_id: str, secret: str, until_ms: int | None = None) -> SealedSecret:
        """Encrypt a secret under the current key."""
        key_id, nonce = key_id_of(self._settings.secret), self._random_bytes(NONCE_BYTES)
        sealed = self._ciphers[key_id].encrypt(nonce, secret.encode(), _bound_to(webhook_id, secret_id))
        return SealedSecret(secret_id, key_id, base64.b64encode(nonce + sealed).decode(), until_ms)

    def open(self, webhook_id: str, sealed: SealedSecret) -> str | None:
        """Decrypt a secret; None if this engine lacks its key, or it was tampered with."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            return None
        try:
            raw = base64.b64decode(sealed.sealed, validate=True)
            opened = cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], _bound_to(webhook_id, sealed.id))
        except (InvalidTag, ValueError):
            return None
        return opened.decode()

    def has_keys_of(self, endpoint: Endpoint) -> bool:
        """Whether this engine has the keys of all secrets of a webhook."""
        return all(each.key_id in self._ciphers for each in endpoint.secrets)

    def open_all(self, endpoint: Endpoint, now_ms: int) -> list[str] | None:
        """Decrypt the secrets that sign now, the current one first; None if one of them cannot be opened."""
        opened = [self.open(endpoint.id, each) for each in endpoint.secrets if not _has_ended(each, now_ms)]
        return None if None in opened or not opened else [each for each in opened if each]

    def renewed(self, endpoint: Endpoint, now_ms: int) -> tuple[SealedSecret, ...]:
        """Return the secrets of a webhook that still count, sealed under the current key if possible."""
        return tuple(
            self.seal(endpoint.id, each.id, opened, each.until_ms)
            if each.key_id != key_id_of(self._settings.secret)
            and (opened := self.open(endpoint.id, each)) is not None
            else each
            for each in endpoint.secrets
            if not _has_ended(each, now_ms)
        )

    def rotated(
        self, endpoint: Endpoint, secret_id: str, secret: str, now_ms: int, overlap_s: int
    ) -> tuple[SealedSecret, ...]:
        """Return the secrets of a webhook with a new current one; the earlier ones sign for the overlap."""
        until_ms = now_ms + overlap_s * 1000
        earlier = [
            each._replace(until_ms=min(each.until_ms or until_ms, until_ms))
            for each in self.renewed(endpoint, now_ms)
            if overlap_s
        ]
        return (self.seal(endpoint.id, secret_id, secret), *earlier)[:SECRETS_MAX]

    @cached_property
    def _ciphers(self) -> dict[str, AESGCM]:
        settings = self._settings
        return {
            key_id_of(each): AESGCM(_derive(each)) for each in (settings.secret, *settings.previous_secrets)
        }


def signed_headers(secrets: Sequence[str], event_id: str, at_ms: int, body: str) -> dict[str, str]:
    """Return the headers of a delivery: its id, its time, and a signature by each secret."""
    at = datetime.fromtimestamp(at_ms // 1000, UTC)
    signatures = [Signer(secret).sign(event_id, at, body) for secret in secrets]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at_ms // 1000),
        "webhook-signature": " ".join(signatures),
    }


def _has_ended(secret: SealedSecret, now_ms: int) -> bool:
    return secret.until_ms is not None and secret.until_ms <= now_ms


def _bound_to(webhook_id: str, secret_id: str) -> bytes:
    return f"{webhook_id} {secret_id}".encode()


def _derive(secret: str) -> bytes:
    return HKDF(SHA256(), 32, salt=None, info=b"technopay webhook secrets").derive(secret.encode())
