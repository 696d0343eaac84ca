"""The commands that tests run most, with the values that they return; a refusal is asserted away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from technopay.engine import commands
from technopay.engine.models import Entry, Invoice, Limit, Message, Page, Payment, Wallet
from technopay.engine.notifications.texts import message_kind
from technopay.engine.ports import Outcome, Store
from technopay.engine.testing import mocks
from technopay.engine.testing.mocks import AddToMockInbox, MockSettlement, ReadMockInbox
from technopay.engine.values import (
    ClaimedMessage,
    ClaimKind,
    Due,
    FailedDelivery,
    Fate,
    HeldClaim,
    JournalBatch,
    Notification,
    Position,
)
from technopay.storage import commands as storage_commands

COMMANDS: Sequence[type[commands.Command[Any]]] = [
    each
    for module in (commands, mocks, storage_commands)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, commands.Command) and each.__module__ == module.__name__
    if each is not commands.Command
]
"""All that there are."""


class OutboxBatch(NamedTuple):
    """The notifications of a batch of the journal, under a claim of the relay; `cursor` is its last entry."""

    claim: str
    notifications: Sequence[Notification]
    cursor: str
    entries: int


def partition(store: Store) -> int:
    return store.partitions[0]


async def _value(store: Store, command: commands.Command[Any]) -> Any:
    outcome: Outcome[Any] = await store.run(command)
    assert outcome.code == "ok", outcome
    return outcome.value


async def _is_ok(store: Store, command: commands.Command[Any]) -> bool:
    outcome = await store.run(command)
    assert outcome.code in ("ok", "fenced"), outcome
    return outcome.code == "ok"


async def take_due(store: Store, limit: int) -> Due:
    due: Due = await _value(store, commands.TakeDue(partition(store), limit))
    return due


async def renew_claims(store: Store, claims: Sequence[tuple[ClaimKind, str, str]], *, keep: bool) -> list[bool]:
    held = [HeldClaim(*claim) for claim in claims]
    renewed: list[bool] = await _value(store, commands.RenewClaims(partition(store), keep, held))
    return renewed


async def set_aside(store: Store, payment_id: str, claim: str, interval_ms: int) -> bool:
    return await _is_ok(store, commands.SetAside(payment_id, claim, interval_ms))


async def read_outbox(store: Store, owner: str, limit: int) -> OutboxBatch | None:
    """Claim the relay and read on, as the relay does; None when it has nothing to do."""
    claimed = await store.run(commands.ClaimRelay(partition(store), owner))
    if claimed.code != "ok" or claimed.value is None:
        return None
    batch = await store.read_journal(partition(store), Position.of(claimed.value), limit)
    kinds = [(entry, kind) for entry in batch.entries if (kind := message_kind(entry))]
    ids = [entry.subject for entry, _ in kinds]
    contexts = await _value(store, commands.ReadNotificationContexts(partition(store), ids)) if ids else []
    notifications = [
        Notification(
            entry.id,
            kind,
            int(entry.fields["issue"]) if "issue" in entry.fields else None,
            entry.fields.get("reason", ""),
            context,
        )
        for (entry, kind), context in zip(kinds, contexts, strict=True)
        if context
    ]
    return OutboxBatch(claimed.token, notifications, str(batch.end), len(batch.entries))


async def record_deliveries(
    store: Store, claim: str, cursor: str, retry_ms: int, failed: Sequence[FailedDelivery]
) -> bool:
    command = commands.RecordDeliveries(partition(store), claim, cursor, retry_ms, failed)
    return await _is_ok(store, command)


def failed_delivery(notification: Notification, channel: Any, fate: Fate, error: str) -> FailedDelivery:
    context = notification.context
    assert context is not None
    return FailedDelivery(
        notification.entry_id, context.user_id, channel, notification.kind, context.payment_id, fate, error
    )


async def record_attempt(store: Store, message: ClaimedMessage, fate: Fate, error: str, retry_ms: int) -> bool:
    entry_id = message.notification.entry_id
    command = commands.RecordAttempt(partition(store), entry_id, message.claim, fate, error, retry_ms)
    return await _is_ok(store, command)


async def send_again(store: Store, operation: Any, message_id: str) -> Outcome[Message]:
    assert message_id.startswith("msg_")
    entry_id = message_id[6:]
    return await store.run(commands.SendMessageAgain(operation, partition(store), entry_id))


async def read_limits(store: Store, user_id: str | None) -> list[Limit]:
    limits: list[Limit] = await _value(store, commands.ReadLimits(user_id))
    return limits


async def list_wallets(store: Store, user_id: str, cursor: str, limit: int) -> Page[Wallet]:
    page: Page[Wallet] = await _value(store, commands.ListWallets(user_id, cursor, limit))
    return page


async def list_invoices(store: Store, user_id: str, cursor: str, limit: int) -> Page[Invoice]:
    page: Page[Invoice] = await _value(store, commands.ListInvoices(user_id, cursor, limit))
    return page


async def list_payments(store: Store, user_id: str, cursor: str, limit: int) -> Page[Payment]:
    page: Page[Payment] = await _value(store, commands.ListPayments(user_id, cursor, limit))
    return page


async def search_payments(
    store: Store,
    status: str | None,
    user_id: str | None,
    *,
    set_aside: bool | None,
    cursor: str,
    limit: int,
) -> Page[Payment]:
    command = commands.SearchPayments(status, user_id, set_aside, cursor, limit)
    page: Page[Payment] = await _value(store, command)
    return page


async def list_entries(
    store: Store, wallet_id: str, user_id: str | None, cursor: str, limit: int
) -> Outcome[Page[Entry]]:
    return await store.run(commands.ListEntries(wallet_id, user_id, cursor, limit))


async def list_messages(
    store: Store, status: str | None, user_id: str | None, cursor: str, limit: int
) -> Page[Message]:
    page: Page[Message] = await _value(store, commands.ListMessages(status, user_id, cursor, limit))
    return page


async def read_journal(store: Store, after: str, limit: int) -> JournalBatch:
    return await store.read_journal(partition(store), Position.of(after), limit)


async def read_end(store: Store) -> str:
    return str(await store.read_end(partition(store)))


async def has_records(store: Store, user_id: str) -> bool:
    found: bool = await _value(store, commands.HasRecords(user_id))
    return found


async def read_owned(
    store: Store, ids: Sequence[str], user_ids: Sequence[str]
) -> Mapping[str, Payment | Invoice]:
    command = commands.ReadOwned(partition(store), list(user_ids), list(ids))
    found: Mapping[str, Payment | Invoice] = await _value(store, command)
    return found


async def mock_settlement(store: Store, action: str, payment_id: str, errors: int = 0) -> str:
    return (await store.run(MockSettlement(action, payment_id, 1_000, errors, "ref_1", 1_000))).code


async def mock_inbox(store: Store, user_id: str, message: str) -> None:
    await store.run(AddToMockInbox(user_id, message))


async def read_inbox(store: Store, user_id: str, limit: int) -> list[str]:
    found: list[str] = await _value(store, ReadMockInbox(user_id, limit))
    return found
