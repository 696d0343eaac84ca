"""After purchases and failures of every kind: no code, token, key or secret in a log, a reply, the store."""

import http.client
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import hiredis
import pytest
from support.fixtures.engine_setup import SECRET
from support.processes.service import Service, eventually, running_command

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")

TOKEN_SECRET = "a secret for tokens, and for tokens alone"
PREVIOUS = "the secret of before and of before alone"
KEY = "an idempotency key that is nobody's business"
SETTINGS = {
    "TECHNOPAY_LOG_LEVEL": "debug",
    "TECHNOPAY_TOKEN_SECRET": TOKEN_SECRET,
    "TECHNOPAY_TOKEN_SECRET_PREVIOUS": PREVIOUS,
}
EMAIL = "alice@example.com"


class Client:
    """Makes calls and keeps every response except a mock's, and every secret that it receives."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._place = urlsplit(service.url).netloc
        self.answers: list[str] = []
        self.tokens = {name: service.token(f"demo-{name}", admin=name == "admin") for name in NAMES}
        self.codes: set[str] = set()

    def ask(self, method: str, path: str, body: Any = None, *, by: str = "alice", **headers: str) -> Any:
        """Make a call; return the body."""
        sent = {"Authorization": f"Bearer {self.tokens[by]}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        line = http.client.HTTPConnection(self._place, timeout=20)
        try:
            line.request(method, path, raw, sent)
            answer = line.getresponse()
            text = answer.read().decode()
        finally:
            line.close()
        self.answers.append(f"{answer.status} {answer.headers} {text}")
        return json.loads(text) if answer.headers.get_content_type() != "text/plain" else None

    def start(self, merchant: str) -> Any:
        invoices = self.ask("GET", "/v1/invoices?limit=100")["data"]
        invoice = next(each for each in invoices if each["merchant"] == merchant)
        wallet = self.ask("GET", "/v1/wallets")["data"][0]
        return self.ask("POST", "/v1/payments", {"invoice_id": invoice["id"], "wallet_id": wallet["id"]})

    def code(self, payment: Any, nth: int = 1) -> str:
        """Wait for the nth code of a payment."""

        def look() -> str | None:
            _, inbox = self._service.ask("GET", "/mock/inbox/demo-alice")
            codes = [m["code"] for m in inbox["data"] if m["payment_id"] == payment["id"] and "code" in m]
            return codes[-nth] if len(codes) >= nth else None

        code = eventually(look)
        assert code
        self.codes.add(code)
        return code

    def confirm(self, payment: Any, code: str) -> Any:
        return self.ask("POST", f"/v1/payments/{payment['id']}/confirm", {"code": code})


NAMES = ("alice", "admin", "poor")


def misbehave(client: Client) -> None:
    """Make refused calls, with secrets in wrong places."""
    token, code = client.tokens["alice"], next(iter(client.codes))
    for header in (
        token,
        f"Basic {token}",
        f"Bearer {token}x",
        f"Bearer {token} {token}",
        f"Bearer {token}\x0b",
    ):
        client.ask("GET", "/v1/wallets", Authorization=header)
    client.ask("GET", "/v1/admin/limits")
    client.ask("GET", f"/v1/payments?cursor={code}'")
    client.ask("GET", f"/v1/wallets/{token}")
    client.ask("POST", "/v1/payments/pay_00x/confirm", {"code": code, "pin": code})
    client.ask("POST", "/v1/payments/pay_00x/confirm", f'{{"code": "{code}"'.encode())
    client.ask("POST", "/v1/payments/pay_00x/cancel", Idempotency_Key=KEY + "\t")
    client.ask("POST", "/v1/payments/pay_00x/confirm", {"code": code}, Content_Type="text/plain")
    client.ask("GET", "/v1/wallets", X_Request_Id=f"{token}\x7f")
    client.ask("GET", "/v1/wallets", by="alice", **{f"X-{token}\x00": "y"})


def buy(client: Client) -> None:
    """Pay, fail to pay in every way, repeat and give up."""
    paid = client.start("Bookshop")
    code = client.code(paid)
    assert client.confirm(paid, code)["status"] == "succeeded"
    assert client.confirm(paid, code)["status"] == "succeeded"
    given_back = client.start("acme-declines")
    assert client.confirm(given_back, client.code(given_back))["code"] == "settlement_failed"
    lost = client.start("acme-flaky")
    assert client.confirm(lost, client.code(lost))["status"] in ("processing", "succeeded")
    failed = client.start("acme-errors")
    right = client.code(failed)
    for _ in range(5):
        wrong = client.confirm(failed, str((int(right) + 1) % 1_000_000).zfill(6))
    assert wrong["attempts_remaining"] == 0
    again = client.start("acme-errors")
    client.code(again)
    for _ in range(2):
        client.ask("POST", f"/v1/payments/{again['id']}/resend", Idempotency_Key=KEY)
    client.code(again, 2)
    client.ask("POST", f"/v1/payments/{again['id']}/cancel", Idempotency_Key=KEY)
    assert client.start("Jeweller")["code"] == "daily_limit_exceeded"
    client.ask("POST", f"/v1/payments/{paid['id']}/confirm", {"code": code}, by="poor")
    refund = client.ask("POST", f"/v1/admin/payments/{paid['id']}/refund", by="admin", Idempotency_Key=KEY)
    assert refund["status"] == "refunded"


def written(data_dir: Path) -> Iterator[str]:
    """Yield every command in the store's file, except those of the mock inbox."""
    for file in sorted((data_dir / "appendonlydir").glob("*.incr.aof")):
        reader = hiredis.Reader(encoding="utf-8", errors="replace")
        reader.feed(file.read_bytes())
        while (command := reader.gets()) is not False:
            if not any(":mock:inbox:" in part for part in command):
                yield " ".join(command)


def found(secrets: dict[str, str], text: str) -> list[str]:
    """Return the names of the secrets that occur in a text as separate words."""
    return [
        name for name, secret in secrets.items()
        if re.search(rf"(?<![A-Za-z0-9_-]){re.escape(secret)}(?![A-Za-z0-9_-])", text)
    ]  # fmt: skip


def test_no_code_token_key_or_secret_is_in_a_log_an_answer_or_the_store(tmp_path: Path) -> None:
    arguments = ("serve", "--demo", "--port", "0", "--data-dir", "data")
    with running_command(tmp_path, *arguments, settings=SETTINGS) as service:
        client = Client(service)
        buy(client)
        misbehave(client)
        client.ask("GET", "/metrics")
        os.kill(service.children()[0], signal.SIGKILL)
        eventually(lambda: service.ask("GET", "/readyz")[0] == 200)
        assert service.stop() == 0
        log = service.output.read_text()

    secrets = {f"the token of {name}": token for name, token in client.tokens.items()}
    secrets |= {f"code {number}": code for number, code in enumerate(client.codes)}
    secrets |= {"the secret": SECRET, "the tokens' secret": TOKEN_SECRET, "the one of before": PREVIOUS}
    secrets |= {"a key": KEY}
    store = list(written(tmp_path / "data"))

    assert len(client.codes) == 6
    assert len(store) > 100
    assert "DEBUG" in log
    assert found(secrets | {"the address": EMAIL}, log) == []
    for answer in client.answers:
        assert found(secrets | {"the address": EMAIL}, answer) == [], answer
    for command in store:
        assert found(secrets, command) == [], command
    # The search itself works.
    assert found(secrets, f'{{"code": "{next(iter(client.codes))}"}} {KEY}') == ["code 0", "a key"]
