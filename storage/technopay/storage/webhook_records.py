"""Builds webhooks and their deliveries from the replies of scripts."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from technopay.engine.record import from_ms
from technopay.engine.statistics import UnreadableRecords
from technopay.engine.values import JournalEntry
from technopay.engine.webhooks.models import ClaimedDelivery, Delivery, Endpoint, Endpoints, SealedSecret
from technopay.storage.business_days import Calendar
from technopay.storage.records import SUBJECTS, UNREADABLE, fields_of, one_of

STATUSES = frozenset({"waiting", "delivered", "dead"})


class Context(Protocol):
    """The parameters for decoding a reply."""

    @property
    def now_ms(self) -> int: ...
    @property
    def partition(self) -> int: ...
    @property
    def calendar(self) -> Calendar: ...
    @property
    def unreadable(self) -> UnreadableRecords: ...


def count_encrypted(found: Endpoints | None) -> Counter[str]:
    """Count the secrets of webhooks, by the id of the key under which they are encrypted."""
    endpoints = found.endpoints if found else ()
    return Counter(secret.key_id for each in endpoints for secret in each.secrets)


def endpoint_from(reply: Sequence[Any]) -> Endpoint:
    """Build a webhook from {id, fields}; a reply that is recorded has no secrets."""
    fields = fields_of(reply[1])
    failing_since = fields.get("failing_since")
    return Endpoint(
        id=reply[0],
        epoch=int(fields["epoch"]),
        url=fields["url"],
        merchant=fields["merchant"],
        types=tuple(fields["types"].split()),
        status=fields["status"],
        secrets=tuple(SealedSecret(*each) for each in json.loads(fields.get("secrets", "[]"))),
        created_at_ms=int(fields["created_at"]),
        failing_since_ms=int(failing_since) if failing_since else None,
    )


def claimed_delivery_from(reply: Sequence[Any], context: Context) -> ClaimedDelivery:
    """Build a claimed delivery; an unreadable subject is noted and missing."""
    webhook_id, epoch, entry_id, event_type, version, at, read_at, claim, attempts, record = reply
    entry = JournalEntry(entry_id, event_type, "", {"version": version} if version else {})
    subject = None
    try:
        build = SUBJECTS[event_type.partition(".")[0]]
        subject, number = build(json.loads(record), int(read_at), context.calendar), entry.version
    except UNREADABLE as error:
        context.unreadable.note("delivery", entry_id, error)
        subject, number = None, 0
    return ClaimedDelivery(
        webhook_id=webhook_id,
        epoch=int(epoch),
        event_id=f"evt_{context.partition:02x}{entry_id}",
        type=event_type,
        version=number,
        at_ms=int(at),
        subject=subject,
        claim=claim,
        attempts=int(attempts),
        now_ms=context.now_ms,
    )


def delivery_from(reply: Sequence[Any], partition: int) -> Delivery:
    """Build a delivery from {entry, fields}."""
    fields = fields_of(reply[1])
    subject, last_status, next_at = fields["subject"], fields.get("last_status"), fields.get("next_at")
    return Delivery.trusted(
        id=f"dlv_{partition:02x}{reply[0]}",
        event_id=f"evt_{partition:02x}{reply[0]}",
        payment_id=subject if subject.startswith("pay_") else None,
        status=one_of(STATUSES, fields["status"]),
        attempts=int(fields["attempts"]),
        last_status=int(last_status) if last_status else None,
        last_answer=fields.get("last_answer"),
        next_at=from_ms(next_at) if next_at else None,
    )
