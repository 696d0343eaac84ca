"""Users, wallets, invoices and limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.fixtures.store_commands import list_invoices, list_wallets, read_limits
from support.fixtures.store_setup import DAY_MS, RIGHT, Setup, dump, new_id, new_invoice, operation

from technopay.engine.commands import (
    CreateUser,
    CreateWallet,
    ReadInvoice,
    ReadUser,
    ReadWallet,
    SetLimit,
    SetUserStatus,
    VoidInvoice,
)
from technopay.engine.models import Invoice, from_ms

pytestmark = pytest.mark.any_partition


async def test_a_user_is_active_and_known_by_the_callers_id(setup: Setup) -> None:
    before = await setup.journal()
    outcome = await setup.store.run(CreateUser(operation(), "bob", "bob@example.com", "+15550100"))
    user = outcome.value
    assert user is not None
    assert (user.id, user.status, user.email, user.phone) == ("bob", "active", "bob@example.com", "+15550100")
    assert (await setup.store.run(ReadUser("bob"))).value == user
    assert await setup.news(before) == [("user.created", {"user": "bob"})]


async def test_a_user_id_is_taken_once(setup: Setup) -> None:
    before = await dump(setup.store)
    assert (await setup.store.run(CreateUser(operation(), "alice", None, "+15550100"))).code == "user_exists"
    assert await dump(setup.store) == before


async def test_a_user_is_blocked_and_unblocked_and_said_only_when_it_changed(setup: Setup) -> None:
    before = await setup.journal()
    for status in ("blocked", "blocked", "active"):
        outcome = await setup.store.run(SetUserStatus(operation(), "alice", status))
        assert outcome.value is not None
        assert outcome.value.status == status
    assert await setup.news(before) == [("user.blocked", {"user": "alice"}), ("user.active", {"user": "alice"})]
    assert (await setup.store.run(SetUserStatus(operation(), "nobody", "blocked"))).code == "user_not_found"


async def test_a_wallet_is_active_and_empty(setup: Setup) -> None:
    before = await setup.journal()
    wallet_id = new_id("wal")
    outcome = await setup.store.run(CreateWallet(operation(), wallet_id, "alice", "EUR"))
    wallet = outcome.value
    assert wallet is not None
    assert (wallet.id, wallet.user_id, wallet.currency, wallet.balance, wallet.status) == (
        wallet_id, "alice", "EUR", 0, "active",
    )  # fmt: skip
    assert await setup.news(before) == [
        ("wallet.created", {"wallet": wallet_id, "user": "alice", "currency": "EUR"})
    ]
    assert (await setup.store.run(CreateWallet(operation(), "wal_x", "nobody", "EUR"))).code == "user_not_found"


async def test_records_of_somebody_else_look_like_none(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    for user, code in (("alice", "ok"), (None, "ok"), ("bob", "wallet_not_found")):
        assert (await setup.store.run(ReadWallet(wallet, user))).code == code
    for user, code in (("alice", "ok"), (None, "ok"), ("bob", "invoice_not_found")):
        assert (await setup.store.run(ReadInvoice(invoice, user))).code == code
    assert (await setup.store.run(ReadUser("bob"))).code == "user_not_found"


async def test_lists_are_pages_newest_first_of_ones_own(setup: Setup) -> None:
    await setup.user("bob")
    await setup.wallet("bob")
    await setup.invoice("bob")
    wallets = [await setup.wallet() for _ in range(3)]
    invoices = [await setup.invoice() for _ in range(3)]

    first = await list_wallets(setup.store, "alice", "", 2)
    assert ([wallet.id for wallet in first.data], first.has_more) == ([wallets[2], wallets[1]], True)
    second = await list_wallets(setup.store, "alice", first.next_cursor or "", 2)
    assert ([wallet.id for wallet in second.data], second.next_cursor) == ([wallets[0]], None)
    exact = await list_invoices(setup.store, "alice", "", 3)
    assert ([invoice.id for invoice in exact.data], exact.has_more) == (invoices[::-1], False)
    assert (await list_invoices(setup.store, "nobody", "", 3)).data == []


async def test_wallets_are_listed_in_the_order_of_their_bytes(setup: Setup) -> None:
    await setup.store.run(CreateUser(operation(), "wal_bob", "bob@example.com", None))
    wallets = [f"wal_00{letters}" for letters in ("-a", "09", "0a", "AZ", "Aa", "_0", "aB", "ab")]
    for wallet in (*wallets[::2], *wallets[1::2]):
        assert (await setup.store.run(CreateWallet(operation(), wallet, "wal_bob", "EUR"))).code == "ok"
    page = await list_wallets(setup.store, "wal_bob", "", 10)
    assert [wallet.id for wallet in page.data] == wallets[::-1]
    rest = await list_wallets(setup.store, "wal_bob", "wal_00B", 10)
    assert [wallet.id for wallet in rest.data] == wallets[4::-1]
    fields = await setup.fields("user", "wal_bob")
    assert {name for name in fields if name.startswith("wal_")} == set(wallets)
    assert (await setup.store.run(ReadUser("wal_bob"))).value is not None


async def test_an_invoice_is_open_until_it_expires(setup: Setup) -> None:
    expires_at = from_ms(await setup.now_ms() + DAY_MS)
    entry = new_invoice("alice", 700, "EUR", expires_at, reference="R-1")
    before = await setup.journal()
    invoice = (await setup.store.run(replace(entry, description="Two books", merchant="Books"))).value
    assert invoice is not None
    assert (invoice.user_id, invoice.amount, invoice.currency, invoice.merchant) == (
        "alice",
        700,
        "EUR",
        "Books",
    )
    assert (invoice.description, invoice.reference, invoice.status) == ("Two books", "R-1", "open")
    assert (invoice.expires_at, invoice.paid_at, invoice.payment_id) == (expires_at, None, None)
    assert await setup.news(before) == [
        ("invoice.created", {"invoice": invoice.id, "user": "alice", "amount": "700", "currency": "EUR"})
    ]


async def test_an_invoice_is_refused_for_nobody_and_when_it_would_be_expired_already(setup: Setup) -> None:
    now_ms = await setup.now_ms()
    before = await dump(setup.store)
    for user, at_ms, code in (
        ("nobody", now_ms + DAY_MS, "user_not_found"),
        ("alice", now_ms, "expiry_past"),
        ("nobody", now_ms, "expiry_past"),
    ):
        invoice = new_invoice(user, 1, "EUR", from_ms(at_ms), reference="R-1")
        assert (await setup.store.run(invoice)).code == code
    assert await dump(setup.store) == before


async def test_a_reference_is_used_once_per_merchant(setup: Setup) -> None:
    at = from_ms(await setup.now_ms() + DAY_MS)

    async def enter(merchant: str, reference: str | None) -> str:
        invoice = new_invoice("alice", 1, "EUR", at, reference=reference)
        return (await setup.store.run(replace(invoice, merchant=merchant))).code

    assert await enter("ab", "c") == "ok"
    before = await dump(setup.store)
    assert await enter("ab", "c") == "reference_used"
    assert await dump(setup.store) == before
    assert await enter("a", "bc") == "ok"
    assert await enter("a:", "bc") == "ok"
    assert await enter("ab", None) == "ok"
    assert await enter("ab", None) == "ok"


async def test_a_void_invoice_cancels_the_payment_that_waits_and_tells_who_did_it(setup: Setup) -> None:
    wallet, invoice_id = await setup.wallet(), await setup.invoice()
    payment = await setup.started(wallet, invoice_id)
    before = await setup.journal()
    outcome = await setup.store.run(VoidInvoice(operation(), invoice_id))
    assert outcome.value is not None
    assert outcome.value.status == "void"
    assert await setup.news(before) == [
        ("payment.canceled", {"payment": payment, "version": "2", "by": "void"}),
        ("invoice.voided", {"invoice": invoice_id}),
    ]
    assert (await setup.payment(payment)).status == "canceled"
    assert "payment" not in await setup.fields("invoice", invoice_id)
    again = await setup.store.run(VoidInvoice(operation(), invoice_id))
    assert (again.code, again.value) == ("ok", outcome.value)
    assert len(await setup.news(before)) == 2


async def test_a_payment_whose_code_expired_is_expired_by_the_void(setup: Setup) -> None:
    invoice_id = await setup.invoice()
    payment = await setup.started(await setup.wallet(), invoice_id, lifetime_ms=0)
    before = await setup.journal()
    await setup.store.run(VoidInvoice(operation(), invoice_id))
    assert (await setup.news(before))[0] == ("payment.expired", {"payment": payment, "version": "2"})


@pytest.mark.parametrize("settled", [False, True])
async def test_an_invoice_that_is_or_gets_paid_is_not_voidable(setup: Setup, settled: bool) -> None:
    wallet = await setup.wallet()
    payment_id = await setup.succeeded(wallet) if settled else (await setup.processing(wallet))[0]
    payment = await setup.payment(payment_id)
    before = await dump(setup.store)
    outcome = await setup.store.run(VoidInvoice(operation(), payment.invoice_id))
    assert (outcome.code, outcome.details["payment"]) == ("invoice_not_voidable", payment)
    assert outcome.value is not None
    assert (await setup.store.run(VoidInvoice(operation(), "inv_00none"))).code == "invoice_not_found"
    assert await dump(setup.store) == before


async def test_an_invoice_shows_its_payment_only_when_it_is_paid(setup: Setup) -> None:
    async def shown() -> Invoice:
        invoice = (await setup.store.run(ReadInvoice(invoice_id, None))).value
        (listed,) = (await list_invoices(setup.store, "alice", "", 10)).data
        assert invoice == listed
        return listed

    invoice_id = await setup.invoice()
    payment_id = await setup.started(await setup.wallet(), invoice_id)
    invoice = await shown()
    assert (invoice.status, invoice.payment_id, invoice.paid_at) == ("open", None, None)
    await setup.confirm(payment_id)
    payment, invoice = await setup.payment(payment_id), await shown()
    assert (invoice.status, invoice.payment_id, invoice.paid_at) == ("processing", None, None)
    await setup.complete(payment_id, "1", "settled")
    invoice = await shown()
    assert (invoice.status, invoice.payment_id, invoice.paid_at) == ("paid", payment_id, payment.paid_at)
    assert (await setup.confirm(payment_id, RIGHT)).replayed


async def test_a_limit_is_set_changed_lifted_and_keeps_what_was_used(setup: Setup) -> None:
    before = await setup.journal()
    limit = (await setup.set_limit("EUR", 5_000)).value
    assert limit is not None
    assert (limit.rule, limit.window, limit.currency) == ("global", "day", "EUR")
    assert (limit.limit, limit.used, limit.remaining) == (5_000, 0, 5_000)
    assert [fields for kind, fields in await setup.news(before) if kind == "limit.set"] == [
        {"currency": "EUR", "rule": "global", "limit": "5000"}
    ]
    await setup.processing(await setup.wallet())
    lowered = (await setup.set_limit("EUR", 400)).value
    assert lowered is not None
    assert (lowered.limit, lowered.used, lowered.remaining) == (400, 1_000, 0)
    lifted = (await setup.set_limit("EUR", None)).value
    assert lifted is not None
    assert (lifted.limit, lifted.used, lifted.remaining) == (None, 1_000, None)
    said = [fields["limit"] for kind, fields in await setup.news(before) if kind == "limit.set"]
    assert said == ["5000", "400", ""]


async def test_a_late_copy_of_a_limit_does_not_undo_what_was_set_since(setup: Setup) -> None:
    early = operation()
    await setup.store.run(SetLimit(early, "EUR", 5_000))
    unchanged = operation()
    await setup.store.run(SetLimit(unchanged, "EUR", 5_000))
    await setup.set_limit("EUR", 0)
    before = await setup.journal()

    for late in (early, unchanged):
        answer = await setup.store.run(SetLimit(late, "EUR", 5_000))
        assert answer.value
        assert (answer.code, answer.replayed, answer.value.limit) == ("ok", True, 5_000)

    assert await setup.news(before) == []
    [limit] = await read_limits(setup.store, None)
    assert limit.limit == 0


async def test_users_see_the_limits_of_their_wallets_currencies_and_operators_see_all(setup: Setup) -> None:
    await setup.wallet(balance=0)
    await setup.wallet(balance=0, currency="JPY")
    for currency, amount in (("USD", 1), ("EUR", 2), ("JPY", None), ("CHF", None)):
        await setup.set_limit(currency, amount)
    assert [limit.currency for limit in await read_limits(setup.store, "alice")] == ["EUR"]
    assert [limit.currency for limit in await read_limits(setup.store, None)] == ["CHF", "EUR", "JPY", "USD"]
    assert await read_limits(setup.store, "nobody") == []


async def test_a_limit_binds_its_own_currency_only(setup: Setup) -> None:
    await setup.set_limit("EUR", 0)
    wallet = await setup.wallet(currency="USD")
    assert (await setup.start(wallet, await setup.invoice(currency="USD"))).code == "ok"


async def test_all_users_share_a_limit(setup: Setup) -> None:
    await setup.user("bob")
    await setup.set_limit("EUR", 1_500)
    await setup.processing(await setup.wallet())
    refused = await setup.start(await setup.wallet("bob"), await setup.invoice("bob"), "bob")
    assert (refused.code, refused.details["limit"].remaining) == ("daily_limit_exceeded", 500)
