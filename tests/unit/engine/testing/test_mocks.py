"""The mock services with fixed answers, the doubles, and ids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable

import pytest
from support.fixtures.store_commands import mock_inbox

from technopay.engine import (
    SILENCE,
    MockChannel,
    MockSettlementService,
    RecordingChannel,
    ScriptedSettlementService,
    SequentialIds,
    read_mock_inbox,
)
from technopay.engine.ports import OutgoingMessage, RefundTerms
from technopay.engine.system import RandomIds
from technopay.engine.testing.mocks import MockSettlementError
from technopay.engine.values import PaymentTerms
from technopay.storage import RedisStore

Service = MockSettlementService


def terms(merchant: str) -> PaymentTerms:
    return PaymentTerms("pay_001", 1_234, "EUR", merchant)


def message(to: str = "alice@example.com") -> OutgoingMessage:
    return OutgoingMessage(
        event_id="evt_1", user_id="alice", channel="email", to=to, kind="payment.succeeded", text="You paid.",
        payment_id="pay_001", amount=1_234, currency="EUR", payee="shop",
    )  # fmt: skip


def refund(number: int = 1) -> RefundTerms:
    return RefundTerms(f"ref_00{number}", 1_234)


async def is_silent(call: Awaitable[object]) -> bool:
    try:
        async with asyncio.timeout(0.02):
            await call
    except TimeoutError:
        return True
    return False


@pytest.fixture
def service(fake_store: RedisStore) -> Service:
    return MockSettlementService(fake_store)


@pytest.mark.parametrize("merchant", ["shop", "shop-", "timeout", "declines", "stuck", "a-b", "shop-Declines"])
async def test_every_other_name_settles_at_once(service: Service, merchant: str) -> None:
    assert await service.settle(terms(merchant)) == "settled"
    assert await service.status(terms(merchant)) == "settled"
    assert await service.call_off(terms(merchant)) == "already_settled"


async def test_declines_declines_and_says_so_again(service: Service) -> None:
    assert await service.settle(terms("shop-declines")) == "declined"
    assert await service.status(terms("shop-declines")) == "declined"
    assert await service.call_off(terms("shop-declines")) == "already_declined"


async def test_errors_always_fails_and_says_not_found(service: Service) -> None:
    for _ in range(10):
        with pytest.raises(MockSettlementError):
            await service.settle(terms("shop-errors"))
        assert await service.status(terms("shop-errors")) == "not_found"
    assert await service.call_off(terms("shop-errors")) == "called_off"


async def test_flaky_fails_twice_and_then_settles(service: Service) -> None:
    for _ in range(2):
        with pytest.raises(MockSettlementError):
            await service.settle(terms("shop-flaky"))

    assert await service.settle(terms("shop-flaky")) == "settled"


async def test_slow_takes_three_seconds(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(delay_s: float) -> None:
        slept.append(delay_s)

    monkeypatch.setattr("technopay.engine.testing.mocks.asyncio.sleep", sleep)

    assert await service.settle(terms("shop-slow")) == "settled"
    assert slept == [3.0]


async def test_timeout_never_answers_a_settle_and_can_be_called_off(service: Service) -> None:
    assert await is_silent(service.settle(terms("shop-timeout")))
    assert await service.status(terms("shop-timeout")) == "not_found"
    assert await service.call_off(terms("shop-timeout")) == "called_off"
    assert await service.status(terms("shop-timeout")) == "called_off"


async def test_lost_settles_and_loses_the_answer(service: Service) -> None:
    assert await is_silent(service.settle(terms("shop-lost")))
    assert await service.status(terms("shop-lost")) == "settled"


async def test_stuck_answers_only_a_reverse(service: Service) -> None:
    for question in (service.settle, service.status, service.call_off):
        assert await is_silent(question(terms("shop-stuck")))

    assert await service.reverse(terms("shop-stuck"), refund()) == "reversed"


async def test_what_was_called_off_is_not_settled_any_more(service: Service) -> None:
    assert await service.call_off(terms("shop")) == "called_off"

    assert await service.settle(terms("shop")) == "declined"
    assert await service.status(terms("shop")) == "called_off"


async def test_a_reversed_settlement_is_still_known_to_have_been_settled(service: Service) -> None:
    await service.settle(terms("shop"))

    assert await service.reverse(terms("shop"), refund()) == "reversed"
    assert await service.reverse(terms("shop"), refund()) == "reversed"
    assert await service.reverse(terms("shop"), refund(2)) == "declined", "there is nothing left to reverse"
    assert await service.status(terms("shop")) == "settled"


async def test_the_mock_channel_keeps_messages_newest_first(fake_store: RedisStore) -> None:
    channel = MockChannel(fake_store)
    first, second = message(), message("alice@example.org")
    await channel.deliver(first)
    await channel.deliver(second)

    assert [each.message for each in await read_mock_inbox(fake_store, "alice")] == [second, first]
    assert await read_mock_inbox(fake_store, "bob") == []


async def test_a_message_of_an_earlier_version_can_still_be_read(fake_store: RedisStore) -> None:
    kept = {"event_id": "evt_1", "user_id": "alice", "channel": "email", "to": "a@b.example", "kind": "k",
            "text": "Hi.", "payment_id": "pay_001", "code": None}  # fmt: skip
    await mock_inbox(fake_store, "alice", json.dumps(kept))

    (found,) = await read_mock_inbox(fake_store, "alice")

    assert (found.message.text, found.message.code, found.message.amount) == ("Hi.", None, 0)


@pytest.mark.parametrize("address", ["dead", "dead@example.com", "deadline@example.com"])
async def test_an_address_that_begins_with_dead_takes_nothing(fake_store: RedisStore, address: str) -> None:
    with pytest.raises(ConnectionRefusedError):
        await MockChannel(fake_store).deliver(message(address))

    assert await read_mock_inbox(fake_store, "alice") == []


async def test_the_scripted_service_answers_in_order_and_repeats_the_last() -> None:
    async def computed(asked: PaymentTerms) -> str:
        return asked.merchant

    scripted = ScriptedSettlementService(settle=[ValueError("no"), computed, "settled"], status=[SILENCE])

    with pytest.raises(ValueError, match="no"):
        await scripted.settle(terms("shop"))
    assert [await scripted.settle(terms("shop")) for _ in range(3)] == ["shop", "settled", "settled"]
    assert await is_silent(scripted.status(terms("shop")))
    assert scripted.calls == ["settle"] * 4 + ["status"]


async def test_the_recording_channel_takes_nothing_while_it_has_an_error() -> None:
    channel = RecordingChannel()
    channel.error = ConnectionError("down")
    with pytest.raises(ConnectionError):
        await channel.deliver(message())
    channel.error = None
    await channel.deliver(message())

    assert channel.messages == [message()]


def test_ids_that_count_look_like_those_that_do_not() -> None:
    ids, made = SequentialIds(), [RandomIds().new("pay", 0)]
    made += [ids.new("pay", 0) for _ in range(1_000)]

    assert made[1:] == sorted(made[1:])
    assert len(set(made)) == 1_001
    assert {each[:6] for each in made} == {"pay_00"}
    assert {len(each) for each in made} == {28}
    assert SequentialIds(7).new("wal", 0) == "wal_00" + "7".zfill(22)
