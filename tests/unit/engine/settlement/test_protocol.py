"""The requests to the settlement service. Money goes back only on 'declined' or 'called_off'."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fixtures.doubles import ManualClock, make_payment

from technopay.engine import SILENCE, EngineSettings, ScriptedSettlementService
from technopay.engine.claims import Claim
from technopay.engine.deadlines import Deadlines
from technopay.engine.settlement.protocol import ClaimLostError, SettlementProtocol, SilenceError
from technopay.engine.values import Claimed, PaymentTerms, RefundTerms

SETTINGS = EngineSettings(secret="a secret for tests, and for tests alone")
SETTLED, DECLINED = {"settled", "already_settled"}, {"declined", "called_off", "already_declined"}
DOWN = ConnectionError("down")


class Talk:
    """The requests about one payment, on a clock that the service moves."""

    def __init__(self, settings: EngineSettings = SETTINGS, **answers: list[Any]) -> None:
        self.clock = ManualClock()
        self.settings = settings
        self.service = ScriptedSettlementService(
            **{question: [self._timed(answer) for answer in script] for question, script in answers.items()}
        )
        claimed = Claimed(make_payment(), "1", RefundTerms("ref_001", 234))
        deadlines = Deadlines(settings.settlement_timeout_s)
        self.claim = Claim("payment", 0, "pay_001", "1", 0.0)
        self.protocol = SettlementProtocol(self.service, self.clock, settings, deadlines, claimed, self.claim)

    def _timed(self, answer: Any) -> Callable[[PaymentTerms], Any]:
        """Reply at once, or be silent for as long as the engine waits."""

        async def give(terms: PaymentTerms) -> Any:
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


@pytest.mark.parametrize(
    ("answers", "verdict", "calls"),
    [
        ({"settle": ["settled"]}, "settled", ["settle"]),
        ({"settle": ["declined"]}, "given_back", ["settle"]),
        ({"settle": [SILENCE], "status": ["settled"]}, "settled", ["settle", "status"]),
        ({"settle": [SILENCE], "status": ["declined"]}, "given_back", ["settle", "status"]),
        (
            {"settle": [DOWN, DOWN, "settled"], "status": ["not_found"]},
            "settled",
            ["settle", "status", "settle", "status", "settle"],
        ),
        (
            {"settle": [SILENCE], "status": ["pending"] * 40 + ["settled"]},
            "settled",
            ["settle"] + ["status"] * 41,
        ),
        (
            {"settle": [DOWN], "status": ["not_found"], "call_off": ["already_settled"]},
            "settled",
            [*["settle", "status"] * 5, "call_off"],
        ),
        (
            {"settle": [SILENCE], "status": ["not_found"], "call_off": ["already_declined"]},
            "given_back",
            None,
        ),
    ],
    ids=[
        "settled", "declined", "lost answer", "lost no", "third try", "pending", "late call-off",
        "declined before",
    ],
)  # fmt: skip
async def test_the_first_clear_answer_is_the_verdict(
    answers: dict[str, Any], verdict: str, calls: list[str] | None
) -> None:
    talk = Talk(**answers)

    assert await talk.protocol.decide() == verdict
    assert talk.calls == (calls or talk.calls)


async def test_errors_and_not_found_are_sent_again_five_times_and_then_called_off() -> None:
    talk = Talk(settle=[DOWN], status=["not_found"], call_off=["called_off"])

    assert await talk.protocol.decide() == "given_back"
    assert talk.calls == ["settle", "status"] * 5 + ["call_off"]
    assert talk.clock.slept == [0.2, 0.4, 0.8, 1.6]


@pytest.mark.parametrize(
    "answers",
    [
        {"settle": [SILENCE], "status": [SILENCE]},
        {"settle": [DOWN], "status": [DOWN]},
        {"settle": [SILENCE], "status": ["pending"]},
        {"settle": [DOWN], "status": ["not_found"], "call_off": [NotImplementedError()]},
        # The reply to another request does not count.
        {"settle": ["called_off"], "status": ["not_found"], "call_off": [DOWN]},
        {"settle": ["already_declined"], "status": ["not_found"], "call_off": [DOWN]},
        {"settle": [DOWN], "status": ["already_declined"], "call_off": [DOWN]},
        {"settle": [DOWN], "status": ["not_found"], "call_off": ["declined"]},
    ],
    ids=["silent", "down", "pending", "no call-off", *["answer to another request"] * 4],
)
async def test_a_service_without_a_clear_answer_is_silent(answers: dict[str, Any]) -> None:
    talk = Talk(**answers)
    began = talk.clock.now

    with pytest.raises(SilenceError):
        await talk.protocol.decide()

    assert talk.clock.now - began >= 15
    if "call_off" not in answers:
        assert talk.clock.now - began <= (21 if SILENCE in answers["status"] else 16)
    assert ("call_off" in talk.calls) == (answers["status"] == ["not_found"])


ANSWERS = st.sampled_from(["settled", "declined", "called_off", "already_settled", "already_declined"])
ANSWERS_TO = {
    "settle": {"settled", "declined"},
    "status": {"settled", "declined", "called_off"},
    "call_off": {"called_off", "already_settled", "already_declined"},
}
NO_ANSWERS = st.sampled_from([SILENCE, DOWN, "not_found", "pending", "failed", "", None, 404, ["settled"]])


@settings(deadline=None)
@given(
    settle=st.lists(st.one_of(ANSWERS, NO_ANSWERS), min_size=1, max_size=4),
    status=st.lists(st.one_of(ANSWERS, NO_ANSWERS), min_size=1, max_size=4),
    call_off=st.lists(st.one_of(ANSWERS, NO_ANSWERS), min_size=1, max_size=4),
)
def test_money_goes_back_only_on_a_clear_no(settle: list[Any], status: list[Any], call_off: list[Any]) -> None:
    """The verdict is that of the service's last reply; an unclear last reply gives none."""

    async def run() -> None:
        heard: list[Any] = []
        talk = Talk(settle=settle, status=[*status, "settled"], call_off=call_off)
        answer = talk.service._answer

        async def listen(request: str, terms: PaymentTerms) -> Any:
            said = await answer(request, terms)
            heard.append(said if isinstance(said, str) and said in ANSWERS_TO[request] else None)
            return said

        talk.service._answer = listen  # type: ignore[method-assign]
        try:
            verdict = await talk.protocol.decide()
        except SilenceError:
            return
        assert heard[-1] in (SETTLED if verdict == "settled" else DECLINED)
        assert not (SETTLED | DECLINED) & set(heard[:-1]), "the first clear answer decides"

    asyncio.run(run())


