"""Repeats over HTTP: the same key gets the first response, in any spelling of body and key."""

from support.fixtures.http_api import Api, Json, Reply, invoice_body, make_person


def assert_repeats(first: Reply, again: Reply) -> None:
    assert (again.status, again.text) == (first.status, first.text)
    assert again.headers.get("Location") == first.headers.get("Location")
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_a_repeat_has_the_same_response(api: Api) -> None:
    """One case of each kind of response; tests/feature/test_library_idempotency.py has every operation."""
    alice = await make_person(api)
    invoice, waiting, paid = await alice.invoice(), await alice.start(), await alice.pay()
    calls: list[tuple[str, Json | None]] = [
        ("/admin/users", {"id": "bob", "phone": "+15550100"}),
        ("/admin/wallets", {"user_id": "alice", "currency": "USD"}),
        (f"/admin/wallets/{alice.wallet_id}/deposit", {"amount": 5}),
        ("/admin/invoices", invoice_body("alice", reference="R-1")),
        ("/payments", {"invoice_id": invoice["id"], "wallet_id": alice.wallet_id}),
        (f"/payments/{waiting['id']}/resend", None),
        (f"/payments/{waiting['id']}/cancel", None),
        (f"/admin/payments/{paid['id']}/refund", None),
        ("/admin/users/alice/block", None),
    ]
    for path, body in calls:
        first, again = [await api.post(f"/v1{path}", body, admin=True, key=f"key of {path}") for _ in range(2)]
        assert first.status in (200, 201), f"{path}: {first.text}"
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
