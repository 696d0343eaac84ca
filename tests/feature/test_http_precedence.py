"""The order of the refusals of HTTP itself; that of the engine is in test_library_precedence.py."""

from __future__ import annotations

from support.fixtures.http_api import Api, make_person

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
