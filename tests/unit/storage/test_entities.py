"""Users, wallets, invoices and limits."""

import pytest
from support.fixtures.dumps import dump
from support.fixtures.store_commands import list_invoices, list_wallets, read_limits
from support.fixtures.store_setup import FAR, Setup, new_id, new_invoice, operation, value_of

from technopay.engine.commands import CreateUser, CreateWallet, SetLimit
from technopay.engine.models import Invoice
from technopay.engine.reads import ReadInvoice, ReadUser, ReadWallet
from technopay.engine.record import from_ms

pytestmark = pytest.mark.any_partition


async def test_a_user_is_active_and_an_id_is_taken_once(setup: Setup) -> None:
    before = await setup.journal()
    user = await setup.done(CreateUser(operation(), "bob", "bob@example.com", "+15550100"))
    assert (user.id, user.status, user.email, user.phone) == ("bob", "active", "bob@example.com", "+15550100")
    assert await setup.done(ReadUser("bob")) == user
    assert await setup.news(before) == [("user.created", {"user": "bob"})]
    stored = await dump(setup.store)
    assert (await setup.run(CreateUser(operation(), "bob", None, "+15550100"))).code == "user_exists"
    assert await dump(setup.store) == stored


async def test_a_wallet_is_active_and_empty(setup: Setup) -> None:
    before, wallet_id = await setup.journal(), new_id("wal")
    wallet = await setup.done(CreateWallet(operation(), wallet_id, "alice", "EUR"))
    assert (wallet.id, wallet.user_id, wallet.currency, wallet.balance, wallet.status) == (
        wallet_id, "alice", "EUR", 0, "active",
    )  # fmt: skip
    assert await setup.news(before) == [
        ("wallet.created", {"wallet": wallet_id, "user": "alice", "currency": "EUR"})
    ]
    assert (await setup.run(CreateWallet(operation(), "wal_x", "nobody", "EUR"))).code == "user_not_found"


async def test_records_of_somebody_else_look_like_none(setup: Setup) -> None:
    wallet, invoice = await setup.wallet(), await setup.invoice()
    for user, wallet_code, invoice_code in (
        ("alice", "ok", "ok"), (None, "ok", "ok"), ("bob", "wallet_not_found", "invoice_not_found"),
    ):  # fmt: skip
        assert (await setup.run(ReadWallet(wallet, user))).code == wallet_code
        assert (await setup.run(ReadInvoice(invoice, user))).code == invoice_code
    assert (await setup.run(ReadUser("bob"))).code == "user_not_found"


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
    await setup.user("wal_bob")
    wallets = [f"wal_00{letters}" for letters in ("-a", "09", "0a", "AZ", "Aa", "_0", "aB", "ab")]
    for wallet in (*wallets[::2], *wallets[1::2]):
        await setup.done(CreateWallet(operation(), wallet, "wal_bob", "EUR"))
    page = await list_wallets(setup.store, "wal_bob", "", 10)
    assert [wallet.id for wallet in page.data] == wallets[::-1]
    rest = await list_wallets(setup.store, "wal_bob", "wal_00B", 10)
    assert [wallet.id for wallet in rest.data] == wallets[4::-1]
    fields = await setup.fields("user", "wal_bob")
    assert {name for name in fields if name.startswith("wal_")} == set(wallets)
    assert (await setup.done(ReadUser("wal_bob"))).id == "wal_bob"


async def test_an_invoice_is_open(setup: Setup) -> None:
    before = await setup.journal()
    entry = new_invoice("alice", 700, "EUR", FAR, reference="R-1", description="Two books")
    invoice = await setup.done(entry)
    assert (invoice.user_id, invoice.amount, invoice.currency, invoice.merchant) == (
        "alice", 700, "EUR", "Shop",
    )  # fmt: skip
    assert (invoice.description, invoice.reference, invoice.status) == ("Two books", "R-1", "open")
    assert (invoice.expires_at, invoice.paid_at, invoice.payment_id) == (FAR, None, None)
    assert await setup.news(before) == [
        ("invoice.created", {"invoice": invoice.id, "user": "alice", "amount": "700", "currency": "EUR"})
    ]


async def test_an_invoice_of_an_unknown_user_or_that_would_be_expired_already_is_refused(setup: Setup) -> None:
    now = from_ms(await setup.now_ms())
    before = await dump(setup.store)
    for user, at, code in (
        ("nobody", FAR, "user_not_found"), ("alice", now, "expiry_past"), ("nobody", now, "expiry_past"),
    ):  # fmt: skip
        assert (await setup.run(new_invoice(user, 1, "EUR", at, reference="R-1"))).code == code
    assert await dump(setup.store) == before


