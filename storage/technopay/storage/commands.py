"""The commands of the storage itself; those of the engine are in technopay.engine.commands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from technopay.engine.commands import Command
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
class MarkDemo(Command[None]):
    """Mark a store as a demo's. 'done': it has the demo data; 'in_use': it is no demo's."""

    state: str


@dataclass(frozen=True, slots=True)
class ReadGauges(Command[Raw]):
    """Read how long the oldest entry waits for the relay, and the oldest payment for an operator."""


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
    """Use a store as it is, although it lost entries. 'nothing': there is no loss to accept."""

    incarnation: str
    next_incarnation: str


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
class AuditMessages(Command[Raw]):
    record_ids: Sequence[str]
