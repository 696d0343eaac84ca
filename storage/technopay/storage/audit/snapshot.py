"""The snapshot of a ledger: what is open at a position of the journal, as rows in one order.

Payments that ended, and invoices that are paid or void, are in it as sums only: what follows does not depend on
them, except a refund, for which a payment is recalled. So a snapshot at a position follows from the journal up
to there, whether it was folded from the first entry or from an earlier snapshot.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Final

from technopay.engine.values import JournalEntry
from technopay.storage.audit.effects import apply
from technopay.storage.audit.ledger import Ledger

PAID: Final = "status IN ('succeeded', 'refunding', 'refunded')"
"""A payment that paid its invoice: the snapshot needs to know which one, see `paying`."""
ENDED: Final = "status IN ('succeeded', 'refunded', 'failed', 'canceled', 'expired')"
OF_OPEN: Final = f"payment IN (SELECT id FROM payment WHERE NOT {ENDED})"  # noqa: S608
COLUMNS: Final = {
    "user": "id, status",
    "wallet": "id, user, currency, status, balance, in_flight, entries, paid_in",
    "deposit": "wallet, reference, entry",
    "invoice": "id, user, amount, currency, status",
    "payment": (
        "id, status, created_at, wallet, amount, currency, paid_at, balance, settled_at, failure, refunding,"
        " refund, refunded, set_aside, version"
    ),
    "refund": "payment, id, amount, at_ms, status",
    "charge": "payment, counter, period",
    "spending_limit": "name, amount, is_set",
    "used": "counter, period, amount",
    "slice": "limit_name, period, partition, granted",
    "settled": "currency, payments, amount",
}
"""The tables of a snapshot, in their order, with the columns that it has."""
ROWS: Final = {
    "user": "user ORDER BY id",
    "wallet": "wallet ORDER BY id",
    "deposit": "deposit ORDER BY wallet, reference",
    "invoice": (
        "invoice WHERE status <> 'void' AND id NOT IN"  # noqa: S608
        f" (SELECT invoice FROM payment WHERE invoice IS NOT NULL AND {PAID}) ORDER BY id"
    ),
    "payment": f"payment WHERE NOT {ENDED} ORDER BY id",
    "refund": f"refund WHERE {OF_OPEN} ORDER BY payment, number",
    "charge": f"charge WHERE {OF_OPEN} ORDER BY payment, counter",
    "spending_limit": "spending_limit ORDER BY name",
    "used": "used ORDER BY counter, period",
    "slice": "slice ORDER BY limit_name, period, partition",
    "settled": (
        "(SELECT currency, sum(payments) AS payments, sum(amount) AS amount FROM"  # noqa: S608
        " (SELECT currency, payments, amount FROM settled UNION ALL"
        f" SELECT currency, 1, amount - refunded FROM payment WHERE wallet IS NOT NULL AND {ENDED})"
        " GROUP BY currency) WHERE payments > 0 ORDER BY currency"
    ),
}


def snapshot(ledger: Ledger, batch: int) -> Iterator[list[tuple[Any, ...]]]:
    """Return the rows of the snapshot in batches: the table, then its values. The ledger must not change."""
    for table, rows in ROWS.items():
        found = ledger.cursor(f"SELECT {COLUMNS[table]} FROM {rows}")  # noqa: S608
        while read := found.fetchmany(batch):
            yield [(table, *row) for row in read]


def load(ledger: Ledger, rows: Sequence[Sequence[Any]]) -> None:
    """Add rows of a snapshot to a ledger."""
    for table, *values in rows:
        places = ", ".join("?" * len(values))
        ledger.do(f"INSERT INTO {table} ({COLUMNS[table]}) VALUES ({places})", *values)  # noqa: S608


def paying(ledger: Ledger, batch: int) -> Iterator[list[str]]:
    """Return in batches the payments that paid an invoice which is not noted yet."""
    last = 0
    statement = (
        f"SELECT rowid AS number, id FROM payment WHERE invoice IS NULL AND {PAID} AND rowid > ?"  # noqa: S608
        " ORDER BY rowid LIMIT ?"
    )
    while rows := ledger.rows(statement, last, batch):
        yield [row["id"] for row in rows]
        last = rows[-1]["number"]


def note_invoice(ledger: Ledger, payment_id: str, invoice_id: str) -> None:
    """Note which invoice a payment paid: no entry of the journal has that."""
    ledger.do("UPDATE payment SET invoice = ? WHERE id = ?", invoice_id, payment_id)


def recall(ledger: Ledger, payment_id: str, entries: Sequence[JournalEntry]) -> None:
    """Add a payment that ended before the snapshot of a ledger, from the entries about it up to there."""
    with closing(Ledger(lambda _: None)) as scratch:
        for wallet_id in {each.fields["wallet"] for each in entries if "wallet" in each.fields}:
            if wallet := ledger.record("wallet", wallet_id):
                load(scratch, [("wallet", *(wallet[each] for each in COLUMNS["wallet"].split(", ")))])
        for each in entries:
            apply(scratch, each)
        for table, name in (("payment", "id"), ("refund", "payment"), ("charge", "payment")):
            statement = f"SELECT {COLUMNS[table]} FROM {table} WHERE {name} = ?"  # noqa: S608
            load(ledger, [(table, *row) for row in scratch.rows(statement, payment_id)])
    ledger.do(
        "UPDATE settled SET payments = payments - 1, amount = settled.amount - ended.amount + ended.refunded"
        " FROM payment AS ended WHERE ended.id = ? AND ended.currency = settled.currency",
        payment_id,
    )