@pytest.mark.parametrize(
    ("lifetime_ms", "status", "by"),
    [(60_000, "canceled", {"by": "void"}), (0, "expired", {})],
    ids=["waiting", "expired"],
)
async def test_a_void_invoice_ends_the_payment_that_waits_and_stays_void(
    setup: Setup, lifetime_ms: int, status: str, by: dict[str, str]
) -> None:
    invoice_id = await setup.invoice()
    payment = await setup.started(await setup.wallet(), invoice_id, lifetime_ms=lifetime_ms)
    before = await setup.journal()
    outcome = await setup.void(invoice_id)
    assert value_of(outcome).status == "void"
    assert await setup.news(before) == [
        (f"payment.{status}", {"payment": payment, "version": "2"} | by),
        ("invoice.voided", {"invoice": invoice_id}),
    ]
    assert (await setup.payment(payment)).status == status
    assert "payment" not in await setup.fields("invoice", invoice_id)
    again = await setup.void(invoice_id)
    assert (again.code, again.value) == ("ok", outcome.value)
    assert len(await setup.news(before)) == 2


async def test_an_invoice_shows_its_payment_only_when_it_is_paid(setup: Setup) -> None:
    async def shown() -> Invoice:
        (listed,) = (await list_invoices(setup.store, "alice", "", 10)).data
        assert listed == await setup.read_invoice(invoice_id)
        return listed

    invoice_id = await setup.invoice()
    payment_id = await setup.started(await setup.wallet(), invoice_id)
    invoice = await shown()
    assert (invoice.status, invoice.payment_id, invoice.paid_at) == ("open", None, None)
    paid_at = value_of(await setup.confirm(payment_id)).paid_at
    invoice = await shown()
    assert (invoice.status, invoice.payment_id, invoice.paid_at) == ("processing", None, None)
    await setup.complete(payment_id, "1", "settled")
    invoice = await shown()
    assert (invoice.status, invoice.payment_id, invoice.paid_at) == ("paid", payment_id, paid_at)


async def test_a_limit_is_set_changed_lifted_and_keeps_what_was_used(setup: Setup) -> None:
    before = await setup.journal()
    limit = value_of(await setup.set_limit("EUR", 5_000))
    assert (limit.rule, limit.window, limit.currency) == ("global", "day", "EUR")
    assert (limit.limit, limit.used, limit.remaining) == (5_000, 0, 5_000)
    assert await setup.news(before) == [("limit.set", {"currency": "EUR", "rule": "global", "limit": "5000"})]
    await setup.processing(await setup.wallet())
    lowered = value_of(await setup.set_limit("EUR", 400))
    assert (lowered.limit, lowered.used, lowered.remaining) == (400, 1_000, 0)
    lifted = value_of(await setup.set_limit("EUR", None))
    assert (lifted.limit, lifted.used, lifted.remaining) == (None, 1_000, None)
    set_to = [fields["limit"] for kind, fields in await setup.news(before) if kind == "limit.set"]
    assert set_to == ["5000", "400", ""]


async def test_a_late_copy_of_a_limit_does_not_undo_what_was_set_since(setup: Setup) -> None:
    copies = [SetLimit(operation(), "EUR", 5_000) for _ in range(2)]
    for command in copies:
        await setup.done(command)
    await setup.set_limit("EUR", 0)
    before = await setup.journal()

    for command in copies:
        again = await setup.run(command)
        assert (again.code, again.replayed, value_of(again).limit) == ("ok", True, 5_000)

    assert await setup.news(before) == []
    assert (await setup.limit()).limit == 0


async def test_users_see_the_limits_of_their_wallets_currencies_and_operators_see_all(setup: Setup) -> None:
    await setup.wallet(balance=0)
    await setup.wallet(balance=0, currency="JPY")
    for currency, amount in (("USD", 1), ("EUR", 2), ("JPY", None), ("CHF", None)):
        await setup.set_limit(currency, amount)
    assert [limit.currency for limit in await read_limits(setup.store, "alice")] == ["EUR"]
    assert [limit.currency for limit in await read_limits(setup.store, None)] == ["CHF", "EUR", "JPY", "USD"]
    assert await read_limits(setup.store, "nobody") == []


async def test_a_limit_of_zero_stops_all_payments_of_its_currency_only(setup: Setup) -> None:
    await setup.set_limit("EUR", 0)
    for currency, code in (("EUR", "daily_limit_exceeded"), ("USD", "ok")):
        wallet = await setup.wallet(currency=currency)
        invoice = await setup.invoice(amount=1, currency=currency)
        assert (await setup.start(wallet, invoice)).code == code


async def test_all_users_share_a_limit(setup: Setup) -> None:
    await setup.user("bob")
    await setup.set_limit("EUR", 1_500)
    await setup.processing(await setup.wallet())
    refused = await setup.start(await setup.wallet("bob"), await setup.invoice("bob"), "bob")
    assert (refused.code, refused.details["limit"].remaining) == ("daily_limit_exceeded", 500)
