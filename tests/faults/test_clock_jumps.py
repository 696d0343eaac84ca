"""Jumps of the store's clock, on a real server under load: money, limits and the agenda keep working."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pytest
from support.fixtures.all_events import assert_whole, read_to_end
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import SECRET, make_setup, quick_settings, wait_for
from support.fixtures.engine_setup import Setup as Person
from support.fixtures.figures import report
from support.fixtures.fixed_code import CODE, make_engine, open_store
from support.fixtures.relaying import relay_anew
from support.fixtures.store_commands import search_payments
from support.fixtures.store_setup import Setup, client_of
from support.servers.faked_server import FakedServer, running_faked_server

from technopay.engine import (
    Engine,
    Event,
    Payment,
    RecordingChannel,
    TechnopayError,
)
from technopay.engine.reads import SearchPayments
from technopay.engine.record import to_ms
from technopay.engine.settings import key_id_of
from technopay.storage import RedisStore

NOON = datetime(2026, 7, 5, 12, tzinfo=UTC)
FAR_AHEAD = datetime(2100, 1, 1, tzinfo=UTC)
HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
JUMPS = [5 * MINUTE, DAY, -HOUR, -DAY, 3 * DAY, -2 * DAY, -5 * MINUTE]
BETWEEN_S = 0.5
CROWD = 250
USERS, LIMIT, PRICE = 6, 350, 7
RECOVERED_S_MAX = 40.0
"""Jumps are of a minute or more: waiting does not make up for them."""


@pytest.fixture(scope="module")
def clock() -> Iterator[FakedServer]:
    with running_faked_server(NOON) as server:
        yield server


@pytest.fixture
async def store(clock: FakedServer, namespace: str) -> AsyncIterator[RedisStore]:
    clock.set(NOON)
    async with open_store(clock.url, namespace) as opened:
        yield opened
    await assert_books_balance(clock.url, namespace)


@pytest.fixture
async def setup(store: RedisStore) -> Setup:
    setup = Setup(store)
    await setup.user("alice")
    return setup


async def pay(person: Person, number: int) -> Payment:
    """Make a purchase; every fifth is declined, every seventh refunded."""
    invoice = await person.engine.create_invoice(
        user_id=person.user_id, amount=PRICE, currency="EUR",
        merchant="shop-declines" if number % 5 == 0 else "shop", expires_at=FAR_AHEAD,
    )  # fmt: skip
    payment = await person.confirm(await person.start(invoice), CODE)
    if number % 7 == 0:
        await person.engine.refund_payment(payment_id=payment.id)
    return payment


async def keep_paying(person: Person, ended: asyncio.Event, outcomes: Counter[str]) -> None:
    """Make one purchase after the other until `ended` is set."""
    number = 0
    while not ended.is_set():
        number += 1
        try:
            await pay(person, number)
            outcomes["ok"] += 1
        except TechnopayError as refusal:
            outcomes[refusal.code] += 1


async def entries_of(store: RedisStore) -> list[tuple[int, int, dict[str, str]]]:
    """Read the journal: for each entry the milliseconds of its id, its time, and its fields."""
    found = await client_of(store).xrange(store._keys.journal)
    ids = [entry.partition("-") for entry, _ in found]
    assert ids == sorted(ids, key=lambda each: (int(each[0]), int(each[2]))), "ids do not grow"
    return [
        (int(entry.partition("-")[0]), int(fields.get("at", entry.partition("-")[0])), fields)
        for entry, fields in found
    ]


async def test_money_is_right_and_no_limit_is_passed_while_the_clock_jumps_under_load(
    clock: FakedServer, store: RedisStore, namespace: str
) -> None:
    outcomes: Counter[str] = Counter()
    ended = asyncio.Event()
    async with AsyncExitStack() as stack:
        other_store = await stack.enter_async_context(open_store(clock.url, namespace))
        engines = [await stack.enter_async_context(make_engine(each)) for each in (store, other_store)]
        people = [await make_setup(engines[0], store, f"user{number}") for number in range(USERS)]
        await engines[0].set_limit(currency="EUR", amount=LIMIT)
        async with asyncio.TaskGroup() as group:
            for person in people:
                for engine in engines:
                    worker = Person(engine, store, person.user_id, person.wallet)
                    group.create_task(keep_paying(worker, ended, outcomes))
            for jump in JUMPS:
                before = outcomes["ok"]
                clock.move(jump)
                await asyncio.sleep(BETWEEN_S)
                outcomes[f"paid after {jump}"] = outcomes["ok"] - before
            ended.set()
        await wait_for(lambda: is_at_rest(Setup(store)), within_s=RECOVERED_S_MAX)

    report(f"while the clock jumped: {dict(outcomes)}")
    entries = await entries_of(store)
    debits = [(at, said) for _, at, said in entries if "payment.processing" in said]
    for at, said in debits:
        assert datetime.fromtimestamp(at / 1000, UTC).date().isoformat() == said["global_period"]
        assert int(said["global_used"]) <= int(said["global_limit"]) == LIMIT
    assert {said["global_period"] for _, said in debits} >= {"2026-07-05", "2026-07-06"}
    assert sum(1 for written, at, _ in entries if at < written - 1000), "the clock never went back"
    assert set(outcomes) - {"ok"} - {f"paid after {jump}" for jump in JUMPS} <= {
        "settlement_failed", "confirmation_expired", "daily_limit_exceeded",
    }  # fmt: skip
    assert outcomes["ok"] > 50
    assert outcomes["daily_limit_exceeded"], "the limit was never reached"


async def is_at_rest(setup: Setup) -> bool:
    page = await search_payments(setup.store, "processing", None, set_aside=None, cursor="", limit=100)
    return not page.data


async def test_a_claim_left_behind_is_taken_over_after_a_jump_back(
    clock: FakedServer, store: RedisStore, setup: Setup
) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    # Payments that wait for their code are due before it, and keep their state.
    crowd = [await setup.started(wallet, await setup.invoice()) for _ in range(CROWD)]
    clock.move(5 * MINUTE - timedelta(seconds=10))
    waiting = await setup.started(wallet, invoice)
    payment_id, claim = await setup.processing(wallet)

    clock.move(-HOUR)

    async with make_engine(store):
        await wait_for(lambda: is_at_rest(setup), within_s=RECOVERED_S_MAX)
    assert (await setup.payment(payment_id)).status == "succeeded"
    assert (await setup.complete(payment_id, claim, "given_back")).code == "claim_lost"
    for each in (*crowd[:3], waiting):
        assert (await setup.payment(each)).status == "requires_confirmation"


async def test_a_message_that_waits_is_retried_after_a_jump_back(
    clock: FakedServer, store: RedisStore, setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.fixtures.store_setup.KEY_ID", key_id_of(SECRET))
    channel = RecordingChannel()
    [entry] = await relay_anew(setup, "the channel is down")

    clock.move(-HOUR)

    async def is_delivered() -> bool:
        return any(message.event_id.endswith(entry) for message in channel.messages)

    async with Engine(store, quick_settings(), channels={"email": channel}):
        await wait_for(is_delivered, within_s=RECOVERED_S_MAX)


async def test_no_event_is_skipped_while_the_clock_of_all_partitions_jumps(
    clock: FakedServer, namespace: str
) -> None:
    clock.set(NOON)
    listed: list[Event] = []
    paid: list[Payment] = []
    async with (
        open_store(clock.url, f"{namespace}p", partitions=4) as store,
        make_engine(store) as engine,
        await engine.all_events() as events,
    ):
        people = [await make_setup(engine, store, f"user{number}") for number in range(4 * USERS)]
        after: str | None = None
        for jump in JUMPS:
            for person in people[:: 1 + len(paid) % 3]:
                paid.append(await pay(person, 1))
            some, after = await read_to_end(engine.list_events, after, limit=5)
            listed += some
            clock.move(jump)
        heard: list[Event] = []
        ids = {each for payment in paid for each in (payment.id, payment.invoice_id)}
        async with asyncio.timeout(RECOVERED_S_MAX):
            while len({event.id for event in heard}) < len(listed):
                heard.append(await anext(events))
    assert_whole(listed, ids)
    assert_whole(heard, ids)
    assert {event.id for event in heard} == {event.id for event in listed}
    await assert_books_balance(clock.url, f"{namespace}p")


async def test_a_time_range_is_complete_after_a_jump_back(clock: FakedServer, setup: Setup) -> None:
    wallet = await setup.wallet()
    created = {}
    for jump in (timedelta(0), -HOUR, 2 * HOUR, -MINUTE):
        clock.move(jump)
        payment = await setup.started(wallet, await setup.invoice())
        created[payment] = to_ms((await setup.payment(payment)).created_at)
    for payment, at_ms in created.items():
        for first, end in ((at_ms, at_ms + 1), (None, at_ms + 1), (at_ms, None)):
            search = SearchPayments(None, None, None, "", 100, None, first, end)
            found = {each.id for each in (await setup.done(search)).data}
            assert found == {each for each, at in created.items() if (first or 0) <= at < (end or at + 1)}, (
                payment,
                first,
                end,
            )
