"""The same few figures of a record, from the store and from the model."""

from typing import Any

from property.model import WAITING, Contract, Payment

from technopay.engine import models

View = tuple[object, ...]


def found(record: object) -> View:
    """View a record of the store."""
    match record:
        case models.User():
            return record.status, record.email is not None, record.phone is not None
        case models.Wallet():
            return record.user_id, record.currency, record.balance, record.status
        case models.Invoice():
            sums = record.amount, record.refunded_amount
            return record.user_id, record.currency, *sums, record.status, record.payment_id
        case models.Limit():
            return record.limit, record.used
        case models.Payment():
            return _found_payment(record)
        case _:
            raise AssertionError(f"no view of {record!r}")


def expected(contract: Contract, record: Any) -> View:
    """View the model's counterpart of a record of the store."""
    if isinstance(record, models.Limit):
        return _limit(contract, record.currency)
    if isinstance(record, models.User):
        user = contract.users[record.id]
        return user.status, user.email, user.phone
    return expected_records(contract)[record.id]


def expected_records(contract: Contract) -> dict[str, View]:
    """View all wallets, invoices, payments and limits of the model."""
    views: dict[str, View] = {currency: _limit(contract, currency) for currency in contract.limits}
    for wallet_id, wallet in contract.wallets.items():
        views[wallet_id] = wallet.user, wallet.currency, wallet.balance, wallet.status
    for invoice_id, invoice in contract.invoices.items():
        paid_by = invoice.live if invoice.status == "paid" else None
        sums = invoice.amount, invoice.refunded
        views[invoice_id] = invoice.user, invoice.currency, *sums, invoice.status, paid_by
    for payment_id, payment in contract.payments.items():
        views[payment_id] = _expected_payment(payment)
    return views


def _limit(contract: Contract, currency: str) -> View:
    return contract.limits[currency], contract.used.get(currency, 0)


def _found_payment(payment: models.Payment) -> View:
    confirmation, failure = payment.confirmation, payment.failure
    return (
        (payment.user_id, payment.wallet_id, payment.invoice_id, payment.amount, payment.currency),
        payment.status,
        confirmation and (confirmation.method, confirmation.attempts_remaining, confirmation.resends_remaining),
        failure and failure.code,
        payment.refunded_amount,
        [(refund.amount, refund.status) for refund in payment.refunds],
        payment.set_aside,
        payment.balance_before,
        payment.balance_after,
    )


def _expected_payment(payment: Payment) -> View:
    after = payment.balance_after
    return (
        (payment.user, payment.wallet, payment.invoice, payment.amount, payment.currency),
        payment.status,
        (payment.method, payment.attempts, payment.resends) if payment.status == WAITING else None,
        payment.failure,
        payment.refunded,
        [(refund.amount, refund.status) for refund in payment.refunds],
        payment.set_aside,
        None if after is None else after + payment.amount,
        after,
    )
