"""The journal: the time and the order of its entries, even where the clock went back."""

from typing import Any

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.store_commands import (
    list_entries,
    list_messages,
    read_outbox,
    record_deliveries,
    search_payments,
)
from support.fixtures.store_setup import Setup, client_of, value_of

from technopay.engine.record import from_ms, to_ms

FUTURE_MS = 4_102_444_800_000
"""The year 2100."""


async def write_future(setup: Setup) -> str:
    """Leave an entry like one of a clock that ran far ahead."""
    entry: str = await client_of(setup.store).xadd(
        setup.keys.journal, {"user.created": "nobody"}, id=f"{FUTURE_MS}-5"
    )
    return entry


def sequence(entry: str) -> tuple[int, int]:
    at, _, number = entry.partition("-")
    return int(at), int(number)


async def test_an_entrys_id_says_when_it_was_written_and_no_field_says_it_again(setup: Setup) -> None:
    wallet = await setup.wallet(balance=0)
    earliest = await setup.now_ms()
    for amount in (1, 2):
        await setup.deposit(wallet, amount)
    *_, (first, fields), (second, _) = await setup.entries()
    assert earliest <= sequence(first)[0] <= sequence(second)[0] <= await setup.now_ms()
    assert sequence(first) < sequence(second)
    assert "at" not in fields
    page = value_of(await list_entries(setup.store, wallet, None, "", 1))
    assert to_ms(page.data[0].at) == sequence(second)[0]


@pytest.mark.corrupts
async def test_an_entry_after_the_clock_went_back_keeps_the_order_and_has_its_time(
    setup: Setup,
) -> None:
    wallet = await setup.wallet(balance=1)
    future = await write_future(setup)
    earliest = await setup.now_ms()
    assert value_of(await setup.deposit(wallet, 2)).balance == 3

    *_, (last_but_one, _), (newest, fields) = await setup.entries()
    assert last_but_one == future
    assert sequence(newest) > sequence(future)
    assert earliest <= int(fields.pop("at")) <= await setup.now_ms()
    assert fields == {"type": "wallet.deposited", "wallet": wallet, "amount": "2", "balance": "3"}

    page = value_of(await list_entries(setup.store, wallet, None, "", 10))
    assert [(entry.amount, entry.balance_after) for entry in page.data] == [(2, 3), (1, 1)]
    assert [earliest <= to_ms(entry.at) for entry in page.data] == [True, False]
    assert all(to_ms(entry.at) < FUTURE_MS for entry in page.data)


@pytest.mark.corrupts
async def test_a_purchase_after_the_clock_went_back_is_listed_and_sends_its_messages(
    setup: Setup,
) -> None:
    await setup.set_limit("EUR", 5_000)
    wallet = await setup.wallet()
    await write_future(setup)
    earliest = await setup.now_ms()
    payment_id = await setup.succeeded(wallet)

    page = await search_payments(setup.store, None, None, set_aside=None, cursor="", limit=10)
    assert [payment.id for payment in page.data] == [payment_id]
    outbox = await read_outbox(setup.store, "relay-a", 100)
    assert outbox is not None
    assert [notice.kind for notice in outbox.notifications] == ["confirmation.code", "payment.succeeded"]
    assert await record_deliveries(setup.store, outbox.claim, outbox.cursor, 0, [])
    messages = (await list_messages(setup.store, None, None, "", 10)).data
    assert [message.kind for message in messages] == ["payment.succeeded", "confirmation.code"]
    latest = await setup.now_ms()
    assert all(earliest <= to_ms(message.at) <= latest for message in messages)
    assert await read_outbox(setup.store, "relay-a", 100) is None
    entries: Any = (await list_entries(setup.store, wallet, None, "", 1)).value
    assert entries.data[0].at == (await setup.payment(payment_id)).paid_at


async def test_entries_are_dated_by_the_clock_while_the_journal_is_ahead_of_it(
    clocked: Setup, fake_clock: FakeClock
) -> None:
    wallet, noon = await clocked.wallet(balance=0), fake_clock.now_ms
    for step_ms in (0, -2, 1, 1, 1):
        fake_clock.advance(step_ms)
        await clocked.deposit(wallet, 1)
    page = value_of(await list_entries(clocked.store, wallet, None, "", 10))
    times = [noon, noon - 2, noon - 1, noon, noon + 1]
    assert [entry.at for entry in reversed(page.data)] == [from_ms(at) for at in times]
    entries = (await clocked.entries())[-5:]
    assert [entry for entry, _ in entries] == sorted((entry for entry, _ in entries), key=sequence)
    # The first one's id holds it; behind it, ids of a faked store follow this machine's clock, which is ahead.
    assert [fields.get("at") for _, fields in entries] == [None, *map(str, times[1:])]
