"""The transport of the client: sessions, tokens and addresses."""

import asyncio
from urllib.parse import unquote

import aiohttp
import pytest
from support.servers.scripted_server import (
    DONE,
    WALLET,
    RecordedClock,
    ScriptedServer,
    Tokens,
    deposit,
    problem,
)

from technopay.engine import InsufficientFunds, UserNotFound
from technopay.http.client import Client
from technopay.http.problems import Unauthenticated


def tokens_of(server: ScriptedServer) -> list[str]:
    return [asked.headers["Authorization"].removeprefix("Bearer ") for asked in server.asked]


async def test_a_refused_token_is_asked_for_again_once(server: ScriptedServer, clock: RecordedClock) -> None:
    refusal = problem("unauthenticated")
    async with Client(server.url, Tokens(), clock=clock) as client:
        server.script = [refusal, DONE]
        assert await deposit(client) == WALLET
        server.script = [refusal]
        with pytest.raises(Unauthenticated):
            await deposit(client)

    assert tokens_of(server) == ["token-1", "token-2", "token-2", "token-3"]
    assert server.keys[0] == server.keys[1]
    assert clock.slept == []


async def test_many_calls_ask_for_one_token(server: ScriptedServer) -> None:
    server.script = [DONE]
    tokens = Tokens()
    async with Client(server.url, tokens) as client:
        await asyncio.gather(*(deposit(client) for _ in range(5)))

    assert tokens.made == 1


async def test_a_given_session_stays_open_and_an_own_one_is_closed(server: ScriptedServer) -> None:
    server.script = [DONE]
    headers = {"X-Mine": "1", "Authorization": "Bearer other"}
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as session:
        async with Client(server.url, "token", session=session) as client:
            await deposit(client)
            server.script = [problem("insufficient_funds")]
            with pytest.raises(InsufficientFunds):
                await deposit(client)
        assert not session.closed
    assert server.asked[0].headers["X-Mine"] == "1"
    assert tokens_of(server) == ["token", "token"]

    own = Client(server.url, "token")
    with pytest.raises(RuntimeError, match="async with"):
        await deposit(own)
    async with own:
        pass
    with pytest.raises(RuntimeError, match="async with"):
        await deposit(own)


@pytest.mark.parametrize("url", ["", "pay.example.com", "ftp://x", "http://", "/pay"])
def test_a_wrong_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="address"):
        Client(url, "token")


@pytest.mark.parametrize("user_id", ["..", "a/b", "a?b#c", "%2e", "é"])
async def test_an_id_stays_one_part_of_the_path(client: Client, server: ScriptedServer, user_id: str) -> None:
    server.script = [problem("user_not_found")]

    with pytest.raises(UserNotFound):
        await client.get_user(user_id=user_id)

    path = server.asked[0].path.removeprefix("/v1/admin/users/")
    assert "/" not in path
    assert unquote(path) == user_id
