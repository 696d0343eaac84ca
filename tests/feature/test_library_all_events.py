"""The events of all users through the library, on each kind of store: none is skipped, whatever happens."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from support.fixtures.all_events import assert_whole, pages_of, read_to_end, subject_of
from support.fixtures.clock import FakeClock
from support.fixtures.engine_setup import Setup, make_setup, quick_settings
from support.fixtures.fixed_code import CODE, make_engine
from support.fixtures.partitioned import USERS

from technopay.engine import (
    Engine,
    EngineSettings,
    Event,
    EventPositionUnknown,
    Payment,
    PaymentEvent,
    Subscription,
    ValidationFailed,
)
from technopay.engine.events.cursor import Cursor
from technopay.engine.events.subjects import EVENT_TYPES
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition

PRICE = 100


@pytest.fixture
def settings() -> EngineSettings:
    return quick_settings()


@pytest.fixture
async def setups(engine: Engine, store: RedisStore) -> list[Setup]:
    return [await make_setup(engine, store, user, email=f"{user}@example.com") for user in USERS]


async def pay_often(setup: Setup, count: int) -> list[str]:
    """Make purchases one after the other; return the ids of their payments and invoices."""
    paid = [await setup.pay(await setup.invoice(PRICE)) for _ in range(count)]
    return [each for payment in paid for each in (payment.id, payment.invoice_id)]


async def pay_all(setups: Sequence[Setup], count: int) -> list[str]:
    ids = await asyncio.gather(*(pay_often(each, count) for each in setups))
    return [each for some in ids for each in some]


async def hear(events: Subscription, subjects: int) -> list[Event]:
    """Receive events until so many payments and invoices are paid."""
    heard: list[Event] = []
    async with asyncio.timeout(30):
        while len({subject_of(each) for each in heard if each.type in ENDS}) < subjects:
            heard.append(await anext(events))
    return heard


ENDS = ("payment.succeeded", "invoice.created")


async def test_pages_and_a_stream_have_every_event_while_users_of_all_partitions_pay(
    engine: Engine, setups: list[Setup]
) -> None:
    async with await engine.all_events() as events:
        paying = asyncio.create_task(pay_all(setups, 6))
        listed: list[Event] = []
        after: str | None = None
        while not paying.done():
            some, after = await read_to_end(engine.list_events, after, limit=3)
            listed += some
        ids = await paying
        listed += (await read_to_end(engine.list_events, after, limit=100))[0]
        heard = await hear(events, len(ids))
    assert_whole(listed, ids)
    assert_whole(heard, ids)
    assert {event.id for event in heard} == {event.id for event in listed}
    payment = next(each for each in listed if isinstance(each, PaymentEvent)).payment
    assert type(payment) is Payment, "what operators alone see is not in it"


async def test_a_stream_goes_on_after_any_of_its_cursors_and_those_of_pages(
    engine: Engine, setups: list[Setup]
) -> None:
    async with await engine.all_events() as events:
        begin = events.cursor
        ids = await pay_all(setups, 2)
        whole = [event.id for event in await hear(events, len(ids))]
    heard: list[str] = []
    after = begin
    while len(heard) < len(whole):
        async with await engine.all_events(after=after) as events, asyncio.timeout(10):
            for _ in range(min(3, len(whole) - len(heard))):
                heard.append((await anext(events)).id)
            after = events.cursor
    assert sorted(heard) == sorted(whole)
    assert len(set(heard)) == len(heard)
    assert (await engine.list_events(after=after)).data == []
    page = await engine.list_events(after=begin, limit=5)
    async with await engine.all_events(after=page.next_cursor) as events, asyncio.timeout(10):
        rest = [(await anext(events)).id for _ in range(len(whole) - 5)]
    assert sorted([event.id for event in page.data] + rest) == sorted(whole)


async def test_a_cursor_used_twice_gives_the_same_events(engine: Engine, setups: list[Setup]) -> None:
    await pay_all(setups, 2)
    async for page in pages_of(engine.list_events, limit=7):
        again = await engine.list_events(after=page.next_cursor, limit=7)
        assert again == await engine.list_events(after=page.next_cursor, limit=7)


async def test_a_filter_leaves_out_other_types_and_its_cursor_passes_them(
    engine: Engine, setups: list[Setup]
) -> None:
    ids = await pay_all(setups, 2)
    types = "payment.succeeded,invoice.voided"
    async with await engine.all_events(types=types) as events:
        voided = await setups[0].invoice()
        await engine.void_invoice(invoice_id=voided.id)
        async with asyncio.timeout(10):
            assert (await anext(events)).type == "invoice.voided"
    found, cursor = await read_to_end(engine.list_events, types=types)
    assert sorted(event.type for event in found) == ["invoice.voided"] + ["payment.succeeded"] * (len(ids) // 2)
    end = (await read_to_end(engine.list_events))[1]
    assert (
        Cursor.read(cursor, len(setups[0].store.partitions)).positions
        == Cursor.read(end, len(setups[0].store.partitions)).positions
    )
    assert (await engine.list_events(after=cursor)).data == []


async def test_a_wrong_filter_names_the_types_that_there_are(engine: Engine) -> None:
    for types in ("", "payment", "payment.succeeded,", "payment.succeeded, payment.failed"):
        with pytest.raises(
            ValidationFailed, match="types: has to be event types, separated by commas"
        ) as refusal:
            await engine.list_events(types=types)
        assert all(name in str(refusal.value) for name in EVENT_TYPES)
        with pytest.raises(ValidationFailed, match="types: has to be"):
            await engine.all_events(types=types)


async def test_a_wrong_cursor_is_refused_and_one_ahead_of_a_journal_is_unknown(
    engine: Engine, setups: list[Setup]
) -> None:
    count = len(setups[0].store.partitions)
    for after in ("", "abc", str(Cursor.beginning(count + 1)), "evt_000-0"):
        for call in (engine.list_events, engine.all_events):
            with pytest.raises(ValidationFailed, match="after: "):
                await call(after=after)
    _, end = await read_to_end(engine.list_events)
    positions = list(Cursor.read(end, count).positions)
    positions[-1] = positions[-1]._replace(number=positions[-1].number + 1)
    for call in (engine.list_events, engine.all_events):
        with pytest.raises(EventPositionUnknown):
            await call(after=str(Cursor(positions)))


@pytest.mark.parametrize("partitions", [1, 3])
async def test_a_clock_that_goes_back_and_forth_hides_no_event(fake_clock: FakeClock, partitions: int) -> None:
    """A partition's entries of now can have earlier ids than another's of before."""
    async with RedisStore.fake(partitions=partitions) as store, make_engine(store) as engine:
        setups = [await make_setup(engine, store, user) for user in USERS]
        expires_at = datetime.fromtimestamp(fake_clock.now_ms / 1000, UTC) + timedelta(days=10)
        ids: list[str] = []
        listed: list[Event] = []
        after: str | None = None
        async with await engine.all_events() as events:
            for number, hours in enumerate([0, -5, 2, -1, 24, -30, 3, -3] * 2):
                fake_clock.advance(hours * 3_600_000)
                setup = setups[number % len(setups)]
                invoice = await engine.create_invoice(
                    user_id=setup.user_id, amount=PRICE, currency="EUR", merchant="shop", expires_at=expires_at
                )
                payment = await setup.confirm(await setup.start(invoice), CODE)
                assert payment.status == "succeeded"
                ids += [payment.id, invoice.id]
                some, after = await read_to_end(engine.list_events, after, limit=2)
                listed += some
            heard = await hear(events, len(ids))
    assert_whole(listed, ids)
    assert_whole(heard, ids)


async def test_without_a_cursor_a_list_begins_at_the_beginning_and_a_stream_now(
    engine: Engine, setups: list[Setup]
) -> None:
    before = await setups[0].invoice()
    async with await engine.all_events() as events, asyncio.timeout(10):
        after = await setups[1].invoice()
        assert subject_of(await anext(events)) == after.id
    found, _ = await read_to_end(engine.list_events)
    assert {subject_of(event) for event in found} == {before.id, after.id}
