"""The pipelined connection: the times of writes, the matching of replies to calls, the meaning of errors."""

import asyncio
from collections.abc import AsyncIterator, Iterable
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


class Wire:
    """A connection whose transport keeps the writes, and receives the data of the test."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_cut = False
        self.connection = PipelinedConnection(reply_timeout_s=0.05)
        self.connection.connection_made(cast("asyncio.Transport", self))

    def is_closing(self) -> bool:
        return self.is_cut

    def writelines(self, parts: Iterable[bytes]) -> None:
        self.writes.append(b"".join(parts))

    def abort(self) -> None:
        self.is_cut = True
        self.connection.connection_lost(None)

    def receive(self, data: bytes) -> None:
        """Pass data on, unless the connection is cut."""
        if not self.is_cut:
            self.connection.data_received(data)

    def counts(self, word: bytes) -> list[int]:
        """Return the number of occurrences of a word in each write."""
        return [written.count(word) for written in self.writes]

    def send(self, *arguments: str | int) -> Result:
        """Send a script and return its result, which comes later."""
        result = Result()
        command = pack(("FCALL", SCRIPT.function, 1, "journal", *arguments))
        self.connection.send(PendingCall(SCRIPT, command, result.resolve))
        return result

    async def sent(self, *arguments: str | int) -> Result:
        """Send a script and wait until it is written."""
        result = self.send(*arguments)
        await ticks()
        return result


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    yield wire
    wire.abort()


async def ticks(count: int = 2) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_each_tick_is_one_write_and_none_waits_for_a_reply(wire: Wire) -> None:
    for _ in range(3):
        for number in range(10):
            wire.send(number)
        await ticks()
    assert wire.counts(b"FCALL") == [10, 10, 10]
    assert wire.connection.calls == 30


async def test_many_calls_of_one_tick_leave_in_parts_so_that_the_server_can_begin(wire: Wire) -> None:
    for number in range(80):
        wire.send(number)
    await ticks()
    assert wire.counts(b"FCALL") == [CALLS_PER_WRITE_MAX, CALLS_PER_WRITE_MAX, 80 - 2 * CALLS_PER_WRITE_MAX]


async def test_replies_reach_their_calls_in_order_however_they_are_cut(wire: Wire) -> None:
    replies: list[tuple[int, str]] = []
    for number in range(50):
        on_reply = partial(lambda number, reply: replies.append((number, reply)), number)
        wire.connection.send(PendingCall(SCRIPT, b"call", on_reply))
    await ticks()
    sent = b"".join(b"$%d\r\n%d\r\n" % (len(str(number)), number) for number in range(50))
    for first in range(0, len(sent), 7):
        wire.receive(sent[first : first + 7])
    assert replies == [(number, str(number)) for number in range(50)]
    assert wire.connection.calls == 0


async def test_calls_that_the_handler_of_a_reply_sends_leave_in_one_write_behind_it(wire: Wire) -> None:
    results: list[Result] = []
    for _ in range(3):
        wire.connection.send(PendingCall(SCRIPT, b"first", lambda _: results.append(wire.send("next"))))
    await ticks()
    wire.receive(b"+ok\r\n" * 3)
    assert len(wire.writes) == 1
    await ticks()
    assert wire.counts(b"FCALL") == [0, 3]
    wire.receive(b"+a\r\n+b\r\n+c\r\n")
    assert [call.reply for call in results] == ["a", "b", "c"]


async def test_a_command_that_is_no_script_has_its_place_among_them(wire: Wire) -> None:
    first, command = wire.send(1), Result()
    wire.connection.send(PendingCall(None, pack(("XRANGE", "journal", "-", "+")), command.resolve))
    last = await wire.sent(2)
    assert len(wire.writes) == 1
    wire.receive(b"+one\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$4\r\ntype\r\n$1\r\nx\r\n+two\r\n")
    assert (first.reply, command.reply, last.reply) == ("one", [["1-1", ["type", "x"]]], "two")


async def test_a_caller_that_left_leaves_the_order_alone(wire: Wire) -> None:
    left: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    wire.connection.send(PendingCall(SCRIPT, b"first", left.set_result))
    second = await wire.sent(2)
    left.cancel()
    wire.receive(b"+one\r\n+two\r\n")
    assert second.reply == "two"


async def test_a_forgotten_script_is_loaded_and_called_again_a_bounded_number_of_times(wire: Wire) -> None:
    call = await wire.sent("x")
    wire.receive(b"-ERR Function not found\r\n")
    await ticks()
    assert b"FUNCTION" in wire.writes[1]
    assert wire.writes[1].index(b"LOAD") < wire.writes[1].index(b"FCALL")
    assert call.replies == []
    wire.receive(b"+scripts\r\n+done\r\n")
    assert call.reply == "done"

    again = await wire.sent("x")
    wire.receive(b"-ERR Function not found\r\n")
    for _ in range(LOADS_MAX):
        assert again.replies == []
        await ticks()
        wire.receive(b"+scripts\r\n-ERR Function not found\r\n")
    assert type(again.reply) is StoreUnavailable


async def test_one_load_serves_all_calls_that_were_sent_before_it(wire: Wire) -> None:
    calls = [wire.send(number) for number in range(20)]
    await ticks()
    wire.receive(b"-ERR Function not found\r\n" * 20)
    await ticks()
    assert (wire.counts(b"LOAD"), wire.counts(b"FCALL")) == ([0, 1], [20, 20])
    wire.receive(b"+scripts\r\n" + b"+done\r\n" * 20)
    assert [call.reply for call in calls] == ["done"] * 20


async def test_a_script_that_is_loaded_ahead_leaves_before_its_calls(wire: Wire) -> None:
    wire.connection.load(LIBRARY)
    call = await wire.sent("x")
    (written,) = wire.writes
    assert written.index(b"LOAD") < written.index(b"FCALL")
    wire.receive(b"+scripts\r\n+done\r\n")
    assert call.reply == "done"

    # Forgotten all the same: loaded once more.
    again = await wire.sent("x")
    wire.receive(b"-ERR Function not found\r\n")
    await ticks()
    assert b"LOAD" in wire.writes[2]
    wire.receive(b"+scripts\r\n+done\r\n")
    assert again.reply == "done"


async def test_an_error_reply_is_for_its_call_alone(wire: Wire) -> None:
    calls = [wire.send(number) for number in range(3)]
    await ticks()
    wire.receive(b"+one\r\n-ERR no\r\n+three\r\n")
    assert (calls[0].reply, calls[2].reply) == ("one", "three")
    assert type(calls[1].reply) is InternalError
    assert str(calls[1].reply.__cause__) == "ERR no"


async def test_a_cut_loses_what_was_sent_and_refuses_what_was_not(wire: Wire) -> None:
    sent = await wire.sent("sent")
    unsent = wire.send("unsent")
    wire.abort()
    late = wire.send("late")
    assert late.replies == []
    await ticks()
    assert [type(call.reply) for call in (sent, unsent, late)] == [
        OutcomeUnknown, StoreUnavailable, StoreUnavailable,
    ]  # fmt: skip
    assert wire.connection.is_lost
    assert len(wire.writes) == 1


async def test_on_a_connection_that_is_being_cut_calls_fail_in_their_order(wire: Wire) -> None:
    faults: list[Any] = []
    wire.connection.send(PendingCall(SCRIPT, b"sent", faults.append))
    await ticks()
    wire.is_cut = True
    wire.connection.send(PendingCall(SCRIPT, b"unsent", faults.append))
    await ticks()
    assert faults == []
    assert not wire.connection.is_lost
    wire.connection.connection_lost(None)
    assert [type(fault) for fault in faults] == [OutcomeUnknown, StoreUnavailable]
    assert wire.connection.is_lost
    assert wire.writes == [b"sent"]


async def test_a_connection_that_is_overdue_is_aborted_and_a_late_reply_reaches_nobody(wire: Wire) -> None:
    first = wire.send("first")
    async with asyncio.timeout(5):
        await first.once.wait()
    assert type(first.reply) is OutcomeUnknown

    second = await wire.sent("second")
    wire.receive(b"+the reply to the first\r\n")
    assert type(second.reply) is StoreUnavailable
    assert wire.is_cut


async def test_a_connection_that_replies_in_time_is_kept(wire: Wire) -> None:
    for number in range(5):
        call = wire.send(number)
        await asyncio.sleep(0.02)
        wire.receive(b"+ok\r\n")
        assert call.reply == "ok"
    assert not wire.is_cut


async def test_closing_waits_for_every_reply_and_no_longer(wire: Wire) -> None:
    calls = [wire.send(number) for number in range(2)]
    closing = asyncio.create_task(wire.connection.aclose())
    await ticks()
    wire.receive(b"+one\r\n")
    await ticks()
    assert not closing.done()
    wire.receive(b"+two\r\n+PONG\r\n")
    async with asyncio.timeout(5):
        await closing
    assert [call.reply for call in calls] == ["one", "two"]
    assert wire.is_cut


async def test_closing_ends_when_the_connection_is_cut(wire: Wire) -> None:
    sent = wire.send("sent")
    closing = asyncio.create_task(wire.connection.aclose())
    await ticks()
    wire.abort()
    async with asyncio.timeout(5):
        await closing
    assert type(sent.reply) is OutcomeUnknown


@pytest.mark.parametrize("noise", [b"!what is this\r\n", b"+nobody asked\r\n"])
async def test_a_store_that_breaks_the_protocol_is_disconnected(wire: Wire, noise: bytes) -> None:
    wire.receive(noise)
    assert wire.is_cut


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
