"""The values that commands carry and return, beside the records of models.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from technopay.engine.models import Method, Payment

ClaimKind = Literal["payment", "message", "relay"]
Verdict = Literal["settled", "given_back", "reversed", "refund_failed"]
Fate = Literal["sent", "waiting", "dead", "stale", "unsent", "left"]
"""What became of a message: `stale` is of no use any more, `unsent` a code that no verifier sends, `left` one
of a key that this engine lacks."""


class Position(NamedTuple):
    """A place in the journal of a partition: the entry's milliseconds and its number within them."""

    at_ms: int
    number: int

    @classmethod
    def of(cls, entry_id: str) -> Position:
        """Read the id of an entry."""
        at_ms, _, number = entry_id.partition("-")
        return cls(int(at_ms), int(number))

    def __str__(self) -> str:
        return f"{self.at_ms}-{self.number}"


BEGINNING = Position(0, 0)


IMPLIED_VERSIONS = {
    "payment.started": 1,
    "payment.processing": 2,
    "payment.succeeded": 3,
    "invoice.created": 1,
    "invoice.voided": 2,
}
"""The versions of records after entries that name none."""


class JournalEntry(NamedTuple):
    """An entry of the journal: what happened, to which record, and what else was written about it."""

    id: str
    type: str
    subject: str
    fields: Mapping[str, str]

    @property
    def version(self) -> int:
        """The version of its record after it: a payment's entries count 1, 2, 3.

        Raises:
            LookupError: it has none.

        """
        return int(self.fields["version"]) if "version" in self.fields else IMPLIED_VERSIONS[self.type]

    @property
    def at_ms(self) -> int:
        """When it was written. Where the clock had gone back, a field says so instead of the id."""
        return int(self.fields.get("at") or self.id.partition("-")[0])


class JournalBatch(NamedTuple):
    """Entries of the journal, in order; `end` is the position of the last one.

    `is_last` says that no entry followed when it was read.
    """

    entries: Sequence[JournalEntry]
    end: Position
    is_last: bool


class Operation(NamedTuple):
    """The identity of one call, by which a repeat of it is recognised.

    `fingerprint` stands for the arguments; with an empty one the call has no record of its own (the payment is
    it).
    """

    operation_id: str
    fingerprint: str = ""
    kept_ms: int = 0


class Lease(NamedTuple):
    """What an actor shows to the store: its engine, the known token or '', whether more commands wait."""

    owner: str
    token: str
    keep: bool


class Evidence(NamedTuple):
    """What an answer is worth: the code versions that it matches under a key, ',1,3,' or '*' for all of them.

    `digests` are '<key id>:<digest of the answer>' under every key of the engine, the current one first.
    """

    key_id: str
    versions: str
    digests: str


class PaymentTerms(NamedTuple):
    """What a code is bound to (PSD2 RTS, Article 5): this payment, this amount, this payee."""

    payment_id: str
    amount: int
    currency: str
    merchant: str


class Claimed(NamedTuple):
    """A payment that this process may settle or reverse, under this claim, until the claim runs out."""

    payment: Payment
    claim: str
    refund_id: str = ""


class NotificationContext(NamedTuple):
    """What a message says of a payment, and to whom; the status `unreadable` stands for a record that is."""

    payment_id: str
    user_id: str
    amount: int
    currency: str
    merchant: str
    status: str
    method: Method | None
    code_version: int | None
    key_id: str
    email: str | None
    phone: str | None

    @property
    def partition(self) -> int:
        return int(self.payment_id[4:6], 16)

    @property
    def terms(self) -> PaymentTerms:
        """What a code is bound to."""
        return PaymentTerms(self.payment_id, self.amount, self.currency, self.merchant)


class Notification(NamedTuple):
    """What a user has to be notified of because of one entry of the journal.

    `code_version` is that of the code that the entry is about, `reason` why something failed. Without a context
    there is nothing to tell any more.
    """

    entry_id: str
    kind: str
    code_version: int | None
    reason: str
    context: NotificationContext | None


class ClaimedMessage(NamedTuple):
    """A message that is to be tried again, under this claim."""

    notification: Notification
    channel: Method
    attempts: int
    claim: str


class FailedDelivery(NamedTuple):
    """A message that needs a record: it was not sent at once, or not by the channel that its entry implies."""

    entry_id: str
    user_id: str
    channel: Method
    kind: str
    payment_id: str
    fate: Fate
    error: str


class HeldClaim(NamedTuple):
    """A claim to renew or to give up."""

    kind: ClaimKind
    record_id: str
    token: str


class Due(NamedTuple):
    """What the agenda handed out, and in how many milliseconds the next of it is due (None: nothing waits).

    `set_aside` is how many payments wait for an operator.
    """

    payments: Sequence[Claimed]
    messages: Sequence[ClaimedMessage]
    next_in_ms: int | None
    set_aside: int = 0
