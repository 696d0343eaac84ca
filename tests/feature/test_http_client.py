"""The client against a real server: a whole purchase, the engine's own records, and its errors by type."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.fixtures.engine_setup import derive_code, other_than
from support.fixtures.http_api import Api

from technopay.engine import (
    ConfirmationInvalid,
    DailyLimitExceeded,
    InsufficientFunds,
    Invoice,
    InvoiceNotFound,
    MessageNotFound,
    Payment,
    PaymentEvent,
    PaymentNotConfirmable,
    RateLimited,
    SettlementFailed,
    ValidationFailed,
    Wallet,
)
from technopay.http.client import Client, all_of
from technopay.http.problems import Forbidden, NotFound, Unauthenticated


@pytest.fixture
async def alice(api: Api) -> AsyncIterator[Client]:
    async with Client(str(api.client.make_url("/")), api.token("alice")) as client:
        yield client


@pytest.fixture
async def operator(api: Api) -> AsyncIterator[Client]:
    async with Client(str(api.client.make_url("/")), api.token("operator", admin=True)) as client:
        yield client


@pytest.fixture
async def wallet(operator: Client) -> Wallet:
    await operator.create_user(user_id="alice", email="alice@example.com", phone="+15550100")
    wallet = await operator.create_wallet(user_id="alice", currency="EUR")
    return await operator.deposit(wallet_id=wallet.id, amount=10_000)


async def enter(operator: Client, amount: int = 2_500, merchant: str = "bookshop") -> Invoice:
    return await operator.create_invoice(
        user_id="alice",
        amount=amount,
        currency="EUR",
        merchant=merchant,
        expires_at=datetime.now(UTC) + timedelta(hours=1),
    )


async def start(alice: Client, operator: Client, wallet: Wallet, merchant: str = "bookshop") -> Payment:
    invoice = await enter(operator, merchant=merchant)
    return await alice.start_payment(invoice_id=invoice.id, wallet_id=wallet.id)


async def confirm(api: Api, alice: Client, payment: Payment) -> Payment:
    code = await derive_code(api.engine.settings, payment)
    return await alice.confirm_payment(payment_id=payment.id, code=code)


async def test_a_whole_purchase(api: Api, alice: Client, operator: Client, wallet: Wallet) -> None:
    await operator.set_limit(currency="EUR", amount=100_000)
    payment = await start(alice, operator, wallet)
    assert payment.status == "requires_confirmation"
    assert payment.confirmation is not None
    assert payment.confirmation.sent_to == "a***@example.com"

    paid = await confirm(api, alice, payment)

    assert (paid.status, paid.balance_before, paid.balance_after) == ("succeeded", 10_000, 7_500)
    assert not paid.replayed
    assert (await confirm(api, alice, payment)).replayed
    assert (await alice.get_payment(payment_id=payment.id, wait_s=10)).settled_at == paid.settled_at
    refunded = await operator.refund_payment(payment_id=payment.id)
    assert [refund.reason for refund in refunded.refunds] == ["requested_by_operator"]
    assert (await operator.audit()).clean


async def test_records_are_the_engines_own(api: Api, alice: Client, operator: Client, wallet: Wallet) -> None:
    engine = api.engine
    await operator.set_limit(currency="EUR", amount=100_000)
    paid = await confirm(api, alice, await start(alice, operator, wallet))
    user: dict[str, Any] = {"user_id": "alice"}
    payment: dict[str, Any] = {"payment_id": paid.id}
    account: dict[str, Any] = {"wallet_id": wallet.id}
    invoice = {"invoice_id": paid.invoice_id}

    assert await alice.get_payment(**payment) == await engine.get_payment(**user, **payment)
    assert await operator.find_payment(**payment) == await engine.find_payment(**payment)
    assert await alice.get_wallet(**account) == await engine.find_wallet(**account)
    assert await operator.get_user(**user) == await engine.get_user(**user)
    assert await alice.get_invoice(**invoice) == await engine.find_invoice(**invoice)
    assert (await alice.list_limits()).data == await engine.list_limits(**user)
    assert await alice.list_entries(**account) == await engine.list_entries(**user, **account)
    statement = await engine.find_statement(**account)
    assert await alice.get_statement(**account) == await operator.find_statement(**account) == statement
    messages = (await operator.list_notifications(**user)).data
    listed = (await engine.list_messages(**user)).data
    assert {message.id for message in messages} <= {message.id for message in listed}
    assert await operator.audit() == await engine.audit()


async def test_lists_go_on_to_their_end(alice: Client, operator: Client, wallet: Wallet) -> None:
    invoices = [(await enter(operator)).id for _ in range(3)]

    page = await alice.list_invoices(limit=2)
    assert ([invoice.id for invoice in page.data], page.has_more) == (invoices[:0:-1], True)
    rest = await alice.list_invoices(limit=2, cursor=page.next_cursor or "")
    assert ([invoice.id for invoice in rest.data], rest.has_more) == (invoices[:1], False)
    assert [invoice.id async for invoice in all_of(alice.list_invoices)] == invoices[::-1]
    assert [payment async for payment in all_of(operator.search_payments, set_aside=True)] == []


async def test_a_statement_goes_on_to_its_end(alice: Client, operator: Client, wallet: Wallet) -> None:
    for amount in range(1, 120):
        await operator.deposit(wallet_id=wallet.id, amount=amount)
    entries = [entry async for entry in all_of(alice.get_statement, wallet_id=wallet.id)]
    assert [entry.amount for entry in entries] == [10_000, *range(1, 120)]
    begin, end = entries[3].at, entries[110].at
    inside = [
        entry async for entry in all_of(operator.find_statement, wallet_id=wallet.id, at_from=begin, at_to=end)
    ]
    assert inside == [entry for entry in entries if begin <= entry.at < end]
    page = await alice.get_statement(wallet_id=wallet.id, at_from=begin, at_to=end, limit=1)
    assert page.opening_balance == page.data[0].balance_after - page.data[0].amount
    assert page.closing_balance == inside[-1].balance_after


async def test_a_refusal_has_its_type_and_what_helps(
    api: Api, alice: Client, operator: Client, wallet: Wallet
) -> None:
    """One error of each shape; tests/unit/http/client/test_errors.py has every code."""
    payment = await start(alice, operator, wallet)
    for _ in range(3):
        await alice.resend_code(payment_id=payment.id)
    with pytest.raises(RateLimited) as too_many:
        await alice.resend_code(payment_id=payment.id)
    assert too_many.value.retry_after_s
    wrong = other_than(await derive_code(api.engine.settings, payment))
    with pytest.raises(ConfirmationInvalid) as invalid:
        await alice.confirm_payment(payment_id=payment.id, code=wrong)
    assert invalid.value.attempts_remaining == 4
    canceled = await alice.cancel_payment(payment_id=payment.id)
    with pytest.raises(PaymentNotConfirmable) as not_confirmable:
        await alice.confirm_payment(payment_id=payment.id, code=wrong)
    assert not_confirmable.value.payment == canceled
    declined = await start(alice, operator, wallet, merchant="acme-declines")
    for is_replay in (False, True):
        with pytest.raises(SettlementFailed) as failed:
            await confirm(api, alice, declined)
        assert failed.value.replayed is is_replay
    invoice = await enter(operator, amount=10_001)
    with pytest.raises(InsufficientFunds) as poor:
        await alice.start_payment(invoice_id=invoice.id, wallet_id=wallet.id)
    assert (poor.value.required, poor.value.available) == (10_001, 10_000)
    limit = await operator.set_limit(currency="EUR", amount=2_499)
    with pytest.raises(DailyLimitExceeded) as limited:
        await start(alice, operator, wallet)
    assert limited.value.limit == limit
    assert (await operator.set_limit(currency="EUR", amount=None)).limit is None
    with pytest.raises(InvoiceNotFound):
        await alice.get_invoice(invoice_id="..")
    with pytest.raises(MessageNotFound) as missing:
        await operator.send_notification(message_id="msg_00none")
    assert missing.value.request_id


async def test_a_field_of_the_wrong_form_is_named(operator: Client, wallet: Wallet) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await operator.deposit(wallet_id=wallet.id, amount=0)
    assert [error.field for error in refused.value.errors] == ["amount"]
    naive = datetime(2036, 1, 1)  # noqa: DTZ001
    with pytest.raises(ValidationFailed) as refused:
        await operator.create_invoice(user_id="alice", amount=1, currency="EUR", merchant="m", expires_at=naive)
    assert [error.field for error in refused.value.errors] == ["expires_at"]


async def test_a_token_without_the_right_is_refused_by_type(api: Api, alice: Client) -> None:
    with pytest.raises(Forbidden):
        await alice.audit()
    url = str(api.client.make_url("/"))
    async with Client(url, "nonsense") as stranger:
        with pytest.raises(Unauthenticated):
            await stranger.list_wallets()
    async with Client(url + "elsewhere", api.token()) as lost:
        with pytest.raises(NotFound):
            await lost.list_wallets()


async def test_events_are_live_and_resumed(api: Api, alice: Client, operator: Client, wallet: Wallet) -> None:
    async with aclosing(alice.events(after="evt_000-0")) as events:
        paid = await confirm(api, alice, await start(alice, operator, wallet))
        told = [await anext(events) for _ in range(4)]

    assert [event.type for event in told] == [
        "invoice.created", "payment.started", "payment.processing", "payment.succeeded",
    ]  # fmt: skip
    last = told[-1]
    assert isinstance(last, PaymentEvent)
    assert last.payment == paid
    async with aclosing(alice.events(after=told[1].id)) as events:
        assert [(await anext(events)).id for _ in range(2)] == [told[2].id, told[3].id]
