"""The table of routes against the contract, and how a route binds a request to a method of the engine."""

from __future__ import annotations

import json

import pytest

from technopay.engine import Engine, Limit, OperatorPayment, Payment, Wallet
from technopay.engine.models import from_ms
from technopay.http.api.limits import limit_page
from technopay.http.api.route import Route
from technopay.http.app import API_ROUTES
from technopay.http.auth.tokens import ADMIN, PAYMENTS
from technopay.http.responses import record_response

CONTRACT = {
    PAYMENTS: {
        "GET /v1/wallets", "GET /v1/wallets/{}", "GET /v1/wallets/{}/entries", "GET /v1/invoices",
        "GET /v1/invoices/{}", "POST /v1/payments", "POST /v1/payments/{}/confirm",
        "POST /v1/payments/{}/resend", "POST /v1/payments/{}/cancel",
        "GET /v1/payments", "GET /v1/payments/{}", "GET /v1/limits",
    },
    ADMIN: {
        "POST /v1/admin/users", "GET /v1/admin/users/{}", "POST /v1/admin/users/{}/block",
        "POST /v1/admin/users/{}/unblock", "POST /v1/admin/users/{}/unlock", "POST /v1/admin/wallets",
        "GET /v1/admin/wallets/{}", "POST /v1/admin/wallets/{}/deposit", "POST /v1/admin/wallets/{}/activate",
        "POST /v1/admin/wallets/{}/deactivate", "POST /v1/admin/invoices", "GET /v1/admin/invoices/{}",
        "POST /v1/admin/invoices/{}/void", "PUT /v1/admin/limits/{}", "GET /v1/admin/limits",
        "POST /v1/admin/payments/{}/refund", "POST /v1/admin/payments/{}/resolve", "GET /v1/admin/payments",
        "GET /v1/admin/payments/{}", "GET /v1/admin/notifications", "POST /v1/admin/notifications/{}/send",
        "GET /v1/admin/audit",
    },
}  # fmt: skip
CREATED = {"/v1/payments", "/v1/admin/users", "/v1/admin/wallets", "/v1/admin/invoices"}

AT = from_ms(0)
WALLET = Wallet(id="wal_1", user_id="alice", currency="EUR", balance=0, status="active", created_at=AT)
LIMITS = [
    Limit(currency=currency, limit=1, used=0, remaining=1, resets_at=AT) for currency in ("CHF", "EUR", "USD")
]


def shape(route: Route) -> str:
    parts = ("{}" if part.startswith("{") else part for part in route.path.split("/"))
    return f"{route.method} {'/'.join(parts)}"


@pytest.mark.parametrize("scope", [PAYMENTS, ADMIN])
def test_the_routes_of_a_scope_are_those_of_the_contract(scope: str) -> None:
    assert {shape(route) for route in API_ROUTES if route.scope == scope} == CONTRACT[scope]


def test_every_post_but_confirm_has_an_idempotency_key() -> None:
    for route in API_ROUTES:
        assert route.takes_key is (route.method == "POST" and not route.path.endswith("/confirm")), route.path


def test_only_some_routes_create_a_record() -> None:
    assert {route.path for route in API_ROUTES if route.status == 201} == CREATED


def test_every_parameter_of_an_operation_is_bound_once() -> None:
    for route in API_ROUTES:
        bound = [*route.path_names, *route.caller_names, *route.body.model_fields, *route.query.model_fields]
        bound += ["idempotency_key"] if route.takes_key else []
        assert sorted(bound) == sorted(route.parameters), route.path


def test_a_route_of_a_user_never_reads_the_user_from_the_request() -> None:
    for route in API_ROUTES:
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


def test_a_replayed_record_says_so_with_the_same_body() -> None:
    made = record_response(WALLET, Wallet, status=201, headers={"Location": "/w"})
    again = record_response(WALLET.model_copy().as_replay(), Wallet, status=201, headers={"Location": "/w"})

    assert (made.status, dict(made.headers)) == (201, {"Location": "/w"})
    assert (again.status, dict(again.headers)) == (201, {"Location": "/w", "Idempotent-Replayed": "true"})
    assert made.body == again.body


def test_limits_are_cut_into_pages() -> None:
    found, cursor = [], ""
    while cursor is not None:
        page = json.loads(limit_page(LIMITS, 2, cursor).body)
        found.append([limit["currency"] for limit in page["data"]])
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor is not None)

    assert found == [["CHF", "EUR"], ["USD"]]


def test_a_full_last_page_has_no_next() -> None:
    page = json.loads(limit_page(LIMITS, 3, "").body)

    assert (len(page["data"]), page["has_more"], page["next_cursor"]) == (3, False, None)
