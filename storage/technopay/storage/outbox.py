"""The scripts of the agenda, of messages and of the mock services, typed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Self, cast

from technopay.engine.models import Message, Method, Page
from technopay.engine.ports import Claimed, ClaimedMessage, Due, Fate, Operation, Outbox, Outcome, UntoldNotice
from technopay.storage.base import ScriptRunner, operated, outcome_of
from technopay.storage.payments import page_of
from technopay.storage.records import (
    UNREADABLE,
    fields_of,
    id_of,
    message_from,
    notice_from,
    payment_from,
    unreadable_message,
)

MESSAGE_ID = re.compile(r"msg_[0-9]{2}([0-9]{1,18}-[0-9]{1,18})")


MESSAGE_KINDS = {
    "payment.started": "confirmation.code",
    "payment.code_resent": "confirmation.code",
    "payment.succeeded": "payment.succeeded",
    "payment.failed": "payment.failed",
    "payment.refunded": "payment.refunded",
    "payment.refused": "payment.refused",
    "payment.canceled": "payment.canceled",
    "payment.expired": "payment.expired",
}
"""Which entries of the journal users are told of, and the kinds of their messages; as in shared/message.lua."""


class Told(NamedTuple):
    """An entry of the journal that a user is told of."""

    id: str
    kind: str
    payment_id: str
    issue: str
    reason: str

    @classmethod
    def of(cls, entry: tuple[str, Sequence[str]]) -> Self | None:
        """Read an entry {id, [type, subject, name, value, ...]}; None when nobody is told of it."""
        entry_id, (entry_type, payment_id, *flat) = entry
        kind = MESSAGE_KINDS.get(entry_type)
        if kind is None:
            return None
        said = fields_of(flat)
        # Users know that they canceled; they do not know that the merchant withdrew the invoice.
        if kind == "payment.canceled" and said.get("by") != "void":
            return None
        return cls(entry_id, kind, payment_id, said.get("issue", ""), said.get("reason", ""))


class OutboxScripts(ScriptRunner):
    """What is due, and what users are told."""

    async def take_due(self, count: int) -> Due:
        """Take what is due on the agenda."""
        reply = await self._run("take_due", count=count)
        payments, messages, next_at, set_aside, unreadable = reply.body
        for member in unreadable:
            self.unreadable.note("agenda", member)

        def claimed_from(found: Sequence[Any]) -> Claimed:
            view, claim, refund_id = found
            return Claimed(payment_from(view, reply.now_ms), claim, refund_id)

        claimed = self._read_each("payment", payments, claimed_from, lambda found: id_of(found[0]))
        return Due(
            payments=claimed,
            messages=[_claimed_message_from(message) for message in messages],
            next_in_ms=int(float(next_at)) - reply.now_ms if next_at else None,
            set_aside=set_aside,
        )

    async def read_outbox(self, owner: str, count: int) -> Outbox | None:
        """Claim the relay and read on in the journal, without a script: the journal never changes."""
        reply = await self._run("claim_relay", owner=owner)
        if reply.code != "ok":
            return None
        entries = await self._fetch("XRANGE", self._keys.journal, f"({reply.record}", "+", "COUNT", count)
        told = [entry for entry in self._read_each("entry", entries, Told.of) if entry]
        parcels: Sequence[str] = []
        if told:
            parcels = (await self._run("read_parcels", payments=[entry.payment_id for entry in told])).record
        return Outbox(
            claim=reply.token,
            notices=[
                notice_from(entry.id, entry.kind, entry.issue, entry.reason, parcel)
                for entry, parcel in zip(told, parcels, strict=True)
                if parcel
            ],
            cursor=entries[-1][0],
            entries=len(entries),
        )

    async def record_deliveries(
        self, claim: str, cursor: str, retry_ms: int, untold: Sequence[UntoldNotice]
    ) -> bool:
        """Move the relay on and write down what was not delivered."""
        flat: list[str | int] = []
        for item in untold:
            notice = item.notice
            assert notice.parcel is not None, "what has no parcel is not handed out"
            flat += (
                notice.entry_id, notice.parcel.user_id, item.channel, notice.kind,
                notice.parcel.payment_id, item.fate, item.error,
            )  # fmt: skip
        reply = await self._run(
            "record_deliveries", claim=claim, cursor=cursor, retry_ms=retry_ms, exceptions=flat
        )
        return reply.code == "ok"

    async def record_attempt(self, message: ClaimedMessage, fate: Fate, error: str, retry_ms: int) -> bool:
        """Write down another attempt at a message."""
        reply = await self._run(
            "record_attempt",
            message=message.notice.entry_id,
            claim=message.claim,
            fate=fate,
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
        return page_of(reply, [self._message_from(message) for message in reply.record])

    def _message_from(self, reply: Sequence[Any]) -> Message:
        try:
            return message_from(reply)
        except UNREADABLE as error:
            self.unreadable.note("message", reply[0], error)
            return unreadable_message(reply)

    async def mock_settlement(self, action: str, payment_id: str, errors: int = 0, refund_id: str = "") -> str:
        """Keep the book of the mock settlement service."""
        reply = await self._run(
            "mock_settlement", action=action, payment=payment_id, errors=errors, refund=refund_id
        )
        return reply.code

    async def mock_inbox(self, user_id: str, message: str) -> None:
        """Put a message into a user's mock inbox."""
        await self._run("mock_inbox", user=user_id, message=message)

    async def read_mock_inbox(self, user_id: str, most: int) -> list[str]:
        """Read a user's mock inbox, newest first."""
        return list((await self._run("read_mock_inbox", user=user_id, most=most)).record)


def _claimed_message_from(reply: Sequence[Any]) -> ClaimedMessage:
    entry_id, kind, channel, attempts, claim, issue, reason, parcel = reply
    notice = notice_from(entry_id, kind, issue, reason, parcel)
    return ClaimedMessage(notice, cast("Method", channel), int(attempts), claim)
