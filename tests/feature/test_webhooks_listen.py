"""`technopay webhooks listen`: events reach a developer's address, signed, in order, whatever it replies."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from support.fixtures.engine_setup import wait_for
from support.fixtures.http_api import Api, make_person, running_api
from support.processes.service import DEADLINE_S, environment, run_command
from support.servers.webhook_receiver import WebhookReceiver, running_receiver

from technopay.cli.webhooks import forwarding
from technopay.cli.webhooks.forwarding import forward_events, make_secret, secret_error
from technopay.engine import ValidationFailed
from technopay.http.problems import Forbidden
from technopay.storage import RedisStore

PURCHASE = ["invoice.created", "payment.started", "payment.processing", "payment.succeeded"]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the command prints."""
    printed: list[str] = []
    monkeypatch.setattr(forwarding, "say", printed.append)
    return printed


@asynccontextmanager
async def forwarding_to(
    api: Api, receiver_url: str, secret: str, lines: list[str], types: str | None = None
) -> AsyncIterator[None]:
    """Forward the events of an API, and wait until it is connected."""
    stopped = asyncio.Event()
    url, token = str(api.client.server.make_url("/")), api.token("operator", admin=True)
    task = asyncio.create_task(forward_events(url, token, receiver_url, types, secret, stopped))

    async def is_connected() -> bool:
        assert not task.done(), task.result()
        return "technopay: connected" in lines

    await wait_for(is_connected)
    yield
    stopped.set()
    async with asyncio.timeout(10):
        await task


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with running_receiver(SECRET) as running:
        yield running


SECRET = make_secret()


async def test_each_event_is_posted_once_signed_and_in_order_whatever_the_response(
    api: Api, receiver: WebhookReceiver, lines: list[str]
) -> None:
    alice = await make_person(api)
    await alice.invoice()  # before it listens
    redirect = web.Response(status=307, headers={"Location": "/elsewhere"})
    receiver.script = [web.Response(status=500), redirect, web.Response(status=200, text="x" * 100_000)]
    async with forwarding_to(api, receiver.url, SECRET, lines):
        payment = await alice.pay()
        events = await receiver.wait_for(4)
        shown = await wait_for(lambda: lines_about(lines, 4))
    assert [each["type"] for each in events] == PURCHASE
    assert events[-1]["payment"] == payment
    assert set(receiver.paths) == {"/hook"}, "a redirect was followed"
    assert lines[0] == f"technopay: the secret of the signatures is {SECRET}"
    for line, status, event in zip(shown, (500, 307, 200, 204), events, strict=True):
        assert line.startswith(f"{status} {event['type']} {event['id']} (")


async def lines_about(lines: list[str], count: int) -> list[str]:
    found = [line for line in lines if "evt_" in line]
    return found if len(found) >= count else []


async def test_an_address_that_does_not_respond_or_listen_costs_one_event_a_line(
    api: Api, receiver: WebhookReceiver, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "DELIVERY_TIMEOUT_S", 0.2)
    alice = await make_person(api)
    receiver.script = [None]
    async with forwarding_to(api, receiver.url, SECRET, lines):
        for _ in range(2):
            await alice.invoice()
        shown = await wait_for(lambda: lines_about(lines, 2))
    assert shown[0].startswith("no response within 0.2 s: invoice.created evt_")
    assert shown[1].startswith("204 invoice.created evt_")
    lines.clear()
    async with forwarding_to(api, "http://127.0.0.1:1/hook", SECRET, lines):
        await alice.invoice()
        [line] = await wait_for(lambda: lines_about(lines, 1))
    assert line.startswith("not sent (ClientConnectorError): invoice.created evt_")


async def test_a_filter_is_that_of_the_stream(api: Api, receiver: WebhookReceiver, lines: list[str]) -> None:
    alice = await make_person(api)
    async with forwarding_to(api, receiver.url, SECRET, lines, "payment.succeeded"):
        await alice.pay()
        assert [each["type"] for each in await receiver.wait_for(1)] == ["payment.succeeded"]


