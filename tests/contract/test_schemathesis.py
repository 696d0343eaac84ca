"""A search for requests with undocumented responses: schemathesis, signed in and not.

`python3 run.py test tests/contract --cases N` searches with N cases in total, and prints its findings.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.processes.service import Service, eventually, running_command

CASES = 3_500
FIXED, GAIN, GAIN_UNSIGNED = 1_400, 17, 30
"""The number of fixed cases (examples, bounds, wrong methods), and the cases gained for each additional one
per operation: operations with few arguments have few distinct cases."""
SEED = 20_261_123
"""Seed of the short search, to make it reproducible; a search of N cases has a new seed."""
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")

Json = dict[str, Any]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A demo server, started as users start it. At the end its books have to balance."""
    with running_command(tmp_path, "serve", "--demo", "--port", "0", "--data-dir", "data") as running:
        yield running


@pytest.mark.timeout(900)
@pytest.mark.parametrize("signed_in", [True, False], ids=["signed in", "not signed in"])
def test_no_answer_is_undocumented(
    service: Service, tmp_path: Path, request: pytest.FixtureRequest, *, signed_in: bool
) -> None:
    asked = request.config.getoption("--cases")
    # An unauthenticated request has few distinct responses.
    wanted = (asked or CASES) * (3 if signed_in else 2) // 5
    each = max(1, (wanted - FIXED) // (GAIN if signed_in else GAIN_UNSIGNED) + 1)
    (tmp_path / "openapi.json").write_text(json.dumps(closed(service)))
    dictionaries = "".join(
        f"\n[dictionaries.{name}]\nvalues = {json.dumps(values)}\n" for name, values in things(service).items()
    )
    (tmp_path / CONFIGURATION.name).write_text(CONFIGURATION.read_text() + dictionaries)
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", CONFIGURATION.name, "run", "openapi.json",
        "--url", service.url, "--max-examples", str(each),
    ]  # fmt: skip
    if signed_in:
        command += ["--header", f"Authorization: Bearer {service.token(admin=True)}"]
    if not asked:
        command += ["--seed", str(SEED)]

    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    sys.stdout.write(ended.stdout)
    assert ended.returncode == 0, ended.stderr
    cases = re.search(r"([0-9]+) generated", ended.stdout)
    assert cases
    assert int(cases[1]) >= wanted


def closed(service: Service) -> Json:
    """Return the document with closed schemas and without streams."""
    document: Json = service.ask("GET", "/openapi.json")[1]
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        schema["additionalProperties"] = False
    # Problems to operators include the whole payment.
    schemas["Problem"]["properties"]["payment"] = {
        "anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Payment", "OperatorPayment")]
    }
    paths: Json = document["paths"]
    document["paths"] = {path: operations for path, operations in paths.items() if not is_stream(operations)}
    assert len(document["paths"]) >= len(paths) - 2
    return document


def is_stream(operations: Json) -> bool:
    return "text/event-stream" in operations.get("get", {}).get("responses", {}).get("200", {}).get(
        "content", {}
    )


def things(service: Service) -> dict[str, list[str]]:
    """Make payments in several states; return all ids by kind."""
    operator, alice = service.token(admin=True), service.token()
    for merchant in ("Bookshop", "acme-slow"):
        for number in range(3):
            body = {
                "user_id": "demo-alice", "amount": 100 + number, "currency": "EUR", "merchant": merchant,
                "expires_at": "2100-01-01T00:00:00Z",
            }  # fmt: skip
            assert service.ask("POST", "/v1/admin/invoices", body, operator)[0] == 201
    final = [
        service.purchase()[1]["id"],
        service.purchase("acme-declines")[1]["payment"]["id"],
    ]
    wallet_id = service.ask("GET", "/v1/wallets", token=alice)[1]["data"][0]["id"]
    invoices = service.ask("GET", "/v1/invoices?limit=100", token=alice)[1]["data"]
    payments = []
    for invoice in (invoice for invoice in invoices if invoice["amount"] in (100, 101)):
        status, payment = service.ask(
            "POST", "/v1/payments", {"invoice_id": invoice["id"], "wallet_id": wallet_id}, alice
        )
        assert status == 201
        payments.append(payment["id"])

    def codes() -> list[str]:
        _, inbox = service.ask("GET", "/mock/inbox/demo-alice")
        sent = [message["code"] for message in inbox["data"] if message["payment_id"] in payments]
        return sent if len(sent) == len(payments) else []

    messages = service.ask("GET", "/v1/admin/notifications", token=operator)[1]["data"]
    return {
        "users": ["demo-alice", "demo-poor", "demo-blocked"],
        "wallets": [wallet_id],
        "invoices": [invoice["id"] for invoice in invoices],
        "payments": final + payments,
        "final_payments": final,
        "messages": [message["id"] for message in messages],
        "codes": eventually(codes),
        "currencies": ["EUR", "USD"],
    }
