"""The client against the table of routes: they cannot drift apart."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, get_type_hints
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import BaseModel

from technopay.engine import Page
from technopay.http.answer import JSON
from technopay.http.client import Client, all_of
from technopay.http.client.connection import Request
from technopay.http.operator_routes import OPERATOR_ROUTES
from technopay.http.routes import Route
from technopay.http.user_routes import USER_ROUTES

ROUTES = [route for route in (*USER_ROUTES, *OPERATOR_ROUTES) if route.media == JSON]
"""All operations of the API but streams, which are no calls."""
RENAMED = {"user_id": "id", "wait_s": "wait"}
"""Arguments that are called otherwise over HTTP: by their unit, or by whose id it is."""
ARGUMENTS: dict[str, Any] = {
    "amount": 5,
    "code": "123456",
    "currency": "EUR",
    "cursor": "abc",
    "description": "two books",
    "email": "alice@example.com",
    "expires_at": datetime(2036, 1, 1, tzinfo=UTC),
    "idempotency_key": "a-key",
    "invoice_id": "inv_1",
    "limit": 7,
    "merchant": "bookshop",
    "message_id": "msg_1",
    "method": "sms",
    "note": "seen",
    "outcome": "settled",
    "payment_id": "pay_1",
    "phone": "+15550100",
    "reference": "R-1",
    "set_aside": True,
    "user_id": "alice",
    "wait_s": 2.0,
    "wallet_id": "wal_1",
}


class Recorder(Client):
    """A client that sends nothing and remembers what it would have sent, and wanted for an answer."""

    def __init__(self) -> None:
        super().__init__("http://localhost", "token")
        self.wanted: Any = None
        self.request = Request("", "")

    async def _call(self, answer: Any, request: Request) -> Any:
        self.wanted, self.request = answer, request


def method_name(operation_id: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", operation_id)


def statuses_of(form: type[BaseModel]) -> str:
    """Answer a status that a list can be filtered by."""
    return "dead" if "Notification" in form.__name__ else "succeeded"


async def made(route: Route) -> tuple[Recorder, dict[str, Any]]:
    """Call an operation with every argument that it takes."""
    recorder = Recorder()
    operation = getattr(recorder, method_name(route.operation_id))
    arguments = {
        name: statuses_of(route.query) if name == "status" else ARGUMENTS[name]
        for name in inspect.signature(operation).parameters
    }
    await operation(**arguments)
    return recorder, arguments


def path_values(arguments: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in arguments.items()}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation_id)
async def test_every_operation_has_its_method_path_query_body_and_answer(route: Route) -> None:
    recorder, arguments = await made(route)
    request = recorder.request
    sent = urlsplit(request.path)

    assert request.method == route.method
    assert sent.path == route.path.format(**path_values(arguments))
    assert recorder.wanted == (Page[route.answer] if route.is_list else route.answer)  # type: ignore[name-defined]
    assert (request.key is not None) == route.takes_key

    # Everything that can be said is said, in the form that the server reads.
    query = {name: values[0] for name, values in parse_qs(sent.query).items()}
    assert set(query) == set(route.query.model_fields)
    assert set(request.body or {}) == set(route.body.model_fields)
    said = {name: arguments[name] for name in re.findall(r"{(\w+)}", route.path)}
    said |= dict(route.query.model_validate(query))
    said |= dict(route.body.model_validate_json(json.dumps(request.body or {}), strict=True))
    if route.takes_key:
        said["idempotency_key"] = request.key
    if route.operation_id == "audit":
        # Only the client waits for it.
        said["wait"] = request.wait_s
    assert {name if name in said else RENAMED[name]: value for name, value in arguments.items()} == said


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation_id)
def test_an_operation_says_truly_what_it_answers(route: Route) -> None:
    answered = get_type_hints(getattr(Client, method_name(route.operation_id)))["return"]

    assert answered == (Page[route.answer] if route.is_list else route.answer)  # type: ignore[name-defined]


def test_there_are_no_operations_but_those_of_the_table() -> None:
    public = {
        name for name, value in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")
    }

    assert public - {"aclose", "events"} == {method_name(route.operation_id) for route in ROUTES}


async def test_a_wait_makes_the_deadline_later() -> None:
    for operation_id in ("confirmPayment", "getPayment", "audit"):
        [route] = [route for route in ROUTES if route.operation_id == operation_id]
        recorder, _ = await made(route)
        assert recorder.request.wait_s == 2.0


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
