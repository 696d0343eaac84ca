"""The wire: when what is written, and who gets which reply."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any, cast

import pytest

from technopay.engine.errors import InternalError, OutcomeUnknown, StoreUnavailable
from technopay.storage.base import resolve
from technopay.storage.scripts import Script
from technopay.storage.server.connection import PendingCall, PipelinedConnection, pack

SCRIPT = Script("ask", "return ARGV[1]", "f" * 40, ("what",))


class Cable:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.protocol: asyncio.Protocol | None = None
        self.is_cut = False

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
async def wire(cable: Cable) -> PipelinedConnection:
    wire = PipelinedConnection(reply_timeout_s=0.05)
    cable.protocol = wire
    wire.connection_made(cast("asyncio.Transport", cable))
    return wire


class Heard:
    """What the caller of a script hears. `once` is set with the first reply; a second one fails the test."""

    def __init__(self) -> None:
        self.replies: list[Any] = []
        self.once = asyncio.Event()

    @property
    def reply(self) -> Any:
        (reply,) = self.replies
        return reply

    def hear(self, reply: Any) -> None:
        self.replies.append(reply)
        self.once.set()


def send(wire: PipelinedConnection, *arguments: str | int) -> Heard:
    """Send a script; answer what will be heard of it."""
    heard = Heard()
    wire.send(PendingCall(SCRIPT, pack(("EVALSHA", SCRIPT.sha, 1, "journal", *arguments)), heard.hear))
    return heard


async def ticks(count: int = 2) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_each_tick_is_one_write_and_none_waits_for_a_reply(
    wire: PipelinedConnection, cable: Cable
) -> None:
    for _ in range(3):
        for number in range(10):
            send(wire, number)
        await ticks()
    assert len(cable.writes) == 3
    assert [written.count(b"EVALSHA") for written in cable.writes] == [10, 10, 10]
    assert wire.calls == 30
    wire.abort()


async def test_replies_reach_their_calls_in_order_however_they_are_cut(wire: PipelinedConnection) -> None:
    calls = [send(wire, number) for number in range(50)]
    await ticks()
    answer = b"".join(b"$%d\r\n%d\r\n" % (len(str(number)), number) for number in range(50))
    for first in range(0, len(answer), 7):
        wire.data_received(answer[first : first + 7])
    assert [call.reply for call in calls] == [str(number) for number in range(50)]
    assert wire.calls == 0
    wire.abort()


async def test_replies_are_heard_in_the_order_of_the_calls(wire: PipelinedConnection) -> None:
    order: list[int] = []
    for number in range(5):
        wire.send(
            PendingCall(
                SCRIPT, pack(("EVALSHA", SCRIPT.sha)), partial(lambda number, _: order.append(number), number)
            )
        )
    await ticks()
    wire.data_received(b"+ok\r\n" * 5)
    assert order == [0, 1, 2, 3, 4]
    wire.abort()


async def test_what_is_sent_while_a_reply_is_heard_leaves_in_one_write_behind_it(
    wire: PipelinedConnection, cable: Cable
) -> None:
    answers: list[Heard] = []
    for _ in range(3):
        wire.send(PendingCall(SCRIPT, b"first", lambda _: answers.append(send(wire, "next"))))
    await ticks()
    wire.data_received(b"+ok\r\n" * 3)
    assert len(cable.writes) == 1
    await ticks()
    assert [written.count(b"EVALSHA") for written in cable.writes] == [0, 3]
    wire.data_received(b"+a\r\n+b\r\n+c\r\n")
    assert [call.reply for call in answers] == ["a", "b", "c"]
    wire.abort()


async def test_a_command_that_is_no_script_has_its_place_among_them(
    wire: PipelinedConnection, cable: Cable
) -> None:
    first, command = send(wire, 1), Heard()
    wire.send(PendingCall(None, pack(("XRANGE", "journal", "-", "+")), command.hear))
    last = send(wire, 2)
    await ticks()
    assert len(cable.writes) == 1
    wire.data_received(b"+one\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$4\r\ntype\r\n$1\r\nx\r\n+two\r\n")
    assert (first.reply, command.reply, last.reply) == ("one", [["1-1", ["type", "x"]]], "two")
    wire.abort()


async def test_a_caller_who_left_leaves_the_order_alone(wire: PipelinedConnection) -> None:
    left: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    wire.send(PendingCall(SCRIPT, b"first", partial(resolve, left)))
    second = send(wire, 2)
    await ticks()
    left.cancel()
    wire.data_received(b"+one\r\n+two\r\n")
    assert second.reply == "two"
    wire.abort()


async def test_a_forgotten_script_is_loaded_and_called_again_once(
    wire: PipelinedConnection, cable: Cable
) -> None:
    call = send(wire, "x")
    await ticks()
    wire.data_received(b"-NOSCRIPT No matching script.\r\n")
    await ticks()
    assert b"SCRIPT" in cable.writes[1]
    assert cable.writes[1].index(b"LOAD") < cable.writes[1].index(b"EVALSHA")
    assert call.replies == []
    wire.data_received(b"+sha\r\n+done\r\n")
    assert call.reply == "done"

    again = send(wire, "x")
    await ticks()
    wire.data_received(b"-NOSCRIPT No matching script.\r\n")
    await ticks()
    wire.data_received(b"+sha\r\n-NOSCRIPT No matching script.\r\n")
    assert type(again.reply) is StoreUnavailable
    wire.abort()


async def test_one_load_serves_all_calls_that_were_sent_before_it(
    wire: PipelinedConnection, cable: Cable
) -> None:
    calls = [send(wire, number) for number in range(20)]
    await ticks()
    wire.data_received(b"-NOSCRIPT No matching script.\r\n" * 20)
    await ticks()
    assert cable.writes[1].count(b"LOAD") == 1
    assert cable.writes[1].count(b"EVALSHA") == 20
    wire.data_received(b"+sha\r\n" + b"+done\r\n" * 20)
    assert [call.reply for call in calls] == ["done"] * 20
    wire.abort()


async def test_a_script_that_is_loaded_ahead_leaves_before_its_calls(
    wire: PipelinedConnection, cable: Cable
) -> None:
    wire.load(SCRIPT)
    call = send(wire, "x")
    await ticks()
    (written,) = cable.writes
    assert written.index(b"LOAD") < written.index(b"EVALSHA")
    wire.data_received(b"+sha\r\n+done\r\n")
    assert call.reply == "done"

    # Forgotten all the same: loaded once more.
    again = send(wire, "x")
    await ticks()
    wire.data_received(b"-NOSCRIPT No matching script.\r\n")
    await ticks()
    assert b"LOAD" in cable.writes[2]
    wire.data_received(b"+sha\r\n+done\r\n")
    assert again.reply == "done"
    wire.abort()


async def test_an_error_reply_is_for_its_call_alone(wire: PipelinedConnection) -> None:
    calls = [send(wire, number) for number in range(3)]
    await ticks()
    wire.data_received(b"+one\r\n-ERR no\r\n+three\r\n")
    assert (calls[0].reply, calls[2].reply) == ("one", "three")
    assert type(calls[1].reply) is InternalError
    assert str(calls[1].reply.__cause__) == "ERR no"
    wire.abort()


async def test_a_cut_loses_what_was_sent_and_refuses_what_was_not(
    wire: PipelinedConnection, cable: Cable
) -> None:
    sent = send(wire, "sent")
    await ticks()
    unsent = send(wire, "unsent")
    cable.abort()
    await ticks()
    assert type(sent.reply) is OutcomeUnknown
    assert type(unsent.reply) is StoreUnavailable
    assert wire.is_lost
    assert len(cable.writes) == 1


async def test_what_is_sent_on_a_cut_wire_never_happened(wire: PipelinedConnection, cable: Cable) -> None:
    cable.abort()
    call = send(wire, "late")
    assert call.replies == []
    await ticks()
    assert type(call.reply) is StoreUnavailable
    assert cable.writes == []


async def test_on_a_wire_that_is_being_cut_calls_hear_of_it_in_their_order(
    wire: PipelinedConnection, cable: Cable
) -> None:
    faults: list[Any] = []
    wire.send(PendingCall(SCRIPT, b"sent", faults.append))
    await ticks()
    cable.is_cut = True
    wire.send(PendingCall(SCRIPT, b"unsent", faults.append))
    await ticks()
    assert faults == []
    assert not wire.is_lost
    wire.connection_lost(None)
    assert [type(fault) for fault in faults] == [OutcomeUnknown, StoreUnavailable]
    assert wire.is_lost
    assert cable.writes == [b"sent"]


async def test_a_wire_whose_oldest_reply_is_overdue_is_given_up(
    wire: PipelinedConnection, cable: Cable
) -> None:
    first = send(wire, "first")
    async with asyncio.timeout(5):
        await first.once.wait()
    assert type(first.reply) is OutcomeUnknown
    assert cable.is_cut


async def test_a_wire_that_answers_in_time_is_kept(wire: PipelinedConnection, cable: Cable) -> None:
    for number in range(5):
        call = send(wire, number)
        await asyncio.sleep(0.02)
        wire.data_received(b"+ok\r\n")
        assert call.reply == "ok"
    assert not cable.is_cut
    wire.abort()


async def test_closing_waits_for_every_reply_and_no_longer(wire: PipelinedConnection, cable: Cable) -> None:
    calls = [send(wire, number) for number in range(2)]
    closing = asyncio.create_task(wire.aclose())
    await ticks()
    wire.data_received(b"+one\r\n")
    await ticks()
    assert not closing.done()
    wire.data_received(b"+two\r\n+PONG\r\n")
    async with asyncio.timeout(5):
        await closing
    assert [call.reply for call in calls] == ["one", "two"]
    assert cable.is_cut


async def test_closing_ends_when_the_wire_is_cut(wire: PipelinedConnection, cable: Cable) -> None:
    sent = send(wire, "sent")
    closing = asyncio.create_task(wire.aclose())
    await ticks()
    cable.abort()
    async with asyncio.timeout(5):
        await closing
    assert type(sent.reply) is OutcomeUnknown


@pytest.mark.parametrize("noise", [b"!what is this\r\n", b"+nobody asked\r\n"])
async def test_a_store_that_talks_nonsense_is_hung_up_on(
    wire: PipelinedConnection, cable: Cable, noise: bytes
) -> None:
    wire.data_received(noise)
    assert cable.is_cut
