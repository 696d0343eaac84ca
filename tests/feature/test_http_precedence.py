"""When several rules refuse a request, the first in the contract's order answers."""

from __future__ import annotations

from support.http import Api, Json, invoice_body, make_person, right_code

LARGE = b"[" * 33 + b" " * 16_384
"""Too large, nested too deeply, and no JSON."""

TEXT = {"Content-Type": "text/plain"}


async def test_route_and_method_come_before_sign_in(api: Api) -> None:
    (await api.post("/v1/nothing", user=None)).refuse(404, "not_found")
    (await api.call("DELETE", "/v1/payments", user=None)).refuse(405, "method_not_allowed")


async def test_sign_in_comes_before_the_scope_and_the_form(api: Api) -> None:
    reply = await api.post("/v1/admin/users?x=1", user=None, raw=LARGE, headers=TEXT, key=" ")

    reply.refuse(401, "unauthenticated")


async def test_the_scope_comes_before_the_form(api: Api) -> None:
    reply = await api.post("/v1/admin/users?x=1", raw=LARGE, headers=TEXT, key=" ")

    reply.refuse(403, "forbidden")


async def test_a_bad_header_comes_before_the_body(api: Api) -> None:
    reply = await api.post("/v1/payments?x=1", raw=LARGE, headers=TEXT, key="\t")

    reply.refuse(400, "malformed_request")


async def test_a_large_body_comes_before_its_type(api: Api) -> None:
    (await api.post("/v1/payments?x=1", raw=LARGE, headers=TEXT)).refuse(413, "body_too_large")


async def test_the_type_of_the_body_comes_before_its_content(api: Api) -> None:
    (await api.post("/v1/payments?x=1", raw=b"{", headers=TEXT)).refuse(415, "unsupported_media_type")


async def test_a_body_that_is_no_json_comes_before_fields_and_parameters(api: Api) -> None:
    (await api.post("/v1/payments?x=1", raw=b'{"x": NaN}')).refuse(400, "malformed_request")
    (await api.post("/v1/payments?x=1", raw=b'{"x": 1, "x": 2}')).refuse(400, "malformed_request")


async def test_fields_and_parameters_come_before_what_does_not_exist(api: Api) -> None:
    (await api.post("/v1/payments", {"invoice_id": "x"}, user="nobody")).refuse(422, "validation_failed")
    (await api.post("/v1/payments/x/confirm?wait=11", {"code": "1"})).refuse(422, "validation_failed")
    (await api.get("/v1/wallets/x/entries?limit=0")).refuse(422, "validation_failed")


async def test_a_replay_comes_before_what_would_be_refused_now(api: Api) -> None:
    alice = await make_person(api)
    invoice = await alice.invoice()
    first = await alice.ask_to_start(invoice, key="k")
    (await alice.confirm(first.expect(201))).expect(200)
    await api.operate("POST", "/users/alice/block")
    await api.operate("POST", f"/wallets/{alice.wallet_id}/deactivate")

    again = await alice.ask_to_start(invoice, key="k")
    (await alice.ask_to_start({"id": "inv_00x"}, key="k")).refuse(422, "idempotency_key_reused")

    assert (again.expect(201), again.headers["Idempotent-Replayed"]) == (first.json, "true")


