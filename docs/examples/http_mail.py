"""A channel of your own for `serve`, behind a mail service's HTTP API: TECHNOPAY_EMAIL=http_mail:run_mail.

TECHNOPAY_EMAIL_URL is the mail service's address, TECHNOPAY_EMAIL_SENDER the address that messages come from.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from technopay.cli.plugins import ServiceContext
from technopay.engine import OutgoingMessage


class Mail:
    """Passes messages to a mail service. After an error the message is tried again."""

    def __init__(self, context: ServiceContext) -> None:
        self._session = context.session
        self._url = f"{context.variables['URL']}/messages"
        self._sender = context.variables["SENDER"]

    async def deliver(self, message: OutgoingMessage) -> None:
        """Deliver a message; by the key the mail service recognises a repeat."""
        subject = f"Your payment to {message.payee}" if message.payee else "Your account"
        body = {"from": self._sender, "to": message.to, "subject": subject, "text": message.text}
        headers = {"Idempotency-Key": message.event_id}
        async with self._session.post(self._url, json=body, headers=headers) as answer:
            answer.raise_for_status()


@asynccontextmanager
async def run_mail(context: ServiceContext) -> AsyncIterator[Mail]:
    """Check the mail service before the engine starts, and yield the channel."""
    async with context.session.get(context.variables["URL"]) as answer:
        answer.raise_for_status()
    yield Mail(context)
