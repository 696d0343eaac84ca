"""The commands of archivers and trimmers."""

from collections.abc import Sequence
from dataclasses import dataclass

from technopay.engine.commands import Command
from technopay.storage.decode import Raw


@dataclass(frozen=True, slots=True)
class ClaimArchive(Command[Raw]):
    """Claim the archive of a partition. 'nothing': all is archived; 'busy': another process archives."""

    partition: int
    owner: str
    archived_to: str
    """The last entry that the archive has."""


@dataclass(frozen=True, slots=True)
class RecordArchived(Command[None]):
    """Record up to which entry a journal is archived; without an entry, give the claim up. 'claim_lost'."""

    partition: int
    claim: str
    entry_id: str = ""
    chain: str = ""


@dataclass(frozen=True, slots=True)
class ReadRecords(Command[Raw]):
    """Read payments and invoices as they are, at one position of the journal."""

    partition: int
    record_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class ClaimTrim(Command[Raw]):
    """Claim the journal of a partition for a process that trims it, or keep the claim.

    'nothing': no entry can leave it; 'busy': another process has it.
    """

    partition: int
    keep_ms: int
    is_wanted: bool
    process: str
    webhook_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class TrimJournal(Command[None]):
    """Let entries before a checkpoint leave the store. 'more', 'claim_lost', 'needed': they cannot."""

    partition: int
    claim: str
    entry_id: str
    checkpoint: str
    keep_ms: int
    limit: int
    webhook_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class SettleReferences(Command[None]):
    """Note that the invoices of references leave the store; four each, see the script."""

    references: Sequence[str]


@dataclass(frozen=True, slots=True)
class DropRecords(Command[None]):
    """Let payments and invoices that ended leave the store; two each, see the script. 'claim_lost'."""

    partition: int
    claim: str
    entry_id: str
    records: Sequence[str]


@dataclass(frozen=True, slots=True)
class RestoreRecords(Command[Raw]):
    """Restore payments and invoices for a moment; two each, see the script. Returns how many were not there."""

    partition: int
    records: Sequence[str]
