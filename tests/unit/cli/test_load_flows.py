"""The expected and unexpected results of flows, run against scripted replies."""

import asyncio
import re
from collections import defaultdict
from dataclasses import replace
from typing import Any

import pytest
from support.fixtures.load import ScriptedClient, leap, load_fixtures, payment_json

from technopay.cli.load import flows
from technopay.cli.load.fixtures import Inbox
from technopay.cli.load.flows import FINAL_WAIT_S, SCENARIOS, Flow, Purchase, Rejected, UnexpectedResult
from technopay.cli.load.timed_client import Reply
from technopay.cli.load.traffic import FINISH_S

OPEN = Reply(201, "open", {"id": "inv_1"})
WAITING = Reply(201, "requires_confirmation", payment_json("requires_confirmation", created_at="now"))
LATER = Reply(201, "requires_confirmation", payment_json("requires_confirmation", created_at="later"))
PROCESSING = Reply(202, "processing", payment_json("processing"))
PAID = Reply(200, "succeeded", payment_json())
FAILED = Reply(402, "settlement_failed", {"payment": {"refunds": [{"amount": 100}]}})
BUSY = Reply(503, "overloaded", {})
LIMITED = Reply(402, "daily_limit_exceeded", {})
DEAD = Reply(409, "payment_not_confirmable", {})
USUAL: dict[str, list[Reply]] = {
    "invoice": [OPEN], "start": [WAITING], "confirm": [PAID], "confirm_slow": [PAID], "wait": [PAID],
}  # fmt: skip
DUE_S = 7.0


class ScriptedServer(ScriptedClient):
    """A server with replies for each operation in order, the last one repeated; the code is 123456."""

    def __init__(self, answers: dict[str, list[Reply]]) -> None:
        super().__init__(lambda _: OPEN)
        self._answers = {name: list(replies) for name, replies in (USUAL | answers).items()}
        self.operations: defaultdict[str, int] = defaultdict(int)
        self.codes: list[Any] = []
        self.due: list[tuple[str, float]] = []

    async def send(self, operation: str, *arguments: Any, **more: Any) -> Reply:
        await asyncio.sleep(0.01)
        if operation == "inbox":
            return Reply(200, "ok", {"data": [{"payment_id": "pay_1", "code": "123456"}]})
        self.operations[operation] += 1
        if more.get("due_s") is not None:
            self.due.append((operation, more["due_s"]))
        if operation.startswith("confirm"):
            self.codes.append(arguments[3]["code"])
        left = self._answers[operation]
        return left.pop(0) if len(left) > 1 else left[0]


def play(flow: Flow, **answers: list[Reply]) -> tuple[Reply, ScriptedServer]:
    """Run a flow against these replies, or the usual ones by default."""

    async def main() -> tuple[Reply, ScriptedServer]:
        client = ScriptedServer(answers)
        fixtures = load_fixtures()
        fixtures.timed = client
        user = replace(fixtures.users[0], inbox=Inbox(client, "alice"))
        return await flow(Purchase(fixtures, user, DUE_S)), client

    return leap(main())


@pytest.mark.parametrize(
    ("flow", "answers", "ends"),
    [
        (flows.pay, {}, "succeeded"),
        (flows.pay, {"confirm": [PROCESSING], "wait": [PROCESSING, PAID]}, "succeeded"),
        (flows.pay_within_limit, {}, "succeeded"),
        (flows.pay_within_limit, {"start": [LIMITED]}, "daily_limit_exceeded"),
        (flows.pay_within_limit, {"confirm": [LIMITED]}, "daily_limit_exceeded"),
        (flows.wrong_code, {"confirm": [Reply(422, "confirmation_invalid", {"attempts_remaining": 4}), PAID]},
            "succeeded"),
        (flows.confirm_twice, {}, "succeeded"),
        (flows.confirm_twice, {"confirm": [PAID, PROCESSING]}, "succeeded"),
        (flows.start_twice, {"look": [Reply(200, "canceled", payment_json("canceled")),
            Reply(200, "requires_confirmation", WAITING.body)], "confirm": [DEAD, PAID]}, "succeeded"),
        (flows.send_everything_twice, {}, "succeeded"),
        (flows.too_poor, {"start": [Reply(402, "insufficient_funds", {"required": 100, "available": 99})]},
            "insufficient_funds"),
        (flows.blocked, {"start": [Reply(403, "user_blocked", {})]}, "user_blocked"),
        (flows.expired, {"start": [Reply(410, "invoice_expired", {})]}, "invoice_expired"),
        (flows.declined, {"confirm": [FAILED]}, "settlement_failed"),
        (flows.declined, {"confirm": [PROCESSING], "wait": [Reply(200, "failed", {})]}, "failed"),
        (flows.slow, {}, "succeeded"),
        (flows.lost, {"confirm_slow": [PROCESSING]}, "succeeded"),
    ],
)  # fmt: skip
def test_an_expected_result_is_returned(flow: Flow, answers: dict[str, list[Reply]], ends: str) -> None:
    assert play(flow, **answers)[0].code == ends


