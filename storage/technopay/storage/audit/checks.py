"""Compares the records at one position of the journal with the ledger at that position."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from unicodedata import normalize

from technopay.engine.fields import is_line
from technopay.engine.models import Difference
from technopay.storage.audit.invariants import (
    BALANCE,
    CHANGE,
    DEBIT,
    INVOICE,
    LIMIT,
    MESSAGE,
    READABLE,
    differ,
)
from technopay.storage.audit.ledger import Refunded, Row
from technopay.storage.records import (
    MESSAGE_STATUSES,
    METHODS,
    UNREADABLE_TEXT,
    Fields,
    fields_of,
    invoice_from,
    user_from,
    wallet_from,
)
from technopay.storage.refunds import refund_parts

Differences = Iterator[Difference]

LIVE = frozenset({"requires_confirmation", "processing", "succeeded", "refunding", "refunded"})
"""The statuses of a payment that block another one of its invoice."""
ENDED_WITH_MONEY = frozenset({"succeeded", "refunded"})
NUMBERS_OF_CODE = ("version", "attempts", "resends", "expires_at", "payable_until")
"""See shared/code_state.lua."""
TERMS = ("user", "amount", "currency", "merchant")
SETTLEMENT_STATES = {
    "settled": {"processing", "succeeded", "refunding"},
    "reversed": {"refunding", "refunded"},
    "declined": {"processing", "failed"},
    "called_off": {"processing", "failed"},
}
"""The statuses of payments, by their state in the mock settlement service."""


def compare_user(user_id: str, expected: Row, found: Sequence[str]) -> Differences:
    """Compare a user's status, and check the addresses."""
    yield from _compare(CHANGE, user_id, [("status", expected["status"], fields_of(found).get("status"))])
    if found:
        user = user_from((user_id, found))
        for what, address in (("email", user.email), ("phone", user.phone)):
            if address is not None and not is_line(address):
                yield differ(READABLE, user_id, what, "an address", "text that no address can hold")


def compare_type(name: str, expected: str, found: Any) -> Differences:
    """Compare the type of a key; it can be deleted already."""
    if not isinstance(found, str):
        yield differ(READABLE, name, "reply", "one that can be read", "none")
    elif found not in (expected, "none"):
        yield differ(READABLE, name, "type", expected, found)


def compare_wallet(
    wallet_id: str, expected: Row, deposits: Mapping[str, str], found: Sequence[Any]
) -> Differences:
    """Compare a wallet, see audit_wallets.lua."""
    wallet, entries, listed, referred = fields_of(found[0]), found[1], found[2], fields_of(found[3])
    if wallet:
        wallet_from((wallet_id, found[0]))
    yield from _compare(
        BALANCE,
        wallet_id,
        [
            ("balance", str(expected["balance"]), wallet.get("balance")),
            ("ledger", str(expected["balance"] + expected["in_flight"]), wallet.get("ledger")),
            ("number of entries", expected["entries"], entries),
            *(
                (f"deposit of {name}", deposits.get(name), referred.get(name, " ").partition(" ")[0] or None)
                for name in sorted({*deposits, *referred})
            ),
        ],
    )
    terms = [(name, expected[name], wallet.get(name)) for name in ("user", "currency", "status")]
    yield from _compare(CHANGE, wallet_id, [*terms, ("listed with its user", 1, listed)])


