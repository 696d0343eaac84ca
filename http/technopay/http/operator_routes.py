"""The routes of an operator."""

from __future__ import annotations

from typing import cast
from urllib.parse import quote

from technopay.engine import Audit, Invoice, Limit, Message, Payment, User, Wallet
from technopay.http.answer import Answer
from technopay.http.auth import ADMIN
from technopay.http.forms import (
    CreateInvoiceBody,
    CreateUserBody,
    CreateWalletBody,
    DepositBody,
    NotificationQuery,
    PageQuery,
    PaymentQuery,
    ResolveBody,
    SetLimitBody,
)
from technopay.http.routes import Call, Route, answer_with, answer_with_limits


async def create_user(call: Call) -> Answer:
    """Make a user known."""
    body = cast("CreateUserBody", call.body)
    user = await call.engine.create_user(
        user_id=body.id, email=body.email, phone=body.phone, idempotency_key=call.key
    )
    return answer_with(user, location=f"{call.mount}/v1/admin/users/{quote(user.id, safe='')}")


async def get_user(call: Call) -> Answer:
    """Read a user."""
    return answer_with(await call.engine.get_user(user_id=call.path["user_id"]))


async def block_user(call: Call) -> Answer:
    """Block a user."""
    user_id = call.path["user_id"]
    return answer_with(await call.engine.block_user(user_id=user_id, idempotency_key=call.key))


async def unblock_user(call: Call) -> Answer:
    """Unblock a user."""
    user_id = call.path["user_id"]
    return answer_with(await call.engine.unblock_user(user_id=user_id, idempotency_key=call.key))


async def unlock_user(call: Call) -> Answer:
    """Clear a lock-out by wrong codes."""
    user_id = call.path["user_id"]
    return answer_with(await call.engine.unlock_user(user_id=user_id, idempotency_key=call.key))


async def create_wallet(call: Call) -> Answer:
    """Open a wallet."""
    body = cast("CreateWalletBody", call.body)
    wallet = await call.engine.create_wallet(
        user_id=body.user_id, currency=body.currency, idempotency_key=call.key
    )
    return answer_with(wallet, location=f"{call.mount}/v1/admin/wallets/{wallet.id}")


async def get_wallet(call: Call) -> Answer:
    """Read a wallet of any user."""
    return answer_with(await call.engine.find_wallet(wallet_id=call.path["wallet_id"]))


async def deposit(call: Call) -> Answer:
    """Put money into a wallet."""
    wallet = await call.engine.deposit(
        wallet_id=call.path["wallet_id"],
        amount=cast("DepositBody", call.body).amount,
        idempotency_key=call.key,
    )
    return answer_with(wallet)


async def activate_wallet(call: Call) -> Answer:
    """Activate a wallet."""
    wallet_id = call.path["wallet_id"]
    return answer_with(await call.engine.activate_wallet(wallet_id=wallet_id, idempotency_key=call.key))


async def deactivate_wallet(call: Call) -> Answer:
    """Deactivate a wallet."""
    wallet_id = call.path["wallet_id"]
    return answer_with(await call.engine.deactivate_wallet(wallet_id=wallet_id, idempotency_key=call.key))


async def create_invoice(call: Call) -> Answer:
    """Enter an invoice."""
    body = cast("CreateInvoiceBody", call.body)
    invoice = await call.engine.create_invoice(
        user_id=body.user_id,
        amount=body.amount,
        currency=body.currency,
        merchant=body.merchant,
        description=body.description,
        reference=body.reference,
        expires_at=body.expires_at,
        idempotency_key=call.key,
    )
    return answer_with(invoice, location=f"{call.mount}/v1/admin/invoices/{invoice.id}")


async def get_invoice(call: Call) -> Answer:
    """Read an invoice of any user."""
    return answer_with(await call.engine.find_invoice(invoice_id=call.path["invoice_id"]))


async def void_invoice(call: Call) -> Answer:
    """Withdraw an invoice."""
    invoice_id = call.path["invoice_id"]
    return answer_with(await call.engine.void_invoice(invoice_id=invoice_id, idempotency_key=call.key))


