"""The mock inbox of a user: one reader for all purchases that wait for a code."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from technopay.cli.load.timed_client import TimedClient

CODE_WAIT_S = 20.0
PAUSE_S_MIN = 0.02
PAUSE_S_MAX = 0.5
LENGTH_FIRST = 3
DOUBLINGS = 7
LENGTH = 200
"""The messages that an inbox keeps."""


class Inbox:
    """Reads codes while a purchase waits for one."""

    def __init__(self, timed: TimedClient, user_id: str) -> None:
        self._timed = timed
        self._path = f"/mock/inbox/{user_id}"
        self._waiting: dict[str, Waiter] = {}
        self._reading: asyncio.Task[None] | None = None

    async def read_code(self, payment_id: str) -> str | None:
        """Return the code of a payment when it has come, None if it does not come."""
        waiter = self._waiting[payment_id] = Waiter(asyncio.get_running_loop().create_future())
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(CODE_WAIT_S):
                return await waiter.code
        except TimeoutError:
            return None
        finally:
            del self._waiting[payment_id]
            if not self._waiting and self._reading is not None:
                self._reading.cancel()
                self._reading = None

    async def _read(self) -> None:
        """Read for all purchases that wait; a failure fails all of them."""
        try:
            await self._resolve_codes()
        except Exception as error:
            for waiter in self._waiting.values():
                if not waiter.code.done():
                    waiter.code.set_exception(error)
            self._reading = None

    async def _resolve_codes(self) -> None:
        """Read until cancelled: later after reads in vain, further back for a code that is not found yet."""
        pause_s = PAUSE_S_MIN
        while True:
            await asyncio.sleep(pause_s)
            missed = max((waiter.missed for waiter in self._waiting.values()), default=0)
            length = min(LENGTH, max(LENGTH_FIRST << missed, 2 * len(self._waiting)))
            reply = await self._timed.send("inbox", "GET", f"{self._path}?limit={length}", {})
            found = False
            for message in reply.body.get("data", ()):
                waiter = self._waiting.get(message["payment_id"])
                if waiter is not None and "code" in message and not waiter.code.done():
                    waiter.code.set_result(message["code"])
                    found = True
            for waiter in self._waiting.values():
                waiter.missed = min(waiter.missed + 1, DOUBLINGS)
            pause_s = PAUSE_S_MIN if found else min(1.5 * pause_s, PAUSE_S_MAX)


@dataclass(slots=True)
class Waiter:
    """A purchase that waits for its code."""

    code: asyncio.Future[str]
    missed: int = 0
    """Reads without this code: more and more messages lie on top of it."""
