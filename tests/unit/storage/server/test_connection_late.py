"""A reply that comes after its call was given up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from technopay.engine.errors import OutcomeUnknown, StoreUnavailable
from technopay.storage.server.connection import PendingCall, PipelinedConnection


class SlowServer:
    """A transport whose other end answers after the call was given up."""

    def __init__(self, wire: PipelinedConnection) -> None:
        self.wire = wire
        self.is_cut = False

    def is_closing(self) -> bool:
        return self.is_cut

    def writelines(self, parts: Iterable[bytes]) -> None:
        assert not self.is_cut

    def abort(self) -> None:
        self.is_cut = True
        self.wire.connection_lost(None)

    def say(self, reply: bytes) -> None:
        """Answer, if anybody still listens."""
        if not self.is_cut:
            self.wire.data_received(reply)


async def test_a_reply_that_comes_after_its_time_reaches_nobody() -> None:
    wire = PipelinedConnection(reply_timeout_s=0.05)
    server = SlowServer(wire)
    wire.connection_made(cast("asyncio.Transport", server))
    given_up = asyncio.Event()
    first: list[Any] = []
    second: list[Any] = []

    def give_up(reply: Any) -> None:
        first.append(reply)
        given_up.set()

    wire.send(PendingCall(None, b"first", give_up))
    async with asyncio.timeout(5):
        await given_up.wait()
    wire.send(PendingCall(None, b"second", second.append))
    await asyncio.sleep(0)
    server.say(b"+the answer to the first\r\n")
    wire.abort()
    await asyncio.sleep(0)

    assert [type(reply) for reply in first] == [OutcomeUnknown]
    assert [type(reply) for reply in second] == [StoreUnavailable]
