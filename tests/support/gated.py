"""An engine on a server that a test spoils: whether its gate is closed, and that nothing moves meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.audit import assert_books_balance
from support.own_server import OwnServer
from support.scene import dump
from support.scenes import Scene, make_scene, quick_settings, wait_for

from technopay.engine import Engine, Payment, StoreUnavailable, StoreUnfit
from technopay.storage import RedisStore
from technopay.storage.server.client import ServerClient
from technopay.storage.server.connection import PipelinedConnection

CLOSED_WITHIN_S = 3.0


class GatedWorld:
    """A user with a wallet, an engine, a store and the server under it."""

    def __init__(self, server: OwnServer, store: RedisStore, engine: Engine, scene: Scene) -> None:
        self.server = server
        self.store = store
        self.engine = engine
        self.scene = scene

    async def is_ready(self) -> bool:
        try:
            await self.engine.check()
        except StoreUnavailable:
            return False
        return True

    async def is_cut(self) -> bool:
        """Whether the store has noticed that its connection is gone."""
        connection = self._connection()
        return connection is None or connection.is_lost

    async def bring_back(self, kept: Path | None) -> None:
        """Kill the server, start it on these data, and wait until the store has noticed it."""
        connection = self._connection()
        assert connection is not None
        self.server.bring_back(kept)

        async def is_lost() -> bool:
            return connection.is_lost

        await wait_for(is_lost)

    def _connection(self) -> PipelinedConnection | None:
        client = self.store._partition.client
        assert isinstance(client, ServerClient)
        return client._connection

    async def refused(self) -> str:
        """Answer why calls are refused because of what the store is; '' when they are not."""
        try:
            await self.engine.check()
        except StoreUnavailable as refusal:
            return str(refusal) if isinstance(refusal.__cause__, StoreUnfit) else ""
        return ""

    async def wait_until_closed(self, words: str, *, within_s: float = CLOSED_WITHIN_S) -> None:
        """Wait until every call is refused for this reason."""

        async def look() -> bool:
            return words in await self.refused()

        await wait_for(look, within_s=within_s)

    async def assert_nothing_moves(self, payment: Payment) -> None:
        """Try to pay and to put money in: all is refused and nothing is written, not even behind the scenes."""
        before = await dump(self.store)
        for attempt in (
            self.scene.confirm(payment, await self.scene.right_code(payment)),
            self.scene.engine.deposit(wallet_id=self.scene.wallet_id, amount=1),
            self.scene.invoice(),
            self.engine.set_limit(currency="EUR", amount=1),
            self.engine.find_wallet(wallet_id=self.scene.wallet_id),
        ):
            with pytest.raises(StoreUnavailable, match="must not be used now"):
                await attempt
        assert await dump(self.store) == before

    async def assert_goes_on(self, payment: Payment | None = None) -> None:
        """Wait until the gate is open; then a payment succeeds, once, and the books balance."""
        await wait_for(self.is_ready)
        balance = await self.scene.balance()
        paid = await (self.scene.confirm(payment) if payment else self.scene.pay())
        assert paid.status == "succeeded"
        assert await self.scene.balance() == balance - paid.amount
        await self.assert_sound()

    async def assert_sound(self) -> None:
        await assert_books_balance(self.server.url, "tp")


@asynccontextmanager
async def gated_world(server: OwnServer, **settings: Any) -> AsyncIterator[GatedWorld]:
    """Run an engine on a server, with a user who has money."""
    async with (
        RedisStore.connect(server.url, initialise=True, reply_timeout_s=0.5) as store,
        Engine(store, quick_settings(**settings)) as engine,
    ):
        yield GatedWorld(server, store, engine, await make_scene(engine, store))
