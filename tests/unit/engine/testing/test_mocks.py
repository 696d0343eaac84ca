"""The mock services with fixed replies, the doubles, and counted ids."""

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
from technopay.engine.ports import OutgoingMessage
from technopay.engine.system import RandomIds
from technopay.engine.testing.mocks import MockSettlementError
from technopay.engine.values import PaymentTerms, RefundTerms
from technopay.storage import RedisStore

Service = MockSettlementService


def terms(merchant: str) -> PaymentTerms:
    return PaymentTerms("pay_001", 1_234, "EUR", merchant)


def message(to: str = "alice@example.com") -> OutgoingMessage:
    return OutgoingMessage(
        event_id="evt_1", user_id="alice", channel="email", to=to, kind="payment.succeeded", text="You paid.",
        payment_id="pay_001", amount=1_234, currency="EUR", payee="shop",
    )  # fmt: skip


def refund(number: int = 1, amount: int = 1_234) -> RefundTerms:
    return RefundTerms(f"ref_00{number}", amount)


@pytest.fixture
def service(fake_store: RedisStore) -> Service:
    return MockSettlementService(fake_store)


SETTLES, SILENT = ("settled", "settled", "already_settled"), "silent"
OTHERS = ("shop", "shop-", "timeout", "declines", "stuck", "a-b", "shop-Declines")
"""Names of merchants without an ending that chooses a reply."""


@pytest.mark.parametrize(
    ("merchant", "settle", "status", "call_off"),
    [
        *((each, *SETTLES) for each in OTHERS),
        ("shop-declines", "declined", "declined", "already_declined"),
        ("shop-errors", "error", "not_found", "called_off"),
        ("shop-timeout", SILENT, "not_found", "called_off"),
        ("shop-lost", SILENT, "settled", "already_settled"),
        ("shop-stuck", SILENT, SILENT, SILENT),
    ],
)
async def test_the_merchant_chooses_the_answers(
    service: Service, merchant: str, settle: str, status: str, call_off: str
) -> None:
    async def expect(answer: str, call: Awaitable[str]) -> None:
        if answer == SILENT:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call, 0.02)
        elif answer == "error":
            with pytest.raises(MockSettlementError):
                await call
        else:
            assert await call == answer

    for _ in range(10 if settle == "error" else 1):
        await expect(settle, service.settle(terms(merchant)))
        await expect(status, service.status(terms(merchant)))
    await expect(call_off, service.call_off(terms(merchant)))
    if call_off == "called_off":
        assert await service.status(terms(merchant)) == "called_off"
    if settle == SILENT == status:
        assert await service.reverse(terms(merchant), refund()) == "reversed"


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


async def test_parts_are_reversed_once_each_until_nothing_is_left(service: Service) -> None:
    await service.settle(terms("shop"))
    parts = [refund(1, 1_000), refund(2, 235), refund(1, 1_000), refund(3, 234), refund(3, 234), refund(4, 1)]

    answers = [await service.reverse(terms("shop"), part) for part in parts]

    assert answers == ["reversed", "declined", "reversed", "reversed", "reversed", "declined"]
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
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await scripted.status(terms("shop"))
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
