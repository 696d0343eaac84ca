"""The effect of each type of journal entry on the ledger."""

import sqlite3
from collections.abc import Callable, Mapping

from technopay.engine.limits import GLOBAL_DAY, LIMIT_RULES, LimitRule
from technopay.engine.values import JournalEntry
from technopay.storage.audit.invariants import BALANCE, CHANGE, DEBIT, LIMIT, SLICES
from technopay.storage.audit.ledger import Ledger
from technopay.storage.records import UNREADABLE

EARLIER_FIELDS = ("day", "limit", "used")
"""The fields of a debit's entry up to schema 5, when there was one rule."""


def apply(ledger: Ledger, entry: JournalEntry) -> None:
    """Apply the next entry of the journal."""
    ledger.entries += 1
    handle = ENTRIES.get(entry.type)
    if handle is None:
        ledger.report_violation(CHANGE, entry, "type", "a known type", entry.type)
        return
    try:
        handle(ledger, entry)
        if entry.type.startswith("payment."):
            ledger.count_change(entry, entry.version)
    except (*UNREADABLE, sqlite3.IntegrityError) as error:
        ledger.report_violation(CHANGE, entry, "entry", "one that can be applied", f"{entry.type}: {error!r}")


def _user_created(ledger: Ledger, entry: JournalEntry) -> None:
    ledger.do("INSERT INTO user VALUES (?, 'active')", entry.subject)


def _user_status(ledger: Ledger, entry: JournalEntry) -> None:
    ledger.do("UPDATE user SET status = ? WHERE id = ?", entry.type.partition(".")[2], entry.subject)


def _wallet_created(ledger: Ledger, entry: JournalEntry) -> None:
    fields = entry.fields
    ledger.do(
        "INSERT INTO wallet (id, user, currency) VALUES (?, ?, ?)",
        entry.subject, fields["user"], fields["currency"],
    )  # fmt: skip


def _wallet_status(ledger: Ledger, entry: JournalEntry) -> None:
    ledger.do("UPDATE wallet SET status = ? WHERE id = ?", entry.type.partition(".")[2], entry.subject)


def _balance_changed(ledger: Ledger, entry: JournalEntry) -> None:
    amount = int(entry.fields["amount"])
    is_allowed = {"deposited": amount > 0, "withdrawn": amount < 0, "adjusted": amount != 0}
    if not is_allowed[entry.type.partition(".")[2]]:
        ledger.report_violation(BALANCE, entry, "amount", f"one that can be {entry.type}", amount)
    if reference := entry.fields.get("reference"):
        ledger.add_deposit(entry, reference)
    ledger.do("UPDATE wallet SET paid_in = paid_in + ? WHERE id = ?", amount, entry.subject)
    ledger.post(entry, entry.subject, amount, 0)


def _invoice_created(ledger: Ledger, entry: JournalEntry) -> None:
    fields = entry.fields
    ledger.do(
        "INSERT INTO invoice (id, user, amount, currency) VALUES (?, ?, ?, ?)",
        entry.subject, fields["user"], fields["amount"], fields["currency"],
    )  # fmt: skip


def _invoice_ended(ledger: Ledger, entry: JournalEntry) -> None:
    status = {"invoice.voided": "void", "invoice.expired": "expired"}[entry.type]
    ledger.do("UPDATE invoice SET status = ? WHERE id = ?", status, entry.subject)


def _limit_set(ledger: Ledger, entry: JournalEntry) -> None:
    name = f"{entry.fields.get('rule', GLOBAL_DAY.name)}:{entry.subject}"
    ledger.do("INSERT OR REPLACE INTO spending_limit VALUES (?, ?, 1)", name, entry.fields["limit"])


def _started(ledger: Ledger, entry: JournalEntry) -> None:
    ledger.do("INSERT INTO payment (id, created_at) VALUES (?, ?)", entry.subject, str(entry.at_ms))


