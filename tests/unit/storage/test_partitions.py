"""A store of several partitions: what is of all of them together holds, wherever users and records are."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from support.fixtures import placed_keys
from support.fixtures.audit import assert_clean
from support.fixtures.store_commands import set_aside
from support.fixtures.store_setup import FAR, Setup, client_of, new_invoice, operation

from technopay.engine.commands import (
    CreateUser,
    CreateWallet,
    FinishDue,
    ListMessages,
    ReadLimits,
    ReadWallet,
    SearchPayments,
    TakeDue,
)
from technopay.engine.errors import OutcomeUnknown, StoreUnavailable, StoreUnfit
from technopay.engine.values import Operation
from technopay.storage import RedisStore
from technopay.storage.commands import (
    AskSlice,
    LimitState,
    RecordLoss,
    ReserveReference,
    Slice,
    SliceTotals,
    TakeSlice,
)
from technopay.storage.schema import INITIALISING, SCHEMA

USERS = ("alice", "bob", "carol", "dave")
"""Each in a partition of its own."""
NAME = "global:EUR"


@pytest.fixture(params=["fake", "valkey", "redis"])
def make_store(
    request: pytest.FixtureRequest, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], RedisStore]:
    """Make unopened stores of four partitions; on a server they are the same store."""
    monkeypatch.setattr(placed_keys, "PARTITIONS", 4)
    if request.param == "fake":
        return lambda: RedisStore.fake(namespace=namespace, partitions=4)
    url = request.getfixturevalue(f"{request.param}_url")
    return lambda: RedisStore.connect(url, initialise=True, namespace=namespace, partitions=4)


@pytest.fixture
async def store(make_store: Callable[[], RedisStore], *, is_corrupted: bool) -> AsyncIterator[RedisStore]:
    async with make_store() as opened:
        yield opened
        if not is_corrupted:
            await assert_clean(opened)


@pytest.fixture
async def setup(store: RedisStore) -> Setup:
    setup = Setup(store)
    for user in USERS:
        await setup.user(user)
    return setup


async def pay(setup: Setup, user: str, amount: int) -> str:
    """Pay an invoice of a user; return the code of the start or of the confirm."""
    wallet = await setup.wallet(user)
    started = await setup.start(wallet, await setup.invoice(user, amount), user)
    if started.code != "ok" or started.value is None:
        return started.code
    return (await setup.confirm(started.value.id, user_id=user)).code


async def test_users_are_spread_and_their_records_are_with_them(setup: Setup) -> None:
    assert {setup.store.partition_of(user) for user in USERS} == {0, 1, 2, 3}
    for user in USERS:
        wallet = await setup.wallet(user)
        assert int(wallet[4:6], 16) == setup.store.partition_of(user)
        assert (await setup.run(ReadWallet(wallet, user))).code == "ok"
        assert (await setup.run(ReadWallet(wallet))).code == "ok"
        others = [other for other in USERS if other != user]
        assert {(await setup.run(ReadWallet(wallet, other))).code for other in others} == {"wallet_not_found"}


async def test_an_id_of_a_partition_that_the_store_has_not_is_of_no_record(setup: Setup) -> None:
    assert (await setup.run(ReadWallet("wal_ff000001"))).code == "wallet_not_found"


async def test_a_limit_is_for_all_partitions_together_to_the_last_unit(setup: Setup) -> None:
    await setup.set_limit("EUR", 1_000)
    assert [await pay(setup, user, 240) for user in USERS] == ["ok"] * 4
    assert [await pay(setup, user, 41) for user in USERS] == ["daily_limit_exceeded"] * 4
    assert await pay(setup, "dave", 40) == "ok"
    assert [await pay(setup, user, 1) for user in USERS] == ["daily_limit_exceeded"] * 4
    limit = await setup.limit()
    assert (limit.limit, limit.used, limit.remaining) == (1_000, 1_000, 0)


async def test_what_is_given_back_in_one_partition_is_there_for_another(setup: Setup) -> None:
    await setup.set_limit("EUR", 1_000)
    wallet = await setup.wallet("alice")
    payment, claim = await setup.processing(wallet, 900)
    assert await pay(setup, "bob", 101) == "daily_limit_exceeded"
    await setup.complete(payment, claim, "given_back")

    async def is_paid() -> bool:
        return await pay(setup, "bob", 1_000) == "ok"

    # The refusal of before counts for a quarter of a second.
    for _ in range(20):
        if await is_paid():
            break
        await asyncio.sleep(0.05)
    assert (await setup.limit()).used == 1_000


async def test_a_lowered_limit_holds_everywhere_once_it_is_set(setup: Setup) -> None:
    await setup.set_limit("EUR", 1_000_000)
    assert [await pay(setup, user, 100) for user in USERS] == ["ok"] * 4
    await setup.set_limit("EUR", 450)
    assert await pay(setup, "alice", 51) == "daily_limit_exceeded"
    assert await pay(setup, "bob", 50) == "ok"
    await setup.set_limit("EUR", 0)
    assert [await pay(setup, user, 1) for user in USERS] == ["daily_limit_exceeded"] * 4
    await setup.set_limit("EUR", None)
    assert [await pay(setup, user, 5_000) for user in USERS] == ["ok"] * 4


async def test_what_is_given_back_after_a_lowering_is_not_spent_past_the_limit(setup: Setup) -> None:
    await setup.set_limit("EUR", 1_000)
    payment, claim = await setup.processing(await setup.wallet("alice"), 900)
    await setup.set_limit("EUR", 100)
    await setup.complete(payment, claim, "given_back")
    assert await pay(setup, "alice", 101) == "daily_limit_exceeded"
    assert await pay(setup, "alice", 100) == "ok"


async def test_a_grant_that_arrives_after_a_lowering_is_worth_nothing(setup: Setup) -> None:
    await setup.set_limit("EUR", 1_000)
    day = await setup.day((await setup.processing(await setup.wallet("alice"), 1))[0])
    partitions, own = setup.store._partitions, setup.store.partition_of("alice")
    part, totals = Slice("global", "EUR", day), SliceTotals("0", "0", "0")
    question = AskSlice(part, f"{own:02x}", totals, 500, 500, "")
    answer, _ = (await partitions.home_of_limit(NAME).run(question)).value or ([], [])
    mode, epoch, limit, granted, others, left = answer
    assert int(granted) >= 500

    await setup.set_limit("EUR", 0)
    await partitions[own].run(TakeSlice(part, LimitState(mode, epoch, limit), granted, others, left))
    assert await pay(setup, "alice", 1) == "daily_limit_exceeded"


async def test_a_partition_that_was_never_told_a_limit_asks_for_it(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: str) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(setup.store._partitions._slices, "spread", fail)
    with pytest.raises(OutcomeUnknown):
        await setup.set_limit("EUR", 10)
    assert [await pay(setup, user, 11) for user in USERS] == ["daily_limit_exceeded"] * 4
    assert await pay(setup, "bob", 10) == "ok"


async def test_what_was_paid_without_a_limit_counts_once_there_is_one(setup: Setup) -> None:
    assert [await pay(setup, user, 100) for user in USERS] == ["ok"] * 4
    assert await setup.run(ReadLimits()) == (await setup.run(ReadLimits()))._replace(value=[])
    await setup.set_limit("EUR", 500)
    assert await pay(setup, "carol", 101) == "daily_limit_exceeded"
    assert await pay(setup, "carol", 100) == "ok"


async def test_a_limit_that_did_not_reach_all_partitions_is_spread_by_the_agenda(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    await setup.set_limit("EUR", 1_000)
    spread = setup.store._partitions._slices.spread

    async def fail(_: str) -> None:
        raise StoreUnavailable

    monkeypatch.setattr(setup.store._partitions._slices, "spread", fail)
    with pytest.raises(OutcomeUnknown):
        await setup.set_limit("EUR", 10)
    monkeypatch.setattr(setup.store._partitions._slices, "spread", spread)

    home = setup.store._partitions.home_of_limit("global:EUR")
    await client_of(setup.store).zadd(home.keys.key("agenda"), {"lim_global:EUR": 0})
    due = await setup.done(TakeDue(home.number, 10))
    assert due.unfinished == ["lim_global:EUR"]
    await setup.run(FinishDue(home.number, "lim_global:EUR"))
    assert [await pay(setup, user, 11) for user in USERS] == ["daily_limit_exceeded"] * 4
    assert await client_of(setup.store).zscore(home.keys.key("agenda"), "lim_global:EUR") is None


async def test_a_reference_is_used_once_in_all_partitions_until_its_invoice_frees_it(setup: Setup) -> None:
    first = await setup.done(new_invoice("alice", 1, "EUR", FAR, reference="R-1"))
    for user in USERS:
        outcome = await setup.run(new_invoice(user, 1, "EUR", FAR, reference="R-1"))
        assert (outcome.code, outcome.details) == ("reference_used", {"invoice_id": first.id})
    assert (await setup.run(new_invoice("bob", 1, "EUR", FAR, reference="R-2"))).code == "ok"
    await setup.void(first.id)
    second = await setup.done(new_invoice("dave", 1, "EUR", FAR, reference="R-1"))
    outcome = await setup.run(new_invoice("alice", 1, "EUR", FAR, reference="R-1"))
    assert outcome.details == {"invoice_id": second.id}


async def test_a_repeated_creation_has_its_first_result_also_when_its_reference_went_on(setup: Setup) -> None:
    command = new_invoice("alice", 1, "EUR", FAR, reference="R-1")
    first = await setup.done(command)
    await setup.void(first.id)
    second = await setup.done(new_invoice("bob", 1, "EUR", FAR, reference="R-1"))
    again = await setup.run(command)
    assert (again.code, again.replayed, again.value and again.value.id) == ("ok", True, first.id)
    assert (await setup.run(new_invoice("carol", 1, "EUR", FAR, reference="R-1"))).details == {
        "invoice_id": second.id
    }


async def test_a_refused_creation_leaves_its_reference_and_its_key_free(setup: Setup) -> None:
    named = operation()
    refused = await setup.run(new_invoice("nobody", 1, "EUR", FAR, reference="R-1", identity=named))
    assert refused.code == "user_not_found"
    other = Operation(named.operation_id, "another body", named.kept_ms)
    made = await setup.run(new_invoice("bob", 1, "EUR", FAR, reference="R-1", identity=other))
    assert made.code == "ok"


async def test_a_reservation_that_was_left_behind_is_called_off_and_its_late_creation_is_refused(
    setup: Setup,
) -> None:
    store, command = setup.store, new_invoice("alice", 1, "EUR", FAR, reference="R-1")
    home = store._partitions._creations._home_of("Shop\nR-1")
    named = command.operation
    reserved = ReserveReference(named.operation_id, named.fingerprint, "Shop", "R-1", command.invoice_id)
    assert (await home.run(reserved)).code == "ok"
    assert (await setup.run(new_invoice("bob", 1, "EUR", FAR, reference="R-1"))).code == "reference_used"

    await setup.run(FinishDue(home.number, "ref_4:ShopR-1"))
    with pytest.raises(StoreUnavailable, match="not created in time"):
        await setup.run(command)
    assert (await setup.run(new_invoice("bob", 1, "EUR", FAR, reference="R-1"))).code == "ok"
    await setup.run(FinishDue(home.number, "ref_4:ShopR-1"))
    assert (await setup.run(new_invoice("carol", 1, "EUR", FAR, reference="R-1"))).code == "reference_used"


@pytest.mark.parametrize(("one", "other"), [("eve", "frank"), ("eve", "eve")])
async def test_a_key_names_one_creation_in_all_partitions(setup: Setup, one: str, other: str) -> None:
    named = operation(fingerprint="one body")
    assert (await setup.run(CreateUser(named, one, "e@example.com", None))).code == "ok"
    repeated = await setup.run(CreateUser(named, one, "e@example.com", None))
    assert (repeated.code, repeated.replayed) == ("ok", True)
    another = Operation(named.operation_id, "another body", named.kept_ms)
    for command in (
        CreateUser(another, other, "o@example.com", None),
        CreateWallet(another, "wal_00new", other, "EUR"),
        new_invoice(other, 1, "EUR", FAR, identity=another),
    ):
        assert (await setup.run(command)).code == "idempotency_key_reused"


async def started_in_turn(setup: Setup, count: int) -> list[str]:
    """Start payments of all users in turn; return their ids, newest first."""
    found = []
    for number in range(count):
        user = USERS[number % 4]
        found.append(await setup.started(await setup.wallet(user), await setup.invoice(user), user))
        await asyncio.sleep(0.002)  # places of one millisecond are in the order of partitions
    return found[::-1]


@pytest.mark.parametrize("limit", [1, 3, 7, 20])
async def test_the_payments_of_all_partitions_are_one_list_newest_first(setup: Setup, limit: int) -> None:
    expected = await started_in_turn(setup, 14)
    found, cursor = [], ""
    while True:
        page = await setup.done(SearchPayments(None, None, None, cursor, limit))
        assert len(page.data) <= limit
        found += [payment.id for payment in page.data]
        if not page.has_more:
            break
        cursor = page.next_cursor or ""
    assert found == expected
    own = await setup.done(SearchPayments(None, "bob", None, "", 100))
    assert [each.user_id for each in own.data] == ["bob"] * len(own.data)


async def test_payments_set_aside_are_one_list(setup: Setup) -> None:
    ids = []
    for user in USERS:
        payment, claim = await setup.processing(await setup.wallet(user), user_id=user)
        await set_aside(setup.store, payment, claim, 60_000)
        ids.append(payment)
    found, cursor = [], ""
    for _ in USERS:
        page = await setup.done(SearchPayments(None, None, True, cursor, 1))
        found += [each.id for each in page.data]
        cursor = page.next_cursor or ""
    assert sorted(found) == sorted(ids)
    assert found == sorted(ids, key=lambda each: each[6:], reverse=True)
    assert (await setup.store.measure()).set_aside_age_ms >= 0


async def test_messages_of_all_partitions_are_one_list(setup: Setup) -> None:
    await started_in_turn(setup, 5)
    page = await setup.done(ListMessages(None, None, "", 10))
    assert page.data == []
    assert not page.has_more


async def test_an_initialisation_that_was_broken_off_goes_on(make_store: Callable[[], RedisStore]) -> None:
    store = make_store()
    if store.url is None:
        pytest.skip("a fake has no second connection")
    meta: dict[Any, Any] = {
        "incarnation": "0123456789abcdef", "schema": INITIALISING, "partitions": "4", "timezone": "UTC",
    }  # fmt: skip
    async with Redis.from_url(store.url, decode_responses=True) as client:
        await client.hset(store._keys.key("meta"), mapping=meta | {"created_at": "1"})
    with pytest.raises(StoreUnfit, match="not initialised to the end"):
        await RedisStore.connect(store.url, namespace=store._keys.namespace).open()
    async with store:
        found = await store.read_meta()
        assert (found["schema"], found["partitions"], found["incarnation"]) == (SCHEMA, "4", "0123456789abcdef")


@pytest.mark.corrupts
async def test_a_partition_of_another_store_is_refused_by_its_script_and_at_the_start(
    setup: Setup, make_store: Callable[[], RedisStore]
) -> None:
    wallet = await setup.wallet("alice")
    keys = setup.store._partitions[setup.store.partition_of("alice")].keys
    await client_of(setup.store).hset(keys.key("meta"), "incarnation", "another")
    for command in (ReadWallet(wallet), CreateWallet(operation(), "wal_01new", "alice", "EUR")):
        with pytest.raises(StoreUnavailable, match="replaced by another one"):
            await setup.run(command)
    await client_of(setup.store).delete(keys.key("meta"))
    with pytest.raises(StoreUnavailable, match="replaced by another one"):
        await setup.run(ReadWallet(wallet))
    if setup.store.url is not None:
        with pytest.raises(StoreUnfit):
            await make_store().open()


async def test_a_loss_in_one_partition_is_accepted_for_all(
    setup: Setup, make_store: Callable[[], RedisStore]
) -> None:
    store = setup.store
    incarnation = (await store.read_meta())["incarnation"]
    assert not await store.accept_loss(incarnation)
    assert (await store._partitions[3].run(RecordLoss(incarnation, "99999999999999-1"))).code == "ok"
    assert await store.accept_loss(incarnation)
    metas = [await client_of(store).hgetall(each.keys.key("meta")) for each in store._partitions]
    assert len({meta["incarnation"] for meta in metas} - {incarnation}) == 1
    assert not [name for meta in metas for name in meta if name.startswith("lost:")]
    for each in store._partitions:
        each.guard(metas[0]["incarnation"])


@pytest.mark.corrupts
@pytest.mark.parametrize(
    ("kind", "change", "what"),
    [
        ("limit", {"{day}:granted": "900"}, "granted to"),
        ("quota", {"r:{own}": "900"}, "returned by"),
        ("limit", {"{day}:granted": "1"}, "used in"),
        ("quota", {"out": "1"}, "granted in all"),
        ("limit", {"limit": "77"}, "limit"),
    ],
)
async def test_slices_that_do_not_add_up_are_reported(
    setup: Setup, kind: str, change: dict[str, str], what: str
) -> None:
    await setup.set_limit("EUR", 800)
    wallet = await setup.wallet("alice")
    payment, _ = await setup.processing(wallet, 100)
    day, own = await setup.day(payment), f"{setup.store.partition_of('alice'):02x}"
    assert (await setup.store.audit()).clean
    home = setup.store._partitions.home_of_limit("global:EUR").keys
    key = home.key("quota", f"global:EUR:{day}") if kind == "quota" else setup.keys.key("limit", "global:EUR")
    if kind == "limit":
        key = setup.store._partitions[setup.store.partition_of("alice")].keys.key("limit", "global:EUR")
    fields: dict[str, Any] = {name.format(day=day, own=own): value for name, value in change.items()}
    await client_of(setup.store).hset(key, mapping=fields)
    audit = await setup.store.audit()
    assert [each for each in audit.differences if each.what.startswith(what)], audit.differences
