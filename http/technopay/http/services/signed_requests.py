"""Signed requests to a service: one POST each, with a key; any reply that is not exactly right is an error."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import aiohttp
from standardwebhooks import Webhook
from yarl import URL

from technopay.http.services.endpoint import service_secret_error, service_url_error

StateT = TypeVar("StateT", bound=str)

REPLY_LENGTH_MAX = 16 * 1024
REQUEST_S_MAX = 10.0


class ServiceError(Exception):
    """Raised when a service did not reply as the protocol says: what it did is unknown."""


class SignedRequests:
    """Sends requests to one service. It does not retry: that is the engine's task."""

    def __init__(self, session: aiohttp.ClientSession, url: str, secret: str) -> None:
        """Check the settings; no I/O.

        Raises:
            ValueError: the URL or the secret breaks a rule.

        """
        for name, error in (("url", service_url_error(url)), ("secret", service_secret_error(secret))):
            if error:
                raise ValueError(f"{name} {error}")
        self._session = session
        self._url = url.rstrip("/")
        self._signer = Webhook(secret)

    async def send(
        self, operation: str, key: str, terms: Mapping[str, Any], states: Sequence[StateT]
    ) -> StateT:
        """Send one request and return the state in its reply, one of `states`.

        Raises:
            ServiceError: any other reply. A connection that fails raises aiohttp's errors or TimeoutError.

        """
        body = json.dumps({"operation": operation, **terms}, separators=(",", ":"))
        now, request_id = datetime.now(UTC), f"{key}:{operation}"
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "Idempotency-Key": key,
            "webhook-id": request_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(request_id, now, body),
        }
        async with self._session.post(
            URL(f"{self._url}/{operation}", encoded=True),
            data=body.encode(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(REQUEST_S_MAX),
            allow_redirects=False,
            raise_for_status=False,
        ) as response:
            reply = await _read(response)
        state = reply.get("state")
        if reply.get("key") != key or state not in states:
            raise ServiceError(f"{operation}: the reply has another key, or a state that is not known")
        return states[states.index(state)]


async def _read(response: aiohttp.ClientResponse) -> dict[str, Any]:
    about = f"{response.method} {response.url.path}"
    if response.status != 200 or response.content_type != "application/json":
        raise ServiceError(f"{about}: the reply is {response.status} {response.content_type[:64]}")
    raw = b""
    while len(raw) <= REPLY_LENGTH_MAX and (piece := await response.content.readany()):
        raw += piece
    if len(raw) > REPLY_LENGTH_MAX:
        response.close()
        raise ServiceError(f"{about}: the reply is longer than {REPLY_LENGTH_MAX} bytes")
    try:
        reply = json.loads(raw, object_pairs_hook=_require_distinct)
    except (ValueError, RecursionError):
        raise ServiceError(f"{about}: the reply is not JSON") from None
    if not isinstance(reply, dict):
        raise ServiceError(f"{about}: the reply is not an object")
    return reply


def _require_distinct(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a member comes twice")
    return found
