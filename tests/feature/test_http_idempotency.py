"""Repeats over HTTP: the same key gets the first answer, and a key is good for one caller, method and path."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from support.fixtures.engine_setup import wait_for
from support.fixtures.http_api import Api, Json, Person, Reply, invoice_body, make_person, running_api

from technopay.storage import RedisStore


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


async def test_every_command_is_answered_again_word_by_word(any_api: Api) -> None:
    api = any_api
    for name, (path, body) in (await ready(api)).items():
        first = await api.post(f"/v1{path}", body, admin=True, key=f"key of {name}")
        assert first.status in (200, 201), f"{name}: {first.text}"
        again = await api.post(f"/v1{path}", body, admin=True, key=f"key of {name}")
        assert_repeats(first, again)


async def test_a_resolution_and_a_message_sent_again_are_answered_again(fake_store: RedisStore) -> None:
    async with running_api(fake_store, message_attempts=1) as api:
        alice = await make_person(api, email="dead@example.com")
        payment = await alice.start(2_500, "acme-stuck")
        (await alice.confirm(payment, "?wait=10")).expect(202)

        decision = {"outcome": "settled", "note": "n"}
        path = f"/payments/{payment['id']}/resolve"
        first = await api.operate("POST", path, decision, key="k")
        assert_repeats(first, await api.operate("POST", path, decision, key="k"))
        other = {**decision, "note": "another"}
        (await api.operate("POST", path, other, key="k")).refuse(422, "idempotency_key_reused")

        async def look() -> list[Json]:
            dead: list[Json] = (await api.operate("GET", "/notifications?status=dead")).expect(200)["data"]
            return dead

        path = f"/notifications/{(await wait_for(look))[0]['id']}/send"
        sent = await api.operate("POST", path, key="k")
        assert sent.expect(200)["status"] == "waiting"
        assert_repeats(sent, await api.operate("POST", path, key="k"))


async def test_without_a_key_every_call_is_a_new_one(api: Api) -> None:
    alice = await make_person(api, balance=0)
    for total in (5, 10):
        reply = await api.operate("POST", f"/wallets/{alice.wallet_id}/deposit", {"amount": 5})
        assert reply.expect(200)["balance"] == total
        assert "Idempotent-Replayed" not in reply.headers


async def test_the_first_answer_is_given_again_after_the_state_has_moved_on(api: Api) -> None:
    alice = await make_person(api)
    invoice = await alice.invoice()
    first = await alice.ask_to_start(invoice, key="k")
    await alice.confirm(first.json)

    again = await alice.ask_to_start(invoice, key="k")

    assert_repeats(first, again)
    assert again.json["status"] == "requires_confirmation"
    assert await alice.balance() == 7_500


async def deposit(alice: Person, key: str, **options: Any) -> Reply:
    path = f"/wallets/{alice.wallet_id}/deposit"
    return await alice.api.call("POST", f"/v1/admin{path}", {"amount": 5}, admin=True, key=key, **options)


async def test_a_key_is_good_for_one_caller(api: Api) -> None:
    alice = await make_person(api, balance=0)
    for user, balance in (("operator-1", 5), ("operator-2", 10), ("operator-1", 5)):
        assert (await deposit(alice, "k", user=user)).expect(200)["balance"] == balance
    assert await alice.balance() == 10


async def test_a_key_of_one_user_is_none_of_anothers(api: Api) -> None:
    alice, bob = await make_person(api), await make_person(api, "bob")
    mine = (await alice.ask_to_start(await alice.invoice(), key="k")).expect(201)
    reply = await bob.ask_to_start(await bob.invoice(), key="k")

    assert reply.expect(201)["user_id"] == "bob"
    assert reply.json["id"] != mine["id"]
    assert "Idempotent-Replayed" not in reply.headers


async def test_a_key_is_good_for_one_path(api: Api) -> None:
    alice = await make_person(api)
    first, second = await alice.start(), await alice.start()
    for payment in (first, second):
        for action in ("resend", "cancel"):
            reply = await alice.post(f"/payments/{payment['id']}/{action}", key="k")
            assert reply.expect(200)["id"] == payment["id"]
            assert "Idempotent-Replayed" not in reply.headers
    (await api.operate("POST", "/users", {"id": "bob"}, key="k")).expect(201)
    (await api.operate("POST", "/users/alice/block", key="k")).expect(200)
    (await api.operate("POST", "/users/bob/block", key="k")).expect(200)


async def test_bodies_compare_as_json(api: Api) -> None:
    body = {"id": "alice", "email": "alice@example.com"}
    first = await api.operate("POST", "/users", body, key="k")
    for raw in (
        b'{"email":"alice@example.com","id":"alice"}',
        b'{ "id" : "alice" ,\r\n\t"email" : "alice\\u0040example.com" }',
    ):
        assert_repeats(first, await api.operate("POST", "/users", raw=raw, key="k"))


async def test_a_quoted_key_is_the_same_key(api: Api) -> None:
    first = await api.operate("POST", "/users", {"id": "alice"}, key="k-1")

    assert_repeats(first, await api.operate("POST", "/users", {"id": "alice"}, key='"k-1"'))


async def test_a_refusal_is_not_kept(any_api: Api) -> None:
    alice = await make_person(any_api, balance=0)
    invoice = await alice.invoice()
    (await alice.ask_to_start(invoice, key="k")).refuse(402, "insufficient_funds")
    (await any_api.operate("POST", f"/wallets/{alice.wallet_id}/deposit", {"amount": 5_000})).expect(200)

    reply = await alice.ask_to_start(invoice, key="k")

    reply.expect(201)
    assert "Idempotent-Replayed" not in reply.headers


async def test_repeats_at_the_same_time_make_one_change(any_api: Api) -> None:
    alice = await make_person(any_api, balance=0)

    replies = await asyncio.gather(*(deposit(alice, "k", user="operator") for _ in range(8)))

    assert len({(reply.status, reply.text) for reply in replies}) == 1
    assert sorted("Idempotent-Replayed" in reply.headers for reply in replies) == [False] + [True] * 7
    assert await alice.balance() == 5


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\tb", "é", '""', '"é"'])
async def test_a_key_has_1_to_255_printable_characters(api: Api, key: str) -> None:
    (await api.operate("POST", "/users", {"id": "alice"}, key=key)).refuse(400, "malformed_request")
    (await api.operate("GET", "/users/alice")).refuse(404, "user_not_found")


async def test_a_key_may_be_long_and_odd(api: Api) -> None:
    for number, key in enumerate(("x" * 255, "~!@#$%^&*()", "a b", "{key}:*", '"')):
        body = {"id": f"user{number}"}
        first = await api.operate("POST", "/users", body, key=key)
        assert_repeats(first, await api.operate("POST", "/users", body, key=key))


async def test_two_keys_are_refused(api: Api) -> None:
    server = api.client.server
    assert server.port is not None
    reader, writer = await asyncio.open_connection(server.host, server.port)
    body = json.dumps({"id": "alice"})
    lines = [
        "POST /v1/admin/users HTTP/1.1",
        "Host: here",
        "Connection: close",
        f"Authorization: Bearer {api.token(admin=True)}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Idempotency-Key: a",
        "Idempotency-Key: b",
    ]
    writer.write("\r\n".join([*lines, "", body]).encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()

    assert answer.startswith("HTTP/1.1 400 ")
    assert "malformed_request" in answer


async def test_what_is_foreign_looks_like_what_does_not_exist(any_api: Api) -> None:
    api = any_api
    alice, bob = await make_person(api), await make_person(api, "bob")
    payment = await bob.start()
    foreign = {"wal": bob.wallet_id, "inv": payment["invoice_id"], "pay": payment["id"]}
    missing = {prefix: record_id[:-4] + "0000" for prefix, record_id in foreign.items()}

    async def ask(ids: dict[str, str]) -> list[str]:
        own = await alice.invoice()
        replies = [
            await alice.get(f"/wallets/{ids['wal']}"),
            await alice.get(f"/wallets/{ids['wal']}/entries"),
            await alice.get(f"/invoices/{ids['inv']}"),
            await alice.get(f"/payments/{ids['pay']}"),
            await alice.get(f"/payments/{ids['pay']}?wait=1"),
            await alice.post(f"/payments/{ids['pay']}/confirm", {"code": "123456"}),
            await alice.post(f"/payments/{ids['pay']}/resend"),
            await alice.post(f"/payments/{ids['pay']}/cancel"),
            await alice.post("/payments", {"invoice_id": own["id"], "wallet_id": ids["wal"]}),
            await alice.post("/payments", {"invoice_id": ids["inv"], "wallet_id": alice.wallet_id}),
        ]
        seen = []
        for reply in replies:
            assert reply.status == 404
            text = reply.text.replace(reply.json["request_id"], "ID")
            for record_id in ids.values():
                text = text.replace(record_id, "ID")
            seen.append(text)
        return seen

    assert await ask(foreign) == await ask(missing)
    assert (await bob.get(f"/payments/{payment['id']}")).expect(200) == payment