def _processing(ledger: Ledger, entry: JournalEntry) -> None:
    fields, amount = entry.fields, -int(entry.fields["amount"])
    if not ledger.change(entry, "requires_confirmation", "processing"):
        return
    ledger.do(
        "UPDATE payment SET wallet = ?, amount = ?, currency = ?, paid_at = ?, balance = ? WHERE id = ?",
        fields["wallet"], amount, fields["currency"], str(entry.at_ms), fields["balance"], entry.subject,
    )  # fmt: skip
    if amount <= 0:
        ledger.report_violation(DEBIT, entry, "amount", "less than 0", -amount)
    for rule in LIMIT_RULES:
        is_earlier = rule is GLOBAL_DAY and "day" in fields
        period_field, limit_field, used_field = EARLIER_FIELDS if is_earlier else rule.fields
        if rule is not GLOBAL_DAY and period_field not in fields:
            continue  # the debit is older than the rule
        counter = _counter_of(ledger, rule, fields)
        period = fields[period_field]
        used = ledger.use(counter, period, amount)
        ledger.do("INSERT INTO charge VALUES (?, ?, ?)", entry.subject, counter, period)
        ledger.expect(LIMIT, entry, used_field, used, int(fields[used_field]))
        _check_slice(ledger, entry, rule, used)
        if limit_field in fields and used > int(fields[limit_field]):
            ledger.report_violation(LIMIT, entry, used_field, f"at most {fields[limit_field]}", used)
    ledger.post(entry, fields["wallet"], -amount, amount)


def _check_slice(ledger: Ledger, entry: JournalEntry, rule: LimitRule, used: int) -> None:
    """Check that a debit on a store of several partitions had room in the slice of its partition."""
    if granted := entry.fields.get(f"{rule.name}_granted"):
        room = int(granted) - int(entry.fields[f"{rule.name}_returned"])
        if used > room:
            ledger.report_violation(SLICES, entry, "used", f"at most {room}", used)


def _limit_granted(ledger: Ledger, entry: JournalEntry) -> None:
    fields = entry.fields
    if int(fields["out"]) > int(fields["limit"]):
        ledger.report_violation(SLICES, entry, "granted in all", f"at most {fields['limit']}", fields["out"])
    name = f"{fields['rule']}:{entry.subject}"
    before = ledger.grant(name, fields["period"], fields["partition"], int(fields["granted"]))
    if int(fields["granted"]) <= before:
        ledger.report_violation(SLICES, entry, "granted", f"more than {before}", fields["granted"])


def _counter_of(ledger: Ledger, rule: LimitRule, fields: Mapping[str, str]) -> str:
    """Return the name of a counter: its rule and currency, and the user where each has one of its own."""
    wallet = ledger.record("wallet", fields["wallet"])
    user = f":{wallet['user']}" if rule.scope == "user" and wallet else ""
    return f"{rule.name}:{fields['currency']}{user}"


def _succeeded(ledger: Ledger, entry: JournalEntry) -> None:
    if payment := ledger.change(entry, "processing", "succeeded"):
        ledger.do("UPDATE payment SET settled_at = ? WHERE id = ?", str(entry.at_ms), entry.subject)
        ledger.move_in_flight(payment, -payment["amount"])


def _failed(ledger: Ledger, entry: JournalEntry) -> None:
    reason = entry.fields["reason"]
    if reason == "too_many_attempts":
        ledger.change(entry, "requires_confirmation", "failed")
    elif payment := ledger.change(entry, "processing", "failed"):
        named = {entry.fields.get("day"), *(entry.fields.get(rule.fields[0]) for rule in LIMIT_RULES)}
        for counter, period in ledger.charges(entry.subject).items():
            ledger.expect(LIMIT, entry, f"period of {counter}", period, period if period in named else None)
            if ledger.use(counter, period, -payment["amount"]) < 0:
                ledger.report_violation(LIMIT, entry, "used", "at least 0", "less")
        ledger.begin_refund(entry, f"ref_{entry.subject[4:]}", payment["amount"])
        ledger.end_refund(entry, "done")
        ledger.credit(entry, payment, payment["amount"])
    ledger.do("UPDATE payment SET failure = ? WHERE id = ?", reason, entry.subject)


