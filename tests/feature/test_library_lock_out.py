"""Locked out by wrong codes: nothing is started, confirmed or resent until it ends or an operator clears it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from support.fixtures.engine_setup import Setup, make_setup, quick_settings
from support.fixtures.store_setup import Setup as AtRest

from technopay.engine import (
    ConfirmationInvalid,
    Engine,
    InvoiceNotFound,
    Payment,
    PaymentNotFound,
    RateLimited,
    TechnopayError,
    UserBlocked,
    UserNotFound,
    WalletNotFound,
    read_mock_inbox,
)
from technopay.storage import RedisStore


@pytest.fixture
async def locked(store: RedisStore) -> AsyncIterator[tuple[Setup, Payment, Payment]]:
    """Somebody with a payment that succeeded and one that waits, locked out by two wrong codes."""
    async with Engine(store, quick_settings(failures_per_day=2)) as engine:
        alice = await make_setup(engine, store)
        paid, waiting = await alice.pay(), await alice.start()
        assert (await engine.get_user(user_id="alice")).locked_until is None
        for _ in range(2):
            with pytest.raises(ConfirmationInvalid):
                await alice.confirm(waiting, "wrong")
        yield alice, paid, waiting


async def refusal(call: Awaitable[object]) -> TechnopayError:
    with pytest.raises(TechnopayError) as refused:
        await call
    return refused.value


async def test_nothing_is_started_confirmed_or_resent_and_nothing_is_sent(
    locked: tuple[Setup, Payment, Payment], store: RedisStore
) -> None:
    alice, _, waiting = locked
    await alice.code_from_inbox(waiting)
    before = len(await read_mock_inbox(store, "alice"))
    user = await alice.engine.get_user(user_id="alice")
    assert user.locked_until is not None

    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: alice.start(),
        lambda: alice.confirm(waiting),
        lambda: alice.engine.resend_code(user_id="alice", payment_id=waiting.id),
    ]
    for call in calls:
        refused = await refusal(call())
        assert isinstance(refused, RateLimited)
        assert (refused.too_many, refused.locked_until) == ("failures", user.locked_until)
        assert refused.retry_after_s is not None
        assert 86_000 < refused.retry_after_s <= 86_400

    still = await alice.payment(waiting)
    assert still.confirmation is not None
    assert still.confirmation.attempts_remaining == 3
    assert len((await alice.engine.list_payments(user_id="alice")).data) == 2
    assert len(await read_mock_inbox(store, "alice")) == before


async def test_what_is_not_for_a_locked_out_user_goes_on(locked: tuple[Setup, Payment, Payment]) -> None:
    alice, paid, waiting = locked
    assert (await alice.confirm(paid)).replayed
    canceled = await alice.engine.cancel_payment(user_id="alice", payment_id=waiting.id)
    assert canceled.status == "canceled"
    assert (await alice.engine.refund_payment(payment_id=paid.id)).status == "refunded"


async def test_the_order_of_precedence(locked: tuple[Setup, Payment, Payment]) -> None:
    alice, _, waiting = locked
    engine, wallet_id, invoice = alice.engine, alice.wallet_id, await alice.invoice()

    def start(invoice_id: str = invoice.id, wallet: str = wallet_id) -> Awaitable[object]:
        return engine.start_payment(user_id="alice", invoice_id=invoice_id, wallet_id=wallet)

    assert isinstance(await refusal(start(invoice_id="inv_00none")), InvoiceNotFound)
    assert isinstance(await refusal(start(wallet="wal_00none")), WalletNotFound)
    foreign = engine.confirm_payment(user_id="bob", payment_id=waiting.id, code="1")
    assert isinstance(await refusal(foreign), PaymentNotFound)
    await engine.deactivate_wallet(wallet_id=wallet_id)
    for call in (start(), alice.confirm(waiting), engine.resend_code(user_id="alice", payment_id=waiting.id)):
        assert isinstance(await refusal(call), RateLimited), "before the wallet"
    await engine.block_user(user_id="alice")
    for call in (start(), alice.confirm(waiting), engine.resend_code(user_id="alice", payment_id=waiting.id)):
        assert isinstance(await refusal(call), UserBlocked), "after a block"


async def test_an_operator_clears_it(locked: tuple[Setup, Payment, Payment]) -> None:
    alice, _, waiting = locked
    engine = alice.engine
    with pytest.raises(UserNotFound):
        await engine.unlock_user(user_id="nobody")

    unlocked = await engine.unlock_user(user_id="alice", idempotency_key="unlock-1")

    assert (unlocked.locked_until, unlocked.status, unlocked.replayed) == (None, "active", False)
    assert (await engine.get_user(user_id="alice")).locked_until is None
    assert (await engine.unlock_user(user_id="alice", idempotency_key="unlock-1")).replayed
    assert (await engine.unlock_user(user_id="alice")).locked_until is None, "it is so already"
    assert (await alice.confirm(waiting)).status == "succeeded"
    assert (await engine.audit()).clean


async def test_a_block_and_a_lock_out_are_two_things(locked: tuple[Setup, Payment, Payment]) -> None:
    engine = locked[0].engine
    until = (await engine.get_user(user_id="alice")).locked_until
    blocked = await engine.block_user(user_id="alice")
    assert (blocked.status, blocked.locked_until) == ("blocked", until)
    unlocked = await engine.unlock_user(user_id="alice")
    assert (unlocked.status, unlocked.locked_until) == ("blocked", None)


async def test_without_a_limit_nobody_is_locked_out(
    locked: tuple[Setup, Payment, Payment], store: RedisStore
) -> None:
    async with Engine(store, quick_settings()) as lax:
        assert (await lax.get_user(user_id="alice")).locked_until is None
        invoice = await locked[0].invoice()
        await lax.start_payment(user_id="alice", invoice_id=invoice.id, wallet_id=locked[0].wallet_id)


async def test_a_lock_out_that_is_over_locks_nobody_out(
    locked: tuple[Setup, Payment, Payment], store: RedisStore
) -> None:
    alice, _, waiting = locked
    at_rest = AtRest(store)
    for ends_at in ("1700000000000", "9999999999999"):
        await at_rest.write("user", "alice", failures=f"{ends_at} 2")
        assert (await alice.engine.get_user(user_id="alice")).locked_until is None
    assert (await alice.confirm(waiting)).status == "succeeded"
