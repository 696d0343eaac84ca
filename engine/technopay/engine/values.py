"""The values in commands and their results, beside the records of models.py."""

import re
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from technopay.engine.models import Method, Payment

CODE_VERSION = re.compile("[0-9]{1,9}")
ClaimKind = Literal["payment", "message", "relay"]
Verdict = Literal["settled", "given_back", "reversed", "refund_failed"]
Fate = Literal["sent", "waiting", "dead", "stale", "unsent", "left"]
"""The result of an attempt: `stale` is no longer relevant, `unsent` a code that its verifier does not send,
`left` a code of a key that this engine lacks."""


class Position(NamedTuple):
    """A position in the journal of a partition: the entry's milliseconds and its number within them."""

    at_ms: int
    number: int

    @classmethod
    def of(cls, entry_id: str) -> "Position":
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
"""The versions of records after entries without one."""


class JournalEntry(NamedTuple):
    """An entry of the journal: its type, the id of its record, and its fields."""

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
        """The time of the entry: in the field `at` if the clock had gone back, else in the id."""
        return int(self.fields.get("at") or self.id.partition("-")[0])


class JournalBatch(NamedTuple):
    """Entries of the journal, in order; `end` is the position of the last one, `is_last` that none followed."""

    entries: Sequence[JournalEntry]
    end: Position
    is_last: bool


class Operation(NamedTuple):
    """The identity of a call, by which its repeats are recognised.

    `fingerprint` is a digest of the arguments; with an empty one the call has no record but the payment.
    """

    operation_id: str
    fingerprint: str = ""
    kept_ms: int = 0

    @property
    def has_key(self) -> bool:
        """Whether the caller named the call, rather than we: our own ids have a point in them."""
        return bool(self.fingerprint) and "." not in self.operation_id


class Lease(NamedTuple):
    """The lease fields of a command: the engine, the known token or '', whether more commands wait."""

    owner: str
    token: str
    keep: bool


class Evidence(NamedTuple):
    """The evidence of an answer: the code versions that it matches under a key, ',1,3,' or '*' for all of them.

    `digests` are '<key id>:<digest of the answer>' under every key of the engine, the current one first.
    """

    key_id: str
    versions: str
    digests: str


class PaymentTerms(NamedTuple):
    """The terms that a code is bound to (PSD2 RTS, Article 5): payment, amount and payee."""

    payment_id: str
    amount: int
    currency: str
    merchant: str


class RefundTerms(NamedTuple):
    """One refund of a payment: the id is the key of its reversal."""

    id: str
    amount: int


class Claimed(NamedTuple):
    """A payment that this process may settle or reverse until the claim expires."""

    payment: Payment
    claim: str
    refund: RefundTerms | None = None


class NotificationContext(NamedTuple):
    """Content and recipient of a message about a payment. An unreadable record has the status `unreadable`."""

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
    def terms(self) -> PaymentTerms:
        return PaymentTerms(self.payment_id, self.amount, self.currency, self.merchant)


class Notification(NamedTuple):
    """A message to a user because of a journal entry, with its code version and its reason.

    The reason is that of a failure, or the amount of a partial refund. Without a context the payment is gone,
    and the message is stale.
    """

    entry_id: str
    kind: str
    code_version: int | None
    reason: str
    context: NotificationContext | None

    @classmethod
    def of(
        cls, entry_id: str, kind: str, version: str, reason: str, context: NotificationContext | None
    ) -> "Notification":
        """Build a notification; one with an invalid code version is unreadable."""
        if version and not CODE_VERSION.fullmatch(version):
            version, context = "", context and context._replace(status="unreadable")
        return cls(entry_id, kind, int(version) if version else None, reason, context)


class News(NamedTuple):
    """The notifications of a batch of the journal, its last entry, and whether the journal ends there.

    `canceled` are the currencies of the payments that their users canceled, which causes no message.
    """

    notifications: Sequence[Notification]
    end: str
    is_last: bool
    canceled: Sequence[str] = ()


class ClaimedMessage(NamedTuple):
    """A message to try again, under this claim."""

    notification: Notification
    channel: Method
    attempts: int
    claim: str


class FailedDelivery(NamedTuple):
    """A message that needs a record: it was not sent at once, or by another channel than its entry implies."""

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
    """The due work, and the time until the next work is due.

    `unfinished` are members of the agenda whose work spans partitions.
    """

    payments: Sequence[Claimed]
    messages: Sequence[ClaimedMessage]
    next_in_ms: int | None
    unfinished: Sequence[str] = ()
