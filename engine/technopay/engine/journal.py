"""The part of the store's port through which the journal is followed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from technopay.engine.models import EventType, Invoice, Payment


class Change(NamedTuple):
    """An entry about a payment or an invoice: what happened, to which, when, and which version that made."""

    entry_id: str
    type: EventType
    subject: str
    at: datetime
    version: int


class Stretch(NamedTuple):
    """The changes of a stretch of the journal, in order; `end` is its last entry.

    `is_last` says that nothing came after it when it was read.
    """

    changes: Sequence[Change]
    end: str
    is_last: bool


class Journal(Protocol):
    """The journal, which grows at its end and never changes; and what its entries are about, as it is now."""

    async def read_end(self) -> str:
        """Answer the last entry."""
        ...

    async def has_records(self, user_id: str) -> bool:
        """Answer whether a user has a payment or an invoice."""
        ...

    async def read_changes(self, after: str, count: int) -> Stretch:
        """Read the next entries after one that need not exist."""
        ...

    async def read_owned(
        self, ids: Collection[str], user_ids: Collection[str]
    ) -> Mapping[str, Payment | Invoice]:
        """Read the payments and invoices among these that belong to one of these users."""
        ...
