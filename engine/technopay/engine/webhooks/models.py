"""Webhooks and their deliveries: the records for operators, and what the store keeps of them."""

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from technopay.engine.models import CreatedAt, OwnId, Subject
from technopay.engine.record import Record, Timestamp

WebhookStatus = Literal["active", "paused", "disabled"]
DeliveryStatus = Literal["waiting", "delivered", "dead"]
DeliveryFate = Literal["delivered", "failed", "dead"]
"""The result of an attempt: `failed` is tried again on the schedule, `dead` is given up at once."""


class Webhook(Record):
    """An endpoint of yours that receives events, each at least once, in order per payment."""

    id: OwnId
    url: str
    """Where events are sent."""
    merchant: str | None
    """Only events of this merchant; null for all of them."""
    types: list[str]
    """Only events of these types; empty for all of them."""
    status: WebhookStatus
    """`paused` by an operator, `disabled` by an answer 410: events wait in the journal until it is `active`."""
    secret: str | None = None
    """Verifies signatures. Only in the first answer to its creation and to a rotation."""
    failing_since: Timestamp | None
    """Since when every attempt has failed; null when the last one did not."""
    created_at: CreatedAt


class Delivery(Record):
    """One event on its way to a webhook."""

    id: OwnId
    event_id: str
    """The event, in the header `webhook-id`."""
    payment_id: str | None
    """The payment that it is about; null for an event of an invoice."""
    status: DeliveryStatus
    """`waiting`: for its first attempt, a retry, or an earlier event of the payment. `delivered`: answered with
    2xx. `dead`: given up; an operator can send it again."""
    attempts: int
    """How often it was sent."""
    last_status: int | None
    """The HTTP status of the last answer; null without one."""
    last_answer: str | None
    """The beginning of the last answer, else why there was none."""
    next_at: Annotated[Timestamp | None, Field(description="When it is sent next; null if it does not wait")]


class Resent(Record):
    """How many dead deliveries are sent again."""

    resent: int
    """They were dead and wait now."""


class SealedSecret(NamedTuple):
    """A secret as the store keeps it; `key_id` names the key that opens it."""

    id: str
    key_id: str
    sealed: str
    until_ms: int | None = None
    """When it stops signing; None for the current one."""


class Endpoint(NamedTuple):
    """A webhook as the store keeps it. Every change raises the epoch."""

    id: str
    epoch: int
    url: str
    merchant: str
    types: tuple[str, ...]
    status: str
    secrets: tuple[SealedSecret, ...]
    created_at_ms: int
    failing_since_ms: int | None


class Endpoints(NamedTuple):
    """All webhooks of a store, the version of the whole, and the store's time."""

    version: str
    now_ms: int
    endpoints: Sequence[Endpoint]


class Room(NamedTuple):
    """How many deliveries of a webhook a process can take."""

    webhook_id: str
    room: int


class ClaimedDelivery(NamedTuple):
    """A delivery that this process may send until its claim expires.

    The subject, as it was when the event was read, is None if it cannot be read.
    """

    webhook_id: str
    epoch: int
    event_id: str
    type: str
    version: int
    at_ms: int
    subject: Subject | None
    claim: str
    attempts: int
    now_ms: int

    @property
    def entry_id(self) -> str:
        return self.event_id[6:]


class TakenDeliveries(NamedTuple):
    """The deliveries that are due, whether the journal has more events, and when the next one is due."""

    deliveries: Sequence[ClaimedDelivery]
    has_more: bool
    next_in_ms: int | None
