"""The limits on behaviour over HTTP: 429, when to come back, and nothing that helps to guess."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from support.fixtures.http_api import USER, Api, Person, make_person, right_code, running_api, wrong

from technopay.storage import RedisStore


@pytest.fixture
async def alice(store: RedisStore) -> AsyncIterator[Person]:
    async with running_api(store, codes_per_hour=2, confirms_per_minute=2, failures_per_day=1) as api:
        yield await make_person(api)


async def waiting(api: Api, reason: str, bounds_s: tuple[int, int], reply_to: str, **options: object) -> None:
    """Make a call that is refused for a while."""
    reply = await api.post(reply_to, **options)
    problem = reply.refuse(429, "rate_limited")
    wait_s = int(reply.headers["Retry-After"])
    assert bounds_s[0] <= wait_s <= bounds_s[1]
    assert problem["retryable"] is True
    assert problem["detail"] == f"{reason} Try again in {wait_s} seconds."
    assert "attempts_remaining" not in problem


async def test_429_for_codes_within_an_hour(alice: Person) -> None:
    payment = await alice.start()
    (await alice.post(f"/payments/{payment['id']}/resend")).expect(200)

    reason = "Too many codes were sent to this user within an hour."
    body = {"invoice_id": (await alice.invoice())["id"], "wallet_id": alice.wallet_id}
    await waiting(alice.api, reason, (3_500, 3_600), "/v1/payments", body=body, key="mine")
    await waiting(alice.api, reason, (3_500, 3_600), f"/v1/payments/{payment['id']}/resend")


async def test_429_for_confirms_and_wrong_codes_and_never_for_a_replay(alice: Person) -> None:
    paid, other = await alice.start(), await alice.start()
    (await alice.confirm(paid)).expect(200)
    (await alice.confirm(other, code=wrong(await right_code(alice.api, other)))).refuse(
        422, "confirmation_invalid"
    )

    path = f"/v1/payments/{other['id']}/confirm"
    reason = "Too many wrong codes by this user within a day."
    for code in (await right_code(alice.api, other), "000000"):
        await waiting(alice.api, reason, (86_300, 86_400), path, body={"code": code})

    replay = await alice.confirm(paid)
    assert replay.expect(200)["status"] == "succeeded"
    assert replay.headers["Idempotent-Replayed"] == "true"
    assert await alice.balance() == 7_500


async def test_429_for_confirms_within_a_minute(alice: Person) -> None:
    await alice.pay()
    payment = await alice.start(amount=7_000)
    # The limit on all payments is hit after the code was judged.
    await alice.api.operate("PUT", "/limits/EUR", {"amount": 1})
    (await alice.confirm(payment)).refuse(402, "daily_limit_exceeded")

    reason = "Too many confirmations by this user within a minute."
    code = await right_code(alice.api, payment)
    path = f"/v1/payments/{payment['id']}/confirm"
    await waiting(alice.api, reason, (1, 60), path, body={"code": code})


async def test_a_lock_out_says_until_when_and_an_operator_clears_it(alice: Person) -> None:
    payment = await alice.start()
    (await alice.confirm(payment, code=wrong(await right_code(alice.api, payment)))).expect(422)

    user = (await alice.api.get("/v1/admin/users/alice", admin=True)).expect(200)
    body = {"invoice_id": (await alice.invoice())["id"], "wallet_id": alice.wallet_id}
    problem = (await alice.api.post("/v1/payments", body)).refuse(429, "rate_limited")
    assert problem["locked_until"] == user["locked_until"] > user["created_at"]

    for _ in range(2):
        user = (await alice.api.operate("POST", "/users/alice/unlock")).expect(200)
        assert (set(user), user["locked_until"]) == (USER, None)
    (await alice.confirm(payment)).expect(200)
    (await alice.api.operate("POST", "/users/nobody/unlock")).refuse(404, "user_not_found")
