"""Limits for all users hold over all partitions, to the last unit."""

import asyncio
from typing import Any

import pytest
from support.fixtures import placed_keys
from support.fixtures.audit import assert_clean
from support.fixtures.clock import FakeClock
from support.fixtures.engine_setup import wait_for
from support.fixtures.partitioned import NAME, USERS, pay
from support.fixtures.store_commands import read_limits
from support.fixtures.store_setup import Setup, client_of

from technopay.engine.commands import Command, CompletePayment, FinishDue, TakeDue
from technopay.engine.errors import OutcomeUnknown, StoreUnavailable
from technopay.engine.reads import ReadLimits
from technopay.storage import RedisStore
from technopay.storage.commands import (
    AskSlice,
    LimitState,
    RecallSlice,
    ReportSlices,
    Slice,
    SliceReport,
    SliceTotals,
    SpreadLimit,
    TakeSlice,
)


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


async def test_an_amount_whose_return_was_not_reported_counts_again_after_five_seconds(
    fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placed_keys, "PARTITIONS", 4)
    async with RedisStore.fake(partitions=4) as store:
        setup = Setup(store)
        for user in USERS:
            await setup.user(user)
        await setup.set_limit("EUR", 1_000)
        payment, claim = await setup.processing(await setup.wallet("alice"), 900)
        assert await pay(setup, "bob", 101) == "daily_limit_exceeded"
        own = store._partitions[store.partition_of("alice")]
        await own.run(CompletePayment(payment, claim, "given_back"))

        fake_clock.advance(5_000)
        recalls = store.script_times["recall_slice"].calls
        assert await pay(setup, "bob", 1_000) == "daily_limit_exceeded"
        assert store.script_times["recall_slice"].calls == recalls, "as last reported, nothing is unused"
        fake_clock.advance(251)
        assert await pay(setup, "bob", 1_000) == "ok"
        await assert_clean(store)


@pytest.mark.corrupts
async def test_a_report_that_comes_late_counts_no_more(setup: Setup) -> None:
    await setup.set_limit("EUR", 1_000)
    home = setup.store._partitions.home_of_limit(NAME)
    period = (await home.run(SpreadLimit(NAME, 4))).value[3]  # type: ignore[index]
    part, nothing = Slice("global", "EUR", period), SliceTotals("0", "0", "0")

    async def ask(holder: str, totals: SliceTotals, amount: int, recalled_at: str = "") -> tuple[str, str]:
        outcome = await home.run(AskSlice(part, holder, totals, amount, amount, recalled_at))
        assert outcome.value is not None
        return outcome.code, outcome.value[0][5]

    async def report(returned: str, used: str) -> None:
        await home.run(ReportSlices(part, "0", [SliceReport("00", "1000", returned, used)]))

    assert (await ask("00", nothing, 1_000))[0] == "ok"
    code, recalled_at = await ask("01", nothing, 100)
    assert code == "recall"
    await report("0", "1000")
    assert (await ask("01", nothing, 100, recalled_at))[0] == "short"

    await report("500", "500")
    assert (await ask("00", SliceTotals("1000", "500", "500"), 150))[0] == "ok"
    await report("300", "700")
    assert (await ask("01", nothing, 500))[0] == "recall", "500 are left, 150 of them in the other partition"


async def test_a_slow_partition_does_not_hold_up_what_the_others_return(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    await setup.set_limit("EUR", 9_000)
    assert [await pay(setup, user, 10) for user in ("alice", "bob")] == ["ok"] * 2
    slow, goes_on = setup.store._partitions[setup.store.partition_of("alice")], asyncio.Event()
    run = slow.run

    async def run_slowly(command: Command[Any], *options: Any) -> Any:
        if isinstance(command, RecallSlice):
            await goes_on.wait()
        return await run(command, *options)

    monkeypatch.setattr(slow, "run", run_slowly)
    paying = asyncio.create_task(pay(setup, "carol", 8_500))
    home, own = setup.store._partitions.home_of_limit(NAME), f"{setup.store.partition_of('bob'):02x}"

    async def is_reported() -> bool:
        period = (await home.run(SpreadLimit(NAME, 4))).value[3]  # type: ignore[index]
        quota = await client_of(setup.store).hgetall(home.keys.key("quota", f"{NAME}:{period}"))
        return int(quota[f"r:{own}"]) > 0

    await wait_for(is_reported)
    assert not paying.done()
    goes_on.set()
    assert await paying == "ok"


async def test_a_limit_that_is_far_takes_few_messages(setup: Setup) -> None:
    await setup.set_limit("EUR", 10**9)
    assert {await pay(setup, "alice", 10) for _ in range(70)} == {"ok"}
    assert setup.store.script_times["ask_slice"].calls == 3


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
    assert (await setup.run(ReadLimits())).value == []
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
    assert [(each.limit, each.pending) for each in await read_limits(setup.store, None)] == [(10, True)]

    home = setup.store._partitions.home_of_limit("global:EUR")
    await client_of(setup.store).zadd(home.keys.key("agenda"), {"lim_global:EUR": 0})
    due = await setup.done(TakeDue(home.number, 10))
    assert due.unfinished == ["lim_global:EUR"]
    await setup.run(FinishDue(home.number, "lim_global:EUR"))
    assert [(each.limit, each.pending) for each in await read_limits(setup.store, None)] == [(10, False)]
    assert [await pay(setup, user, 11) for user in USERS] == ["daily_limit_exceeded"] * 4
    assert await client_of(setup.store).zscore(home.keys.key("agenda"), "lim_global:EUR") is None


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
