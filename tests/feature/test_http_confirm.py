"""Confirming over HTTP: how long it waits, what it answers meanwhile, and what a repeat gets."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from support.fixtures.http_api import PAYMENT, Api, make_person, right_code, running_api

from technopay.engine.testing import mocks
from technopay.storage import RedisStore

SLOW_S = 1.0


@pytest.fixture
async def api(fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """The API with a settlement service that is slow, but answers within the engine's patience."""
    monkeypatch.setattr(mocks, "SLOW_S", SLOW_S)
    async with running_api(fake_store, settlement_timeout_s=5.0) as served:
        yield served


async def test_a_confirm_that_does_not_wait_answers_202_and_where_to_ask(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start(2_500, "acme-slow")

    began = time.monotonic()
    reply = await alice.confirm(payment, "?wait=0")

    processing = reply.expect(202)
    assert set(processing) == PAYMENT
    assert (processing["status"], processing["confirmation"]) == ("processing", None)
    assert processing["paid_at"]
    assert processing["balance_after"] == 7_500
    assert reply.headers["Location"] == f"/v1/payments/{payment['id']}"
    assert int(reply.headers["Retry-After"]) >= 1
    assert "Idempotent-Replayed" not in reply.headers

    final = (await api.get(f"{reply.headers['Location']}?wait=10")).expect(200)
    assert final["status"] == "succeeded"
    assert SLOW_S <= time.monotonic() - began < 10
    assert final["paid_at"] == processing["paid_at"]


async def test_a_confirm_waits_up_to_four_seconds_unless_told_otherwise(api: Api) -> None:
    alice = await make_person(api)

    paid = (await alice.confirm(await alice.start(2_500, "acme-slow"))).expect(200)

    assert paid["status"] == "succeeded"


async def test_a_wait_may_be_a_part_of_a_second(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start(2_500, "acme-slow")

    began = time.monotonic()
    (await alice.confirm(payment, "?wait=0.2")).expect(202)

    assert time.monotonic() - began >= 0.2


async def test_reading_without_a_wait_answers_at_once(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start(2_500, "acme-slow")
    (await alice.confirm(payment, "?wait=0")).expect(202)

    seen = (await alice.get(f"/payments/{payment['id']}")).expect(200)

    assert seen["status"] == "processing"


async def test_reading_with_a_wait_answers_a_payment_as_it_is_when_the_wait_ran_out(api: Api) -> None:
    payment = await (await make_person(api)).start()

    seen = (await api.get(f"/v1/payments/{payment['id']}?wait=0.1")).expect(200)

    assert seen == payment


async def test_a_repeated_confirm_gets_the_current_state_202_then_200(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start(2_500, "acme-slow")
    (await alice.confirm(payment, "?wait=0")).expect(202)

    second = await alice.confirm(payment, "?wait=0")
    third = await alice.confirm(payment, "?wait=10")
    fourth = await alice.confirm(payment, "?wait=0")

    assert second.expect(202)["status"] == "processing"
    assert second.headers["Location"] == f"/v1/payments/{payment['id']}"
    assert int(second.headers["Retry-After"]) >= 1
    assert third.expect(200)["status"] == "succeeded"
    assert fourth.expect(200) == third.json
    for reply in (second, third, fourth):
        assert reply.headers["Idempotent-Replayed"] == "true"
    assert await alice.balance() == 7_500


async def test_a_repeated_confirm_of_a_payment_given_back_is_402_again(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start(2_500, "acme-declines")
    first = await alice.confirm(payment)

    again = await alice.confirm(payment)

    assert (
        first.refuse(402, "settlement_failed")["payment"] == again.refuse(402, "settlement_failed")["payment"]
    )
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await alice.balance() == 10_000


async def test_only_the_accepted_code_is_answered_again(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start()
    paid = (await alice.confirm(payment)).expect(200)

    for code in ("no", "000000000", "é"):
        reply = await alice.confirm(payment, code=code)
        assert reply.refuse(409, "payment_not_confirmable")["payment"] == paid
        assert "Idempotent-Replayed" not in reply.headers


async def test_a_confirm_needs_no_key_and_minds_none(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start()
    body = {"code": await right_code(api, payment)}

    for _ in range(2):
        reply = await alice.post(f"/payments/{payment['id']}/confirm", body, key="k")
        assert reply.expect(200)["status"] == "succeeded"


@pytest.mark.parametrize("code", ["", "0" * 65, None, 123456, ["123456"], True])
async def test_a_code_of_the_wrong_form_costs_no_attempt(api: Api, code: object) -> None:
    payment = await (await make_person(api)).start()
    path = f"/v1/payments/{payment['id']}"

    problem = (await api.post(f"{path}/confirm", {"code": code})).refuse(422, "validation_failed")

    assert [error["field"] for error in problem["errors"]] == ["code"]
    assert (await api.get(path)).expect(200)["confirmation"]["attempts_remaining"] == 5