async def test_a_confirm_that_took_the_money_is_answered_again_whatever_has_changed(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start()
    first = (await alice.confirm(payment)).expect(200)
    await api.operate("POST", "/users/alice/block")
    await api.operate("POST", f"/wallets/{alice.wallet_id}/deactivate")

    again = await alice.confirm(payment)

    assert again.expect(200) == first
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_starting_refuses_in_the_contracts_order(api: Api) -> None:
    """Everything is wrong at first; each thing is put right when it was named."""
    (await api.operate("POST", "/users", {"id": "alice"})).expect(201)
    wallet = (await api.operate("POST", "/wallets", {"user_id": "alice", "currency": "USD"})).expect(201)
    await api.operate("POST", "/users/alice/block")
    await api.operate("POST", f"/wallets/{wallet['id']}/deactivate")
    await api.operate("PUT", "/limits/EUR", {"amount": 0})
    body: Json = {"invoice_id": "x", "wallet_id": "x"}

    async def start(**changes: str) -> tuple[int, str]:
        reply = await api.post("/v1/payments", {**body, **changes})
        return reply.status, reply.code

    async def enter() -> str:
        return str((await api.operate("POST", "/invoices", invoice_body("alice"))).expect(201)["id"])

    voided = await enter()
    await api.operate("POST", f"/invoices/{voided}/void")
    assert (await api.post("/v1/payments", body, user="nobody")).code == "user_not_found"
    assert await start() == (404, "wallet_not_found")
    body["wallet_id"] = wallet["id"]
    assert await start() == (404, "invoice_not_found")
    body["invoice_id"] = voided
    assert await start() == (403, "user_blocked")
    await api.operate("POST", "/users/alice/unblock")
    assert await start() == (403, "wallet_inactive")
    await api.operate("POST", f"/wallets/{wallet['id']}/activate")
    assert await start() == (409, "invoice_not_payable")
    body["invoice_id"] = await enter()
    assert await start() == (422, "currency_mismatch")
    euros = (await api.operate("POST", "/wallets", {"user_id": "alice", "currency": "EUR"})).expect(201)
    body["wallet_id"] = euros["id"]
    assert await start() == (422, "no_channel")


async def test_starting_refuses_for_funds_before_the_limit(api: Api) -> None:
    alice = await make_person(api, balance=0)
    await api.operate("PUT", "/limits/EUR", {"amount": 0})
    invoice = await alice.invoice()
    (await alice.ask_to_start(invoice)).refuse(402, "insufficient_funds")
    await api.operate("POST", f"/wallets/{alice.wallet_id}/deposit", {"amount": 5_000})
    (await alice.ask_to_start(invoice)).refuse(402, "daily_limit_exceeded")
    await api.operate("PUT", "/limits/EUR", {"amount": None})
    (await alice.ask_to_start(invoice)).expect(201)


async def test_confirming_refuses_in_the_contracts_order(api: Api) -> None:
    alice = await make_person(api)
    payment, other = await alice.start(6_000), await alice.start(6_000)
    (await alice.confirm(other)).expect(200)
    await api.operate("PUT", "/limits/EUR", {"amount": 0})
    await api.operate("POST", "/users/alice/block")
    await api.operate("POST", f"/wallets/{alice.wallet_id}/deactivate")

    async def confirm(code: str = "no") -> str:
        return (await alice.confirm(payment, code=code)).code

    assert await confirm() == "user_blocked"
    await api.operate("POST", "/users/alice/unblock")
    assert await confirm() == "wallet_inactive"
    await api.operate("POST", f"/wallets/{alice.wallet_id}/activate")
    assert await confirm() == "confirmation_invalid"
    right = await right_code(api, payment)
    assert await confirm(right) == "insufficient_funds"
    await api.operate("POST", f"/wallets/{alice.wallet_id}/deposit", {"amount": 5_000})
    assert await confirm(right) == "daily_limit_exceeded"
    await api.operate("PUT", "/limits/EUR", {"amount": None})
    paid = (await alice.confirm(payment)).expect(200)
    assert paid["status"] == "succeeded"


async def test_a_payment_in_the_wrong_state_comes_before_expiry_and_code(api: Api) -> None:
    alice = await make_person(api)
    payment = await alice.start()
    await alice.post(f"/payments/{payment['id']}/cancel")
    await api.operate("POST", f"/invoices/{payment['invoice_id']}/void")

    (await alice.confirm(payment, code="no")).refuse(409, "payment_not_confirmable")
    (await alice.post(f"/payments/{payment['id']}/resend")).refuse(409, "payment_not_confirmable")
