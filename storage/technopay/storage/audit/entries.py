"""What each type of entry of the journal means for the books."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from technopay.engine.values import JournalEntry
from technopay.storage.audit.books import Books
from technopay.storage.audit.invariants import CHANGE, DEBIT, LIMIT
from technopay.storage.records import UNREADABLE


def enter(books: Books, entry: JournalEntry) -> None:
    """Enter the next entry of the journal."""
    books.entries += 1
    handle = ENTRIES.get(entry.type)
    if handle is None:
        books.doubt(CHANGE, entry, "type", "one of those that there are", entry.type)
        return
    try:
        handle(books, entry)
        if entry.type.startswith("payment."):
            books.count_change(entry, entry.version)
    except (*UNREADABLE, sqlite3.IntegrityError) as error:
        books.doubt(CHANGE, entry, "entry", "one that can be entered", f"{entry.type}: {error!r}")


def _user_created(books: Books, entry: JournalEntry) -> None:
    books.do("INSERT INTO user VALUES (?, 'active')", entry.subject)


def _user_status(books: Books, entry: JournalEntry) -> None:
    books.do("UPDATE user SET status = ? WHERE id = ?", entry.type.partition(".")[2], entry.subject)


def _wallet_created(books: Books, entry: JournalEntry) -> None:
    said = entry.fields
    books.do(
        "INSERT INTO wallet (id, user, currency) VALUES (?, ?, ?)",
        entry.subject, said["user"], said["currency"],
    )  # fmt: skip


def _wallet_status(books: Books, entry: JournalEntry) -> None:
    books.do("UPDATE wallet SET status = ? WHERE id = ?", entry.type.partition(".")[2], entry.subject)


def _wallet_deposited(books: Books, entry: JournalEntry) -> None:
    amount = int(entry.fields["amount"])
    books.do("UPDATE wallet SET deposits = deposits + ? WHERE id = ?", amount, entry.subject)
    books.move(entry, entry.subject, amount, 0)


def _invoice_created(books: Books, entry: JournalEntry) -> None:
    said = entry.fields
    books.do(
        "INSERT INTO invoice (id, user, amount, currency) VALUES (?, ?, ?, ?)",
        entry.subject, said["user"], said["amount"], said["currency"],
    )  # fmt: skip


def _invoice_ended(books: Books, entry: JournalEntry) -> None:
    status = {"invoice.voided": "void", "invoice.expired": "expired"}[entry.type]
    books.do("UPDATE invoice SET status = ? WHERE id = ?", status, entry.subject)


def _limit_set(books: Books, entry: JournalEntry) -> None:
    books.do("INSERT OR REPLACE INTO day_limit VALUES (?, ?, 1)", entry.subject, entry.fields["limit"])


def _started(books: Books, entry: JournalEntry) -> None:
    books.do("INSERT INTO payment (id, created_at) VALUES (?, ?)", entry.subject, str(entry.at_ms))


def _processing(books: Books, entry: JournalEntry) -> None:
    said, amount = entry.fields, -int(entry.fields["amount"])
    if not books.change(entry, "requires_confirmation", "processing"):
        return
    books.do(
        "UPDATE payment SET wallet = ?, amount = ?, currency = ?, day = ?, paid_at = ?, balance = ?"
        " WHERE id = ?",
        said["wallet"], amount, said["currency"], said["day"], str(entry.at_ms), said["balance"], entry.subject,
    )  # fmt: skip
    if amount <= 0:
        books.doubt(DEBIT, entry, "amount", "less than 0", -amount)
    used = books.use(said["currency"], said["day"], amount)
    books.expect(LIMIT, entry, "used", used, int(said["used"]))
    if "limit" in said and used > int(said["limit"]):
        books.doubt(LIMIT, entry, "used", f"at most {said['limit']}", used)
    books.move(entry, said["wallet"], -amount, amount)


def _succeeded(books: Books, entry: JournalEntry) -> None:
    if books.change(entry, "processing", "succeeded"):
        books.do("UPDATE payment SET settled_at = ? WHERE id = ?", str(entry.at_ms), entry.subject)
        books.land(entry)


def _failed(books: Books, entry: JournalEntry) -> None:
    reason = entry.fields["reason"]
    if reason == "too_many_attempts":
        books.change(entry, "requires_confirmation", "failed")
    elif payment := books.change(entry, "processing", "failed"):
        books.expect(LIMIT, entry, "day", payment["day"], entry.fields["day"])
        if books.use(payment["currency"], payment["day"], -payment["amount"]) < 0:
            books.doubt(LIMIT, entry, "used", "at least 0", "less")
        books.credit(entry, payment)
    books.do("UPDATE payment SET failure = ? WHERE id = ?", reason, entry.subject)


def _refunding(books: Books, entry: JournalEntry) -> None:
    if payment := books.change(entry, "succeeded", "refunding"):
        books.do(
            "UPDATE wallet SET in_flight = in_flight + ? WHERE id = ?",
            payment["amount"], payment["wallet"],
        )  # fmt: skip


def _refunded(books: Books, entry: JournalEntry) -> None:
    if payment := books.change(entry, "refunding", "refunded"):
        books.credit(entry, payment)


def _refund_failed(books: Books, entry: JournalEntry) -> None:
    if books.change(entry, "refunding", "succeeded"):
        books.land(entry)


def _resolved(books: Books, entry: JournalEntry) -> None:
    """Enter a decision. Its effect has its own entry, but for a refund that failed in an earlier version."""
    payment = books.record("payment", entry.subject)
    if payment and payment["status"] == "refunding" and entry.fields["outcome"] == "settled":
        books.change(entry, "refunding", "succeeded")
        books.land(entry)


def _set_aside(books: Books, entry: JournalEntry) -> None:
    books.do("UPDATE payment SET set_aside = 1 WHERE id = ?", entry.subject)


def _canceled(books: Books, entry: JournalEntry) -> None:
    books.change(entry, "requires_confirmation", "canceled")


def _expired(books: Books, entry: JournalEntry) -> None:
    books.change(entry, "requires_confirmation", "expired")


def _noted(books: Books, entry: JournalEntry) -> None:
    """Enter what changes nothing that is compared; its payment has to be there."""
    if books.record("payment", entry.subject) is None:
        books.doubt(CHANGE, entry, "payment", "one that was started", "none")


def _user_unlocked(books: Books, entry: JournalEntry) -> None:
    """Enter what changes nothing that is compared; its user has to be there."""
    if books.record("user", entry.subject) is None:
        books.doubt(CHANGE, entry, "user", "one that was created", "none")


ENTRIES: dict[str, Callable[[Books, JournalEntry], None]] = {
    "user.created": _user_created,
    "user.active": _user_status,
    "user.blocked": _user_status,
    "user.unlocked": _user_unlocked,
    "wallet.created": _wallet_created,
    "wallet.active": _wallet_status,
    "wallet.inactive": _wallet_status,
    "wallet.deposited": _wallet_deposited,
    "invoice.created": _invoice_created,
    "invoice.voided": _invoice_ended,
    "invoice.expired": _invoice_ended,
    "limit.set": _limit_set,
    "payment.started": _started,
    "payment.code_resent": _noted,
    "payment.refused": _noted,
    "payment.processing": _processing,
    "payment.succeeded": _succeeded,
    "payment.failed": _failed,
    "payment.canceled": _canceled,
    "payment.expired": _expired,
    "payment.refunding": _refunding,
    "payment.refunded": _refunded,
    "payment.refund_failed": _refund_failed,
    "payment.resolved": _resolved,
    "payment.set_aside": _set_aside,
}
"""What each type of entry means."""
