"""The engine: every operation of the library, by noun."""

from collections.abc import Callable, Mapping
from typing import Literal, Self, TypeVar

from technopay.engine import commands, fields
from technopay.engine.commands import Command
from technopay.engine.errors import FieldError, MessageNotFound, ValidationFailed
from technopay.engine.events.feed import Subscription
from technopay.engine.operations import operation
from technopay.engine.payment_flows import PaymentFlows
from technopay.engine.ports import Channel, Clock, Ids, SettlementService, Store, Verifier
from technopay.engine.runtime import Runtime, unwrap
from technopay.engine.settings import EngineSettings
from technopay.engine.statistics import Statistics, StoreGauges

# isort: off
from technopay.engine.fields import (
    Amount, Code, Currency, Description, Email, EntryCursor, EventId, InvoiceCursor, JournalCursor, Key,
    LimitAmount, Name, Note, PageLimit, PaymentCursor, Phone, Time, UserId, WaitSeconds, WalletCursor,
    id_or_unknown, nfc, partition_in, user_or_unknown,
)  # fmt: skip
from technopay.engine.models import (
    Audit, Entry, Invoice, Limit, Message, Method, OperatorPayment, Page, Payment, PaymentStatus,
    User, Wallet,
)  # fmt: skip
# isort: on

Value = TypeVar("Value")


