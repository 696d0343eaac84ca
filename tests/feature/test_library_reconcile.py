"""The comparison with a settlement file: what is equal, what differs on either side, and in which period."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.engine_setup import Setup, make_setup, other_than, quick_settings
from support.fixtures.http_api import unchanged
from support.fixtures.settlement_files import (
    differences,
    fail_payment,
    keys,
    outcomes,
    pay_later,
    refund,
    row,
    scripted,
    set_aside_payment,
    set_aside_refund,
    wait_for_relay,
)
from support.fixtures.store_setup import Setup as StoreSetup
from support.fixtures.store_setup import client_of

from technopay.engine import (
    ConfirmationInvalid,
    Engine,
    Payment,
    SequentialIds,
    SettlementRow,
    ValidationFailed,
)
from technopay.engine.system import time_in
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition

MILLISECOND = timedelta(milliseconds=1)
FAR = datetime(2100, 1, 1, tzinfo=UTC)


async def compare(alice: Setup, *rows: SettlementRow, **period: Any) -> dict[str, list[str]]:
    return differences(await alice.engine.reconcile(rows=list(rows), **period))


async def test_a_file_with_all_that_happened_is_equal_in_the_period_of_its_payments(store: RedisStore) -> None:
    async with scripted(store) as (alice, answers):
        failed = await fail_payment(alice, answers)
        called_off = await fail_payment(alice, answers)
        settled, whole, parted = [await pay_later(alice) for _ in range(3)]
        all_of_it = await refund(alice, whole)
        parts = [await refund(alice, parted, amount) for amount in (1_000, 500)]
        answers["reverse"] = ["declined"]
        declined = await refund(alice, settled, 700)

        rows = [row(payment.id) for payment in (settled, whole, parted)]
        rows += [row(failed.id, outcome="declined"), row(called_off.id, outcome="called_off")]
        rows += [row(all_of_it.id, outcome="reversed"), row(declined.id, 700, "declined")]
        rows += [row(part.id, part.amount, "reversed") for part in parts]
        await wait_for_relay(store)
        async with unchanged(store):
            found = await alice.engine.reconcile(rows=rows)

        assert differences(found) == {}
        assert (found.counts.rows, found.counts.equal) == (9, 9)
        given_back = await alice.payment(failed)
        assert found.settled_from == given_back.refunds[0].at
        assert found.settled_to == declined.at + MILLISECOND


@pytest.mark.parametrize(
    "change", [{"amount": 2_499}, {"currency": "USD"}, {"outcome": "declined"}, {"outcome": "pending"}], ids=str
)
async def test_another_amount_currency_or_outcome_is_a_difference(
    store: RedisStore, change: dict[str, Any]
) -> None:
    async with scripted(store) as (alice, _):
        payment = await alice.pay()
        reversal = await refund(alice, payment)

        right = row(payment.id), row(reversal.id, outcome="reversed")
        found = await alice.engine.reconcile(rows=[each.model_copy(update=change) for each in right])

        assert differences(found) == {"different": [payment.id, reversal.id]}
        for mismatch, ours in zip(found.different, right, strict=True):
            assert mismatch.ours
            assert mismatch.theirs
            shown = mismatch.ours.amount, mismatch.ours.currency, mismatch.ours.outcome
            assert shown == (ours.amount, ours.currency, ours.outcome)
            assert not mismatch.ours.set_aside
            theirs = ours.model_dump(exclude={"key"}) | change
            assert mismatch.theirs.model_dump() == theirs


async def test_a_payment_that_was_given_back_is_not_settled(store: RedisStore) -> None:
    async with scripted(store) as (alice, answers):
        failed = await fail_payment(alice, answers)
        found = await alice.engine.reconcile(rows=[row(failed.id)])
        assert list(map(outcomes, found.different)) == [("given_back", "settled")]


async def test_what_never_reached_the_settlement_service_is_extra(store: RedisStore) -> None:
    async with scripted(store) as (alice, answers):
        waiting, canceled, wrong = [await alice.start() for _ in range(3)]
        await alice.engine.cancel_payment(user_id="alice", payment_id=canceled.id)
        code = await alice.right_code(wrong)
        for _ in range(5):
            with pytest.raises(ConfirmationInvalid):
                await alice.confirm(wrong, other_than(code))
        failed = await fail_payment(alice, answers)
        given_back = (await alice.payment(failed)).refunds[0]

        ours = [waiting.id, canceled.id, wrong.id]
        unknown = [
            f"{waiting.id[:-1]}0", f"ref_{waiting.id[4:]}", "pay_ff00", "pay_", "ref_zz", "INV-1", given_back.id
        ]  # fmt: skip
        rows = [row(key, outcome="declined") for key in ours + unknown]
        found = await alice.engine.reconcile(rows=rows)

        assert differences(found) == {"extra": ours + unknown}
        assert [outcomes(each)[0] for each in found.extra] == ["unsent"] * 3 + [None] * 7


async def test_what_is_undecided_here_equals_pending_and_differs_from_a_decision(
    store: RedisStore,
) -> None:
    async with scripted(store) as (alice, answers):
        payment = await set_aside_payment(alice, answers)
        refunding, reversal = await set_aside_refund(alice, answers)

        pending = row(payment.id, outcome="pending"), row(reversal.id, 1_000, "pending")
        assert await compare(alice, *pending, row(refunding.id)) == {}
        found = await alice.engine.reconcile(rows=[row(payment.id), row(reversal.id, 1_000, "reversed")])

        assert list(map(outcomes, found.different)) == [("processing", "settled"), ("pending", "reversed")]
        assert [each.ours.set_aside for each in found.different if each.ours] == [True, True]
        assert (found.settled_from, found.settled_to) == (None, None)


async def test_a_decision_of_an_operator_counts_as_it_is_and_does_not_stretch_the_period(
    store: RedisStore,
) -> None:
    async with scripted(store) as (alice, answers):
        first, second = [await set_aside_payment(alice, answers) for _ in range(2)]
        refunding, reversal = await set_aside_refund(alice, answers)
        settled = await pay_later(alice)
        between = await pay_later(alice)
        for payment_id, outcome in ((first.id, "settled"), (second.id, "refund"), (refunding.id, "refund")):
            await alice.engine.resolve_payment(
                payment_id=payment_id,
                outcome=outcome,  # type: ignore[arg-type]
                note="n",
                by="olga",
            )

        rows = [row(first.id), row(second.id, outcome="called_off"), row(reversal.id, 1_000, "reversed")]
        found = await alice.engine.reconcile(rows=[*rows, row(settled.id)])
        assert differences(found) == {}
        assert settled.settled_at
        assert (found.settled_from, found.settled_to) == (settled.settled_at, settled.settled_at + MILLISECOND)

        wrong = [row(first.id, outcome="declined")]
        found = await alice.engine.reconcile(rows=wrong, settled_from=settled.settled_at, settled_to=FAR)
        assert differences(found)["different"] == [first.id]
        assert found.different[0].ours
        assert found.different[0].ours.resolved
        assert set(keys(found.missing)) == {settled.id, between.id, reversal.id}


async def test_what_was_settled_or_reversed_in_the_period_but_is_not_in_the_file(
    store: RedisStore,
) -> None:
    async with scripted(store) as (alice, answers):
        before, first, middle, last, after = [await pay_later(alice) for _ in range(5)]
        await fail_payment(alice, answers)  # it need not be in the file
        assert await compare(alice, row(last.id), row(first.id)) == {"missing": [middle.id]}
        assert await compare(alice, row(middle.id)) == {}

        reversal = await refund(alice, after, 100)
        found = await alice.engine.reconcile(rows=[row(before.id), row(reversal.id, 100, "reversed")])
        assert differences(found) == {"missing": [first.id, middle.id, last.id, after.id]}
        everything = {"settled_from": before.settled_at, "settled_to": FAR}
        rows = [row(each.id) for each in (before, first, middle, last, after)]
        found = await alice.engine.reconcile(rows=rows, **everything)
        assert differences(found) == {"missing": [reversal.id]}
        assert found.missing[0].ours
        assert outcomes(found.missing[0]) == ("reversed", None)
        assert (found.missing[0].ours.amount, found.missing[0].ours.currency) == (100, "EUR")


async def test_a_given_period_has_its_begin_and_not_its_end(store: RedisStore) -> None:
    async with scripted(store) as (alice, _):
        first, second, third = [await pay_later(alice) for _ in range(3)]
        assert first.settled_at
        assert third.settled_at

        period = {"settled_from": first.settled_at, "settled_to": third.settled_at}
        assert await compare(alice, **period) == {"missing": [first.id, second.id]}
        late = {"settled_from": first.settled_at + MILLISECOND, "settled_to": third.settled_at + MILLISECOND}
        assert await compare(alice, **late) == {"missing": [second.id, third.id]}
        only_from = {"settled_from": first.settled_at}
        assert await compare(alice, row(third.id), **only_from) == {"missing": [first.id, second.id]}
        only_to = {"settled_to": third.settled_at + MILLISECOND}
        assert await compare(alice, row(first.id), **only_to) == {"missing": [second.id, third.id]}
        assert await compare(alice, settled_from=FAR, settled_to=FAR + MILLISECOND) == {}
        if store._client:
            await store._client.check()  # no period makes the store expect an entry that does not exist


async def test_all_partitions_are_compared(store: RedisStore) -> None:
    async with scripted(store) as (alice, _):
        setups = [alice, *[await make_setup(alice.engine, store, f"user{number}") for number in range(4)]]
        payments: list[Payment] = [await each.pay() for each in setups]
        refunds = [await refund(alice, payment, 100) for payment in payments]

        rows = [row(payment.id) for payment in payments]
        rows += [row(each.id, 100, "reversed") for each in refunds]
        assert await compare(alice, *rows) == {}
        found = await alice.engine.reconcile(rows=[rows[0], rows[-1]])
        assert set(keys(found.missing)) == {each.key for each in rows[1:-1]}
        if len(store.partitions) > 1:
            assert len({payment.id[4:6] for payment in payments}) > 1


async def test_refunds_are_found_by_ids_without_a_time_too(store: RedisStore) -> None:
    async with Engine(store, quick_settings(), ids=SequentialIds()) as engine:
        alice = await make_setup(engine, store)
        payment = await alice.pay()
        reversal = await refund(alice, payment, 100)
        assert await compare(alice, row(reversal.id, 100, "reversed")) == {}
        assert await compare(alice, row("ref_00other", 100, "reversed")) == {"extra": ["ref_00other"]}


@pytest.mark.parametrize("is_close", [True, False])
@pytest.mark.parametrize("sign", [-1, 1])
async def test_the_clock_of_an_engine_may_differ_by_a_minute(
    alice: Setup, monkeypatch: pytest.MonkeyPatch, sign: int, *, is_close: bool
) -> None:
    reversal = await refund(alice, await alice.pay(), 100)
    ahead_ms = sign * (55_000 if is_close else 65_000)
    monkeypatch.setattr(
        "technopay.engine.reconciliation.journal.time_in", lambda key: (time_in(key) or 0) + ahead_ms
    )
    found = await compare(alice, row(reversal.id, 100, "reversed"))
    assert found == ({} if is_close else {"extra": [reversal.id]})


@pytest.mark.corrupts
async def test_a_record_that_cannot_be_read_is_a_difference(store: RedisStore) -> None:
    async with scripted(store) as (alice, _):
        payment, other = [await alice.pay() for _ in range(2)]
        await client_of(store).hset(StoreSetup(store).keys.key("payment", payment.id), "status", "lost")

        found = await alice.engine.reconcile(rows=[row(payment.id), row(other.id)])

        assert differences(found) == {"different": [payment.id]}
        assert found.different[0].ours is None


async def test_a_file_is_refused_by_row_and_field(alice: Setup) -> None:
    keys_twice = [row("pay_1"), row("pay_2"), row("pay_1")]
    wrong = [row("pay_1", outcome="reversed"), row("ref_1", outcome="settled"), row("else", outcome="reversed")]
    for rows, fields in (
        (keys_twice, {"rows.2.key": "is that of rows.0, too"}),
        (wrong, {
            "rows.0.outcome": "has to be settled, declined, called_off or pending",
            "rows.1.outcome": "has to be reversed, declined or pending",
        }),
        ([], {"rows": "has to have a row, or give from and to"}),
        ([row(f"pay_{number}") for number in range(1_001)], {"rows": "has to have at most 1000 rows"}),
    ):  # fmt: skip
        with pytest.raises(ValidationFailed) as refused:
            await alice.engine.reconcile(rows=rows)
        assert {error.field: error.message for error in refused.value.errors} == fields
    with pytest.raises(ValidationFailed, match=r"^to: has to be later than from"):
        await alice.engine.reconcile(rows=[row("pay_1")], settled_from=FAR, settled_to=FAR)
    thousand = [row(f"pay_{number}") for number in range(1_000)]
    assert (await alice.engine.reconcile(rows=thousand)).counts.extra == 1_000


async def test_lists_are_bounded_and_all_is_counted(alice: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("technopay.engine.reconciliation.reconciler.ITEMS_MAX", 2)
    payments = [await alice.pay(await alice.invoice(1)) for _ in range(5)]
    unknown = [row(f"pay_{number}") for number in range(3)]

    found = await alice.engine.reconcile(rows=[row(payments[0].id, 1), row(payments[4].id, 1), *unknown])

    assert (len(found.extra), found.counts.extra) == (2, 3)
    assert (len(found.missing), found.counts.missing) == (2, 3)


async def test_a_period_with_too_many_entries_is_refused(alice: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    payment = await alice.pay()
    assert await compare(alice, row(payment.id)) == {}
    monkeypatch.setattr("technopay.engine.operations.reconciliation.ENTRIES_MAX", 2)
    with pytest.raises(ValidationFailed, match=r"^rows: belong to more than 2 entries of the journal"):
        await alice.engine.reconcile(rows=[row(payment.id)], settled_from=alice.wallet.created_at)


async def test_a_payment_settled_while_the_clock_was_behind_is_found_by_its_time(
    fake_store: RedisStore, fake_clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("technopay.engine.reconciliation.journal.ENTRIES", 1)
    async with Engine(fake_store, quick_settings(), ids=SequentialIds()) as engine:
        alice = await make_setup(engine, fake_store)
        early = await alice.pay()
        fake_clock.advance(-3_600_000)
        behind = await alice.pay()
        fake_clock.advance(-1_800_000)  # once more, while it is behind
        twice = await alice.pay()
        fake_clock.advance(3 * 3_600_000)
        late = await alice.pay()
        assert early.settled_at
        assert behind.settled_at
        assert behind.settled_at < early.settled_at

        period = {"settled_from": behind.settled_at, "settled_to": early.settled_at}
        assert await compare(alice, **period) == {"missing": [behind.id]}
        assert await compare(alice, row(twice.id), settled_to=behind.settled_at) == {}
        assert twice.settled_at
        period = {"settled_from": twice.settled_at, "settled_to": twice.settled_at + MILLISECOND}
        assert await compare(alice, **period) == {"missing": [twice.id]}
        assert await compare(alice, row(behind.id), row(late.id)) == {"missing": [early.id]}
