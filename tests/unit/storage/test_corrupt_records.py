"""Rubbish in any record that a script uses: the script does its work, or stops before its first write."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from support.fixtures.dumps import dump
from support.fixtures.script_calls import ROWS, Purchase, purchase_in
from support.fixtures.store_setup import Setup, client_of

from technopay.engine.commands import Command
from technopay.engine.errors import InternalError
from technopay.engine.record import from_ms

pytestmark = [
    pytest.mark.corrupts,
    pytest.mark.parametrize("make_store", ["valkey", "redis"], indirect=True),
]

VALUES = ("rubbish", "1e3", "007", "9223372036854775807")

RICHER = {"new": "waiting", "wallet": "waiting", "processing": "set aside", "refunding": "refund set aside"}
"""States of a purchase with more records, in which the same commands do their work."""


async def make_purchase(setup: Setup, state: str) -> Purchase:
    """Make all records anew. The journal stays: a store without it has lost data."""
    for name in (await dump(setup.store)).keys() - {"journal", "meta"}:
        await client_of(setup.store).delete(setup.keys.journal.removesuffix("journal") + name)
    await setup.user("alice")
    await setup.set_limit("EUR", 1_000_000)
    purchase = await purchase_in(setup, RICHER.get(state, state))
    # A lease that ran out belongs to another owner: to take it raises the token.
    await setup.write("wallet", purchase.wallet, lease_owner="owner-b", lease_until=0, token=1)
    return purchase


async def act(purchase: Purchase, name: str) -> Any:
    command = ROWS[name][1](purchase)
    assert isinstance(command, Command)
    return await purchase.setup.run(command)


NAMES = (
    "start_payment__recorded", "start_payment__again", "confirm_payment",
    "confirm_payment__with_the_last_wrong_code", "resend_code__recorded", "cancel_payment__recorded",
    "void_invoice", "complete_payment", "complete_payment__given_back", "complete_payment__reversed",
    "complete_payment__refund_failed", "resolve_payment", "resolve_payment__settled",
    "resolve_payment__refunded", "resolve_payment__refund_failed", "begin_refund", "change_balance",
    "set_wallet_status", "create_wallet", "create_invoice", "set_limit",
)  # fmt: skip
RECORDS = (
    "user alice", "wallet wallet", "entries wallet", "invoice invoice", "payment payment",
    "payments alice", "invoices alice", "limit global:EUR", "limits", "code payment", "set_aside", "references",
)  # fmt: skip
FIELDS = (
    "wallet wallet balance", "wallet wallet ledger", "wallet wallet token", "payment payment amount",
    "payment payment claim", "payment payment version", "payment payment global_period",
    "payment payment refund_amount",
    "invoice invoice amount", "limit global:EUR limit", "limit global:EUR day", "user alice codes",
    "user alice confirms", "user alice failures",
)  # fmt: skip
"""The broken places: a kind of record, its id, a field; names of Purchase stand for their values."""


UNRECORDED = ("confirm_payment", "complete_payment")
"""Scripts that leave no record of their operation, which has a place on the agenda."""


@asynccontextmanager
async def broken(purchase: Purchase, place: str, value: str) -> AsyncIterator[None]:
    """Put rubbish in the place of a field, or of a whole record; afterwards restore the original."""
    kind, *rest = place.split()
    record_id, *field = [getattr(purchase, name, name) for name in rest] or [None]
    if field == ["day"]:
        field = [from_ms(await purchase.setup.now_ms()).date().isoformat()]
    key, client = purchase.setup.keys.key(kind, record_id), client_of(purchase.setup.store)
    kept = await client.copy(key, f"kept:{key}")
    if field:
        await client.hset(key, field[0], value)
    else:
        await client.delete(key)
        await client.set(key, value)
    yield
    await client.delete(key)
    if kept:
        await client.rename(f"kept:{key}", key)


async def test_a_settlement_stops_before_its_first_write_where_the_wallet_is_gone(
    setup: Setup, caplog: pytest.LogCaptureFixture
) -> None:
    purchase = await make_purchase(setup, "processing")
    await client_of(setup.store).delete(setup.keys.key("wallet", purchase.wallet))
    before = await dump(setup.store)
    with pytest.raises(InternalError):
        await act(purchase, "complete_payment")
    assert await dump(setup.store) == before
    assert "a script failed" in caplog.text


@pytest.mark.parametrize("name", NAMES)
async def test_a_script_does_its_work_or_stops_before_its_first_write(
    setup: Setup, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    state, is_unrecorded = ROWS[name][0], name.startswith(UNRECORDED)
    half_done, stopped, purchase = [], 0, await make_purchase(setup, state)
    for place in (*RECORDS, *(["agenda"] if is_unrecorded else []), *FIELDS):
        for value in VALUES if place in FIELDS else VALUES[:1]:
            async with broken(purchase, place, value):
                before = await dump(setup.store)
                caplog.clear()
                with suppress(InternalError):
                    await act(purchase, name)
                is_changed = await dump(setup.store) != before
            is_stopped = "a script failed" in caplog.text
            stopped += is_stopped
            if is_changed:
                half_done += [(place, value)] * is_stopped
                purchase = await make_purchase(setup, state)
            if not is_stopped:
                break  # the script did not use it
    assert half_done == []
    assert stopped, "no rubbish was in the way"
    assert (await act(purchase, name)).code in ("ok", "confirmation_invalid")
