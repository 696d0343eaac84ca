"""The table of a user's routes against the contract's."""

from __future__ import annotations

from technopay.http.auth import PAYMENTS
from technopay.http.user_routes import USER_ROUTES

CONTRACT = {
    "GET /v1/wallets",
    "GET /v1/wallets/{}",
    "GET /v1/wallets/{}/entries",
    "GET /v1/invoices",
    "GET /v1/invoices/{}",
    "POST /v1/payments",
    "POST /v1/payments/{}/confirm",
    "POST /v1/payments/{}/resend",
    "POST /v1/payments/{}/cancel",
    "GET /v1/payments",
    "GET /v1/payments/{}",
    "GET /v1/limits",
}


def shape(method: str, path: str) -> str:
    parts = ("{}" if part.startswith("{") else part for part in path.split("/"))
    return f"{method} {'/'.join(parts)}"


def test_every_route_of_the_contract_is_there() -> None:
    assert {shape(route.method, route.path) for route in USER_ROUTES} >= CONTRACT


def test_every_route_needs_the_scope_payments() -> None:
    assert {route.scope for route in USER_ROUTES} == {PAYMENTS}


def test_every_post_but_confirm_takes_a_key() -> None:
    for route in USER_ROUTES:
        expected = route.method == "POST" and not route.path.endswith("/confirm")
        assert route.takes_key is expected, route.path


def test_only_a_start_makes_something() -> None:
    assert [route.path for route in USER_ROUTES if route.status == 201] == ["/v1/payments"]
