"""`serve` with real services: settlement and SMS over signed HTTP, e-mail by SMTP or by a factory."""

import asyncio
import re
import shutil
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.fixtures.engine_setup import TOKEN_KEY
from support.processes.service import Service, assert_one_line, eventually, run_command, running_command
from support.servers.mail_api_server import MailApi, running_mail_api
from support.servers.server_tls import make_tls
from support.servers.services_stub import SECRET, ServicesStub, running_stub
from support.servers.smtp_server import PASSWORD, USER, MailServer, running_mail_server

from technopay.http.auth.tokens import TokenSigner

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SERVE = ("serve", "--port", "0", "--data-dir", "data")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")

Settings = Mapping[str, str | None]


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[ServicesStub]:
    with running_stub(tmp_path) as running:
        yield running


@contextmanager
def smtp_in_a_thread(folder: Path) -> Iterator[tuple[MailServer, Settings]]:
    """Run a server with STARTTLS and sign-in; yield it with the settings that name it."""
    tls, certificate = make_tls(folder)
    started: list[MailServer] = []
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def run() -> None:
        async with running_mail_server(tls=tls, signs_in=True) as server:
            started.append(server)
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        eventually(lambda: started)
        (folder / "smtp-url").write_text(
            f"smtp://{USER.replace('%', '%25').replace('@', '%40')}:{PASSWORD.replace('/', '%2F')}"
            f"@localhost:{started[0].port}?tls=starttls\n"
        )
        yield (
            started[0],
            {
                "TECHNOPAY_EMAIL": "smtp", "TECHNOPAY_SMTP_URL_FILE": str(folder / "smtp-url"),
                "TECHNOPAY_SMTP_FROM": "Shop <pay@shop.example>", "SSL_CERT_FILE": str(certificate),
            },
        )  # fmt: skip
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


class Shop:
    """A user with a wallet, paying invoices of any merchant with the code of the last message."""

    def __init__(self, service: Service, read: Callable[[], list[str]], **address: str) -> None:
        self.service = service
        self._read = read
        signer = TokenSigner(TOKEN_KEY)
        self.operator = signer.sign("op", admin=True, lifetime_s=600)
        self.user = signer.sign("alice", admin=False, lifetime_s=600)
        self.operate("users", {"id": "alice", **address})
        self.wallet = self.operate("wallets", {"user_id": "alice", "currency": "EUR"})["id"]
        self.operate(f"wallets/{self.wallet}/deposit", {"amount": 50_000})

    def operate(self, path: str, body: Any) -> Any:
        status, answer = self.service.ask("POST", f"/v1/admin/{path}", body, self.operator)
        assert status in (200, 201), answer
        return answer

    def start(self, merchant: str, amount: int, **more: str) -> tuple[int, Any]:
        invoice = self.operate(
            "invoices",
            {
                "user_id": "alice", "amount": amount, "currency": "EUR", "merchant": merchant,
                "expires_at": "2099-12-31T23:59:59Z",
            },
        )  # fmt: skip
        body = {"invoice_id": invoice["id"], "wallet_id": self.wallet, **more}
        return self.service.ask("POST", "/v1/payments", body, self.user)

    def message(self, words: str) -> str:
        """Wait for a message with these words."""
        return eventually(lambda: next((text for text in self._read() if words in text), ""))

    def pay(self, merchant: str, amount: int) -> tuple[int, Any]:
        status, payment = self.start(merchant, amount)
        assert status == 201, payment
        code = re.match(r"\d{6}", self.message(f"{amount / 100:.2f} EUR to {merchant}"))
        assert code
        return self.service.ask(
            "POST", f"/v1/payments/{payment['id']}/confirm?wait=10", {"code": code[0]}, self.user
        )

    def audit(self) -> None:
        status, audit = self.service.ask("GET", "/v1/admin/audit", token=self.operator)
        assert (status, audit["clean"], audit["differences"]) == (200, True, [])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_whole_purchases_with_settlement_over_http_and_codes_by_smtp(
    tmp_path: Path, stub: ServicesStub, workers: str
) -> None:
    with smtp_in_a_thread(tmp_path) as (server, smtp):
        settings = {**stub.settings, **smtp, "TECHNOPAY_LOG_LEVEL": "debug"}
        with running_command(tmp_path, *SERVE, "--workers", workers, settings=settings) as service:
            assert service.ask("GET", "/readyz") == (200, {"status": "ok"})
            assert "technopay_service_is_mock{" not in read_metrics(service)

            def read() -> list[str]:
                return [each.mail.get_content() for each in server.mails]

            shop = Shop(service, read, email="alice@example.com")
            server.replies["RCPT"].append("450 4.2.1 later")
            status, paid = shop.pay("Bookshop-twice", 1_250)
            assert (status, paid["status"], paid["balance_after"]) == (200, "succeeded", 48_750)
            assert shop.message("You paid 12.50 EUR to Bookshop-twice.")
            status, lost = shop.pay("Bookshop-lost", 300)
            assert (status, lost["status"]) == (200, "succeeded")
            status, refused = shop.pay("Bookshop-declines", 700)
            assert (status, refused["code"]) == (402, "settlement_failed")

            refunded = shop.operate(f"payments/{paid['id']}/refund", {})
            assert refunded["status"] == "refunded"
            assert stub.states() == {
                paid["id"]: "settled", lost["id"]: "settled", refused["payment"]["id"]: "declined",
            }  # fmt: skip
            assert sorted(amount for _, _, amount in stub.movements().elements()) == [-1_250, 300, 1_250]
            shop.audit()
        assert {(each.sender, *each.to, each.is_encrypted, each.is_signed_in) for each in server.mails} == {
            ("pay@shop.example", "alice@example.com", True, True)
        }
        for hidden in (PASSWORD, SECRET):
            assert hidden not in service.output.read_text()


