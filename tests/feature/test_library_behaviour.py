"""The default limits on behaviour: codes within an hour, confirms within a minute, wrong codes within a day."""

from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from typing import Any

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.engine_setup import SECRET, Setup, make_setup, other_than, wait_for
from support.fixtures.store_setup import Setup as AtRest

from technopay.engine import (
    ConfirmationInvalid,
    Engine,
    EngineSettings,
    FixedCode,
    Payment,
    PaymentTerms,
    RateLimited,
)
from technopay.storage import RedisStore

DAYS_S = 3 * 86_400


@pytest.fixture
async def alice(fake_store: RedisStore, fake_clock: FakeClock) -> AsyncIterator[Setup]:
    fake_clock.set(datetime.now(UTC))
    async with Engine(fake_store, EngineSettings(secret=SECRET)) as engine:
        yield await make_setup(engine, fake_store)


async def start(alice: Setup) -> Payment:
    return await alice.start(await alice.invoice(expires_in_s=DAYS_S))


async def guess(alice: Setup, payment: Payment, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ConfirmationInvalid):
            await alice.confirm(payment, other_than(await alice.right_code(payment)))


async def refused(call: Awaitable[Any]) -> tuple[str | None, float | None]:
    """Return the exceeded limit and the delay before a retry."""
    with pytest.raises(RateLimited) as refusal:
        await call
    assert refusal.value.retryable
    return refusal.value.too_many, refusal.value.retry_after_s


async def test_five_codes_within_an_hour_are_enough(alice: Setup, fake_clock: FakeClock) -> None:
    payments = [await start(alice) for _ in range(3)]
    for payment in payments[:2]:
        await alice.engine.resend_code(user_id="alice", payment_id=payment.id)
    resend = {"user_id": "alice", "payment_id": payments[2].id, "idempotency_key": "again"}
    for call in (start(alice), alice.engine.resend_code(**resend)):
        assert await refused(call) == ("codes", 3_600)

    assert (await alice.confirm(payments[2])).status == "succeeded"
    fake_clock.advance(3_599_999)
    assert await refused(start(alice)) == ("codes", 0.001)
    fake_clock.advance(1)
    assert (await alice.confirm(await start(alice))).status == "succeeded"


async def test_five_confirms_within_a_minute_and_ten_wrong_codes_within_a_day_are_enough(
    alice: Setup, fake_clock: FakeClock
) -> None:
    first, second = await start(alice), await start(alice)
    await guess(alice, first, 4)
    await guess(alice, second, 1)
    assert await refused(alice.confirm(second)) == ("confirms", 60)

    fake_clock.advance(60_000)
    await guess(alice, second, 3)
    third = await start(alice)
    await guess(alice, third, 2)
    assert await refused(alice.confirm(third)) == ("failures", 86_340)
    fake_clock.advance(60_000)
    assert await refused(alice.confirm(third)) == ("failures", 86_280)
    assert (await alice.payment(third)).confirmation == third.confirmation.model_copy(  # type: ignore[union-attr]
        update={"attempts_remaining": 3}
    )

    fake_clock.advance(86_280_000)
    assert (await alice.confirm(await start(alice))).status == "succeeded"


async def test_only_codes_that_are_sent_count(fake_store: RedisStore) -> None:
    class Mixed(FixedCode):
        """Sends a code for large amounts only."""

        async def code(self, terms: PaymentTerms, version: int) -> str | None:
            return "123456" if terms.amount >= 1_000 else None

    async def counted() -> str:
        return (await AtRest(fake_store).fields("user", "alice"))["codes"].split(" ")[1]

    async def nothing_counts() -> bool:
        return await counted() == "0"

    settings = EngineSettings(secret=SECRET, codes_per_hour=2)
    async with Engine(fake_store, settings, verifier=Mixed()) as engine:
        alice = await make_setup(engine, fake_store, balance=100_000)
        small = [await alice.start(await alice.invoice(999)) for _ in range(6)]
        for _ in range(3):
            await engine.resend_code(user_id="alice", payment_id=small[0].id)
        await wait_for(nothing_counts)

        for amount in (1_000, 1_000, 999, 999, 999):
            await alice.start(await alice.invoice(amount))
        with pytest.raises(RateLimited):
            await alice.start(await alice.invoice(1_000))
