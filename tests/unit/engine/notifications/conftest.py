"""An SMTP server in the test's loop, and the channel to it."""

from collections.abc import AsyncIterator

import pytest
from support.servers.smtp_server import SENDER, MailServer, running_mail_server

from technopay.engine.notifications.smtp import SmtpChannel


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with running_mail_server() as running:
        yield running


@pytest.fixture
async def channel(server: MailServer) -> AsyncIterator[SmtpChannel]:
    async with SmtpChannel(server.url, SENDER) as opened:
        yield opened
