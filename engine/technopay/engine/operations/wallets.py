"""Operations on wallets."""

from datetime import datetime
from typing import Literal

from technopay.engine import fields
from technopay.engine.commands import ChangeBalance, CreateWallet, SetWalletStatus
from technopay.engine.errors import FieldError, ValidationFailed
from technopay.engine.fields import (
    Amount,
    Change,
    Currency,
    EntryCursor,
    Key,
    Name,
    Note,
    PageLimit,
    StatementCursor,
    Time,
    UserId,
    WalletCursor,
    id_or_unknown,
    nfc,
    partition_in,
)  # fmt: skip
from technopay.engine.models import Entry, Statement, Wallet
from technopay.engine.operation import operation
from technopay.engine.ports import Outcome
from technopay.engine.reads import ListEntries, ListWallets, ReadStatement, ReadWallet, SearchWallets
from technopay.engine.record import Page, to_bound_ms
from technopay.engine.runtime import Runtime, unwrap


@operation("user_not_found idempotency_key_reused validation_failed")
async def create_wallet(
    runtime: Runtime, *, user_id: UserId, currency: Currency, idempotency_key: Key = None
) -> Wallet:
    """Create an active, empty wallet."""
    called = runtime.operation("create_wallet", (), idempotency_key, [user_id, currency])
    wallet_id = runtime.ids.new("wal", runtime.store.partition_of(user_id))
    return await runtime.value_of(CreateWallet(called, wallet_id, user_id, currency))


@operation("wallet_not_found")
async def get_wallet(runtime: Runtime, *, user_id: UserId, wallet_id: str) -> Wallet:
    """Read a wallet."""
    return await runtime.value_of(ReadWallet(id_or_unknown(wallet_id), user_id))


@operation("validation_failed")
async def list_wallets(
    runtime: Runtime, *, user_id: UserId, limit: PageLimit = 20, cursor: WalletCursor = ""
) -> Page[Wallet]:
    """List a user's wallets, newest first."""
    return await runtime.value_of(ListWallets(user_id, cursor, limit))


@operation("wallet_not_found validation_failed archive_unavailable")
async def list_entries(
    runtime: Runtime, *, user_id: UserId, wallet_id: str, limit: PageLimit = 20, cursor: EntryCursor = ""
) -> Page[Entry]:
    """List the movements of a wallet, newest first."""
    return await runtime.value_of(ListEntries(id_or_unknown(wallet_id), user_id, cursor, limit))


@operation("wallet_not_found validation_failed archive_unavailable")
async def get_statement(
    runtime: Runtime, *, user_id: UserId, wallet_id: str, at_from: Time | None = None,
    at_to: Time | None = None, limit: PageLimit = 20, cursor: StatementCursor = ""
) -> Statement:  # fmt: skip
    """Read the entries of a wallet in a range of times, oldest first, with the balances around it.

    `at_from` is the first time of the range, `at_to` the first one behind it. The cursor of a page keeps the
    range of the first page, as it was then: the times beside a cursor have no effect.
    """
    return await _statement(runtime, wallet_id, user_id, at_from, at_to, limit, cursor)


@operation("wallet_not_found")
async def find_wallet(runtime: Runtime, *, wallet_id: str) -> Wallet:
    """Read a wallet of any user."""
    return await runtime.value_of(ReadWallet(id_or_unknown(wallet_id)))


@operation("validation_failed archive_unavailable")
async def search_wallets(
    runtime: Runtime, *, user_id: UserId | None = None, status: Literal["active", "inactive"] | None = None,
    limit: PageLimit = 20, cursor: str = ""
) -> Page[Wallet]:  # fmt: skip
    """List wallets of all users, newest first. A page can be short while there is a next one."""
    form = fields.JOURNAL_CURSOR if user_id is None else fields.WALLET_CURSOR
    fields.require([("cursor", fields.cursor_error(cursor, form))])
    return await runtime.value_of(SearchWallets(user_id, status, cursor, limit))


@operation("wallet_not_found validation_failed archive_unavailable")
async def search_entries(
    runtime: Runtime, *, wallet_id: str, limit: PageLimit = 20, cursor: EntryCursor = ""
) -> Page[Entry]:
    """List the movements of a wallet of any user, newest first."""
    return await runtime.value_of(ListEntries(id_or_unknown(wallet_id), None, cursor, limit))


