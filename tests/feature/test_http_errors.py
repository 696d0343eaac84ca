"""Every code of the contract's table of errors over HTTP, with what helps to put it right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestClient, TestServer
from support.fixtures.clock import FakeClock
from support.fixtures.engine_setup import SECRET
from support.fixtures.http_api import (
    LIMIT,
    PAYMENT,
    Api,
    Json,
    invoice_body,
    make_person,
    right_code,
    running_api,
    wrong,
)

from technopay.engine import (
    Engine,
    EngineClosed,
    InternalError,
    OutcomeUnknown,
    Overloaded,
    Statistics,
    StoreUnavailable,
    WalletBusy,
)
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator
from technopay.storage import RedisStore


async def test_401_without_a_valid_token(api: Api) -> None:
    reply = await api.get("/v1/wallets", user=None)

    assert reply.refuse(401, "unauthenticated")["retryable"] is False
    assert reply.headers["WWW-Authenticate"].startswith("Bearer ")


async def test_403_without_the_scope(api: Api) -> None:
    (await api.get("/v1/admin/limits")).refuse(403, "forbidden")


async def test_404_and_405_for_what_is_no_route(api: Api) -> None:
    for path in ("/v1", "/v1/wallets/", "/v1/nothing", "//v1/wallets", "/v1/wallets/a/b"):
        (await api.get(path)).refuse(404, "not_found")
    reply = await api.call("DELETE", "/v1/payments")
    reply.refuse(405, "method_not_allowed")
    assert reply.headers["Allow"] == "GET,HEAD,POST"


async def test_400_413_415_and_422_for_the_form(api: Api) -> None:
    body = {"id": "alice"}
    (await api.operate("POST", "/users", raw=b"{")).refuse(400, "malformed_request")
    empty = (await api.operate("POST", "/users", raw=b"")).refuse(400, "malformed_request")
    assert empty["detail"] == "The body is empty."
    (await api.operate("POST", "/users", raw=b" " * 16_385)).refuse(413, "body_too_large")
    text = {"Content-Type": "text/plain"}
    (await api.operate("POST", "/users", body, headers=text)).refuse(415, "unsupported_media_type")
    problem = (await api.operate("POST", "/users", {"id": "a/b", "email": 5, "x": 1})).refuse(
        422, "validation_failed"
    )
    assert [set(error) for error in problem["errors"]] == [{"field", "message"}] * 3
    assert {error["field"] for error in problem["errors"]} == {"id", "email", "x"}
    assert all("Value error" not in error["message"] for error in problem["errors"])


async def test_403_user_blocked_for_start_confirm_and_resend_but_not_for_the_rest(api: Api) -> None:
    alice = await make_person(api)
    payment, invoice = await alice.start(), await alice.invoice()
    await api.operate("POST", "/users/alice/block")

    (await alice.ask_to_start(invoice)).refuse(403, "user_blocked")
    (await alice.confirm(payment)).refuse(403, "user_blocked")
    (await alice.post(f"/payments/{payment['id']}/resend")).refuse(403, "user_blocked")
    assert await alice.balance() == 10_000
    (await alice.post(f"/payments/{payment['id']}/cancel")).expect(200)


async def test_403_wallet_inactive_for_start_confirm_and_resend_but_not_for_the_rest(api: Api) -> None:
    alice = await make_person(api)
    payment, invoice = await alice.start(), await alice.invoice()
    await api.operate("POST", f"/wallets/{alice.wallet_id}/deactivate")

    (await alice.ask_to_start(invoice)).refuse(403, "wallet_inactive")
    (await alice.confirm(payment)).refuse(403, "wallet_inactive")
    (await alice.post(f"/payments/{payment['id']}/resend")).refuse(403, "wallet_inactive")
    (await api.operate("POST", f"/wallets/{alice.wallet_id}/deposit", {"amount": 1})).expect(200)
    (await alice.post(f"/payments/{payment['id']}/cancel")).expect(200)


async def test_404_for_what_does_not_exist(api: Api) -> None:
    alice = await make_person(api)
    invoice = await alice.invoice()
    start = {"invoice_id": invoice["id"], "wallet_id": alice.wallet_id}
    nobody = {"user_id": "nobody", "currency": "EUR"}

    (await api.operate("GET", "/users/nobody")).refuse(404, "user_not_found")
    (await api.operate("POST", "/wallets", nobody)).refuse(404, "user_not_found")
    (await api.operate("POST", "/invoices", invoice_body("nobody"))).refuse(404, "user_not_found")
    (await api.post("/v1/payments", start, user="nobody")).refuse(404, "user_not_found")
    (await alice.get("/wallets/wal_00x")).refuse(404, "wallet_not_found")
    (await alice.get("/wallets/wal_00x/entries")).refuse(404, "wallet_not_found")
    (await api.operate("POST", "/wallets/x/deposit", {"amount": 1})).refuse(404, "wallet_not_found")
    (await alice.post("/payments", {**start, "wallet_id": "x"})).refuse(404, "wallet_not_found")
    (await alice.get("/invoices/inv_00x")).refuse(404, "invoice_not_found")
    (await api.operate("POST", "/invoices/x/void")).refuse(404, "invoice_not_found")
    (await alice.post("/payments", {**start, "invoice_id": "x"})).refuse(404, "invoice_not_found")
    for action, body in (("confirm", {"code": "1"}), ("resend", None), ("cancel", None)):
        (await alice.post(f"/payments/pay_00x/{action}", body)).refuse(404, "payment_not_found")
    (await api.operate("POST", "/payments/pay_00x/refund")).refuse(404, "payment_not_found")
    decision = {"outcome": "settled", "note": "n"}
    (await api.operate("POST", "/payments/x/resolve", decision)).refuse(404, "payment_not_found")
    (await api.operate("POST", "/notifications/msg_00x/send")).refuse(404, "not_found")


async def test_409_for_what_exists_already(api: Api) -> None:
    alice = await make_person(api)
    await alice.invoice(reference="R-1")

    (await api.operate("POST", "/users", {"id": "alice"})).refuse(409, "user_exists")
    again = invoice_body("alice", reference="R-1")
    (await api.operate("POST", "/invoices", again)).refuse(409, "reference_used")
    (await api.operate("POST", "/invoices", {**again, "merchant": "another"})).expect(201)


async def test_409_with_the_payment_that_stands_in_the_way(api: Api) -> None:
    alice = await make_person(api)
    paid = await alice.pay()
    path, invoice = f"/payments/{paid['id']}", {"id": paid["invoice_id"]}

    already = (await alice.ask_to_start(invoice)).refuse(409, "invoice_already_paid")
    (await api.operate("POST", f"/invoices/{invoice['id']}/void")).refuse(409, "invoice_not_voidable")
    resend = (await alice.post(f"{path}/resend")).refuse(409, "payment_not_confirmable")
    cancel = (await alice.post(f"{path}/cancel")).refuse(409, "payment_not_cancelable")
    confirm = (await alice.confirm(paid, code="no")).refuse(409, "payment_not_confirmable")

    for problem in (already, resend, cancel, confirm):
        assert problem["payment"] == paid
        assert set(problem["payment"]) == PAYMENT


async def test_409_while_a_payment_is_processing(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start(2_500, "acme-stuck")
    (await alice.confirm(payment, "?wait=0")).expect(202)
    path, invoice = f"/payments/{payment['id']}", {"id": payment["invoice_id"]}

    in_progress = (await alice.ask_to_start(invoice)).refuse(409, "payment_in_progress")
    void = (await api.operate("POST", f"/invoices/{invoice['id']}/void")).refuse(409, "invoice_not_voidable")
    cancel = (await alice.post(f"{path}/cancel")).refuse(409, "payment_not_cancelable")
    refund = (await api.operate("POST", f"{path}/refund")).refuse(409, "payment_not_refundable")

    for problem in (in_progress, void, cancel, refund):
        assert problem["payment"]["id"] == payment["id"]
        assert problem["payment"]["status"] == "processing"


async def test_409_for_an_operators_command_in_the_wrong_state_shows_the_payment_whole(api: Api) -> None:
    payment = await (await make_person(api)).start()
    path, decision = f"/payments/{payment['id']}", {"outcome": "refund", "note": "n"}

    refund = (await api.operate("POST", f"{path}/refund")).refuse(409, "payment_not_refundable")
    resolve = (await api.operate("POST", f"{path}/resolve", decision)).refuse(409, "payment_not_resolvable")

    for problem in (refund, resolve):
        assert set(problem["payment"]) == PAYMENT | {"resolution"}


async def test_409_for_a_voided_invoice(api: Api) -> None:
    alice = await make_person(api)
    invoice = await alice.invoice()
    await api.operate("POST", f"/invoices/{invoice['id']}/void")

    (await alice.ask_to_start(invoice)).refuse(409, "invoice_not_payable")


async def test_410_by_the_stores_clock(fake_clock: FakeClock, fake_store: RedisStore) -> None:
    async with running_api(fake_store) as api:
        alice = await make_person(api)
        body = invoice_body("alice", expires_at="2036-01-01T00:00:00Z")
        invoice = (await api.operate("POST", "/invoices", body)).expect(201)
        payment = (await alice.ask_to_start(invoice)).expect(201)
        fake_clock.advance(300_000)

        path = f"/payments/{payment['id']}"
        (await alice.confirm(payment)).refuse(410, "confirmation_expired")
        (await alice.post(f"{path}/resend")).refuse(410, "confirmation_expired")
        (await alice.post(f"{path}/cancel")).refuse(409, "payment_not_cancelable")
        expired = (await alice.get(path)).expect(200)
        assert (expired["status"], expired["confirmation"]["attempts_remaining"]) == ("expired", 5)

        fake_clock.advance(10 * 366 * 86_400_000)
        (await alice.ask_to_start(invoice)).refuse(410, "invoice_expired")
        assert (await alice.get(f"/invoices/{invoice['id']}")).expect(200)["status"] == "expired"


async def test_402_insufficient_funds_tells_what_is_required_and_what_is_there(api: Api) -> None:
    alice = await make_person(api, balance=2_400)

    problem = (await alice.ask_to_start(await alice.invoice(2_500))).refuse(402, "insufficient_funds")

    assert (problem["required"], problem["available"]) == (2_500, 2_400)


async def test_402_insufficient_funds_at_confirm_costs_nothing(api: Api) -> None:
    alice = await make_person(api)
    first, second = await alice.start(6_000), await alice.start(6_000)
    (await alice.confirm(first)).expect(200)

    problem = (await alice.confirm(second)).refuse(402, "insufficient_funds")

    assert (problem["required"], problem["available"]) == (6_000, 4_000)
    (await api.operate("POST", f"/wallets/{alice.wallet_id}/deposit", {"amount": 2_000})).expect(200)
    assert (await alice.confirm(second)).expect(200)["status"] == "succeeded"


async def test_402_daily_limit_exceeded_shows_the_limit_that_refused(api: Api) -> None:
    alice = await make_person(api)
    await api.operate("PUT", "/limits/EUR", {"amount": 3_000})
    payment = await alice.start(1_000)
    await alice.pay(2_100)

    at_start = (await alice.ask_to_start(await alice.invoice(901))).refuse(402, "daily_limit_exceeded")
    at_confirm = (await alice.confirm(payment)).refuse(402, "daily_limit_exceeded")

    for problem in (at_start, at_confirm):
        assert set(problem["limit"]) == LIMIT
        assert (problem["limit"]["used"], problem["limit"]["remaining"]) == (2_100, 900)


async def test_402_settlement_failed_shows_the_payment_and_the_refund(any_api: Api) -> None:
    alice = await make_person(any_api)
    payment = await alice.start(2_500, "acme-declines")

    problem = (await alice.confirm(payment)).refuse(402, "settlement_failed")

    failed = problem["payment"]
    assert set(failed) == PAYMENT
    assert (failed["status"], failed["failure"]["code"]) == ("failed", "settlement_failed")
    assert [refund["reason"] for refund in failed["refunds"]] == ["settlement_failed"]
    assert failed["refunded_amount"] == 2_500
    assert await alice.balance() == 10_000
    invoice = (await alice.get(f"/invoices/{payment['invoice_id']}")).expect(200)
    assert (invoice["status"], invoice["refunded_amount"]) == ("open", 0)


async def test_422_for_currency_balance_and_channel(api: Api) -> None:
    alice = await make_person(api)
    dollars = await alice.invoice(currency="USD")
    (await alice.ask_to_start(dollars)).refuse(422, "currency_mismatch")

    too_much = {"amount": 2**53 - 1}
    deposit = f"/wallets/{alice.wallet_id}/deposit"
    (await api.operate("POST", deposit, too_much)).refuse(422, "balance_too_large")

    invoice = await alice.invoice()
    by_phone = {"invoice_id": invoice["id"], "wallet_id": alice.wallet_id, "method": "sms"}
    (await alice.post("/payments", by_phone)).refuse(422, "no_channel")


async def test_422_confirmation_invalid_tells_the_attempts_that_remain(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start()

    reply = await alice.confirm(payment, code=wrong(await right_code(api, payment)))

    assert reply.refuse(422, "confirmation_invalid")["attempts_remaining"] == 4


async def test_422_idempotency_key_reused_for_another_body(api: Api) -> None:
    (await api.operate("POST", "/users", {"id": "alice"}, key="k")).expect(201)

    (await api.operate("POST", "/users", {"id": "bob"}, key="k")).refuse(422, "idempotency_key_reused")


class BrokenEngine:
    """Stands in for an engine: everything that it is asked raises."""

    error: Exception = InternalError()
    statistics = Statistics()

    def __getattr__(self, name: str) -> Any:
        async def operation(**_: Any) -> None:
            raise self.error

        return operation


@pytest.fixture
async def broken(fake_store: RedisStore) -> AsyncIterator[Api]:
    """The API of an engine that only raises."""
    engine = cast("Engine", BrokenEngine())
    async with TestClient(TestServer(create_app(engine, TokenAuthenticator(SECRET)))) as client:
        api = Api(client, engine, fake_store)
        api.faults_expected = True
        yield api


FAULTS = [
    (WalletBusy(), 503, "wallet_busy", True),
    (Overloaded(), 503, "overloaded", True),
    (StoreUnavailable(), 503, "store_unavailable", True),
    (EngineClosed(), 503, "store_unavailable", True),
    (OutcomeUnknown(), 504, "outcome_unknown", True),
    (InternalError("the secret of the store"), 500, "internal_error", False),
    (RuntimeError("the secret of the store"), 500, "internal_error", False),
]
CALLS: list[tuple[str, str, Json | None]] = [
    ("POST", "/v1/payments", {"invoice_id": "i", "wallet_id": "w"}),
    ("POST", "/v1/payments/p/confirm", {"code": "1"}),
    ("POST", "/v1/admin/wallets/w/deposit", {"amount": 1}),
]


@pytest.mark.parametrize(("error", "status", "code", "retryable"), FAULTS)
async def test_a_fault_says_whether_trying_again_helps_and_nothing_of_the_inside(
    broken: Api, error: Exception, status: int, code: str, retryable: bool
) -> None:
    broken.engine.error = error  # type: ignore[attr-defined]
    for method, path, body in CALLS:
        reply = await broken.call(method, path, body, admin=True)

        assert reply.refuse(status, code)["retryable"] is retryable
        assert ("Retry-After" in reply.headers) == (status == 503)
        assert "secret" not in reply.text


@pytest.mark.parametrize("error", [RuntimeError("boom"), InternalError("boom")])
async def test_a_crash_is_logged_under_the_request_id(
    broken: Api, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    broken.engine.error = error  # type: ignore[attr-defined]

    reply = await broken.get("/v1/wallets")

    assert f"request {reply.json['request_id']} crashed" in caplog.text
    assert "boom" in caplog.text


async def test_overload_is_refused_before_anything_happens(fake_store: RedisStore) -> None:
    async with running_api(fake_store, commands_waiting_max=0) as api:
        api.faults_expected = True
        alice = await make_person(api, balance=0)

        reply = await api.operate("POST", f"/wallets/{alice.wallet_id}/deposit", {"amount": 1})

        assert reply.refuse(503, "overloaded")["retryable"] is True
        assert await alice.balance() == 0


async def test_a_request_id_of_the_caller_is_given_back_and_a_strange_one_is_not(api: Api) -> None:
    for given, taken in (
        ("req-1.A_b", True),
        ("x" * 64, True),
        ("x" * 65, False),
        ("a b", False),
        ("<i>", False),
    ):
        reply = await api.get("/v1/wallets", user=None, headers={"X-Request-Id": given})
        assert (reply.json["request_id"] == given) is taken
