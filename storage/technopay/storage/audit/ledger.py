"""The ledger: every record according to the journal, in a temporary database, so that memory stays bounded."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from technopay.engine.models import Difference
from technopay.engine.values import JournalEntry
from technopay.storage.audit.invariants import BALANCE, CHANGE, DEBIT, MONEY, differ

CACHE_KIB = 16 * 1024
TABLES = """
CREATE TABLE user (id TEXT PRIMARY KEY, status TEXT);
CREATE TABLE wallet (
    id TEXT PRIMARY KEY, user TEXT, currency TEXT, status TEXT DEFAULT 'active',
    balance INT DEFAULT 0, in_flight INT DEFAULT 0, entries INT DEFAULT 0, paid_in INT DEFAULT 0,
    surplus INT DEFAULT 0
);
CREATE TABLE deposit (wallet TEXT, reference TEXT, entry TEXT, PRIMARY KEY (wallet, reference)) WITHOUT ROWID;
CREATE TABLE movement (wallet TEXT, number INT, entry TEXT, PRIMARY KEY (wallet, number)) WITHOUT ROWID;
CREATE TABLE invoice (id TEXT PRIMARY KEY, user TEXT, amount TEXT, currency TEXT, status TEXT DEFAULT 'open');
CREATE TABLE payment (
    id TEXT PRIMARY KEY, status TEXT DEFAULT 'requires_confirmation', created_at TEXT, wallet TEXT, amount INT,
    currency TEXT, paid_at TEXT, balance TEXT, settled_at TEXT, failure TEXT, refunding INT, refund TEXT,
    refunded INT DEFAULT 0, set_aside INT DEFAULT 0, version INT DEFAULT 0, invoice TEXT
);
CREATE TABLE refund (
    payment TEXT, number INTEGER PRIMARY KEY, id TEXT, amount INT, at_ms TEXT, status TEXT
);
CREATE INDEX refund_of ON refund (payment);
CREATE TABLE spending_limit (name TEXT PRIMARY KEY, amount TEXT, is_set INT DEFAULT 0);
CREATE TABLE used (counter TEXT, period TEXT, amount INT, PRIMARY KEY (counter, period)) WITHOUT ROWID;
CREATE TABLE slice (
    limit_name TEXT, period TEXT, partition TEXT, granted INT, PRIMARY KEY (limit_name, period, partition)
) WITHOUT ROWID;
CREATE TABLE settled (currency TEXT PRIMARY KEY, payments INT, amount INT);
CREATE TABLE charge (payment TEXT, counter TEXT, period TEXT, PRIMARY KEY (payment, counter)) WITHOUT ROWID;
"""

Row = sqlite3.Row


class Refunded(NamedTuple):
    """A refund of a payment; `at_ms` is its end, or its begin while it is pending."""

    id: str
    amount: int
    at_ms: str
    status: str


class Ledger:
    """The records, changed by entries of the journal; `report` gets the violations."""

    def __init__(self, report: Callable[[Difference], None]) -> None:
        self._report = report
        # A file that vanishes with it. A thread can read it while the event loop waits for that.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.row_factory = Row
        self._database.executescript(
            f"PRAGMA cache_size = -{CACHE_KIB}; PRAGMA journal_mode = OFF; {TABLES} BEGIN;"
        )
        self.entries = 0

    def close(self) -> None:
        self._database.close()

    def count(self, kind: str) -> int:
        return int(self._one(f"SELECT count(*) FROM {kind}")[0])  # noqa: S608

    def ids(self, kind: str, count: int) -> Iterator[list[str]]:
        """Return the ids of all present records of a kind, in batches."""
        last, end = 0, self._one(f"SELECT coalesce(max(rowid), 0) FROM {kind}")[0]  # noqa: S608
        while rows := self._database.execute(
            f"SELECT rowid, * FROM {kind} WHERE rowid > ? AND rowid <= ? ORDER BY rowid LIMIT ?",  # noqa: S608
            (last, end, count),
        ).fetchall():
            last = rows[-1][0]
            yield [row[1] for row in rows]

    def record(self, kind: str, record_id: str) -> Row | None:
        row: Row | None = self._database.execute(
            f"SELECT * FROM {kind} WHERE {KEYS[kind]} = ?",  # noqa: S608
            (record_id,),
        ).fetchone()
        return row

    def positions(self, wallet_id: str, first: int, count: int) -> tuple[int, list[str]]:
        """Return the entry ids of a wallet's movements, and the number of the first one, from a number on.

        The ledger does not have the movements before its checkpoint.
        """
        rows = self._database.execute(
            "SELECT number, entry FROM movement WHERE wallet = ? AND number >= ? ORDER BY number LIMIT ?",
            (wallet_id, first, count),
        ).fetchall()
        return (rows[0]["number"] if rows else first), [row["entry"] for row in rows]

    def used(self, counter: str) -> dict[str, int]:
        """Return the used amounts of a counter, by period."""
        rows = self._database.execute("SELECT period, amount FROM used WHERE counter = ?", (counter,))
        return {row["period"]: row["amount"] for row in rows if row["amount"]}

    def note_surplus(self, wallet_id: str, surplus: int) -> None:
        """Note the surplus of a wallet's balance."""
        self.do("UPDATE wallet SET surplus = ? WHERE id = ?", surplus, wallet_id)

    def totals(self) -> Iterator[tuple[str, int, int]]:
        """Return by currency the money paid in, and the sum of wallets and of debits that were not refunded.

        `settled` has the debits of payments that ended before the checkpoint of the ledger.
        """
        yield from self._database.execute(
            """
            SELECT currency, sum(paid_in), sum(balance + surplus) + coalesce((
                SELECT sum(amount - refunded) FROM payment WHERE payment.currency = wallet.currency), 0)
            + coalesce((SELECT amount FROM settled WHERE settled.currency = wallet.currency), 0)
            FROM wallet GROUP BY currency
            """
        )

    def change(self, entry: JournalEntry, start: str, end: str) -> Row | None:
        """Change a payment's status from `start`; return the payment, or None if it has another status."""
        payment = self.record("payment", entry.subject)
        status = payment["status"] if payment else "none"
        if status != start:
            self.report_violation(DEBIT, entry, "status", start, f"{status}, when {entry.type} came")
            return None
        self.do("UPDATE payment SET status = ?, set_aside = 0 WHERE id = ?", end, entry.subject)
        return payment

    def count_change(self, entry: JournalEntry, version: int) -> None:
        """Count a change of a payment: its version is one more than the one before."""
        payment = self.record("payment", entry.subject)
        if payment:
            self.expect(CHANGE, entry, "version", payment["version"] + 1, version)
            self.do("UPDATE payment SET version = ? WHERE id = ?", version, entry.subject)

    def credit(self, entry: JournalEntry, payment: Row, amount: int) -> None:
        """Apply a credit of this amount, to the wallet that was debited."""
        self.expect(DEBIT, entry, "amount", amount, int(entry.fields["amount"]))
        self.expect(DEBIT, entry, "wallet", payment["wallet"], entry.fields["wallet"])
        self.do("UPDATE payment SET refunded = refunded + ? WHERE id = ?", amount, entry.subject)
        self.post(entry, entry.fields["wallet"], int(entry.fields["amount"]), -amount)

    def begin_refund(self, entry: JournalEntry, refund_id: str, amount: int) -> None:
        """Note a refund. One of an earlier version has no id."""
        self.do(
            "INSERT INTO refund (payment, id, amount, at_ms, status) VALUES (?, ?, ?, ?, 'pending')",
            entry.subject, refund_id, amount, str(entry.at_ms),
        )  # fmt: skip

    def end_refund(self, entry: JournalEntry, status: str) -> None:
        """End the refund of a payment that was begun last."""
        self.do(
            "UPDATE refund SET status = ?, at_ms = ? WHERE number ="
            " (SELECT max(number) FROM refund WHERE payment = ?)",
            status, str(entry.at_ms), entry.subject,
        )  # fmt: skip

    def refunds(self, payment_id: str) -> list[Refunded]:
        """Return the refunds of a payment, in the order of their begin."""
        rows = self._database.execute(
            "SELECT id, amount, at_ms, status FROM refund WHERE payment = ? ORDER BY number", (payment_id,)
        )
        return [Refunded(*row) for row in rows]

    def add_deposit(self, entry: JournalEntry, reference: str) -> None:
        """Note the reference of a deposit, which is unique in its wallet."""
        known = self._database.execute(
            "SELECT entry FROM deposit WHERE wallet = ? AND reference = ?", (entry.subject, reference)
        ).fetchone()
        if known:
            self.report_violation(BALANCE, entry, "reference", f"used once, by {known[0]}", reference)
        else:
            self.do("INSERT INTO deposit VALUES (?, ?, ?)", entry.subject, reference, entry.id)

    def deposits(self, wallet_id: str) -> dict[str, str]:
        """Return the entries of deposits with a reference."""
        rows = self._database.execute("SELECT reference, entry FROM deposit WHERE wallet = ?", (wallet_id,))
        return {row["reference"]: row["entry"] for row in rows}

    def move_in_flight(self, payment: Row, amount: int) -> None:
        """Add an amount of a payment to `in_flight`, or take it out."""
        self.do("UPDATE wallet SET in_flight = in_flight + ? WHERE id = ?", amount, payment["wallet"])

    def post(self, entry: JournalEntry, wallet_id: str, amount: int, in_flight: int) -> None:
        """Post a movement of a wallet; the new balance has to be that of the entry, and not below zero."""
        wallet = self.record("wallet", wallet_id)
        if wallet is None:
            self.report_violation(BALANCE, entry, "wallet", "one that was created", wallet_id)
            return
        balance = wallet["balance"] + amount
        self.expect(BALANCE, entry, "balance", balance, int(entry.fields["balance"]))
        if balance < 0:
            self.report_violation(BALANCE, entry, "balance", "at least 0", balance)
        self.do(
            "UPDATE wallet SET balance = ?, in_flight = in_flight + ?, entries = entries + 1 WHERE id = ?",
            balance, in_flight, wallet_id,
        )  # fmt: skip
        self.do("INSERT INTO movement VALUES (?, ?, ?)", wallet_id, wallet["entries"], entry.id)

    def use(self, counter: str, period: str, amount: int) -> int:
        """Add to the used amount of a counter; return the new sum."""
        self.do("INSERT OR IGNORE INTO spending_limit VALUES (?, '', 0)", counter)
        self.do("INSERT OR IGNORE INTO used VALUES (?, ?, 0)", counter, period)
        self.do("UPDATE used SET amount = amount + ? WHERE counter = ? AND period = ?", amount, counter, period)
        used = self._one("SELECT amount FROM used WHERE counter = ? AND period = ?", counter, period)
        return int(used["amount"])

    def grant(self, name: str, period: str, partition: str, granted: int) -> int:
        """Note what was granted to a partition in all; return the total before."""
        rows = self._database.execute(
            "SELECT granted FROM slice WHERE limit_name = ? AND period = ? AND partition = ?",
            (name, period, partition),
        ).fetchall()
        self.do("INSERT OR REPLACE INTO slice VALUES (?, ?, ?, ?)", name, period, partition, granted)
        return int(rows[0][0]) if rows else 0

    def periods(self) -> set[tuple[str, str]]:
        """Return the counters that were used, with their periods."""
        return {(row[0], row[1]) for row in self._database.execute("SELECT counter, period FROM used")}

    def charges(self, payment_id: str) -> dict[str, str]:
        """Return the periods that a payment was charged to, by counter."""
        rows = self._database.execute("SELECT counter, period FROM charge WHERE payment = ?", (payment_id,))
        return {row["counter"]: row["period"] for row in rows}

    def rows(self, statement: str, *values: Any) -> list[Row]:
        """Return the rows of a statement that reads."""
        return self._database.execute(statement, values).fetchall()

    def cursor(self, statement: str) -> sqlite3.Cursor:
        """Return a cursor on the rows of a statement that reads."""
        return self._database.execute(statement)

    def do(self, statement: str, *values: Any) -> None:
        """Run a statement that writes."""
        self._database.execute(statement, values)

    def _one(self, statement: str, *values: Any) -> Row:
        row: Row = self._database.execute(statement, values).fetchone()
        return row

    def expect(self, invariant: str, entry: JournalEntry, what: str, expected: Any, found: Any) -> None:
        """Report an entry with a wrong value."""
        if expected != found:
            self.report_violation(invariant, entry, what, expected, found)

    def report_violation(
        self, invariant: str, entry: JournalEntry, what: str, expected: Any, found: Any
    ) -> None:
        """Report an entry that must not exist."""
        self._report(differ(invariant, f"{entry.subject} at {entry.id}", what, expected, found))

    def compare_totals(self) -> Iterator[Difference]:
        """Compare the money paid in with the money that it became."""
        for currency, paid_in, found in self.totals():
            if paid_in != found:
                yield differ(MONEY, currency, "deposits + adjustments - withdrawals", paid_in, found)


KEYS = {"user": "id", "wallet": "id", "invoice": "id", "payment": "id", "spending_limit": "name"}
"""The primary key of each kind of record."""
