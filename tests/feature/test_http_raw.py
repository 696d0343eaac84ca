"""Malformed, partial or excessive bytes: refused or cut off soon, and without effect."""

import asyncio
import gzip
import logging
import socket
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web
from support.fixtures.engine_setup import wait_for
from support.fixtures.http_api import Api, Person, make_person, unchanged
from support.fixtures.raw_http import PATIENCE_S, Served, Told, deposit, heard, request, served

from technopay.http.server.serving import CONCURRENCY

HUNG_UP = 0
"""In place of a status: a client that still sends at that time may not receive the response."""

CHUNKED = b"Transfer-Encoding: chunked"
BODY = b'{"amount": 1}'
CHUNKS = b"d\r\n" + BODY + b"\r\n0\r\n\r\n"


@pytest.fixture
async def alice(api: Api) -> AsyncIterator[Person]:
    """A user with a wallet; the test must not change the store."""
    alice = await make_person(api)
    async with unchanged(api.store):
        yield alice


@pytest.fixture
async def server(api: Api, alice: Person) -> AsyncIterator[Served]:
    async with served(api.engine) as running:
        yield running


Attack = Callable[[Person], bytes]

NO_HTTP: dict[str, Attack] = {
    "CL.TE": lambda a: deposit(a, b"Content-Length: 13", CHUNKED, body=CHUNKS),
    "TE.CL": lambda a: deposit(a, CHUNKED, b"Content-Length: 13", body=CHUNKS),
    "TE unknown": lambda a: deposit(a, b"Transfer-Encoding: xchunked", body=CHUNKS),
    "TE chunked is not last": lambda a: deposit(a, b"Transfer-Encoding: chunked, identity", body=CHUNKS),
    "TE twice": lambda a: deposit(a, CHUNKED, CHUNKED, body=CHUNKS),
    "TE with a tab": lambda a: deposit(a, b"Transfer-Encoding:\x0bchunked", body=CHUNKS),
    "space before the colon": lambda a: deposit(a, b"Transfer-Encoding : chunked", body=CHUNKS),
    "two lengths": lambda a: deposit(a, b"Content-Length: 13", b"Content-Length: 14"),
    "one length twice": lambda a: deposit(a, b"Content-Length: 13", b"Content-Length: 13"),
    "a list of lengths": lambda a: deposit(a, b"Content-Length: 13, 13"),
    "a length with a sign": lambda a: deposit(a, b"Content-Length: +13"),
    "a length below zero": lambda a: deposit(a, b"Content-Length: -13"),
    "a hexadecimal length": lambda a: deposit(a, b"Content-Length: 0xd"),
    "a length with a dash": lambda a: deposit(a, b"Content-Length: 1_3"),
    "no length's digits": lambda a: deposit(a, b"Content-Length: "),
    "a length beyond all": lambda a: deposit(a, b"Content-Length: " + b"9" * 40),
    "bare LF": lambda a: deposit(a, b"Content-Length: 13").replace(b"\r\n", b"\n"),
    "one bare LF": lambda a: deposit(a, b"X: y\nContent-Length: 13"),
    "bare CR": lambda a: deposit(a, b"X: y\rContent-Length: 13"),
    "NUL in a header": lambda a: deposit(a, b"X: \x00", b"Content-Length: 13"),
    "NUL in a token": lambda a: request("GET /v1/wallets").replace(b"Bearer ", b"Bearer \x00"),
    "NUL in a name": lambda a: deposit(a, b"X\x00: y", b"Content-Length: 13"),
    "a folded header": lambda a: deposit(a, b"X: y", b" z", b"Content-Length: 13"),
    "a header without a name": lambda a: deposit(a, b": y", b"Content-Length: 13"),
    "a header without a colon": lambda a: deposit(a, b"Content-Length", b"Content-Length: 13"),
    "two hosts": lambda a: deposit(a, b"Host: elsewhere", b"Content-Length: 13"),
    "no host": lambda a: deposit(a, b"Content-Length: 13").replace(b"Host: here\r\n", b""),
    "130 headers": lambda a: deposit(a, *(b"X%d: y" % n for n in range(130)), b"Content-Length: 13"),
    "65 headers": lambda a: deposit(a, *(b"X%d: y" % n for n in range(65)), b"Content-Length: 13"),
    "a long header": lambda a: deposit(a, b"X: " + b"y" * 9_000, b"Content-Length: 13"),
    "a long name": lambda a: deposit(a, b"X" * 9_000 + b": y", b"Content-Length: 13"),
    "a long line": lambda a: request(f"GET /v1/wallets?cursor={'x' * 9_000}"),
    "a line without end": lambda a: b"GET /" + b"x" * 20_000,  # more than one read loses the response
    "HTTP of the future": lambda a: request("GET /v1/wallets").replace(b"HTTP/1.1", b"HTTP/9.9"),
    "HTTP without a version": lambda a: request("GET /v1/wallets").replace(b"HTTP/1.1", b"HTTP/x"),
    "the preface of HTTP 2": lambda a: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00" * 9,
    "TLS": lambda a: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 600,
    "spaces in the target": lambda a: request("GET /v1/wal lets"),
    "a method that is none": lambda a: request("G(T /v1/wallets"),
}  # fmt: skip