@pytest.mark.parametrize(
    ("flow", "answers", "problem"),
    [
        (flows.pay, {"confirm": [Reply(200, "failed", {})]}, "200 failed instead of 200 succeeded"),
        (flows.pay, {"start": [Reply(500, "internal_error", {})]},
            "500 internal_error instead of 201 requires_confirmation"),
        (flows.pay, {"invoice": [Reply(200, "not_json", {})]}, "200 not_json instead of 201 open"),
        (flows.pay, {"confirm": [LIMITED]}, "402 daily_limit_exceeded instead of 200 succeeded"),
        (flows.wrong_code, {}, "200 succeeded instead of 422 confirmation_invalid"),
        (flows.wrong_code, {"confirm": [Reply(422, "confirmation_invalid", {"attempts_remaining": 3}), PAID]},
            "a wrong code did not cost one attempt"),
        (flows.confirm_twice, {"confirm": [PAID, Reply(200, "succeeded", payment_json(balance_after=0))]},
            "two replies with different balance_after"),
        (flows.send_everything_twice, {"invoice": [OPEN, Reply(201, "open", {"id": "inv_2"})]},
            "two replies with different id"),
        (flows.send_everything_twice, {"start": [WAITING, LATER]},
            "two replies with different created_at"),
        (flows.start_twice, {"look": [Reply(200, "requires_confirmation", WAITING.body)]},
            "200 requires_confirmation instead of 200 canceled"),
        (flows.start_twice, {"look": [Reply(200, "canceled", payment_json("canceled")),
            Reply(200, "requires_confirmation", WAITING.body)], "confirm": [PAID]},
            "200 succeeded instead of 409 payment_not_confirmable"),
        (flows.too_poor, {"start": [Reply(402, "insufficient_funds", {"required": 100, "available": 98})]},
            "insufficient_funds with wrong amounts"),
        (flows.blocked, {}, "201 requires_confirmation instead of 403 user_blocked"),
        (flows.expired, {}, "201 requires_confirmation instead of 410 invoice_expired"),
        (flows.declined, {}, "200 succeeded instead of 402 settlement_failed"),
        (flows.declined, {"confirm": [Reply(402, "settlement_failed", {"payment": {"refunds": [
            {"amount": 100}, {"amount": 100}]}})]}, "a declined payment was not given back once"),
        (flows.declined, {"confirm": [Reply(402, "settlement_failed", {"payment": {"refunds": []}})]},
            "a declined payment was not given back once"),
        (flows.pay, {"invoice": [Reply(201, "open", {"id": "inv_2"})]}, "a payment of something else"),
        (flows.pay, {"start": [Reply(201, "requires_confirmation", payment_json(amount=99))]},
            "a payment of something else"),
        (flows.pay, {"confirm": [PROCESSING], "wait": [Reply(200, "processing", payment_json("processing"))]},
            "200 processing instead of 200 succeeded"),
    ],
)  # fmt: skip
def test_any_other_result_is_unexpected_and_a_success_instead_of_a_refusal_breaks_an_invariant(
    flow: Flow, answers: dict[str, list[Reply]], problem: str
) -> None:
    with pytest.raises(UnexpectedResult) as raised:
        play(flow, **answers)

    assert str(raised.value) == problem
    if problem == "a payment of something else":
        assert raised.value.invariant == "payment_is_of_its_invoice"
    else:
        is_success = re.match(r"20\d \w+ instead of 4", problem)
        assert raised.value.invariant == ("refused_is_refused" if is_success else None)


@pytest.mark.parametrize("operation", ["invoice", "start", "confirm"])
@pytest.mark.parametrize(
    "reply",
    [BUSY, Reply(0, "connection_lost", {}), Reply(504, "outcome_unknown", {}), Reply(429, "rate_limited", {})],
)
def test_any_request_may_be_rejected(operation: str, reply: Reply) -> None:
    with pytest.raises(Rejected) as raised:
        play(flows.pay, **{operation: [reply]})

    assert raised.value.reply is reply


@pytest.mark.parametrize(
    ("flow", "answers", "code"),
    [
        (flows.expired, {"invoice": [Reply(422, "validation_failed", {})]}, "validation_failed"),
        (flows.pay, {"start": [Reply(201, "requires_confirmation", {**WAITING.body, "id": "pay_2"})]},
            "no_code_came"),
    ],
    ids=["an invoice too long on its way", "a missing code"],
)  # fmt: skip
def test_other_rejections(flow: Flow, answers: dict[str, list[Reply]], code: str) -> None:
    with pytest.raises(Rejected, match=code):
        play(flow, **answers)


def test_a_wrong_code_is_wrong_and_the_right_one_follows() -> None:
    refused = Reply(422, "confirmation_invalid", {"attempts_remaining": 4})
    _, client = play(flows.wrong_code, confirm=[refused, PAID])

    assert client.codes == ["123457", "123456"]


@pytest.mark.parametrize(("flow", "times"), [(flows.pay, 1), (flows.send_everything_twice, 2)])
def test_duplicates_are_sent_twice_and_only_the_first_request_of_a_purchase_counts_from_when_it_was_due(
    flow: Flow, times: int
) -> None:
    _, client = play(flow)

    assert dict(client.operations) == {"invoice": times, "start": times, "confirm": times}
    assert client.due == [("invoice", DUE_S)]


def test_every_scenario_is_a_hundred_purchases_of_documented_flows_of_bounded_time() -> None:
    assert FINAL_WAIT_S < FINISH_S
    for scenario in SCENARIOS.values():
        assert sum(scenario.flows.values()) == 100
        assert all(flow.__doc__ for flow in scenario.flows)
