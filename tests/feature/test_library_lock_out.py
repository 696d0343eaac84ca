"""Locked out by wrong codes: no start, confirm or resend is accepted until it ends or an operator clears it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from support.fixtures.engine_setup import Setup, make_setup, quick_settings
from support.fixtures.store_setup import Setup as AtRest

from technopay.engine import (
    ConfirmationInvalid,
    Engine,
    Payment,
    RateLimited,
    UserNotFound,
    read_mock_inbox,
)
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition

Locked = tuple[Setup, Payment, Payment]


@pytest.fixture
async def locked(store: RedisStore) -> AsyncIterator[Locked]:
    """A user with a payment that succeeded and one that waits, locked out by two wrong codes."""
    async with Engine(store, quick_settings(failures_per_day=2)) as engine:
        alice = await make_setup(engine, store)
        paid, waiting = await alice.pay(), await alice.start()
        assert (await engine.get_user(user_id="alice")).locked_until is None
        for _ in range(2):
            with pytest.raises(ConfirmationInvalid):
                await alice.confirm(waiting, "wrong")
        yield alice, paid, waiting


async def test_nothing_is_started_confirmed_or_resent_and_nothing_is_sent(
    locked: Locked, store: RedisStore
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
        with pytest.raises(RateLimited) as refused:
            await call()
        assert (refused.value.too_many, refused.value.locked_until) == ("failures", user.locked_until)
        assert refused.value.retry_after_s is not None
        assert 86_000 < refused.value.retry_after_s <= 86_400

    still = await alice.payment(waiting)
    assert still.confirmation is not None
    assert still.confirmation.attempts_remaining == 3
    assert len((await alice.engine.list_payments(user_id="alice")).data) == 2
    assert len(await read_mock_inbox(store, "alice")) == before


async def test_replays_cancels_and_refunds_go_on(locked: Locked) -> None:
    alice, paid, waiting = locked
    assert (await alice.confirm(paid)).replayed
    canceled = await alice.engine.cancel_payment(user_id="alice", payment_id=waiting.id)
    assert canceled.status == "canceled"
    assert (await alice.engine.refund_payment(payment_id=paid.id)).status == "refunded"


async def test_an_operator_clears_a_lock_out_and_leaves_a_block(locked: Locked) -> None:
    alice, _, waiting = locked
    engine = alice.engine
    until = (await engine.get_user(user_id="alice")).locked_until
    blocked = await engine.block_user(user_id="alice")
    assert (blocked.status, blocked.locked_until) == ("blocked", until)
    with pytest.raises(UserNotFound):
        await engine.unlock_user(user_id="nobody")

    for _ in range(2):
        unlocked = await engine.unlock_user(user_id="alice")
        assert (unlocked.status, unlocked.locked_until) == ("blocked", None)

    await engine.unblock_user(user_id="alice")
    assert (await engine.get_user(user_id="alice")).locked_until is None
    assert (await alice.confirm(waiting)).status == "succeeded"


async def test_a_lock_out_ends_with_its_window_and_with_the_limit(locked: Locked, store: RedisStore) -> None:
    alice, _, waiting = locked
    async with Engine(store, quick_settings()) as unlimited:
        assert (await unlimited.get_user(user_id="alice")).locked_until is None
        invoice = await alice.invoice()
        await unlimited.start_payment(user_id="alice", invoice_id=invoice.id, wallet_id=alice.wallet_id)
    for ends_at in ("1700000000000", "9999999999999"):
        await AtRest(store).write("user", "alice", failures=f"{ends_at} 2")
        assert (await alice.engine.get_user(user_id="alice")).locked_until is None
    assert (await alice.confirm(waiting)).status == "succeeded"
