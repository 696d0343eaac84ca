"""Repeats over HTTP: the same key gets the first response, whatever way body and key are written."""

from __future__ import annotations

from support.fixtures.http_api import Api, Json, Reply, invoice_body, make_person


def assert_repeats(first: Reply, again: Reply) -> None:
    assert (again.status, again.text) == (first.status, first.text)
    assert again.headers.get("Location") == first.headers.get("Location")
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"


async def ready(api: Api) -> dict[str, tuple[str, Json | None]]:
    """Prepare one call of every operation that takes a key and answers with a change."""
    alice = await make_person(api)
    wallet = f"/wallets/{alice.wallet_id}"
    invoice, other = await alice.invoice(), await alice.invoice()
    waiting, paid, given_up = await alice.start(), await alice.pay(), await alice.start()
    return {
        "create a user": ("/admin/users", {"id": "bob", "phone": "+15550100"}),
        "create a wallet": ("/admin/wallets", {"user_id": "alice", "currency": "USD"}),
        "deposit": (f"/admin{wallet}/deposit", {"amount": 5}),
        "create an invoice": ("/admin/invoices", invoice_body("alice", reference="R-1")),
        "start": ("/payments", {"invoice_id": invoice["id"], "wallet_id": alice.wallet_id}),
        "resend": (f"/payments/{waiting['id']}/resend", None),
        "cancel": (f"/payments/{given_up['id']}/cancel", None),
        "refund": (f"/admin/payments/{paid['id']}/refund", None),
        "void": (f"/admin/invoices/{other['id']}/void", None),
        "block": ("/admin/users/alice/block", None),
        "unblock": ("/admin/users/alice/unblock", None),
        "deactivate": (f"/admin{wallet}/deactivate", None),
        "activate": (f"/admin{wallet}/activate", None),
    }


async def test_every_command_has_the_same_response_again(api: Api) -> None:
    for name, (path, body) in (await ready(api)).items():
        first = await api.post(f"/v1{path}", body, admin=True, key=f"key of {name}")
        assert first.status in (200, 201), f"{name}: {first.text}"
        again = await api.post(f"/v1{path}", body, admin=True, key=f"key of {name}")
        assert_repeats(first, again)


async def test_a_key_is_good_for_one_caller(api: Api) -> None:
    alice = await make_person(api, balance=0)
    path = f"/v1/admin/wallets/{alice.wallet_id}/deposit"
    for user, balance in (("operator-1", 5), ("operator-2", 10), ("operator-1", 5)):
        reply = await api.post(path, {"amount": 5}, user=user, admin=True, key="k")
        assert reply.expect(200)["balance"] == balance
    assert await alice.balance() == 10


async def test_bodies_compare_as_json_and_keys_without_their_quotes(api: Api) -> None:
    body = {"id": "alice", "email": "alice@example.com"}
    first = await api.operate("POST", "/users", body, key="k-1")
    for key, raw in (
        ("k-1", b'{"email":"alice@example.com","id":"alice"}'),
        ('"k-1"', b'{ "id" : "alice" ,\r\n\t"email" : "alice\\u0040example.com" }'),
    ):
        assert_repeats(first, await api.operate("POST", "/users", raw=raw, key=key))
    (await api.operate("POST", "/users", {"id": "bob"}, key="k-1")).refuse(422, "idempotency_key_reused")


async def test_a_key_has_1_to_255_printable_characters(api: Api) -> None:
    for key in ("", " ", "x" * 256, "a\tb", "é", '""', '"é"'):
        (await api.operate("POST", "/users", {"id": "alice"}, key=key)).refuse(400, "malformed_request")
        (await api.operate("GET", "/users/alice")).refuse(404, "user_not_found")
    for number, key in enumerate(("x" * 255, "~!@#$%^&*()", "a b", "{key}:*", '"')):
        body = {"id": f"user{number}"}
        first = await api.operate("POST", "/users", body, key=key)
        assert_repeats(first, await api.operate("POST", "/users", body, key=key))
