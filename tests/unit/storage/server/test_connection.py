"""The pipelined connection: when calls are written, which call gets which reply, what error replies mean."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any, cast

import pytest

from technopay.engine.errors import InternalError, OutcomeUnknown, StoreUnavailable
from technopay.storage.scripts.loader import Library, Script
from technopay.storage.server.connection import (
    CALLS_PER_WRITE_MAX,
    LOADS_MAX,
    PendingCall,
    PipelinedConnection,
    error_for,
    pack,
)

LIBRARY = Library("scripts", "#!lua name=scripts")
SCRIPT = Script("ask", "", "ask_1", LIBRARY, ("what",), "", takes_many=False)


class FakeTransport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.protocol: asyncio.Protocol | None = None
        self.is_cut = False

    def is_closing(self) -> bool:
        return self.is_cut

    def writelines(self, parts: Iterable[bytes]) -> None:
        self.writes.append(b"".join(parts))

    def receive(self, data: bytes) -> None:
        """Pass data on, unless the connection is cut."""
        assert self.protocol is not None
        if not self.is_cut:
            self.protocol.data_received(data)

    def abort(self) -> None:
        self.is_cut = True
        assert self.protocol is not None
        self.protocol.connection_lost(None)


@pytest.fixture
def transport() -> FakeTransport:
    return FakeTransport()


@pytest.fixture
async def connection(transport: FakeTransport) -> PipelinedConnection:
    connection = PipelinedConnection(reply_timeout_s=0.05)
    transport.protocol = connection
    connection.connection_made(cast("asyncio.Transport", transport))
    return connection


class Result:
    """The result of a call. `once` is set with the first reply; a second one fails the test."""

    def __init__(self) -> None:
        self.replies: list[Any] = []
        self.once = asyncio.Event()

    @property
    def reply(self) -> Any:
        (reply,) = self.replies
        return reply

    def resolve(self, reply: Any) -> None:
        self.replies.append(reply)
        self.once.set()


def send(connection: PipelinedConnection, *arguments: str | int) -> Result:
    """Send a script and return its result, which comes later."""
    result = Result()
    command = pack(("FCALL", SCRIPT.function, 1, "journal", *arguments))
    connection.send(PendingCall(SCRIPT, command, result.resolve))
    return result


async def ticks(count: int = 2) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_each_tick_is_one_write_and_none_waits_for_a_reply(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    for _ in range(3):
        for number in range(10):
            send(connection, number)
        await ticks()
    assert len(transport.writes) == 3
    assert [written.count(b"FCALL") for written in transport.writes] == [10, 10, 10]
    assert connection.calls == 30
    connection.abort()


async def test_many_calls_of_one_tick_leave_in_parts_so_that_the_server_can_begin(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    for number in range(80):
        send(connection, number)
    await ticks()
    written = [each.count(b"FCALL") for each in transport.writes]
    assert written == [CALLS_PER_WRITE_MAX, CALLS_PER_WRITE_MAX, 80 - 2 * CALLS_PER_WRITE_MAX]
    connection.abort()


async def test_replies_reach_their_calls_in_order_however_they_are_cut(connection: PipelinedConnection) -> None:
    replies: list[tuple[int, str]] = []
    for number in range(50):
        on_reply = partial(lambda number, reply: replies.append((number, reply)), number)
        connection.send(PendingCall(SCRIPT, b"call", on_reply))
    await ticks()
    sent = b"".join(b"$%d\r\n%d\r\n" % (len(str(number)), number) for number in range(50))
    for first in range(0, len(sent), 7):
        connection.data_received(sent[first : first + 7])
    assert replies == [(number, str(number)) for number in range(50)]
    assert connection.calls == 0
    connection.abort()


async def test_what_is_sent_by_the_handler_of_a_reply_leaves_in_one_write_behind_it(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    results: list[Result] = []
    for _ in range(3):
        connection.send(PendingCall(SCRIPT, b"first", lambda _: results.append(send(connection, "next"))))
    await ticks()
    connection.data_received(b"+ok\r\n" * 3)
    assert len(transport.writes) == 1
    await ticks()
    assert [written.count(b"FCALL") for written in transport.writes] == [0, 3]
    connection.data_received(b"+a\r\n+b\r\n+c\r\n")
    assert [call.reply for call in results] == ["a", "b", "c"]
    connection.abort()


async def test_a_command_that_is_no_script_has_its_place_among_them(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    first, command = send(connection, 1), Result()
    connection.send(PendingCall(None, pack(("XRANGE", "journal", "-", "+")), command.resolve))
    last = send(connection, 2)
    await ticks()
    assert len(transport.writes) == 1
    connection.data_received(b"+one\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$4\r\ntype\r\n$1\r\nx\r\n+two\r\n")
    assert (first.reply, command.reply, last.reply) == ("one", [["1-1", ["type", "x"]]], "two")
    connection.abort()


async def test_a_caller_who_left_leaves_the_order_alone(connection: PipelinedConnection) -> None:
    left: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    connection.send(PendingCall(SCRIPT, b"first", left.set_result))
    second = send(connection, 2)
    await ticks()
    left.cancel()
    connection.data_received(b"+one\r\n+two\r\n")
    assert second.reply == "two"
    connection.abort()


async def test_a_forgotten_script_is_loaded_and_called_again_a_bounded_number_of_times(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    call = send(connection, "x")
    await ticks()
    connection.data_received(b"-ERR Function not found\r\n")
    await ticks()
    assert b"FUNCTION" in transport.writes[1]
    assert transport.writes[1].index(b"LOAD") < transport.writes[1].index(b"FCALL")
    assert call.replies == []
    connection.data_received(b"+scripts\r\n+done\r\n")
    assert call.reply == "done"

    again = send(connection, "x")
    await ticks()
    connection.data_received(b"-ERR Function not found\r\n")
    for _ in range(LOADS_MAX):
        assert again.replies == []
        await ticks()
        connection.data_received(b"+scripts\r\n-ERR Function not found\r\n")
    assert type(again.reply) is StoreUnavailable
    connection.abort()


async def test_one_load_serves_all_calls_that_were_sent_before_it(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    calls = [send(connection, number) for number in range(20)]
    await ticks()
    connection.data_received(b"-ERR Function not found\r\n" * 20)
    await ticks()
    assert transport.writes[1].count(b"LOAD") == 1
    assert transport.writes[1].count(b"FCALL") == 20
    connection.data_received(b"+scripts\r\n" + b"+done\r\n" * 20)
    assert [call.reply for call in calls] == ["done"] * 20
    connection.abort()


async def test_a_script_that_is_loaded_ahead_leaves_before_its_calls(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    connection.load(LIBRARY)
    call = send(connection, "x")
    await ticks()
    (written,) = transport.writes
    assert written.index(b"LOAD") < written.index(b"FCALL")
    connection.data_received(b"+scripts\r\n+done\r\n")
    assert call.reply == "done"

    # Forgotten all the same: loaded once more.
    again = send(connection, "x")
    await ticks()
    connection.data_received(b"-ERR Function not found\r\n")
    await ticks()
    assert b"LOAD" in transport.writes[2]
    connection.data_received(b"+scripts\r\n+done\r\n")
    assert again.reply == "done"
    connection.abort()


async def test_an_error_reply_is_for_its_call_alone(connection: PipelinedConnection) -> None:
    calls = [send(connection, number) for number in range(3)]
    await ticks()
    connection.data_received(b"+one\r\n-ERR no\r\n+three\r\n")
    assert (calls[0].reply, calls[2].reply) == ("one", "three")
    assert type(calls[1].reply) is InternalError
    assert str(calls[1].reply.__cause__) == "ERR no"
    connection.abort()


async def test_a_cut_loses_what_was_sent_and_refuses_what_was_not(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    sent = send(connection, "sent")
    await ticks()
    unsent = send(connection, "unsent")
    transport.abort()
    await ticks()
    assert type(sent.reply) is OutcomeUnknown
    assert type(unsent.reply) is StoreUnavailable
    assert connection.is_lost
    assert len(transport.writes) == 1


async def test_what_is_sent_on_a_lost_connection_never_happened(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    transport.abort()
    call = send(connection, "late")
    assert call.replies == []
    await ticks()
    assert type(call.reply) is StoreUnavailable
    assert transport.writes == []


async def test_on_a_connection_that_is_being_cut_calls_fail_in_their_order(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    faults: list[Any] = []
    connection.send(PendingCall(SCRIPT, b"sent", faults.append))
    await ticks()
    transport.is_cut = True
    connection.send(PendingCall(SCRIPT, b"unsent", faults.append))
    await ticks()
    assert faults == []
    assert not connection.is_lost
    connection.connection_lost(None)
    assert [type(fault) for fault in faults] == [OutcomeUnknown, StoreUnavailable]
    assert connection.is_lost
    assert transport.writes == [b"sent"]


async def test_a_connection_that_is_overdue_is_aborted_and_a_late_reply_reaches_nobody(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    first = send(connection, "first")
    async with asyncio.timeout(5):
        await first.once.wait()
    assert type(first.reply) is OutcomeUnknown

    second = send(connection, "second")
    await ticks()
    transport.receive(b"+the reply to the first\r\n")
    assert type(second.reply) is StoreUnavailable
    assert transport.is_cut


async def test_a_connection_that_answers_in_time_is_kept(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    for number in range(5):
        call = send(connection, number)
        await asyncio.sleep(0.02)
        connection.data_received(b"+ok\r\n")
        assert call.reply == "ok"
    assert not transport.is_cut
    connection.abort()


async def test_closing_waits_for_every_reply_and_no_longer(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    calls = [send(connection, number) for number in range(2)]
    closing = asyncio.create_task(connection.aclose())
    await ticks()
    connection.data_received(b"+one\r\n")
    await ticks()
    assert not closing.done()
    connection.data_received(b"+two\r\n+PONG\r\n")
    async with asyncio.timeout(5):
        await closing
    assert [call.reply for call in calls] == ["one", "two"]
    assert transport.is_cut


async def test_closing_ends_when_the_connection_is_cut(
    connection: PipelinedConnection, transport: FakeTransport
) -> None:
    sent = send(connection, "sent")
    closing = asyncio.create_task(connection.aclose())
    await ticks()
    transport.abort()
    async with asyncio.timeout(5):
        await closing
    assert type(sent.reply) is OutcomeUnknown


@pytest.mark.parametrize("noise", [b"!what is this\r\n", b"+nobody asked\r\n"])
async def test_a_store_that_breaks_the_protocol_is_disconnected(
    connection: PipelinedConnection, transport: FakeTransport, noise: bytes
) -> None:
    connection.data_received(noise)
    assert transport.is_cut


@pytest.mark.parametrize(
    "error",
    [
        "LOADING Redis is loading the dataset in memory",
        "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
        "READONLY You can't write against a read only replica. script: abc, on @user_function:1.",
        "OOM command not allowed when used memory > 'maxmemory'. script: abc, on @user_function:1.",
        "MISCONF Errors writing to the AOF file: No space left on device",
        "CLUSTERDOWN The cluster is down",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "NOREPLICAS Not enough good replicas to write.",
        "ERR Function not found",
        "NOAUTH Authentication required.",
        "WRONGPASS invalid username-password pair or user is disabled.",
        "NOPERM User shy has no permissions to run the 'fcall' command",
        "DENIED Redis is running in protected mode",
        "MOVED 3999 127.0.0.1:6381",
        "ASK 3999 127.0.0.1:6381",
        "CROSSSLOT Keys in request don't hash to the same slot",
        "ERR max number of clients reached",
        "ERR Script killed by user with FUNCTION KILL. script: on @user_function:1.",
        "ERR Script killed by user with SCRIPT KILL... script: abc, on @user_function:1.",
    ],
)
def test_an_error_that_says_that_nothing_ran_is_unavailable(error: str) -> None:
    assert type(error_for(error)) is StoreUnavailable


@pytest.mark.parametrize(
    "error",
    [
        "ERR user_script:3: Script attempted to access nonexistent global variable 'x'",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        "ERR ACL failure in script: User shy has no permissions to run 'set' script: on @user_function:1.",
        "NOPERM ACL failure in script: no permissions to run the 'set' command script: on @user_function:1.",
        "UNKILLABLE Sorry the script already executed write commands against the dataset.",
    ],
)
def test_any_other_error_is_a_defect_of_ours_and_is_logged(
    error: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert type(error_for(error)) is InternalError
    assert error.split(" ", 1)[1] in caplog.text
