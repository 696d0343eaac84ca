"""E-mail by SMTP: a channel that hands messages to a server, over connections that it keeps."""

import asyncio
import re
import ssl
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from functools import partial
from types import TracebackType
from typing import NamedTuple, Self

from technopay.engine.fields import email_error
from technopay.engine.notifications.smtp_settings import SmtpServer, ascii_domain, parse_sender
from technopay.engine.ports import OutgoingMessage

try:
    import aiosmtplib
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("SmtpChannel needs aiosmtplib: pip install 'technopay[smtp]'") from error

CONNECTIONS_MAX = 4
SENDING_MAX = 1_000
"""Messages on their way at a time."""
SENT_MAX = 1_000
"""Accepted messages that are remembered, so that a late repeat does not send them again."""
STEP_S_MAX = 10.0
"""For a connection, and for each reply of the server."""
DELIVERY_S_MAX = 30.0
"""For a message, with its wait for a connection."""
IDLE_S_MAX = 30.0
"""A connection that was idle for longer is not used again: the network may have forgotten it."""
LEAVE_S_MAX = 2.0
"""For the messages on their way, then for the farewell, when the channel is closed."""
ERROR_LENGTH_MAX = 200
CLIENT_NAME = "[127.0.0.1]"
"""The name in EHLO. Servers accept it from mail programs; the name of a container means nothing to them."""
HIDDEN_CODE = "••••••"
ENCODED = "=?"
"""It begins an encoded word (RFC 2047). Python decodes that in a header that is set; before 3.12.5 it even
writes the end of a line that was encoded in it."""
EVENT_ID = re.compile("[A-Za-z0-9_-]{1,64}")

SUBJECTS: Mapping[str, str] = {
    "confirmation.code": "Your code to pay {payee}",
    "payment.succeeded": "You paid {payee}",
    "payment.failed": "Your payment to {payee} failed",
    "payment.refunded": "Your payment to {payee} was refunded",
    "payment.partially_refunded": "Your payment to {payee} was refunded in part",
    "payment.refused": "Your payment to {payee} was refused",
    "payment.canceled": "Your payment to {payee} was canceled",
    "payment.expired": "Your payment to {payee} has expired",
    "user.address_changed": "Your address was changed",
}
"""Subjects by kind, without the code: mail servers log subjects, and locked screens show them."""
OTHER_SUBJECT = "A message about your wallet"
REFUSED = {
    aiosmtplib.SMTPConnectResponseError: "the connection",
    aiosmtplib.SMTPHeloError: "the greeting",
    aiosmtplib.SMTPSenderRefused: "the sender",
    aiosmtplib.SMTPRecipientRefused: "the recipient",
    aiosmtplib.SMTPDataError: "the message",
}


class SmtpError(Exception):
    """Raised when the server did not accept a message. Neither a password nor a code is in its text."""


class Mail(NamedTuple):
    """A message as the server gets it. `is_international` if the recipient needs SMTPUTF8 (RFC 6531)."""

    to: str
    content: bytes
    is_international: bool


