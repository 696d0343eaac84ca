"""What a user can do: pay, and look."""

from __future__ import annotations

import re

from technopay.engine import fields
from technopay.engine.arguments import operation
from technopay.engine.code_keys import matching_versions
from technopay.engine.commands import CancelPayment, ConfirmPayment, Evidence, ResendCode, StartPayment
from technopay.engine.core import EngineCore, Route, known, unwrap
from technopay.engine.errors import (
    BalanceTooLarge,
    ConfirmationExpired,
    ConfirmationInvalid,
    CurrencyMismatch,
    DailyLimitExceeded,
    IdempotencyKeyReused,
    InsufficientFunds,
    InvoiceAlreadyPaid,
    InvoiceExpired,
    InvoiceNotFound,
    InvoiceNotPayable,
    NoChannel,
    PaymentInProgress,
    PaymentNotCancelable,
    PaymentNotConfirmable,
    PaymentNotFound,
    RateLimited,
    SettlementFailed,
    StoreUnavailable,
    UserBlocked,
    UserNotFound,
    ValidationFailed,
    WalletInactive,
    WalletNotFound,
)
from technopay.engine.feed import Subscription
from technopay.engine.models import Entry, Invoice, Limit, Method, Page, Payment, Wallet
from technopay.engine.ports import Operation, Outcome, PaymentTerms, Verifier

WAIT_S_MAX = 10.0
NO_KEY = "-"
CODES_UNREACHED = 1_000_000_000
"""A limit that counts and never refuses: the relay takes the count back when it finds that nothing is sent."""
KEY_UNKNOWN = "The code belongs to a secret that this process does not have. Nothing happened; try again."


