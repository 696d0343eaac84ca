"""SMS by a service behind HTTP: `deliver` as a signed request."""

import aiohttp

from technopay.engine.ports import OutgoingMessage
from technopay.http.services.signed_requests import SignedRequests

DELIVER = ("accepted",)
SENT = ("event_id", "to", "kind", "text")
"""What the service gets of a message: no user, no payment, no code by itself."""


class HttpSmsChannel:
    """A `Channel`. An error means that the message may not have been sent; its repeat has the same key."""

    def __init__(self, session: aiohttp.ClientSession, url: str, secret: str) -> None:
        """Check the settings; no I/O. The session stays open.

        Raises:
            ValueError: the URL or the secret breaks a rule.

        """
        self._requests = SignedRequests(session, url, secret)

    async def deliver(self, message: OutgoingMessage) -> None:
        body = {name: getattr(message, name) for name in SENT}
        await self._requests.send("deliver", message.event_id, body, DELIVER)
