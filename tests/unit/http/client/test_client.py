"""The client has the operations of the table of routes, with their arguments and results."""

import inspect
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any, cast, get_type_hints
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import BaseModel

from technopay.engine import Page, SettlementRow
from technopay.http.api.route import Route
from technopay.http.app import API_ROUTES
from technopay.http.client import Client, all_of
from technopay.http.client.transport import Request

ROUTES = API_ROUTES
"""All operations of the API except streams, which are no calls."""
ARGUMENTS: dict[str, Any] = {
    "amount": 5, "code": "123456", "currency": "EUR", "cursor": "abc", "description": "two books",
    "metadata": {"order": "7"},
    "email": "alice@example.com", "expires_at": datetime(2036, 1, 1, tzinfo=UTC), "idempotency_key": "a-key",
    "invoice_id": "inv_1", "limit": 7, "merchant": "bookshop", "message_id": "msg_1", "method": "sms",
    "note": "seen", "outcome": "settled", "payment_id": "pay_1", "phone": "+15550100", "reference": "R-1",
    "set_aside": True, "created_from": datetime(2036, 1, 1, tzinfo=UTC),
    "created_to": datetime(2036, 1, 2, tzinfo=UTC), "at_from": datetime(2036, 1, 1, tzinfo=UTC),
    "at_to": datetime(2036, 1, 2, tzinfo=UTC), "user_id": "alice", "wait_s": 2.0, "wallet_id": "wal_1",
    "after": "AQAA",
    "delivery_id": "dlv_1", "overlap_s": 60, "types": ["payment.succeeded"], "url": "https://example.com/",
    "webhook_id": "whk_1", "rows": [SettlementRow(key="pay_1", amount=5, currency="EUR", outcome="settled")],
    "settled_from": datetime(2036, 1, 1, tzinfo=UTC), "settled_to": datetime(2036, 1, 2, tzinfo=UTC),
}  # fmt: skip

STATUSES = {
    "searchPayments": "succeeded", "searchInvoices": "paid", "searchWallets": "inactive",
    "searchUsers": "blocked", "listNotifications": "dead",
    "listDeliveries": "dead", "updateWebhook": "paused",
}  # fmt: skip
"""The statuses of operations that have one."""


class Recorder:
    """A transport that only records the calls."""

    def __init__(self) -> None:
        self.model: Any = None
        self.request = Request("", "")

    async def call(self, model: Any, request: Request) -> Any:
        self.model, self.request = model, request


def method_name(operation_id: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", operation_id)


async def made(route: Route) -> tuple[Recorder, dict[str, Any]]:
    """Call an operation with all its arguments."""
    recorder, client = Recorder(), Client("http://localhost", "token")
    client._transport = cast("Any", recorder)
    operation = getattr(client, method_name(route.operation_id))
    arguments = {
        name: STATUSES[route.operation_id] if name == "status" else ARGUMENTS[name]
        for name in inspect.signature(operation).parameters
    }
    if route.operation_id == "listEvents":
        arguments["types"] = "payment.failed,payment.expired"  # a query has no lists
    await operation(**arguments)
    return recorder, arguments


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation_id)
async def test_every_operation_has_its_method_path_query_body_and_answer(route: Route) -> None:
    recorder, arguments = await made(route)
    request = recorder.request
    sent = urlsplit(request.path)

    assert request.method == route.method
    assert sent.path == route.path.format(**{name: str(value) for name, value in arguments.items()})
    answered = get_type_hints(getattr(Client, method_name(route.operation_id)))["return"]
    assert recorder.model == answered == route.response_model
    assert (request.key is not None) == route.takes_key

    # Every argument is sent, in the form that the server reads.
    query = {name: values[0] for name, values in parse_qs(sent.query).items()}
    assert set(query) == names(route.query)
    assert set(request.body or {}) == names(route.body)
    read = {name: arguments[name] for name in re.findall(r"{(\w+)}", route.path)}
    read |= dict(route.query.model_validate(query))
    read |= dict(route.body.model_validate_json(json.dumps(request.body or {}), strict=True))
    if route.takes_key:
        read["idempotency_key"] = request.key
    if "wait_s" in arguments:
        # A wait makes the deadline later; the client alone waits for an audit.
        assert request.wait_s == arguments["wait_s"]
        read.setdefault("wait_s", request.wait_s)
    assert arguments == read


def names(form: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in form.model_fields.items()}


def test_there_are_no_operations_but_those_of_the_table() -> None:
    public = {
        name for name, value in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")
    }

    assert public - {"aclose", "events", "all_events"} == {method_name(route.operation_id) for route in ROUTES}


async def test_all_of_a_list_comes_page_by_page() -> None:
    asked: list[dict[str, Any]] = []

    async def list_numbers(**arguments: Any) -> Page[int]:
        asked.append(arguments)
        first = int(arguments["cursor"] or 0)
        # A page can be empty while there is a next one.
        data = [] if first == 3 else list(range(first, first + 3))
        following = str(first + 3) if first < 6 else None
        return Page[int](data=data, has_more=following is not None, next_cursor=following)

    assert [number async for number in all_of(list_numbers, status="dead")] == [0, 1, 2, 6, 7, 8]
    assert asked == [{"limit": 100, "cursor": cursor, "status": "dead"} for cursor in ("", "3", "6")]


def test_importing_the_client_loads_no_server() -> None:
    look = (
        "import sys, technopay.http.client as it\n"
        "server = ('aiohttp.web', 'technopay.http.app', 'technopay.storage', 'prometheus_client', 'jwt')\n"
        "print([name for name in server if name in sys.modules])"
    )

    assert subprocess.check_output([sys.executable, "-c", look], text=True) == "[]\n"
