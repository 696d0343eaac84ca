"""The resolver of webhooks: a name that hangs holds one thread, and none of the program's."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from technopay.http.webhooks.sender import SystemResolver


async def test_a_name_that_hangs_is_looked_up_once_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released, asked = threading.Event(), list[str]()
    find = socket.getaddrinfo

    def find_slowly(host: str, *more: Any) -> Any:
        asked.append(host)
        if host == "dead.example":
            released.wait(10)
            raise socket.gaierror("no name server replied")
        return find("127.0.0.1", *more)

    monkeypatch.setattr(socket, "getaddrinfo", find_slowly)
    resolver = SystemResolver()
    waiting = [asyncio.create_task(resolver.resolve("dead.example", 443)) for _ in range(50)]
    await asyncio.sleep(0)

    [found] = await asyncio.wait_for(resolver.resolve("alive.example", 443), 5)

    assert (found["host"], found["port"], found["hostname"]) == ("127.0.0.1", 443, "alive.example")
    assert sorted(asked) == ["alive.example", "dead.example"]
    for task in waiting[1:]:
        task.cancel()
    released.set()
    with pytest.raises(socket.gaierror):
        await waiting[0]
    await resolver.close()
