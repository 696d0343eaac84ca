"""The table of an operator's routes against the contract's."""

from __future__ import annotations

from unit.http.test_user_routes import shape

from technopay.http.auth import ADMIN
from technopay.http.operator_routes import OPERATOR_ROUTES

CONTRACT = {
    "POST /users",
    "GET /users/{}",
    "POST /users/{}/block",
    "POST /users/{}/unblock",
    "POST /users/{}/unlock",
    "POST /wallets",
    "GET /wallets/{}",
    "POST /wallets/{}/deposit",
    "POST /wallets/{}/activate",
    "POST /wallets/{}/deactivate",
    "POST /invoices",
    "GET /invoices/{}",
    "POST /invoices/{}/void",
    "PUT /limits/{}",
    "GET /limits",
    "POST /payments/{}/refund",
    "POST /payments/{}/resolve",
    "GET /payments",
    "GET /payments/{}",
    "GET /notifications",
    "POST /notifications/{}/send",
}


def test_every_route_of_the_contract_is_there() -> None:
    found = {shape(route.method, route.path).replace(" /v1/admin", " ") for route in OPERATOR_ROUTES}
    assert found >= CONTRACT


def test_every_route_is_below_admin_and_needs_its_scope() -> None:
    assert all(route.path.startswith("/v1/admin/") for route in OPERATOR_ROUTES)
    assert {route.scope for route in OPERATOR_ROUTES} == {ADMIN}


def test_every_post_takes_a_key() -> None:
    assert all(route.takes_key is (route.method == "POST") for route in OPERATOR_ROUTES)


def test_what_is_made_is_users_wallets_and_invoices() -> None:
    made = {route.path.rpartition("/")[2] for route in OPERATOR_ROUTES if route.status == 201}
    assert made == {"users", "wallets", "invoices"}