async def set_limit(call: Call) -> Answer:
    """Set or lift a limit."""
    amount = cast("SetLimitBody", call.body).amount
    return answer_with(await call.engine.set_limit(currency=call.path["currency"], amount=amount))


async def list_limits(call: Call) -> Answer:
    """List all limits."""
    return answer_with_limits(await call.engine.list_all_limits(), cast("PageQuery", call.query))


async def refund_payment(call: Call) -> Answer:
    """Refund a payment."""
    payment = await call.engine.refund_payment(payment_id=call.path["payment_id"], idempotency_key=call.key)
    return answer_with(payment, operator=True)


async def resolve_payment(call: Call) -> Answer:
    """Decide a payment that was set aside."""
    body = cast("ResolveBody", call.body)
    payment = await call.engine.resolve_payment(
        payment_id=call.path["payment_id"],
        outcome=body.outcome,
        note=body.note,
        by=call.caller.user_id,
        idempotency_key=call.key,
    )
    return answer_with(payment, operator=True)


async def list_payments(call: Call) -> Answer:
    """List payments of all users."""
    query = cast("PaymentQuery", call.query)
    page = await call.engine.search_payments(
        status=query.status,
        user_id=query.user_id,
        set_aside=query.set_aside,
        limit=query.limit,
        cursor=query.cursor,
    )
    return answer_with(page, operator=True)


async def get_payment(call: Call) -> Answer:
    """Read a payment of any user."""
    payment = await call.engine.find_payment(payment_id=call.path["payment_id"])
    return answer_with(payment, operator=True)


async def list_notifications(call: Call) -> Answer:
    """List messages."""
    query = cast("NotificationQuery", call.query)
    page = await call.engine.list_messages(
        status=query.status, user_id=query.user_id, limit=query.limit, cursor=query.cursor
    )
    return answer_with(page)


async def send_notification(call: Call) -> Answer:
    """Try a dead message again."""
    message = await call.engine.send_message_again(message_id=call.path["message_id"], idempotency_key=call.key)
    return answer_with(message)


async def audit(call: Call) -> Answer:
    """Audit the store."""
    return answer_with(await call.engine.audit())


USERS, WALLETS, INVOICES = "/v1/admin/users", "/v1/admin/wallets", "/v1/admin/invoices"
PAYMENTS, NOTIFICATIONS = "/v1/admin/payments", "/v1/admin/notifications"

