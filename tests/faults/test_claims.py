"""A process stalls before it sends its settle: another one calls the payment off; each effect happens once."""

import signal
import time

import pytest
from support.fixtures.audit import assert_books_balance
from support.fixtures.engine_setup import make_setup, wait_for
from support.fixtures.figures import report
from support.fixtures.fixed_code import make_engine, open_store
from support.fixtures.store_setup import Setup as Records
from support.processes.engine_process import Role, running_far_engine
from support.processes.process_race import confirm

from technopay.engine.claims import CLAIM_S

PATIENT = {"settlement_timeout_s": 90.0, "settlement_silence_s": 180.0}
"""Settings of a process that waits for a reply for longer than a claim lasts."""
AGENDA_S_MAX, TAKEN_OVER_S_MAX = 10.0, 40.0


@pytest.mark.timeout(180)
async def test_a_settle_that_stalled_meets_the_tombstone_of_a_call_off(server_url: str, namespace: str) -> None:
    async with open_store(server_url, namespace) as store:
        async with make_engine(store, drain_s=0.1) as engine:
            alice, records = await make_setup(engine, store), Records(store)
            payment = await alice.start()

        async def book() -> str:
            return (await records.fields("mock:settlement", payment.id)).get("state", "")

        async def has_ended() -> bool:
            return (await records.payment(payment.id)).status in ("succeeded", "failed")

        stalling = Role(server_url, namespace, settings=PATIENT, service="asking")
        rescuing = Role(server_url, namespace, service="failing")
        async with running_far_engine(stalling) as far, running_far_engine(rescuing):
            [answer] = far.send([confirm(payment)])
            await far.wait_for("about to settle", payment=payment.id)
            far.signal(signal.SIGSTOP)
            stopped_at = time.monotonic()
            await wait_for(has_ended, within_s=TAKEN_OVER_S_MAX)
            taken_over_s = time.monotonic() - stopped_at
            assert await book() == "called_off"

            far.signal(signal.SIGCONT)
            far.give_leave(payment.id)
            settled = await far.wait_for("settle answered", payment=payment.id)
            await answer
            repeated = await far.call("confirm_payment", **confirm(payment)[1])

        report(f"a stalled claim was taken over and called off after {taken_over_s:.1f} s")
        assert CLAIM_S["payment"] - 1 < taken_over_s < CLAIM_S["payment"] + AGENDA_S_MAX
        assert (settled["answer"], await book()) == ("declined", "called_off")
        assert (await records.complete(payment.id, "1", "settled")).code == "claim_lost"
        assert ((await records.payment(payment.id)).status, repeated.code) == ("failed", "settlement_failed")
        fields = await records.fields("payment", payment.id)
        assert fields["claim"] == "3", "one claim each for the confirm, the rescue and its end"
        moved = [said for _, said in await records.entries() if said["type"].startswith("payment.")]
        assert [said["type"] for said in moved] == ["payment.started", "payment.processing", "payment.failed"]
        assert await records.money(alice.wallet_id) == (10_000, 0)
    await assert_books_balance(server_url, namespace)
