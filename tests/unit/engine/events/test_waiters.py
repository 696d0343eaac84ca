import asyncio
from unittest import mock

import pytest
from support.fixtures.doubles import make_payment

from technopay.engine.events import waiters as waiters_module
from technopay.engine.events.waiters import Waiters


async def test_one_timer_ends_all_waits_that_nothing_else_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters_module, "WAIT_INTERVAL_S", 0.02)
    waiters, loop = Waiters(), asyncio.get_running_loop()
    call_at = mock.Mock(wraps=loop.call_at)
    monkeypatch.setattr(loop, "call_at", call_at)
    for _ in range(2):
        waits = [asyncio.create_task(waiters.next_change(f"pay_{each}", 60)) for each in range(100)]
        await asyncio.wait(waits)
        assert [wait.result() for wait in waits] == [None] * 100
    assert call_at.call_count < 50, "a few, where the waits began at different moments"
    assert [waiters.count(f"pay_{each}") for each in range(100)] == [0] * 100


async def test_a_wait_that_is_shorter_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiters_module, "WAIT_INTERVAL_S", 60)
    async with asyncio.timeout(5):
        assert await Waiters().next_change("pay_1", 0.01) is None


async def test_a_change_ends_only_the_waits_for_its_payment() -> None:
    waiters, payment = Waiters(), make_payment()
    ours, others = (
        asyncio.create_task(waiters.next_change(payment_id, 60)) for payment_id in (payment.id, "pay_other")
    )
    await asyncio.sleep(0)

    waiters.announce(payment)

    assert await ours == payment
    assert not others.done()
    others.cancel()
    await asyncio.wait([others])
    assert (waiters.count(payment.id), waiters.count("pay_other")) == (0, 0)
