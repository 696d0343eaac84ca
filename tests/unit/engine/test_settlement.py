"""The dialogue with the settlement service, and who runs it. Give back only on 'declined' or 'called_off'."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.scenes import quick_settings, wait_for
from support.stand_ins import ManualClock, make_payment

from technopay.engine import SILENCE, EngineSettings, Payment, ScriptedSettlementService, StoreUnavailable
from technopay.engine.directory import Directory
from technopay.engine.ports import Claimed, Outcome, PaymentTerms
from technopay.engine.settlement import ClaimLostError, Dialogue, Settlements, SilenceError

SETTINGS = EngineSettings(secret="x" * 32)
SETTLED, DECLINED = {"settled", "already_settled"}, {"declined", "called_off", "already_declined"}
DOWN = ConnectionError("down")


class ClaimingStore:
    """Of a store, what settlements need of it."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self._clock = clock
        self.claim = "1"
        self.renewed: list[tuple[float, int, bool]] = []
        self.completed: list[tuple[str, str, str]] = []
        self.error: Exception | None = None

    async def renew_claim(self, payment_id: str, claim: str, claim_ms: int, *, set_aside: bool) -> bool:
        now = self._clock.now if self._clock else 0
        self.renewed.append((now, claim_ms, set_aside))
        return claim == self.claim

    async def complete_payment(self, payment_id: str, claim: str, verdict: str) -> Outcome[Payment]:
        if self.error:
            raise self.error
        if claim != self.claim:
            return Outcome("fenced")
        self.completed.append((payment_id, claim, verdict))
        return Outcome("ok", make_payment(status="succeeded"))

    async def read_payment(self, payment_id: str, user_id: str | None) -> Outcome[Payment]:
        return Outcome("ok", make_payment(set_aside=True))


class Talk:
    """A dialogue about one payment, on a clock that the service moves."""

    def __init__(self, settings: EngineSettings = SETTINGS, **answers: list[Any]) -> None:
        self.clock = ManualClock()
        self.store = ClaimingStore(self.clock)
        self.settings = settings
        self.service = ScriptedSettlementService(
            **{question: [self._timed(answer) for answer in script] for question, script in answers.items()}
        )
        store: Any = self.store
        claimed = Claimed(make_payment(), "1")
        self.dialogue = Dialogue(store, self.service, self.clock, settings, claimed)
        self.claim_ages: list[float] = []

    def _timed(self, answer: Any) -> Callable[[PaymentTerms], Any]:
        """Answer at once, but be silent for as long as the engine waits."""

        async def give(terms: PaymentTerms) -> Any:
            claimed_at = self.store.renewed[-1][0] if self.store.renewed else 1_000.0
            self.claim_ages.append(self.clock.now - claimed_at)
            if answer == SILENCE:
                self.clock.now += self.settings.settlement_timeout_s
                raise TimeoutError
            if isinstance(answer, Exception):
                raise answer
            return answer

        return give

    @property
    def calls(self) -> list[str]:
        return self.service.calls


async def test_what_is_settled_is_settled() -> None:
    talk = Talk(settle=["settled"])

    assert await talk.dialogue.decide() == "settled"
    assert talk.calls == ["settle"]


async def test_what_is_declined_is_given_back() -> None:
    talk = Talk(settle=["declined"])

    assert await talk.dialogue.decide() == "given_back"
    assert talk.calls == ["settle"]


async def test_errors_and_not_found_are_sent_again_five_times_and_then_called_off() -> None:
    talk = Talk(settle=[DOWN], status=["not_found"], call_off=["called_off"])

    assert await talk.dialogue.decide() == "given_back"
    assert talk.calls == ["settle", "status"] * 5 + ["call_off"]
    assert talk.clock.slept == [0.2, 0.4, 0.8, 1.6]


async def test_a_settlement_that_works_the_third_time_is_settled() -> None:
    talk = Talk(settle=[DOWN, DOWN, "settled"], status=["not_found"])

    assert await talk.dialogue.decide() == "settled"
    assert talk.calls == ["settle", "status", "settle", "status", "settle"]


async def test_a_call_off_that_comes_too_late_settles() -> None:
    talk = Talk(settle=[DOWN], status=["not_found"], call_off=["already_settled"])

    assert await talk.dialogue.decide() == "settled"


async def test_a_call_off_of_what_was_declined_gives_back() -> None:
    talk = Talk(settle=[SILENCE], status=["not_found"], call_off=["already_declined"])

    assert await talk.dialogue.decide() == "given_back"


@pytest.mark.parametrize(("status", "verdict"), [("settled", "settled"), ("declined", "given_back")])
async def test_a_lost_answer_is_asked_for(status: str, verdict: str) -> None:
    talk = Talk(settle=[SILENCE], status=[status])

    assert await talk.dialogue.decide() == verdict
    assert talk.calls == ["settle", "status"]


async def test_while_it_is_pending_the_service_is_asked_on_and_nothing_is_sent_again() -> None:
    talk = Talk(settle=[SILENCE], status=["pending"] * 200 + ["settled"])

    assert await talk.dialogue.decide() == "settled"
    assert talk.calls == ["settle"] + ["status"] * 201


