"""The client: a purchase against a server, which this program starts too."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta

from technopay.engine import Engine, EngineSettings, InsufficientFunds, OutcomeUnknown, read_mock_inbox
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator, TokenSigner
from technopay.http.client import Client, all_of
from technopay.http.server.serving import serving
from technopay.storage import RedisStore

SECRET = secrets.token_hex()
SIGNER = TokenSigner(SECRET)


async def operate(url: str) -> tuple[str, str]:
    """Act as an operator: create the user, the wallet and the invoice."""
    async with Client(url, SIGNER.sign("operator", admin=True, lifetime_s=600)) as client:
        await client.create_user(user_id="alice", email="alice@example.com")
        wallet = await client.create_wallet(user_id="alice", currency="EUR")
        await client.deposit(wallet_id=wallet.id, amount=50_00, idempotency_key="top-up-1")
        invoice = await client.create_invoice(
            user_id="alice",
            amount=12_50,
            currency="EUR",
            merchant="Bookshop",
            expires_at=datetime.now(UTC) + timedelta(days=1),
        )
        return invoice.id, wallet.id


async def buy(url: str, store: RedisStore, invoice_id: str, wallet_id: str) -> None:
    """Act as a user: start, get the code, confirm."""

    async def token() -> str:
        """Fetch a token; called again when the server refuses the last one."""
        return SIGNER.sign("alice", admin=False, lifetime_s=600)

    async with Client(url, token) as client:
        try:
            payment = await client.start_payment(invoice_id=invoice_id, wallet_id=wallet_id)
        except InsufficientFunds as refusal:
            print("needs", refusal.required, "has", refusal.available)
            return
        except OutcomeUnknown as fault:
            # Four tries failed. Repeat it later, or from another process, with the same key.
            print("ask again with", fault.idempotency_key)
            return
        while not (inbox := await read_mock_inbox(store, "alice")):
            await asyncio.sleep(0.01)
        paid = await client.confirm_payment(payment_id=payment.id, code=inbox[0].message.code or "")
        print(paid.status, paid.balance_before, "→", paid.balance_after)
        print([entry.kind async for entry in all_of(client.list_entries, wallet_id=wallet_id)])


async def main() -> None:
    """Serve on a free port, and buy something there."""
    async with (
        RedisStore.fake() as store,
        Engine(store, EngineSettings(secret=SECRET)) as engine,
        serving(create_app(engine, TokenAuthenticator(SECRET)), "127.0.0.1", 0) as (host, port),
    ):
        url = f"http://{host}:{port}"
        await buy(url, store, *(await operate(url)))


if __name__ == "__main__":
    asyncio.run(main())