def test_codes_by_sms_over_http(tmp_path: Path, stub: ServicesStub) -> None:
    settings: Settings = {**stub.settings, "TECHNOPAY_EMAIL": None}
    with running_command(tmp_path, *SERVE, settings=settings) as service:

        def read() -> list[str]:
            return [text for [text] in stub.read("SELECT text FROM messages")]

        shop = Shop(service, read, email="alice@example.com", phone="+15550100")
        status, refused = shop.start("Bookshop", 100, method="email")
        assert (status, refused["code"]) == (422, "no_channel")
        stub.end()
        status, payment = shop.start("Bookshop", 100)
        assert (status, payment["confirmation"]["method"]) == (201, "sms")
        stub.start()
        status, paid = shop.pay("Bookshop", 1_250)

        assert (status, paid["status"]) == (200, "succeeded")
        assert shop.message("1.00 EUR to Bookshop")
        assert {to for [to] in stub.read("SELECT recipient FROM messages")} == {"+15550100"}
        shop.audit()


def test_a_demo_uses_a_service_of_ours_for_real_and_says_so(tmp_path: Path, stub: ServicesStub) -> None:
    settings: Settings = {**stub.settings, "TECHNOPAY_SMS": None, "TECHNOPAY_SMS_URL": None,
                          "TECHNOPAY_SMS_SECRET": None, "TECHNOPAY_EMAIL": None}  # fmt: skip
    with running_command(tmp_path, *SERVE, "--demo", settings=settings) as service:
        assert "TECHNOPAY_SETTLEMENT=http: the demo uses this service for real" in service.output.read_text()
        assert service.ask("GET", "/readyz") == (200, {"status": "ok", "mocks": ["email", "sms"]})
        status, paid = service.purchase()
        assert (status, paid["status"]) == (200, "succeeded")
        assert stub.states() == {paid["id"]: "settled"}


@pytest.fixture
def mail_api() -> Iterator[MailApi]:
    with running_mail_api() as server:
        yield server


def with_factory(folder: Path, stub: ServicesStub, url: str) -> Settings:
    """Settings with the factory of the examples, in the current directory."""
    shutil.copy(EXAMPLES / "http_mail.py", folder)
    return {
        **stub.settings, "TECHNOPAY_EMAIL": "http_mail:run_mail", "TECHNOPAY_EMAIL_URL": url,
        "TECHNOPAY_EMAIL_SENDER": "shop@example.com",
    }  # fmt: skip


def test_codes_by_the_factory_of_the_examples(tmp_path: Path, stub: ServicesStub, mail_api: MailApi) -> None:
    settings = with_factory(tmp_path, stub, mail_api.url)
    mail_api.errors_left = 1
    with running_command(tmp_path, *SERVE, settings=settings) as service:

        def read() -> list[str]:
            return [mail["text"] for mail in [*mail_api.mails.values()]]

        shop = Shop(service, read, email="alice@example.com")
        status, paid = shop.pay("Bookshop", 1_250)
        assert (status, paid["status"]) == (200, "succeeded")
        assert shop.message("You paid 12.50 EUR to Bookshop.")
    assert {(mail["from"], mail["to"]) for mail in mail_api.mails.values()} == {
        ("shop@example.com", "alice@example.com")
    }


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_that_is_not_there_ends_serve_in_one_line(
    tmp_path: Path, stub: ServicesStub, workers: str
) -> None:
    settings = {**with_factory(tmp_path, stub, "http://127.0.0.1:1"), "TECHNOPAY_LOG_LEVEL": "error"}

    ended = run_command(tmp_path, *SERVE, "--workers", workers, settings=settings)

    assert_one_line(ended, 1, "TECHNOPAY_EMAIL=http_mail:run_mail: ClientConnectorError: ", "127.0.0.1:1")


def test_wrong_settings_of_services_end_serve_in_a_line_each(tmp_path: Path) -> None:
    settings = {
        "TECHNOPAY_SETTLEMENT": "http", "TECHNOPAY_SETTLEMENT_URL": "http://bank.example",
        "TECHNOPAY_EMAIL": "smtp", "TECHNOPAY_SMTP_URL": "smtp://shop:hush@mail.example?tls=no",
        "TECHNOPAY_SMTP_FROM": "pay@shop.example",
    }  # fmt: skip

    ended = run_command(tmp_path, *SERVE, settings=settings)

    assert ended.returncode == 1
    lines = sorted(line.removeprefix("technopay: ") for line in ended.stderr.strip().splitlines())
    assert [line.partition(":")[0] for line in lines] == [
        "TECHNOPAY_SETTLEMENT_SECRET", "TECHNOPAY_SETTLEMENT_URL", "TECHNOPAY_SMTP_URL",
    ]  # fmt: skip
    assert "hush" not in ended.stderr + ended.stdout


def read_metrics(service: Service) -> str:
    with urllib.request.urlopen(f"{service.url}/metrics") as response:
        text: str = response.read().decode()
    return text