class Engine:
    """technopay's engine: pays invoices from wallets, exactly once or not at all.

    One method per operation; arguments by keyword, frozen records as results, one exception per refusal. `async
    with` starts and closes; `aclose` can be called more than once, and before the start. The constructor does
    no I/O. The owner of the store closes it.
    """

    def __init__(
        self,
        store: Store,
        settings: EngineSettings,
        *,
        settlement_service: SettlementService | None = None,
        channels: Mapping[Method, Channel] | None = None,
        verifier: Verifier | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        if not isinstance(settings, EngineSettings) or not hasattr(store, "read_journal"):
            raise TypeError("an engine takes a store and EngineSettings")
        self._store = store
        self._settings = settings
        self._runtime = Runtime(store, settings, settlement_service, channels, verifier, clock, ids)
        self._payments = PaymentFlows(self._runtime)

    async def start(self) -> None:
        """Bind the store to the secret, or raise StoreUnfit; begin the background work."""
        await self._runtime.start()

    async def aclose(self) -> None:
        """Refuse new commands, finish the accepted ones, give up what takes longer than `drain_s`."""
        await self._runtime.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def settings(self) -> EngineSettings:
        return self._settings

    @property
    def statistics(self) -> Statistics:
        return self._runtime.statistics

    @operation()
    async def check(self) -> None:
        """Check whether the engine can work now."""
        await self._store.ping()

    @operation()
    async def measure(self) -> StoreGauges:
        """Measure the store, for all engines on it."""
        return await self._store.measure()

    @operation()
    async def audit(self) -> Audit:
        """Recompute every invariant from the journal, beside traffic."""
        return await self._runtime.audit()

    # Payments
    @operation(
        "user_not_found wallet_not_found invoice_not_found user_blocked wallet_inactive "
        "invoice_already_paid invoice_not_payable payment_in_progress currency_mismatch invoice_expired "
        "no_channel insufficient_funds daily_limit_exceeded balance_too_large rate_limited "
        "idempotency_key_reused validation_failed"
    )
    async def start_payment(
        self, *, user_id: UserId, invoice_id: str, wallet_id: str, method: Method | None = None,
        idempotency_key: Key = None
    ) -> Payment:  # fmt: skip
        """Start a payment of an invoice, and send the user a code. Nothing is deducted."""
        called = self._runtime.operation(
            "start", (user_id,), idempotency_key, [invoice_id, wallet_id, method], recorded=False
        )
        return await self._payments.start(called, user_id, wallet_id, invoice_id, method)

    @operation(
        "settlement_failed payment_not_found user_blocked wallet_inactive payment_not_confirmable "
        "confirmation_expired invoice_expired rate_limited confirmation_invalid insufficient_funds "
        "daily_limit_exceeded balance_too_large validation_failed"
    )
    async def confirm_payment(
        self, *, user_id: UserId, payment_id: str, code: Code, wait_s: WaitSeconds = 4.0
    ) -> Payment:
        """Confirm a payment with its code, take the money, and wait for the settlement.

        Returns the payment 'succeeded', or 'processing' when the wait ran out. SettlementFailed: the money is
        back in the wallet.
        """
        return await self._payments.confirm(user_id, payment_id, code, wait_s)

    @operation(
        "payment_not_found user_blocked wallet_inactive payment_not_confirmable confirmation_expired "
        "invoice_expired no_channel rate_limited idempotency_key_reused validation_failed"
    )
    async def resend_code(self, *, user_id: UserId, payment_id: str, idempotency_key: Key = None) -> Payment:
        """Send a new code with a new expiry. The old code is refused, the attempts stay."""
        called = self._payments.named("resend", user_id, payment_id, idempotency_key)
        return await self._payments.resend(called, user_id, payment_id)

    @operation("payment_not_found payment_not_cancelable idempotency_key_reused validation_failed")
    async def cancel_payment(self, *, user_id: UserId, payment_id: str, idempotency_key: Key = None) -> Payment:
        """Cancel a payment that waits for its code."""
        called = self._payments.named("cancel", user_id, payment_id, idempotency_key)
        return await self._payments.cancel(called, user_id, payment_id)

    @operation("payment_not_found validation_failed")
    async def get_payment(self, *, user_id: UserId, payment_id: str, wait_s: WaitSeconds = 0.0) -> Payment:
        """Read a payment; with a wait, once it is final or set aside, or the wait is over."""
        payment = await self._run(commands.ReadPayment(id_or_unknown(payment_id), user_id))
        return (await self.wait_for_rest(payment, wait_s)).for_user() if wait_s else payment

    @operation("validation_failed")
    async def list_payments(
        self, *, user_id: UserId, limit: PageLimit = 20, cursor: PaymentCursor = ""
    ) -> Page[Payment]:
        """List a user's payments, newest first."""
        return await self._run(commands.ListPayments(user_id, cursor, limit))

    @operation("payment_not_found")
    async def find_payment(self, *, payment_id: str) -> OperatorPayment:
        """Read a payment of any user."""
        return await self._run(commands.FindPayment(id_or_unknown(payment_id)))

    @operation("validation_failed")
    async def search_payments(
        self, *, status: PaymentStatus | None = None, user_id: UserId | None = None,
        set_aside: bool | None = None, limit: PageLimit = 20, cursor: str = ""
    ) -> Page[OperatorPayment]:  # fmt: skip
        """List payments of all users, newest first. A page can be short while there is a next one."""
        form = fields.PAYMENT_CURSOR if set_aside else fields.JOURNAL_CURSOR
        fields.require([("cursor", fields.cursor_error(cursor, form))])
        return await self._run(commands.SearchPayments(status, user_id, set_aside, cursor, limit))

    @operation(
        "payment_not_found payment_not_refundable balance_too_large idempotency_key_reused validation_failed"
    )
    async def refund_payment(self, *, payment_id: str, idempotency_key: Key = None) -> OperatorPayment:
        """Refund a succeeded payment: reverse it, then credit the wallet. The invoice stays paid.

        Returns the payment 'refunded', 'succeeded' when the settlement service declined the reversal (it can be
        refunded again later), or 'refunding' when the service takes its time.
        """
        called = self._runtime.operation("refund", (payment_id,), idempotency_key, [])
        route = await self._payments.route_of(payment_id, None)
        refund_id = self._runtime.ids.new("ref", partition_in(payment_id))
        return await self._payments.refund(route, commands.BeginRefund(called, payment_id, refund_id))

    @operation("payment_not_found payment_not_resolvable idempotency_key_reused validation_failed")
    async def resolve_payment(
        self, *, payment_id: str, outcome: Literal["settled", "refund"], note: Note, by: Name,
        idempotency_key: Key = None
    ) -> OperatorPayment:  # fmt: skip
        """Decide a payment that was set aside; `by` is the operator.

        A payment in 'refunding' is credited by 'refund', and succeeded again, its refund failed, by 'settled'.
        """
        called = self._runtime.operation("resolve", (payment_id,), idempotency_key, [outcome, note])
        command = commands.ResolvePayment(called, id_or_unknown(payment_id), outcome, nfc(note), nfc(by))
        return unwrap(await self._runtime.run(command, self._runtime.following()))

    async def wait_for_rest(
        self, payment: Payment, wait_s: float, is_wanted: Callable[[], bool] = lambda: True
    ) -> Payment:
        """Wait until a payment is at rest, or `wait_s` has passed, or the wait is unwanted."""
        return await self._runtime.wait_for_rest(payment, wait_s, is_wanted)

    # Wallets
    @operation("user_not_found idempotency_key_reused validation_failed")
    async def create_wallet(
        self, *, user_id: UserId, currency: Currency, idempotency_key: Key = None
    ) -> Wallet:
        """Create an active, empty wallet."""
        called = self._runtime.operation("create_wallet", (), idempotency_key, [user_id, currency])
        wallet_id = self._runtime.ids.new("wal", self._store.partition_of(user_id))
        return await self._run(commands.CreateWallet(called, wallet_id, user_id, currency))

    @operation("wallet_not_found")
    async def get_wallet(self, *, user_id: UserId, wallet_id: str) -> Wallet:
        """Read a wallet."""
        return await self._run(commands.ReadWallet(id_or_unknown(wallet_id), user_id))

    @operation("validation_failed")
    async def list_wallets(
        self, *, user_id: UserId, limit: PageLimit = 20, cursor: WalletCursor = ""
    ) -> Page[Wallet]:
        """List a user's wallets, newest first."""
        return await self._run(commands.ListWallets(user_id, cursor, limit))

    @operation("wallet_not_found validation_failed")
    async def list_entries(
        self, *, user_id: UserId, wallet_id: str, limit: PageLimit = 20, cursor: EntryCursor = ""
    ) -> Page[Entry]:
        """List the movements of a wallet, newest first."""
        return await self._run(commands.ListEntries(id_or_unknown(wallet_id), user_id, cursor, limit))

    @operation("wallet_not_found")
    async def find_wallet(self, *, wallet_id: str) -> Wallet:
        """Read a wallet of any user."""
        return await self._run(commands.ReadWallet(id_or_unknown(wallet_id)))

    @operation("wallet_not_found balance_too_large idempotency_key_reused validation_failed")
    async def deposit(self, *, wallet_id: str, amount: Amount, idempotency_key: Key = None) -> Wallet:
        """Add money to a wallet of any status."""
        called = self._runtime.operation("deposit", (wallet_id,), idempotency_key, [amount])
        command = commands.Deposit(called, id_or_unknown(wallet_id), amount)
        return unwrap(await self._runtime.directory.run(command.wallet_id, command))

    @operation("wallet_not_found idempotency_key_reused validation_failed")
    async def activate_wallet(self, *, wallet_id: str, idempotency_key: Key = None) -> Wallet:
        """Activate a wallet, so that it can pay again."""
        return await self._set_wallet_status(wallet_id, "active", idempotency_key)

    @operation("wallet_not_found idempotency_key_reused validation_failed")
    async def deactivate_wallet(self, *, wallet_id: str, idempotency_key: Key = None) -> Wallet:
        """Deactivate a wallet: it cannot pay. Running payments are finished, and refunds still go in."""
        return await self._set_wallet_status(wallet_id, "inactive", idempotency_key)

    # Invoices
    @operation("user_not_found reference_used idempotency_key_reused validation_failed")
    async def create_invoice(
        self, *, user_id: UserId, amount: Amount, currency: Currency, merchant: Name, expires_at: Time,
        description: Description | None = None, reference: Name | None = None, idempotency_key: Key = None
    ) -> Invoice:  # fmt: skip
        """Create an invoice for a user, payable until it expires."""
        # A repeat is recognised by the arguments of the caller, not by their normal form.
        arguments = [user_id, amount, currency, merchant, description, reference, expires_at.isoformat()]
        called = self._runtime.operation("create_invoice", (), idempotency_key, arguments)
        invoice_id = self._runtime.ids.new("inv", self._store.partition_of(user_id))
        texts = nfc(merchant), nfc(description), nfc(reference)
        command = commands.CreateInvoice(called, invoice_id, user_id, amount, currency, *texts, expires_at)
        outcome = await self._runtime.run(command, lambda _: self._runtime.feed.wake())
        if outcome.code == "expiry_past":
            raise ValidationFailed([FieldError("expires_at", "has to be in the future")])
        return unwrap(outcome)

    @operation("invoice_not_found")
    async def get_invoice(self, *, user_id: UserId, invoice_id: str) -> Invoice:
        """Read an invoice."""
        return await self._run(commands.ReadInvoice(id_or_unknown(invoice_id), user_id))

    @operation("validation_failed")
    async def list_invoices(
        self, *, user_id: UserId, limit: PageLimit = 20, cursor: InvoiceCursor = ""
    ) -> Page[Invoice]:
        """List a user's invoices, newest first."""
        return await self._run(commands.ListInvoices(user_id, cursor, limit))

    @operation("invoice_not_found")
    async def find_invoice(self, *, invoice_id: str) -> Invoice:
        """Read an invoice of any user."""
        return await self._run(commands.ReadInvoice(id_or_unknown(invoice_id)))

    @operation("invoice_not_found invoice_not_voidable idempotency_key_reused validation_failed")
    async def void_invoice(self, *, invoice_id: str, idempotency_key: Key = None) -> Invoice:
        """Withdraw an invoice; a payment of it that waits for its code is canceled."""
        called = self._runtime.operation("void_invoice", (invoice_id,), idempotency_key, [])
        command = commands.VoidInvoice(called, id_or_unknown(invoice_id))
        wake = self._runtime.wake_journal_readers
        return unwrap(await self._runtime.run(command, lambda _: wake(partition_in(command.invoice_id))))

    # Users
    @operation("user_exists idempotency_key_reused validation_failed")
    async def create_user(
        self, *, user_id: UserId, email: Email | None = None, phone: Phone | None = None,
        idempotency_key: Key = None
    ) -> User:  # fmt: skip
        """Create a user, with the id of the caller's identity system."""
        called = self._runtime.operation("create_user", (), idempotency_key, [user_id, email, phone])
        return await self._run(commands.CreateUser(called, user_id, nfc(email), phone))

    @operation("user_not_found")
    async def get_user(self, *, user_id: str) -> User:
        """Read a user."""
        return await self._run(
            commands.ReadUser(user_or_unknown(user_id), self._settings.failures_per_day or None)
        )

    @operation("user_not_found idempotency_key_reused validation_failed")
    async def block_user(self, *, user_id: str, idempotency_key: Key = None) -> User:
        """Block a user: no start, confirm or resend any more. Running payments are finished."""
        return await self._set_user_status("block_user", user_id, "blocked", idempotency_key)

    @operation("user_not_found idempotency_key_reused validation_failed")
    async def unblock_user(self, *, user_id: str, idempotency_key: Key = None) -> User:
        """Unblock a user, who can pay again."""
        return await self._set_user_status("unblock_user", user_id, "active", idempotency_key)

    @operation("user_not_found idempotency_key_reused validation_failed")
    async def unlock_user(self, *, user_id: str, idempotency_key: Key = None) -> User:
        """Clear a lock-out by wrong codes."""
        called = self._runtime.operation("unlock_user", (user_id,), idempotency_key, [])
        failures_per_day = self._settings.failures_per_day or None
        return await self._run(commands.UnlockUser(called, user_or_unknown(user_id), failures_per_day))

    # Limits
    @operation("validation_failed")
    async def set_limit(self, *, currency: Currency, amount: LimitAmount | None) -> Limit:
        """Set the global daily limit of a currency; None lifts it, 0 stops all payments."""
        called = self._runtime.operation("set_limit", (currency,), None, [amount])
        return await self._run(commands.SetLimit(called, currency, amount))

    @operation("validation_failed")
    async def list_limits(self, *, user_id: UserId) -> list[Limit]:
        """List the limits that bind a user: those of the currencies of the user's wallets."""
        return await self._run(commands.ReadLimits(user_id))

    @operation()
    async def list_all_limits(self) -> list[Limit]:
        """List all limits that were ever set; a lifted one has the limit None."""
        return await self._run(commands.ReadLimits())

    # Notifications
    @operation("validation_failed")
    async def list_messages(
        self, *, status: Literal["sent", "waiting", "dead"] | None = None, user_id: UserId | None = None,
        limit: PageLimit = 20, cursor: JournalCursor = ""
    ) -> Page[Message]:  # fmt: skip
        """List messages, newest first. A page can be short while there is a next one."""
        return await self._run(commands.ListMessages(status, user_id, cursor, limit))

    @operation("not_found idempotency_key_reused validation_failed")
    async def send_message_again(self, *, message_id: str, idempotency_key: Key = None) -> Message:
        """Try a dead message again; a message that is not dead is not changed."""
        called = self._runtime.operation("send_again", (message_id,), idempotency_key, [])
        found = fields.MESSAGE_ID.fullmatch(message_id)
        if not found:
            raise MessageNotFound
        command = commands.SendMessageAgain(called, int(found[1], 16), found[2])
        return unwrap(await self._runtime.run(command, lambda _: self._runtime.wake_agenda(command.partition)))

    # Events
    @operation("rate_limited event_position_unknown validation_failed")
    async def events(self, *, user_id: UserId, after: EventId | None = None) -> Subscription:
        """Listen to the changes of a user's payments and invoices: from now on, or after an earlier event.

            async with await engine.events(user_id="alice") as events:
                async for event in events: ...

        The iteration ends when the engine drains or the listener is too slow. Resume `after` the last event's
        id: nothing is lost. Close the subscription: the number per user is bounded.

        EventPositionUnknown: the store lost that event. Read the records, and listen from now on.
        """
        seen = fields.EVENT_ID.fullmatch(after or "")
        if seen and int(seen[1], 16) != self._store.partition_of(user_id):
            raise ValidationFailed([FieldError("after", fields.EVENT_ID_RULE)])
        return await self._runtime.feed.listen(user_id, after)

    async def _run(self, command: Command[Value]) -> Value:
        return unwrap(await self._store.run(command))

    async def _set_user_status(self, name: str, user_id: str, status: str, key: str | None) -> User:
        called = self._runtime.operation(name, (user_id,), key, [])
        failures_per_day = self._settings.failures_per_day or None
        user_id = user_or_unknown(user_id)
        return await self._run(commands.SetUserStatus(called, user_id, status, failures_per_day))

    async def _set_wallet_status(self, wallet_id: str, status: str, key: str | None) -> Wallet:
        called = self._runtime.operation(f"set_wallet_{status}", (wallet_id,), key, [])
        command = commands.SetWalletStatus(called, id_or_unknown(wallet_id), status)
        return unwrap(await self._runtime.directory.run(command.wallet_id, command))
