"""The table of routes, and the binding of a request to a method of the engine."""

from types import SimpleNamespace
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from support.fixtures.engine_setup import SECRET

from technopay.engine import Engine, OperatorPayment, Payment
from technopay.http.api.route import Call, Route
from technopay.http.app import API_ROUTES, create_app
from technopay.http.auth.tokens import ADMIN, PAYMENTS, TokenAuthenticator
from technopay.http.responses import Response

CREATED = {"/v1/payments", *(f"/v1/admin/{noun}" for noun in ("users", "wallets", "invoices", "webhooks"))}


def test_the_path_of_a_route_decides_its_scope_and_its_method_the_idempotency_key() -> None:
    for route in API_ROUTES:
        assert route.scope == (ADMIN if route.path.startswith("/v1/admin/") else PAYMENTS), route.path
        # A reconciliation changes nothing.
        has_none = route.path.endswith("/confirm") or route.operation is Engine.reconcile
        assert route.takes_key is (route.method == "POST" and not has_none), route.path


def test_only_some_routes_create_a_record() -> None:
    assert {route.path for route in API_ROUTES if route.status == 201} == CREATED


def test_every_parameter_of_an_operation_is_bound_once_and_the_user_of_a_user_is_the_caller() -> None:
    for route in API_ROUTES:
        bound = [*route.path_names, *route.caller_names, *route.body.model_fields, *route.query.model_fields]
        bound += ["idempotency_key"] if route.takes_key else []
        assert sorted(bound) == sorted(route.parameters), route.path
        if route.scope == PAYMENTS and "user_id" in route.parameters:
            assert route.caller_names == ("user_id",)
    [resolve] = [route for route in API_ROUTES if route.operation is Engine.resolve_payment]
    assert resolve.caller_names == ("by",)


def test_a_route_derives_its_names_its_summary_and_its_model_from_the_operation() -> None:
    [start] = [route for route in API_ROUTES if route.operation is Engine.start_payment]
    [search] = [route for route in API_ROUTES if route.operation is Engine.search_payments]

    assert (start.operation_id, start.body.__name__, start.is_list) == (
        "startPayment", "StartPaymentBody", False
    )  # fmt: skip
    assert (Engine.start_payment.__doc__ or "").startswith(start.summary)
    assert (start.model, start.payment_model) == (Payment, Payment)
    assert (search.model, search.payment_model, search.is_list) == (OperatorPayment, OperatorPayment, True)


async def test_a_query_parameter_without_a_default_is_required() -> None:
    async def find(_: Call, *, status: str) -> Response:
        return Response(status.encode(), 200, {}, "text/plain")

    engine: Any = SimpleNamespace()
    app = create_app(engine, TokenAuthenticator(SECRET), more_routes=[Route("GET", "/found", None, find)])
    async with TestClient(TestServer(app)) as client:
        async with client.get("/found?status=open") as found:
            assert (found.status, await found.text()) == (200, "open")
        async with client.get("/found") as refused:
            assert (refused.status, (await refused.json())["errors"][0]["field"]) == (422, "status")
