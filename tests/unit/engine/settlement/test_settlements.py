"""Running settlements, and their verdicts."""

import asyncio
from typing import Any

import pytest
from support.fixtures.doubles import CREATED_AT_MS, ClaimingStore, ManualClock, make_payment
from support.fixtures.engine_setup import quick_settings, wait_for

from technopay.engine import (
    SILENCE,
    Fault,
    InternalError,
    OutcomeUnknown,
    Payment,
    ScriptedSettlementService,
    StoreUnavailable,
)
from technopay.engine.claims import Claims
from technopay.engine.record import from_ms
from technopay.engine.settlement.settlements import Settlements
from technopay.engine.values import Claimed, PaymentTerms

DOWN = ConnectionError("down")


class Desk:
    """Settlements with a service, and their changes."""

    def __init__(self, service: ScriptedSettlementService, *, timeout_s: float = 0.02, **settings: Any) -> None:
        self.clock, self.service = ManualClock(), service
        self.store = ClaimingStore(self.clock)
        self.changed: list[Payment] = []
        store: Any = self.store
        clock, chosen = self.clock, quick_settings(settlement_timeout_s=timeout_s, **settings)
        self.claims = Claims(store, clock)
        self.settlements = Settlements(store, service, clock, self.claims, chosen, self.changed.append)

    def begin(self, claim: str = "1", **fields: Any) -> None:
        self.settlements.begin(Claimed(make_payment(**fields), claim), self.clock.monotonic())

    async def end(self) -> None:
        async def ended() -> bool:
            return self.settlements.in_flight == 0

        await wait_for(ended)


@pytest.mark.parametrize(
    ("answers", "status", "verdict"),
    [
        ({"settle": ["declined"]}, "processing", "given_back"),
        ({"reverse": ["reversed"]}, "refunding", "reversed"),
        ({"reverse": ["declined"]}, "refunding", "refund_failed"),
    ],
    ids=["declined", "reversed", "refund failed"],
)
async def test_a_verdict_is_recorded_under_the_claim_and_announced(
    answers: dict[str, list[Any]], status: str, verdict: str
) -> None:
    desk = Desk(ScriptedSettlementService(**answers))

    desk.begin(status=status)
    assert desk.settlements.in_flight == 1
    await desk.end()

    assert desk.service.calls == [*answers]
    assert desk.store.completed == [("pay_001", "1", verdict)]
    assert [payment.status for payment in desk.changed] == ["failed"]


async def test_a_settled_payment_is_announced_without_being_read_again() -> None:
    desk = Desk(ScriptedSettlementService(settle=["settled"]))

    desk.begin(set_aside=True)
    await desk.end()

    settled_at = from_ms(CREATED_AT_MS)
    assert desk.changed == [make_payment(status="succeeded", settled_at=settled_at, set_aside=False)]


@pytest.mark.parametrize(
    "answers", [{"settle": ["settled"]}, {"settle": [DOWN], "status": [DOWN]}], ids=["settled", "silent"]
)
async def test_an_old_claim_completes_nothing_and_sets_nothing_aside(answers: dict[str, list[Any]]) -> None:
    desk = Desk(ScriptedSettlementService(**answers), settlement_silence_s=0.05)

    desk.begin("0")
    await desk.end()

    assert (desk.store.completed, desk.changed) == ([], [])
    assert desk.claims.lost == 1


async def test_a_payment_whose_service_is_silent_is_set_aside_and_announced() -> None:
    desk = Desk(
        ScriptedSettlementService(settle=[DOWN], status=[DOWN]),
        settlement_silence_s=0.05,
        set_aside_interval_s=300,
    )

    desk.begin()
    await desk.end()

    assert desk.store.asides == [("pay_001", 300_000)]
    assert desk.store.completed == []
    assert [payment.set_aside for payment in desk.changed] == [True]


async def test_what_another_process_took_over_is_left_to_it(caplog: pytest.LogCaptureFixture) -> None:
    async def lose(_: PaymentTerms) -> str:
        desk.clock.now += 6
        desk.store.claim = "2"
        await desk.claims.renew()
        raise DOWN

    service = ScriptedSettlementService(settle=[lose], status=["not_found"])
    desk = Desk(service)

    desk.begin()
    await desk.end()

    assert service.calls == ["settle"]
    assert desk.store.completed == []
    assert desk.changed == []
    assert desk.claims.lost == 1
    assert caplog.text.count("pay_001") == 1, "a lost claim is logged once"


async def test_a_claim_is_renewed_while_a_call_runs() -> None:
    async def take_long(_: PaymentTerms) -> str:
        for _second in range(60):
            desk.clock.now += 1
            await desk.claims.renew()
        return "settled"

    desk = Desk(ScriptedSettlementService(settle=[take_long]), timeout_s=90)

    desk.begin()
    await desk.end()

    assert [verdict for _, _, verdict in desk.store.completed] == ["settled"]
    assert [now - 1_000 for now, _, _ in desk.store.renewed] == list(range(5, 61, 5))
    assert desk.claims.lost == 0


async def test_a_claim_that_ran_out_and_came_back_to_the_same_process_is_worked_under() -> None:
    """As after an outage of the store that was longer than a claim lasts."""

    async def run_out(_: PaymentTerms) -> str:
        desk.store.claim = "2"
        desk.begin("2")
        desk.begin("1")
        return "settled"

    desk = Desk(ScriptedSettlementService(settle=[run_out]))

    desk.begin()
    await desk.end()

    assert desk.store.completed == [("pay_001", "2", "settled")]


async def test_a_service_that_takes_no_notice_of_its_deadline_does_not_keep_the_payment() -> None:
    asked = 0

    async def hang(_: PaymentTerms) -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            return "settled"
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                if ended:
                    raise

    ended = False
    desk = Desk(ScriptedSettlementService(settle=[hang]))
    desk.begin()
    await asyncio.sleep(0.05)

    desk.clock.now += 16
    await desk.claims.renew()
    desk.store.claim = "2"
    desk.begin("2")

    async def settled() -> bool:
        return desk.store.completed == [("pay_001", "2", "settled")]

    await wait_for(settled)
    assert desk.claims.lost == 1
    ended = True


async def test_a_service_that_cancels_itself_or_answers_nonsense_is_asked_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def cancel(_: PaymentTerms) -> str:
        raise asyncio.CancelledError

    for nonsense in (cancel, {"state": "settled"}, ["settled"]):
        desk = Desk(ScriptedSettlementService(settle=[nonsense], status=[["settled"], "settled"]))

        desk.begin()
        await desk.end()

        assert desk.store.completed == [("pay_001", "1", "settled")]
    assert "crashed" not in caplog.text


async def test_a_payment_is_settled_once_at_a_time_and_one_too_many_is_left_to_the_agenda() -> None:
    service = ScriptedSettlementService(settle=[SILENCE])
    desk = Desk(service, settlements_max=2)

    for number, in_flight in ((0, 1), (0, 1), (1, 2), (2, 2)):
        desk.begin(id=f"pay_00{number}")
        await asyncio.sleep(0)
        assert desk.settlements.in_flight == in_flight
    assert service.calls == ["settle"] * 2
    await desk.settlements.drain(0)


async def test_a_drain_gives_up_the_claims_of_what_takes_longer() -> None:
    desk = Desk(ScriptedSettlementService(settle=[SILENCE]))
    desk.begin()
    await asyncio.sleep(0)

    await desk.settlements.drain(0.001)

    assert desk.settlements.in_flight == 0
    assert [(token, keep) for _, token, keep in desk.store.renewed] == [("1", False)]
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
