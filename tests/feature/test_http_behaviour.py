"""The limits on behaviour over HTTP: 429, the delay before a retry, and no hint about the code."""

from collections.abc import AsyncIterator

import pytest
from support.fixtures.http_api import USER, Api, Person, make_person, right_code, running_api, wrong

from technopay.storage import RedisStore


@pytest.fixture
async def alice(fake_store: RedisStore) -> AsyncIterator[Person]:
    async with running_api(fake_store, codes_per_hour=2, confirms_per_minute=2, failures_per_day=1) as api:
        yield await make_person(api)


async def assert_limited(
    api: Api, path: str, reason: str, bounds_s: tuple[int, int], body: object = None, **options: object
) -> None:
    """Make a call that is refused with 429."""
    reply = await api.post(f"/v1/payments{path}", body, **options)
    problem = reply.refuse(429, "rate_limited")
    wait_s = int(reply.headers["Retry-After"])
    assert bounds_s[0] <= wait_s <= bounds_s[1]
    assert problem["retryable"] is True
    assert problem["detail"] == f"{reason} Try again in {wait_s} seconds."
    assert "attempts_remaining" not in problem


async def test_429_for_codes_within_an_hour(alice: Person) -> None:
    payment = await alice.start()
    (await alice.post(f"/payments/{payment['id']}/resend")).expect(200)

    limit = ("Too many codes were sent to this user within an hour.", (3_500, 3_600))
    body = {"invoice_id": (await alice.invoice())["id"], "wallet_id": alice.wallet_id}
    await assert_limited(alice.api, "", *limit, body, key="mine")
    await assert_limited(alice.api, f"/{payment['id']}/resend", *limit)


async def test_429_for_wrong_codes_within_a_day_until_an_operator_clears_it_and_never_for_a_replay(
    alice: Person,
) -> None:
    api = alice.api
    paid, other = await alice.start(), await alice.start()
    (await alice.confirm(paid)).expect(200)
    (await alice.confirm(other, code=wrong(await right_code(api, other)))).refuse(422, "confirmation_invalid")

    limit = ("Too many wrong codes by this user within a day.", (86_300, 86_400))
    for code in (await right_code(api, other), "000000"):
        await assert_limited(api, f"/{other['id']}/confirm", *limit, {"code": code})
    user = (await api.get("/v1/admin/users/alice", admin=True)).expect(200)
    problem = (await alice.confirm(other)).refuse(429, "rate_limited")
    assert problem["locked_until"] == user["locked_until"] > user["created_at"]
    replay = await alice.confirm(paid)
    assert replay.expect(200)["status"] == "succeeded"
    assert replay.headers["Idempotent-Replayed"] == "true"

    unlocked = (await api.operate("POST", "/users/alice/unlock")).expect(200)
    assert (set(unlocked), unlocked["locked_until"]) == (USER, None)
    (await api.operate("POST", "/users/nobody/unlock")).refuse(404, "user_not_found")


async def test_429_for_confirms_within_a_minute(alice: Person) -> None:
    await alice.pay()
    payment = await alice.start(amount=7_000)
    # The limit on all payments applies after the check of the code.
    await alice.api.operate("PUT", "/limits/EUR", {"amount": 1})
    (await alice.confirm(payment)).refuse(402, "daily_limit_exceeded")

    limit = ("Too many confirmations by this user within a minute.", (1, 60))
    code = await right_code(alice.api, payment)
    await assert_limited(alice.api, f"/{payment['id']}/confirm", *limit, {"code": code})