class PaymentOperations(EngineCore):
    """The operations of a user. Everything is judged for this user: what is somebody else's does not exist."""

    @operation(
        UserNotFound,
        WalletNotFound,
        InvoiceNotFound,
        UserBlocked,
        WalletInactive,
        InvoiceAlreadyPaid,
        InvoiceNotPayable,
        PaymentInProgress,
        CurrencyMismatch,
        InvoiceExpired,
        NoChannel,
        InsufficientFunds,
        DailyLimitExceeded,
        BalanceTooLarge,
        RateLimited,
        IdempotencyKeyReused,
        ValidationFailed,
    )
    async def start_payment(
        self,
        *,
        user_id: str,
        invoice_id: str,
        wallet_id: str,
        method: Method | None = None,
        idempotency_key: str | None = None,
    ) -> Payment:
        """Begin to pay an invoice, and send the user a code. Nothing is deducted."""
        fields.require(
            [
                ("user_id", fields.user_id_error(user_id)),
                ("idempotency_key", fields.key_error(idempotency_key)),
            ]
        )
        arguments = [invoice_id, wallet_id, method]
        operation = self._operation("start", (user_id,), idempotency_key, arguments, recorded=False)
        command = StartPayment(
            operation=operation,
            payment_id=self._ids.new("pay"),
            user_id=user_id,
            wallet_id=known(wallet_id),
            invoice_id=known(invoice_id),
            method=self._method(method),
            key_id=self._keys.current,
            code_lifetime_ms=self._settings.code_lifetime_s * 1000,
            attempts=self._settings.code_attempts,
            resends=self._settings.code_resends,
            codes_per_hour=self._settings.codes_per_hour,
            failures_per_day=self._settings.failures_per_day,
        )
        mailbox = await self._owners.mailbox_for(command)
        payment = unwrap(await self._send_code(mailbox, command, None))
        self._owners.note(payment.wallet_id, user_id)
        return payment.for_user()

    @operation(
        SettlementFailed,
        PaymentNotFound,
        UserBlocked,
        WalletInactive,
        PaymentNotConfirmable,
        ConfirmationExpired,
        InvoiceExpired,
        RateLimited,
        ConfirmationInvalid,
        InsufficientFunds,
        DailyLimitExceeded,
        BalanceTooLarge,
        ValidationFailed,
    )
    async def confirm_payment(
        self, *, user_id: str, payment_id: str, code: str, wait_s: float = 4.0
    ) -> Payment:
        """Confirm a payment with its code, take the money, and wait for the settlement.

        Answers the payment 'succeeded', or 'processing' when the wait ran out.
        """
        fields.require(
            [
                ("user_id", fields.user_id_error(user_id)),
                ("code", fields.code_error(code)),
                ("wait_s", _wait_error(wait_s)),
            ]
        )
        route = await self._route_of(payment_id, user_id)
        command = ConfirmPayment(
            operation=Operation(self._new_call()),
            payment_id=payment_id,
            user_id=user_id,
            evidence=await self._evidence(route, fields.normalise_code(code)),
            confirms_per_minute=self._settings.confirms_per_minute,
            failures_per_day=self._settings.failures_per_day,
        )
        outcome: Outcome[Payment] = await self._directory.ask(route.wallet_id, command, self._follow)
        if outcome.code == "key_unknown":
            self._routes.pop(payment_id, None)
            raise StoreUnavailable(KEY_UNKNOWN)
        payment = unwrap(outcome)
        if wait_s:
            payment = await self.wait_for_rest(payment, wait_s)
        payment = payment.for_user()
        if payment.status == "failed":
            raise SettlementFailed(payment=payment, replayed=outcome.replayed)
        return payment.as_replay() if outcome.replayed else payment

    @operation(
        PaymentNotFound,
        UserBlocked,
        WalletInactive,
        PaymentNotConfirmable,
        ConfirmationExpired,
        InvoiceExpired,
        NoChannel,
        RateLimited,
        IdempotencyKeyReused,
        ValidationFailed,
    )
    async def resend_code(
        self, *, user_id: str, payment_id: str, idempotency_key: str | None = None
    ) -> Payment:
        """Send a fresh code with a fresh expiry; the old one is dead, the attempts stay."""
        self._require_user(user_id)
        fields.require([("idempotency_key", fields.key_error(idempotency_key))])
        operation = self._operation("resend", (user_id, payment_id), idempotency_key, [], recorded=False)
        # A foreign payment is refused by the same question as one that does not exist.
        route = await self._route_of(payment_id, user_id)
        self._verifier_of(route)
        issue = route.code.version + 1 if route.code else 1
        # Another resend can come between; there are only so many.
        while True:
            command = ResendCode(
                operation=operation,
                payment_id=payment_id,
                user_id=user_id,
                issue=issue,
                code_lifetime_ms=self._settings.code_lifetime_s * 1000,
                codes_per_hour=self._settings.codes_per_hour,
                failures_per_day=self._settings.failures_per_day,
            )
            outcome = await self._send_code(route.wallet_id, command, route)
            if outcome.code != "issue":
                return unwrap(outcome).for_user()
            issue = outcome.details["issue"] + 1

    @operation(PaymentNotFound, PaymentNotCancelable, IdempotencyKeyReused, ValidationFailed)
    async def cancel_payment(
        self, *, user_id: str, payment_id: str, idempotency_key: str | None = None
    ) -> Payment:
        """Give up a payment that waits for its code."""
        self._require_user(user_id)
        fields.require([("idempotency_key", fields.key_error(idempotency_key))])
        operation = self._operation("cancel", (user_id, payment_id), idempotency_key, [], recorded=False)
        command = CancelPayment(operation, payment_id, user_id)
        route = await self._route_of(payment_id, user_id)
        outcome: Outcome[Payment] = await self._directory.ask(route.wallet_id, command, self._follow)
        return unwrap(outcome).for_user()

    @operation(PaymentNotFound, ValidationFailed)
    async def get_payment(self, *, user_id: str, payment_id: str, wait_s: float = 0.0) -> Payment:
        """Read a payment; with a wait, as soon as it is final or set aside or the wait ran out."""
        self._require_user(user_id)
        fields.require([("wait_s", _wait_error(wait_s))])
        payment = unwrap(await self._store.read_payment(known(payment_id), user_id))
        return (await self.wait_for_rest(payment, wait_s) if wait_s else payment).for_user()

    @operation(ValidationFailed)
    async def list_payments(self, *, user_id: str, limit: int = 20, cursor: str = "") -> Page[Payment]:
        """List a user's payments, newest first."""
        self._require_user(user_id)
        self._require_page(limit, cursor, fields.PAYMENT_CURSOR)
        page = await self._store.list_payments(user_id, cursor, limit)
        return page.model_copy(update={"data": [payment.for_user() for payment in page.data]})

    @operation(WalletNotFound)
    async def get_wallet(self, *, user_id: str, wallet_id: str) -> Wallet:
        """Read a wallet."""
        self._require_user(user_id)
        return unwrap(await self._store.read_wallet(known(wallet_id), user_id))

    @operation(ValidationFailed)
    async def list_wallets(self, *, user_id: str, limit: int = 20, cursor: str = "") -> Page[Wallet]:
        """List a user's wallets, newest first."""
        self._require_user(user_id)
        self._require_page(limit, cursor, fields.WALLET_CURSOR)
        return await self._store.list_wallets(user_id, cursor, limit)

    @operation(WalletNotFound, ValidationFailed)
    async def list_entries(
        self, *, user_id: str, wallet_id: str, limit: int = 20, cursor: str = ""
    ) -> Page[Entry]:
        """List the movements of a wallet, newest first."""
        self._require_user(user_id)
        self._require_page(limit, cursor, fields.ENTRY_CURSOR)
        return unwrap(await self._store.list_entries(known(wallet_id), user_id, cursor, limit))

    @operation(InvoiceNotFound)
    async def get_invoice(self, *, user_id: str, invoice_id: str) -> Invoice:
        """Read an invoice."""
        self._require_user(user_id)
        return unwrap(await self._store.read_invoice(known(invoice_id), user_id))

    @operation(ValidationFailed)
    async def list_invoices(self, *, user_id: str, limit: int = 20, cursor: str = "") -> Page[Invoice]:
        """List a user's invoices, newest first."""
        self._require_user(user_id)
        self._require_page(limit, cursor, fields.INVOICE_CURSOR)
        return await self._store.list_invoices(user_id, cursor, limit)

    @operation(ValidationFailed)
    async def list_limits(self, *, user_id: str) -> list[Limit]:
        """List the limits that bind a user: those of the currencies of the user's wallets."""
        self._require_user(user_id)
        return await self._store.read_limits(user_id)

    @operation(RateLimited, ValidationFailed)
    async def events(self, *, user_id: str, after: str | None = None) -> Subscription:
        """Listen to what happens to a user's payments and invoices: from now on, or after an event seen before.

            async with await engine.events(user_id="alice") as events:
                async for event in events: ...

        The iteration ends when the engine drains, and for a listener who does not keep up; nothing is lost by
        that: go on `after` the last event's id. Close what you listen with: a user has only so many places.
        """
        self._require_user(user_id)
        fields.require([("after", fields.event_id_error(after))])
        return await self._feed.listen(user_id, after)

    async def _evidence(self, route: Route, answer: str) -> Evidence:
        """Compare an answer with all codes of a payment.

        One that does not wait for a code any more is judged by what was kept of the accepted answer.
        """
        digests = self._keys.digests(route.terms.payment_id, answer)
        verifier = self._verifier_of(route)
        if route.code is None or verifier is None:
            return Evidence(NO_KEY, ",", digests)
        matching = await matching_versions(verifier, route.terms, answer, route.code.version_max)
        return Evidence(route.code.key_id, matching, digests)

    async def _send_code(
        self, mailbox: str, command: StartPayment | ResendCode, route: Route | None
    ) -> Outcome[Payment]:
        """Start or resend. A user over the limit of codes is refused only a code that would be sent."""
        outcome: Outcome[Payment] = await self._directory.ask(mailbox, command, self._follow)
        is_too_many = self._keys.is_own and outcome.details.get("too_many") == "codes"
        if is_too_many and await self._sends_none(command, route):
            uncounted = command._replace(codes_per_hour=CODES_UNREACHED)
            outcome = await self._directory.ask(mailbox, uncounted, self._follow)
        return outcome

    async def _sends_none(self, command: StartPayment | ResendCode, route: Route | None) -> bool:
        if isinstance(command, ResendCode):
            verifier = self._verifier_of(route) if route else None
            return bool(verifier and route and await verifier.code(route.terms, command.issue) is None)
        invoice = unwrap(await self._store.read_invoice(command.invoice_id, command.user_id))
        terms = PaymentTerms(command.payment_id, invoice.amount, invoice.currency, invoice.merchant)
        verifier = self._keys.verifier(self._keys.current)
        return bool(verifier and await verifier.code(terms, 1) is None)

    def _verifier_of(self, route: Route) -> Verifier | None:
        """Return the verifier of a payment that waits for its code.

        Raises:
            StoreUnavailable: this engine does not have its key, another one does.

        """
        if route.code is None:
            return None
        verifier = self._keys.verifier(route.code.key_id)
        if verifier is None:
            raise StoreUnavailable(KEY_UNKNOWN)
        return verifier

    def _require_user(self, user_id: str) -> None:
        """Refuse what is no user id: to the store, no user would be an operator, who sees everything."""
        fields.require([("user_id", fields.user_id_error(user_id))])

    def _require_page(self, limit: int, cursor: str, form: re.Pattern[str]) -> None:
        fields.require([("limit", fields.page_error(limit)), ("cursor", fields.cursor_error(cursor, form))])


def _wait_error(wait_s: float) -> str | None:
    return None if 0 <= wait_s <= WAIT_S_MAX else f"has to be 0 to {WAIT_S_MAX:g} seconds"