def compare_invoice(invoice_id: str, expected: Row, found: Sequence[Any]) -> Differences:
    """Compare an invoice, see audit_invoices.lua."""
    invoice, listed, referred, payment = fields_of(found[0]), found[1], found[2], fields_of(found[3])
    if invoice:
        invoice_from((invoice_id, found[0]), 0)
    names = ("user", "amount", "currency", "status")
    facts: list[tuple[str, Any, Any]] = [(name, expected[name], invoice.get(name)) for name in names]
    # These two follow from the payment and are not stored with the invoice.
    facts += [(name, None, invoice.get(name)) for name in ("paid_at", "refunds")]
    facts.append(("listed with its user", 1, listed))
    # An invoice that is void or expired for good has lost its reference.
    if "reference" in invoice and invoice.get("status") == "open":
        facts.append(("invoice of its reference", invoice_id, referred))
        if "referred" not in invoice and payment.get("status") not in ENDED_WITH_MONEY:
            # Only a migration leaves it so, if another invoice has the same reference in normal form.
            named = f"{invoice.get('merchant')} {invoice['reference']}"
            facts.append(("reference, unique in normal form", normalize("NFC", named), named))
    if "payment" in invoice:
        facts.append(("invoice of its payment", invoice_id, payment.get("invoice")))
        facts.append(("status with a payment", "open", invoice.get("status")))
        # An unconfirmed payment stays past its expiry until the agenda ends it.
        facts.append(("its payment is live", True, payment.get("status") in LIVE))
    yield from _compare(INVOICE, invoice_id, facts)


def compare_payment(
    payment_id: str,
    expected: Row,
    charges: Mapping[str, str],
    refunds: Sequence[Refunded],
    found: Sequence[Any],
) -> Differences:
    """Compare a payment, see audit_payments.lua."""
    payment, invoice, code = fields_of(found[0]), fields_of(found[5]), fields_of(found[6])
    status = expected["status"]
    took_money = expected["wallet"] is not None
    if not payment and not took_money and status not in LIVE:
        return  # it never took money, and was removed
    waits = payment.get("status") == "requires_confirmation"
    if waits and not all(code.get(name, "").isdecimal() for name in NUMBERS_OF_CODE):
        yield differ(READABLE, payment_id, "code", "one that can be read", "none")
    facts = _payment_facts(expected, payment, took_money=took_money)
    facts.append(("refunds", *_refund_facts(refunds, payment)))
    facts += _reversal_facts(refunds, payment, fields_of(found[4]))
    for counter, period in charges.items():
        facts.append((f"period of {counter}", period, payment.get(f"{counter.partition(':')[0]}_period")))
    yield from _compare(CHANGE, payment_id, [*facts, ("listed with its user", 1, found[3])])
    yield from _compare(DEBIT, payment_id, _work_facts(expected, found))
    yield from _compare(INVOICE, payment_id, _invoice_facts(payment_id, status, payment, invoice))


def compare_limit(name: str, expected: Row, used: Mapping[str, int], found: Sequence[Any]) -> Differences:
    """Compare a limit, see audit_limits.lua."""
    fields, is_set = fields_of(found[0]), found[1]
    limit = fields.pop("limit", "")
    stored = {period: int(amount) for period, amount in fields.items() if amount != "0"}
    yield from _compare(
        LIMIT,
        name,
        [
            ("limit", expected["amount"], limit),
            ("listed", 1, max(is_set, 1 - expected["is_set"])),
            *((f"used on {each}", used.get(each, 0), stored.get(each, 0)) for each in sorted({*used, *stored})),
        ],
    )


def compare_message(message_id: str, found: Sequence[Any]) -> Differences:
    """Compare a message's record, see audit_messages.lua."""
    (status, channel, attempts, error), on_agenda, entries = found
    if status or attempts:  # else it was removed meanwhile
        is_readable = (
            status in MESSAGE_STATUSES | {"stale"} and channel in METHODS and (attempts or "").isdigit()
        )
        if not is_readable or (error or "").endswith(UNREADABLE_TEXT):
            yield differ(READABLE, message_id, "message", "a message that can be sent", error)
        facts = [("on the agenda", 1, on_agenda), ("entries of the journal", 1, entries)]
        yield from _compare(MESSAGE, message_id, facts)


