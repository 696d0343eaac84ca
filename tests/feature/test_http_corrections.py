"""Corrections of money over HTTP: partial refunds, deposits by reference, withdrawals and adjustments."""

import pytest
from support.fixtures.http_api import Api, Json, Person, make_person


async def paid(api: Api) -> tuple[Person, Json]:
    alice = await make_person(api)
    return alice, await alice.pay()


async def refund(api: Api, payment: Json, body: Json | None = None) -> Json:
    refunded: Json = (await api.operate("POST", f"/payments/{payment['id']}/refund", body)).expect(200)
    return refunded


async def test_half_of_a_payment_is_refunded_then_the_rest(api: Api) -> None:
    alice, payment = await paid(api)
    balance = await alice.balance()

    half = await refund(api, payment, {"amount": 1_250, "note": "a scratch"})
    whole = await refund(api, payment)

    assert (half["status"], half["refunded_amount"]) == ("succeeded", 1_250)
    assert [(each["amount"], each["note"], each["status"]) for each in half["refunds"]] == [
        (1_250, "a scratch", "done")
    ]
    assert (whole["status"], whole["refunded_amount"]) == ("refunded", 2_500)
    assert await alice.balance() == balance + 2_500
    entries = (await api.get(f"/v1/wallets/{alice.wallet_id}/entries?limit=2")).expect(200)["data"]
    assert [(each["kind"], each["note"], each["by"], each["refund_id"]) for each in entries] == [
        ("refund", None, "operator", whole["refunds"][1]["id"]),
        ("refund", "a scratch", "operator", whole["refunds"][0]["id"]),
    ]
    invoice = (await api.operate("GET", f"/invoices/{payment['invoice_id']}")).expect(200)
    assert (invoice["status"], invoice["refunded_amount"]) == ("paid", 2_500)
    kinds = [each["kind"] for each in (await api.operate("GET", "/notifications")).expect(200)["data"]]
    assert kinds[:2] == ["payment.refunded", "payment.partially_refunded"]


async def test_more_than_is_left_is_refused_with_what_is(api: Api) -> None:
    _, payment = await paid(api)
    await refund(api, payment, {"amount": 2_000})
    path = f"/payments/{payment['id']}/refund"

    problem = (await api.operate("POST", path, {"amount": 501})).refuse(422, "refund_too_large")

    assert problem["refundable"] == 500
    assert problem["payment"]["refunded_amount"] == 2_000
    assert not problem["retryable"]


@pytest.mark.parametrize(
    ("body", "field"), [({"amount": 0}, "amount"), ({"amount": -5}, "amount"), ({"note": ""}, "note")]
)
async def test_a_refund_of_no_amount_is_refused(api: Api, body: Json, field: str) -> None:
    _, payment = await paid(api)
    path = f"/payments/{payment['id']}/refund"
    problem = (await api.operate("POST", path, body)).refuse(422, "validation_failed")
    assert [each["field"] for each in problem["errors"]] == [field]


async def test_a_line_of_a_bank_is_deposited_once(api: Api) -> None:
    alice = await make_person(api)
    path, line = f"/wallets/{alice.wallet_id}/deposit", {"amount": 700, "reference": "2026-11-30/1"}
    first = await api.operate("POST", path, line | {"note": "by bank"})

    again = await api.operate("POST", path, line)
    other = await api.operate("POST", path, line | {"amount": 701})

    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.expect(200) == first.expect(200)
    entry = other.refuse(409, "reference_used")["entry"]
    assert {
        "amount": 700,
        "reference": "2026-11-30/1",
        "note": "by bank",
        "by": "operator",
    }.items() <= entry.items()


async def test_a_double_deposit_is_taken_back(api: Api) -> None:
    alice = await make_person(api)
    balance = await alice.balance()
    path = f"/wallets/{alice.wallet_id}"

    wallet = (await api.operate("POST", f"{path}/withdraw", {"amount": 300, "note": "twice"})).expect(200)
    adjusted = (await api.operate("POST", f"{path}/adjust", {"amount": -7, "note": "a fee"})).expect(200)

    assert (wallet["balance"], adjusted["balance"]) == (balance - 300, balance - 307)
    problem = (await api.operate("POST", f"{path}/withdraw", {"amount": balance, "note": "too much"})).refuse(
        402, "insufficient_funds"
    )
    assert (problem["required"], problem["available"]) == (balance, balance - 307)
    entries = (await api.get(f"/v1/wallets/{alice.wallet_id}/entries?limit=2")).expect(200)["data"]
    assert [(each["kind"], each["amount"], each["note"], each["by"]) for each in entries] == [
        ("adjustment", -7, "a fee", "operator"),
        ("withdrawal", -300, "twice", "operator"),
    ]


@pytest.mark.parametrize(
    ("verb", "body", "field"),
    [
        ("withdraw", {"amount": -1, "note": "x"}, "amount"),
        ("withdraw", {"amount": 1}, "note"),
        ("adjust", {"amount": 0, "note": "x"}, "amount"),
        ("adjust", {"amount": 2**53, "note": "x"}, "amount"),
        ("adjust", {"amount": 1.5, "note": "x"}, "amount"),
        ("deposit", {"amount": 1, "reference": ""}, "reference"),
    ],
)
async def test_a_change_that_is_none_is_refused(api: Api, verb: str, body: Json, field: str) -> None:
    alice = await make_person(api)
    before = await alice.balance()
    path = f"/wallets/{alice.wallet_id}/{verb}"

    problem = (await api.operate("POST", path, body)).refuse(422, "validation_failed")

    assert [each["field"] for each in problem["errors"]] == [field]
    assert await alice.balance() == before
