"""The routes of a signed-in user."""

from __future__ import annotations

from typing import cast

from technopay.engine import Entry, Invoice, Limit, Payment, SettlementFailed, Wallet
from technopay.http.answer import Answer
from technopay.http.auth import PAYMENTS
from technopay.http.forms import (
    ConfirmBody,
    ConfirmQuery,
    PageQuery,
    StartPaymentBody,
    WaitQuery,
)
from technopay.http.problems import RETRY_AFTER_S
from technopay.http.routes import Call, Route, answer_with, answer_with_limits


async def list_wallets(call: Call) -> Answer:
    """List the caller's wallets."""
    query = cast("PageQuery", call.query)
    page = await call.engine.list_wallets(user_id=call.caller.user_id, limit=query.limit, cursor=query.cursor)
    return answer_with(page)


async def get_wallet(call: Call) -> Answer:
    """Read a wallet."""
    wallet_id = call.path["wallet_id"]
    return answer_with(await call.engine.get_wallet(user_id=call.caller.user_id, wallet_id=wallet_id))


async def list_entries(call: Call) -> Answer:
    """List a wallet's movements."""
    query = cast("PageQuery", call.query)
    page = await call.engine.list_entries(
        user_id=call.caller.user_id,
        wallet_id=call.path["wallet_id"],
        limit=query.limit,
        cursor=query.cursor,
    )
    return answer_with(page)


async def list_invoices(call: Call) -> Answer:
    """List the caller's invoices."""
    query = cast("PageQuery", call.query)
    page = await call.engine.list_invoices(user_id=call.caller.user_id, limit=query.limit, cursor=query.cursor)
    return answer_with(page)


async def get_invoice(call: Call) -> Answer:
    """Read an invoice."""
    invoice_id = call.path["invoice_id"]
    return answer_with(await call.engine.get_invoice(user_id=call.caller.user_id, invoice_id=invoice_id))


async def start_payment(call: Call) -> Answer:
    """Begin to pay an invoice."""
    body = cast("StartPaymentBody", call.body)
    payment = await call.engine.start_payment(
        user_id=call.caller.user_id,
        invoice_id=body.invoice_id,
        wallet_id=body.wallet_id,
        method=body.method,
        idempotency_key=call.key,
    )
    return answer_with(payment, location=f"{call.mount}/v1/payments/{payment.id}")


async def confirm_payment(call: Call) -> Answer:
    """Confirm a payment; 202 when the settlement takes longer than the wait."""
    payment = await call.engine.confirm_payment(
        user_id=call.caller.user_id,
        payment_id=call.path["payment_id"],
        code=cast("ConfirmBody", call.body).code,
        wait_s=0,
    )
    replayed = payment.replayed
    payment, _ = await call.wait_for_rest(payment, cast("ConfirmQuery", call.query).wait)
    if payment.status == "failed":
        raise SettlementFailed(payment=payment, replayed=replayed)
    if replayed:
        payment = payment.as_replay()
    if payment.status != "processing":
        return answer_with(payment)
    pending = {"Location": f"{call.mount}/v1/payments/{payment.id}", "Retry-After": RETRY_AFTER_S}
    return answer_with(payment, status=202, headers=pending)


async def resend_code(call: Call) -> Answer:
    """Send a fresh code."""
    payment = await call.engine.resend_code(
        user_id=call.caller.user_id, payment_id=call.path["payment_id"], idempotency_key=call.key
    )
    return answer_with(payment)


async def cancel_payment(call: Call) -> Answer:
    """Give up a payment."""
    payment = await call.engine.cancel_payment(
        user_id=call.caller.user_id, payment_id=call.path["payment_id"], idempotency_key=call.key
    )
    return answer_with(payment)


async def list_payments(call: Call) -> Answer:
    """List the caller's payments."""
    query = cast("PageQuery", call.query)
    page = await call.engine.list_payments(user_id=call.caller.user_id, limit=query.limit, cursor=query.cursor)
    return answer_with(page)


async def get_payment(call: Call) -> Answer:
    """Read a payment, when it is at rest or the wait ran out."""
    payment = await call.engine.get_payment(
        user_id=call.caller.user_id,
        payment_id=call.path["payment_id"],
    )
    payment, headers = await call.wait_for_rest(payment, cast("WaitQuery", call.query).wait)
    return answer_with(payment, headers=headers)


