"""`serve` with the services of docs/examples: whole purchases, settled and sent over real HTTP."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.processes.service import Service, assert_one_line, eventually, run_command, running_command
from support.servers.bank_server import TOKEN, Outside, running_outside

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SERVE = ("serve", "--port", "0", "--data-dir", "data")

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")


@pytest.fixture
def outside() -> Iterator[Outside]:
    with running_outside() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, outside: Outside) -> Path:
    """A folder with the examples, named by its `.env`."""
    for name in ("http_bank.py", "http_mail.py"):
        shutil.copy(EXAMPLES / name, tmp_path)
    (tmp_path / ".env").write_text(
        "TECHNOPAY_SETTLEMENT=http_bank:Bank\n"
        f"TECHNOPAY_SETTLEMENT_URL={outside.url}\n"
        f"TECHNOPAY_SETTLEMENT_TOKEN={TOKEN}\n"
        "TECHNOPAY_EMAIL=http_mail:run_mail\n"
        f"TECHNOPAY_EMAIL_URL={outside.url}\n"
        "TECHNOPAY_EMAIL_SENDER=shop@example.com\n"
    )
    return tmp_path


FROM_FILE: dict[str, str | None] = {
    "TECHNOPAY_SETTLEMENT": None, "TECHNOPAY_EMAIL": None, "TECHNOPAY_SMS": None,
}  # fmt: skip


class Shop:
    """A user with a wallet, paying invoices of any merchant."""

    def __init__(self, service: Service, outside: Outside, home: Path) -> None:
        self.service = service
        self.outside = outside
        self.operator = run_command(home, "token", "--user", "op", "--admin", settings=FROM_FILE).stdout.strip()
        self.user = run_command(home, "token", "--user", "alice", settings=FROM_FILE).stdout.strip()
        self.operate("users", {"id": "alice", "email": "alice@example.com", "phone": "+15550100"})
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

    def mail(self, words: str) -> str:
        """Wait for a message with these words."""
        return eventually(lambda: next((m["text"] for m in self.outside.mails if words in m["text"]), ""))

    def pay(self, merchant: str, amount: int) -> tuple[int, Any]:
        status, payment = self.start(merchant, amount)
        assert status == 201, payment
        code = re.match(r"\d{6}", self.mail(f"{amount / 100:.2f} EUR to {merchant}"))
        assert code
        return self.service.ask(
            "POST", f"/v1/payments/{payment['id']}/confirm?wait=10", {"code": code[0]}, self.user
        )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_whole_purchases_with_the_services_of_the_examples(home: Path, outside: Outside, workers: str) -> None:
    with running_command(home, *SERVE, "--workers", workers, settings=FROM_FILE) as service:
        assert service.ask("GET", "/readyz") == (200, {"status": "ok"})
        assert "mock" not in service.output.read_text()
        shop = Shop(service, outside, home)

        outside.errors_left = 1
        status, paid = shop.pay("Bookshop", 1_250)
        assert (status, paid["status"], paid["balance_after"]) == (200, "succeeded", 48_750)
        assert shop.mail("You paid 12.50 EUR to Bookshop.")
        settled = [key for method, path, key in outside.asked if (method, path) == ("POST", "/transfers")]
        assert settled.count(paid["id"]) == len(settled)
        assert outside.transfers == {paid["id"]: "settled"}

        status, refused = shop.pay("Nobody", 700)
        assert (status, refused["code"], refused["payment"]["status"]) == (402, "settlement_failed", "failed")

        refunded = shop.operate(f"payments/{paid['id']}/refund", {})
        assert refunded["status"] == "refunded"
        _, kept = shop.pay("Jeweller", 10_000)
        assert shop.operate(f"payments/{kept['id']}/refund", {})["status"] == "succeeded"

        status, audit = service.ask("GET", "/v1/admin/audit", token=shop.operator)
        assert (status, audit["clean"], audit["differences"]) == (200, True, [])
        sent = [(mail["from"], mail["to"]) for mail in outside.mails]
        assert set(sent) == {("shop@example.com", "alice@example.com")}


def test_without_a_channel_for_sms_nothing_is_sent_by_it(home: Path, outside: Outside) -> None:
    with running_command(home, *SERVE, settings=FROM_FILE) as service:
        shop = Shop(service, outside, home)
        status, refused = shop.start("Bookshop", 100, method="sms")
        assert (status, refused["code"]) == (422, "no_channel")
        shop.operate("users", {"id": "bob", "phone": "+15550100"})
        status, payment = shop.start("Bookshop", 200)
        assert (status, payment["confirmation"]["method"]) == (201, "email")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_that_is_not_there_ends_serve_in_one_line(home: Path, outside: Outside, workers: str) -> None:
    settings = {**FROM_FILE, "TECHNOPAY_EMAIL_URL": "http://127.0.0.1:1", "TECHNOPAY_LOG_LEVEL": "error"}

    ended = run_command(home, *SERVE, "--workers", workers, settings=settings)

    assert_one_line(ended, 1, "TECHNOPAY_EMAIL=http_mail:run_mail: ClientConnectorError: ", "127.0.0.1:1")
