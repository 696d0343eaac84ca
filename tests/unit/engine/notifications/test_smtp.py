"""E-mail by SMTP, against a real server: aiosmtpd in the test's loop."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest
from support.fixtures.engine_setup import lax_settings, make_setup
from support.fixtures.outgoing import make_message
from support.fixtures.polling import see
from support.servers.server_tls import make_tls
from support.servers.silent_server import silent_server
from support.servers.smtp_server import HANG, LEAVE, PASSWORD, SENDER, USER, MailServer, running_mail_server

from technopay.engine import Engine
from technopay.engine.notifications import smtp as module
from technopay.engine.notifications.smtp import SmtpChannel, SmtpError
from technopay.storage import RedisStore


async def test_connections_are_kept_and_bounded(server: MailServer, channel: SmtpChannel) -> None:
    for number in range(3):
        await channel.deliver(make_message(event_id=f"evt_{number}"))
    assert server.connections == 1

    await asyncio.gather(*(channel.deliver(make_message(event_id=f"evt_{each}")) for each in range(10, 60)))

    assert server.connections == module.CONNECTIONS_MAX
    assert len(server.mails) == 53


async def test_a_kept_connection_that_is_gone_is_replaced(server: MailServer, channel: SmtpChannel) -> None:
    await channel.deliver(make_message(event_id="evt_1"))
    server.drop_connections()
    await channel.deliver(make_message(event_id="evt_2"))

    # The server closes it in the moment of the next message, politely or not.
    for number, reply in enumerate((LEAVE, "421 4.4.2 idle for too long"), 3):
        server.replies["MAIL"].append(reply)
        await channel.deliver(make_message(event_id=f"evt_{number}"))

    assert len(server.mails) == 4
    assert server.connections == 4


async def test_a_kept_connection_that_hangs_is_replaced(
    server: MailServer, channel: SmtpChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEP_S_MAX", 0.3)
    await channel.deliver(make_message(event_id="evt_1"))
    server.replies["MAIL"].append(HANG)

    await channel.deliver(make_message(event_id="evt_2"))

    assert (len(server.mails), server.connections) == (2, 2)


async def test_a_connection_that_was_idle_for_long_is_not_used(
    server: MailServer, channel: SmtpChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    await channel.deliver(make_message(event_id="evt_1"))
    monkeypatch.setattr(module, "IDLE_S_MAX", -1.0)
    await channel.deliver(make_message(event_id="evt_2"))

    assert server.connections == 2


@pytest.mark.parametrize(("step", "mails"), [("MAIL", 1), ("RCPT", 1), ("DATA", 1)])
async def test_a_new_connection_that_is_lost_and_one_lost_amid_a_message_are_errors(
    server: MailServer, channel: SmtpChannel, step: str, mails: int
) -> None:
    if step != "MAIL":
        await channel.deliver(make_message(event_id="evt_1"))
        server.mails.clear()
    server.replies[step].append(LEAVE)
    message = make_message(event_id="evt_2")

    with pytest.raises(SmtpError, match=f"127.0.0.1:{server.port}: "):
        await channel.deliver(message)
    assert server.mails == []
    await channel.deliver(message)

    assert len(server.mails) == mails


@pytest.mark.parametrize(
    ("step", "reply", "error"),
    [
        ("MAIL", "451 4.3.0 later", "the SMTP server refused the sender: 451 4.3.0 later"),
        ("RCPT", "450 4.2.1 later", "the SMTP server refused the recipient: 450 4.2.1 later"),
        ("RCPT", "550 5.1.1 No such user", "the SMTP server refused the recipient: 550 5.1.1 No such user"),
        ("DATA", "452 4.3.1 full", "the SMTP server refused the message: 452 4.3.1 full"),
        ("DATA", "554 spam: 123456 is", "the SMTP server refused the message: 554 spam: •••••• is"),
        ("DATA", f"554 {'x' * 400}", f"the SMTP server refused the message: 554 {'x' * 400}"[:200]),
    ],
)  # fmt: skip
async def test_a_refusal_is_an_error_with_the_reply_of_the_server(
    server: MailServer, channel: SmtpChannel, step: str, reply: str, error: str
) -> None:
    server.replies[step].append(reply)
    message = make_message()

    with pytest.raises(SmtpError) as refused:
        await channel.deliver(message)
    assert str(refused.value) == error
    assert server.mails == []

    await channel.deliver(message)
    assert len(server.mails) == 1


async def test_a_caller_that_leaves_does_not_stop_a_message_and_its_repeat_joins_it(
    server: MailServer, channel: SmtpChannel
) -> None:
    server.replies["DATA"].append(HANG)
    message = make_message()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(channel.deliver(message), 0.05)

    again = asyncio.create_task(channel.deliver(message))
    await asyncio.sleep(0)
    server.may_go_on.set()
    await again
    await channel.deliver(message)  # accepted already

    assert (len(server.mails), server.steps["MAIL"]) == (1, 1)
    await channel.deliver(message._replace(to="bob@example.com"))
    assert len(server.mails) == 2


async def test_what_is_remembered_and_what_waits_is_bounded(
    server: MailServer, channel: SmtpChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SENT_MAX", 1)
    for event_id in ("evt_1", "evt_2", "evt_2", "evt_1"):
        await channel.deliver(make_message(event_id=event_id))
    assert len(server.mails) == 3

    monkeypatch.setattr(module, "SENDING_MAX", 1)
    server.replies["MAIL"].append(HANG)
    first = asyncio.create_task(channel.deliver(make_message(event_id="evt_3")))
    await asyncio.sleep(0)
    with pytest.raises(SmtpError, match="too many messages wait"):
        await channel.deliver(make_message(event_id="evt_4"))
    server.may_go_on.set()
    await first


@pytest.mark.parametrize("bound", ["STEP_S_MAX", "DELIVERY_S_MAX"])
@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
async def test_a_server_that_hangs_is_left(
    server: MailServer, channel: SmtpChannel, monkeypatch: pytest.MonkeyPatch, bound: str, step: str
) -> None:
    monkeypatch.setattr(module, bound, 0.1)
    server.replies[step].append(HANG)

    with pytest.raises(SmtpError, match=f"127.0.0.1:{server.port} did not reply in time"):
        await channel.deliver(make_message())

    async def is_left() -> bool:
        return not channel._sending and not channel._idle

    await see(is_left, within_s=5, pause_s=0.01)


async def test_a_server_that_accepts_and_says_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP_S_MAX", 0.1)
    async with (
        silent_server() as port,
        SmtpChannel(f"smtp://127.0.0.1:{port}", SENDER) as channel,
    ):
        with pytest.raises(SmtpError, match=f"127.0.0.1:{port} did not reply in time"):
            await channel.deliver(make_message())


async def test_a_server_that_is_not_there_is_an_error() -> None:
    async with SmtpChannel("smtp://127.0.0.1:1", SENDER) as channel:
        with pytest.raises(SmtpError, match=r"127\.0\.0\.1:1: "):
            await channel.deliver(make_message())


@asynccontextmanager
async def channel_with_tls(
    folder: Path,
    *,
    scheme: str,
    sign_in: str = f"{quote(USER, '')}:{quote(PASSWORD, '')}@",
    trusts: bool = True,
) -> AsyncIterator[tuple[SmtpChannel, MailServer]]:
    tls, certificate = make_tls(folder)
    trusted = ssl.create_default_context(cafile=certificate if trusts else None)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            running_mail_server(tls=tls, at_once=scheme == "smtps", signs_in=bool(sign_in))
        )
        query = "?tls=starttls" if scheme == "smtp" else ""
        url = f"{scheme}://{sign_in}localhost:{server.port}{query}"
        yield await stack.enter_async_context(SmtpChannel(url, SENDER, tls=trusted)), server


@pytest.mark.parametrize("sign_in", ["", f"{quote(USER, '')}:{quote(PASSWORD, '')}@"])
async def test_starttls_then_the_sign_in(tmp_path: Path, sign_in: str) -> None:
    async with channel_with_tls(tmp_path, scheme="smtp", sign_in=sign_in) as (channel, server):
        await channel.deliver(make_message())

    [received] = server.mails
    assert (received.is_encrypted, received.is_signed_in) == (True, bool(sign_in))


async def test_tls_from_the_first_byte(tmp_path: Path) -> None:
    async with channel_with_tls(tmp_path, scheme="smtps", sign_in="") as (channel, server):
        await channel.deliver(make_message())
        await channel.deliver(make_message(event_id="evt_2"))

    assert (len(server.mails), server.connections) == (2, 1)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
async def test_a_certificate_that_is_not_trusted_ends_the_connection(tmp_path: Path, scheme: str) -> None:
    async with channel_with_tls(tmp_path, scheme=scheme, sign_in="", trusts=False) as (channel, server):
        with pytest.raises(SmtpError, match="certificate"):
            await channel.deliver(make_message())

    assert server.steps.total() == 0


async def test_a_server_without_starttls_gets_no_message(server: MailServer) -> None:
    async with SmtpChannel(f"{server.url}?tls=starttls", SENDER) as channel:
        with pytest.raises(SmtpError, match="STARTTLS extension not supported"):
            await channel.deliver(make_message())

    assert server.steps.total() == 0


async def test_a_wrong_password_is_an_error_that_does_not_show_it(tmp_path: Path) -> None:
    async with channel_with_tls(tmp_path, scheme="smtp", sign_in="alice:swordfish@") as (channel, _):
        with pytest.raises(SmtpError) as refused:
            await channel.deliver(make_message())

    assert str(refused.value) == "the SMTP server refused the sign-in: 535"
    assert "swordfish" not in f"{refused.value!r} {refused.value.__cause__!r} {channel!r}"


async def test_to_close_waits_for_messages_on_their_way(server: MailServer) -> None:
    channel = SmtpChannel(server.url, SENDER)
    server.replies["DATA"].append(HANG)
    leaving = asyncio.create_task(channel.deliver(make_message()))

    async def is_on_its_way() -> bool:
        return server.steps["DATA"] == 1

    await see(is_on_its_way, within_s=5, pause_s=0.01)
    leaving.cancel()
    closing = asyncio.create_task(channel.close())
    await asyncio.sleep(0)
    server.may_go_on.set()
    await closing

    assert len(server.mails) == 1
    assert server.open == set()


async def test_to_close_is_bounded(
    server: MailServer, channel: SmtpChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAVE_S_MAX", 0.05)
    server.replies["DATA"].append(HANG)
    leaving = asyncio.create_task(channel.deliver(make_message()))
    await asyncio.sleep(0.02)

    await channel.close()

    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert channel._sending == {}


async def test_an_engine_sends_its_codes_and_results_by_it(
    fake_store: RedisStore, server: MailServer, channel: SmtpChannel
) -> None:
    async with Engine(fake_store, lax_settings(), channels={"email": channel}) as engine:
        setup = await make_setup(engine, fake_store)
        payment = await setup.start()

        async def read(number: int) -> EmailMessage | None:
            return server.mails[number].mail if len(server.mails) > number else None

        first = await see(partial(read, 0), within_s=10, pause_s=0.01)
        assert first["Subject"] == "Your code to pay bookshop"
        assert (await setup.confirm(payment, first.get_content()[:6])).status == "succeeded"
        second = await see(partial(read, 1), within_s=10, pause_s=0.01)
        assert second["Subject"] == "You paid bookshop"