async def test_what_is_no_http_is_a_problem_and_the_end_of_the_connection(
    server: Served, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name, attack in NO_HTTP.items():
        told = await server.say(attack(alice))

        assert (name, told.status) == (name, 400)
        assert "Content-Type: application/problem+json" in told.head
        assert f"X-Request-Id: {told.problem['request_id']}" in told.head
        assert (told.problem["code"], told.problem["status"]) == ("malformed_request", 400)
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert "Bearer" not in caplog.text + told.raw.decode()


BAD: dict[str, tuple[Attack, set[int]]] = {
    "HTTP 0.9": (lambda a: b"GET /v1/wallets\r\n\r\n", {401}),
    "a chunk without a size": (lambda a: deposit(a, CHUNKED, body=b"\r\n" + BODY + b"\r\n0\r\n\r\n"), {400}),
    "a chunk of size xyz": (lambda a: deposit(a, CHUNKED, body=b"xyz\r\n" + CHUNKS), {400}),
    "a chunk of size -1": (lambda a: deposit(a, CHUNKED, body=b"-1\r\n" + CHUNKS), {400}),
    "a chunk of size 0xd": (lambda a: deposit(a, CHUNKED, body=b"0x" + CHUNKS), {400}),
    "a chunk of a huge size": (lambda a: deposit(a, CHUNKED, body=b"f" * 17 + b"\r\n" + BODY), {400, 413}),
    "a chunk that is longer": (lambda a: deposit(a, CHUNKED, body=b"c\r\n" + CHUNKS[3:]), {400}),
    "a chunk with a bare LF": (lambda a: deposit(a, CHUNKED, body=CHUNKS.replace(b"\r\n", b"\n")), {400}),
    "a long extension": (lambda a: deposit(a, CHUNKED, body=b"d;" + b"x" * 300_000), {400}),
    "chunks without end": (lambda a: deposit(a, CHUNKED, body=CHUNKS[:-5]), {400}),
    "many chunks": (lambda a: deposit(a, CHUNKED, body=b"1\r\n \r\n" * 20_000), {413}),
    "2 MiB": (lambda a: deposit(a, b"Content-Length: 2097152", body=b" " * 2**21), {413, HUNG_UP}),
    "a gzip bomb": (lambda a: packed(a, gzip.compress(b" " * 50_000_000)), {413, HUNG_UP}),
    "a bomb in a bomb": (lambda a: packed(a, gzip.compress(gzip.compress(b" " * 10**7))), {415}),
    "what is not packed at all": (lambda a: packed(a, BODY), {415}),
    "half of a body": (lambda a: deposit(a, b"Content-Length: 13", body=BODY[:5]), {400}),
    "deep JSON": (lambda a: deposit(a, b"Content-Length: 16000", body=b"[" * 16_000), {400}),
    "a body with GET": (lambda a: request("GET /v1/wallets/x", b"Content-Length: 9", body=b"x"), {404}),
    "a body nobody reads": (lambda a: request("POST /v1/nothing", b"Content-Length: 9", body=b"x"), {404}),
    "an expectation": (lambda a: deposit(a, b"Expect: a miracle", b"Content-Length: 13"), {400}),
    "dots": (lambda a: request("POST /v1/admin/../admin/users", b"Content-Length: 0", close=True), {404, 415}),
    "a tunnel": (lambda a: request("CONNECT here:80", close=True), {400, 404}),
    "another host": (lambda a: request("GET http://elsewhere/v1/x", close=True), {404}),
    "two sign-ins": (lambda a: request("GET /v1/wallets", b"Authorization: Bearer x", close=True), {400, 401}),
}  # fmt: skip


def packed(person: Person, body: bytes) -> bytes:
    return deposit(person, b"Content-Encoding: gzip", b"Content-Length: %d" % len(body), body=body)


async def test_what_is_not_whole_or_too_much_is_refused_in_time(server: Served, alice: Person) -> None:
    async def attack(name: str) -> None:
        write, statuses = BAD[name]
        told = await server.say(write(alice))
        assert told.status in statuses, (name, told.raw)
        assert b"Traceback" not in told.raw

    await asyncio.gather(*(attack(name) for name in BAD))


async def test_a_target_that_is_no_path_is_a_problem_like_any_unknown_path(server: Served) -> None:
    for line in ("CONNECT here:80", "GET http://here"):
        told = await server.say(request(line, close=True))

        assert (told.status, told.problem["code"]) == (404, "not_found")
        assert "Server: technopay\r\n" in told.head


async def test_nothing_is_unpacked_wherever_it_is_sent(
    server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for path in ("/livez", "/nothing", "/v1/wallets", "/openapi.json"):
        for encoding in (b"gzip", b"deflate", b"br", b"zstd"):
            sent = request(f"GET {path}", b"Content-Encoding: " + encoding, CHUNKED, body=CHUNKS)
            told = await server.say(sent + request("GET /livez", close=True))

            # An attempt to unpack it would have ended the connection.
            assert told.raw.count(b"HTTP/1.1 ") == 2
            assert told.raw.count(b"HTTP/1.1 400") == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_path_of_thousands_of_parts_is_shown_to_no_router(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    routed: list[str] = []
    resolve = web.UrlDispatcher.resolve

    async def spy(router: web.UrlDispatcher, asked: web.Request) -> web.UrlMappingMatchInfo:
        routed.append(asked.path)
        return await resolve(router, asked)

    monkeypatch.setattr(web.UrlDispatcher, "resolve", spy)
    for path in ("/" * 4_000, "/v1/wallets" + "/x" * 2_000, "/%2F" * 1_000 + "?a=b"):
        told = await server.say(request(f"GET {path}", close=True))
        assert (told.status, told.problem["code"]) == (404, "not_found")
    assert (await server.say(request(f"GET /livez?{'/' * 4_000}", close=True))).status == 200

    assert set(routed) == {"/././.", "/livez", "/v1/wallets"}


async def test_a_client_who_leaves_amid_a_body_is_no_defect(
    server: Served, alice: Person, caplog: pytest.LogCaptureFixture
) -> None:
    async def is_reading() -> bool:
        return server.app[CONCURRENCY].running == 1

    async def is_done() -> bool:
        return server.app[CONCURRENCY].running == 0

    _, writer = await server.open()
    writer.write(deposit(alice, b"Content-Length: 13", body=BODY[:5]))
    await wait_for(is_reading)
    writer.close()
    await wait_for(is_done)

    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_body_that_was_continued_is_refused_when_it_comes(server: Served, alice: Person) -> None:
    promise = deposit(alice, b"Expect: 100-continue", b"Content-Length: 13", b"Connection: close", body=b"")
    told = await server.say(promise + b'{"amount": 0}')

    assert told.raw.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 422 ")


async def drip(server: Served, first: bytes, again: bytes) -> Told:
    """Send a beginning and then a little again and again until the server closes."""
    reader, writer = await server.open()
    ended = asyncio.create_task(heard(reader))
    writer.write(first)
    while not ended.done():
        writer.write(again)
        await asyncio.sleep(0.01)
    await server.greet()
    writer.close()
    return await ended


async def test_silence_or_dripping_holds_no_connection(server: Served, alice: Person) -> None:
    assert (await server.say(b"")).raw == b""
    assert (await drip(server, b"GET /v1/wallets HTTP/1.1\r\nHost: here\r\n", b"X: y\r\n")).raw == b""
    told = await drip(server, deposit(alice, b"Content-Length: 16000", body=b""), b" ")
    assert told.status == 400
    assert told.problem["detail"] == "The body did not arrive within 0.3 s."


async def test_a_client_that_does_not_read_holds_no_connection(server: Served) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        deaf.setblocking(False)
        await loop.sock_connect(deaf, (server.host, server.port))

        async def ask_on_and_on() -> None:
            while True:
                await loop.sock_sendall(deaf, request("GET /openapi.json") * 100)

        with pytest.raises(ConnectionError):
            await asyncio.wait_for(ask_on_and_on(), PATIENCE_S)
    await server.greet()


async def test_a_thousand_requests_at_once_are_answered_one_after_the_other(server: Served) -> None:
    reads = b"GET /v1/wallets HTTP/1.1\r\nHost: here\r\n\r\n" * 999
    told = await server.say(reads + request("GET /v1/wallets/wal_00x", close=True))

    assert told.raw.count(b"HTTP/1.1 401 Unauthorized\r\n") == 999
    assert told.raw.count(b"HTTP/1.1 404 Not Found\r\n") == 1
