"""An SMTP server in the loop of a test: it records messages, and refuses, hangs or leaves at a step."""

import asyncio
import ssl
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, NamedTuple

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from support.fixtures.polling import see

SENDER = "Café Central <pay@shop.example>"
USER, PASSWORD = "us%er@shop", "pass:w/ord"
LEAVE = "leave"
HANG = "hang"


class Received(NamedTuple):
    """A message with its envelope."""

    sender: str
    to: list[str]
    mail: EmailMessage
    raw: bytes
    is_encrypted: bool
    is_signed_in: bool


class MailServer:
    """The state of the server. A step is MAIL, RCPT or DATA; its replies are taken one by one."""

    def __init__(self) -> None:
        self.mails: list[Received] = []
        self.replies: defaultdict[str, list[str]] = defaultdict(list)
        self.steps: Counter[str] = Counter()
        self.connections = 0
        self.open: set[Any] = set()
        self.may_go_on = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    async def is_closed(self) -> bool:
        """Whether every client has left."""
        return not self.open

    def drop_connections(self) -> None:
        for protocol in [*self.open]:
            protocol.transport.abort()

    async def handle_MAIL(  # noqa: N802
        self, protocol: SMTP, session: Session, envelope: Envelope, sender: str, options: list[str]
    ) -> str:
        envelope.mail_from = sender
        envelope.mail_options.extend(options)
        return await self._reply("MAIL", protocol)

    async def handle_RCPT(  # noqa: N802
        self, protocol: SMTP, session: Session, envelope: Envelope, to: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(to)
        return await self._reply("RCPT", protocol)

    async def handle_DATA(self, protocol: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        raw = envelope.content
        assert isinstance(raw, bytes)
        mail = message_from_bytes(raw, _class=EmailMessage, policy=default)
        assert isinstance(mail, EmailMessage)
        reply = await self._reply("DATA", protocol)
        if reply.startswith("250"):
            sender = envelope.mail_from or ""
            self.mails.append(
                Received(
                    sender, envelope.rcpt_tos, mail, raw, session.ssl is not None, bool(session.authenticated)
                )
            )
        return reply

    async def _reply(self, step: str, protocol: Any) -> str:
        self.steps[step] += 1
        reply = self.replies[step].pop(0) if self.replies[step] else "250 OK"
        if reply == LEAVE:
            protocol.transport.abort()
        if reply == HANG:
            await self.may_go_on.wait()
            reply = "250 OK"
        return reply


def sign_in(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    assert isinstance(data, LoginPassword)
    is_right = (data.login.decode(), data.password.decode()) == (USER, PASSWORD)
    # A bad server repeats the password in its reply.
    reply = None if is_right else f"535 wrong: {data.password.decode()}"
    return AuthResult(success=is_right, handled=False, message=reply)


@asynccontextmanager
async def running_mail_server(
    *, tls: ssl.SSLContext | None = None, at_once: bool = False, utf8: bool = True, signs_in: bool = False
) -> AsyncIterator[MailServer]:
    """Run a server at loopback, with STARTTLS or, `at_once`, with TLS from the first byte."""
    state = MailServer()
    loop = asyncio.get_running_loop()

    class Protocol(SMTP):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if self not in state.open:  # STARTTLS makes a connection twice
                state.connections += 1
                state.open.add(self)

        def connection_lost(self, error: Exception | None) -> None:
            state.open.discard(self)
            super().connection_lost(error)

    def make() -> SMTP:
        return Protocol(
            state, hostname="mail.example", enable_SMTPUTF8=utf8, loop=loop,
            tls_context=None if at_once else tls, require_starttls=tls is not None and not at_once,
            authenticator=sign_in if signs_in else None, auth_required=signs_in,
            auth_require_tls=tls is not None and not at_once,
        )  # fmt: skip

    server = await loop.create_server(make, "127.0.0.1", 0, ssl=tls if at_once else None)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        state.may_go_on.set()
        state.drop_connections()
        await see(state.is_closed, within_s=5, pause_s=0.001)
        await server.wait_closed()
