"""What an operator can do: users, wallets, invoices, limits, refunds, and what was set aside."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Literal, cast

from technopay.engine import fields
from technopay.engine.arguments import operation
from technopay.engine.commands import BeginRefund, Deposit, NewInvoice, SetWalletStatus
from technopay.engine.core import known, known_user, unwrap
from technopay.engine.errors import (
    BalanceTooLarge,
    FieldError,
    IdempotencyKeyReused,
    InvoiceNotFound,
    InvoiceNotVoidable,
    MessageNotFound,
    PaymentNotFound,
    PaymentNotRefundable,
    PaymentNotResolvable,
    ReferenceUsed,
    UserExists,
    UserNotFound,
    ValidationFailed,
    WalletNotFound,
)
from technopay.engine.models import (
    Audit,
    Invoice,
    Limit,
    Message,
    OperatorPayment,
    Page,
    PaymentStatus,
    User,
    Wallet,
)
from technopay.engine.payments import PaymentOperations
from technopay.engine.ports import Operation, Outcome

REFUND_WAIT_S = 4.0


class Engine(PaymentOperations):
    """technopay's engine: pays invoices from wallets, exactly once or not at all.

    One method per operation; arguments by keyword, frozen records as answers, one exception per refusal.
    """

    @operation(UserExists, IdempotencyKeyReused, ValidationFailed)
    async def create_user(
        self,
        *,
        user_id: str,
        email: str | None = None,
        phone: str | None = None,
        idempotency_key: str | None = None,
    ) -> User:
        """Make a user of the caller's identity system known."""
        fields.require(
            [
                ("id", fields.user_id_error(user_id)),
                ("email", fields.email_error(email)),
                ("phone", fields.phone_error(phone)),
                ("idempotency_key", fields.key_error(idempotency_key)),
            ]
        )
        operation = self._operation("create_user", (), idempotency_key, [user_id, email, phone])
        return unwrap(await self._store.create_user(operation, user_id, fields.nfc(email), phone))

    @operation(UserNotFound)
    async def get_user(self, *, user_id: str) -> User:
        """Read a user."""
        most = self._settings.failures_per_day
        return unwrap(await self._store.read_user(known_user(user_id), most))

    @operation(UserNotFound, IdempotencyKeyReused, ValidationFailed)
    async def block_user(self, *, user_id: str, idempotency_key: str | None = None) -> User:
        """Block a user: nothing is started, confirmed or resent any more. What is under way is finished."""
        operation = self._keyed("block_user", (user_id,), idempotency_key, [])
        return await self._set_user_status(operation, user_id, "blocked")

    @operation(UserNotFound, IdempotencyKeyReused, ValidationFailed)
    async def unblock_user(self, *, user_id: str, idempotency_key: str | None = None) -> User:
        """Let a blocked user pay again."""
        operation = self._keyed("unblock_user", (user_id,), idempotency_key, [])
        return await self._set_user_status(operation, user_id, "active")

    @operation(UserNotFound, IdempotencyKeyReused, ValidationFailed)
    async def unlock_user(self, *, user_id: str, idempotency_key: str | None = None) -> User:
        """Clear a lock-out by wrong codes."""
        operation = self._keyed("unlock_user", (user_id,), idempotency_key, [])
        most = self._settings.failures_per_day
        return unwrap(await self._store.unlock_user(operation, known_user(user_id), most))

    @operation(UserNotFound, IdempotencyKeyReused, ValidationFailed)
    async def create_wallet(self, *, user_id: str, currency: str, idempotency_key: str | None = None) -> Wallet:
        """Open an active wallet with nothing in it."""
        fields.require(
            [("user_id", fields.user_id_error(user_id)), ("currency", fields.currency_error(currency))]
        )
        operation = self._keyed("create_wallet", (), idempotency_key, [user_id, currency])
        return unwrap(await self._store.create_wallet(operation, self._ids.new("wal"), user_id, currency))

    @operation(WalletNotFound)
    async def find_wallet(self, *, wallet_id: str) -> Wallet:
        """Read a wallet of any user."""
        return unwrap(await self._store.read_wallet(known(wallet_id), None))

    @operation(WalletNotFound, BalanceTooLarge, IdempotencyKeyReused, ValidationFailed)
    async def deposit(self, *, wallet_id: str, amount: int, idempotency_key: str | None = None) -> Wallet:
        """Put money into a wallet, whatever its status."""
        fields.require([("amount", fields.amount_error(amount))])
        operation = self._keyed("deposit", (wallet_id,), idempotency_key, [amount])
        command = Deposit(operation, known(wallet_id), amount)
        outcome: Outcome[Wallet] = await self._directory.ask(command.wallet_id, command)
        return unwrap(outcome)

    @operation(WalletNotFound, IdempotencyKeyReused, ValidationFailed)
    async def activate_wallet(self, *, wallet_id: str, idempotency_key: str | None = None) -> Wallet:
        """Let a wallet pay again."""
        return await self._set_wallet_status(wallet_id, "active", idempotency_key)

    @operation(WalletNotFound, IdempotencyKeyReused, ValidationFailed)
    async def deactivate_wallet(self, *, wallet_id: str, idempotency_key: str | None = None) -> Wallet:
        """Keep a wallet from paying; what is under way is finished, and refunds still go in."""
        return await self._set_wallet_status(wallet_id, "inactive", idempotency_key)

    @operation(UserNotFound, ReferenceUsed, IdempotencyKeyReused, ValidationFailed)
    async def create_invoice(
        self,
        *,
        user_id: str,
        amount: int,
        currency: str,
        merchant: str,
        expires_at: datetime,
        description: str | None = None,
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> Invoice:
        """Enter an invoice that a user has to pay before it expires."""
        fields.require(
            [
                ("user_id", fields.user_id_error(user_id)),
                ("amount", fields.amount_error(amount)),
                ("currency", fields.currency_error(currency)),
                ("merchant", fields.text_error(merchant, 1, 128)),
                ("description", fields.text_error(description, 0, 500, lines=True)),
                ("reference", fields.text_error(reference, 1, 128)),
                ("expires_at", fields.time_error(expires_at)),
            ]
        )
        # A repeat is known by its arguments as they came.
        arguments = [user_id, amount, currency, merchant, description, reference, expires_at.isoformat()]
        operation = self._keyed("create_invoice", (), idempotency_key, arguments)
        merchant, description, reference = fields.nfc(merchant), fields.nfc(description), fields.nfc(reference)
        invoice = NewInvoice(
            self._ids.new("inv"), user_id, amount, currency, merchant, description, reference, expires_at
        )
        call = partial(self._store.create_invoice, operation, invoice)
        outcome = await self._finish(call, lambda _: self._feed.wake())
        if outcome.code == "expiry_past":
            raise ValidationFailed([FieldError("expires_at", "has to be in the future")])
        return unwrap(outcome)

    @operation(InvoiceNotFound)
    async def find_invoice(self, *, invoice_id: str) -> Invoice:
        """Read an invoice of any user."""
        return unwrap(await self._store.read_invoice(known(invoice_id), None))

    @operation(InvoiceNotFound, InvoiceNotVoidable, IdempotencyKeyReused, ValidationFailed)
    async def void_invoice(self, *, invoice_id: str, idempotency_key: str | None = None) -> Invoice:
        """Withdraw an invoice; a payment of it that waits for its code is canceled."""
        operation = self._keyed("void_invoice", (invoice_id,), idempotency_key, [])
        call = partial(self._store.void_invoice, operation, known(invoice_id))
        return unwrap(await self._finish(call, lambda _: self._wake_tellers()))

    @operation(ValidationFailed)
    async def set_limit(self, *, currency: str, amount: int | None) -> Limit:
        """Set the global daily limit of a currency; None lifts it, 0 stops all payments."""
        amount_error = None if amount is None else fields.amount_error(amount, least=0)
        fields.require([("currency", fields.currency_error(currency)), ("amount", amount_error)])
        operation = self._operation("set_limit", (currency,), None, [amount])
        return unwrap(await self._store.set_limit(operation, currency, amount))

    @operation(ValidationFailed)
    async def list_all_limits(self) -> list[Limit]:
        """List the limits that were ever set; a lifted one has the limit None."""
        return await self._store.read_limits(None)

    @operation(PaymentNotFound, PaymentNotRefundable, BalanceTooLarge, IdempotencyKeyReused, ValidationFailed)
    async def refund_payment(self, *, payment_id: str, idempotency_key: str | None = None) -> OperatorPayment:
        """Give a succeeded payment back: reverse it, then credit the wallet. The invoice stays paid.

        Answers the payment 'refunded', 'succeeded' when the settlement service declined the reversal (it can be
        refunded again later), or 'refunding' when the service takes its time.
        """
        operation = self._keyed("refund", (payment_id,), idempotency_key, [])
        route = await self._route_of(payment_id, None)
        command = BeginRefund(operation, payment_id, self._ids.new("ref"))
        outcome: Outcome[OperatorPayment] = await self._directory.ask(route.wallet_id, command, self._follow)
        payment = cast("OperatorPayment", await self.wait_for_rest(unwrap(outcome), REFUND_WAIT_S))
        return payment.as_replay() if outcome.replayed else payment

    @operation(PaymentNotFound, PaymentNotResolvable, IdempotencyKeyReused, ValidationFailed)
    async def resolve_payment(
        self,
        *,
        payment_id: str,
        outcome: Literal["settled", "refund"],
        note: str,
        by: str,
        idempotency_key: str | None = None,
    ) -> OperatorPayment:
        """Decide a payment that was set aside; `by` is who decides.

        A payment in 'refunding' is credited by 'refund', and succeeded again, its refund failed, by 'settled'.
        """
        fields.require(
            [
                ("note", fields.text_error(note, 1, 500, lines=True)),
                ("by", fields.text_error(by, 1, 128)),
            ]
        )
        operation = self._keyed("resolve", (payment_id,), idempotency_key, [outcome, note])
        note, by = fields.nfc(note), fields.nfc(by)
        call = partial(self._store.resolve_payment, operation, known(payment_id), outcome, note, by)
        return unwrap(await self._finish(call, self._follow))

    @operation(PaymentNotFound)
    async def find_payment(self, *, payment_id: str) -> OperatorPayment:
        """Read a payment of any user."""
        return unwrap(await self._store.read_payment(known(payment_id), None))

    @operation(ValidationFailed)
    async def search_payments(
        self,
        *,
        status: PaymentStatus | None = None,
        user_id: str | None = None,
        set_aside: bool | None = None,
        limit: int = 20,
        cursor: str = "",
    ) -> Page[OperatorPayment]:
        """List payments of all users, newest first. A page can be short while there is a next one."""
        self._require_page(limit, cursor, fields.PAYMENT_CURSOR if set_aside else fields.JOURNAL_CURSOR)
        self._require_filter(user_id)
        return await self._store.search_payments(
            status, user_id, set_aside=set_aside, cursor=cursor, limit=limit
        )

    @operation(ValidationFailed)
    async def list_messages(
        self,
        *,
        status: Literal["sent", "waiting", "dead"] | None = None,
        user_id: str | None = None,
        limit: int = 20,
        cursor: str = "",
    ) -> Page[Message]:
        """List messages, newest first. A page can be short while there is a next one."""
        self._require_page(limit, cursor, fields.JOURNAL_CURSOR)
        self._require_filter(user_id)
        return await self._store.list_messages(status, user_id, cursor, limit)

    @operation(MessageNotFound, IdempotencyKeyReused, ValidationFailed)
    async def send_message_again(self, *, message_id: str, idempotency_key: str | None = None) -> Message:
        """Try a dead message again; one that is not dead stays as it is."""
        operation = self._keyed("send_again", (message_id,), idempotency_key, [])
        call = partial(self._store.send_again, operation, known(message_id))
        return unwrap(await self._finish(call, lambda _: self._agenda.wake()))

    @operation(ValidationFailed)
    async def audit(self) -> Audit:
        """Recompute every invariant from the journal and compare, beside whatever goes on.

        It takes a minute for millions of entries; those who ask meanwhile get the same answer.
        """
        return await self._share_audit()

    async def _set_user_status(self, operation: Operation, user_id: str, status: str) -> User:
        most = self._settings.failures_per_day
        return unwrap(await self._store.set_user_status(operation, known_user(user_id), status, most))

    async def _set_wallet_status(self, wallet_id: str, status: str, key: str | None) -> Wallet:
        operation = self._keyed(f"set_wallet_{status}", (wallet_id,), key, [])
        command = SetWalletStatus(operation, known(wallet_id), status)
        outcome: Outcome[Wallet] = await self._directory.ask(command.wallet_id, command)
        return unwrap(outcome)

    def _require_filter(self, user_id: str | None) -> None:
        if user_id is not None:
            fields.require([("user_id", fields.user_id_error(user_id))])

    def _keyed(self, name: str, scope: tuple[str, ...], key: str | None, arguments: object) -> Operation:
        fields.require([("idempotency_key", fields.key_error(key))])
        return self._operation(name, scope, key, arguments)
