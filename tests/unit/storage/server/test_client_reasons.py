"""The reason why a store cannot be reached: the required correction and the address, without the password."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from support.servers.real_servers import OwnServer, own_server

from technopay.engine.errors import StoreUnavailable
from technopay.storage import RedisStore
from technopay.storage.server.address import parse_address


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    with own_server("valkey") as server:
        server.say("ACL", "SETUSER", "shy", "on", ">sesame", "~*", "+@all", "-info")
        server.say("ACL", "SETUSER", "default", "resetpass", ">sesame")
        yield server


@pytest.fixture
async def silent(tmp_path: Path) -> AsyncIterator[str]:
    """A server that accepts connections and never replies."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield f"unix://{path}"


async def reason(url: str, *, within_s: float = 30) -> str:
    store = RedisStore.connect(url, reply_timeout_s=within_s)
    with pytest.raises(StoreUnavailable) as refused:
        await store.open()
    message = str(refused.value)
    assert "sesame" not in message
    assert "\n" not in message
    assert message.startswith("The store cannot be reached: ")
    return message.removeprefix("The store cannot be reached: ")


@pytest.mark.parametrize(
    ("user", "meaning"),
    [
        ("", "it requires a password, and the URL has none"),
        (":sesamy@", "it refuses the user or the password"),
        ("nobody:sesame@", "it refuses the user or the password"),
        ("shy:sesame@", "the user lacks a right: User shy has no permissions to run"),
    ],
)
async def test_a_password_and_a_right_that_are_missing_are_named(
    server: OwnServer, user: str, meaning: str
) -> None:
    message = await reason(server.url.replace("unix://", f"unix://{user}"))
    assert message.startswith(f"{server.socket}: {meaning}")


async def test_a_missing_database_is_named(server: OwnServer) -> None:
    message = await reason(server.url.replace("unix://", "unix://:sesame@") + "?db=99")
    assert message.endswith("there is no database of this number")


async def test_an_address_without_a_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert await reason(f"redis://:sesame@127.0.0.1:{port}") == f"127.0.0.1:{port}: nothing listens there"
    assert await reason(f"unix://{tmp_path}/none") == f"{tmp_path}/none: there is no such socket"
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert await reason("redis://nowhere.example") == "nowhere.example:6379: there is no host of this name"


async def test_silence_is_named(silent: str) -> None:
    assert await reason(silent, within_s=0.1) == f"{silent.removeprefix('unix://')}: it does not reply"


async def test_a_server_without_tls_is_named() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"-ERR unknown command\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        assert (await reason(f"rediss://127.0.0.1:{port}")).startswith(f"127.0.0.1:{port}: TLS fails: ")


def test_an_address_is_shown_without_user_and_password() -> None:
    for url, shown in (
        ("redis://me:sesame@h/3", "h:6379"),
        ("rediss://[::1]:7", "[::1]:7"),
        ("unix://me:sesame@/run/a%20b", "/run/a b"),
        ("redis+sentinel://me:sesame@h,[::1]:7/main", "main at the Sentinels h:26379,[::1]:7"),
    ):
        assert parse_address(url).shown == shown


def test_an_address_of_a_socket_needs_its_path() -> None:
    with pytest.raises(ValueError, match="unix"):
        parse_address("unix://")