def _refunding(ledger: Ledger, entry: JournalEntry) -> None:
    if payment := ledger.change(entry, "succeeded", "refunding"):
        # Up to schema 5 an entry has no amount: it was always the whole.
        amount = int(entry.fields.get("amount", payment["amount"]))
        if not 0 < amount <= payment["amount"] - payment["refunded"]:
            ledger.report_violation(DEBIT, entry, "amount", "at most what is left", amount)
        ledger.do("UPDATE payment SET refunding = ? WHERE id = ?", amount, entry.subject)
        ledger.begin_refund(entry, entry.fields.get("refund", ""), amount)
        ledger.move_in_flight(payment, amount)


def _refunded(ledger: Ledger, entry: JournalEntry) -> None:
    is_whole = entry.type == "payment.refunded"
    if payment := ledger.change(entry, "refunding", "refunded" if is_whole else "succeeded"):
        ledger.credit(entry, payment, payment["refunding"])
        ledger.end_refund(entry, "done")
        left = payment["amount"] - payment["refunded"] - payment["refunding"]
        if is_whole != (left == 0):
            ledger.report_violation(DEBIT, entry, "left", "nothing" if is_whole else "something", left)


def _refund_failed(ledger: Ledger, entry: JournalEntry) -> None:
    if payment := ledger.change(entry, "refunding", "succeeded"):
        ledger.end_refund(entry, "failed")
        ledger.move_in_flight(payment, -payment["refunding"])


def _resolved(ledger: Ledger, entry: JournalEntry) -> None:
    """Apply a decision. Its effect has its own entry, except for a failed refund of an earlier version."""
    payment = ledger.record("payment", entry.subject)
    if payment and payment["status"] == "refunding" and entry.fields["outcome"] == "settled":
        _refund_failed(ledger, entry)


def _set_aside(ledger: Ledger, entry: JournalEntry) -> None:
    ledger.do("UPDATE payment SET set_aside = 1 WHERE id = ?", entry.subject)


def _unconfirmed_ended(ledger: Ledger, entry: JournalEntry) -> None:
    ledger.change(entry, "requires_confirmation", entry.type.partition(".")[2])


def _unchanged(ledger: Ledger, entry: JournalEntry) -> None:
    """Apply an entry without an effect on the ledger; its record has to exist."""
    kind = entry.type.partition(".")[0]
    if ledger.record(kind, entry.subject) is None:
        ledger.report_violation(CHANGE, entry, kind, "one that was created", "none")


ENTRIES: dict[str, Callable[[Ledger, JournalEntry], None]] = {
    "user.created": _user_created,
    "user.active": _user_status,
    "user.blocked": _user_status,
    "user.unlocked": _unchanged,
    "user.address_changed": _unchanged,
    "wallet.created": _wallet_created,
    "wallet.active": _wallet_status,
    "wallet.inactive": _wallet_status,
    "wallet.deposited": _balance_changed,
    "wallet.withdrawn": _balance_changed,
    "wallet.adjusted": _balance_changed,
    "invoice.created": _invoice_created,
    "invoice.voided": _invoice_ended,
    "invoice.expired": _invoice_ended,
    "limit.set": _limit_set,
    "limit.granted": _limit_granted,
    "payment.started": _started,
    "payment.code_resent": _unchanged,
    "payment.refused": _unchanged,
    "payment.processing": _processing,
    "payment.succeeded": _succeeded,
    "payment.failed": _failed,
    "payment.canceled": _unconfirmed_ended,
    "payment.expired": _unconfirmed_ended,
    "payment.refunding": _refunding,
    "payment.refunded": _refunded,
    "payment.partially_refunded": _refunded,
    "payment.refund_failed": _refund_failed,
    "payment.resolved": _resolved,
    "payment.set_aside": _set_aside,
}
"""The effect of each type of entry."""
