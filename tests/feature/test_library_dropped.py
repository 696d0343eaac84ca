"""Records that left a store: every call has the same result as on a store that has them still."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.fixtures.engine_setup import derive_code, other_than
from support.fixtures.twins import PASSED, Twins, new_twins

from technopay.engine import Engine, Payment

GONE = ("odd", "part", "whole", "declined", "paid 0", "paid 6", "paid by bob", "keyed")


@pytest.fixture(params=[1, 3])
async def twins(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Twins]:
    async with new_twins(tmp_path / "archive.sqlite3", request.param) as twins:
        yield twins


def payment(twins: Twins, name: str) -> Payment:
    found = twins.its["paid" if name == "odd" else name]
    assert isinstance(found, Payment)
    return found


async def test_payments_and_invoices_are_read_as_before(twins: Twins) -> None:
    for name in GONE:
        its = payment(twins, name)
        await twins.assert_gone(its.id)
        await twins.assert_gone(its.invoice_id, is_gone=name != "declined")
    await twins.assert_gone(twins.its["voided"].id)
    for its in [payment(twins, name) for name in (*GONE, "stuck", "canceled")]:
        for user_id in ("alice", "bob"):
            is_theirs = user_id == its.user_id and its.status != "canceled"
            refusal = None if is_theirs else "payment_not_found"
            await twins.same(
                call("get_payment", user_id=user_id, payment_id=its.id),
                is_refused=refusal,
            )
            refusal = None if user_id == its.user_id else "invoice_not_found"
            await twins.same(
                call("get_invoice", user_id=user_id, invoice_id=its.invoice_id),
                is_refused=refusal,
            )
        await twins.same(call("find_invoice", invoice_id=its.invoice_id))
        if its.status != "canceled":
            await twins.same(call("find_payment", payment_id=its.id))
    await twins.same(call("find_invoice", invoice_id=twins.its["voided"].id))
    for missing in (payment(twins, "odd").id[:-4] + "0000", "pay_00short", "pay_zz"):
        await twins.same(call("find_payment", payment_id=missing), is_refused="payment_not_found")
        invoice = f"inv_{missing[4:]}"
        await twins.same(call("find_invoice", invoice_id=invoice), is_refused="invoice_not_found")


LISTS: dict[str, tuple[Callable[..., Any], int]] = {
    "payments": (lambda engine, **page: engine.list_payments(user_id="alice", **page), 13),
    "invoices": (lambda engine, **page: engine.list_invoices(user_id="alice", **page), 15),
    "payments of bob": (lambda engine, **page: engine.list_payments(user_id="bob", **page), 1),
    "payments of nobody": (lambda engine, **page: engine.list_payments(user_id="nobody", **page), 0),
    "all payments": (lambda engine, **page: engine.search_payments(**page), 0),
    "set aside": (lambda engine, **page: engine.search_payments(set_aside=True, **page), 1),
    "of alice": (lambda engine, **page: engine.search_payments(user_id="alice", **page), 0),
    "refunded of alice": (
        lambda engine, **page: engine.search_payments(user_id="alice", status="refunded", **page),
        1,
    ),
    "refunded": (lambda engine, **page: engine.search_payments(status="refunded", **page), 1),
    "failed": (lambda engine, **page: engine.search_payments(status="failed", **page), 1),
    "all invoices": (lambda engine, **page: engine.search_invoices(**page), 0),
    "paid": (lambda engine, **page: engine.search_invoices(status="paid", **page), 0),
    "void": (lambda engine, **page: engine.search_invoices(status="void", **page), 1),
    "paid of alice": (
        lambda engine, **page: engine.search_invoices(user_id="alice", status="paid", **page),
        0,
    ),
    "of a merchant": (lambda engine, **page: engine.search_invoices(merchant="shop-declines", **page), 1),
    "of a reference": (lambda engine, **page: engine.search_invoices(reference="R-1", **page), 1),
    "of a merchant's reference": (
        lambda engine, **page: engine.search_invoices(merchant="bookshop", reference="R-1", **page),
        1,
    ),
    "of a merchant's free reference": (
        lambda engine, **page: engine.search_invoices(merchant="bookshop", reference="R-9", **page),
        0,
    ),
    "of a reference of another user": (
        lambda engine, **page: engine.search_invoices(
            merchant="bookshop", reference="R-1", user_id="bob", **page
        ),
        0,
    ),
    "of a reference and a status": (
        lambda engine, **page: engine.search_invoices(
            merchant="bookshop", reference="R-1", status="void", **page
        ),
        0,
    ),
}
"""Each with the least number of items that it has."""


async def make_later(engine: Engine, its: Any) -> Payment:
    """Pay one more invoice, which is not old."""
    invoice = await engine.create_invoice(
        user_id="alice",
        amount=700,
        currency="EUR",
        merchant="bookshop",
        expires_at=datetime(2100, 1, 1, tzinfo=UTC),
    )
    started = await engine.start_payment(
        user_id="alice", invoice_id=invoice.id, wallet_id=its["setup"].wallet_id
    )
    code = await derive_code(engine.settings, started)
    return await engine.confirm_payment(user_id="alice", payment_id=started.id, code=code, wait_s=4)


def behind(cursor: str | None) -> dict[str, Any]:
    return {"cursor": cursor} if cursor else {}


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_lists_and_searches_go_on_over_the_cut(twins: Twins, limit: int) -> None:
    for _ in range(2):
        await twins.same(lambda engine: make_later(engine, twins.its))
    for name, (read, least) in LISTS.items():

        async def page(engine: Engine, limit: int, cursor: str | None, read: Any = read) -> Any:
            return await read(engine, limit=limit, **behind(cursor))

        assert await twins.same_pages(page, limit) >= least, name
    for name in ("paid 0", "declined", "stuck"):
        its = payment(twins, name)
        found = await twins.same(call("search_payments", invoice_id=its.invoice_id))
        assert [each["id"] for each in found["data"]] == [its.id]
    between = twins.its["paid 3"].created_at

    async def since(engine: Engine, limit: int, cursor: str | None) -> Any:
        return await engine.search_payments(created_from=between, limit=limit, **behind(cursor))

    async def until(engine: Engine, limit: int, cursor: str | None) -> Any:
        return await engine.search_payments(created_to=between, limit=limit, **behind(cursor))

    assert await twins.same_pages(since, limit) >= 6
    assert await twins.same_pages(until, limit) >= 6


async def test_calls_of_the_user_have_the_same_results(twins: Twins) -> None:
    its = {name: payment(twins, name) for name in GONE}
    for name, refusal in {"paid 0": None, "part": None, "whole": "*", "declined": "*"}.items():
        code = await derive_code(twins.engines[0].settings, its[name])
        for given, is_refused in ((code, refusal), (other_than(code), "*"), ("x", "*")):
            await same_or_refused(twins, confirming(its[name], given), is_refused)
    for name in ("paid 1", "whole", "declined"):
        paid = payment(twins, name)
        await same_or_refused(
            twins,
            call("cancel_payment", user_id="alice", payment_id=paid.id),
            "*",
        )
        await same_or_refused(
            twins,
            call("resend_code", user_id="alice", payment_id=paid.id),
            "*",
        )
        await same_or_refused(
            twins,
            call(
                "start_payment",
                user_id="alice",
                wallet_id=paid.wallet_id,
                invoice_id=paid.invoice_id,
            ),
            "*",
        )
        await same_or_refused(
            twins,
            call("void_invoice", invoice_id=paid.invoice_id),
            "*",
        )
        await same_or_refused(
            twins,
            call(
                "resolve_payment",
                payment_id=paid.id,
                outcome="settled",
                note="asked",
                by="root",
            ),
            "*",
        )
        for foreign in (
            call("cancel_payment", user_id="bob", payment_id=paid.id),
            call("resend_code", user_id="bob", payment_id=paid.id),
            call("confirm_payment", user_id="bob", payment_id=paid.id, code="123456"),
        ):
            await twins.same(foreign, is_refused="payment_not_found")
            await twins.assert_gone(paid.id)
    await twins.same(call("void_invoice", invoice_id=twins.its["voided"].id))


def call(name: str, **arguments: Any) -> Callable[[Engine], Any]:
    """Return the call of an operation."""
    return lambda engine: getattr(engine, name)(**arguments)


def confirming(its: Payment, code: str) -> Callable[[Engine], Any]:
    return call("confirm_payment", user_id="alice", payment_id=its.id, code=code, wait_s=0)


async def same_or_refused(twins: Twins, make: Callable[[Engine], Any], is_refused: str | None) -> Any:
    """Make a call on both; '*': with any refusal or none."""
    if is_refused != "*":
        return await twins.same(make, is_refused=is_refused)
    return await twins.same_in_any_way(make)


async def test_refunds_of_payments_that_left_are_those_of_payments_that_stayed(twins: Twins) -> None:
    async def refund(name: str, is_refused: str | None = None, **more: Any) -> Any:
        its = payment(twins, name)
        shown = await twins.same(call("refund_payment", payment_id=its.id, **more), is_refused=is_refused)
        await twins.settled(its.id)
        return shown

    await refund("paid 0")
    await refund("paid 1", amount=300, note="a scratch", by="root")
    await refund("paid 1", amount=200)
    await refund("paid 1", is_refused="refund_too_large", amount=502)
    await refund("paid 1")
    await refund("part", is_refused="refund_too_large", amount=2_001)
    await refund("part")
    await refund("whole")
    await refund("declined", is_refused="payment_not_refundable")
    again = await refund("paid 2", amount=5, idempotency_key="one")
    assert (await refund("paid 2", amount=5, idempotency_key="one"))["refunds"] == again["refunds"]
    for name in ("paid 0", "paid 1", "part", "paid 2"):
        its = payment(twins, name)
        await twins.same(call("find_payment", payment_id=its.id))
        await twins.same(call("find_invoice", invoice_id=its.invoice_id))
        await twins.assert_gone(its.id, is_gone=False)
    # They leave again, and what is left of them can be refunded again.
    await twins.trim(PASSED)
    for name in ("paid 0", "paid 1", "part", "paid 2"):
        await twins.assert_gone(payment(twins, name).id)
    await refund("paid 2", amount=7)
    await twins.same(call("find_payment", payment_id=payment(twins, "paid 2").id))
    await twins.trim(PASSED)
    await refund("paid 2")
    await twins.trim(PASSED)
    await twins.assert_gone(payment(twins, "paid 2").id)
    await twins.same(call("find_payment", payment_id=payment(twins, "paid 2").id))
    wallet_id = payment(twins, "paid 2").wallet_id
    await twins.same(call("find_wallet", wallet_id=wallet_id))
