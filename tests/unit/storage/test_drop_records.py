"""Records that ended leave a store behind the cut of its journal; each condition by itself keeps one."""

from collections.abc import Sequence

import pytest
from support.fixtures.dropping import Cut, cut, invoice_of, is_indexed, is_kept, refund_to_the_end, version_of
from support.fixtures.dumps import dump
from support.fixtures.script_calls import purchase_in
from support.fixtures.store_setup import WRONG, Setup, client_of, value_of
from support.fixtures.trimming import Trimming

from technopay.engine.errors import InternalError
from technopay.engine.values import Position
from technopay.storage.archive import dropping
from technopay.storage.archive.commands import DropRecords
from technopay.storage.partition import Partition

pytestmark = pytest.mark.any_partition

ENDS = ("succeeded", "partly refunded", "refunded", "given back")


async def payment_that_ended(setup: Setup, end: str) -> str:
    """Make a payment that took money and ended; return it."""
    if end == "given back":
        payment, claim = await setup.processing(await setup.wallet())
        assert (await setup.complete(payment, claim, "given_back")).code == "ok"
        return payment
    payment = (await purchase_in(setup, "succeeded")).payment
    if end != "succeeded":
        await refund_to_the_end(setup, payment, amount=30 if end == "partly refunded" else None)
    return payment


@pytest.mark.parametrize("end", ENDS)
async def test_a_payment_that_ended_leaves_with_the_invoice_that_it_paid(
    setup: Setup, trimming: Trimming, end: str
) -> None:
    payment = await payment_that_ended(setup, end)
    invoice = await invoice_of(setup, payment)
    await trimming.trim()
    is_paid = end != "given back"
    assert (await is_kept(setup, payment), await is_indexed(setup, payment)) == (False, False)
    assert (await is_kept(setup, invoice), await is_indexed(setup, invoice)) == (not is_paid, not is_paid)


