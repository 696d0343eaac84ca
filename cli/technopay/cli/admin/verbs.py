"""The verbs of `technopay admin`, as data: a new one is a line.

The options of a verb are the parameters of its method, the printed columns those of the record that it returns.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from technopay.engine import Invoice, Limit, Message, OperatorPayment, Page, User, Wallet
from technopay.engine.fields import UNSET
from technopay.engine.models import Entry
from technopay.engine.notifications.texts import money
from technopay.engine.record import Record
from technopay.engine.webhooks.models import Delivery, Resent, Webhook
from technopay.http.client import Client

Arguments = Mapping[str, Any]
Method = Callable[..., Awaitable[Any]]

COLUMNS: Mapping[type[Record], str] = {
    User: "id status email phone locked_until created_at",
    Wallet: "id user_id currency balance status created_at",
    Entry: "at kind amount balance_after payment_id reference note by",
    Invoice: "id user_id merchant reference amount status expires_at payment_id",
    OperatorPayment: "id user_id merchant amount status set_aside invoice_id created_at",
    Limit: "currency limit used remaining resets_at pending",
    Webhook: "id url merchant types status failing_since created_at",
    Delivery: "id event_id payment_id status attempts last_status last_answer next_at",
    Message: "id user_id channel to kind status attempts last_error at",
}
"""The columns of lists; one record by itself is shown whole."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is shown and asked before a verb that moves money, or keeps somebody from paying."""

    read: str | Method
    """The method that reads the record in question, by the argument of the verb; or a function of a Client."""
    text: Callable[[Any, Arguments], str]
    """The text, from that record and the arguments."""


@dataclass(frozen=True, slots=True)
class Verb:
    noun: str
    name: str
    method: str | Method
    """The name of a method of Client, or a function of one."""
    argument: str = ""
    """The parameter that is given without a flag."""
    question: Question | None = None
    currency_of: str = ""
    """The method that reads the record with the currency of all rows, by the argument of the verb."""

    @property
    def function(self) -> Method:
        return method_of(self.method)


def method_of(method: str | Method) -> Method:
    """Return a function of a Client, by its name or as it is."""
    return getattr(Client, method) if isinstance(method, str) else method


async def find_payments(
    client: Client, *, reference: str, merchant: str | None = None, limit: int = 20, cursor: str = ""
) -> Page[OperatorPayment]:
    """Find payments by the reference of their invoice, with its merchant in one step."""
    found = await client.search_invoices(merchant=merchant, reference=reference, limit=limit, cursor=cursor)
    payments = []
    for invoice in found.data:
        payments += (await client.search_payments(invoice_id=invoice.id)).data
    return Page(data=payments, has_more=found.has_more, next_cursor=found.next_cursor)


async def send_again(
    client: Client, *, webhook_id: str, delivery_id: str | None = None, idempotency_key: str | None = None
) -> Delivery | Resent:
    """Send a dead delivery of a webhook again, or all of them."""
    if delivery_id is None:
        return await client.send_dead_deliveries_again(webhook_id=webhook_id, idempotency_key=idempotency_key)
    return await client.send_delivery_again(
        webhook_id=webhook_id, delivery_id=delivery_id, idempotency_key=idempotency_key
    )


async def read_limit(client: Client, *, currency: str) -> Limit | None:
    """Read the limit of a currency; None if there was never one."""
    limits = (await client.list_all_limits(limit=100)).data
    return next((each for each in limits if each.currency == currency), None)


def _changed(user: User, given: Arguments) -> str:
    changes = {name: given.get(name, UNSET) for name in ("email", "phone")}
    return f"Change user {user.id}: " + (
        ", ".join(
            f"{name} from {getattr(user, name) or 'none'} to {value or 'none'}"
            for name, value in changes.items()
            if value is not UNSET
        )
        or "nothing"
    )


def _set_limit(limit: Limit | None, given: Arguments) -> str:
    def shown(amount: int | None) -> str:
        return "none" if amount is None else money(amount, given["currency"])

    return (
        f"Set the daily limit of {given['currency']}, for all users together, from "
        f"{shown(limit.limit if limit else None)} to {shown(given['amount'])}"
    )


def _of(wallet: Wallet) -> str:
    return f"wallet {wallet.id} of {wallet.user_id} (balance {money(wallet.balance, wallet.currency)})"


def _take_out(wallet: Wallet, given: Arguments) -> str:
    return f"Take {money(given['amount'], wallet.currency)} out of {_of(wallet)}"


