"""What can be read: lists in pages, the movements of a wallet, invoices, limits; and what cannot be entered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.fixtures.clock import FakeClock
from support.fixtures.engine_setup import Setup, make_setup, quick_settings, wait_for

from technopay.engine import (
    BalanceTooLarge,
    CurrencyMismatch,
    Engine,
    EngineSettings,
    InvoiceExpired,
    InvoiceNotFound,
    MessageNotFound,
    PaymentNotFound,
    ReferenceUsed,
    UserExists,
    UserNotFound,
    ValidationFailed,
    WalletNotFound,
)
from technopay.storage import RedisStore

pytestmark = pytest.mark.any_partition

AMOUNT_MAX = 2**53 - 1


@pytest.fixture
def settings() -> EngineSettings:
    return quick_settings()


@pytest.fixture
async def alice(engine: Engine, store: RedisStore) -> Setup:
    return await make_setup(engine, store)


async def all_pages(method: Any, limit: int, **arguments: Any) -> list[Any]:
    """Read a list to its end, page by page."""
    found: list[Any] = []
    cursor = ""
    while True:
        page = await method(**arguments, limit=limit, cursor=cursor)
        assert len(page.data) <= limit
        assert page.has_more == (page.next_cursor is not None)
        found += page.data
        if not page.has_more:
            return found
        cursor = page.next_cursor


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
async def test_every_list_is_newest_first_and_whole_whatever_the_page(alice: Setup, limit: int) -> None:
    engine = alice.engine
    invoices = [await alice.invoice(100) for _ in range(5)]
    payments = [await alice.start(invoice) for invoice in invoices]
    wallets = [alice.wallet, *[await engine.create_wallet(user_id="alice", currency="EUR") for _ in range(4)]]
    for amount in range(1, 5):
        await engine.deposit(wallet_id=alice.wallet_id, amount=amount)

    mine = {"user_id": "alice"}
    listed = await all_pages(engine.list_invoices, limit, **mine)
    assert [each.id for each in listed] == [each.id for each in reversed(invoices)]
    for method in (engine.list_payments, engine.search_payments):
        listed = await all_pages(method, limit, **mine)
        assert [each.id for each in listed] == [each.id for each in reversed(payments)]
    listed = await all_pages(engine.list_wallets, limit, **mine)
    assert [each.id for each in listed] == [each.id for each in reversed(wallets)]
    listed = await all_pages(engine.list_entries, limit, **mine, wallet_id=alice.wallet_id)
    assert [each.amount for each in listed] == [4, 3, 2, 1, 10_000]

    async def all_told() -> bool:
        return len(await alice.messages("confirmation.code")) == 5

    await wait_for(all_told)

    async def all_sent() -> Any:
        sent = await all_pages(engine.list_messages, limit, **mine)
        return sent if len(sent) == 5 else None

    sent = await wait_for(all_sent)
    assert sorted((each.at for each in sent), reverse=True) == [each.at for each in sent]


async def test_a_list_holds_only_what_belongs_to_the_user(engine: Engine, store: RedisStore) -> None:
    alice, bob = await make_setup(engine, store, "alice"), await make_setup(engine, store, "bob")
    await alice.start()

    for method in (engine.list_invoices, engine.list_payments):
        assert len((await method(user_id="alice")).data) == 1
        assert (await method(user_id="bob")).data == []
    assert [wallet.id for wallet in (await engine.list_wallets(user_id="bob")).data] == [bob.wallet_id]


async def test_no_user_is_not_everybody(alice: Setup) -> None:
    payment = await alice.start()
    engine = alice.engine
    nobody: dict[str, Any] = {"user_id": ""}

    for call in (
        engine.get_payment(**nobody, payment_id=payment.id),
        engine.get_wallet(**nobody, wallet_id=alice.wallet_id),
        engine.get_invoice(**nobody, invoice_id=payment.invoice_id),
        engine.list_entries(**nobody, wallet_id=alice.wallet_id),
        engine.list_limits(**nobody),
        engine.list_payments(**nobody),
        engine.list_wallets(**nobody),
        engine.list_invoices(**nobody),
        engine.resend_code(**nobody, payment_id=payment.id),
        engine.cancel_payment(**nobody, payment_id=payment.id),
        engine.confirm_payment(**nobody, payment_id=payment.id, code="1"),
    ):
        with pytest.raises(ValidationFailed) as refused:
            await call
        assert [error.field for error in refused.value.errors] == ["user_id"]


@pytest.mark.parametrize(
    "cursor", ["abc", "0x10", "nan", "-1", "1e3", "pay_00x", "1-1-1", "9" * 30, "99999999999999999999-1", "é"]
)
async def test_a_cursor_that_no_page_gave_is_not_of_the_right_form(alice: Setup, cursor: str) -> None:
    engine = alice.engine
    for call in (
        engine.list_entries(user_id="alice", wallet_id=alice.wallet_id, cursor=cursor),
        engine.search_payments(cursor=cursor),
        engine.list_messages(cursor=cursor),
    ):
        with pytest.raises(ValidationFailed) as refused:
            await call
        assert [error.field for error in refused.value.errors] == ["cursor"]


@pytest.mark.parametrize("limit", [0, 101, -1])
async def test_a_page_is_1_to_100_long(alice: Setup, limit: int) -> None:
    with pytest.raises(ValidationFailed):
        await alice.engine.list_payments(user_id="alice", limit=limit)


async def test_the_movements_of_a_wallet_tell_the_balance_after_each(alice: Setup) -> None:
    paid = await alice.pay(await alice.invoice(2_500))
    await alice.engine.deposit(wallet_id=alice.wallet_id, amount=50)
    await alice.engine.refund_payment(payment_id=paid.id)

    page = await alice.engine.list_entries(user_id="alice", wallet_id=alice.wallet_id)

    assert [(each.kind, each.amount, each.balance_after, each.payment_id) for each in page.data] == [
        ("refund", 2_500, 10_050, paid.id),
        ("deposit", 50, 7_550, None),
        ("payment", -2_500, 7_500, paid.id),
        ("deposit", 10_000, 10_000, None),
    ]
    assert [each.at for each in page.data] == sorted((each.at for each in page.data), reverse=True)


async def test_payments_are_found_by_status_and_user(engine: Engine, store: RedisStore) -> None:
    alice, bob = await make_setup(engine, store, "alice"), await make_setup(engine, store, "bob")
    paid, started, his = await alice.pay(), await alice.start(), await bob.start()

    async def found(**filters: Any) -> list[str]:
        return [payment.id for payment in (await engine.search_payments(**filters)).data]

    assert await found() == [his.id, started.id, paid.id]
    assert await found(status="succeeded") == [paid.id]
    assert await found(user_id="bob") == [his.id]
    assert await found(status="requires_confirmation", user_id="alice") == [started.id]
    assert await found(set_aside=True) == []


async def test_a_wallet_never_comes_to_hold_more_than_can_be_counted_exactly(alice: Setup) -> None:
    await alice.pay(await alice.invoice(2_500))
    room = AMOUNT_MAX - 7_500

    with pytest.raises(BalanceTooLarge):
        await alice.engine.deposit(wallet_id=alice.wallet_id, amount=room + 1)

    assert (await alice.engine.deposit(wallet_id=alice.wallet_id, amount=room)).balance == AMOUNT_MAX


async def test_the_largest_amount_is_paid_and_refunded_exactly(engine: Engine, store: RedisStore) -> None:
    rich = await make_setup(engine, store, "rich", balance=AMOUNT_MAX)

    paid = await rich.pay(await rich.invoice(AMOUNT_MAX))

    assert (paid.balance_before, paid.balance_after) == (AMOUNT_MAX, 0)
    await engine.refund_payment(payment_id=paid.id)
    assert await rich.balance() == AMOUNT_MAX


async def test_a_wallet_pays_only_in_its_own_currency(alice: Setup) -> None:
    invoice = await alice.invoice(currency="USD")

    with pytest.raises(CurrencyMismatch):
        await alice.start(invoice)


async def test_a_user_id_is_taken_once(alice: Setup) -> None:
    with pytest.raises(UserExists):
        await alice.engine.create_user(user_id="alice", email="other@example.com")

    assert (await alice.engine.get_user(user_id="alice")).email == "alice@example.com"


async def test_a_reference_is_used_once_per_merchant(alice: Setup) -> None:
    await alice.invoice(merchant="shop", reference="4711")

    with pytest.raises(ReferenceUsed):
        await alice.invoice(merchant="shop", reference="4711")

    assert (await alice.invoice(merchant="shop-4", reference="4711")).reference == "4711"
    assert (await alice.invoice(merchant="sho", reference="p4711")).reference == "p4711"


@pytest.mark.parametrize(
    "expires_at",
    [
        datetime.now(UTC) - timedelta(seconds=1),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime.max.replace(tzinfo=UTC).astimezone(UTC).replace(tzinfo=None),
        datetime.fromisoformat("9999-12-31T23:59:59-12:00"),
        datetime.fromisoformat("0001-01-01T00:00:00+12:00"),
    ],
    ids=["past", "long past", "no offset", "after the year 9999", "before the year 1"],
)
async def test_an_expiry_has_to_be_a_time_to_come(alice: Setup, expires_at: datetime) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await alice.engine.create_invoice(
            user_id="alice", amount=1, currency="EUR", merchant="shop", expires_at=expires_at
        )

    assert [error.field for error in refused.value.errors] == ["expires_at"]
    assert (await alice.engine.list_invoices(user_id="alice")).data == []


async def test_an_id_that_names_no_position_of_the_journal_is_of_no_message(alice: Setup) -> None:
    for rest in (f"00{'9' * 30}-1", f"001-{'9' * 30}", "001-٣", "001-1\n", "1-1", "zz1-1", "00x", "00", ""):
        with pytest.raises(MessageNotFound):
            await alice.engine.send_message_again(message_id=f"msg_{rest}")


async def test_what_does_not_exist_is_said_so(alice: Setup) -> None:
    engine = alice.engine
    expires_at = datetime.now(UTC) + timedelta(hours=1)
    for unknown in ("pay_00unknown", "nonsense", "", "pay_00\n", "pay_00'; --", "ü" * 500):
        with pytest.raises(PaymentNotFound):
            await engine.find_payment(payment_id=unknown)
        with pytest.raises(PaymentNotFound):
            await engine.get_payment(user_id="alice", payment_id=unknown)
        with pytest.raises(PaymentNotFound):
            await engine.refund_payment(payment_id=unknown)
        with pytest.raises(PaymentNotFound):
            await engine.resolve_payment(payment_id=unknown, outcome="settled", note="?", by="olga")
        with pytest.raises(WalletNotFound):
            await engine.find_wallet(wallet_id=unknown)
        with pytest.raises(WalletNotFound):
            await engine.deposit(wallet_id=unknown, amount=1)
        with pytest.raises(InvoiceNotFound):
            await engine.find_invoice(invoice_id=unknown)
        with pytest.raises(InvoiceNotFound):
            await engine.void_invoice(invoice_id=unknown)
        with pytest.raises(MessageNotFound):
            await engine.send_message_again(message_id=unknown)
        with pytest.raises(UserNotFound):
            await engine.get_user(user_id=unknown)
        with pytest.raises(UserNotFound):
            await engine.block_user(user_id=unknown)
    with pytest.raises(UserNotFound):
        await engine.create_wallet(user_id="nobody", currency="EUR")
    with pytest.raises(UserNotFound):
        await engine.create_invoice(
            user_id="nobody", amount=1, currency="EUR", merchant="shop", expires_at=expires_at
        )


async def test_an_invoice_past_its_expiry_is_expired_and_cannot_be_paid(
    fake_clock: FakeClock, fake_store: RedisStore, settings: EngineSettings
) -> None:
    fake_clock.set(datetime.now(UTC))
    async with Engine(fake_store, settings) as engine:
        alice = await make_setup(engine, fake_store)
        invoice = await alice.invoice(expires_in_s=100)
        payment = await alice.start(invoice)
        assert (await engine.find_invoice(invoice_id=invoice.id)).status == "open"
        fake_clock.advance(110_000)

        assert (await engine.find_invoice(invoice_id=invoice.id)).status == "expired"
        with pytest.raises(InvoiceExpired):
            await alice.confirm(payment)
        with pytest.raises(InvoiceExpired):
            await alice.start(invoice)
        assert await alice.balance() == 10_000


async def test_a_new_day_begins_with_nothing_used(
    fake_clock: FakeClock, fake_store: RedisStore, settings: EngineSettings
) -> None:
    fake_clock.set(datetime(2026, 7, 1, 23, 59, 59, tzinfo=UTC))
    async with Engine(fake_store, settings) as engine:
        alice = await make_setup(engine, fake_store)
        limit = await engine.set_limit(currency="EUR", amount=2_500)
        assert limit.resets_at == datetime(2026, 7, 2, tzinfo=UTC)
        await alice.pay(await alice.invoice(2_500))
        assert [limit.remaining for limit in await engine.list_limits(user_id="alice")] == [0]

        fake_clock.advance(1_000)

        assert [limit.remaining for limit in await engine.list_limits(user_id="alice")] == [2_500]
        assert (await alice.pay(await alice.invoice(2_500))).status == "succeeded"
