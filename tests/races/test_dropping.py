"""Payments leave a store while engines in other processes read, confirm and refund them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from support.fixtures.dropping import is_kept
from support.fixtures.engine_setup import wait_for
from support.fixtures.store_setup import client_of
from support.fixtures.trimming import Trimming, new_trimming
from support.processes.engine_process import Answer, Call
from support.processes.process_race import PRICE, PROCESSES, ProcessRace, confirm

from technopay.engine import Payment
from technopay.storage import Archive

PAYMENTS, BALANCE, ROUNDS = 8, 10_000, 3
pytestmark = pytest.mark.asyncio(loop_scope="session")


async def forget_messages(race: ProcessRace) -> None:
    """Do what three days do: until then, messages that were not sent keep their entries."""
    client = client_of(race.records.store)
    for keys in [each.keys for each in race.records.store._partitions]:
        for member in await client.zrange(keys.key("agenda"), 0, -1):
            if member.startswith("msg_"):
                await client.delete(keys.key("message", member.removeprefix("msg_")))
                await client.zrem(keys.key("agenda"), member)


@asynccontextmanager
async def dropped_all_the_time(
    race: ProcessRace, location: Path, patch: pytest.MonkeyPatch
) -> AsyncIterator[Trimming]:
    """Trim the journals again and again, and let all that ended leave."""
    async with Archive.at(str(location)) as archive:
        trimming = await new_trimming(race.records, archive, patch)
        race.archives.append(str(location))
        await archive.bind(await trimming.store.read_meta())
        await replace(race, role=replace(race.role, archive=str(location))).begin()

        async def trim() -> None:
            while True:
                await trimming.archiver.run()
                await trimming.trimmer.run()
                await asyncio.sleep(0)

        task = asyncio.create_task(trim())
        try:
            yield trimming
        finally:
            assert not task.done() or task.exception() is None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def make_calls(race: ProcessRace, calls: list[list[Call]]) -> list[list[Answer]]:
    """Give each process its own calls, and make them all at once."""
    sent = [far.send(own) for far, own in zip(race.far, calls, strict=True)]
    return [list(await asyncio.gather(*futures)) for futures in sent]


async def all_are_gone(race: ProcessRace, payments: list[Payment]) -> None:
    async def look() -> bool:
        await forget_messages(race)
        return not any([await is_kept(race.records, each.id) for each in payments])

    await wait_for(look)


async def test_a_payment_that_leaves_meanwhile_is_read_confirmed_and_refunded_as_one_that_stays(
    race: ProcessRace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = await race.make_user("dan", BALANCE)
    started = await race.start_many(wallet, PAYMENTS)
    async with dropped_all_the_time(race, tmp_path / "archive.sqlite3", monkeypatch) as trimming:
        paid = await make_calls(race, [[confirm(each) for each in started[n::PROCESSES]] for n in range(4)])
        assert {answer.code for each in paid for answer in each} == {"ok"}
        await all_are_gone(race, started)
        ids = [{"payment_id": each.id} for each in started]
        for _ in range(ROUNDS):
            answers = await make_calls(
                race,
                [
                    [("refund_payment", {**each, "amount": 1}) for each in ids],
                    [("find_payment", each) for each in ids],
                    [confirm(each) for each in started],
                    [("find_invoice", {"invoice_id": each.invoice_id}) for each in started],
                ],
            )
            refunds, reads, confirms, invoices = [{answer.code for answer in each} for each in answers]
            assert refunds == reads == invoices == {"ok"}
            assert confirms <= {"ok", "payment_not_confirmable"}  # while it is refunded
            assert {answer.record["status"] for answer in answers[3]} == {"paid"}
            await all_are_gone(race, started)
        whole = await make_calls(race, [[("refund_payment", each) for each in ids]] * PROCESSES)
        assert {answer.code for each in whole for answer in each} == {"ok"}
        found = await race.payments_at_rest([each.id for each in started])
        assert {(each.status, each.refunded_amount) for each in found} == {("refunded", PRICE)}
        assert {len(each.refunds) for each in found} == {ROUNDS + 1}
        await all_are_gone(race, started)
        audit = await trimming.store.audit(full=True)
        assert audit.clean, audit.differences
    assert await race.balance(wallet) == BALANCE
