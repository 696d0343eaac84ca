"""The scripts of the agenda, of messages and of the mock services, typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

from technopay.engine.models import Message, Method, Page
from technopay.engine.ports import Claimed, ClaimedMessage, Delivery, Due, JournalEntry, Operation, Outcome
from technopay.storage.base import ScriptRunner, operated, outcome_of
from technopay.storage.payments import page_of
from technopay.storage.records import fields_of, journal_entry_from, message_from, payment_from

MESSAGE_ID = re.compile(r"msg_\d\d(\d+-\d+)")


class OutboxScripts(ScriptRunner):
    """What is due, and what users are told."""

    async def take_due(self, count: int) -> Due:
        """Take what is due on the agenda."""
        reply = await self._run("take_due", count=count)
        payments, messages, next_at = reply.body
        return Due(
            payments=[Claimed(payment_from(view, reply.now_ms), claim) for view, claim in payments],
            messages=[_claimed_message_from(message) for message in messages],
            next_in_ms=int(float(next_at)) - reply.now_ms if next_at else None,
        )

    async def read_outbox(self, owner: str, count: int) -> tuple[str, list[JournalEntry]] | None:
        """Claim the relay and read on in the journal."""
        reply = await self._run("read_outbox", owner=owner, count=count)
        if reply.code == "busy":
            return None
        return reply.token, [journal_entry_from(entry) for entry in reply.record]

    async def record_deliveries(
        self, claim: str, cursor: str, retry_ms: int, deliveries: Sequence[Delivery]
    ) -> bool:
        """Write down deliveries and move the relay on."""
        flat: list[str | int] = []
        for delivery in deliveries:
            flat += (
                delivery.entry_id, delivery.user_id, delivery.channel, delivery.kind,
                delivery.payment_id, delivery.error,
            )  # fmt: skip
        reply = await self._run(
            "record_deliveries", claim=claim, cursor=cursor, retry_ms=retry_ms, deliveries=flat
        )
        return reply.code == "ok"

    async def record_attempt(self, message: ClaimedMessage, status: str, error: str, retry_ms: int) -> bool:
        """Write down another attempt at a message."""
        reply = await self._run(
            "record_attempt",
            message=message.entry.id,
            claim=message.claim,
            status=status,
            failure=error,
            retry_ms=retry_ms,
        )
        return reply.code == "ok"

    async def send_again(self, operation: Operation, message_id: str) -> Outcome[Message]:
        """Try a dead message again."""
        match = MESSAGE_ID.fullmatch(message_id)
        if not match:
            return Outcome("message_not_found")
        return outcome_of(await self._run("send_again", **operated(operation), message=match[1]), message_from)

    async def list_messages(
        self, status: str | None, user_id: str | None, cursor: str, limit: int
    ) -> Page[Message]:
        """List messages."""
        reply = await self._run(
            "list_messages", cursor=cursor, count=limit, status=status or "", user=user_id or ""
        )
        return page_of(reply, [message_from(message) for message in reply.record])

    async def mock_settlement(self, action: str, payment_id: str, errors: int) -> str:
        """Keep the book of the mock settlement service."""
        return (await self._run("mock_settlement", action=action, payment=payment_id, errors=errors)).code

    async def mock_inbox(self, user_id: str, message: str) -> None:
        """Put a message into a user's mock inbox."""
        await self._run("mock_inbox", user=user_id, message=message)

    async def read_mock_inbox(self, user_id: str) -> list[str]:
        """Read a user's mock inbox, newest first."""
        return list((await self._run("read_mock_inbox", user=user_id)).record)


def _claimed_message_from(reply: Sequence[Sequence[str]]) -> ClaimedMessage:
    fields = fields_of(reply[1])
    return ClaimedMessage(
        entry=journal_entry_from(reply[2]),
        kind=fields["kind"],
        channel=cast("Method", fields["channel"]),
        attempts=int(fields["attempts"]),
        claim=fields["claim"],
    )
