"""The codes of the contract's table of errors over HTTP, with the members that help to correct the request."""

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
    Statistics,
    StoreUnavailable,
)
from technopay.http.app import create_app
from technopay.http.auth.tokens import TokenAuthenticator
from technopay.storage import RedisStore


async def test_404_and_405_for_what_is_no_route(api: Api) -> None:
    for path in ("/v1", "/v1/wallets/", "/v1/nothing", "//v1/wallets", "/v1/wallets/a/b"):
        (await api.get(path)).refuse(404, "not_found")
    reply = await api.call("DELETE", "/v1/payments")
    reply.refuse(405, "method_not_allowed")
    assert reply.headers["Allow"] == "GET,HEAD,POST"


@pytest.mark.parametrize(
    ("path", "undo", "code"),
    [
        ("/users/alice/block", "/users/alice/unblock", "user_blocked"),
        ("/wallets/{wallet}/deactivate", "/wallets/{wallet}/activate", "wallet_inactive"),
    ],
)
async def test_403_for_start_confirm_and_resend_until_it_is_undone_but_not_for_the_rest(
    api: Api, path: str, undo: str, code: str
) -> None:
    alice = await make_person(api)
    payment, other, invoice = await alice.start(), await alice.start(), await alice.invoice()
    (await api.operate("POST", path.format(wallet=alice.wallet_id))).expect(200)

    (await alice.ask_to_start(invoice)).refuse(403, code)
    (await alice.confirm(payment)).refuse(403, code)
    (await alice.post(f"/payments/{payment['id']}/resend")).refuse(403, code)
    (await api.operate("POST", f"/wallets/{alice.wallet_id}/deposit", {"amount": 1})).expect(200)
    (await alice.post(f"/payments/{other['id']}/cancel")).expect(200)
    assert (await alice.get(f"/payments/{payment['id']}")).expect(200) == payment
    assert await alice.balance() == 10_001

    (await api.operate("POST", undo.format(wallet=alice.wallet_id))).expect(200)
    assert (await alice.confirm(payment)).expect(200)["status"] == "succeeded"


async def test_409_shows_the_payment_that_stands_in_the_way(api: Api) -> None:
    alice = await make_person(api)
    paid, waiting = await alice.pay(), await alice.start()
    path, invoice = f"/payments/{paid['id']}", {"id": paid["invoice_id"]}

    for reply, code in (
        (await alice.ask_to_start(invoice), "invoice_already_paid"),
        (await api.operate("POST", f"/invoices/{invoice['id']}/void"), "invoice_not_voidable"),
        (await alice.post(f"{path}/resend"), "payment_not_confirmable"),
        (await alice.post(f"{path}/cancel"), "payment_not_cancelable"),
    ):
        assert reply.refuse(409, code)["payment"] == paid
    for action, body, code in (
        ("refund", None, "payment_not_refundable"),
        ("resolve", {"outcome": "refund", "note": "n"}, "payment_not_resolvable"),
    ):
        reply = await api.operate("POST", f"/payments/{waiting['id']}/{action}", body)
        assert set(reply.refuse(409, code)["payment"]) == PAYMENT | {"resolution"}


async def test_404_409_and_410_for_users_and_invoices(fake_clock: FakeClock, fake_store: RedisStore) -> None:
    async with running_api(fake_store) as api:
        alice = await make_person(api)
        terms: dict[str, Any] = {"reference": "R-1", "expires_at": "2036-01-01T00:00:00Z"}
        nobody = {"user_id": "nobody", "currency": "EUR"}
        (await api.operate("POST", "/wallets", nobody)).refuse(404, "user_not_found")
        (await api.operate("POST", "/invoices", invoice_body("nobody"))).refuse(404, "user_not_found")
        (await alice.ask_to_start({"id": "inv_00x"})).refuse(404, "invoice_not_found")
        (await api.operate("POST", "/users", {"id": "alice"})).refuse(409, "user_exists")
        invoice, voided = await alice.invoice(**terms), await alice.invoice()
        (await api.operate("POST", "/invoices", invoice_body("alice", **terms))).refuse(409, "reference_used")
        await alice.invoice(merchant="another", **terms)
        (await api.operate("POST", f"/invoices/{voided['id']}/void")).expect(200)
        (await alice.ask_to_start(voided)).refuse(409, "invoice_not_payable")
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