async def test_a_service_that_says_nothing_is_silent() -> None:
    talk = Talk(settle=[SILENCE], status=[SILENCE])
    began = talk.clock.now

    with pytest.raises(SilenceError):
        await talk.dialogue.decide()

    assert 15 <= talk.clock.now - began <= 15 + 5 + 1


async def test_a_service_that_only_fails_says_nothing_either() -> None:
    talk = Talk(settle=[DOWN], status=[DOWN])
    began = talk.clock.now

    async with asyncio.timeout(5):
        with pytest.raises(SilenceError):
            await talk.dialogue.decide()

    assert 15 <= talk.clock.now - began <= 16


async def test_a_service_that_cannot_call_off_never_gets_money_back() -> None:
    talk = Talk(settle=[DOWN], status=["not_found"], call_off=[NotImplementedError()])

    async with asyncio.timeout(5):
        with pytest.raises(SilenceError):
            await talk.dialogue.decide()

    assert "call_off" in talk.calls


async def test_a_service_that_answers_now_and_then_is_not_silent() -> None:
    talk = Talk(settle=[SILENCE], status=[SILENCE, "pending"] * 10 + ["settled"])

    assert await talk.dialogue.decide() == "settled"


ANSWERS = st.sampled_from(["settled", "declined", "called_off", "already_settled", "already_declined"])
NO_ANSWERS = st.sampled_from([SILENCE, DOWN, "not_found", "pending", "failed", "", None, 404])


@settings(deadline=None)
@given(
    settle=st.lists(st.one_of(ANSWERS, NO_ANSWERS), min_size=1, max_size=4),
    status=st.lists(st.one_of(ANSWERS, NO_ANSWERS), min_size=1, max_size=4),
    call_off=st.lists(st.one_of(ANSWERS, NO_ANSWERS), min_size=1, max_size=4),
)
def test_money_goes_back_only_on_a_clear_no(settle: list[Any], status: list[Any], call_off: list[Any]) -> None:
    """Whatever a service says, the verdict is that of its last answer; all else ends without a verdict."""

    async def run() -> None:
        heard: list[Any] = []
        talk = Talk(settle=settle, status=[*status, "settled"], call_off=call_off)
        answer = talk.service._answer

        async def listen(question: str, terms: PaymentTerms) -> Any:
            said = await answer(question, terms)
            heard.append(said)
            return said

        talk.service._answer = listen  # type: ignore[method-assign]
        try:
            verdict = await talk.dialogue.decide()
        except SilenceError:
            return
        assert heard[-1] in (SETTLED if verdict == "settled" else DECLINED)
        assert not (SETTLED | DECLINED) & set(heard[:-1]), "the first clear answer decides"

    asyncio.run(run())


async def test_every_question_is_asked_under_a_claim_that_outlasts_it() -> None:
    talk = Talk(settle=[SILENCE], status=["not_found"], call_off=["called_off"])

    assert await talk.dialogue.decide() == "given_back"

    assert max(talk.claim_ages) + SETTINGS.settlement_timeout_s < SETTINGS.claim_s
    assert len(talk.store.renewed) >= 4
    assert {(claim_ms, set_aside) for _, claim_ms, set_aside in talk.store.renewed} == {(15_000, False)}


async def test_a_claim_that_is_young_is_not_renewed() -> None:
    talk = Talk(settle=[DOWN, "settled"], status=["not_found"])

    await talk.dialogue.decide()

    assert talk.store.renewed == []


async def test_whoever_lost_the_claim_asks_nothing_more() -> None:
    talk = Talk(settle=[SILENCE], status=["not_found"])
    talk.store.claim = "2"

    with pytest.raises(ClaimLostError):
        await talk.dialogue.decide()

    assert talk.calls == ["settle"]


async def test_a_reversal_is_asked_for_until_it_is_answered_ever_more_slowly() -> None:
    talk = Talk(reverse=[DOWN] * 3 + ["pending"] * 4 + ["reversed"])

    assert await talk.dialogue.reverse() == "reversed"
    assert talk.calls == ["reverse"] * 8
    assert talk.clock.slept == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


async def test_a_reversal_that_is_never_answered_is_silence() -> None:
    talk = Talk(reverse=[SILENCE])

    with pytest.raises(SilenceError):
        await talk.dialogue.reverse()


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
        await asyncio.sleep(0.005)
        return "settled"

    desk = Desk(ScriptedSettlementService(settle=[soon]))
    desk.begin()

    await desk.settlements.drain(5)

    assert [verdict for _, _, verdict in desk.store.completed] == ["settled"]


@pytest.mark.parametrize("error", [StoreUnavailable(), ZeroDivisionError()])
async def test_what_cannot_be_written_down_is_left_to_the_agenda(error: Exception) -> None:
    desk = Desk(ScriptedSettlementService(settle=["settled"]))
    desk.store.error = error

    desk.begin()
    await desk.end()
    assert desk.changed == []

    desk.store.error = None
    desk.begin()
    await desk.end()
    assert [verdict for _, _, verdict in desk.store.completed] == ["settled"]