async def test_after_a_disconnect_it_goes_on_behind_the_last_event(
    fake_store: RedisStore, receiver: WebhookReceiver, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "PAUSE_S", 0.05)
    async with running_api(fake_store) as api:
        alice = await make_person(api)
        async with forwarding_to(api, receiver.url, SECRET, lines):
            await alice.pay()
            await receiver.wait_for(4)
            for subscription in list(api.engine._runtime.feed._subscriptions):
                await subscription.aclose()
            await alice.pay()
            events = await receiver.wait_for(8)
    assert [each["type"] for each in events] == PURCHASE * 2
    assert len({each["id"] for each in events}) == 8
    assert any("no connection, next try in 0.05 s" in line for line in lines)
    assert lines.count("technopay: connected") == 2


async def test_a_refusal_ends_it_and_a_server_that_cannot_be_reached_does_so_after_a_bound(
    api: Api, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "PAUSE_S_MAX", 0.001)
    url, admin = str(api.client.server.make_url("/")), api.token("op", admin=True)
    never = asyncio.Event()
    with pytest.raises(Forbidden):
        await forward_events(url, api.token("alice"), "http://localhost/hook", None, SECRET, never)
    with pytest.raises(ValidationFailed, match="types"):
        await forward_events(url, admin, "http://localhost/hook", "nothing", SECRET, never)
    lines.clear()
    with pytest.raises(Exception, match="reached"):
        await forward_events("http://127.0.0.1:1", admin, "http://localhost/hook", None, SECRET, never)
    assert len([line for line in lines if "next try" in line]) == forwarding.TRIES_MAX - 1


def test_a_secret_is_random_and_one_of_another_form_is_refused() -> None:
    assert make_secret() != make_secret()
    assert secret_error(make_secret()) is None
    for secret in ("", "whsec_", "whsec_c2hvcnQ=", make_secret()[6:], "whsec_" + "A" * 100, "whsec_ä" * 8):
        assert "has to be whsec_" in (secret_error(secret) or "")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def listen(home: Path, **options: str) -> Callable[[], tuple[int, str]]:
    given = {"url": "http://localhost:1", "admin-token": "t", "forward": "http://localhost:2/hook", **options}
    flags = [word for name, value in given.items() for word in (f"--{name}", value)]

    def run() -> tuple[int, str]:
        ended = run_command(home, "webhooks", "listen", *flags)
        assert ended.stderr.count("\n") == 1
        assert "Traceback" not in ended.stderr
        return ended.returncode, ended.stderr

    return run


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"url": "localhost"}, "--url has to be an address"),
        ({"forward": "ftp://localhost/hook"}, "--forward has to be an address"),
        ({"forward": "http://localhost:x/"}, "--forward has to be an address"),
        ({"admin-token": "a b"}, "--admin-token has to be a token"),
        ({"secret": "whsec_short"}, "--secret has to be whsec_"),
    ],
)
def test_a_wrong_argument_is_one_line(home: Path, options: dict[str, str], rule: str) -> None:
    status, error = listen(home, **options)()
    assert (status, rule in error) == (2, True), error


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_command_as_a_success(
    api: Api, receiver: WebhookReceiver, home: Path, name: signal.Signals
) -> None:
    alice = await make_person(api)
    url = str(api.client.server.make_url("/"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "technopay.cli", "webhooks", "listen", "--url", url, "--admin-token",
        api.token("op", admin=True), "--forward", receiver.url, "--secret", SECRET,
        cwd=home, env=environment(home), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout
        async with asyncio.timeout(DEADLINE_S):
            printed = [(await process.stdout.readline()).decode() for _ in range(3)]
            assert printed[2] == "technopay: connected\n"
            await alice.invoice()
            [event] = await receiver.wait_for(1)
            line = (await process.stdout.readline()).decode()
            process.send_signal(name)
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert line.startswith(f"204 invoice.created {event['id']} (")
    assert (process.returncode, out, err) == (0, b"", b"")
