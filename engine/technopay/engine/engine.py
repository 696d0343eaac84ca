"""The engine: every operation of the library, by noun; the operations are functions of its runtime."""

from collections.abc import Callable, Mapping
from typing import Self

from technopay.engine.models import Method, Payment
from technopay.engine.operations import (
    events,
    invoices,
    limits,
    notifications,
    payments,
    reconciliation,
    users,
    wallets,
    webhooks,
)
from technopay.engine.operations import store as store_operations
from technopay.engine.ports import Channel, Clock, Ids, SettlementService, Store, Verifier, WebhookSender
from technopay.engine.runtime import Runtime
from technopay.engine.settings import EngineSettings
from technopay.engine.statistics import Statistics


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
        webhook_sender: WebhookSender | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        if not isinstance(settings, EngineSettings) or not hasattr(store, "read_journal"):
            raise TypeError("an engine takes a store and EngineSettings")
        self._runtime = Runtime(
            store, settings, settlement_service, channels, verifier, webhook_sender, clock, ids
        )

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
        return self._runtime.settings

    @property
    def statistics(self) -> Statistics:
        return self._runtime.statistics

    async def wait_for_rest(
        self, payment: Payment, wait_s: float, is_wanted: Callable[[], bool] = lambda: True
    ) -> Payment:
        """Wait until a payment is at rest, or `wait_s` has passed, or the wait is unwanted."""
        return await self._runtime.wait_for_rest(payment, wait_s, is_wanted)

    check = store_operations.check
    measure = store_operations.measure
    audit = store_operations.audit
    get_archive = store_operations.get_archive

    start_payment = payments.start_payment
    confirm_payment = payments.confirm_payment
    resend_code = payments.resend_code
    cancel_payment = payments.cancel_payment
    get_payment = payments.get_payment
    list_payments = payments.list_payments
    find_payment = payments.find_payment
    search_payments = payments.search_payments
    refund_payment = payments.refund_payment
    resolve_payment = payments.resolve_payment
    reconcile = reconciliation.reconcile

    create_wallet = wallets.create_wallet
    get_wallet = wallets.get_wallet
    list_wallets = wallets.list_wallets
    list_entries = wallets.list_entries
    get_statement = wallets.get_statement
    search_wallets = wallets.search_wallets
    search_entries = wallets.search_entries
    find_statement = wallets.find_statement
    find_wallet = wallets.find_wallet
    deposit = wallets.deposit
    withdraw = wallets.withdraw
    adjust = wallets.adjust
    activate_wallet = wallets.activate_wallet
    deactivate_wallet = wallets.deactivate_wallet

    create_invoice = invoices.create_invoice
    get_invoice = invoices.get_invoice
    list_invoices = invoices.list_invoices
    search_invoices = invoices.search_invoices
    find_invoice = invoices.find_invoice
    void_invoice = invoices.void_invoice

    create_user = users.create_user
    get_user = users.get_user
    search_users = users.search_users
    update_user = users.update_user
    block_user = users.block_user
    unblock_user = users.unblock_user
    unlock_user = users.unlock_user

    set_limit = limits.set_limit
    list_limits = limits.list_limits
    list_all_limits = limits.list_all_limits

    list_messages = notifications.list_messages
    send_message_again = notifications.send_message_again

    list_events = events.list_events
    all_events = events.all_events
    create_webhook = webhooks.create_webhook
    list_webhooks = webhooks.list_webhooks
    find_webhook = webhooks.find_webhook
    update_webhook = webhooks.update_webhook
    delete_webhook = webhooks.delete_webhook
    rotate_webhook_secret = webhooks.rotate_webhook_secret
    list_deliveries = webhooks.list_deliveries
    send_delivery_again = webhooks.send_delivery_again
    send_dead_deliveries_again = webhooks.send_dead_deliveries_again

    events = events.events
