"""A user's mock inbox: one reader for all purchases of the user that wait for a code."""

from __future__ import annotations

import asyncio

from technopay.cli.load.wire import Wire

CODE_WAIT_S = 20.0
PAUSE_S_MIN = 0.02
PAUSE_S_MAX = 0.5
LENGTH_FIRST = 3
LENGTH = 200
"""Messages that an inbox keeps."""


class Inbox:
    """Reads codes, for as long as somebody waits for one."""

    def __init__(self, wire: Wire, user_id: str) -> None:
        self._wire = wire
        self._path = f"/mock/inbox/{user_id}"
        self._waiting: dict[str, asyncio.Future[str]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def read_code(self, payment_id: str) -> str | None:
        """Answer the code of a payment when it has come; None if it does not."""
        code: asyncio.Future[str]
        code = self._waiting[payment_id] = asyncio.get_running_loop().create_future()
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(CODE_WAIT_S):
                return await code
        except TimeoutError:
            return None
        finally:
            del self._waiting[payment_id]
            if not self._waiting and self._reading is not None:
                self._reading.cancel()
                self._reading = None

    async def _read(self) -> None:
        """Read for those who wait; if that goes wrong, it goes wrong for all of them."""
        try:
            await self._hand_out_codes()
        except Exception as error:
            for code in self._waiting.values():
                if not code.done():
                    code.set_exception(error)
            self._reading = None

    async def _hand_out_codes(self) -> None:
        """Read until nobody waits any more; after reads in vain, later and further back."""
        pause_s, length = PAUSE_S_MIN, LENGTH_FIRST
        while True:
            await asyncio.sleep(pause_s)
            length = min(LENGTH, max(length, 2 * len(self._waiting)))
            reply = await self._wire.ask("inbox", "GET", f"{self._path}?limit={length}", {})
            found = 0
            for message in reply.body.get("data", ()):
                code = self._waiting.get(message["payment_id"])
                if code is not None and "code" in message and not code.done():
                    code.set_result(message["code"])
                    found += 1
            if found:
                pause_s, length = PAUSE_S_MIN, LENGTH_FIRST
            else:
                pause_s, length = min(1.5 * pause_s, PAUSE_S_MAX), min(2 * length, LENGTH)
