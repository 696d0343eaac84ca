"""technopay's engine inside a FastAPI application: `uvicorn inside_fastapi:app` serves it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from technopay.engine import Engine, EngineSettings, Payment, TechnopayError, read_mock_inbox
from technopay.http.problems import PROBLEMS
from technopay.storage import RedisStore


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the store, start the engine; close them in reverse order."""
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(RedisStore.fake())  # RedisStore.connect("redis://…")
        engine = await stack.enter_async_context(Engine(store, EngineSettings(secret=secrets.token_hex())))
        app.state.store, app.state.engine = store, engine
        yield


app = FastAPI(lifespan=lifespan)


def the_engine(request: Request) -> Engine:
    """Give a route the engine."""
    engine: Engine = request.app.state.engine
    return engine


def the_user(x_user: Annotated[str, Header()]) -> str:
    """Give a route the user; a real shop uses its own sign-in."""
    return x_user


TheEngine = Annotated[Engine, Depends(the_engine)]
TheUser = Annotated[str, Depends(the_user)]


@app.exception_handler(TechnopayError)
async def as_problem(_: Request, error: TechnopayError) -> JSONResponse:
    """Return an error as a problem (RFC 9457), with the status of technopay's own API."""
    status, title = PROBLEMS[error.code]
    problem = {"title": title, "status": status, "detail": str(error), "code": error.code}
    return JSONResponse(problem, status, media_type="application/problem+json")


class Order(BaseModel):
    """An invoice and the wallet to pay it from."""

    invoice_id: str
    wallet_id: str


class Answer(BaseModel):
    """The code that the user was sent."""

    code: str


@app.post("/orders/{order_id}/payments", status_code=201)
async def start(order_id: str, order: Order, engine: TheEngine, user: TheUser) -> Payment:
    """Start a payment. The order is the key: a repeat returns the same payment."""
    return await engine.start_payment(
        user_id=user,
        invoice_id=order.invoice_id,
        wallet_id=order.wallet_id,
        idempotency_key=f"order-{order_id}",
    )


@app.post("/payments/{payment_id}/confirm")
async def confirm(payment_id: str, answer: Answer, engine: TheEngine, user: TheUser) -> Payment:
    """Confirm with the code."""
    return await engine.confirm_payment(user_id=user, payment_id=payment_id, code=answer.code)


async def main() -> None:
    """Make a purchase, in this process."""
    transport = httpx.ASGITransport(app)
    headers = {"X-User": "alice"}
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://shop", headers=headers) as client,
    ):
        engine: Engine = app.state.engine
        await engine.create_user(user_id="alice", email="alice@example.com")
        wallet = await engine.create_wallet(user_id="alice", currency="EUR")
        await engine.deposit(wallet_id=wallet.id, amount=50_00)
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        invoice = await engine.create_invoice(
            user_id="alice", amount=12_50, currency="EUR", merchant="Bookshop", expires_at=tomorrow
        )

        order = {"invoice_id": invoice.id, "wallet_id": wallet.id}
        payment = (await client.post("/orders/17/payments", json=order)).json()
        while not (inbox := await read_mock_inbox(app.state.store, "alice")):
            await asyncio.sleep(0.01)
        path = f"/payments/{payment['id']}/confirm"
        refused = await client.post(path, json={"code": "no code"})
        print(refused.status_code, refused.json()["code"])
        paid = (await client.post(path, json={"code": inbox[0].message.code})).json()
        print(paid["status"], paid["balance_before"], "→", paid["balance_after"])


if __name__ == "__main__":
    asyncio.run(main())