async def test_whoever_lost_the_claim_asks_nothing_more() -> None:
    talk = Talk(settle=[SILENCE], status=["not_found"])
    talk.claim.is_lost = True

    with pytest.raises(ClaimLostError):
        await talk.protocol.decide()

    assert talk.calls == []


async def test_a_reversal_is_asked_for_until_it_is_answered_ever_more_slowly() -> None:
    talk = Talk(reverse=[DOWN] * 3 + ["pending"] * 3 + ["reversed"])

    assert await talk.protocol.reverse() == "reversed"
    assert talk.calls == ["reverse"] * 7
    assert set(talk.service.refunds) == {RefundTerms("ref_001", 234)}, "its id is the key of every try"
    assert talk.clock.slept == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0]


@pytest.mark.parametrize("answer", [SILENCE, DOWN, "pending", "settled", "not_found", None])
async def test_a_reversal_that_is_never_answered_is_silence(answer: Any) -> None:
    talk = Talk(reverse=[answer])
    began = talk.clock.now

    with pytest.raises(SilenceError):
        await talk.protocol.reverse()

    assert 15 <= talk.clock.now - began <= 15 + 5 + 5


async def test_a_reversal_can_be_declined() -> None:
    talk = Talk(reverse=[DOWN, "declined"])

    assert await talk.protocol.reverse() == "refund_failed"