class SmtpChannel:
    """Sends messages by e-mail. Raises SmtpError for a message that the server did not accept.

    A caller that leaves does not stop a message on its way: its repeat, with the same `event_id`, joins it.
    So a server that is slower than the engine's time-out sends each message once.
    """

    def __init__(self, url: str, sender: str, *, tls: ssl.SSLContext | None = None) -> None:
        """Check the settings; no I/O. `tls` replaces the system's certificates.

        Raises:
            ValueError: the URL or the sender breaks a rule.

        """
        self._server = SmtpServer.of(url)
        self._sender = parse_sender(sender)
        self._tls = None if self._server.tls == "none" else tls or ssl.create_default_context()
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)
        self._idle: list[tuple[aiosmtplib.SMTP, float]] = []
        self._sending: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._sent: dict[tuple[str, str], None] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def deliver(self, message: OutgoingMessage) -> None:
        """Deliver a message, or join its delivery; one that was accepted lately is not sent again."""
        key = (message.event_id, message.to)
        if key in self._sent:
            return
        sending = self._sending.get(key)
        if sending is None:
            if len(self._sending) >= SENDING_MAX:
                raise SmtpError("too many messages wait for the SMTP server")
            sending = asyncio.create_task(self._send(message))
            self._sending[key] = sending
            sending.add_done_callback(partial(self._end, key))
        await asyncio.shield(sending)

    async def close(self) -> None:
        """Wait for messages on their way, for a bounded time, and leave the server."""
        if self._sending:
            _, late = await asyncio.wait(self._sending.values(), timeout=LEAVE_S_MAX)
            for sending in late:
                sending.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        idle, self._idle = self._idle, []
        await asyncio.gather(*(_leave(connection) for connection, _ in idle))

    def _end(self, key: tuple[str, str], sending: asyncio.Task[None]) -> None:
        del self._sending[key]
        if not sending.cancelled() and sending.exception() is None:
            self._sent[key] = None
            if len(self._sent) > SENT_MAX:
                del self._sent[next(iter(self._sent))]

    async def _send(self, message: OutgoingMessage) -> None:
        mail = compose(message, self._sender)
        try:
            async with asyncio.timeout(DELIVERY_S_MAX), self._slots:
                connection = await self._begin(mail)
                try:
                    await connection.rcpt(mail.to, encoding="utf-8")
                    await connection.data(mail.content)
                except BaseException:
                    connection.close()
                    raise
                self._idle.append((connection, asyncio.get_running_loop().time()))
        except (aiosmtplib.SMTPException, OSError) as error:
            raise SmtpError(self._describe(error, message)) from None

    async def _begin(self, mail: Mail) -> aiosmtplib.SMTP:
        """Return a connection on which a message has begun: a kept one, or a new one if all kept ones are gone.

        The server accepts nothing of a message before it accepts its beginning, so this is safe to repeat.
        """
        while True:
            connection, is_kept = self._take()
            try:
                if not is_kept:
                    await connection.connect()
                await self._begin_on(connection, mail)
            except BaseException as error:
                is_gone = is_kept and not connection.is_connected
                connection.close()
                if not is_gone or not isinstance(error, aiosmtplib.SMTPException | OSError):
                    raise
            else:
                return connection

    def _take(self) -> tuple[aiosmtplib.SMTP, bool]:
        """Take a kept connection; make one, unconnected, if there is none."""
        while self._idle:
            connection, since = self._idle.pop()
            if asyncio.get_running_loop().time() - since <= IDLE_S_MAX:
                return connection, True
            connection.close()
        server = self._server
        connection = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            local_hostname=CLIENT_NAME,
            timeout=STEP_S_MAX,
            use_tls=server.tls == "at_once",
            start_tls=server.tls == "starttls",
            tls_context=self._tls,
        )
        return connection, False

    async def _begin_on(self, connection: aiosmtplib.SMTP, mail: Mail) -> None:
        if connection.is_ehlo_or_helo_needed:
            await connection.ehlo()
        options = ["SMTPUTF8", "BODY=8BITMIME"] if mail.is_international else []
        if options and not connection.supports_extension("smtputf8"):
            raise SmtpError("the SMTP server takes no address with such letters: it lacks SMTPUTF8")
        await connection.mail(self._sender.addr_spec, options=options)

    def _describe(self, error: Exception, message: OutgoingMessage) -> str:
        """Describe an error for operators, with the server's reply."""
        match error:
            case aiosmtplib.SMTPAuthenticationError():
                return f"the SMTP server refused the sign-in: {error.code}"  # a reply can repeat the password
            case aiosmtplib.SMTPResponseException():
                about = REFUSED.get(type(error), "a command")
                text = f"the SMTP server refused {about}: {error.code} {error.message}"
            case TimeoutError():
                text = f"the SMTP server {self._server.host}:{self._server.port} did not reply in time"
            case _:
                text = f"{self._server.host}:{self._server.port}: {error}"
        if message.code:
            text = text.replace(message.code, HIDDEN_CODE)
        return _one_line(text)[:ERROR_LENGTH_MAX]


def compose(message: OutgoingMessage, sender: Address) -> Mail:
    """Compose the e-mail of a message: plain text, with one id for all attempts.

    Raises:
        SmtpError: the address or the event's id could end its header.

    """
    if email_error(message.to) or ENCODED in message.to or not EVENT_ID.fullmatch(message.event_id):
        raise SmtpError("the message has no valid address or event id")
    local, _, domain = message.to.rpartition("@")
    try:
        to = f"{local}@{ascii_domain(domain)}"
    except ValueError:
        raise SmtpError("the domain of the address is not valid") from None
    mail = EmailMessage(SMTP if local.isascii() else SMTPUTF8)
    mail["From"] = sender
    mail["To"] = to
    payee = _one_line(message.payee).replace(ENCODED, "= ?")
    subject = SUBJECTS.get(message.kind)
    if subject and not payee and "{payee}" in subject:
        subject = None
    mail["Subject"] = subject.format(payee=payee) if subject else OTHER_SUBJECT
    mail["Date"] = format_datetime(datetime.now(UTC))
    mail["Message-ID"] = f"<{message.event_id}@{sender.domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(f"{message.text}\n", charset="utf-8", cte="quoted-printable")
    return Mail(to, mail.as_bytes(), not local.isascii())


def _one_line(text: str) -> str:
    """Make one line of a text, without characters that cannot be seen."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


async def _leave(connection: aiosmtplib.SMTP) -> None:
    with suppress(aiosmtplib.SMTPException, OSError):
        await connection.quit(timeout=LEAVE_S_MAX)
    connection.close()
