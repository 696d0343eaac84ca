"""The commands of webhooks, see technopay.engine.commands.

The first partition keeps all webhooks. Every partition knows those whose events it collects.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from technopay.engine.commands import Command
from technopay.engine.record import Page  # noqa: F401 - quoted below
from technopay.engine.values import Operation
from technopay.engine.webhooks.models import (
    Delivery,
    DeliveryFate,
    Endpoint,
    Endpoints,
    Room,
    TakenDeliveries,
)


@dataclass(frozen=True, slots=True)
class SaveWebhook(Command[Endpoint]):
    """Create a webhook (epoch 0), or change the one of this epoch; 'conflict': it has another one.

    The reply has no secrets, because it is recorded. 'webhooks_full': the store has as many as allowed.
    """

    operation: Operation
    webhook_id: str
    epoch: int
    url: str
    merchant: str
    types: Sequence[str]
    status: str
    secrets: str


@dataclass(frozen=True, slots=True)
class ReadWebhooks(Command[Endpoints]):
    """Read all webhooks; 'nothing': they still have this version."""

    version: str = ""


@dataclass(frozen=True, slots=True)
class NoteWebhook(Command[None]):
    """Let a partition know a webhook; a new one gets the events from now on. 'more': delete further records."""

    partition: int
    webhook_id: str
    epoch: int
    status: str
    merchant: str
    types: Sequence[str]


@dataclass(frozen=True, slots=True)
class FinishWebhook(Command[None]):
    """Note that every partition knows a change; a deleted webhook is gone then."""

    webhook_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class NoteFailing(Command[None]):
    """Note that a webhook began to fail, or works again."""

    webhook_id: str
    is_failing: bool


@dataclass(frozen=True, slots=True)
class TakeDeliveries(Command[TakenDeliveries]):
    """Collect the events of webhooks from the journal of a partition, and claim deliveries that are due."""

    partition: int
    rooms: Sequence[Room]


@dataclass(frozen=True, slots=True)
class RecordDelivery(Command[None]):
    """Record an attempt. 'fenced': an old claim."""

    partition: int
    webhook_id: str
    entry_id: str
    claim: str
    fate: DeliveryFate
    last_status: str
    last_answer: str
    retry_ms: int


@dataclass(frozen=True, slots=True)
class SendDeliveryAgain(Command[Delivery]):
    """Let a dead delivery wait again; another one is not changed."""

    operation: Operation
    partition: int
    webhook_id: str
    entry_id: str


@dataclass(frozen=True, slots=True)
class SendDeadAgain(Command[list[str]]):
    """Let a batch of dead deliveries wait again; returns how many. 'more': there may be others."""

    partition: int
    webhook_id: str


@dataclass(frozen=True, slots=True)
class NoteResent(Command[list[str]]):
    """Record how many deliveries a call sent again; -1 before it begins. 'nothing': it has no record yet."""

    operation: Operation
    resent: int


@dataclass(frozen=True, slots=True)
class ListDeliveries(Command["Page[Delivery]"]):
    """List deliveries of a webhook in all partitions, newest event first."""

    webhook_id: str
    status: str | None
    cursor: str
    limit: int
