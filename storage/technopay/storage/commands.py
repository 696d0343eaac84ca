"""The commands of the storage itself; those of the engine are in technopay.engine.commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from technopay.engine.commands import Command
from technopay.engine.models import Invoice
from technopay.engine.values import Operation
from technopay.storage.decode import Raw


@dataclass(frozen=True, slots=True)
class ReadMeta(Command[Mapping[str, str]]):
    """Read the meta record; no fields if the store was never initialised."""


@dataclass(frozen=True, slots=True)
class Initialise(Command[Mapping[str, str]]):
    """Initialise an unused store. 'in_use': returns its meta record, if it has one."""

    incarnation: str
    schema: str
    partitions: str
    timezone: str


@dataclass(frozen=True, slots=True)
class FinishInitialise(Command[Mapping[str, str]]):
    """Give the first partition its schema, once all others are initialised; returns its meta record."""

    schema: str


@dataclass(frozen=True, slots=True)
class MarkDemo(Command[None]):
    """Mark a store as a demo's. 'done': it has the demo data; 'in_use': it is no demo's."""

    state: str


@dataclass(frozen=True, slots=True)
class ReadGauges(Command[Raw]):
    """Read how long the oldest entries wait for relay and archive, and the oldest payment for an operator."""


@dataclass(frozen=True, slots=True)
class RecordLoss(Command[None]):
    """Record that an entry of the journal is lost. 'kept': it is there."""

    incarnation: str
    entry_id: str


@dataclass(frozen=True, slots=True)
class WriteTick(Command[None]):
    """Write something small, which replicas acknowledge."""


@dataclass(frozen=True, slots=True)
class CountLiveCodes(Command[Mapping[str, str]]):
    """Count the codes that can still be used, by key, in a batch of the agenda. 'more': not the last batch."""

    offset: int
    limit: int


@dataclass(frozen=True, slots=True)
class AcceptLoss(Command[None]):
    """Give a partition of a store that lost entries another incarnation. 'nothing': it has a third one."""

    incarnation: str
    next_incarnation: str


@dataclass(frozen=True, slots=True)
class ForgetLosses(Command[None]):
    """Forget the lost entries of a partition: they are accepted."""

    incarnation: str


class Slice(NamedTuple):
    """A limit in one period: the subject of all messages between a partition and its home."""

    rule: str
    currency: str
    period: str


class LimitState(NamedTuple):
    """A limit as its home knows it."""

    mode: str
    epoch: str
    limit: str


class SliceTotals(NamedTuple):
    """The totals of a partition: what was granted to it, returned by it, and used."""

    granted: str
    returned: str
    used: str


@dataclass(frozen=True, slots=True)
class AskSlice(Command[Raw]):
    """Ask the home of a limit for room; see the script."""

    slice: Slice
    holder: str
    """The partition."""
    totals: SliceTotals
    amount: int
    wanted: int
    recalled_at: str


@dataclass(frozen=True, slots=True)
class TakeSlice(Command[None]):
    """Take what the home granted, or learn that nothing is left."""

    slice: Slice
    state: LimitState
    granted: str
    others: str
    left: str


@dataclass(frozen=True, slots=True)
class RecallSlice(Command[list[str]]):
    """Return what is unused of a slice; returns the totals."""

    slice: Slice
    state: LimitState
    granted: str


class SliceReport(NamedTuple):
    """The totals of a partition, for the home of a limit."""

    partition: str
    granted: str
    returned: str
    used: str


@dataclass(frozen=True, slots=True)
class ReportSlices(Command[None]):
    """Report the totals of partitions to the home of a limit, and the epoch up to which they know it."""

    slice: Slice
    epoch: str
    reports: Sequence[SliceReport]


@dataclass(frozen=True, slots=True)
class SpreadLimit(Command[list[str]]):
    """Read a limit, to spread it to all partitions; 'done': all know it."""

    name: str
    partitions: int


@dataclass(frozen=True, slots=True)
class BindOperation(Command[None]):
    """Bind an idempotency key to the arguments of its call."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class ReleaseOperation(Command[None]):
    """Release an idempotency key."""

    operation_id: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ReadCreatedInvoice(Command[Invoice]):
    """Read the invoice that an earlier call created, else the refusal of a new one. 'nothing': neither."""

    operation: Operation
    user_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ReserveReference(Command[str]):
    """Reserve a reference for an invoice; returns the invoice that has it.

    'reference_used': another one has it; 'reference_archived': one that left the store.
    """

    operation_id: str
    fingerprint: str
    merchant: str
    reference: str
    invoice_id: str
    digest: str
    replaced: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseReference(Command[None]):
    """End an invoice that frees its reference; 'reference_used': it does not."""

    invoice_id: str


@dataclass(frozen=True, slots=True)
class ReadReservation(Command[str]):
    """Read the reservation of a reference."""

    referred: str


@dataclass(frozen=True, slots=True)
class CallOffInvoice(Command[None]):
    """Make sure that an invoice is not created from now on; 'done': it is there."""

    operation_id: str
    fingerprint: str
    invoice_id: str


@dataclass(frozen=True, slots=True)
class EndReservation(Command[None]):
    """End the reservation of a reference, which is used or free."""

    referred: str
    kept: str
    is_free: bool


@dataclass(frozen=True, slots=True)
class ReadUsage(Command[list[str]]):
    """Read what was used of a limit in a partition."""

    rule: str
    currency: str


@dataclass(frozen=True, slots=True)
class BeginMigration(Command[Mapping[str, str]]):
    """Begin to migrate a store of a schema, or go on; returns the meta record."""

    schema: str
    incarnation: str


@dataclass(frozen=True, slots=True)
class AdvanceMigration(Command[Mapping[str, str]]):
    """Record the progress of a migration, unless it is further already; returns the meta record."""

    schema: str
    position: str
    next_schema: str
    next_position: str


@dataclass(frozen=True, slots=True)
class ReadReferences(Command[Raw]):
    """Read merchant and reference of invoices."""

    invoice_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class MigrateReferences(Command[Raw]):
    """Move references to their normal form; returns the pairs of invoices that collide."""

    moves: Sequence[str]


@dataclass(frozen=True, slots=True)
class MigratePayments(Command[list[str]]):
    """Convert payments to this schema; returns the ids of unreadable ones."""

    payment_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class MigrateLimits(Command[list[str]]):
    """Name limits by their rule; returns the currencies of unreadable ones."""

    currencies: Sequence[str]


@dataclass(frozen=True, slots=True)
class AuditPosition(Command[Raw]):
    """Read the positions of the journal and the relay."""


@dataclass(frozen=True, slots=True)
class AuditKeys(Command[Raw]):
    """Read the types of keys; the names are without their tag."""

    names: Sequence[str]


@dataclass(frozen=True, slots=True)
class AuditUsers(Command[Raw]):
    record_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class AuditWallets(Command[Raw]):
    record_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class AuditInvoices(Command[Raw]):
    record_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class AuditPayments(Command[Raw]):
    record_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class AuditLimits(Command[Raw]):
    record_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class AuditSlice(Command[Mapping[str, str]]):
    """Read the slice of a limit, or its quota."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class AuditMessages(Command[Raw]):
    record_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class AuditUsed(Command[list[bool]]):
    """Read which references were used by invoices that left the store, by their digests."""

    digests: Sequence[str]
