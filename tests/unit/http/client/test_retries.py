"""The retries of the client: their causes, keys and delays, and the final error."""

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, NoReturn

import aiohttp
import pytest
from support.servers.scripted_server import (
    DONE,
    HTML,
    RESET,
    WALLET,
    RecordedClock,
    Scripted,
    ScriptedServer,
    deposit,
    problem,
)

from technopay.engine import (
    ConfirmationInvalid,
    InsufficientFunds,
    InternalError,
    OutcomeUnknown,
    RateLimited,
    StoreUnavailable,
    UserNotFound,
    ValidationFailed,
    WalletBusy,
)
from technopay.http.client import Client, RetryPolicy, ServerUnreachable, UnexpectedAnswer
from technopay.http.client.retries import Reply
from technopay.http.problems import Unauthenticated

BUSY = problem("wallet_busy", headers={"Retry-After": "1"})
UNKNOWN = problem("outcome_unknown")
GATEWAY = Scripted(502, HTML)


@pytest.mark.parametrize("failure", [BUSY, UNKNOWN, GATEWAY, Scripted(503, HTML), Scripted(504, ""), RESET])
async def test_a_temporary_failure_is_retried_under_the_same_key(
    client: Client, server: ScriptedServer, failure: Scripted | str
) -> None:
    server.script = [failure, failure, DONE]

    assert await deposit(client) == WALLET

    assert len(set(server.keys)) == 1
    assert None not in server.keys
    assert [asked.body for asked in server.asked] == [{"amount": 5, "reference": None, "note": None}] * 3


async def test_every_call_has_a_key_of_its_own_unless_a_right_one_is_given(
    client: Client, server: ScriptedServer
) -> None:
    server.script = [DONE]
    for key in (None, None, "mine"):
        await deposit(client, key)

    assert len(set(server.keys)) == 3
    assert server.keys[2] == "mine"
    with pytest.raises(ValidationFailed) as refused:
        await deposit(client, "two\r\nlines")
    assert [error.field for error in refused.value.errors] == ["idempotency_key"]


async def test_a_confirm_is_repeated_without_a_key(client: Client, server: ScriptedServer) -> None:
    server.script = [RESET, problem("confirmation_invalid", attempts_remaining=3)]

    with pytest.raises(ConfirmationInvalid) as refused:
        await client.confirm_payment(payment_id="pay_1", code="1")

    assert server.keys == [None, None]
    assert refused.value.attempts_remaining == 3


async def test_a_limit_that_may_be_set_is_not_set_again_over_a_later_one(
    client: Client, server: ScriptedServer
) -> None:
    server.script = [BUSY, GATEWAY]

    with pytest.raises(OutcomeUnknown):
        await client.set_limit(currency="EUR", amount=1)

    assert [asked.method for asked in server.asked] == ["PUT", "PUT"], "the first of them did nothing"


def test_a_pause_is_all_chance_up_to_its_bound() -> None:
    bounds: list[tuple[float, float]] = []

    def pick(least: float, most: float) -> float:
        bounds.append((least, most))
        return most / 2

    policy = RetryPolicy(pick=pick)

    assert [policy.pause_s(tries, None) for tries in (1, 2, 6, 60)] == [0.05, 0.1, 1.0, 1.0]
    assert bounds == [(0.0, 0.1), (0.0, 0.2), (0.0, 2.0), (0.0, 2.0)]


async def test_pauses_grow_or_are_as_long_as_the_server_asks(
    client: Client, server: ScriptedServer, clock: RecordedClock
) -> None:
    server.script = [problem("overloaded")]
    with pytest.raises(Exception, match="overloaded"):
        await deposit(client)
    assert clock.slept == pytest.approx([0.1, 0.2, 0.4])

    server.script = [BUSY, problem("rate_limited", headers={"Retry-After": "7"}), DONE]
    assert await deposit(client) == WALLET
    assert clock.slept[3:] == [1.0, 7.0]


async def test_a_retry_after_can_be_a_date_and_never_outlasts_the_deadline(
    client: Client, server: ScriptedServer, clock: RecordedClock
) -> None:
    past = format_datetime(datetime(2020, 1, 1, tzinfo=UTC), usegmt=True)
    future = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    server.script = [Scripted(503, HTML, {"Retry-After": after}) for after in (past, "soon", future)]
    assert Reply(429, {"Retry-After": past}, "").retry_after_s == 0.0

    with pytest.raises(OutcomeUnknown):
        await deposit(client)
    server.script = [problem("rate_limited", headers={"Retry-After": "30"})]
    with pytest.raises(RateLimited) as refused:
        await deposit(client)

    assert refused.value.retry_after_s == 30
    assert (len(server.asked), clock.slept) == (4, [0.1, 0.2])


