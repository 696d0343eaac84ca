"""Who runs the dialogues with the settlement service, and what becomes of their verdicts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.scenes import quick_settings, wait_for
from support.stand_ins import ClaimingStore, ManualClock, make_payment

from technopay.engine import (
    SILENCE,
    Fault,
    InternalError,
    OutcomeUnknown,
    Payment,
    ScriptedSettlementService,
    StoreUnavailable,
)
from technopay.engine.directory import Directory
from technopay.engine.ports import Claimed, PaymentTerms
from technopay.engine.settlement import Settlements

DOWN = ConnectionError("down")


class Desk:
    """Settlements with a service, and what they changed."""

    def __init__(self, service: ScriptedSettlementService, **settings: Any) -> None:
        self.store = ClaimingStore()
        self.changed: list[Payment] = []
        store: Any = self.store
        clock, chosen = ManualClock(), quick_settings(settlement_timeout_s=0.02, **settings)
        directory = Directory(store, clock, chosen, "owner")
        self.settlements = Settlements(store, directory, service, clock, chosen, self.changed.append)

    def begin(self, claim: str = "1", **fields: Any) -> None:
        self.settlements.begin(Claimed(make_payment(**fields), claim))

    async def end(self) -> None:
        async def ended() -> bool:
            return self.settlements.in_flight == 0

        await wait_for(ended)


async def test_a_verdict_is_written_down_under_the_claim_and_announced() -> None:
    desk = Desk(ScriptedSettlementService(settle=["declined"]))

    desk.begin()
    assert desk.settlements.in_flight == 1
    await desk.end()

    assert desk.store.completed == [("pay_001", "1", "given_back")]
    assert [payment.status for payment in desk.changed] == ["succeeded"]


async def test_a_refund_is_reversed_and_not_settled() -> None:
    service = ScriptedSettlementService(reverse=["reversed"])
    desk = Desk(service)

    desk.begin(status="refunding")
    await desk.end()

    assert service.calls == ["reverse"]
    assert desk.store.completed == [("pay_001", "1", "reversed")]


async def test_a_verdict_under_an_old_claim_changes_nothing() -> None:
    desk = Desk(ScriptedSettlementService(settle=["settled"]))

    desk.begin("0")
    await desk.end()

    assert desk.store.completed == []
    assert desk.changed == []


async def test_a_payment_whose_service_is_silent_is_set_aside_and_announced() -> None:
    desk = Desk(
        ScriptedSettlementService(settle=[DOWN], status=[DOWN]),
        settlement_silence_s=0.05,
        set_aside_interval_s=300,
    )

    desk.begin()
    await desk.end()

    assert (0, 300_000, True) in desk.store.renewed
    assert desk.store.completed == []
    assert [payment.set_aside for payment in desk.changed] == [True]


async def test_who_lost_the_claim_sets_nothing_aside() -> None:
    desk = Desk(ScriptedSettlementService(settle=[DOWN], status=[DOWN]), settlement_silence_s=0.05)

    desk.begin("0")
    await desk.end()

    assert desk.changed == []


async def test_what_another_process_took_over_is_left_to_it() -> None:
    service = ScriptedSettlementService(settle=[DOWN], status=["not_found"])
    desk = Desk(service, settlement_backoff_s=3.0, claim_s=1.0, settlement_silence_s=100)

    desk.begin("0")
    await desk.end()

    assert "call_off" not in service.calls
    assert desk.store.completed == []
    assert desk.changed == []


async def test_a_service_that_talks_nonsense_is_asked_on(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(ScriptedSettlementService(settle=[{"state": "settled"}], status=[["settled"], "settled"]))

    desk.begin()
    await desk.end()

    assert desk.store.completed == [("pay_001", "1", "settled")]
    assert "crashed" not in caplog.text


async def test_a_declined_reversal_makes_the_refund_fail() -> None:
    desk = Desk(ScriptedSettlementService(reverse=["declined"]))

    desk.begin(status="refunding")
    await desk.end()

    assert desk.store.completed == [("pay_001", "1", "refund_failed")]


async def test_a_payment_is_settled_once_at_a_time() -> None:
    service = ScriptedSettlementService(settle=[SILENCE])
    desk = Desk(service)

    desk.begin()
    desk.begin()
    await asyncio.sleep(0)

    assert desk.settlements.in_flight == 1
    assert service.calls == ["settle"]
    await desk.settlements.drain(0)


async def test_one_settlement_too_many_is_left_to_the_agenda() -> None:
    service = ScriptedSettlementService(settle=[SILENCE])
    desk = Desk(service, settlements_max=2)

    for number in range(3):
        desk.begin(id=f"pay_{number}")
    await asyncio.sleep(0)

    assert desk.settlements.in_flight == 2
    await desk.settlements.drain(0)


async def test_a_drain_gives_up_the_claims_of_what_takes_longer() -> None:
    desk = Desk(ScriptedSettlementService(settle=[SILENCE]))
    desk.begin()
    await asyncio.sleep(0)

    await desk.settlements.drain(0.001)

    assert desk.settlements.in_flight == 0
    assert desk.store.renewed == [(0, 0, False)]
    assert desk.store.completed == []


async def test_a_drain_waits_for_what_ends_in_time() -> None:
    async def soon(_: PaymentTerms) -> str:
        for _turn in range(3):
            await asyncio.sleep(0)
        return "settled"

    desk = Desk(ScriptedSettlementService(settle=[soon]))
    desk.begin()

    await desk.settlements.drain(5)

    assert [verdict for _, _, verdict in desk.store.completed] == ["settled"]


@pytest.mark.parametrize("error", [StoreUnavailable(), OutcomeUnknown(), InternalError()])
async def test_what_cannot_be_written_down_is_left_to_the_agenda(error: Fault) -> None:
    desk = Desk(ScriptedSettlementService(settle=["settled"]))
    desk.store.error = error

    desk.begin()
    await desk.end()
    assert desk.changed == []

    desk.store.error = None
    desk.begin()
    await desk.end()
    assert [verdict for _, _, verdict in desk.store.completed] == ["settled"]
