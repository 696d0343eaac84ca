"""Versions: whatever happens to a payment, its entries of the journal count 1, 2, 3, and so does its record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.fixtures.store_commands import read_journal, set_aside, take_due
from support.fixtures.store_setup import ALONE, DAY_MS, WRONG, Setup, operation, unrecorded

from technopay.engine import commands
from technopay.engine.commands import ResolvePayment, VoidInvoice

pytestmark = pytest.mark.any_partition

Story = Callable[[Setup], Awaitable[str]]

STORIES: dict[str, tuple[str, Story]] = {}
"""What happens to a payment by name: the entries that it leaves, and how it is made to happen."""


def story(*entries: str) -> Callable[[Story], Story]:
    def note(tell: Story) -> Story:
        STORIES[tell.__name__] = " ".join(entries), tell
        return tell

    return note


async def begin(setup: Setup, **changes: Any) -> str:
    return await setup.started(await setup.wallet(), await setup.invoice(), **changes)


async def resend(setup: Setup, payment_id: str, issue: int) -> None:
    command = commands.ResendCode(unrecorded(), payment_id, "alice", issue, 60_000)
    assert (await setup.store.run(command, ALONE)).code == "ok"


async def leave_to_operator(setup: Setup, payment_id: str, claim: str) -> None:
    for _ in range(2):
        assert await set_aside(setup.store, payment_id, claim, DAY_MS)


async def resolve(setup: Setup, payment_id: str, verdict: str) -> None:
    outcome = await setup.store.run(ResolvePayment(operation(), payment_id, verdict, "they said so", "root"))
    assert outcome.code == "ok"


@story("started", "processing", "succeeded")
async def it_goes_straight(setup: Setup) -> str:
    return await setup.succeeded(await setup.wallet())


@story("started", "canceled")
async def it_is_started_again(setup: Setup) -> str:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    payment_id = await setup.started(wallet, invoice)
    await setup.started(wallet, invoice)
    return payment_id


@story("started", "expired")
async def it_is_started_again_too_late(setup: Setup) -> str:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    payment_id = await setup.started(wallet, invoice, lifetime_ms=0)
    await setup.started(wallet, invoice)
    return payment_id


@story("started", "canceled")
async def its_user_cancels_it(setup: Setup) -> str:
    payment_id = await begin(setup)
    assert (await setup.cancel(payment_id)).code == "ok"
    return payment_id


@story("started", "canceled")
async def its_invoice_is_withdrawn(setup: Setup) -> str:
    invoice = await setup.invoice()
    payment_id = await setup.started(await setup.wallet(), invoice)
    assert (await setup.store.run(VoidInvoice(operation(), invoice))).code == "ok"
    return payment_id


@story("started", "expired")
async def its_code_runs_out(setup: Setup) -> str:
    payment_id = await begin(setup, lifetime_ms=0)
    await setup.make_due(payment_id)
    await take_due(setup.store, 10)
    return payment_id


@story("started", "failed")
async def its_code_is_wrong_too_often(setup: Setup) -> str:
    payment_id = await begin(setup, attempts=2)
    for _ in range(2):
        assert (await setup.confirm(payment_id, WRONG)).code == "confirmation_invalid"
    return payment_id


@story("started", "code_resent", "code_resent", "canceled")
async def its_code_is_sent_again(setup: Setup) -> str:
    payment_id = await begin(setup)
    for issue in (2, 3):
        await resend(setup, payment_id, issue)
    assert (await setup.cancel(payment_id)).code == "ok"
    return payment_id


@story("started", "refused", "refused", "processing", "succeeded", "refunding", "refunded")
async def it_is_refused_settled_and_refunded(setup: Setup) -> str:
    wallet = await setup.wallet(balance=10_000)
    payment_id = await setup.started(wallet, await setup.invoice())
    await setup.write("wallet", wallet, balance=999)
    assert (await setup.confirm(payment_id)).code == "insufficient_funds"
    await setup.write("wallet", wallet, balance=10_000)
    await setup.set_limit("EUR", 999)
    assert (await setup.confirm(payment_id)).code == "daily_limit_exceeded"
    await setup.set_limit("EUR", None)
    claim = (await setup.confirm(payment_id)).details["claim"]
    assert (await setup.complete(payment_id, claim, "settled")).code == "ok"
    claim = (await setup.begin_refund(payment_id)).details["claim"]
    assert (await setup.complete(payment_id, claim, "reversed")).code == "ok"
    return payment_id


@story("started", "refused", "processing", "succeeded")
async def it_is_refused_and_taken_under_a_limit(setup: Setup) -> str:
    wallet = await setup.wallet(balance=10_000)
    payment_id = await setup.started(wallet, await setup.invoice())
    await setup.set_limit("EUR", 999)
    assert (await setup.confirm(payment_id)).code == "daily_limit_exceeded"
    await setup.set_limit("EUR", 1_000)
    claim = (await setup.confirm(payment_id)).details["claim"]
    assert (await setup.complete(payment_id, claim, "settled")).code == "ok"
    return payment_id


@story("started", "processing", "failed")
async def it_is_given_back(setup: Setup) -> str:
    payment_id, claim = await setup.processing(await setup.wallet())
    assert (await setup.complete(payment_id, claim, "given_back")).code == "ok"
    return payment_id


@story("started", "processing", "succeeded", "refunding", "refund_failed", "refunding", "refunded")
async def its_refund_fails_and_another_one_does_not(setup: Setup) -> str:
    payment_id, claim = await setup.refunding(await setup.wallet())
    assert (await setup.complete(payment_id, claim, "refund_failed")).code == "ok"
    claim = (await setup.begin_refund(payment_id, "ref_002")).details["claim"]
    assert (await setup.complete(payment_id, claim, "reversed")).code == "ok"
    return payment_id


@story("started", "processing", "succeeded", "refunding", "refunded")
async def it_is_refunded(setup: Setup) -> str:
    payment_id, claim = await setup.refunding(await setup.wallet())
    assert (await setup.complete(payment_id, claim, "reversed")).code == "ok"
    return payment_id


@story("started", "processing", "set_aside", "succeeded")
async def it_is_set_aside_and_settled_after_all(setup: Setup) -> str:
    payment_id, claim = await setup.processing(await setup.wallet())
    await leave_to_operator(setup, payment_id, claim)
    assert (await setup.complete(payment_id, claim, "settled")).code == "ok"
    return payment_id


@story("started", "processing", "set_aside", "resolved", "succeeded", "refunding")
async def an_operator_settles_it(setup: Setup) -> str:
    payment_id, claim = await setup.processing(await setup.wallet())
    await leave_to_operator(setup, payment_id, claim)
    await resolve(setup, payment_id, "settled")
    assert (await setup.begin_refund(payment_id)).code == "ok"
    return payment_id


@story("started", "processing", "set_aside", "resolved", "failed")
async def an_operator_gives_it_back(setup: Setup) -> str:
    payment_id, claim = await setup.processing(await setup.wallet())
    await leave_to_operator(setup, payment_id, claim)
    await resolve(setup, payment_id, "refund")
    return payment_id


@story(
    "started",
    "processing",
    "succeeded",
    "refunding",
    "set_aside",
    "refund_failed",
    "resolved",
    "refunding",
    "refunded",
)
async def an_operator_calls_its_refund_off_and_another_begins_one_again(setup: Setup) -> str:
    payment_id, claim = await setup.refunding(await setup.wallet())
    await leave_to_operator(setup, payment_id, claim)
    await resolve(setup, payment_id, "settled")
    claim = (await setup.begin_refund(payment_id)).details["claim"]
    assert (await setup.complete(payment_id, claim, "reversed")).code == "ok"
    return payment_id


@story("started", "processing", "succeeded", "refunding", "set_aside", "resolved", "refunded")
async def an_operator_refunds_it(setup: Setup) -> str:
    payment_id, claim = await setup.refunding(await setup.wallet())
    await leave_to_operator(setup, payment_id, claim)
    await resolve(setup, payment_id, "refund")
    return payment_id


@pytest.mark.parametrize("name", STORIES)
async def test_a_payments_changes_are_counted_without_a_gap(setup: Setup, name: str) -> None:
    expected, tell = STORIES[name]

    payment_id = await tell(setup)

    journal = (await read_journal(setup.store, "0-0", 1_000)).entries
    entries = [entry for entry in journal if entry.subject == payment_id]
    assert " ".join(entry.type.removeprefix("payment.") for entry in entries) == expected
    assert [entry.version for entry in entries] == list(range(1, len(entries) + 1))
    assert (await setup.fields("payment", payment_id))["version"] == str(len(entries))


async def test_a_payment_and_each_of_its_entries_name_the_version(setup: Setup) -> None:
    payment_id = await setup.succeeded(await setup.wallet())

    assert (await setup.fields("payment", payment_id))["version"] == "3"
    entries = [fields for _, fields in await setup.journal() if fields.get("payment") == payment_id]
    assert [fields["version"] for fields in entries] == ["1", "2", "3"]
