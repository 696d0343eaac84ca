"""What a run takes place with: users with wallets full of money, made for it, in a currency of its own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle
from typing import Any

import aiohttp

from technopay.cli.load.errors import LoadError
from technopay.cli.load.inbox import Inbox
from technopay.cli.load.journal import Journal
from technopay.cli.load.recorder import Recorder
from technopay.cli.load.wire import Reply, Wire

CURRENCY = "FKP"
"""The Falkland pound: hardly anybody's, so that the limit of a currency in use is left alone."""

AMOUNT = 100
DEPOSIT = 100_000_000_000
POOR_DEPOSIT = AMOUNT - 1
LIMIT = 1_000_000_000_000_000
"""So high that it counts and never refuses."""

OPEN_FOR_S = 86_400.0
MAKING_AT_A_TIME = 16
SHOPS = 16

Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Shopper:
    """A user who buys."""

    user_id: str
    wallet_id: str
    deposited: int
    headers: Headers
    inbox: Inbox


@dataclass(slots=True)
class Scene:
    """Who takes part, and how to ask the server."""

    wire: Wire
    admin: Headers
    limit_before: dict[str, Any]
    """The daily limit of the currency, as it was set."""
    ahead: timedelta
    """How much further than ours the server's clock is."""
    shops: Sequence[Headers]
    shoppers: list[Shopper] = field(default_factory=list)
    poor: list[Shopper] = field(default_factory=list)
    blocked: list[Shopper] = field(default_factory=list)
    used_when_set: int = 0
    """How much of the limit was used when it was set last: that may be more than the limit."""
    _shops: Iterator[Headers] = field(init=False)

    def __post_init__(self) -> None:
        self._shops = cycle(self.shops)

    def next_shop(self) -> Headers:
        """Answer whose invoice the next one is: a server takes only so many requests of one caller."""
        return next(self._shops)

    @property
    def everybody(self) -> Sequence[Shopper]:
        """All who take part."""
        return (*self.shoppers, *self.poor, *self.blocked)

    def expires_at(self, in_s: float) -> str:
        """Answer a time so far ahead on the server's clock."""
        return (datetime.now(UTC) + self.ahead + timedelta(seconds=in_s)).isoformat()

    async def set_limit(self, amount: int | None) -> Reply:
        """Set the daily limit of the currency."""
        path = f"/v1/admin/limits/{CURRENCY}"
        reply = await self.wire.ask("limit", "PUT", path, self.admin, {"amount": amount})
        self.used_when_set = reply.body.get("used", self.used_when_set)
        return reply

    async def read_limit(self) -> dict[str, Any] | None:
        """Read the daily limit of the currency; None where it is not told."""
        reply = await self.wire.ask("limit", "GET", "/v1/admin/limits?limit=100", self.admin)
        return next((each for each in reply.body.get("data", ()) if each["currency"] == CURRENCY), None)


async def make_scene(
    session: aiohttp.ClientSession,
    recorder: Recorder,
    journal: Journal,
    admin_token: str | None,
    users: int,
    on_progress: Callable[[int], None],
) -> Scene:
    """Make the users and their wallets, and set a limit that never refuses.

    Raises:
        LoadError: the server is not there, is no demo, or does not take the token.

    """
    # What it takes to set the scene is no part of the figures.
    maker = Maker(Wire(session, Recorder(), Journal()), f"load-{secrets.token_hex(4)}")
    await maker.sign_in(admin_token)
    # Only a demo signs shops in: whatever else this may be, nothing of it was changed by then.
    shops = [await maker.sign_in_shop(number) for number in range(SHOPS)]
    limit = await maker.ask("PUT", f"/v1/admin/limits/{CURRENCY}", {"amount": LIMIT})
    scene = Scene(
        Wire(session, recorder, journal),
        maker.admin,
        limit,
        await maker.measure_clock(),
        shops,
    )
    plan = [
        *((scene.shoppers, DEPOSIT) for _ in range(users)),
        (scene.poor, POOR_DEPOSIT),
        (scene.blocked, DEPOSIT),
    ]
    waiting = enumerate(plan)
    made = 0

    async def make_some() -> None:
        nonlocal made
        for number, (group, deposit) in waiting:
            group.append(await maker.make_shopper(f"{maker.run_id}-{number}", deposit, scene.wire))
            made += 1
            on_progress(made)

    try:
        async with asyncio.TaskGroup() as making:
            for _ in range(MAKING_AT_A_TIME):
                making.create_task(make_some())
    except* LoadError as errors:
        raise errors.exceptions[0] from None
    for shopper in scene.blocked:
        await maker.ask("POST", f"/v1/admin/users/{shopper.user_id}/block", {})
    return scene


class Maker:
    """Makes what a run needs; the server has to take all of it."""

    def __init__(self, wire: Wire, run_id: str) -> None:
        self._wire = wire
        self.run_id = run_id
        self.admin: Headers = {}

    async def sign_in(self, token: str | None) -> None:
        """Sign in as an operator: with the token that is given, or with one of the demo's."""
        if token is None:
            self.admin = await self._token(self.run_id, admin=True)
        else:
            self.admin = _bearer(token)
        await self.ask("GET", "/v1/admin/limits", None)

    async def sign_in_shop(self, number: int) -> Headers:
        """Sign in as one of the shops that make invoices."""
        return await self._token(f"{self.run_id}-shop-{number}", admin=True)

    async def measure_clock(self) -> timedelta:
        """Find out how far ahead of ours the server's clock is."""
        user = await self.ask("POST", "/v1/admin/users", {"id": f"{self.run_id}-clock"})
        return datetime.fromisoformat(user["created_at"]) - datetime.now(UTC)

    async def make_shopper(self, user_id: str, deposit: int, wire: Wire) -> Shopper:
        """Make a user with a wallet that has money in it."""
        await self.ask("POST", "/v1/admin/users", {"id": user_id, "email": f"{user_id}@example.com"})
        wallet = await self.ask("POST", "/v1/admin/wallets", {"user_id": user_id, "currency": CURRENCY})
        await self.ask("POST", f"/v1/admin/wallets/{wallet['id']}/deposit", {"amount": deposit})
        headers = await self._token(user_id, admin=False)
        return Shopper(user_id, wallet["id"], deposit, headers, Inbox(wire, user_id))

    async def _token(self, user_id: str, *, admin: bool) -> Headers:
        return _bearer((await self.ask("POST", "/mock/token", {"user_id": user_id, "admin": admin}))["token"])

    async def ask(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Make one call that has to succeed.

        Raises:
            LoadError.

        """
        reply = await self._wire.ask("set-up", method, path, self.admin, body)
        if reply.status == 0:
            raise LoadError(f"the server does not answer: {reply.code.replace('_', ' ')}")
        if path == "/mock/token" and reply.status == 404:
            raise LoadError("the server has no mock inbox to read codes from: start it with --demo")
        if reply.status >= 400:
            detail = reply.body.get("detail", "no reason given")
            raise LoadError(f"{method} {path} was answered {reply.status} {reply.code}: {detail}")
        if reply.code == "not_json":
            raise LoadError(f"{method} {path} was answered without JSON: --url is not a technopay server's")
        return reply.body


def _bearer(token: str) -> Headers:
    return {"Authorization": f"Bearer {token}"}