async def test_402_insufficient_funds_shows_both_amounts_and_costs_nothing(api: Api) -> None:
    alice = await make_person(api)
    first, second = await alice.start(6_000), await alice.start(6_000)
    (await alice.confirm(first)).expect(200)

    for amount, reply in (
        (4_001, await alice.ask_to_start(await alice.invoice(4_001))),
        (6_000, await alice.confirm(second)),
    ):
        problem = reply.refuse(402, "insufficient_funds")
        assert (problem["required"], problem["available"]) == (amount, 4_000)
    (await api.operate("POST", f"/wallets/{alice.wallet_id}/deposit", {"amount": 2_000})).expect(200)
    assert (await alice.confirm(second)).expect(200)["status"] == "succeeded"


async def test_402_daily_limit_exceeded_shows_the_limit_that_refused(api: Api) -> None:
    alice = await make_person(api)
    await api.operate("PUT", "/limits/EUR", {"amount": 3_000})
    payment = await alice.start(1_000)
    await alice.pay(2_100)

    for reply in (await alice.ask_to_start(await alice.invoice(901)), await alice.confirm(payment)):
        limit = reply.refuse(402, "daily_limit_exceeded")["limit"]
        assert set(limit) == LIMIT
        assert (limit["used"], limit["remaining"]) == (2_100, 900)


async def test_402_settlement_failed_shows_the_payment_and_the_refund(api: Api) -> None:
    alice = await make_person(api)

    failed = (await alice.confirm(await alice.start(2_500, "acme-declines"))).refuse(402, "settlement_failed")[
        "payment"
    ]

    assert set(failed) == PAYMENT
    assert (failed["status"], failed["failure"]["code"]) == ("failed", "settlement_failed")
    assert set(failed["failure"]) == {"code", "message"}
    assert [refund["reason"] for refund in failed["refunds"]] == ["settlement_failed"]
    assert failed["refunded_amount"] == 2_500


async def test_422_for_currency_balance_channel_and_code(api: Api) -> None:
    alice = await make_person(api)
    (await alice.ask_to_start(await alice.invoice(currency="USD"))).refuse(422, "currency_mismatch")
    deposit = f"/wallets/{alice.wallet_id}/deposit"
    (await api.operate("POST", deposit, {"amount": 2**53 - 1})).refuse(422, "balance_too_large")
    by_phone = {"invoice_id": (await alice.invoice())["id"], "wallet_id": alice.wallet_id, "method": "sms"}
    (await alice.post("/payments", by_phone)).refuse(422, "no_channel")
    payment = await alice.start()
    reply = await alice.confirm(payment, code=wrong(await right_code(api, payment)))
    assert reply.refuse(422, "confirmation_invalid")["attempts_remaining"] == 4


class BrokenEngine:
    """Stands in for an engine: every call raises."""

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


@pytest.mark.parametrize(
    ("error", "status", "code", "retryable"),
    [
        (StoreUnavailable(), 503, "store_unavailable", True),
        (EngineClosed(), 503, "store_unavailable", True),
        (OutcomeUnknown(), 504, "outcome_unknown", True),
        (InternalError("the secret"), 500, "internal_error", False),
        (RuntimeError("the secret"), 500, "internal_error", False),
    ],
)
async def test_a_fault_says_whether_a_retry_helps_and_a_crash_is_logged_under_the_request_id(
    broken: Api, caplog: pytest.LogCaptureFixture, error: Exception, status: int, code: str, retryable: bool
) -> None:
    broken.engine.error = error  # type: ignore[attr-defined]
    for path, body in (
        ("/payments", {"invoice_id": "i", "wallet_id": "w"}),
        ("/payments/p/confirm", {"code": "1"}),
        ("/admin/wallets/w/deposit", {"amount": 1}),
    ):
        reply = await broken.post(f"/v1{path}", body, admin=True)

        assert reply.refuse(status, code)["retryable"] is retryable
        if status == 500:
            assert "secret" not in reply.text
            assert f"request {reply.json['request_id']} crashed" in caplog.text
            assert "the secret" in caplog.text


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
