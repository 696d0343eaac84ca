"""A confirm over HTTP: how long it waits, its responses meanwhile, and that of a repeat."""

import time
from collections.abc import AsyncIterator

import pytest
from support.fixtures.http_api import PAYMENT, Api, make_person, right_code, running_api

from technopay.engine.testing import mocks
from technopay.storage import RedisStore

SLOW_S = 1.0


@pytest.fixture
async def api(fake_store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """The API with a slow settlement service that replies within the engine's timeout."""
    monkeypatch.setattr(mocks, "SLOW_S", SLOW_S)
    async with running_api(fake_store, settlement_timeout_s=5.0) as served:
        yield served


async def test_a_confirm_answers_202_until_the_payment_is_final_and_200_from_then_on(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start(2_500, "acme-slow")
    path = f"/v1/payments/{payment['id']}"
    began = time.monotonic()

    first = await alice.confirm(payment, "?wait=0.2")
    assert time.monotonic() - began >= 0.2
    processing = first.expect(202)
    assert set(processing) == PAYMENT
    assert (processing["status"], processing["confirmation"]) == ("processing", None)
    assert (processing["balance_after"], processing["settled_at"]) == (7_500, None)
    assert "Idempotent-Replayed" not in first.headers
    assert (await api.get(path)).expect(200) == processing
    second = await alice.confirm(payment, "?wait=0")
    assert second.expect(202) == processing
    for reply in (first, second):
        assert reply.headers["Location"] == path
        assert int(reply.headers["Retry-After"]) >= 1

    third = await alice.confirm(payment)
    final = (await api.get(f"{path}?wait=10")).expect(200)
    fourth = await alice.confirm(payment, "?wait=0")
    assert SLOW_S <= time.monotonic() - began < 10
    assert (final["status"], final["paid_at"]) == ("succeeded", processing["paid_at"])
    assert third.expect(200) == fourth.expect(200) == final
    for reply in (second, third, fourth):
        assert reply.headers["Idempotent-Replayed"] == "true"
    assert await alice.balance() == 7_500


async def test_a_read_returns_the_payment_as_it_is_when_the_wait_ran_out(api: Api) -> None:
    payment = await (await make_person(api)).start()

    assert (await api.get(f"/v1/payments/{payment['id']}?wait=0.1")).expect(200) == payment


async def test_a_repeated_confirm_of_a_payment_given_back_is_402_again(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start(2_500, "acme-declines")
    first, again = await alice.confirm(payment), await alice.confirm(payment)

    problems = [reply.refuse(402, "settlement_failed") for reply in (first, again)]
    assert problems[0]["payment"] == problems[1]["payment"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await alice.balance() == 10_000


async def test_the_accepted_code_is_the_key_of_a_confirm(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start()
    body = {"code": await right_code(api, payment)}
    for key in ("k", "k", None):
        paid = (await alice.post(f"/payments/{payment['id']}/confirm", body, key=key)).expect(200)
        assert paid["status"] == "succeeded"

    for code in ("no", "000000000", "é"):
        reply = await alice.confirm(payment, code=code)
        assert reply.refuse(409, "payment_not_confirmable")["payment"] == paid
        assert "Idempotent-Replayed" not in reply.headers


async def test_a_code_of_the_wrong_form_costs_no_attempt(api: Api) -> None:
    payment = await (await make_person(api)).start()
    path = f"/v1/payments/{payment['id']}"
    for code in ("", "0" * 65, None, 123456, ["123456"], True):
        problem = (await api.post(f"{path}/confirm", {"code": code})).refuse(422, "validation_failed")
        assert [error["field"] for error in problem["errors"]] == ["code"]
    assert (await api.get(path)).expect(200)["confirmation"]["attempts_remaining"] == 5
