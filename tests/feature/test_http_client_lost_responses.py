"""The client when every first response is lost: each call takes effect, and takes effect once."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from support.fixtures.engine_setup import SECRET, derive_code, other_than, quick_settings

from technopay.engine import ConfirmationInvalid, Engine, OutcomeUnknown, Wallet
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator, TokenSigner
from technopay.http.client import Client, RetryPolicy, all_of
from technopay.storage import RedisStore

AT_ONCE = RetryPolicy(backoff_s=0)
TOKENS = TokenAuthenticator(SECRET)
SIGNER = TokenSigner(SECRET)


@pytest.fixture
async def engine(fake_store: RedisStore) -> AsyncIterator[Engine]:
    async with Engine(fake_store, quick_settings()) as started:
        yield started


@pytest.fixture
async def url(engine: Engine) -> AsyncIterator[str]:
    """Serve behind a middleware that loses the first response to each call."""
    answered: set[tuple[str, str, str | None]] = set()

    @web.middleware
    async def lose_the_first(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        answer = await handler(request)
        call = (request.method, request.path_qs, request.headers.get("Idempotency-Key"))
        if call not in answered:
            answered.add(call)
            assert request.transport is not None
            request.transport.abort()
        return answer

    outer = web.Application(middlewares=[lose_the_first])
    outer.add_subapp("/pay", create_app(engine, TOKENS))
    async with TestServer(outer) as server:
        yield str(server.make_url("/pay"))


@pytest.fixture
async def client(url: str) -> AsyncIterator[Client]:
    async with Client(url, SIGNER.sign("alice", admin=True, lifetime_s=86_400), retry_policy=AT_ONCE) as opened:
        yield opened


@pytest.fixture
async def wallet(client: Client) -> Wallet:
    await client.create_user(user_id="alice", email="alice@example.com")
    wallet = await client.create_wallet(user_id="alice", currency="EUR")
    return await client.deposit(wallet_id=wallet.id, amount=100)


async def start(client: Client, wallet: Wallet) -> str:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    invoice = await client.create_invoice(
        user_id="alice", amount=30, currency="EUR", merchant="bookshop", expires_at=tomorrow
    )
    payment = await client.start_payment(invoice_id=invoice.id, wallet_id=wallet.id)
    assert payment.replayed
    return payment.id


async def test_money_moves_once(client: Client, engine: Engine, wallet: Wallet) -> None:
    assert (wallet.balance, wallet.replayed) == (100, True)
    payment_id = await start(client, wallet)
    code = await derive_code(engine.settings, await client.get_payment(payment_id=payment_id))

    paid = await client.confirm_payment(payment_id=payment_id, code=code)
    assert (paid.status, paid.balance_after, paid.replayed) == ("succeeded", 70, True)
    refunded = await client.refund_payment(payment_id=payment_id)
    assert (refunded.status, refunded.replayed) == ("refunded", True)

    entries = [entry async for entry in all_of(client.list_entries, wallet_id=wallet.id)]
    assert [(entry.kind, entry.amount) for entry in entries] == [
        ("refund", 30), ("payment", -30), ("deposit", 100)
    ]  # fmt: skip
    assert len((await client.list_payments()).data) == 1


async def test_a_wrong_code_whose_response_is_lost_costs_a_second_attempt(
    client: Client, engine: Engine, wallet: Wallet
) -> None:
    payment_id = await start(client, wallet)
    code = await derive_code(engine.settings, await client.get_payment(payment_id=payment_id))

    with pytest.raises(ConfirmationInvalid) as refused:
        await client.confirm_payment(payment_id=payment_id, code=other_than(code))

    assert refused.value.attempts_remaining == 3


async def test_a_call_without_retries_can_be_repeated_later_under_its_key(
    client: Client, url: str, wallet: Wallet
) -> None:
    once = RetryPolicy(retries=0)
    async with Client(url, SIGNER.sign("alice", admin=True, lifetime_s=86_400), retry_policy=once) as impatient:
        with pytest.raises(OutcomeUnknown) as unknown:
            await impatient.deposit(wallet_id=wallet.id, amount=5)

    # The same caller, by another client.
    key = unknown.value.idempotency_key
    wallet = await client.deposit(wallet_id=wallet.id, amount=5, idempotency_key=key)
    assert (wallet.balance, wallet.replayed) == (105, True)
