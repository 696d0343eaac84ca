"""Claims in the store: renewed while they are current, given up so that other engines need not wait."""

from support.fixtures.dumps import dump
from support.fixtures.relaying import read
from support.fixtures.script_calls import retried_message
from support.fixtures.store_commands import (
    read_outbox,
    record_attempt,
    record_deliveries,
    renew_claims,
    take_due,
)
from support.fixtures.store_setup import Setup, client_of

from technopay.engine.claims import CLAIM_S
from technopay.engine.values import ClaimKind


async def test_the_claim_of_the_relay_is_renewed_and_given_up(setup: Setup) -> None:
    await setup.started(await setup.wallet(), await setup.invoice())
    outbox = await read(setup, "one")
    claim: list[tuple[ClaimKind, str, str]] = [("relay", "", outbox.claim)]
    await client_of(setup.store).hset(setup.keys.key("relay"), "claimed_until", 1)
    now_ms = await setup.now_ms()

    assert await renew_claims(setup.store, claim, keep=True) == [True]

    until = await client_of(setup.store).hget(setup.keys.key("relay"), "claimed_until")
    assert int(str(until)) >= now_ms + 1_000 * CLAIM_S["relay"]
    assert await read_outbox(setup.store, "other", 10) is None
    assert await renew_claims(setup.store, claim, keep=False) == [True]
    taken = await read(setup, "other")
    assert await renew_claims(setup.store, claim, keep=True) == [False]
    assert await record_deliveries(setup.store, taken.claim, taken.cursor, 0, [])
    assert await renew_claims(setup.store, [("relay", "", taken.claim)], keep=True) == [False], (
        "its work is done"
    )


async def test_the_claim_of_a_message_is_renewed_and_given_up(setup: Setup) -> None:
    message = await retried_message(setup)
    entry_id = message.notification.entry_id
    claim: list[tuple[ClaimKind, str, str]] = [("message", entry_id, message.claim)]
    await setup.make_due(f"msg_{entry_id}")
    now_ms = await setup.now_ms()

    assert await renew_claims(setup.store, claim, keep=True) == [True]

    assert (await setup.due_at(f"msg_{entry_id}") or 0) >= now_ms + 1_000 * CLAIM_S["message"]
    assert (await take_due(setup.store, 10)).messages == []
    assert await renew_claims(setup.store, claim, keep=False) == [True]
    (taken,) = (await take_due(setup.store, 10)).messages
    assert await renew_claims(setup.store, claim, keep=False) == [False]
    assert await record_attempt(setup.store, taken, "waiting", "it bounced", 60_000)
    before = await dump(setup.store)
    recorded: list[tuple[ClaimKind, str, str]] = [("message", entry_id, taken.claim)]
    assert await renew_claims(setup.store, recorded, keep=True) == [False], "its next time is not moved"
    assert await dump(setup.store) == before


async def test_each_of_many_claims_is_judged_by_itself(setup: Setup) -> None:
    first, claim = await setup.processing(await setup.wallet())
    ended, old = await setup.processing(await setup.wallet())
    await setup.complete(ended, old, "settled")

    claims: list[tuple[ClaimKind, str, str]] = [
        ("payment", ended, old), ("payment", first, claim), ("message", "1-1", "1"), ("payment", first, "9"),
    ]  # fmt: skip
    assert await renew_claims(setup.store, claims, keep=True) == [False, True, False, False]
    assert await renew_claims(setup.store, [], keep=True) == []
