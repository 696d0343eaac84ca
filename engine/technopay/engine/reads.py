"""Every read of the store, as data; see technopay.engine.commands.

With a user, only records of that user exist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from technopay.engine.commands import Command

# isort: off
from technopay.engine.models import (
    ArchiveStatus,
    Invoice,
    Limit,
    OperatorPayment,
    Payment,
    Statement,
    Subject,
    User,
    Wallet,
)
from technopay.engine.models import Entry, Message  # noqa: F401 - quoted below, as pages are
from technopay.engine.record import Page  # noqa: F401 - quoted below: a class a page costs a start 0.2 s
# isort: on

EVERYONE = ("*",)
"""In the place of user ids: all users."""


@dataclass(frozen=True, slots=True)
class ReadUser(Command[User]):
    """Read a user, with the end of a lock-out by wrong codes."""

    user_id: str
    failures_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class ReadWallet(Command[Wallet]):
    wallet_id: str
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReadInvoice(Command[Invoice]):
    invoice_id: str
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReadPayment(Command[Payment]):
    payment_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class FindPayment(Command[OperatorPayment]):
    """Read a payment of any user."""

    payment_id: str


@dataclass(frozen=True, slots=True)
class ReadArchive(Command[ArchiveStatus]):
    """Read how far the journal of the store is archived."""


@dataclass(frozen=True, slots=True)
class ReadLimits(Command[list[Limit]]):
    """Read all limits that were ever set, or those that bind a user."""

    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReadOwned(Command[Mapping[str, Subject]]):
    """Read the records among these that belong to one of these users, or those that exist for EVERYONE."""

    partition: int
    user_ids: Sequence[str]
    record_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class HasRecords(Command[bool]):
    """Return whether a user has a payment or an invoice."""

    user_id: str


@dataclass(frozen=True, slots=True)
class ListWallets(Command["Page[Wallet]"]):
    user_id: str
    cursor: str
    limit: int


@dataclass(frozen=True, slots=True)
class ListInvoices(Command["Page[Invoice]"]):
    user_id: str
    cursor: str
    limit: int
    archived: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ListPayments(Command["Page[Payment]"]):
    user_id: str
    cursor: str
    limit: int
    archived: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ListEntries(Command["Page[Entry]"]):
    wallet_id: str
    user_id: str | None
    cursor: str
    limit: int


@dataclass(frozen=True, slots=True)
class ReadStatement(Command[Statement]):
    """Read the entries of a wallet in a range of times, oldest first. 'no_page': the cursor is of no page."""

    wallet_id: str
    user_id: str | None
    at_from: int | None
    at_to: int | None
    """Milliseconds: the first one, and the one behind the last."""
    cursor: str
    """It has the range; the times beside it have no effect."""
    limit: int


@dataclass(frozen=True, slots=True)
class SearchUsers(Command["Page[User]"]):
    """List the users that match. A page can be short while there is a next one."""

    user_id: str | None
    status: str | None
    failures_per_day: int | None
    cursor: str
    limit: int
    archived: Sequence[str] = ()
    """Entries that left the journal, in place of it: id and subject of each, newest first."""


@dataclass(frozen=True, slots=True)
class SearchWallets(Command["Page[Wallet]"]):
    """List the wallets of all users that match. A page can be short while there is a next one."""

    user_id: str | None
    status: str | None
    cursor: str
    limit: int
    archived: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SearchInvoices(Command["Page[Invoice]"]):
    """List the invoices of all users that match. A page can be short while there is a next one.

    With merchant and reference it is the one that has the reference now.
    """

    user_id: str | None
    merchant: str | None
    reference: str | None
    status: str | None
    cursor: str
    limit: int
    archived: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class SearchPayments(Command["Page[OperatorPayment]"]):
    """List the payments of all users that match. A page can be short while there is a next one."""

    status: str | None
    user_id: str | None
    set_aside: bool | None
    cursor: str
    limit: int
    invoice_id: str | None = None
    created_from: int | None = None
    created_to: int | None = None
    """Milliseconds: the first one, and the one behind the last."""
    archived: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ListMessages(Command["Page[Message]"]):
    """List the messages that match. A page can be short while there is a next one."""

    status: str | None
    user_id: str | None
    cursor: str
    limit: int