OPERATOR_ROUTES = (
    Route(
        "POST", USERS, "createUser", "Make a user known", ADMIN, create_user, User, ("user_exists",),
        body=CreateUserBody, status=201, takes_key=True,
    ),
    Route("GET", USERS + "/{user_id}", "getUser", "Read a user", ADMIN, get_user, User, ("user_not_found",)),
    Route(
        "POST", USERS + "/{user_id}/block", "blockUser", "Block a user", ADMIN, block_user, User,
        ("user_not_found",), takes_key=True,
        description="A blocked user cannot start or confirm payments. Reading and refunds go on.",
    ),
    Route(
        "POST", USERS + "/{user_id}/unblock", "unblockUser", "Unblock a user", ADMIN, unblock_user, User,
        ("user_not_found",), takes_key=True,
    ),
    Route(
        "POST", USERS + "/{user_id}/unlock", "unlockUser", "Clear a lock-out by wrong codes", ADMIN,
        unlock_user, User, ("user_not_found",), takes_key=True,
    ),
    Route(
        "POST", WALLETS, "createWallet", "Open a wallet", ADMIN, create_wallet, Wallet, ("user_not_found",),
        body=CreateWalletBody, status=201, takes_key=True,
        description="It is active, and there is nothing in it.",
    ),
    Route(
        "GET", WALLETS + "/{wallet_id}", "findWallet", "Read a wallet of any user", ADMIN, get_wallet, Wallet,
        ("wallet_not_found",),
    ),
    Route(
        "POST", WALLETS + "/{wallet_id}/deposit", "deposit", "Put money into a wallet", ADMIN, deposit, Wallet,
        ("wallet_not_found", "balance_too_large"), body=DepositBody, takes_key=True,
    ),
    Route(
        "POST", WALLETS + "/{wallet_id}/activate", "activateWallet", "Activate a wallet", ADMIN,
        activate_wallet, Wallet, ("wallet_not_found",), takes_key=True,
    ),
    Route(
        "POST", WALLETS + "/{wallet_id}/deactivate", "deactivateWallet", "Deactivate a wallet", ADMIN,
        deactivate_wallet, Wallet, ("wallet_not_found",), takes_key=True,
        description="Nothing is taken from it any more. Deposits and refunds still reach it.",
    ),
    Route(
        "POST", INVOICES, "createInvoice", "Enter an invoice", ADMIN, create_invoice, Invoice,
        ("user_not_found", "reference_used"), body=CreateInvoiceBody, status=201, takes_key=True,
        description="A `reference` is used once per merchant; what is void or expired unpaid frees it.",
    ),
    Route(
        "GET", INVOICES + "/{invoice_id}", "findInvoice", "Read an invoice of any user", ADMIN, get_invoice,
        Invoice, ("invoice_not_found",),
    ),
    Route(
        "POST", INVOICES + "/{invoice_id}/void", "voidInvoice", "Withdraw an invoice", ADMIN, void_invoice,
        Invoice, ("invoice_not_found", "invoice_not_voidable"), takes_key=True,
        description="An unconfirmed payment of it is canceled. Refused while one is processing.",
    ),
    Route(
        "PUT", "/v1/admin/limits/{currency}", "setLimit", "Set or lift a daily limit", ADMIN, set_limit, Limit,
        body=SetLimitBody,
        description="What all users together may spend in a day. `null` lifts it, 0 stops all payments.",
    ),
    Route(
        "GET", "/v1/admin/limits", "listAllLimits", "List all limits", ADMIN, list_limits, Limit,
        query=PageQuery, is_list=True,
    ),
    Route(
        "POST", PAYMENTS + "/{payment_id}/refund", "refundPayment", "Refund a succeeded payment", ADMIN,
        refund_payment, Payment, ("payment_not_found", "payment_not_refundable", "balance_too_large"),
        takes_key=True,
        description="The amount goes back into the wallet. The invoice stays closed. When the settlement "
        "service declines, the payment is `succeeded` again, and can be refunded later.",
    ),
    Route(
        "POST", PAYMENTS + "/{payment_id}/resolve", "resolvePayment", "Decide a payment that was set aside",
        ADMIN, resolve_payment, Payment, ("payment_not_found", "payment_not_resolvable"), body=ResolveBody,
        takes_key=True,
        description="For a payment whose settlement is unknown, after looking where the money is.",
    ),
    Route(
        "GET", PAYMENTS, "searchPayments", "List payments of all users", ADMIN, list_payments, Payment,
        query=PaymentQuery, is_list=True,
    ),
    Route(
        "GET", PAYMENTS + "/{payment_id}", "findPayment", "Read a payment of any user", ADMIN, get_payment,
        Payment, ("payment_not_found",),
    ),
    Route(
        "GET", NOTIFICATIONS, "listNotifications", "List messages", ADMIN, list_notifications, Message,
        query=NotificationQuery, is_list=True,
    ),
    Route(
        "POST", NOTIFICATIONS + "/{message_id}/send", "sendNotification", "Try a dead message again", ADMIN,
        send_notification, Message, ("not_found",), takes_key=True,
        description="It is due now, with all its attempts. One that is not dead stays as it is.",
    ),
    Route(
        "GET", "/v1/admin/audit", "audit", "Recompute everything from the journal", ADMIN, audit, Audit,
        deadline="audit_deadline_s",
        description="Every balance, limit and status, from the journal. It takes a while on a big store.",
    ),
)  # fmt: skip