async def list_limits(call: Call) -> Answer:
    """List the limits that bind the caller."""
    limits = await call.engine.list_limits(user_id=call.caller.user_id)
    return answer_with_limits(limits, cast("PageQuery", call.query))


START_ERRORS = (
    "user_not_found", "wallet_not_found", "invoice_not_found", "user_blocked", "wallet_inactive",
    "invoice_already_paid", "invoice_not_payable", "payment_in_progress", "currency_mismatch",
    "invoice_expired", "no_channel", "insufficient_funds", "daily_limit_exceeded", "balance_too_large",
    "rate_limited",
)  # fmt: skip
CODE_ERRORS = (
    "payment_not_found", "user_blocked", "wallet_inactive", "payment_not_confirmable", "confirmation_expired",
    "invoice_expired",
)  # fmt: skip
CONFIRM_ERRORS = (
    *CODE_ERRORS, "rate_limited", "confirmation_invalid", "insufficient_funds", "daily_limit_exceeded",
    "balance_too_large", "settlement_failed",
)  # fmt: skip

USER_ROUTES = (
    Route(
        "GET", "/v1/wallets", "listWallets", "List your wallets", PAYMENTS, list_wallets, Wallet,
        query=PageQuery, is_list=True,
    ),
    Route(
        "GET", "/v1/wallets/{wallet_id}", "getWallet", "Read a wallet", PAYMENTS, get_wallet, Wallet,
        ("wallet_not_found",),
    ),
    Route(
        "GET", "/v1/wallets/{wallet_id}/entries", "listEntries", "List the movements of a wallet", PAYMENTS,
        list_entries, Entry, ("wallet_not_found",), query=PageQuery, is_list=True,
    ),
    Route(
        "GET", "/v1/invoices", "listInvoices", "List your invoices", PAYMENTS, list_invoices, Invoice,
        query=PageQuery, is_list=True,
    ),
    Route(
        "GET", "/v1/invoices/{invoice_id}", "getInvoice", "Read an invoice", PAYMENTS, get_invoice, Invoice,
        ("invoice_not_found",),
    ),
    Route(
        "POST", "/v1/payments", "startPayment", "Begin to pay an invoice; a code is sent", PAYMENTS,
        start_payment, Payment, START_ERRORS, body=StartPaymentBody, status=201, takes_key=True,
        description="An unconfirmed payment of the same invoice is canceled, and its code is dead.",
    ),
    Route(
        "POST", "/v1/payments/{payment_id}/confirm", "confirmPayment", "Confirm a payment with its code",
        PAYMENTS, confirm_payment, Payment, CONFIRM_ERRORS, body=ConfirmBody, query=ConfirmQuery, also=(202,),
        description="A wrong code costs an attempt. A refusal for funds or limit does not: confirm again.",
    ),
    Route(
        "POST", "/v1/payments/{payment_id}/resend", "resendCode", "Send a fresh code", PAYMENTS, resend_code,
        Payment, (*CODE_ERRORS, "no_channel", "rate_limited"), takes_key=True,
        description="The code before is dead. The attempts stay the same; at most three times.",
    ),
    Route(
        "POST", "/v1/payments/{payment_id}/cancel", "cancelPayment", "Give up an unconfirmed payment", PAYMENTS,
        cancel_payment, Payment, ("payment_not_found", "payment_not_cancelable"), takes_key=True,
        description="Its code is dead. The invoice stays open.",
    ),
    Route(
        "GET", "/v1/payments", "listPayments", "List your payments", PAYMENTS, list_payments, Payment,
        query=PageQuery, is_list=True,
    ),
    Route(
        "GET", "/v1/payments/{payment_id}", "getPayment", "Read a payment, or wait for its end", PAYMENTS,
        get_payment, Payment, ("payment_not_found",), query=WaitQuery,
        description="With `wait` it answers as soon as the payment is final or set aside, or after that time; "
        "at once and with `Retry-After` where as many requests wait as may.",
    ),
    Route(
        "GET", "/v1/limits", "listLimits", "List the limits that bind you", PAYMENTS, list_limits, Limit,
        query=PageQuery, is_list=True,
        description="Those in the currencies of your wallets that have one.",
    ),
)  # fmt: skip