def _adjust(wallet: Wallet, given: Arguments) -> str:
    sign = "+" if given["amount"] > 0 else "-"
    return f"Adjust by {sign}{money(abs(given['amount']), wallet.currency)} {_of(wallet)}"


def _paid(payment: OperatorPayment) -> str:
    return (
        f"payment {payment.id} of {payment.user_id} to {payment.merchant} "
        f"({money(payment.amount, payment.currency)}, {payment.status})"
    )


def _refund(payment: OperatorPayment, given: Arguments) -> str:
    amount = given.get("amount")
    what = "all that is left" if amount is None else money(amount, payment.currency)
    return f"Refund {what} of {_paid(payment)} from {payment.merchant} into wallet {payment.wallet_id}"


def _resolve(payment: OperatorPayment, given: Arguments) -> str:
    effect = "the merchant has the money" if given["outcome"] == "settled" else "it goes back into the wallet"
    return f"Resolve {_paid(payment)} as {given['outcome']}: {effect} ({payment.wallet_id})"


def _void(invoice: Invoice, _: Arguments) -> str:
    amount = money(invoice.amount, invoice.currency)
    return f"Void invoice {invoice.id} of {invoice.user_id} to {invoice.merchant} ({amount}, {invoice.status})"


VERBS = (
    Verb("users", "list", "search_users"),
    Verb("users", "show", "get_user", "user_id"),
    Verb("users", "create", "create_user", "user_id"),
    Verb("users", "update", "update_user", "user_id", Question("get_user", _changed)),
    Verb(
        "users", "block", "block_user", "user_id",
        Question("get_user", lambda user, _: f"Block user {user.id}: no payments any more"),
    ),
    Verb("users", "unblock", "unblock_user", "user_id"),
    Verb("users", "unlock", "unlock_user", "user_id"),
    Verb("wallets", "list", "search_wallets"),
    Verb("wallets", "show", "find_wallet", "wallet_id"),
    Verb("wallets", "entries", "search_entries", "wallet_id", currency_of="find_wallet"),
    Verb("wallets", "statement", "find_statement", "wallet_id"),
    Verb("wallets", "create", "create_wallet"),
    Verb(
        "wallets", "deposit", "deposit", "wallet_id",
        Question(
            "find_wallet",
            lambda wallet, given: f"Deposit {money(given['amount'], wallet.currency)} into {_of(wallet)}",
        ),
    ),
    Verb("wallets", "withdraw", "withdraw", "wallet_id", Question("find_wallet", _take_out)),
    Verb("wallets", "adjust", "adjust", "wallet_id", Question("find_wallet", _adjust)),
    Verb("wallets", "activate", "activate_wallet", "wallet_id"),
    Verb(
        "wallets", "deactivate", "deactivate_wallet", "wallet_id",
        Question("find_wallet", lambda wallet, _: f"Deactivate {_of(wallet)}: it pays nothing any more"),
    ),
    Verb("invoices", "list", "search_invoices"),
    Verb("invoices", "show", "find_invoice", "invoice_id"),
    Verb("invoices", "create", "create_invoice"),
    Verb("invoices", "void", "void_invoice", "invoice_id", Question("find_invoice", _void)),
    Verb("payments", "list", "search_payments"),
    Verb("payments", "find", find_payments),
    Verb("payments", "show", "find_payment", "payment_id"),
    Verb("payments", "refund", "refund_payment", "payment_id", Question("find_payment", _refund)),
    Verb("payments", "resolve", "resolve_payment", "payment_id", Question("find_payment", _resolve)),
    Verb("limits", "list", "list_all_limits"),
    Verb("limits", "set", "set_limit", "currency", Question(read_limit, _set_limit)),
    Verb("notifications", "list", "list_notifications"),
    Verb("notifications", "send", "send_notification", "message_id"),
    Verb("webhooks", "list", "list_webhooks"),
    Verb("webhooks", "show", "find_webhook", "webhook_id"),
    Verb("webhooks", "create", "create_webhook", "url"),
    Verb("webhooks", "update", "update_webhook", "webhook_id"),
    Verb("webhooks", "rotate", "rotate_webhook_secret", "webhook_id"),
    Verb(
        "webhooks", "delete", "delete_webhook", "webhook_id",
        Question(
            "find_webhook", lambda each, _: f"Delete webhook {each.id} to {each.url} with its deliveries"
        ),
    ),
    Verb("webhooks", "deliveries", "list_deliveries", "webhook_id"),
    Verb("webhooks", "send", send_again, "webhook_id"),
)  # fmt: skip
