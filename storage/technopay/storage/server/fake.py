"""The client of a fake store in memory, for tests."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from technopay.engine.errors import InternalError, OutcomeUnknown, StoreUnfit
from technopay.storage.redis_keys import Keys
from technopay.storage.scripts.loader import Script
from technopay.storage.server.client import OTHER_LOOP, Argument, OnResult
from technopay.storage.server.connection import Command, error_for, fault

logger = logging.getLogger(__name__)

TIME = "redis.call('TIME')"
"""The clock in scripts, see shared/base.lua."""


class FakeClient:
    """A client of fakeredis, which loses no reply. Commands run one by one, each in the next loop tick.

    `now` replaces the time of the scripts.
    """

    is_cluster = False

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        """Raise StoreUnfit if fakeredis is not installed."""
        try:
            from fakeredis import FakeRedis, FakeServer
        except ImportError:
            raise StoreUnfit("RedisStore.fake() needs fakeredis: pip install 'technopay[testing]'") from None
        client = FakeRedis(server=FakeServer(), decode_responses=True, encoding_errors="replace")
        self._client: Redis = client
        self._now = now
        # The replies of a server, without the conversions of redis-py.
        for command in ("XRANGE", "HSCAN", "ZSCAN"):
            client.set_response_callback(command, lambda reply, **_: reply)
        self._loop = asyncio.get_running_loop()

    def of(self, _: Keys) -> "FakeClient":
        return self

    def send(
        self, script: Script, keys: Sequence[str], arguments: Sequence[Argument], on_result: OnResult
    ) -> None:
        text = script.text
        if self._now is not None:
            text = text.replace(TIME, "{KEYS[3], KEYS[4]}")
            at_us = round(self._now().timestamp() * 1_000_000)
            guard = keys[1] if len(keys) > 1 else ""
            keys = [keys[0], guard, str(at_us // 1_000_000), str(at_us % 1_000_000)]
        self._send(("EVAL", text, len(keys), *keys, *arguments), on_result)

    def send_command(self, command: Command, on_result: OnResult) -> None:
        self._send(command, on_result)

    async def aclose(self) -> None:
        self._client.close()

    def _send(self, command: Command, on_result: OnResult) -> None:
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(OTHER_LOOP)
        self._loop.call_soon(lambda: on_result(self._run(command)))

    def _run(self, command: Command) -> Any:
        try:
            return self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except ResponseError as error:
            return fault(error_for(str(error)), error)
        except RedisError as error:
            return fault(OutcomeUnknown(), error)
        except Exception as error:
            logger.exception("the fake store crashed")
            return fault(InternalError(), error)
