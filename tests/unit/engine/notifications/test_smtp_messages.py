"""E-mails as a server gets them: their headers, and what must not get into them."""

from email.utils import parsedate_to_datetime

import pytest
from support.fixtures.outgoing import make_message
from support.servers.smtp_server import SENDER, MailServer, running_mail_server

from technopay.engine.notifications.smtp import SmtpChannel, SmtpError, compose
from technopay.engine.notifications.smtp_settings import parse_sender
from technopay.engine.notifications.texts import MESSAGE_KINDS

ENCODED_HEADER = "=?utf-8?q?Shop=0D=0ABcc:_eve=40evil.example?="
"""An encoded word (RFC 2047) with an end of a line in it."""


async def test_a_message_is_plain_text_with_the_headers_of_its_event(
    server: MailServer, channel: SmtpChannel
) -> None:
    await channel.deliver(make_message())

    [received] = server.mails
    assert (received.sender, received.to) == ("pay@shop.example", ["alice@example.com"])
    mail = received.mail
    assert (mail["From"], mail["To"]) == (SENDER, "alice@example.com")
    assert mail["Subject"] == "Your code to pay Bookshop"
    assert mail["Message-ID"] == "<evt_001783252800000-0@shop.example>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert parsedate_to_datetime(mail["Date"]).utcoffset() is not None
    assert (mail.get_content_type(), mail.get_content_charset()) == ("text/plain", "utf-8")
    assert mail.get_content().splitlines() == ["123456 is your code to pay 12.34 EUR to Bookshop."]


@pytest.mark.parametrize("kind", [*dict.fromkeys(MESSAGE_KINDS.values()), "payment.partially_refunded"])
def test_every_kind_has_a_subject_with_the_payee_and_without_the_code(kind: str) -> None:
    content = compose(make_message(kind=kind), parse_sender(SENDER)).content.decode()

    [subject] = [line for line in content.split("\r\n") if line.startswith("Subject: ")]
    assert "Bookshop" in subject
    assert "123456" not in subject


@pytest.mark.parametrize("changes", [{"kind": "user.email_changed"}, {"payee": ""}])
def test_any_other_message_has_a_subject_too(changes: dict[str, str]) -> None:
    assert (
        b"\r\nSubject: A message about your wallet\r\n"
        in compose(make_message(**changes), parse_sender(SENDER)).content
    )


@pytest.mark.parametrize(
    ("payee", "subject"),
    [
        ("Café ☕ 咖啡店", "Café ☕ 咖啡店"),
        ("Shop\r\nBcc: eve@evil.example", "Shop Bcc: eve@evil.example"),
        ("Shop\n\nbody", "Shop body"),
        ("Shop\x85\u2028\u2029X-Evil: 1", "Shop X-Evil: 1"),
        ("Shop\x00\x1b[2J\u202egnp", "Shop [2J gnp"),
        ("咖啡" * 64, "咖啡" * 64),
        (f"a {ENCODED_HEADER}", f"a = {ENCODED_HEADER[1:]}"),
        (f"==?{ENCODED_HEADER}", f"== ?= {ENCODED_HEADER[1:]}"),
        ("x" * 128, "x" * 128),
    ],
)
async def test_no_payee_and_no_text_gets_out_of_its_place(
    server: MailServer, channel: SmtpChannel, payee: str, subject: str
) -> None:
    text = f"Pay {payee}.\r\n.\r\nMAIL FROM:<eve@evil.example>"
    await channel.deliver(make_message(payee=payee, text=text))

    [received] = server.mails
    assert (server.steps["MAIL"], received.to) == (1, ["alice@example.com"])
    assert received.mail.keys() == [
        "From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type",
        "Content-Transfer-Encoding", "MIME-Version",
    ]  # fmt: skip
    assert received.mail["Subject"] == f"Your code to pay {subject}"
    assert received.mail.get_content().splitlines() == f"{text}\n".splitlines()


@pytest.mark.parametrize(
    "changes",
    [
        {"to": "alice@example.com\r\nRCPT TO:<eve@evil.example>"},
        {"to": "alice@example.com, eve@evil.example"},
        {"to": "alice@example.com> SIZE=1"},
        {"to": "=?utf-8?q?alice=0D=0ABcc:_eve?=@example.com"},
        {"to": "alice"},
        {"to": ""},
        {"event_id": "evt_1>\r\nBcc: eve@evil.example"},
    ],
)
async def test_an_address_or_an_id_that_would_end_its_header_is_refused(
    server: MailServer, channel: SmtpChannel, changes: dict[str, str]
) -> None:
    with pytest.raises(SmtpError, match="no valid address or event id"):
        await channel.deliver(make_message(**changes))

    assert server.connections == 0


@pytest.mark.parametrize("to", ["käse@example.com", "δοκιμή@παράδειγμα.example"])
async def test_an_address_of_any_script_works_where_the_server_takes_it(to: str) -> None:
    async with running_mail_server(utf8=True) as server, SmtpChannel(server.url, SENDER) as channel:
        await channel.deliver(make_message(to=to, payee="Café"))
        [received] = server.mails
        local, _, domain = to.partition("@")
        expected = f"{local}@{domain if domain.isascii() else 'xn--hxajbheg2az3al.example'}"
        assert (received.to, received.mail["To"]) == ([expected], expected)
        assert received.mail["Subject"] == "Your code to pay Café"
    async with running_mail_server(utf8=False) as server, SmtpChannel(server.url, SENDER) as channel:
        with pytest.raises(SmtpError, match="lacks SMTPUTF8"):
            await channel.deliver(make_message(to=to))
        await channel.deliver(make_message(to="alice@bücher.example"))
        assert server.mails[0].to == ["alice@xn--bcher-kva.example"]