@operation("wallet_not_found validation_failed archive_unavailable")
async def find_statement(
    runtime: Runtime, *, wallet_id: str, at_from: Time | None = None, at_to: Time | None = None,
    limit: PageLimit = 20, cursor: StatementCursor = ""
) -> Statement:  # fmt: skip
    """Read the entries of a wallet of any user in a range of times, as `get_statement` does."""
    return await _statement(runtime, wallet_id, None, at_from, at_to, limit, cursor)


@operation(
    "wallet_not_found reference_used balance_too_large idempotency_key_reused validation_failed"
    " archive_unavailable"
)
async def deposit(
    runtime: Runtime, *, wallet_id: str, amount: Amount, reference: Name | None = None,
    note: Note | None = None, by: Name | None = None, idempotency_key: Key = None
) -> Wallet:  # fmt: skip
    """Add money to a wallet of any status.

    A `reference`, like that of a bank's line, is deposited once in a wallet, for ever: with the same amount
    again, nothing happens. ReferenceUsed: with another amount; it has the `entry`.
    """
    texts = {"reference": nfc(reference), "note": nfc(note)}
    given = [text for text in texts.items() if text[1] is not None]
    called = runtime.operation("deposit", (wallet_id,), idempotency_key, [amount, *given])
    command = ChangeBalance(called, id_or_unknown(wallet_id), amount, "deposited", **texts, by=nfc(by))
    return unwrap(await runtime.directory.run(command.wallet_id, command))


@operation("wallet_not_found insufficient_funds idempotency_key_reused validation_failed")
async def withdraw(
    runtime: Runtime, *, wallet_id: str, amount: Amount, note: Note, by: Name, idempotency_key: Key = None
) -> Wallet:
    """Take money out of a wallet of any status, never more than its balance; `by` is the operator."""
    called = runtime.operation("withdraw", (wallet_id,), idempotency_key, [amount, note])
    command = ChangeBalance(called, id_or_unknown(wallet_id), -amount, "withdrawn", note=nfc(note), by=nfc(by))
    return await _correct(runtime, command)


@operation("wallet_not_found insufficient_funds balance_too_large idempotency_key_reused validation_failed")
async def adjust(
    runtime: Runtime, *, wallet_id: str, amount: Change, note: Note, by: Name, idempotency_key: Key = None
) -> Wallet:
    """Correct a wallet's balance by a signed amount, never below zero; `by` is the operator."""
    called = runtime.operation("adjust", (wallet_id,), idempotency_key, [amount, note])
    command = ChangeBalance(called, id_or_unknown(wallet_id), amount, "adjusted", note=nfc(note), by=nfc(by))
    return await _correct(runtime, command)


@operation("wallet_not_found idempotency_key_reused validation_failed")
async def activate_wallet(runtime: Runtime, *, wallet_id: str, idempotency_key: Key = None) -> Wallet:
    """Activate a wallet, so that it can pay again."""
    return await _set_wallet_status(runtime, wallet_id, "active", idempotency_key)


@operation("wallet_not_found idempotency_key_reused validation_failed")
async def deactivate_wallet(runtime: Runtime, *, wallet_id: str, idempotency_key: Key = None) -> Wallet:
    """Deactivate a wallet: it cannot pay. Running payments are finished, and refunds still go in."""
    return await _set_wallet_status(runtime, wallet_id, "inactive", idempotency_key)


async def _statement(
    runtime: Runtime, wallet_id: str, user_id: str | None, at_from: datetime | None, at_to: datetime | None,
    limit: int, cursor: str
) -> Statement:  # fmt: skip
    fields.require([("to", fields.range_error(at_from, at_to))])
    times = to_bound_ms(at_from), to_bound_ms(at_to)
    command = ReadStatement(id_or_unknown(wallet_id), user_id, *times, cursor, limit)
    outcome = await runtime.store.run(command)
    if outcome.code == "no_page":
        raise ValidationFailed([FieldError("cursor", fields.CURSOR_RULE)])
    return unwrap(outcome)


async def _set_wallet_status(runtime: Runtime, wallet_id: str, status: str, key: str | None) -> Wallet:
    called = runtime.operation(f"set_wallet_{status}", (wallet_id,), key, [])
    command = SetWalletStatus(called, id_or_unknown(wallet_id), status)
    return unwrap(await runtime.directory.run(command.wallet_id, command))


async def _correct(runtime: Runtime, command: ChangeBalance) -> Wallet:
    """Run a change that is an event."""

    def follow(outcome: Outcome[Wallet]) -> None:
        if outcome.code == "ok":
            runtime.wake_event_readers(partition_in(command.wallet_id))

    return unwrap(await runtime.directory.run(command.wallet_id, command, follow))
