"""technopay mounted in an aiohttp application that has its own engine, sign-in and routes."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
from aiohttp import web

from technopay.engine import Engine, EngineSettings, read_mock_inbox
from technopay.http.app import create_app
from technopay.http.auth.tokens import Caller
from technopay.http.problems import Unauthenticated
from technopay.storage import RedisStore

SESSIONS = web.AppKey("sessions", dict[str, str])


class SessionSignIn:
    """An authenticator: a user with a session of the shop can pay."""

    def __init__(self, sessions: dict[str, str]) -> None:
        self._sessions = sessions

    async def authenticate(self, request: web.Request) -> Caller:
        """Return the user whose session the cookie names."""
        user_id = self._sessions.get(request.cookies.get("session", ""))
        if user_id is None:
            raise Unauthenticated("Sign in at the shop.")
        return Caller(user_id, frozenset({"payments"}))


async def sign_in(request: web.Request) -> web.Response:
    """Begin a session; a real shop asks for a password."""
    session = secrets.token_urlsafe()
    request.app[SESSIONS][session] = str((await request.post())["user"])
    response = web.json_response({"signed_in": True})
    # With SameSite a page of somebody else cannot pay in the user's name.
    response.set_cookie("session", session, httponly=True, samesite="Strict")
    return response


def make_shop(store: RedisStore, engine: Engine) -> web.Application:
    """Make the shop, with technopay below /pay. Neither store nor engine is started yet."""

    async def run_engine(_: web.Application) -> AsyncIterator[None]:
        # First the store, then the engine; closed in reverse, after the last response.
        async with store, engine:
            yield

    shop = web.Application()
    shop[SESSIONS] = {}
    shop.cleanup_ctx.append(run_engine)
    shop.router.add_post("/sign-in", sign_in)
    shop.add_subapp("/pay", create_app(engine, SessionSignIn(shop[SESSIONS])))
    return shop


async def buy(url: str, store: RedisStore, engine: Engine) -> None:
    """Buy something, as a browser would."""
    await engine.create_user(user_id="alice", email="alice@example.com")
    wallet = await engine.create_wallet(user_id="alice", currency="EUR")
    await engine.deposit(wallet_id=wallet.id, amount=50_00)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    invoice = await engine.create_invoice(
        user_id="alice", amount=12_50, currency="EUR", merchant="Bookshop", expires_at=tomorrow
    )

    jar = aiohttp.CookieJar(unsafe=True)  # cookies from 127.0.0.1
    async with aiohttp.ClientSession(url, cookie_jar=jar) as browser:
        async with browser.get("/pay/v1/wallets") as answer:
            print(answer.status, (await answer.json())["detail"])
        await browser.post("/sign-in", data={"user": "alice"})
        order = {"invoice_id": invoice.id, "wallet_id": wallet.id}
        async with browser.post("/pay/v1/payments", json=order) as answer:
            location = answer.headers["Location"]  # /pay/v1/payments/pay_…
        while not (inbox := await read_mock_inbox(store, "alice")):
            await asyncio.sleep(0.01)
        async with browser.post(f"{location}/confirm", json={"code": inbox[0].message.code}) as answer:
            payment = await answer.json()
        print(payment["status"], payment["balance_before"], "→", payment["balance_after"])


async def main() -> None:
    """Run the shop on a free port and buy something in it."""
    store = RedisStore.fake()
    engine = Engine(store, EngineSettings(secret=secrets.token_hex()))
    runner = web.AppRunner(make_shop(store, engine))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        await buy(f"http://{host}:{port}", store, engine)
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