async def test_a_wait_of_the_server_makes_the_deadlines_later(clock: RecordedClock) -> None:
    bounds: list[float | None] = []

    class Session:
        """A session that never replies, and records its timeouts."""

        def request(self, *_: Any, timeout: Any, **__: Any) -> NoReturn:
            bounds.append(timeout.total)
            raise aiohttp.ServerDisconnectedError

    async def look(policy: RetryPolicy, wait_s: float) -> None:
        session: Any = Session()
        client = Client("http://localhost", "token", session=session, retry_policy=policy, clock=clock)
        with pytest.raises(ServerUnreachable):
            await client.get_payment(payment_id="pay_1", wait_s=wait_s)

    for wait_s in (0.0, 9.0):
        await look(RetryPolicy(retries=0, timeout_s=10, deadline_s=50), wait_s)
        await look(RetryPolicy(retries=0, timeout_s=10, deadline_s=5), wait_s)

    assert bounds == [10.0, 5.0, 19.0, 14.0]


async def test_a_try_that_takes_too_long_is_given_up() -> None:
    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    writers: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(say_nothing, "127.0.0.1")
    port = silent.sockets[0].getsockname()[1]
    policy = RetryPolicy(retries=1, timeout_s=0.02, backoff_s=0)
    async with Client(f"http://127.0.0.1:{port}", "token", retry_policy=policy) as client:
        with pytest.raises(OutcomeUnknown):
            await deposit(client)
        with pytest.raises(ServerUnreachable):
            await client.get_wallet(wallet_id="wal_1")
    for writer in writers:
        writer.close()
    silent.close()
    await silent.wait_closed()

    assert len(writers) == 4


@pytest.mark.parametrize(
    ("script", "error", "tries"),
    [
        # A lasting failure is tried once.
        ([problem("internal_error")], InternalError, 1),
        ([problem("insufficient_funds")], InsufficientFunds, 1),
        ([problem("user_not_found")], UserNotFound, 1),
        ([problem("rate_limited")], RateLimited, 1),
        ([problem("unauthenticated")], Unauthenticated, 1),
        ([Scripted(500, HTML)], UnexpectedAnswer, 1),
        ([Scripted(302, "", {"Location": "/elsewhere"})], UnexpectedAnswer, 1),
        ([Scripted(404, HTML)], UnexpectedAnswer, 1),
        # No try had an effect, or a refusal is the outcome of the lost one.
        ([BUSY], WalletBusy, 4),
        ([RESET, problem("insufficient_funds", required=2, available=1)], InsufficientFunds, 2),
        # A command in doubt: its reply is lost or unreadable, and no later one is of that try.
        *(([failure], OutcomeUnknown, 4) for failure in (RESET, GATEWAY, Scripted(503, HTML), UNKNOWN)),
        *(([Scripted(200, unreadable)], OutcomeUnknown, 1) for unreadable in (HTML, "{}")),
        ([RESET, problem("unauthenticated")], OutcomeUnknown, 2),
        ([RESET, problem("rate_limited")], OutcomeUnknown, 2),
        ([RESET, problem("not_found")], OutcomeUnknown, 2),
        ([RESET, problem("internal_error")], OutcomeUnknown, 2),
        ([RESET, Scripted(200, HTML)], OutcomeUnknown, 2),
        *(([unknown, BUSY], OutcomeUnknown, 4) for unknown in (RESET, GATEWAY, UNKNOWN)),
    ],
)
async def test_the_error_after_the_last_try_is_the_outcome_or_in_doubt_with_its_key(
    client: Client, server: ScriptedServer, script: list[Scripted | str], error: type[Exception], tries: int
) -> None:
    server.script = script

    with pytest.raises(error) as raised:
        await deposit(client)

    assert len(server.asked) == tries
    if isinstance(raised.value, OutcomeUnknown):
        assert raised.value.idempotency_key == server.keys[0]
    if isinstance(raised.value, WalletBusy | InsufficientFunds):
        assert raised.value.request_id == "req-1"


async def test_nothing_happened_if_no_server_listens_and_a_read_is_never_in_doubt(
    client: Client, server: ScriptedServer, clock: RecordedClock
) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        async with Client(f"http://127.0.0.1:{deaf.getsockname()[1]}", "token", clock=clock) as unheard:
            with pytest.raises(ServerUnreachable) as raised:
                await deposit(unheard)
    assert isinstance(raised.value, StoreUnavailable)
    assert len(clock.slept) == 3

    for failure in (RESET, GATEWAY):
        server.script = [failure]
        with pytest.raises(ServerUnreachable):
            await client.get_wallet(wallet_id="wal_1")


async def test_an_answer_given_again_is_marked_and_unknown_members_of_it_are_ignored(
    client: Client, server: ScriptedServer
) -> None:
    newer = DONE.text.replace("{", '{"colour": "red", ', 1)
    server.script = [DONE, Scripted(200, newer, {"Idempotent-Replayed": "true"})]

    answers = [await deposit(client, "key") for _ in range(2)]

    assert answers == [WALLET, WALLET.as_replay()]
    assert [each.replayed for each in answers] == [False, True]