def _payment_facts(expected: Row, payment: Fields, *, took_money: bool) -> list[tuple[str, Any, Any]]:
    """List the facts about a payment in the journal and in its record."""
    facts: list[tuple[str, Any, Any]] = [
        ("status", expected["status"], payment.get("status")),
        ("created_at", expected["created_at"], payment.get("created_at")),
        ("failure", expected["failure"], payment.get("failure")),
        ("version", str(expected["version"]), payment.get("version")),
        *((name, expected[name], payment.get(name)) for name in ("paid_at", "settled_at")),
    ]
    if took_money:
        facts += [
            ("wallet", expected["wallet"], payment.get("wallet")),
            ("amount", str(expected["amount"]), payment.get("amount")),
            ("currency", expected["currency"], payment.get("currency")),
            ("balance", expected["balance"], payment.get("balance")),
        ]
    return facts


def _refund_facts(refunds: Sequence[Refunded], payment: Fields) -> tuple[list[Refunded], list[Refunded]]:
    """Return the refunds in the journal and in the record.

    In the record, failed ones make room for later ones. An earlier version listed only those done, without ids.
    """
    found = [
        Refunded(name and f"ref_{name}", int(amount), at, status)
        for name, amount, at, status, _ in refund_parts(payment.get("refunds", ""))
    ]
    kept = {each.id for each in found}
    expected = [each for each in refunds if each.status == "done" or (each.id and each.status == "pending")]
    expected += [each for each in refunds if each.status == "failed" and each.id in kept]
    if len(expected) == len(found):
        expected.sort(key=refunds.index)
        expected = [
            there._replace(id=here.id) if "" in (there.id, here.id) else there
            for there, here in zip(expected, found, strict=True)
        ]
    return expected, found


def _reversal_facts(
    refunds: Sequence[Refunded], payment: Fields, book: Fields
) -> Iterator[tuple[str, Any, Any]]:
    """List the reversals in the book of the mock settlement service: each is of a refund that did not fail."""
    if not all(each.id for each in refunds):
        return  # an earlier version began one; its entries do not name it
    reversed_ids = {name for name in book if name.startswith("ref_")}
    # By an operator in place of the service, or given back because it never settled.
    is_decided = "resolution" in payment or "failure" in payment
    for each in refunds:
        if each.id in reversed_ids:
            yield f"reversal of {each.id}", str(each.amount), book[each.id]
        if not is_decided and each.status != "pending" and book.get("state") in ("settled", "reversed"):
            yield f"whether {each.id} is reversed", each.status == "done", each.id in reversed_ids
    strangers = reversed_ids - {each.id for each in refunds}
    yield "reversals without a refund", set(), strangers


def _work_facts(expected: Row, found: Sequence[Any]) -> list[tuple[str, Any, Any]]:
    """List whether an active payment will be finished, and its state in the settlement service."""
    payment, on_agenda, set_aside, _, book, _, _ = found
    state = fields_of(book).get("state")
    status, waits = expected["status"], expected["set_aside"]
    ended = status in ENDED_WITH_MONEY or expected["failure"] == "settlement_failed"
    facts: list[tuple[str, Any, Any]] = [
        ("on the agenda", 0 if ended else 1, on_agenda),
        ("set aside", waits, set_aside),
        ("marked as set aside", "1" if waits else None, fields_of(payment).get("set_aside")),
    ]
    if state:
        facts.append(
            ("in keeping with the settlement service", True, status in SETTLEMENT_STATES.get(state, ()))
        )
    return facts


def _invoice_facts(
    payment_id: str, status: str, payment: Fields, invoice: Fields
) -> list[tuple[str, Any, Any]]:
    """List the facts on which a payment and its invoice have to agree."""
    facts: list[tuple[str, Any, Any]] = [
        (f"{name} of its invoice", payment.get(name), invoice.get(name)) for name in TERMS
    ]
    facts.append(("is its invoice's payment", status in LIVE, invoice.get("payment") == payment_id))
    return facts


def _compare(invariant: str, subject: str, facts: Sequence[tuple[str, Any, Any]]) -> Differences:
    for what, expected, found in facts:
        if expected != found:
            yield differ(invariant, subject, what, expected, found)
