"""The rows of a settlement file, and what a comparison with them found."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from technopay.engine.fields import Amount, Currency, Name, Rule
from technopay.engine.record import Record, Timestamp

ROWS_MAX = 1_000
"""Rows that one call compares."""
ITEMS_MAX = 1_000
"""Items of one list of the result; all are counted."""

RowOutcome = Literal["settled", "declined", "called_off", "reversed", "pending"]
OUTCOMES = {
    "pay_": ("settled", "declined", "called_off", "pending"),
    "ref_": ("reversed", "declined", "pending"),
}
"""The outcomes that a row can have, by the beginning of its key."""


class SettlementRow(Record):
    """A row of a settlement file: what became of a payment, or of the reversal of a refund."""

    key: Name
    """The id of the payment, or of the refund"""
    amount: Amount
    """In minor units of the currency"""
    currency: Currency
    """ISO 4217 code"""
    outcome: RowOutcome
    """`settled`, `declined`, `called_off` or `pending` for a payment; `reversed`, `declined` or `pending` for a
    refund"""


SettlementRows = Annotated[
    list[SettlementRow],
    Rule(
        lambda rows: f"has to have at most {ROWS_MAX} rows" if len(rows) > ROWS_MAX else None,
        {"maxItems": ROWS_MAX},
    ),
]


class Theirs(Record):
    """A payment or a refund according to the file."""

    amount: Annotated[int, Field(description="In minor units of the currency")]
    currency: Annotated[str, Field(description="ISO 4217 code")]
    outcome: RowOutcome
    """As in the file."""


class Ours(Record):
    """A payment or a refund as it is here."""

    amount: Annotated[int, Field(description="In minor units of the currency")]
    currency: Annotated[str, Field(description="ISO 4217 code")]
    outcome: Literal["settled", "given_back", "processing", "unsent", "reversed", "declined", "pending"]
    """Of a payment: `settled`; `given_back`, which `declined` and `called_off` both fit; `processing`, which
    `pending` fits; `unsent`: it never reached the settlement service. Of a refund: `reversed`, `declined`,
    `pending`."""
    set_aside: bool
    """Whether it waits for the decision of an operator."""
    resolved: bool
    """Whether an operator decided it in place of the settlement service."""


class Mismatch(Record):
    """A payment or a refund on which the two sides disagree."""

    key: str
    """The id of the payment, or of the refund."""
    ours: Ours | None
    """Null if it is not known here, or, among `different`, if its record cannot be read."""
    theirs: Theirs | None
    """Null if it is not in the file."""


class RowCounts(Record):
    """How many there are of each; the lists are bounded, these are not."""

    rows: int
    equal: int
    missing: int
    extra: int
    different: int


class Reconciliation(Record):
    """The differences between a settlement file and the records here, at most a thousand in each list."""

    missing: list[Mismatch]
    """Settled or reversed here in the period, but not in the file."""
    extra: list[Mismatch]
    """In the file, but not known here, or never sent to the settlement service."""
    different: list[Mismatch]
    """On both sides, with another amount, currency or outcome."""
    counts: RowCounts
    """The numbers of rows and of differences."""
    settled_from: Timestamp | None
    """The beginning of the period in which `missing` was looked for; null if no row is known here."""
    settled_to: Timestamp | None
    """Its end, the first time that does not belong to it."""

    @property
    def is_equal(self) -> bool:
        return self.counts.equal == self.counts.rows and not self.counts.missing


def outcome_error(key: str, outcome: str) -> str | None:
    """Check the outcome of a row, which depends on the kind of its key."""
    allowed = OUTCOMES.get(key[:4], get_args(RowOutcome))
    return None if outcome in allowed else f"has to be {', '.join(allowed[:-1])} or {allowed[-1]}"