async def test_a_void_invoice_leaves_and_others_stay(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    voided, expired, over, is_open = [await setup.invoice() for _ in range(4)]
    await setup.void(voided)
    await setup.write("invoice", over, expires_at="1")
    paid = await invoice_of(setup, await payment_that_ended(setup, "succeeded"))
    made = await cut(trimming, monkeypatch)
    await setup.write("invoice", expired, status="expired")
    every = (voided, expired, over, is_open, paid)
    assert await made.drop(*[word for each in every for word in (each, "")]) == "ok"
    assert [await is_kept(setup, each) for each in every] == [False, True, True, True, True]
    assert [await is_indexed(setup, each) for each in every] == [False, True, True, True, True]
    await setup.write("invoice", expired, status="open")  # the books have no expiry of it


@pytest.mark.parametrize("behind", [-1, 1])
async def test_a_payment_of_another_version_stays(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch, behind: int
) -> None:
    payment = await payment_that_ended(setup, "succeeded")
    made, version = await cut(trimming, monkeypatch), int(await version_of(setup, payment))
    for other in (str(version + behind), "", f"{version}.0"):
        assert await made.drop(payment, other) == "ok"
        assert await is_kept(setup, payment)
    assert await made.drop(payment, str(version)) == "ok"
    assert not await is_kept(setup, payment)


@pytest.mark.parametrize("state", ["processing", "refunding", "set aside"])
async def test_a_payment_that_is_not_final_stays_even_off_the_agenda(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    payment = (await purchase_in(setup, state)).payment
    due = await setup.due_at(payment)
    await client_of(setup.store).zrem(setup.keys.agenda(payment), payment)
    made = await cut(trimming, monkeypatch)
    await made.drop(payment, await version_of(setup, payment))
    assert await is_kept(setup, payment)
    await client_of(setup.store).zadd(setup.keys.agenda(payment), {payment: due or 0})


async def test_a_payment_on_the_agenda_stays(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await payment_that_ended(setup, "given back")
    made = await cut(trimming, monkeypatch)
    agenda = setup.keys.agenda(payment)
    await client_of(setup.store).zadd(agenda, {payment: 10**14})
    await made.drop(payment, await version_of(setup, payment))
    assert await is_kept(setup, payment)
    await client_of(setup.store).zrem(agenda, payment)
    await made.drop(payment, await version_of(setup, payment))
    assert not await is_kept(setup, payment)


async def test_a_payment_that_is_set_aside_stays(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = await payment_that_ended(setup, "succeeded")
    made = await cut(trimming, monkeypatch)
    await setup.write("payment", payment, set_aside="1")
    await made.drop(payment, await version_of(setup, payment))
    assert await is_kept(setup, payment)
    await client_of(setup.store).hdel(setup.keys.key("payment", payment), "set_aside")


@pytest.mark.parametrize("end", ["failed", "canceled"])
async def test_a_payment_that_ended_unconfirmed_stays(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    purchase = await purchase_in(setup, "last attempt")
    payment = purchase.payment
    if end == "failed":
        await setup.confirm(payment, WRONG)
    else:
        await setup.cancel(payment)
    assert value_of(await setup.cancel(payment)).status == end
    made, due = await cut(trimming, monkeypatch), await setup.due_at(payment)
    await client_of(setup.store).zrem(setup.keys.agenda(payment), payment)
    await made.drop(payment, await version_of(setup, payment))
    assert await is_kept(setup, payment)
    await client_of(setup.store).zadd(setup.keys.agenda(payment), {payment: due or 0})
    await trimming.trimmer.run()
    assert await is_kept(setup, payment)


async def test_an_invoice_of_another_payment_stays(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = await payment_that_ended(setup, "given back")
    invoice = await invoice_of(setup, failed)
    paying = await setup.started(await setup.wallet(), invoice)
    made = await cut(trimming, monkeypatch)
    await made.drop(failed, await version_of(setup, failed))
    assert not await is_kept(setup, failed)
    assert (await setup.fields("invoice", invoice))["payment"] == paying
    assert await is_indexed(setup, invoice)


async def two_that_can_leave(
    setup: Setup, trimming: Trimming, patch: pytest.MonkeyPatch
) -> tuple[Cut, list[str]]:
    payment, voided = await payment_that_ended(setup, "succeeded"), await setup.invoice()
    await setup.void(voided)
    return await cut(trimming, patch), [payment, await version_of(setup, payment), voided, ""]


async def test_under_a_claim_that_was_lost_nothing_leaves(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, records = await two_that_can_leave(setup, trimming, monkeypatch)
    before = await dump(setup.store)
    assert await made.drop(*records, claim=str(int(made.claim) - 1)) == "claim_lost"
    assert await dump(setup.store) == before


async def test_records_that_ended_behind_the_cut_do_not_leave(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, records = await two_that_can_leave(setup, trimming, monkeypatch)
    before, (at_ms, number) = await dump(setup.store), Position.of(made.to)
    for later in (Position(at_ms, number + 1), Position(at_ms + 1, 0)):
        with pytest.raises(InternalError):
            await made.drop(*records, to=str(later))
        assert await dump(setup.store) == before


async def test_dropping_again_changes_nothing_and_its_progress_never_goes_back(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, records = await two_that_can_leave(setup, trimming, monkeypatch)
    assert await made.drop(*records) == "ok"
    assert (await made.fields())["dropped_to"] == made.to
    before = {**await dump(setup.store), "archive": {}}
    for to in (made.to, "1-0"):
        assert await made.drop(*records, "pay_00unheardof", "3", "inv_00unheardof", "", to=to) == "ok"
        assert (await made.fields())["dropped_to"] == made.to
    assert {**await dump(setup.store), "archive": {}} == before


async def test_a_few_records_leave_at_a_time(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dropping, "BATCH", 7)
    monkeypatch.setattr(dropping, "DROPPED", 2)
    wallet = await setup.wallet()
    payments = [await setup.succeeded(wallet) for _ in range(7)]
    voided = [await setup.invoice() for _ in range(5)]
    for each in voided:
        await setup.void(each)
    sent: list[Sequence[str]] = []
    run = Partition.run

    async def note(self: Partition, command: object, *rest: object) -> object:
        if isinstance(command, DropRecords):
            sent.append(command.records)
        return await run(self, command, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Partition, "run", note)
    await trimming.trim()
    assert max(map(len, sent)) == 4
    assert sum(map(len, sent)) == 2 * len(payments + voided)
    assert [each for each in payments + voided if await is_kept(setup, each)] == []


async def test_after_the_loss_of_the_claim_the_next_run_goes_on(
    setup: Setup, trimming: Trimming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dropping, "BATCH", 6)
    wallet = await setup.wallet()
    payments = [await setup.succeeded(wallet) for _ in range(6)]
    settle, count = dropping.Dropping._settle_references, 0

    async def lose_claim(self: dropping.Dropping, records: dropping.Records) -> None:
        nonlocal count
        count += 1
        if count == 3:
            await client_of(setup.store).hincrby(self._partition.keys.key("archive"), "trim_claim", 1)
        await settle(self, records)

    with monkeypatch.context() as patched:
        patched.setattr(dropping.Dropping, "_settle_references", lose_claim)
        await trimming.trim()
    left = [each for each in payments if await is_kept(setup, each)]
    assert 0 < len(left) < len(payments)
    await trimming.trimmer.run()
    assert [each for each in payments if await is_kept(setup, each)] == []


async def test_a_payment_that_is_refunded_meanwhile_leaves_after_that(setup: Setup, trimming: Trimming) -> None:
    payment = await payment_that_ended(setup, "succeeded")
    begun = await setup.begin_refund(payment, amount=10)
    await trimming.trim()
    assert await is_kept(setup, payment)
    assert (await setup.complete(payment, begun.details["claim"], "reversed")).code == "ok"
    await trimming.trim()
    assert not await is_kept(setup, payment)
