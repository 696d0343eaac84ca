"""The wire: when what is written, and who gets which reply."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import pytest

from technopay.engine.errors import InternalError, StoreUnavailable
from technopay.storage.scripts import Script
from technopay.storage.wire import LostReplyError, Wire

SCRIPT = Script("ask", "return ARGV[1]", "f" * 40, ("what",))


class Cable:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.protocol: asyncio.Protocol | None = None
        self.is_cut = False

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol

    def is_closing(self) -> bool:
        return self.is_cut

    def writelines(self, parts: Iterable[bytes]) -> None:
        self.writes.append(b"".join(parts))

    def abort(self) -> None:
        self.is_cut = True
        assert self.protocol is not None
        self.protocol.connection_lost(None)


@pytest.fixture
def cable() -> Cable:
    return Cable()


@pytest.fixture
async def wire(cable: Cable) -> Wire:
    wire = Wire("journal", reply_timeout_s=0.05)
    wire.take_over(cast("asyncio.Transport", cable))
    return wire


async def ticks(count: int = 2) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def error_of(reply: asyncio.Future[Any]) -> type[BaseException | None]:
    return type(reply.exception())


async def test_each_tick_is_one_write_and_none_waits_for_a_reply(wire: Wire, cable: Cable) -> None:
    for _ in range(3):
        for number in range(10):
            wire.send(SCRIPT, [number])
        await ticks()
    assert len(cable.writes) == 3
    assert [written.count(b"EVALSHA") for written in cable.writes] == [10, 10, 10]
    assert wire.calls == 30
    wire.abort()


async def test_replies_reach_their_calls_in_order_however_they_are_cut(wire: Wire) -> None:
    replies = [wire.send(SCRIPT, [number]) for number in range(50)]
    await ticks()
    answer = b"".join(b"$%d\r\n%d\r\n" % (len(str(number)), number) for number in range(50))
    for first in range(0, len(answer), 7):
        wire.data_received(answer[first : first + 7])
    assert [reply.result() for reply in replies] == [str(number) for number in range(50)]
    assert wire.calls == 0
    wire.abort()


async def test_a_caller_who_left_leaves_the_order_alone(wire: Wire) -> None:
    first, second = wire.send(SCRIPT, [1]), wire.send(SCRIPT, [2])
    await ticks()
    first.cancel()
    wire.data_received(b"+one\r\n+two\r\n")
    assert second.result() == "two"
    wire.abort()


async def test_a_forgotten_script_is_loaded_and_called_again_once(wire: Wire, cable: Cable) -> None:
    reply = wire.send(SCRIPT, ["x"])
    await ticks()
    wire.data_received(b"-NOSCRIPT No matching script.\r\n")
    await ticks()
    assert b"SCRIPT" in cable.writes[1]
    assert cable.writes[1].index(b"LOAD") < cable.writes[1].index(b"EVALSHA")
    wire.data_received(b"+sha\r\n+done\r\n")
    assert reply.result() == "done"

    again = wire.send(SCRIPT, ["x"])
    await ticks()
    wire.data_received(b"-NOSCRIPT No matching script.\r\n")
    await ticks()
    wire.data_received(b"+sha\r\n-NOSCRIPT No matching script.\r\n")
    assert error_of(again) is StoreUnavailable
    wire.abort()


async def test_one_load_serves_all_calls_that_were_sent_before_it(wire: Wire, cable: Cable) -> None:
    replies = [wire.send(SCRIPT, [number]) for number in range(20)]
    await ticks()
    wire.data_received(b"-NOSCRIPT No matching script.\r\n" * 20)
    await ticks()
    assert cable.writes[1].count(b"LOAD") == 1
    assert cable.writes[1].count(b"EVALSHA") == 20
    wire.data_received(b"+sha\r\n" + b"+done\r\n" * 20)
    assert [reply.result() for reply in replies] == ["done"] * 20
    wire.abort()


async def test_an_error_reply_is_for_its_call_alone(wire: Wire) -> None:
    replies = [wire.send(SCRIPT, [number]) for number in range(3)]
    await ticks()
    wire.data_received(b"+one\r\n-ERR no\r\n+three\r\n")
    assert (replies[0].result(), replies[2].result()) == ("one", "three")
    assert error_of(replies[1]) is InternalError
    wire.abort()


async def test_a_cut_loses_what_was_sent_and_refuses_what_was_not(wire: Wire, cable: Cable) -> None:
    sent = wire.send(SCRIPT, ["sent"])
    await ticks()
    unsent = wire.send(SCRIPT, ["unsent"])
    cable.abort()
    await ticks()
    assert error_of(sent) is LostReplyError
    assert error_of(unsent) is StoreUnavailable
    assert not wire.is_open
    assert len(cable.writes) == 1


async def test_what_is_sent_on_a_cut_wire_never_happened(wire: Wire, cable: Cable) -> None:
    cable.abort()
    reply = wire.send(SCRIPT, ["late"])
    await ticks()
    assert error_of(reply) is StoreUnavailable
    assert cable.writes == []


async def test_a_wire_whose_oldest_reply_is_overdue_is_given_up(wire: Wire, cable: Cable) -> None:
    first = wire.send(SCRIPT, ["first"])
    async with asyncio.timeout(5):
        with pytest.raises(LostReplyError):
            await first
    assert cable.is_cut


async def test_a_wire_that_answers_in_time_is_kept(wire: Wire, cable: Cable) -> None:
    for number in range(5):
        reply = wire.send(SCRIPT, [number])
        await asyncio.sleep(0.02)
        wire.data_received(b"+ok\r\n")
        assert reply.result() == "ok"
    assert not cable.is_cut
    wire.abort()


@pytest.mark.parametrize("noise", [b"!what is this\r\n", b"+nobody asked\r\n"])
async def test_a_store_that_talks_nonsense_is_hung_up_on(wire: Wire, cable: Cable, noise: bytes) -> None:
    wire.data_received(noise)
    assert cable.is_cut
